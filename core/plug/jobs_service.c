/*
 * Jobs as plugins see them: "howdah.jobs/1". While a plugin has a job its instance is not destroyed.
 */
#include "plug/jobs.h"

#include "base/error.h"
#include "plug/owners.h"
#include "plug/services.h"

#include <stdio.h>

static int64_t run(hd_host *host, const char *name, int32_t (*fn)(void *arg),
                   void (*done)(void *arg, int32_t code), void *arg);
static int64_t sql(hd_host *host, const struct hd_sql *statement,
                   void (*done)(void *arg, const struct hd_sql_result *result), void *arg);
static int32_t sql_wait(hd_host *host, const struct hd_sql *statement, const struct hd_sql_result **result);
static void free_result(hd_host *host, const struct hd_sql_result *result);
static int32_t cancel(hd_host *host, int64_t handle);
static void on_gone(hd_host *host);

static const struct hd_jobs_v1 vtable = {
    .size = sizeof(vtable),
    .run = run,
    .sql = sql,
    .sql_wait = sql_wait,
    .free_result = free_result,
    .cancel = cancel,
};

static struct hd_jobs *served;
static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

static void on_gone(hd_host *host)
{
    hd_jobs_drop_owner(served, host);
}

static void on_begin(const void *owner)
{
    hd_host_hold((hd_host *)owner);
}

static void on_end(const void *owner)
{
    hd_host_release((hd_host *)owner);
}

static int64_t run(hd_host *host, const char *name, int32_t (*fn)(void *arg),
                   void (*done)(void *arg, int32_t code), void *arg)
{
    char full[64];
    int64_t handle = hd_owners_add(&owners, host);

    if (handle)
        return handle;
    snprintf(full, sizeof(full), "%s/%s", hd_host_id(host), name ? name : "job");
    return hd_jobs_run(served, host, full, fn, done, arg);
}

static int64_t sql(hd_host *host, const struct hd_sql *statement,
                   void (*done)(void *arg, const struct hd_sql_result *result), void *arg)
{
    int64_t handle = hd_owners_add(&owners, host);

    return handle ? handle : hd_jobs_sql(served, host, statement, done, arg);
}

static int32_t sql_wait(hd_host *host, const struct hd_sql *statement, const struct hd_sql_result **result)
{
    (void)host;
    return hd_jobs_sql_wait(served, statement, result);
}

static void free_result(hd_host *host, const struct hd_sql_result *result)
{
    (void)host;
    hd_jobs_free_result(result);
}

static int32_t cancel(hd_host *host, int64_t handle)
{
    (void)host;
    return hd_jobs_cancel(served, handle);
}

int hd_jobs_serve(struct hd_jobs *jobs)
{
    served = jobs;
    hd_jobs_watch_owners(jobs, on_begin, on_end);
    return hd_service_add(HD_SERVICE_JOBS, &vtable);
}
