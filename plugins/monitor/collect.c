/* Which questions there are and when they are asked; see collect.h. */
#include "collect_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNNING_MAX  2
#define BACK_OFF     50 /* a question that takes 1 ms is asked every 50 ms at most */
#define INTERVAL_MIN 10
#define INTERVAL_MAX 3600000
#define UNKNOWN_AFTER                                                                                        \
    3 /* failures one after the other: what was found before is not known to be so any more */
#define PLUGIN_MS    10000 /* between two looks of a plugin that does not care */
#define ABSENT_TIMES 10    /* what a question is about is not installed: so much more seldom */
#define SYNC_NS      UINT64_C(10000000000)

/* --- nodes and their databases ----------------------------------------------------------------------------
 */

struct mon_node *mon_node_of(struct mon_collect *c, const char *name)
{
    struct mon_node *n = c->nodes;

    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    return n;
}

void mon_collect_databases(struct mon *self, const char *node, void (*fn)(void *arg, const char *database),
                           void *arg)
{
    const struct mon_conf *conf = self->conf;
    const struct mon_node *n = self->collect ? mon_node_of(self->collect, node) : NULL;

    for (uint64_t i = 0; i < conf->databases.count; i++)
        fn(arg, conf->databases.items[i].ptr);
    for (uint32_t i = 0; n && !conf->databases.count && i < n->database_count && i < conf->max_databases; i++)
        fn(arg, n->databases[i]);
    if (!conf->databases.count && (!n || !n->database_count))
        fn(arg, NULL);
}

/* --- tasks
 * -------------------------------------------------------------------------------------------------- */

static void free_task(struct mon_task *t)
{
    mon_findings_free(t->findings);
    mon_kept_free(t->kept);
    free(t);
}

static struct mon_task *add_task(struct mon_collect *c, const char *name, const char *node,
                                 const char *database, uint64_t base_ms)
{
    struct mon_task *t = calloc(1, sizeof(*t)), **at = &c->tasks;

    if (t)
        t->findings = mon_findings_new(c->self);
    if (!t || !t->findings) {
        free(t);
        return NULL;
    }
    t->collect = c;
    snprintf(t->name, sizeof(t->name), "%s", name);
    snprintf(t->node, sizeof(t->node), "%s", node);
    snprintf(t->database, sizeof(t->database), "%s", database);
    t->base_ms = t->interval_ms = base_ms;
    while (*at)
        at = &(*at)->next;
    *at = t;
    return t;
}

/* collect_scale applies to questions and plugins alike. */
static uint64_t interval_of(const struct mon *self, uint64_t interval_ms)
{
    uint64_t ms = (uint64_t)((double)interval_ms * self->conf->collect_scale);

    return ms < INTERVAL_MIN ? INTERVAL_MIN : ms < INTERVAL_MAX ? ms : INTERVAL_MAX;
}

static uint64_t plugin_interval(const struct mon *self, const struct hd_collector_v1 *plugin)
{
    return interval_of(self, plugin->interval_ms ? plugin->interval_ms : PLUGIN_MS);
}

static int fits(const struct mon_query *q, int32_t version)
{
    return (!q->from || version >= q->from) && (!q->to || version < q->to);
}

/* Is there this task already? Then it stays. */
static struct mon_task *find_task(struct mon_collect *c, const struct mon_query *q, const char *node,
                                  const char *db)
{
    for (struct mon_task *t = c->tasks; t; t = t->next)
        if (t->query == q && !strcmp(t->node, node) && !strcmp(t->database, db) && t->gone != 1)
            return t;
    return NULL;
}

struct wanted {
    struct mon_collect *c;
    const struct mon_query *q;
    const char *node;
};

/* Marks of `gone` while tasks are looked through: 2 not looked at yet, 0 wanted. */
static void want(void *arg, const char *database)
{
    struct wanted *w = arg;
    struct mon_task *t = find_task(w->c, w->q, w->node, database ? database : "");

    if (!t) {
        t = add_task(w->c, w->q->name, w->node, database ? database : "",
                     interval_of(w->c->self, w->q->interval_ms));
        if (t)
            t->query = w->q;
    }
    if (t)
        t->gone = 0;
}

static int32_t see_node(void *arg, struct hd_str name)
{
    struct mon_collect *c = arg;
    struct mon_node *n;

    if (name.len >= MON_NAME)
        return HD_OK;
    n = mon_node_of(c, name.ptr);
    if (!n) {
        n = calloc(1, sizeof(*n));
        if (!n)
            return HD_OK;
        memcpy(n->name, name.ptr, (size_t)name.len);
        n->next = c->nodes;
        c->nodes = n;
    }
    n->seen = 1;
    return HD_OK;
}

static void drop_nodes(struct mon_collect *c)
{
    for (struct mon_node **at = &c->nodes; *at;) {
        struct mon_node *n = *at;

        if (n->seen || n->running) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        free(n);
    }
}

static void drop_tasks(struct mon_collect *c)
{
    for (struct mon_task **at = &c->tasks; *at;) {
        struct mon_task *t = *at;

        if (t->gone)
            t->gone = 1;
        if (!t->gone || t->running) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        free_task(t);
    }
}

/* The version is known once `server` has been asked. */
static void want_all(struct mon_collect *c, const struct mon_node *n)
{
    for (unsigned i = 0; i < mon_query_count; i++) {
        const struct mon_query *q = &mon_queries[i];
        struct wanted w = {c, q, n->name};

        if ((!n->version && strcmp(q->name, "server") != 0) || !fits(q, n->version))
            continue;
        if (q->each_database && !n->database_count && !c->self->conf->databases.count)
            continue; /* `database` will tell */
        if (q->each_database)
            mon_collect_databases(c->self, n->name, want, &w);
        else
            want(&w, NULL);
    }
}

/* Tasks as nodes, databases and configuration are now. */
static void sync_tasks(struct mon_collect *c)
{
    const struct hd_nodes_v1 *nodes = c->self->nodes;

    c->synced_ns = mon_now_ns();
    for (struct mon_node *n = c->nodes; n; n = n->next)
        n->seen = 0;
    for (struct mon_task *t = c->tasks; t; t = t->next)
        if (t->query && t->gone != 1)
            t->gone = 2;
    if (c->self->conf->collect)
        nodes->each(c->self->host, see_node, c);
    for (struct mon_node *n = c->nodes; n; n = n->next)
        if (n->seen)
            want_all(c, n);
    drop_tasks(c);
    drop_nodes(c);
}

/* --- asking
 * ------------------------------------------------------------------------------------------------- */

/* A fiftieth of the time at most, and half as often after each failure. */
static void set_interval(struct mon_task *t, int failed)
{
    uint64_t ms = t->absent ? t->base_ms * ABSENT_TIMES : t->base_ms;

    if ((uint64_t)(t->last_ms * BACK_OFF) > ms)
        ms = (uint64_t)(t->last_ms * BACK_OFF);
    for (uint32_t i = 0; failed && i < t->streak && i < 10; i++)
        ms *= 2;
    t->interval_ms = ms < INTERVAL_MAX ? ms : INTERVAL_MAX;
    t->due_ns = mon_now_ns() + t->interval_ms * 1000000;
}

void mon_task_over(struct mon_task *t, int32_t code, const char *why)
{
    struct mon_collect *c = t->collect;
    struct mon *self = c->self;
    struct mon_node *n = mon_node_of(c, t->node);

    t->last_ms = (double)(mon_now_ns() - t->asked_ns) / 1e6;
    t->running = 0;
    t->runs++;
    c->running--;
    if (n && t->query)
        n->running--;
    t->streak = code ? t->streak + 1 : 0;
    if (code) {
        t->failures++;
        self->metrics->add(self->host, c->failures, 1);
        if (strcmp(t->error, why) != 0)
            mon_log(self, HD_LEVEL_DEBUG, "a collector has failed", "collector", t->name);
    }
    if (t->streak == UNKNOWN_AFTER || t->absent)
        mon_findings_unknown(t->findings);
    snprintf(t->error, sizeof(t->error), "%s", code || t->absent ? why : "");
    set_interval(t, code != 0);
    if (t->again && code)
        t->due_ns = 0;
    t->again = 0;
    mon_collect_tick(self); /* what has waited for it; may free the task */
    mon_errand_end(self);
}

/* A table, function or column that is not there, or a library that was not loaded. */
static int is_missing(const struct hd_sql_result *r)
{
    static const char *const states[] = {"42P01", "42883", "42703", "55000"};

    for (unsigned i = 0; r->code == HD_ESQL && i < sizeof(states) / sizeof(states[0]); i++)
        if (!strcmp(r->sqlstate, states[i]))
            return 1;
    return 0;
}

static void answered(void *arg, const struct hd_sql_result *r)
{
    struct mon_task *t = arg;
    char why[sizeof(t->error)];
    int32_t code = r->code;

    t->absent = t->query->optional && is_missing(r);
    if (!code)
        mon_digest(t, r);
    else if (t->absent) {
        code = HD_OK;
        t->rows = 0;
    }
    snprintf(why, sizeof(why), "%.*s", (int)(r->message.len < sizeof(why) ? r->message.len : sizeof(why) - 1),
             r->message.len ? r->message.ptr : "");
    mon_task_over(t, code, why);
}

static int ask_sql(struct mon_task *t)
{
    struct mon *self = t->collect->self;
    uint64_t timeout = (uint64_t)self->conf->collect_timeout;
    struct hd_sql sql = {.size = sizeof(sql),
                         .node = t->node,
                         .database = t->database[0] ? t->database : NULL,
                         .text = t->query->sql,
                         .lock_timeout_ms = timeout < 1000 ? timeout : 1000,
                         .statement_timeout_ms = timeout,
                         .deadline_ms = timeout + 2000};

    return self->jobs->sql(self->host, &sql, answered, t) > 0;
}

static int may_ask(const struct mon_collect *c, const struct mon_task *t, uint64_t now)
{
    const struct mon_node *n = t->query ? mon_node_of((struct mon_collect *)c, t->node) : NULL;

    return !t->running && !t->gone && t->due_ns <= now && c->running < RUNNING_MAX && !(n && n->running);
}

static void ask(struct mon_task *t)
{
    struct mon_collect *c = t->collect;
    struct mon_node *n = mon_node_of(c, t->node);

    t->asked_ns = mon_now_ns();
    t->running = 1;
    c->running++;
    if (n && t->query)
        n->running++;
    mon_errand_begin(c->self);
    if (!(t->query ? ask_sql(t) : mon_ask_plugin(t)))
        mon_task_over(t, HD_EFULL, "too many jobs wait");
}

/* Whoever has waited longest comes first: nobody waits for ever. */
static struct mon_task *most_overdue(const struct mon_collect *c, uint64_t now)
{
    struct mon_task *found = NULL;

    for (struct mon_task *t = c->tasks; t; t = t->next)
        if (may_ask(c, t, now) && (!found || t->due_ns < found->due_ns))
            found = t;
    return found;
}

void mon_collect_tick(struct mon *self)
{
    struct mon_collect *c = self->collect;
    struct mon_task *t;
    uint64_t now = mon_now_ns();

    if (self->stopping)
        return;
    if (!c->synced_ns || now - c->synced_ns >= SYNC_NS)
        sync_tasks(c);
    while ((t = most_overdue(c, now)))
        ask(t);
}

void mon_collect_again(struct mon *self, const char *node)
{
    for (struct mon_task *t = self->collect->tasks; t; t = t->next) {
        if (strcmp(t->node, node) != 0)
            continue;
        t->again = t->running != 0;
        if (t->streak)
            t->due_ns = 0;
        t->streak = 0; /* what fails from now on has not failed for long */
    }
    mon_collect_tick(self);
}

/* --- life
 * ---------------------------------------------------------------------------------------------------- */

static void add_plugins(struct mon_collect *c)
{
    const struct hd_str_list *list = &c->self->conf->collectors;
    hd_host *host = c->self->host;

    for (uint64_t i = 0; i < list->count; i++) {
        const struct hd_collector_v1 *plugin;
        struct hd_error err = HD_ERROR_INIT;
        const void *vtable = NULL;
        void *self = NULL;
        struct mon_task *t;

        if (hd_host_api(host)->capability(host, HD_CAP_COLLECTOR, list->items[i].ptr, &vtable, &self, &err)) {
            mon_log(c->self, HD_LEVEL_WARNING, "a collector is missing", "reason", err.text);
            continue;
        }
        plugin = vtable;
        t = add_task(c, list->items[i].ptr, "", "", plugin_interval(c->self, plugin));
        if (!t)
            continue;
        t->plugin = plugin;
        t->plugin_self = self;
    }
}

int32_t mon_collect_start(struct mon *self, struct hd_error *err)
{
    struct mon_collect *c = calloc(1, sizeof(*c));

    if (!c)
        return hd_error_set(err, HD_ENOMEM, "no memory for the collectors");
    c->self = self;
    self->collect = c;
    c->failures = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_collector_failures_total",
                                     "Questions of collectors that failed or timed out", NULL, 0);
    add_plugins(c);
    return HD_OK;
}

void mon_collect_reload(struct mon *self)
{
    for (struct mon_task *t = self->collect->tasks; t; t = t->next) {
        t->base_ms = t->query ? interval_of(self, t->query->interval_ms) : plugin_interval(self, t->plugin);
        set_interval(t, t->streak > 0);
    }
    self->collect->synced_ns = 0;
}

void mon_collect_free(struct mon_collect *c)
{
    if (!c)
        return;
    while (c->tasks) {
        struct mon_task *t = c->tasks;

        c->tasks = t->next;
        free_task(t);
    }
    while (c->nodes) {
        struct mon_node *n = c->nodes;

        c->nodes = n->next;
        free(n);
    }
    free(c);
}

int32_t mon_show_collectors(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    const struct hd_commands_v1 *c = self->commands;
    hd_result *r = call->result;

    (void)err;
    mon_columns(self, r, "collector", HD_COL_TEXT, "node", HD_COL_TEXT, "database", HD_COL_TEXT, "state",
                HD_COL_TEXT, "interval_ms", HD_COL_INT, "last_ms", HD_COL_REAL, "rows", HD_COL_INT, "runs",
                HD_COL_INT, "failures", HD_COL_INT, "error", HD_COL_TEXT, NULL);
    for (struct mon_task *t = self->collect->tasks; t; t = t->next) {
        mon_text(self, r, t->name);
        mon_text(self, r, t->node[0] ? t->node : NULL);
        mon_text(self, r, t->database[0] ? t->database : NULL);
        mon_text(self, r,
                 t->running                    ? "running"
                 : t->streak                   ? "failing"
                 : t->absent                   ? "absent"
                 : t->interval_ms > t->base_ms ? "slow"
                                               : "ok");
        c->integer(r, (int64_t)t->interval_ms);
        c->real(r, (double)(int64_t)(t->last_ms * 1e3) / 1e3);
        c->integer(r, (int64_t)t->rows);
        c->integer(r, (int64_t)t->runs);
        c->integer(r, (int64_t)t->failures);
        mon_text(self, r, t->error[0] ? t->error : NULL);
    }
    return HD_OK;
}
