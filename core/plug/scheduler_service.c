/*
 * The scheduler as plugins see it: "howdah.scheduler/1".
 */
#include "plug/scheduler.h"

#include "base/error.h"
#include "plug/owners.h"
#include "plug/services.h"

static int64_t add(hd_host *host, const struct hd_schedule *schedule, struct hd_error *err);
static int32_t run_now(hd_host *host, int64_t id);
static void remove_schedule(hd_host *host, int64_t id);
static void on_gone(hd_host *host);

static const struct hd_scheduler_v1 vtable = {
    .size = sizeof(vtable),
    .add = add,
    .run_now = run_now,
    .remove = remove_schedule,
};

static struct hd_scheduler *served;
static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

static void on_gone(hd_host *host)
{
    hd_scheduler_drop_owner(served, host);
}

static int64_t add(hd_host *host, const struct hd_schedule *schedule, struct hd_error *err)
{
    if (hd_owners_add(&owners, host))
        return hd_fail(err, HD_ENOMEM, "no memory for a schedule");
    return hd_scheduler_add(served, host, schedule, err);
}

static int32_t run_now(hd_host *host, int64_t id)
{
    (void)host;
    return hd_scheduler_run_now(served, id);
}

static void remove_schedule(hd_host *host, int64_t id)
{
    (void)host;
    hd_scheduler_remove(served, id);
}

int hd_scheduler_serve(struct hd_scheduler *s)
{
    served = s;
    return hd_service_add(HD_SERVICE_SCHEDULER, &vtable);
}
