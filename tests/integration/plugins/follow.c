/*
 * Follows change streams and writes down what they tell, for tests of the plugin change-stream. All by
 * commands: FOLLOW OPEN NODE DATABASE gives a number, which the others take; FOLLOW EVENTS shows what was
 * written down.
 */
#include "skeleton.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define MAX_FOLLOWED 16
#define MAX_LINE     4000

struct followed {
    struct self *self;
    int number;
    hd_stream *stream;
};

struct line {
    struct line *next;
    int number;
    char text[];
};

struct self {
    struct base base;
    const struct hd_change_stream_v1 *streams;
    void *streams_self;
    struct followed followed[MAX_FOLLOWED];
    struct line *first, **last; /* guarded by lock */
};

/* --- what is told -------------------------------------------------------------------------------------- */

static void note(struct followed *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct followed *f, const char *fmt, ...)
{
    struct self *s = f->self;
    char text[MAX_LINE];
    struct line *l;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    l = malloc(sizeof(*l) + strlen(text) + 1);
    if (!l)
        abort();
    l->next = NULL;
    l->number = f->number;
    strcpy(l->text, text);
    pthread_mutex_lock(&s->base.lock);
    *s->last = l;
    s->last = &l->next;
    pthread_mutex_unlock(&s->base.lock);
}

static void on_state(void *arg, uint32_t state, uint64_t lsn)
{
    static const char *const names[] = {"?", "starting", "running", "stopped"};

    note(arg, "state %s%s", names[state], state == HD_STREAM_RUNNING && !lsn ? " nowhere" : "");
}

static void on_lost(void *arg, const char *reason)
{
    note(arg, "lost %s", reason);
}

static void on_relation(void *arg, const struct hd_stream_relation *r)
{
    char text[MAX_LINE] = "";

    for (uint32_t i = 0; i < r->column_count; i++) {
        size_t at = strlen(text);

        snprintf(text + at, sizeof(text) - at, " %s%s:%u", r->columns[i].name.ptr,
                 r->columns[i].flags & HD_STREAM_COLUMN_KEY ? "*" : "", r->columns[i].type);
    }
    note(arg, "relation %s.%s %c%s", r->schema.ptr, r->name.ptr, (int)r->identity, text);
}

static void on_begin(void *arg, uint32_t xid)
{
    note(arg, "begin %u", xid);
}

static void write_row(char *out, size_t room, const struct hd_stream_relation *r,
                      const struct hd_stream_value *values)
{
    static const char *const kinds[] = {"?", "NULL", "", "(unchanged)", "(absent)"};

    out[0] = 0;
    for (uint32_t i = 0; values && i < r->column_count; i++) {
        const struct hd_stream_value *v = &values[i];
        size_t at = strlen(out);
        int len = v->kind == HD_STREAM_TEXT ? (int)(v->text.len < 100 ? v->text.len : 100) : 0;

        snprintf(out + at, room - at, "%s%s=%s%.*s", i ? "," : "", r->columns[i].name.ptr, kinds[v->kind],
                 len, len ? v->text.ptr : "");
    }
}

static void on_row(void *arg, const struct hd_stream_row *row)
{
    static const char *const kinds[] = {"?", "insert", "update", "delete"};
    char old[MAX_LINE / 3], new_row[MAX_LINE / 3];

    write_row(old, sizeof(old), row->relation, row->old);
    write_row(new_row, sizeof(new_row), row->relation, row->new_row);
    note(arg, "%s %u %s [%s] [%s]", kinds[row->kind], row->xid, row->relation->name.ptr, old, new_row);
}

static void on_truncate(void *arg, uint32_t xid, const uint32_t *oids, uint32_t count)
{
    char text[MAX_LINE] = "";

    for (uint32_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " %u", oids[i]);
    note(arg, "truncate %u%s", xid, text);
}

static void on_message(void *arg, uint32_t xid, struct hd_str prefix, struct hd_str content)
{
    note(arg, "message %u %.*s %.*s", xid, (int)prefix.len, prefix.ptr, (int)content.len, content.ptr);
}

static void on_commit(void *arg, uint32_t xid, uint64_t commit_lsn, uint64_t end_lsn)
{
    note(arg, "commit %u%s", xid, commit_lsn < end_lsn ? "" : " without an end");
}

static void on_settled(void *arg, uint32_t xid)
{
    note(arg, "settled %u", xid);
}

static void on_coverage(void *arg, uint32_t oid, uint32_t covered, const char *reason)
{
    note(arg, "coverage %u %s%s", oid, covered ? "yes" : "no: ", reason);
}

static void on_changed(void *arg, uint32_t what)
{
    note(arg, "changed %s", what == HD_STREAM_CHANGED_ROLES ? "roles" : "ddl");
}

static const struct hd_stream_consumer consumer = {
    .size = sizeof(struct hd_stream_consumer),
    .state = on_state,
    .lost = on_lost,
    .relation = on_relation,
    .begin = on_begin,
    .row = on_row,
    .truncate = on_truncate,
    .message = on_message,
    .commit = on_commit,
    .settled = on_settled,
    .coverage = on_coverage,
    .changed = on_changed,
};

/* --- commands ------------------------------------------------------------------------------------------ */

static uint64_t number(struct hd_str text)
{
    return strtoull(text.ptr, NULL, 10);
}

/* The stream that the first word names. */
static struct followed *which(struct self *s, const struct hd_call *call, struct hd_error *err)
{
    uint64_t n = call->arg_count ? number(call->args[0]) : MAX_FOLLOWED;

    if (n < MAX_FOLLOWED && s->followed[n].stream)
        return &s->followed[n];
    snprintf(err->text, sizeof(err->text), "no such stream is followed");
    return NULL;
}

static int32_t answer(struct self *s, const struct hd_call *call, const char *text)
{
    s->base.commands->column(call->result, "answer", HD_COL_TEXT);
    s->base.commands->text(call->result, (struct hd_str){text, strlen(text)});
    return HD_OK;
}

static int32_t answer_number(struct self *s, const struct hd_call *call, uint64_t n)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    return answer(s, call, text);
}

static int32_t do_open(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    int n = 0;
    int32_t code;

    while (n < MAX_FOLLOWED - 1 && s->followed[n].stream)
        n++;
    if (call->arg_count != 2)
        return HD_EINVAL;
    s->followed[n] = (struct followed){.self = s, .number = n};
    code = s->streams->open(s->streams_self, call->args[0], call->args[1], &consumer, &s->followed[n],
                            &s->followed[n].stream, err);
    return code ? code : answer_number(s, call, (uint64_t)n);
}

static int32_t do_close(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct followed *f = which(arg, call, err);

    if (!f)
        return HD_ENOENT;
    f->self->streams->close(f->stream);
    f->stream = NULL;
    return HD_OK;
}

static int32_t do_cover(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct followed *f = which(arg, call, err);
    uint32_t oids[64], n = 0;

    if (!f)
        return HD_ENOENT;
    for (uint32_t i = 1; i < call->arg_count && n < 64; i++)
        oids[n++] = (uint32_t)number(call->args[i]);
    return answer_number(f->self, call, (uint64_t)-f->self->streams->cover(f->stream, oids, n));
}

static int32_t do_covered(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct followed *f = which(arg, call, err);

    if (!f || call->arg_count != 2)
        return HD_ENOENT;
    return answer_number(f->self, call,
                         (uint64_t)f->self->streams->covered(f->stream, (uint32_t)number(call->args[1])));
}

static int32_t do_position(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct followed *f = which(arg, call, err);

    return f ? answer_number(f->self, call, f->self->streams->position(f->stream)) : HD_ENOENT;
}

struct pending {
    struct self *self;
    hd_result *result;
};

static void finish(struct pending *p, int32_t code, uint64_t lsn)
{
    char text[64];

    snprintf(text, sizeof(text), "%d %" PRIu64, (int)code, lsn);
    p->self->base.commands->column(p->result, "answer", HD_COL_TEXT);
    p->self->base.commands->text(p->result, (struct hd_str){text, strlen(text)});
    p->self->base.commands->finish(p->result, HD_OK, NULL);
    free(p);
}

static void on_done(void *arg, int32_t code, uint64_t lsn)
{
    finish(arg, code, lsn);
}

/* FOLLOW WAIT n lsn ms, FOLLOW CHECK n ms */
static int32_t wait_or_check(void *arg, const struct hd_call *call, struct hd_error *err, int is_check)
{
    struct followed *f = which(arg, call, err);
    struct pending *p;
    int32_t code;

    if (!f || call->arg_count != (is_check ? 2 : 3))
        return HD_ENOENT;
    p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    p->self = arg;
    p->result = call->result;
    code = is_check
               ? f->self->streams->check(f->stream, number(call->args[1]), on_done, p)
               : f->self->streams->wait(f->stream, number(call->args[1]), number(call->args[2]), on_done, p);
    if (code != HD_PENDING)
        finish(p, code, 0);
    return HD_PENDING;
}

static int32_t do_wait(void *arg, const struct hd_call *call, struct hd_error *err)
{
    return wait_or_check(arg, call, err, 0);
}

static int32_t do_check(void *arg, const struct hd_call *call, struct hd_error *err)
{
    return wait_or_check(arg, call, err, 1);
}

/* FOLLOW EVENTS n: what was told since the last time. */
static int32_t do_events(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    int n = call->arg_count ? (int)number(call->args[0]) : 0;

    (void)err;
    s->base.commands->column(call->result, "event", HD_COL_TEXT);
    pthread_mutex_lock(&s->base.lock);
    for (struct line **at = &s->first; *at;) {
        struct line *l = *at;

        if (l->number != n) {
            at = &l->next;
            continue;
        }
        s->base.commands->text(call->result, (struct hd_str){l->text, strlen(l->text)});
        *at = l->next;
        free(l);
    }
    for (s->last = &s->first; *s->last; s->last = &(*s->last)->next)
        ;
    pthread_mutex_unlock(&s->base.lock);
    return HD_OK;
}

/* What the bus tells goes to a number of its own. */
static void on_event(void *arg, const struct hd_event *ev)
{
    static const char *const kinds[] = {"?", "insert", "update", "delete", "truncate", "gap"};
    const struct hd_event_row *row = ev->data;

    if (ev->overflow)
        note(arg, "overflow");
    else
        note(arg, "%s %u %s %s %s.%s %u", kinds[row->kind], row->xid, row->node, row->database, row->schema,
             row->table, row->oid);
}

static int32_t do_bus(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    struct followed *f = &s->followed[MAX_FOLLOWED - 1];
    const struct hd_bus_v1 *bus = hd_host_api(s->base.host)->service(s->base.host, HD_SERVICE_BUS);
    int64_t id;

    *f = (struct followed){.self = s, .number = MAX_FOLLOWED - 1};
    id = bus->subscribe(s->base.host, HD_TOPIC_ROW_CHANGED, on_event, f, err);
    return id < 0 ? (int32_t)id : answer_number(s, call, (uint64_t)f->number);
}

static int32_t do_setup(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;

    (void)err;
    return answer(s, call, s->streams->setup(s->streams_self));
}

static int32_t do_unsetup(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;

    (void)err;
    return answer(s, call, s->streams->unsetup(s->streams_self));
}

static int32_t do_info(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct followed *f = which(arg, call, err);
    struct hd_stream_info i = {.size = sizeof(i)};
    char text[200];

    if (!f)
        return HD_ENOENT;
    f->self->streams->info(f->stream, &i);
    snprintf(text, sizeof(text), "%u %u %u %" PRIu64, i.state, i.flags, i.unsettled, i.restarts);
    return answer(f->self, call, text);
}

static const struct {
    const char *name, *usage;
    int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err);
} commands[] = {
    {"FOLLOW OPEN", "node database", do_open},
    {"FOLLOW CLOSE", "n", do_close},
    {"FOLLOW COVER", "n oid …", do_cover},
    {"FOLLOW COVERED", "n oid", do_covered},
    {"FOLLOW POSITION", "n", do_position},
    {"FOLLOW WAIT", "n lsn ms", do_wait},
    {"FOLLOW CHECK", "n ms", do_check},
    {"FOLLOW EVENTS", "n", do_events},
    {"FOLLOW SETUP", "", do_setup},
    {"FOLLOW UNSETUP", "", do_unsetup},
    {"FOLLOW INFO", "n", do_info},
    {"FOLLOW BUS", "", do_bus},
};

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    struct self *s;
    int32_t code = make_self(host, sizeof(struct self), self);

    (void)err;
    if (code)
        return code;
    s = *self;
    s->last = &s->first;
    return HD_OK;
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;
    const void *vtable;
    int32_t code;

    (void)conf;
    if (get_services(&s->base))
        return HD_EVERSION;
    code =
        hd_host_api(s->base.host)
            ->capability(s->base.host, HD_CAP_CHANGE_STREAM, "change-stream", &vtable, &s->streams_self, err);
    s->streams = vtable;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]) && !code; i++)
        code = s->base.commands->add(s->base.host, commands[i].name, commands[i].usage, "follows a stream", 0,
                                     commands[i].fn, s, err);
    return code;
}

static int32_t stop(void *self)
{
    struct self *s = self;

    for (int n = 0; n < MAX_FOLLOWED; n++) {
        if (s->followed[n].stream)
            s->streams->close(s->followed[n].stream);
        s->followed[n].stream = NULL;
    }
    return HD_OK;
}

static void destroy(void *self)
{
    struct self *s = self;

    while (s->first) {
        struct line *l = s->first;

        s->first = l->next;
        free(l);
    }
    free_self(s);
}

static const struct hd_option table[] = {
    {"unused", NULL, NULL, "nothing", 0, 0, HD_OPT_STRING, 0, 0, 0},
};

struct conf {
    struct hd_str unused;
};

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    .id = "follow",
    .summary = "follows change streams",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .check = check_nothing,
    .start = start,
    .reload = reload_nothing,
    .stop = stop,
    .destroy = destroy,
    .capability = no_capability,
};
