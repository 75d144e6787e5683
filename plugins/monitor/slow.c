/* Slow statements; see slow.h. The ring is shared by all workers, under a lock that only slow ones take. */
#include "slow.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX   2000
#define PAST_LEAST 20 /* executions that make a past */
#define SECOND     UINT64_C(1000000000)

struct record {
    uint64_t number; /* 0: empty */
    int64_t time_us;
    uint64_t fingerprint, total_ns, queue_ns, first_ns, rows, bytes, usual_ns;
    uint32_t kind, statements, params, answered;
    uint64_t facts;
    char database[HD_EVENT_NAME], user[HD_EVENT_NAME], application[HD_EVENT_NAME], node[HD_EVENT_NAME],
        dbname[HD_EVENT_NAME], sqlstate[8];
    char search_path[256]; /* empty: not known */
    uint32_t text_len;     /* of all of it; TEXT_MAX are kept */
    char text[TEXT_MAX];
};

struct mon_slow {
    struct mon *self;
    pthread_mutex_t lock;
    struct hd_stats_watch watch;
    /* Workers read these while the control thread changes them. */
    _Atomic uint64_t threshold_ns, factor_milli, gap_ns;
    _Atomic uint64_t
        spent_ns;   /* until when the records of a second are used up, were there no more of them */
    uint64_t count; /* ever recorded */
    uint32_t room;
    struct record *ring;
    int64_t seen, recorded; /* metrics */
};

static void copy(char *to, size_t room, struct hd_str from)
{
    size_t n = from.len < room - 1 ? (size_t)from.len : room - 1;

    if (n)
        memcpy(to, from.ptr, n);
    to[n] = 0;
}

static void fill(const struct mon_slow *s, struct record *r, const struct hd_statement *st,
                 const struct hd_outcome *o, const struct hd_stats_past *past)
{
    struct hd_template_info info = {.size = sizeof(info)};
    struct timespec ts;
    const char *path;

    memset(r, 0, offsetof(struct record, text));
    clock_gettime(CLOCK_REALTIME, &ts);
    r->time_us = ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
    r->fingerprint = past->fingerprint;
    r->total_ns = o->total_ns;
    r->queue_ns = o->queue_ns;
    r->first_ns = o->first_ns;
    r->rows = o->rows;
    r->bytes = o->bytes;
    r->answered = o->answered_by;
    r->usual_ns = past->calls ? past->total_ns / past->calls : 0;
    copy(r->database, sizeof(r->database), st->database);
    copy(r->user, sizeof(r->user), st->user);
    copy(r->application, sizeof(r->application), st->application_name);
    copy(r->node, sizeof(r->node), st->node);
    copy(r->dbname, sizeof(r->dbname), st->dbname);
    memcpy(r->sqlstate, o->sqlstate, sizeof(r->sqlstate));
    path = st->flags & HD_STMT_SETTINGS_UNSURE ? NULL : hd_statement_setting(st, "search_path");
    if (path && strlen(path) < sizeof(r->search_path) && !strchr(path, 0x5c)) /* no backslash: see quote */
        copy(r->search_path, sizeof(r->search_path), (struct hd_str){path, strlen(path)});
    if (s->self->template->info(st->tmpl, &info) != HD_OK)
        return;
    r->kind = info.kind;
    r->facts = info.facts;
    r->statements = info.statements;
    r->params = info.params + info.constants;
    r->text_len = (uint32_t)info.text.len;
    copy(r->text, sizeof(r->text), info.text);
}

/* Is it slow: past the threshold, or so many times its template's usual time? */
static int is_slow(const struct mon_slow *s, uint64_t total_ns, const struct hd_stats_past *past)
{
    uint64_t threshold = atomic_load_explicit(&s->threshold_ns, memory_order_relaxed);
    uint64_t factor = atomic_load_explicit(&s->factor_milli, memory_order_relaxed);

    if (threshold && total_ns >= threshold)
        return 1;
    return factor && past->calls >= PAST_LEAST &&
           (double)total_ns * 1000 >= (double)factor * ((double)past->total_ns / (double)past->calls);
}

/* Each record takes its part of a second; who would go further ahead than a second is only counted. So those
 * that end together, having waited for the same thing, are recorded up to slow_rate of them. */
static int has_its_turn(struct mon_slow *s)
{
    uint64_t gap = atomic_load(&s->gap_ns), spent = atomic_load(&s->spent_ns), now = mon_now_ns(), from;

    if (!gap)
        return 1;
    do {
        from = spent > now ? spent : now;
        if (from + gap > now + SECOND)
            return 0;
    } while (!atomic_compare_exchange_weak(&s->spent_ns, &spent, from + gap));
    return 1;
}

/* [worker] */
static void slow(void *arg, const struct hd_statement *st, const struct hd_outcome *o,
                 const struct hd_stats_past *past)
{
    struct mon_slow *s = arg;
    const struct hd_metrics_v1 *m = s->self->metrics;

    if (!is_slow(s, o->total_ns, past))
        return;
    m->add(s->self->host, s->seen, 1);
    if (!has_its_turn(s))
        return;
    m->add(s->self->host, s->recorded, 1);
    pthread_mutex_lock(&s->lock);
    fill(s, &s->ring[s->count % s->room], st, o, past);
    s->ring[s->count % s->room].number = s->count + 1;
    s->count++;
    pthread_mutex_unlock(&s->lock);
}

/* --- life
 * ------------------------------------------------------------------------------------------------------ */

static void take_conf(struct mon_slow *s)
{
    const struct mon_conf *c = s->self->conf;

    atomic_store(&s->threshold_ns, (uint64_t)c->slow_threshold * 1000000);
    atomic_store(&s->factor_milli, (uint64_t)(c->slow_factor * 1000));
    atomic_store(&s->gap_ns, c->slow_rate ? SECOND / (uint64_t)c->slow_rate : 0);
}

/* From how many nanoseconds on an execution is looked at; 0: none is. */
static uint64_t floor_of(const struct mon_conf *c)
{
    int64_t ms = c->slow_threshold;

    if (c->slow_factor > 0 && (!ms || c->slow_floor < ms))
        ms = c->slow_floor;
    return (uint64_t)ms * 1000000;
}

static void watch(struct mon_slow *s)
{
    struct mon *self = s->self;

    s->watch.floor_ns = floor_of(self->conf);
    if (self->stats && s->watch.floor_ns && self->stats->watch(self->stats_self, &s->watch) != HD_OK)
        mon_log(self, HD_LEVEL_WARNING, "slow statements are not recorded: another plugin watches them", NULL,
                NULL);
}

int32_t mon_slow_start(struct mon *self, struct hd_error *err)
{
    struct mon_slow *s = calloc(1, sizeof(*s));

    if (!s)
        return hd_error_set(err, HD_ENOMEM, "no memory for slow statements");
    s->self = self;
    self->slow = s;
    pthread_mutex_init(&s->lock, NULL);
    s->room = (uint32_t)self->conf->slow_keep;
    s->ring = calloc(s->room, sizeof(*s->ring));
    if (!s->ring)
        return hd_error_set(err, HD_ENOMEM, "no memory for slow statements");
    s->seen = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_slow_statements_total",
                                 "Executions that were slow", NULL, 0);
    s->recorded = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_slow_statements_recorded_total",
                                     "Of them, those that are recorded: at most slow_rate a second", NULL, 0);
    s->watch = (struct hd_stats_watch){.size = sizeof(s->watch), .slow = slow, .arg = s};
    take_conf(s);
    watch(s);
    return HD_OK;
}

/* A worker may be in slow() until it has run this. [worker] */
static void passed(void *arg)
{
    mon_errand_end(arg);
}

static void unwatch(struct mon_slow *s)
{
    if (s->self->stats)
        s->self->stats->watch(s->self->stats_self, NULL);
}

void mon_slow_reload(struct mon *self)
{
    struct mon_slow *s = self->slow;

    take_conf(s);
    if (floor_of(self->conf) == s->watch.floor_ns)
        return;
    /* What workers read of the watch meanwhile is its function and argument, which stay. */
    unwatch(s);
    watch(s);
}

void mon_slow_stop(struct mon *self)
{
    if (!self->slow || !self->stats)
        return;
    unwatch(self->slow);
    for (uint32_t i = 0; i < hd_host_api(self->host)->workers; i++) {
        mon_errand_begin(self);
        if (self->loop->post(self->host, (int32_t)i, passed, self) != HD_OK)
            mon_errand_end(self);
    }
}

void mon_slow_free(struct mon_slow *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s->ring);
    free(s);
}

/* --- SHOW SLOW
 * --------------------------------------------------------------------------------------------------- */

static double ms(uint64_t ns)
{
    return (double)(int64_t)((double)ns / 1e3 + 0.5) / 1e3;
}

static void show_record(const struct mon *self, hd_result *out, const struct record *r)
{
    const struct hd_commands_v1 *c = self->commands;
    char hex[20];

    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)r->fingerprint);
    c->integer(out, (int64_t)r->number);
    c->integer(out, r->time_us);
    mon_text(self, out, hex);
    mon_text(self, out, r->database);
    mon_text(self, out, r->user);
    mon_text(self, out, r->application[0] ? r->application : NULL);
    mon_text(self, out, r->node[0] ? r->node : NULL);
    c->real(out, ms(r->total_ns));
    c->real(out, ms(r->queue_ns));
    c->real(out, ms(r->first_ns));
    if (r->usual_ns)
        c->real(out, ms(r->usual_ns));
    else
        c->null(out);
    c->integer(out, (int64_t)r->rows);
    c->integer(out, (int64_t)r->bytes);
    mon_text(self, out, r->sqlstate);
    mon_text(self, out, r->text);
}

int32_t mon_show_slow(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    struct mon_slow *s = self->slow;
    uint64_t top = s->room;

    if (call->arg_count == 2 && mon_word_is(call->args[0], "TOP"))
        top = hd_str_number(call->args[1]);
    else if (call->arg_count)
        top = 0;
    if (!top)
        return hd_error_set(err, HD_EINVAL, "usage: SHOW SLOW [TOP n]");
    mon_columns(self, call->result, "number", HD_COL_INT, "time", HD_COL_TIME, "fingerprint", HD_COL_TEXT,
                "database", HD_COL_TEXT, "user", HD_COL_TEXT, "application", HD_COL_TEXT, "node", HD_COL_TEXT,
                "total_ms", HD_COL_REAL, "queue_ms", HD_COL_REAL, "first_ms", HD_COL_REAL, "usual_ms",
                HD_COL_REAL, "rows", HD_COL_INT, "bytes", HD_COL_INT, "sqlstate", HD_COL_TEXT, "statement",
                HD_COL_TEXT, NULL);
    pthread_mutex_lock(&s->lock);
    for (uint64_t i = 0; i < s->room && i < s->count && i < top; i++) {
        const struct record *r = &s->ring[(s->count - 1 - i) % s->room];

        if (r->number)
            show_record(self, call->result, r);
    }
    pthread_mutex_unlock(&s->lock);
    return HD_OK;
}

int32_t mon_slow_reset(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon_slow *s = ((struct mon *)arg)->slow;

    (void)err;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->room; i++)
        s->ring[i].number = 0;
    pthread_mutex_unlock(&s->lock);
    s->self->commands->message(call->result, "SLOW RESET");
    return HD_OK;
}

/* --- SHOW SLOW PLAN
 * ------------------------------------------------------------------------------------------------ */

struct plan {
    struct mon *self;
    hd_result *result;
};

static void planned(void *arg, const struct hd_sql_result *r)
{
    struct plan *p = arg;
    struct mon *self = p->self;
    struct hd_error err = HD_ERROR_INIT;

    if (r->code) {
        hd_error_set(&err, r->code, "it cannot be explained: %.*s", (int)r->message.len,
                     r->message.len ? r->message.ptr : "");
    } else {
        mon_columns(self, p->result, "plan", HD_COL_TEXT, NULL);
        for (uint32_t i = 0; i < r->rows && r->columns == 1; i++)
            self->commands->text(p->result, r->cells[i]);
    }
    self->commands->finish(p->result, r->code, r->code ? &err : NULL);
    free(p);
    mon_errand_end(self);
}

/* Why there is no plan of a statement; NULL: there can be one. */
static const char *why_not(const struct record *r)
{
    const uint64_t kinds = HD_KIND_BIT(SELECT) | HD_KIND_BIT(INSERT) | HD_KIND_BIT(UPDATE) |
                           HD_KIND_BIT(DELETE) | HD_KIND_BIT(MERGE);

    if (!(kinds >> r->kind & 1) || r->statements != 1 || r->facts & HD_FACT_UNSURE)
        return "only a single SELECT, INSERT, UPDATE, DELETE or MERGE has a plan";
    if (r->text_len >= TEXT_MAX)
        return "its text was too long to be kept whole";
    if (!r->node[0])
        return "it did not reach a server";
    return NULL;
}

/* A name or a string in quotes of that kind. */
static void quote(char *to, const char *text, char with)
{
    *to++ = with;
    for (; *text; text++) {
        if (*text == with)
            *to++ = with;
        *to++ = *text;
    }
    *to++ = with;
    *to = 0;
}

/* PREPARE and EXPLAIN EXECUTE with a generic plan, which needs no values and runs nothing. */
static char *plan_text(const struct record *r)
{
    size_t room = 2 * HD_EVENT_NAME + 2 * sizeof(r->search_path) + r->text_len + 6 * (size_t)r->params + 400;
    char *sql = malloc(room), role[2 * HD_EVENT_NAME + 3], path[2 * sizeof(r->search_path) + 3];
    size_t n;

    if (!sql)
        return NULL;
    quote(role, r->user, '"');
    quote(path, r->search_path[0] ? r->search_path : "\"$user\", public", '\'');
    n = (size_t)snprintf(sql, room,
                         "SET LOCAL transaction_read_only = on; SELECT set_config('search_path', %s, true);"
                         " SET LOCAL ROLE %s; SET LOCAL plan_cache_mode = force_generic_plan;"
                         " DEALLOCATE ALL; PREPARE howdah_slow AS %s; EXPLAIN EXECUTE howdah_slow",
                         path, role, r->text);
    for (uint32_t i = 0; i < r->params; i++)
        n += (size_t)snprintf(sql + n, room - n, "%sNULL", i ? ", " : " (");
    snprintf(sql + n, room - n, "%s", r->params ? ")" : "");
    return sql;
}

static int find_record(struct mon_slow *s, uint64_t number, struct record *out)
{
    int found = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; number && i < s->room && !found; i++)
        if (s->ring[i].number == number) {
            *out = s->ring[i];
            found = 1;
        }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static int32_t ask_plan(struct mon *self, const struct record *r, hd_result *result, struct hd_error *err)
{
    struct plan *p = calloc(1, sizeof(*p));
    char *sql = plan_text(r);
    struct hd_sql ask = {.size = sizeof(ask), .node = r->node, .database = r->dbname, .text = sql};
    int64_t handle;

    ask.statement_timeout_ms = (uint64_t)self->conf->collect_timeout;
    if (!p || !sql) {
        free(p);
        free(sql);
        return hd_error_set(err, HD_ENOMEM, "no memory to ask for a plan");
    }
    *p = (struct plan){self, result};
    mon_errand_begin(self);
    handle = self->jobs->sql(self->host, &ask, planned, p);
    free(sql);
    if (handle > 0)
        return HD_PENDING;
    free(p);
    mon_errand_end(self);
    return hd_error_set(err, HD_EFULL, "too many jobs wait; ask again");
}

int32_t mon_show_slow_plan(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    struct record r;
    const char *why;

    if (call->arg_count != 1)
        return hd_error_set(err, HD_EINVAL, "usage: SHOW SLOW PLAN number");
    if (!find_record(self->slow, hd_str_number(call->args[0]), &r))
        return hd_error_set(err, HD_ENOENT, "there is no slow statement of that number (any more)");
    why = why_not(&r);
    return why ? hd_error_set(err, HD_EUNSUPP, "%s", why) : ask_plan(self, &r, call->result, err);
}
