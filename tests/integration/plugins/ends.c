/*
 * A filter that hears of the ends of transactions, and may hold them back: for tests with real clients. Texts
 * with a comment
 *
 *     / * ends * /            (without the blanks) want to hear of it
 *     / * ends hold MS * /    and hold it back for so long, by a timer on the worker's loop
 *     / * ends thread * /     … until a thread of the plugin's own says go, at once: it may be there first
 *     / * ends never * /      … for ever
 *
 * Each end that was told is one line of SHOW ENDS.
 */
#include "skeleton.h"

#include <stdatomic.h>
#include <stdio.h>

#define MARK "/* ends"
#define MAX  4096

struct end {
    uint64_t session;
    uint32_t end, flags;
    uint64_t handle, about;
    char node[32];
};

struct self {
    struct base base;
    struct end ends[MAX]; /* guarded by lock */
    uint32_t count;
    _Atomic int64_t late;
};

/* What a session wants done at its next end. */
struct session {
    int64_t hold_ms; /* -1: never; -2: by a thread; 0: not at all */
};

struct later {
    struct self *self;
    uint64_t handle;
    hd_timer *timer;
};

static void resume(struct later *l)
{
    const struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE};

    if (l->self->base.statement->resume(l->self->base.host, l->handle, &v) != HD_OK)
        l->self->late++;
    free(l);
}

static void on_timer(void *arg)
{
    struct later *l = arg;

    l->self->base.loop->untimer(l->timer);
    resume(l);
}

static void *run(void *arg)
{
    resume(arg);
    return NULL;
}

static int32_t hold(struct self *s, const struct hd_transaction *t, int64_t ms)
{
    struct later *l = calloc(1, sizeof(*l));
    pthread_t thread;

    if (!l)
        return HD_ENOMEM;
    l->self = s;
    l->handle = t->handle;
    if (ms == -1)
        free(l);
    else if (ms == -2 && !pthread_create(&thread, NULL, run, l))
        pthread_join(thread, NULL);
    else if (ms > 0)
        l->timer = s->base.loop->timer(s->base.host, (uint64_t)ms, 0, on_timer, l);
    return HD_PENDING;
}

static int32_t transaction(void *self, void *ws, const struct hd_transaction *t)
{
    struct self *s = self;
    struct session *session = t->session_state;
    int64_t ms = session ? session->hold_ms : 0;

    (void)ws;
    pthread_mutex_lock(&s->base.lock);
    if (s->count < MAX) {
        struct end *e = &s->ends[s->count++];

        e->session = t->session_id;
        e->end = t->end;
        e->flags = t->flags;
        e->handle = t->handle;
        e->about = t->about;
        snprintf(e->node, sizeof(e->node), "%.*s", (int)t->node.len, t->node.ptr);
    }
    pthread_mutex_unlock(&s->base.lock);
    if (!ms)
        return HD_OK;
    session->hold_ms = 0;
    return hold(s, t, ms);
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    struct session *session = st->session_state;
    const char *how = after_mark(st, MARK);

    (void)self;
    (void)ws;
    (void)plan;
    (void)v;
    if (!how || !session)
        return HD_OK;
    if (!strncmp(how, " hold ", 6))
        session->hold_ms = strtoll(how + 6, NULL, 10);
    else if (!strncmp(how, " never", 6))
        session->hold_ms = -1;
    else if (!strncmp(how, " thread", 7))
        session->hold_ms = -2;
    return HD_OK;
}

/* Comments are not in the template: writes want it, and what says so by a name. */
static int32_t plan(void *self, void *ws, const hd_template *t, struct hd_plan *out)
{
    struct hd_template_info info = {.size = sizeof(info)};
    struct self *s = self;

    (void)ws;
    if (s->base.template->info(t, &info) == HD_OK && (info.facts & (HD_FACT_WRITES | HD_FACT_DEFINES)))
        out->want = HD_WANT_DECIDE | HD_WANT_TRANSACTION;
    return HD_OK;
}

static void *session_open(void *self, void *ws, uint64_t id, struct hd_str database, struct hd_str user)
{
    (void)self;
    (void)ws;
    (void)id;
    (void)database;
    (void)user;
    return calloc(1, sizeof(struct session));
}

static void session_close(void *self, void *ws, void *state)
{
    (void)self;
    (void)ws;
    free(state);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .session_open = session_open,
    .session_close = session_close,
    .plan = plan,
    .statement = statement,
    .transaction = transaction,
};

/* --- SHOW ENDS ----------------------------------------------------------------------------------------- */

static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const names[] = {"?",       "committed", "rolled back", "prepared",
                                        "unknown", "abandoned", "settled"};
    struct self *s = arg;

    (void)err;
    s->base.commands->column(call->result, "session", HD_COL_INT);
    s->base.commands->column(call->result, "end", HD_COL_TEXT);
    s->base.commands->column(call->result, "node", HD_COL_TEXT);
    s->base.commands->column(call->result, "open", HD_COL_INT);
    s->base.commands->column(call->result, "handle", HD_COL_INT);
    s->base.commands->column(call->result, "about", HD_COL_INT);
    pthread_mutex_lock(&s->base.lock);
    for (uint32_t i = 0; i < s->count; i++) {
        const char *name = names[s->ends[i].end < 7 ? s->ends[i].end : 0];

        s->base.commands->integer(call->result, (int64_t)s->ends[i].session);
        s->base.commands->text(call->result, (struct hd_str){name, strlen(name)});
        s->base.commands->text(call->result, (struct hd_str){s->ends[i].node, strlen(s->ends[i].node)});
        s->base.commands->integer(call->result, (s->ends[i].flags & HD_TRANSACTION_OPEN) != 0);
        s->base.commands->integer(call->result, (int64_t)s->ends[i].handle);
        s->base.commands->integer(call->result, (int64_t)s->ends[i].about);
    }
    s->count = 0;
    pthread_mutex_unlock(&s->base.lock);
    return HD_OK;
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;

    (void)conf;
    if (get_services(&s->base))
        return HD_EVERSION;
    return s->base.commands->add(s->base.host, "SHOW ENDS", "", "transactions' ends, told once", 0, show, s,
                                 err);
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,      TEST_PLUGIN_QUIET, .id = "ends",   .summary = "hears of transactions' ends",
    .options = NO_OPTIONS, .create = create,  .start = start, .capability = filter_alone,
};
