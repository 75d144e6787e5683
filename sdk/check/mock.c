/*
 * The small host: its life, its log, and the registry of services. Each service stands in a part of its own
 * below; see mock.h for what it is for. A test that runs out of memory ends.
 */
#include "mock_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mock_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);

    if (!p) {
        fputs("mock: no memory\n", stderr);
        exit(70);
    }
    return p;
}

void *mock_grow(void *array, unsigned count, size_t item)
{
    void *p;

    if (count & (count - 1))
        return array; /* there is room until the next power of two */
    p = realloc(array, (count ? 2 * (size_t)count : 1) * item);
    if (!p) {
        fputs("mock: no memory\n", stderr);
        exit(70);
    }
    return p;
}

char *mock_copy(const char *text, size_t len)
{
    char *p = mock_zalloc(len + 1);

    if (len)
        memcpy(p, text, len);
    return p;
}

struct mock *mock_of(hd_host *host)
{
    return host->mock;
}

/* --- hd_host_v1 ---------------------------------------------------------------------------------------- */

static const void *find_service(hd_host *host, const char *name)
{
    static const struct {
        const char *name;
        const void *vtable;
    } services[] = {
        {HD_SERVICE_METRICS, &mock_metrics},
        {HD_SERVICE_BUS, &mock_bus},
        {HD_SERVICE_COMMANDS, &mock_command_table},
        {HD_SERVICE_LOOP, &mock_loop},
        {HD_SERVICE_TEMPLATE, &mock_templates},
        {HD_SERVICE_CATALOG, &mock_catalog},
        {HD_SERVICE_STATEMENT, &mock_statements},
        {HD_SERVICE_JOBS, &mock_jobs},
        {HD_SERVICE_SCHEDULER, &mock_scheduler},
        {HD_SERVICE_NODES, &mock_nodes},
        {HD_SERVICE_HTTP, &mock_http},
        {HD_SERVICE_HEALTH, &mock_health},
    };

    (void)host;
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
        if (strcmp(services[i].name, name) == 0)
            return services[i].vtable;
    return NULL;
}

static int32_t find_capability(hd_host *host, const char *name, const char *plugin_id, const void **vtable,
                               void **self, struct hd_error *err)
{
    (void)host;
    (void)vtable;
    (void)self;
    snprintf(err->text, sizeof(err->text), "no other plugin runs here that provides %s as %s", name,
             plugin_id);
    return err->code = HD_ENOENT;
}

/* Nothing is ever given here. */
static void release_capability(hd_host *host, const void *vtable, void *self)
{
    (void)host;
    (void)vtable;
    (void)self;
}

static void add_log(struct mock *m, const char *text)
{
    size_t len = strlen(text);
    char *p = mock_zalloc(m->log_len + len + 1);

    if (m->log_len)
        memcpy(p, m->log, m->log_len);
    memcpy(p + m->log_len, text, len);
    free(m->log);
    m->log = p;
    m->log_len += len;
}

static void write_log(hd_host *host, uint32_t level, const char *message, const char *const *pairs)
{
    static const char *const levels[] = {"ERROR ", "WARNING ", "INFO ", "DEBUG "};
    struct mock *m = mock_of(host);

    add_log(m, level < 4 ? levels[level] : "? ");
    add_log(m, message);
    for (; pairs && pairs[0]; pairs += 2) {
        add_log(m, " ");
        add_log(m, pairs[0]);
        add_log(m, "=");
        add_log(m, pairs[1]);
    }
    add_log(m, "\n");
}

static void note_failure(hd_host *host, const char *what)
{
    mock_of(host)->failures++;
    write_log(host, HD_LEVEL_ERROR, what, NULL);
}

static void note_stopped(hd_host *host)
{
    mock_of(host)->stopped++;
}

struct mock *mock_new(uint32_t workers)
{
    struct mock *m = mock_zalloc(sizeof(*m));

    m->v1.size = (uint32_t)sizeof(m->v1);
    m->v1.abi_major = HD_ABI_MAJOR;
    m->v1.abi_minor = HD_ABI_MINOR;
    m->v1.workers = workers;
    m->v1.service = find_service;
    m->v1.capability = find_capability;
    m->v1.log = write_log;
    m->v1.failed = note_failure;
    m->v1.stopped = note_stopped;
    m->v1.release = release_capability;
    m->host.v1 = &m->v1;
    m->host.mock = m;
    m->here = HD_LOOP_CONTROL;
    m->post_limit = m->event_limit = -1;
    return m;
}

void mock_free(struct mock *m)
{
    if (!m)
        return;
    mock_loop_free(m);
    mock_metrics_free(m);
    mock_bus_free(m);
    mock_commands_free(m);
    mock_templates_free(m);
    mock_catalog_free(m);
    free(m->log);
    free(m);
}

hd_host *mock_host(struct mock *m)
{
    return &m->host;
}

const char *mock_log(const struct mock *m)
{
    return m->log ? m->log : "";
}

unsigned mock_failures(const struct mock *m)
{
    return m->failures;
}

unsigned mock_stopped(const struct mock *m)
{
    return m->stopped;
}

/* --- jobs and scheduler: nothing runs here ------------------------------------------------------------- */

static int64_t no_run(hd_host *host, const char *name, int32_t (*fn)(void *arg),
                      void (*done)(void *arg, int32_t code), void *arg)
{
    (void)host, (void)name, (void)fn, (void)done, (void)arg;
    return HD_EUNSUPP;
}

static int64_t no_sql(hd_host *host, const struct hd_sql *sql,
                      void (*done)(void *arg, const struct hd_sql_result *result), void *arg)
{
    (void)host, (void)sql, (void)done, (void)arg;
    return HD_EUNSUPP;
}

static int32_t no_sql_wait(hd_host *host, const struct hd_sql *sql, const struct hd_sql_result **result)
{
    (void)host, (void)sql, (void)result;
    return HD_EUNSUPP;
}

static void no_free_result(hd_host *host, const struct hd_sql_result *result)
{
    (void)host, (void)result;
}

static int32_t no_such_id(hd_host *host, int64_t id)
{
    (void)host, (void)id;
    return HD_ENOENT;
}

/* A schedule is taken and never comes due. */
static int64_t take_schedule(hd_host *host, const struct hd_schedule *schedule, struct hd_error *err)
{
    (void)schedule, (void)err;
    return ++mock_of(host)->schedules;
}

static void drop_schedule(hd_host *host, int64_t id)
{
    (void)host, (void)id;
}

const struct hd_jobs_v1 mock_jobs = {
    .size = sizeof(struct hd_jobs_v1),
    .run = no_run,
    .sql = no_sql,
    .sql_wait = no_sql_wait,
    .free_result = no_free_result,
    .cancel = no_such_id,
};

const struct hd_scheduler_v1 mock_scheduler = {
    .size = sizeof(struct hd_scheduler_v1),
    .add = take_schedule,
    .run_now = no_such_id,
    .remove = drop_schedule,
};

/* The small host has no servers. */
static int32_t no_conninfo(hd_host *host, struct hd_str node, struct hd_str dbname, char *out, uint32_t room,
                           struct hd_error *err)
{
    (void)host;
    (void)dbname;
    (void)out;
    (void)room;
    snprintf(err->text, sizeof(err->text), "there is no node %.*s", (int)node.len, node.ptr);
    return HD_ENOENT;
}

static int32_t no_database(hd_host *host, struct hd_str name, struct hd_served_database *out)
{
    (void)host;
    (void)name;
    (void)out;
    return HD_ENOENT;
}

static int32_t no_nodes(hd_host *host, int32_t (*fn)(void *arg, struct hd_str node), void *arg)
{
    (void)host;
    (void)fn;
    (void)arg;
    return HD_OK;
}

const struct hd_nodes_v1 mock_nodes = {
    .size = sizeof(struct hd_nodes_v1),
    .conninfo = no_conninfo,
    .database = no_database,
    .each = no_nodes,
};
