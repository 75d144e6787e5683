/*
 * Series and their windows; see series.h.
 *
 * What only grows is kept as a running total that goes on where a counter begins anew, together with points
 * of it: a new point a sixtieth of the longest window, so that a window's error is below 2 %. Of a sketch
 * whose quantiles are wanted, each point has the values that came since the point before it.
 */
#include "alerts/series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POINTS    64
#define SPACINGS  60                 /* points that a window is to have */
#define FORGET_MS 600000             /* a series that is gone is kept so long, or for its window */
#define PER_LOG   49.998333288886556 /* 1 / ln(1.01 / 0.99) */
#define BIN_OF(v) ((int64_t)ceil(log(v) * PER_LOG))

struct bin {
    uint32_t index; /* 0: zeros; i + 1: the i-th bin */
    uint64_t count;
};

struct point {
    uint64_t ms;
    double v, w;      /* running totals; what they are is the window's */
    struct bin *bins; /* what came between the point before and this one */
    uint32_t bin_count;
};

struct al_series {
    struct al_series *next;
    struct al_labels *labels;
    uint64_t seen_ms;    /* at the last reading that had it */
    double raw_v, raw_w; /* as they were read last */
    double v, w;         /* running totals now */
    double unit;
    struct point points[POINTS];
    uint32_t first, count;
    struct hd_metric_bins *bins; /* as they were read last; of AL_QUANTILE */
    struct bin *open;            /* what came since the last point */
    uint32_t open_count;
};

/* --- points ----------------------------------------------------------------------------------------------
 */

static struct point *point_at(struct al_series *s, uint32_t i)
{
    return &s->points[(s->first + i) % POINTS];
}

static void drop_first(struct al_series *s)
{
    struct point *p = point_at(s, 0);

    free(p->bins);
    memset(p, 0, sizeof(*p));
    s->first = (s->first + 1) % POINTS;
    s->count--;
}

static void add_point(struct al_series *s, uint64_t ms)
{
    struct point *p;

    if (s->count == POINTS)
        drop_first(s);
    p = point_at(s, s->count++);
    *p = (struct point){.ms = ms, .v = s->v, .w = s->w, .bins = s->open, .bin_count = s->open_count};
    s->open = NULL;
    s->open_count = 0;
}

/* Keeps one point that is as old as the window, or older. */
static void drop_old(struct al_series *s, uint64_t range_ms, uint64_t now_ms)
{
    while (s->count >= 2 && point_at(s, 1)->ms + range_ms <= now_ms)
        drop_first(s);
}

/* --- bins ------------------------------------------------------------------------------------------------
 */

static uint64_t grown(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

/* Adds what is in `now` and was not in `before` to a sorted list; what cannot be kept for want of memory is
 * missing from the quantile. */
static void add_grown(struct bin **list, uint32_t *count, const struct hd_metric_bins *now,
                      const struct hd_metric_bins *before)
{
    uint32_t fresh = 0, at = 0, n = 0;
    struct bin *merged;

    fresh = grown(now->zeros, before->zeros) > 0;
    for (uint32_t i = 0; i < HD_METRIC_BINS; i++)
        fresh += now->bin[i] > before->bin[i];
    merged = fresh ? malloc((*count + fresh) * sizeof(*merged)) : NULL;
    if (!merged)
        return;
    for (uint32_t i = 0; i <= HD_METRIC_BINS; i++) {
        uint64_t more = i ? grown(now->bin[i - 1], before->bin[i - 1]) : grown(now->zeros, before->zeros);

        if (at < *count && (*list)[at].index == i)
            more += (*list)[at++].count;
        if (more)
            merged[n++] = (struct bin){.index = i, .count = more};
    }
    free(*list);
    *list = merged;
    *count = n;
}

static void take_bins(struct al_series *s, const struct hd_metric_bins *now)
{
    static const struct hd_metric_bins none;

    if (!s->bins) {
        s->bins = malloc(sizeof(*s->bins));
    } else {
        /* A sketch that was made anew has fewer values than before. */
        add_grown(&s->open, &s->open_count, now, now->count < s->bins->count ? &none : s->bins);
    }
    if (s->bins)
        memcpy(s->bins, now, sizeof(*now));
}

static void add_up(uint64_t *all, uint64_t *total, const struct bin *bins, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        all[bins[i].index] += bins[i].count;
        *total += bins[i].count;
    }
}

/* The quantile of all values behind the first point. 0: there are none. */
static int window_quantile(struct al_series *s, double q, double *out)
{
    static uint64_t all[HD_METRIC_BINS + 1]; /* control thread alone */
    uint64_t total = 0, below = 0, rank;

    memset(all, 0, sizeof(all));
    for (uint32_t i = 1; i < s->count; i++)
        add_up(all, &total, point_at(s, i)->bins, point_at(s, i)->bin_count);
    add_up(all, &total, s->open, s->open_count);
    if (!total)
        return 0;
    rank = (uint64_t)(q * (double)(total - 1));
    for (uint32_t i = 0; i <= HD_METRIC_BINS; i++) {
        below += all[i];
        if (rank < below) {
            *out = i ? 2 * exp((double)(i - 1) / PER_LOG) / (1.01 / 0.99 + 1) * s->unit : 0;
            return 1;
        }
    }
    return 0;
}

/* --- readings --------------------------------------------------------------------------------------------
 */

static double values_below(const struct al_reading *r, double bound)
{
    double v = bound / r->unit;
    uint64_t count = r->bins->zeros;
    int64_t last;

    if (v < 1)
        return bound < 0 ? 0 : (double)count;
    last = BIN_OF(v * 1.0000001); /* so that a bound such as 1 is in its own bin */
    for (int64_t i = 0; i <= last && i < HD_METRIC_BINS; i++)
        count += r->bins->bin[i];
    return (double)count;
}

/* What the running totals are made of. */
static void raw_of(const struct al_selector *s, const struct al_reading *r, double *v, double *w)
{
    int sketch = r->type == HD_METRIC_SKETCH;

    *v = sketch ? (double)r->bins->count : r->number;
    *w = 0;
    if (s->window == AL_BELOW && sketch) {
        *w = *v;
        *v = values_below(r, s->argument);
    } else if (s->window == AL_MEAN && sketch) {
        *w = *v;
        *v = (double)r->bins->sum * r->unit;
    }
}

static int grows(const struct al_selector *s, const struct al_reading *r)
{
    return s->window == AL_RATE || s->window == AL_INCREASE || r->type == HD_METRIC_SKETCH;
}

static void take(struct al_selector *sel, struct al_series *s, const struct al_reading *r, uint64_t range_ms,
                 uint64_t now_ms)
{
    uint64_t range = sel->range_ms ? sel->range_ms : range_ms;
    double v, w;
    int anew;

    raw_of(sel, r, &v, &w);
    anew = v < s->raw_v || w < s->raw_w;
    if (sel->window == AL_NOW || !grows(sel, r)) {
        s->w += sel->window == AL_MEAN;
        s->v = sel->window == AL_MEAN ? s->v + v : v;
    } else {
        s->v += anew ? v : v - s->raw_v;
        s->w += anew ? w : w - s->raw_w;
    }
    s->raw_v = v;
    s->raw_w = w;
    s->unit = r->unit;
    s->seen_ms = now_ms;
    if (sel->window == AL_NOW)
        return;
    if (sel->window == AL_QUANTILE && r->bins)
        take_bins(s, r->bins);
    drop_old(s, range, now_ms);
    if (!s->count || now_ms - point_at(s, s->count - 1)->ms >= range / SPACINGS)
        add_point(s, now_ms);
}

static struct al_series *find(struct al_selector *sel, const struct al_labels *l)
{
    struct al_series *s = sel->series;

    while (s && !al_labels_equal(s->labels, l))
        s = s->next;
    return s;
}

/* A series that is new. What it has counted before the first reading of all is not looked at; one that comes
 * later has counted since the reading before. */
static struct al_series *make(struct al_selector *sel, struct al_labels *labels, const struct al_reading *r)
{
    struct al_series *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->labels = labels;
    s->next = sel->series;
    sel->series = s;
    if (sel->read_ms && grows(sel, r)) {
        add_point(s, sel->read_ms);
        if (sel->window == AL_QUANTILE)
            s->bins = calloc(1, sizeof(*s->bins));
    } else if (grows(sel, r)) {
        raw_of(sel, r, &s->raw_v, &s->raw_w);
    }
    return s;
}

struct reader {
    struct al_selector *sel;
    struct al_budget *budget;
    uint64_t range_ms, now_ms;
};

static int meets(const struct al_selector *sel, const struct al_reading *r)
{
    for (uint32_t i = 0; i < sel->matcher_count; i++) {
        const char *value = "";

        for (uint32_t l = 0; l < r->label_count; l++)
            if (strcmp(r->labels[l].name, sel->matchers[i].label) == 0)
                value = r->labels[l].value;
        if (al_matches(sel->matchers[i].value, value) == sel->matchers[i].negate)
            return 0;
    }
    return 1;
}

static void take_reading(void *arg, const struct al_reading *r)
{
    struct reader *reader = arg;
    struct al_selector *sel = reader->sel;
    struct al_labels *labels;
    struct al_series *s;

    if (!meets(sel, r) || !(labels = al_labels_new(r->labels, r->label_count)))
        return;
    s = find(sel, labels);
    if (s) {
        free(labels);
    } else if (reader->budget->series >= reader->budget->max_series || !(s = make(sel, labels, r))) {
        reader->budget->refused++;
        free(labels);
        return;
    } else {
        reader->budget->series++;
    }
    sel->found++;
    take(sel, s, r, reader->range_ms, reader->now_ms);
}

static void free_one(struct al_series *s)
{
    while (s->count)
        drop_first(s);
    free(s->open);
    free(s->bins);
    free(s->labels);
    free(s);
}

static void drop_gone(struct reader *r)
{
    struct al_selector *sel = r->sel;
    uint64_t range = sel->range_ms ? sel->range_ms : r->range_ms;
    uint64_t keep = range > FORGET_MS ? range : FORGET_MS;
    struct al_series **at = &sel->series;

    while (*at) {
        struct al_series *s = *at;

        if (r->now_ms - s->seen_ms <= keep) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free_one(s);
        r->budget->series--;
    }
}

struct reading_of_all {
    const struct al_source *source;
    struct reader reader;
};

static void read_selector(void *arg, struct al_selector *sel)
{
    struct reading_of_all *all = arg;
    int bins = sel->window != AL_NOW && sel->window != AL_SLOPE;

    all->reader.sel = sel;
    sel->found = 0;
    all->source->read(all->source->arg, sel->name, bins, take_reading, &all->reader);
    sel->read_ms = all->reader.now_ms;
    drop_gone(&all->reader);
}

void al_series_read(struct al_node *n, const struct al_source *source, uint64_t range_ms, uint64_t now_ms,
                    struct al_budget *budget)
{
    struct reading_of_all all = {.source = source,
                                 .reader = {.budget = budget, .range_ms = range_ms, .now_ms = now_ms}};

    al_expr_each(n, read_selector, &all);
}

static void count_found(void *arg, struct al_selector *sel)
{
    *(uint32_t *)arg += sel->found;
}

int al_series_found(struct al_node *n)
{
    uint32_t found = 0;

    al_expr_each(n, count_found, &found);
    return found > 0;
}

/* --- windows ---------------------------------------------------------------------------------------------
 */

int al_series_value(const struct al_selector *sel, struct al_series *s, double *out)
{
    struct point *from = s->count ? point_at(s, 0) : NULL;
    double seconds = from ? (double)(s->seen_ms - from->ms) / 1000 : 0;

    if (sel->window == AL_NOW) {
        *out = s->v;
        return 1;
    }
    if (sel->window == AL_QUANTILE)
        return window_quantile(s, sel->argument, out);
    if (seconds <= 0)
        return 0;
    if (sel->window == AL_BELOW || sel->window == AL_MEAN) {
        *out = (s->v - from->v) / (s->w - from->w);
        return s->w > from->w;
    }
    *out = sel->window == AL_INCREASE ? s->v - from->v : (s->v - from->v) / seconds;
    return 1;
}

struct al_series *al_series_next(const struct al_selector *sel, struct al_series *s)
{
    s = s ? s->next : sel->series;
    while (s && s->seen_ms != sel->read_ms)
        s = s->next;
    return s;
}

const struct al_labels *al_series_labels(const struct al_series *s)
{
    return s->labels;
}

/* --- end -------------------------------------------------------------------------------------------------
 */

void al_series_free(struct al_selector *sel)
{
    while (sel->series) {
        struct al_series *s = sel->series;

        sel->series = s->next;
        free_one(s);
    }
}

static void give_back(void *arg, struct al_selector *sel)
{
    struct al_budget *budget = arg;

    for (struct al_series *s = sel->series; s; s = s->next)
        budget->series--;
}

void al_series_give_back(struct al_node *n, struct al_budget *budget)
{
    al_expr_each(n, give_back, budget);
}
