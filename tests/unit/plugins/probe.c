/*
 * A plugin whose behaviour a test steers; compiled several times under different names (PROBE_ID), as a
 * filter or, with PROBE_NO_FILTER, as one that provides "test.store/1".
 */
#include "probe.h"
#include "skeleton.h"

struct conf {
    struct hd_str probe; /* address of the test's struct probe */
    int64_t number;
    int64_t fixed;
};

struct rule_conf {
    int64_t weight;
};

struct self {
    struct base base;
    struct probe *_Atomic p; /* workers read it while a reload writes it */
};

static const struct hd_option table[] = {
    {"probe", NULL, NULL, "address of the test's hooks", 0, 0, HD_OPT_STRING, HD_OPTF_RELOADABLE,
     offsetof(struct conf, probe), 0},
    {"number", "7", NULL, "some number", 0, 1000, HD_OPT_INT, HD_OPTF_RELOADABLE,
     offsetof(struct conf, number), 0},
    {"fixed", "1", NULL, "a number that may not change", 0, 1000, HD_OPT_INT, 0, offsetof(struct conf, fixed),
     0},
};

static const struct hd_option rule_table[] = {
    {"weight", "1", NULL, "some weight", 0, 100, HD_OPT_INT, HD_OPTF_RELOADABLE,
     offsetof(struct rule_conf, weight), 0},
};

static const struct hd_section_kind kinds[] = {
    {PROBE_ID "-rule", "a rule", HD_OPTIONS(struct rule_conf, rule_table)}};

static struct probe *probe_of(const struct hd_conf *conf)
{
    const struct conf *c = conf->conf;

    return c->probe.len ? (struct probe *)(uintptr_t)strtoull(c->probe.ptr, NULL, 0) : NULL;
}

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct probe *p = probe_of(conf);

    (void)self;
    if (!p)
        return HD_OK;
    p->checks++;
    if (p->check_code)
        strcpy(err->text, "the test says so");
    return p->check_code;
}

static void take(struct self *s, const struct hd_conf *conf)
{
    s->p = probe_of(conf);
    if (!s->p)
        return;
    s->p->host = s->base.host;
    s->p->self = s;
    s->p->number = ((const struct conf *)conf->conf)->number;
    s->p->sections = conf->section_count;
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;

    take(s, conf);
    if (!s->p)
        return HD_OK;
    s->p->starts++;
    return s->p->on_start ? s->p->on_start(s->p, err) : s->p->start_code;
}

static void reload(void *self, const struct hd_conf *conf)
{
    struct self *s = self;

    take(s, conf);
    if (s->p)
        s->p->reloads++;
}

static int32_t stop(void *self)
{
    struct self *s = self;

    if (!s->p)
        return HD_OK;
    s->p->stops++;
    return s->p->stop_code;
}

static void destroy(void *self)
{
    struct self *s = self;

    if (s->p)
        s->p->destroys++;
    free_self(s);
}

#ifndef PROBE_NO_FILTER
struct worker_state {
    struct self *s;
    uint32_t worker;
};

static void *worker_start(void *self, uint32_t worker)
{
    struct self *s = self;
    struct worker_state *ws = calloc(1, sizeof(*ws));

    if (ws)
        *ws = (struct worker_state){s, worker};
    if (s->p)
        s->p->worker_starts++;
    return ws;
}

static void worker_stop(void *self, void *ws)
{
    struct self *s = self;

    if (s->p)
        s->p->worker_stops++;
    free(ws);
}

static void *session_open(void *self, void *ws, uint64_t session_id, struct hd_str database,
                          struct hd_str user)
{
    struct self *s = self;
    uint64_t *state = malloc(sizeof(*state));

    (void)ws;
    (void)database;
    (void)user;
    if (state)
        *state = session_id;
    if (s->p)
        s->p->opens++;
    return state;
}

static void session_close(void *self, void *ws, void *state)
{
    struct self *s = self;

    (void)ws;
    if (s->p)
        s->p->closes++;
    free(state);
}

static void plan_destroy(void *data)
{
    struct probe **p = data;

    (*p)->plan_destroys++;
    free(data);
}

static int32_t plan(void *self, void *ws, const hd_template *t, struct hd_plan *out)
{
    struct self *s = self;
    struct probe **data;

    (void)ws;
    if (!s->p)
        return HD_OK;
    s->p->plans++;
    out->want = s->p->want;
    if (s->p->plan && s->p->plan(s->p, t, out))
        return HD_EFAIL;
    data = malloc(sizeof(*data));
    if (!data)
        return HD_ENOMEM;
    *data = s->p;
    out->data = data;
    out->destroy = plan_destroy;
    return HD_OK;
}

static int32_t statement(void *self, void *ws, void *data, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    struct self *s = self;

    (void)ws;
    (void)data;
    s->p->statements++;
    if (*(uint64_t *)st->session_state != st->session_id)
        return HD_EFAIL;
    *st->slot = s;
    return s->p->statement ? s->p->statement(s->p, st, v) : HD_OK;
}

static void on_data(void *self, void *ws, void *data, const struct hd_statement *st, struct hd_str bytes)
{
    struct self *s = self;

    (void)ws;
    (void)data;
    (void)st;
    (void)bytes;
    s->p->datas++;
}

static void complete(void *self, void *ws, void *data, const struct hd_statement *st,
                     const struct hd_outcome *o)
{
    struct self *s = self;

    (void)ws;
    (void)data;
    s->p->completes++;
    if (s->p->complete)
        s->p->complete(s->p, st, o);
}

static int32_t transaction(void *self, void *ws, const struct hd_transaction *t)
{
    struct self *s = self;

    (void)ws;
    s->p->transactions++;
    if (t->session_state && *(uint64_t *)t->session_state != t->session_id)
        return HD_EFAIL;
    return s->p->transaction ? s->p->transaction(s->p, t) : HD_OK;
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .session_open = session_open,
    .session_close = session_close,
    .plan = plan,
    .statement = statement,
    .data = on_data,
    .complete = complete,
    .transaction = transaction,
};
#else
static const void *store_alone(const char *name)
{
    static const uint32_t store[2] = {sizeof(store), 0};

    return strcmp(name, "test.store/1") ? NULL : store;
}
#endif

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    .section_count = 1,
    .id = PROBE_ID,
    .summary = "does what a test says",
    .options = HD_OPTIONS(struct conf, table),
    .sections = kinds,
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
#ifndef PROBE_NO_FILTER
    .capability = filter_alone,
#else
    .capability = store_alone,
#endif
};
