/*
 * The plugin "statements": a filter that counts and times every execution, per template and database, and
 * never changes one. What changed is published in batches on the bus; sums go to the metrics; SHOW STATEMENTS
 * shows all workers' numbers merged, STATEMENTS RESET forgets them.
 *
 * On the statement's path it touches this worker's table only: no locks, and no allocation but for what a
 * template or a power of two of latency needs when it is first seen.
 */
#include "statements.h"
#include "gather.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What a filter's plan is here: where this template was counted last. */
struct plan {
    uint64_t fingerprint;
    uint64_t epoch; /* of the table that `last` belongs to */
    struct stmts_entry *last;
};

static const struct hd_option options[] = {
    {"max_templates", "5000", NULL,
     "Templates that each worker counts apart, per database and user; executions of further ones are summed "
     "up in one row, until the plugin monitor makes room for them of those that run no more",
     1, 100000, HD_OPT_INT, HD_OPTF_RELOADABLE, offsetof(struct stmts_conf, max_templates), 0},
    {"publish_interval", "5s", NULL, "Time between two batches of statement.finished events", 100, 3600000,
     HD_OPT_DURATION, HD_OPTF_RELOADABLE, offsetof(struct stmts_conf, publish_interval), 0},
    {"text_length", "200", NULL,
     "Bytes of a template's text that are kept for SHOW STATEMENTS; a change counts for templates seen from "
     "then on",
     20, 10000, HD_OPT_INT, HD_OPTF_RELOADABLE, offsetof(struct stmts_conf, text_length), 0},
    {"max_users", "1000", NULL,
     "Pairs of database and user that each worker tells apart; further users of a database are its \"other\"",
     1, 100000, HD_OPT_INT, 0, offsetof(struct stmts_conf, max_users), 0},
};

void stmts_errand_begin(struct stmts *self)
{
    atomic_fetch_add_explicit(&self->errands, 1, memory_order_relaxed);
}

void stmts_errand_end(struct stmts *self)
{
    if (atomic_fetch_sub_explicit(&self->errands, 1, memory_order_acq_rel) == 1)
        hd_host_api(self->host)->stopped(self->host);
}

/* --- events: each worker publishes its own news ------------------------------------------------------- */

static void fill_event(struct hd_event_statements *ev, const struct stmts_worker *w,
                       const struct stmts_entry *e)
{
    memset(ev, 0, sizeof(*ev));
    ev->size = (uint32_t)sizeof(*ev);
    ev->worker = w->number;
    ev->fingerprint = e->fingerprint;
    ev->calls = e->news.calls;
    ev->errors = e->news.errors;
    ev->rows = e->news.rows;
    ev->total_ns = e->news.total_ns;
    ev->max_ns = e->news.max_ns;
    if (e->who)
        memcpy(ev->database, e->who->db->name, sizeof(ev->database));
}

/* Publishes what changed since the last time. What the bus does not take goes with the next batch, so a slow
 * subscriber gets fewer and larger events, not wrong sums. */
static void publish_news(struct stmts_worker *w)
{
    const struct stmts *self = w->self;
    int wanted = self->bus->wanted(self->host, self->topic) > 0;
    struct hd_event_statements ev;

    while (w->table.changes) {
        struct stmts_entry *e = w->table.changes;

        fill_event(&ev, w, e);
        if (wanted && self->bus->publish(self->host, self->topic, &ev, sizeof(ev)) != HD_OK)
            break;
        w->table.changes = e->change;
        memset(&e->news, 0, sizeof(e->news));
    }
}

static void on_timer(void *arg)
{
    publish_news(arg);
}

/* Goes over to a new configuration. [worker] */
static void adopt_conf(struct stmts_worker *w)
{
    struct stmts *self = w->self;
    uint32_t max = atomic_load(&self->max_templates);
    uint64_t interval = atomic_load(&self->interval);

    if (max != w->table.max && stmts_table_resize(&w->table, max) != HD_OK)
        hd_host_api(self->host)
            ->failed(self->host, "no memory for a larger max_templates; the old one stays");
    if (interval != w->interval) {
        self->loop->untimer(w->timer);
        w->timer = self->loop->timer(self->host, interval, 1, on_timer, w);
        w->interval = interval;
    }
}

/* --- the filter ----------------------------------------------------------------------------------------- */

static struct stmts_worker *worker_new(struct stmts *self, uint32_t number)
{
    struct stmts_worker *w = calloc(1, sizeof(*w));

    if (!w || stmts_table_init(&w->table, atomic_load(&self->max_templates), atomic_load(&self->max_users)) !=
                  HD_OK) {
        free(w);
        hd_host_api(self->host)->failed(self->host, "no memory for a worker's table; it counts nothing");
        return NULL;
    }
    w->self = self;
    w->number = number;
    memcpy(w->class[STMTS_CLASSES].code, "xx", 3);
    return w;
}

static void *worker_start(void *arg, uint32_t worker)
{
    struct stmts *self = arg;
    struct stmts_worker *w = self->workers[worker];

    if (!w)
        w = self->workers[worker] = worker_new(self, worker);
    if (!w)
        return NULL;
    w->ended = 0;
    w->interval = atomic_load(&self->interval);
    w->timer = self->loop->timer(self->host, w->interval, 1, on_timer, w);
    self->metrics->add(self->host, self->templates, w->table.count);
    adopt_conf(w); /* of a table that was there */
    return w;
}

static void worker_stop(void *arg, void *ws)
{
    struct stmts *self = arg;
    struct stmts_worker *w = ws;

    if (!w)
        return;
    if (w->timer)
        self->loop->untimer(w->timer);
    w->timer = NULL;
    w->ended = 1;
    publish_news(w);
    self->metrics->add(self->host, self->templates, -(int64_t)w->table.count);
}

/* Every template is counted. */
static int32_t plan(void *arg, void *ws, const hd_template *t, struct hd_plan *out)
{
    struct stmts *self = arg;
    struct hd_template_info info = {.size = sizeof(info)};
    struct plan *p;
    int32_t code;

    if (!ws)
        return HD_OK;
    code = self->template->info(t, &info);
    if (code != HD_OK)
        return code;
    p = calloc(1, sizeof(*p));
    if (!p)
        return HD_ENOMEM;
    p->fingerprint = info.fingerprint;
    out->want = HD_WANT_COMPLETE;
    out->data = p;
    out->destroy = free;
    return HD_OK;
}

/* The counter of a database's statements, asked for when its first statement is over. */
static int64_t metric_of_db(const struct stmts *self, struct stmts_db *db)
{
    struct hd_label label = {"database", db->name};

    if (!db->metric)
        db->metric = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_statements_total",
                                        "Statements that ended, per database", &label, 1);
    return db->metric;
}

static int64_t metric_of_class(struct stmts_worker *w, const char *sqlstate)
{
    struct stmts_class *c;
    struct hd_label label;

    for (uint32_t i = 0; i < w->classes; i++)
        if (memcmp(w->class[i].code, sqlstate, 2) == 0)
            return w->class[i].metric;
    if (w->classes == STMTS_CLASSES) {
        c = &w->class[STMTS_CLASSES];
    } else {
        c = &w->class[w->classes++];
        memcpy(c->code, sqlstate, 2);
    }
    label.name = "class";
    label.value = c->code;
    if (!c->metric)
        c->metric = w->self->metrics->get(w->self->host, HD_METRIC_COUNTER, "howdah_statement_errors_total",
                                          "Statements that failed, per class of SQLSTATE", &label, 1);
    return c->metric;
}

/* The entry to count in, found the long way: "other" when the table is full. */
static struct stmts_entry *entry_of(struct stmts_worker *w, struct plan *p, const struct hd_statement *st,
                                    struct stmts_who *who)
{
    struct stmts *self = w->self;
    struct hd_template_info info = {.size = sizeof(info)};
    struct stmts_entry *e = stmts_table_find(&w->table, p->fingerprint, who);

    if (e)
        return e;
    if (w->table.count < w->table.max && self->template->info(st->tmpl, &info) == HD_OK)
        e = stmts_table_add(&w->table, p->fingerprint, who, info.text, atomic_load(&self->text_length));
    if (!e) {
        self->metrics->add(self->host, self->untracked, 1);
        return &w->table.other;
    }
    self->metrics->add(self->host, self->templates, 1);
    return e;
}

/* Whose session it is, found once. [worker] */
static void *session_open(void *arg, void *ws, uint64_t session_id, struct hd_str database,
                          struct hd_str user)
{
    struct stmts_worker *w = ws;

    (void)arg;
    (void)session_id;
    return w ? stmts_table_who(&w->table, database, user) : NULL;
}

/* Not often, and off the common way. A template past the bound has no past of its own. */
static __attribute__((noinline)) void tell_slow(struct stmts *self, const struct stmts_entry *e,
                                                uint64_t fingerprint, const struct hd_statement *st,
                                                const struct hd_outcome *o)
{
    const struct hd_stats_watch *watch = atomic_load(&self->watch);
    struct hd_stats_past past = {.size = sizeof(past), .fingerprint = fingerprint};

    if (e->who) {
        past.calls = e->all.calls - 1;
        past.total_ns = e->all.total_ns - o->total_ns;
    }
    if (watch)
        watch->slow(watch->arg, st, o, &past);
}

static void complete(void *arg, void *ws, void *plan_data, const struct hd_statement *st,
                     const struct hd_outcome *o)
{
    struct stmts *self = arg;
    struct stmts_worker *w = ws;
    struct plan *p = plan_data;
    struct stmts_entry *e = p->last;
    struct stmts_who *who = st->session_state;

    if (!who)
        who = stmts_table_who(&w->table, st->database, st->user);
    if (!e || p->epoch != w->table.epoch || e->who != who) {
        e = entry_of(w, p, st, who);
        p->last = e == &w->table.other ? NULL : e;
        p->epoch = w->table.epoch;
    }
    stmts_table_count(&w->table, e, o);
    self->metrics->add(self->host, metric_of_db(self, who->db), 1);
    self->metrics->observe(self->host, self->seconds, o->total_ns);
    if (o->failed)
        self->metrics->add(self->host, metric_of_class(w, o->sqlstate), 1);
    if (o->total_ns >= atomic_load_explicit(&self->slow_ns, memory_order_relaxed))
        tell_slow(self, e, p->fingerprint, st, o);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .session_open = session_open,
    .plan = plan,
    .complete = complete,
};

/* --- life -------------------------------------------------------------------------------------------------
 */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    uint32_t workers = hd_host_api(host)->workers;
    struct stmts *self = calloc(1, sizeof(*self) + workers * sizeof(struct stmts_worker *));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->host = host;
    self->worker_count = workers;
    atomic_init(&self->slow_ns, UINT64_MAX);
    *out = self;
    return HD_OK;
}

static int32_t find_services(struct stmts *self, struct hd_error *err)
{
    const void *metrics, *bus, *commands, *loop, *template;
    int32_t code;

    if ((code = hd_host_need(self->host, HD_SERVICE_METRICS, &metrics, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_BUS, &bus, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_COMMANDS, &commands, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_LOOP, &loop, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_TEMPLATE, &template, err)))
        return code;
    self->metrics = metrics;
    self->bus = bus;
    self->commands = commands;
    self->loop = loop;
    self->template = template;
    return HD_OK;
}

/* Any combination of values within their ranges is good. */
static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    (void)arg;
    (void)conf;
    (void)err;
    return HD_OK;
}

static void take_conf(struct stmts *self, const struct hd_conf *conf)
{
    const struct stmts_conf *c = conf->conf;

    atomic_store(&self->max_templates, (uint32_t)c->max_templates);
    atomic_store(&self->text_length, (uint32_t)c->text_length);
    atomic_store(&self->max_users, (uint32_t)c->max_users);
    atomic_store(&self->interval, (uint64_t)c->publish_interval);
}

static void find_metrics(struct stmts *self)
{
    const struct hd_metrics_v1 *m = self->metrics;

    self->seconds = m->get(self->host, HD_METRIC_SKETCH, "howdah_statement_seconds",
                           "Time from a statement's arrival to the end of its answer", NULL, 0);
    self->untracked = m->get(self->host, HD_METRIC_COUNTER, "howdah_statements_untracked_total",
                             "Statements of templates past max_templates", NULL, 0);
    self->templates = m->get(self->host, HD_METRIC_GAUGE, "howdah_statement_templates",
                             "Templates that are counted apart, all workers together", NULL, 0);
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct stmts *self = arg;
    int32_t code = find_services(self, err);

    if (code != HD_OK)
        return code;
    take_conf(self, conf);
    find_metrics(self);
    self->topic = self->bus->topic(self->host, HD_TOPIC_STATEMENT_FINISHED);
    if (self->topic < 0)
        return hd_error_set(err, self->topic, "the bus has no topic %s", HD_TOPIC_STATEMENT_FINISHED);
    code = self->commands->add(self->host, "SHOW STATEMENTS", STMTS_SHOW_USAGE,
                               "Templates with their counts and times, the costliest first",
                               HD_CMDF_READ_ONLY, stmts_show, self, err);
    if (code == HD_OK)
        code = self->commands->add(self->host, "STATEMENTS RESET", "", "Forgets what SHOW STATEMENTS shows",
                                   0, stmts_reset, self, err);
    if (code == HD_OK)
        atomic_store(&self->errands, 1);
    return code;
}

/* A reload on its way to one worker. */
struct reload_errand {
    struct stmts *self;
    uint32_t worker;
    uint32_t reserved;
};

static void reload_worker(void *arg)
{
    struct reload_errand *e = arg;
    struct stmts *self = e->self;

    if (self->workers[e->worker] && !self->workers[e->worker]->ended)
        adopt_conf(self->workers[e->worker]);
    free(e);
    stmts_errand_end(self);
}

/* Sends one worker after the new configuration; where that fails it keeps its old table size and interval. */
static void reload_send(struct stmts *self, uint32_t worker)
{
    struct reload_errand *e = calloc(1, sizeof(*e));

    if (e) {
        e->self = self;
        e->worker = worker;
        stmts_errand_begin(self);
        if (self->loop->post(self->host, (int32_t)worker, reload_worker, e) == HD_OK)
            return;
        stmts_errand_end(self);
        free(e);
    }
    hd_host_api(self->host)->failed(self->host, "a worker could not be told of the new configuration");
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct stmts *self = arg;

    take_conf(self, conf);
    for (uint32_t i = 0; i < hd_host_api(self->host)->workers; i++)
        reload_send(self, i);
}

static int32_t stop(void *arg)
{
    struct stmts *self = arg;

    return atomic_fetch_sub_explicit(&self->errands, 1, memory_order_acq_rel) == 1 ? HD_OK : HD_PENDING;
}

/* Workers have let go of it. */
static void destroy(void *arg)
{
    struct stmts *self = arg;

    for (uint32_t i = 0; i < self->worker_count; i++) {
        if (self->workers[i])
            stmts_table_free(&self->workers[i]->table);
        free(self->workers[i]);
    }
    free(self);
}

static const void *capability(const char *name)
{
    if (strcmp(name, HD_CAP_STATEMENT_STATS) == 0)
        return &stmts_stats;
    return strcmp(name, HD_CAP_FILTER) == 0 ? &filter : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "statements",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Counts and times statements per template",
    .options = HD_OPTIONS(struct stmts_conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
