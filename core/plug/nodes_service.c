/*
 * How plugins with a client library of their own connect to nodes, and which nodes serve the databases that
 * clients ask for: "howdah.nodes/1".
 */
#include "plug/jobs.h"

#include <howdah/nodes.h>
#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/thread.h"
#include "plug/services.h"

static struct hd_jobs *served;

/* The control thread's. */
static struct hd_arena databases_arena;
static struct hd_job_database *databases;
static size_t database_count;

static int32_t conninfo(hd_host *host, struct hd_str node, struct hd_str dbname, char *out, uint32_t room,
                        struct hd_error *err)
{
    (void)host;
    return hd_jobs_conninfo(served, node, dbname, out, room, err);
}

/* --- databases ----------------------------------------------------------------------------------------- */

static int is(const char *a, struct hd_str b)
{
    return strlen(a) == b.len && (!b.len || memcmp(a, b.ptr, b.len) == 0);
}

static const struct hd_job_database *find(struct hd_str name)
{
    for (size_t i = 0; i < database_count; i++)
        if (is(databases[i].name, name))
            return &databases[i];
    return NULL;
}

static int32_t database(hd_host *host, struct hd_str name, struct hd_served_database *out)
{
    const struct hd_job_database *d;
    struct hd_served_database found = {.size = sizeof(found)};

    (void)host;
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (name.len)
        d = find(name);
    else
        d = database_count == 1 && strcmp(databases[0].name, "*") != 0 ? databases : NULL;
    if (!d && name.len)
        d = find(hd_str_of("*"));
    if (!d)
        return HD_ENOENT;
    found.flags = d->follows_settings ? HD_SERVED_SETTINGS : 0;
    found.name = hd_str_of(d->name);
    found.node = hd_str_of(d->node);
    found.dbname = d->dbname ? hd_str_of(d->dbname) : name.len ? name : found.name;
    return hd_service_give(out, out->size, &found, sizeof(found));
}

int hd_jobs_serve_databases(const struct hd_job_database *list, size_t n)
{
    struct hd_arena arena = {0};
    struct hd_job_database *all = hd_arena_alloc(&arena, n * sizeof(*all) + 1);
    int failed = !all;

    for (size_t i = 0; all && i < n; i++) {
        all[i] = (struct hd_job_database){.name = hd_arena_strdup(&arena, list[i].name),
                                          .node = hd_arena_strdup(&arena, list[i].node),
                                          .dbname =
                                              list[i].dbname ? hd_arena_strdup(&arena, list[i].dbname) : NULL,
                                          .follows_settings = list[i].follows_settings};
        failed |= !all[i].name || !all[i].node || (list[i].dbname && !all[i].dbname);
    }
    if (failed) {
        hd_arena_free(&arena);
        return HD_ENOMEM;
    }
    hd_arena_free(&databases_arena);
    databases_arena = arena;
    databases = all;
    database_count = n;
    return HD_OK;
}

static int32_t each(hd_host *host, int32_t (*fn)(void *arg, struct hd_str node), void *arg)
{
    (void)host;
    return hd_jobs_each_node(served, fn, arg);
}

static const struct hd_nodes_v1 vtable = {
    .size = sizeof(vtable),
    .conninfo = conninfo,
    .database = database,
    .each = each,
};

int hd_jobs_serve_nodes(struct hd_jobs *jobs)
{
    served = jobs;
    return hd_service_add(HD_SERVICE_NODES, &vtable);
}
