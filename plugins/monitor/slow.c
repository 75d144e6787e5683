/* Slow statements; see slow.h. The ring is shared by all workers, under a lock that only slow ones take. */
#include "slow.h"

#include "plans.h"
#include "slow_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAST_LEAST 20 /* executions that make a past */
#define SECOND     UINT64_C(1000000000)

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
    struct mon_slow_record *ring;
    int64_t seen, recorded; /* metrics */
};

static void copy(char *to, size_t room, struct hd_str from)
{
    size_t n = from.len < room - 1 ? (size_t)from.len : room - 1;

    if (n)
        memcpy(to, from.ptr, n);
    to[n] = 0;
}

static void fill(const struct mon_slow *s, struct mon_slow_record *r, const struct hd_statement *st,
                 const struct hd_outcome *o, const struct hd_stats_past *past)
{
    struct hd_template_info info = {.size = sizeof(info)};
    struct timespec ts;

    memset(r, 0, offsetof(struct mon_slow_record, text));
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
    mon_slow_context(r, st);
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

static void show_record(const struct mon *self, hd_result *out, const struct mon_slow_record *r)
{
    const struct hd_commands_v1 *c = self->commands;
    char hex[20];
    int64_t changed;

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
    changed =
        mon_plans_changed(self->plans, r->fingerprint, (struct hd_str){r->database, strlen(r->database)},
                          (struct hd_str){r->user, strlen(r->user)});
    if (changed)
        c->integer(out, changed);
    else
        c->null(out);
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
                HD_COL_TEXT, "plan_changed", HD_COL_TIME, NULL);
    pthread_mutex_lock(&s->lock);
    for (uint64_t i = 0; i < s->room && i < s->count && i < top; i++) {
        const struct mon_slow_record *r = &s->ring[(s->count - 1 - i) % s->room];

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

void mon_slow_each(struct mon_slow *s, uint64_t after, void (*fn)(void *arg, const struct mon_slow_record *r),
                   void *arg)
{
    pthread_mutex_lock(&s->lock);
    for (uint64_t i = s->count > after + s->room ? s->count - s->room : after; i < s->count; i++)
        if (s->ring[i % s->room].number > after)
            fn(arg, &s->ring[i % s->room]);
    pthread_mutex_unlock(&s->lock);
}
