/* Series; see series.h. */
#include "series.h"

#include "series_names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What finds no memory in a table is not in it: never the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PENDING  60   /* samples of a series that wait to be put; at most that long a flush is away */
#define SKETCHES 64   /* sketches that are followed: each takes two copies of its bins */
#define SPREAD_S 3600 /* what comes after a longer time is spread over no more than that */
#define STEP_S   0.5  /* the clock was set by more than that, between two readings */

static const double quantiles[] = {0.5, 0.95, 0.99};
#define QUANTILES 3

struct series {
    char *key;
    const char *unit;
    uint32_t number;
    uint32_t pending_count;
    int64_t pending_time; /* of the first */
    double last;
    /* The minute that goes on. */
    int64_t minute; /* its start; 0: none */
    double sum, min, max;
    uint32_t n;
    float pending[PENDING];
    UT_hash_handle hh; /* by key */
};

/* What a counter that is read now and then has come to. */
struct readings {
    int64_t grown; /* since `from` */
    double from, to;
    uint64_t from_ns, to_ns; /* the same on a clock that nobody sets; 0: it was not read yet */
    double part;             /* of the second that `from` lies in: what has come in it up to there */
};

/* A metric that is followed. */
struct source {
    int64_t id;
    uint32_t type;
    uint64_t tick; /* when it was there last */
    int64_t value, before;
    int has_before;
    int named;               /* it was seen, and so has its series, if there is room */
    struct readings *seldom; /* NULL: it is what it is in each second */
    int again;               /* its name was still taken by a metric that had just gone: at the next look */
    double scale;
    struct series *series[QUANTILES + 1]; /* sketches: quantiles and the rate; else the first alone */
    struct hd_metric_bins *second,
        *minute;       /* sketches: what they were at the last look, and at the minute's start */
    UT_hash_handle hh; /* by id */
};

struct mon_series_set {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    uint32_t max, count, left_out, sketches;
    uint64_t tick, mono_ns;
    int64_t now;
    struct source *sources;
    struct series *series;
    uint32_t *free_numbers, free_count, free_room, next_number;
    struct mon_batch *out; /* while sampling */
    int taken;             /* a name was taken */
};

struct mon_series_set *mon_series_new(hd_host *host, const struct hd_metrics_v1 *metrics, uint32_t max)
{
    struct mon_series_set *set = calloc(1, sizeof(*set));

    if (!set)
        return NULL;
    set->host = host;
    set->metrics = metrics;
    set->max = max;
    return set;
}

void mon_series_limit(struct mon_series_set *set, uint32_t max)
{
    set->max = max;
}

uint32_t mon_series_count(const struct mon_series_set *set)
{
    return set->count;
}

uint32_t mon_series_left_out(const struct mon_series_set *set)
{
    return set->left_out;
}

/* --- series -----------------------------------------------------------------------------------------------
 */

static uint32_t take_number(struct mon_series_set *set)
{
    return set->free_count ? set->free_numbers[--set->free_count] : set->next_number++;
}

static void give_number(struct mon_series_set *set, uint32_t number)
{
    if (set->free_count == set->free_room) {
        uint32_t room = set->free_room ? 2 * set->free_room : 64;
        uint32_t *numbers = realloc(set->free_numbers, room * sizeof(*numbers));

        if (!numbers)
            return; /* the number is lost, and nothing else */
        set->free_numbers = numbers;
        set->free_room = room;
    }
    set->free_numbers[set->free_count++] = number;
}

static struct series *add_series(struct mon_series_set *set, const struct hd_metric_seen *m, const char *tail,
                                 const char *unit)
{
    char *key = mon_series_key(m, tail);
    struct series *s = NULL;

    if (key)
        HASH_FIND_STR(set->series, key, s);
    set->taken |= s != NULL;
    if (!key || s || set->count >= set->max || !(s = calloc(1, sizeof(*s)))) {
        free(key);
        return NULL;
    }
    s->key = key;
    s->unit = unit;
    s->last = NAN;
    s->number = take_number(set);
    if (mon_batch_define(set->out, s->number, key, unit) != HD_OK) {
        give_number(set, s->number);
        free(key);
        free(s);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, set->series, s->key, strlen(s->key), s);
    if (!s->hh.tbl) {
        give_number(set, s->number);
        free(key);
        free(s);
        return NULL;
    }
    set->count++;
    return s;
}

static void put_pending(struct series *s, struct mon_batch *out)
{
    if (s->pending_count)
        mon_batch_put(out, s->number, MON_SECOND, s->pending_time, s->pending, s->pending_count);
    s->pending_count = 0;
}

/* The minute's sample; `exact` instead of the seconds' mean, where it is known. */
static void put_minute(struct series *s, double exact, struct mon_batch *out)
{
    float v[3];

    if (!s->minute || !s->n)
        return;
    v[0] = (float)(isnan(exact) ? s->sum / s->n : exact);
    v[1] = (float)s->min;
    v[2] = (float)s->max;
    mon_batch_put(out, s->number, MON_MINUTE, s->minute, v, 1);
}

static void begin_minute(struct series *s, int64_t minute)
{
    s->minute = minute;
    s->sum = s->min = s->max = 0;
    s->n = 0;
}

static void drop_series(struct mon_series_set *set, struct series *s)
{
    put_pending(s, set->out);
    put_minute(s, NAN, set->out);
    HASH_DEL(set->series, s);
    give_number(set, s->number);
    set->count--;
    free(s->key);
    free(s);
}

/* What a series was worth in a second. The minute before has been put where it was over. */
static void record_at(struct mon_series_set *set, struct series *s, int64_t second, double value)
{
    if (!s || isnan(value))
        return;
    if (s->pending_count && (s->pending_count == PENDING || second != s->pending_time + s->pending_count))
        put_pending(s, set->out);
    if (!s->pending_count)
        s->pending_time = second;
    s->pending[s->pending_count++] = (float)value;
    s->last = value;
    if (s->minute != second - second % 60)
        begin_minute(s, second - second % 60);
    s->sum += value;
    s->min = s->n && s->min < value ? s->min : value;
    s->max = s->n && s->max > value ? s->max : value;
    s->n++;
}

static void record(struct mon_series_set *set, struct series *s, double value)
{
    record_at(set, s, set->now, value);
}

/* --- sources ----------------------------------------------------------------------------------------------
 */

static void free_source(struct mon_series_set *set, struct source *src)
{
    for (int i = 0; i <= QUANTILES; i++)
        if (src->series[i])
            drop_series(set, src->series[i]);
    set->sketches -= src->second != NULL;
    HASH_DEL(set->sources, src);
    free(src->second);
    free(src->minute);
    free(src->seldom);
    free(src);
}

/* 0: no memory, or there are too many. */
static int make_bins(struct mon_series_set *set, struct source *src)
{
    if (set->sketches == SKETCHES)
        return 0;
    src->second = calloc(1, sizeof(*src->second));
    src->minute = calloc(1, sizeof(*src->minute));
    if (!src->second || !src->minute) {
        free(src->second);
        free(src->minute);
        src->second = src->minute = NULL;
        return 0;
    }
    set->sketches++;
    src->second->size = src->minute->size = (uint32_t)sizeof(*src->second);
    return 1;
}

static void add_sketch(struct mon_series_set *set, struct source *src, const struct hd_metric_seen *m)
{
    static const char *const tails[] = {"_p50", "_p95", "_p99"};

    if (!src->second && !make_bins(set, src))
        return;
    for (int i = 0; i < QUANTILES; i++)
        if (!src->series[i])
            src->series[i] = add_series(set, m, tails[i], mon_series_unit(m->name, 0));
    if (!src->series[QUANTILES])
        src->series[QUANTILES] = add_series(set, m, "_rate", "1/s");
}

static void add_series_of(struct mon_series_set *set, struct source *src, const struct hd_metric_seen *m)
{
    set->taken = 0;
    if (m->type == HD_METRIC_SKETCH)
        add_sketch(set, src, m);
    else
        src->series[0] = add_series(set, m, "", mon_series_unit(m->name, m->type == HD_METRIC_COUNTER));
    src->again = set->taken;
}

/* The source of that metric, made where there is none; NULL: no memory. */
static struct source *source_of(struct mon_series_set *set, int64_t id)
{
    struct source *src;

    HASH_FIND(hh, set->sources, &id, sizeof(id), src);
    if (src || !(src = calloc(1, sizeof(*src))))
        return src;
    src->id = id;
    HASH_ADD(hh, set->sources, id, sizeof(src->id), src);
    if (src->hh.tbl)
        return src;
    free(src);
    return NULL;
}

/* Within each(): takes the value along, and calls nothing of the metrics. */
static int32_t see(void *arg, const struct hd_metric_seen *m)
{
    struct mon_series_set *set = arg;
    struct source *src = source_of(set, m->id);

    if (!src)
        return HD_OK;
    if (!src->named) {
        src->named = 1;
        src->type = m->type;
        src->scale = mon_series_scale(m->name);
        src->has_before =
            m->type == HD_METRIC_COUNTER && set->tick > 1; /* it began at 0 since the last look */
        add_series_of(set, src, m);
    } else if (src->again) {
        add_series_of(set, src, m);
    }
    if (!src->series[0])
        set->left_out++;
    src->tick = set->tick;
    src->value = m->value;
    return HD_OK;
}

/* A sketch that has fewer of anything was begun anew. */
static int is_anew(const struct hd_metric_bins *now, const struct hd_metric_bins *before)
{
    int anew = now->count < before->count || now->zeros < before->zeros;

    for (uint32_t i = 0; !anew && i < HD_METRIC_BINS; i++)
        anew = now->bin[i] < before->bin[i];
    return anew;
}

/* What came since `before`, which becomes what is there now. */
static void difference(const struct hd_metric_bins *now, struct hd_metric_bins *before,
                       struct hd_metric_bins *out)
{
    int anew = is_anew(now, before);

    *out = *now;
    if (!anew) {
        out->count -= before->count;
        out->zeros -= before->zeros;
        for (uint32_t i = 0; i < HD_METRIC_BINS; i++)
            out->bin[i] -= before->bin[i];
    }
    *before = *now;
}

static void sample_sketch(struct mon_series_set *set, struct source *src, double seconds, int minute_over)
{
    static struct hd_metric_bins now, since; /* 18 KB each; one thread */

    now.size = (uint32_t)sizeof(now);
    if (!src->second || set->metrics->bins(set->host, src->id, &now) != HD_OK)
        return;
    if (!src->has_before) {
        *src->second = *src->minute = now;
        src->has_before = 1;
        return;
    }
    if (minute_over) {
        difference(&now, src->minute, &since);
        for (int i = 0; i < QUANTILES; i++)
            if (src->series[i]) {
                double q = set->metrics->bins_quantile(set->host, &since, quantiles[i]) * src->scale;

                put_minute(src->series[i], q, set->out);
                begin_minute(src->series[i], set->now - set->now % 60);
            }
    }
    difference(&now, src->second, &since);
    for (int i = 0; i < QUANTILES && since.count; i++)
        record(set, src->series[i],
               set->metrics->bins_quantile(set->host, &since, quantiles[i]) * src->scale);
    if (seconds > 0)
        record(set, src->series[QUANTILES], (double)since.count / seconds);
}

static void sample_number(struct mon_series_set *set, struct source *src, double seconds)
{
    int64_t grown = src->value - (src->has_before && src->value >= src->before ? src->before : 0);

    if (src->type == HD_METRIC_GAUGE)
        record(set, src->series[0], (double)src->value * src->scale);
    else if (src->has_before && seconds > 0)
        record(set, src->series[0], (double)grown / seconds * src->scale);
    src->before = src->value;
    src->has_before = 1;
}

/* The minute that goes on is put, if this second is of another. */
static void end_minute(struct mon_series_set *set, struct series *s, int64_t second)
{
    int64_t minute = second - second % 60;

    if (s && s->minute && s->minute != minute) {
        put_minute(s, NAN, set->out);
        begin_minute(s, minute);
    }
}

/* The clock was set, nobody has read for long, or it ends: what there is of the second that went on is put,
 * and what has come since goes to the time just before the reading. */
static void begin_spread(struct mon_series_set *set, struct source *src, double length)
{
    struct readings *r = src->seldom;

    if (r->part > 0) {
        end_minute(set, src->series[0], (int64_t)r->from);
        record_at(set, src->series[0], (int64_t)r->from, r->part);
    }
    r->part = 0;
    r->from = r->to - length;
}

/* To each second its part of what has come between two readings; the last second is not over yet. */
static void spread(struct mon_series_set *set, struct source *src)
{
    struct readings *r = src->seldom;
    double length = (double)(r->to_ns - r->from_ns) / 1e9, step = r->to - r->from - length, rate;

    if (r->to_ns == r->from_ns)
        return;
    if (r->to <= r->from || step > STEP_S || step < -STEP_S || length > SPREAD_S)
        begin_spread(set, src, length < SPREAD_S ? length : SPREAD_S);
    rate = (double)r->grown * src->scale / (r->to - r->from);
    for (double end = floor(r->from) + 1; end <= r->to; end++) {
        end_minute(set, src->series[0], (int64_t)r->from);
        record_at(set, src->series[0], (int64_t)r->from, r->part + rate * (end - r->from));
        r->part = 0;
        r->from = end;
    }
    r->part += rate * (r->to - r->from);
    r->from = r->to;
    r->from_ns = r->to_ns;
    r->grown = 0;
}

void mon_series_read(struct mon_series_set *set, int64_t id, int64_t grown, double wall, uint64_t mono_ns)
{
    struct source *src = source_of(set, id);
    struct readings *r;

    if (!src || (!src->seldom && !(src->seldom = calloc(1, sizeof(*src->seldom)))))
        return;
    r = src->seldom;
    r->to = wall;
    r->to_ns = mono_ns;
    if (r->from_ns) {
        r->grown += grown;
        return;
    }
    r->from = wall;
    r->from_ns = mono_ns;
}

/* Minutes that are over are put before anything is recorded in the next. */
static void end_minutes(struct mon_series_set *set)
{
    struct source *src, *next;

    HASH_ITER(hh, set->sources, src, next)
    {
        int first = src->type == HD_METRIC_SKETCH ? QUANTILES : 0; /* quantiles are put by sample_sketch */

        if (!src->seldom)
            end_minute(set, src->series[first], set->now);
    }
}

void mon_series_sample(struct mon_series_set *set, int64_t now, uint64_t mono_ns, struct mon_batch *out)
{
    double seconds = set->mono_ns ? (double)(mono_ns - set->mono_ns) / 1e9 : 0;
    int minute_over = set->now && set->now / 60 != now / 60;
    struct source *src, *next;

    if (now == set->now)
        return; /* the timer was early: this second has its sample */
    set->now = now;
    set->mono_ns = mono_ns;
    set->out = out;
    set->tick++;
    set->left_out = 0;
    set->metrics->each(set->host, NULL, see, set);
    if (minute_over)
        end_minutes(set);
    HASH_ITER(hh, set->sources, src, next)
    {
        if (src->tick != set->tick)
            free_source(set, src);
        else if (src->type == HD_METRIC_SKETCH)
            sample_sketch(set, src, seconds, minute_over);
        else if (src->seldom)
            spread(set, src);
        else
            sample_number(set, src, seconds);
    }
    set->out = NULL;
}

/* What readings have told is put up to the last of them. */
static void end_readings(struct mon_series_set *set, struct mon_batch *out)
{
    struct source *src, *next;

    set->out = out;
    HASH_ITER(hh, set->sources, src, next)
    {
        if (!src->seldom)
            continue;
        spread(set, src);
        begin_spread(set, src, 0);
    }
    set->out = NULL;
}

void mon_series_flush(struct mon_series_set *set, int end, struct mon_batch *out)
{
    struct series *s, *next;

    if (end)
        end_readings(set, out);
    HASH_ITER(hh, set->series, s, next)
    {
        put_pending(s, out);
        if (end) {
            put_minute(s, NAN, out);
            begin_minute(s, 0); /* it is put once, whoever comes after */
        }
    }
}

void mon_series_each(const struct mon_series_set *set, const char *name,
                     void (*fn)(void *arg, const struct mon_latest *l), void *arg)
{
    size_t len = name ? strlen(name) : 0;
    struct series *s, *next;

    HASH_ITER(hh, set->series, s, next)
    {
        struct mon_latest l = {s->key, s->unit, s->last};

        if (!name || (strncmp(s->key, name, len) == 0 && (!s->key[len] || s->key[len] == '{')))
            fn(arg, &l);
    }
}

void mon_series_free(struct mon_series_set *set)
{
    struct source *src, *next;

    if (!set)
        return;
    HASH_ITER(hh, set->sources, src, next)
    {
        for (int i = 0; i <= QUANTILES; i++)
            if (src->series[i]) {
                HASH_DEL(set->series, src->series[i]);
                free(src->series[i]->key);
                free(src->series[i]);
            }
        HASH_DEL(set->sources, src);
        free(src->second);
        free(src->minute);
        free(src->seldom);
        free(src);
    }
    free(set->free_numbers);
    free(set);
}
