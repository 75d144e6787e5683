/*
 * Metrics as they are at one moment: snapshots of all, one after the other, and the bins of a sketch.
 */
#include "plug/metrics_parts.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

#define LOCKED_AT_ONCE 64 /* metrics */

static int has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);

    return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* What one unit of the recorded integers is in the unit of the name: nanoseconds stand for seconds. */
static double unit_of(const char *name)
{
    return has_suffix(name, "_seconds") || has_suffix(name, "_seconds_total") ? 1e-9 : 1;
}

const uint64_t hd_metric_bounds[HD_METRIC_BOUNDS] = {100000,    500000,     1000000,    2500000,    5000000,
                                                     10000000,  25000000,   50000000,   100000000,  250000000,
                                                     500000000, 1000000000, 5000000000, 30000000000};

/* NULL: no memory. */
static const uint64_t *count_below(const struct hd_sketch_total *t, struct hd_arena *arena)
{
    uint64_t *below = hd_arena_alloc(arena, HD_METRIC_BOUNDS * sizeof(*below));

    for (int i = 0; below && i < HD_METRIC_BOUNDS; i++)
        below[i] = hd_sketch_below(t, hd_metric_bounds[i]);
    return below;
}

static void view_sketch(const struct hd_sketch_total *t, double unit, struct hd_metric_view *v)
{
    v->count = t->count;
    v->sum = (double)t->sum * unit;
    v->min = t->count ? (double)t->min * unit : 0;
    v->max = (double)t->max * unit;
    v->p50 = hd_sketch_quantile(t, 0.5) * unit;
    v->p95 = hd_sketch_quantile(t, 0.95) * unit;
    v->p99 = hd_sketch_quantile(t, 0.99) * unit;
}

/* Copies a metric's texts and numbers into a view. */
static int view(struct hd_metrics *m, struct hd_metric *metric, struct hd_arena *arena,
                struct hd_metric_view *v)
{
    uint64_t tag = atomic_load(&metric->tag);
    struct hd_label *labels = hd_arena_alloc(arena, (metric->label_count + 1) * sizeof(*labels));
    struct hd_sketch_total t;

    v->name = hd_arena_strdup(arena, metric->name);
    v->help = hd_arena_strdup(arena, metric->help);
    if (!v->name || !v->help || !labels)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < metric->label_count; i++) {
        labels[i].name = hd_arena_strdup(arena, metric->labels[i].name);
        labels[i].value = hd_arena_strdup(arena, metric->labels[i].value);
        if (!labels[i].name || !labels[i].value)
            return HD_ENOMEM;
    }
    v->labels = labels;
    v->label_count = metric->label_count;
    v->type = hd_metric_type(tag);
    if (v->type == HD_METRIC_SKETCH) {
        hd_metrics_total_of(m, hd_metric_number(m, metric), hd_metric_generation(tag), &t);
        view_sketch(&t, unit_of(v->name), v);
        v->below = unit_of(v->name) < 1 ? count_below(&t, arena) : NULL;
    } else {
        v->value = hd_metric_present(m, metric);
        v->number = (double)v->value * unit_of(v->name);
    }
    return HD_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct hd_metric_view *x = a, *y = b;
    int c = strcmp(x->name, y->name);

    for (uint32_t i = 0; !c && i < x->label_count && i < y->label_count; i++) {
        c = strcmp(x->labels[i].name, y->labels[i].name);
        if (!c)
            c = strcmp(x->labels[i].value, y->labels[i].value);
    }
    return c ? c : (int)x->label_count - (int)y->label_count;
}

/* What was dropped and made again in another place while the lock was free may be there twice. */
static void drop_repeats(struct hd_metrics_snapshot *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->count; i++)
        if (!n || by_name(&s->views[n - 1], &s->views[i]))
            s->views[n++] = s->views[i];
    s->count = n;
}

int hd_metrics_snapshot(struct hd_metrics *m, const char *part, struct hd_metrics_snapshot *out)
{
    int code = HD_OK;
    uint32_t used;

    memset(out, 0, sizeof(*out));
    hd_metrics_process_update(&m->process, m);
    pthread_mutex_lock(&m->lock);
    used = m->used;
    out->views = hd_calloc(used, sizeof(*out->views));
    if (!out->views)
        code = HD_ENOMEM;
    for (uint32_t i = 0; !code && i < used; i++) {
        struct hd_metric *metric = &m->table[i];

        if (i % LOCKED_AT_ONCE ==
            LOCKED_AT_ONCE - 1) { /* whoever makes a metric waits for some, not for all */
            pthread_mutex_unlock(&m->lock);
            pthread_mutex_lock(&m->lock);
        }
        if (!hd_metric_type(atomic_load(&metric->tag)) || (part && !strstr(metric->name, part)))
            continue;
        code = view(m, metric, &out->arena, &out->views[out->count]);
        out->count += !code;
    }
    pthread_mutex_unlock(&m->lock);
    if (code) {
        hd_metrics_snapshot_free(out);
        return code;
    }
    qsort(out->views, out->count, sizeof(*out->views), by_name);
    drop_repeats(out);
    return HD_OK;
}

void hd_metrics_snapshot_free(struct hd_metrics_snapshot *s)
{
    hd_free(s->views);
    hd_arena_free(&s->arena);
    memset(s, 0, sizeof(*s));
}

int hd_metrics_each(struct hd_metrics *m, const char *prefix,
                    int32_t (*fn)(void *, const struct hd_metric_seen *), void *arg)
{
    size_t len = prefix ? strlen(prefix) : 0;
    int32_t code = HD_OK;

    hd_metrics_process_update(&m->process, m);
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; !code && i < m->used; i++) {
        struct hd_metric *metric = &m->table[i];
        struct hd_metric_seen seen = {.size = sizeof(seen)};

        seen.type = hd_metric_type(atomic_load(&metric->tag));
        if (!seen.type || (len && strncmp(metric->name, prefix, len) != 0))
            continue;
        seen.id = hd_metric_id(m, metric);
        seen.name = metric->name;
        seen.help = metric->help;
        seen.labels = metric->labels;
        seen.label_count = metric->label_count;
        if (seen.type != HD_METRIC_SKETCH)
            seen.value = hd_metric_present(m, metric);
        code = fn(arg, &seen);
    }
    pthread_mutex_unlock(&m->lock);
    return code;
}

int hd_metrics_bins(struct hd_metrics *m, int64_t id, struct hd_metric_bins *out)
{
    uint64_t tag;
    struct hd_metric *metric = hd_metric_of(m, id, &tag);
    struct hd_sketch_total t;

    if (!metric || hd_metric_type(tag) != HD_METRIC_SKETCH)
        return HD_ENOENT;
    hd_metrics_total_of(m, hd_metric_number(m, metric), hd_metric_generation(tag), &t);
    out->count = t.count;
    out->sum = t.sum;
    out->zeros = t.zeros;
    memcpy(out->bin, t.bins, sizeof(out->bin));
    return HD_OK;
}

_Static_assert(HD_METRIC_BINS == HD_SKETCH_BINS, "the SDK says how many bins there are");

double hd_metrics_bins_quantile(const struct hd_metric_bins *bins, double q)
{
    struct hd_sketch_total t = {
        .count = bins->count, .sum = bins->sum, .max = UINT64_MAX, .zeros = bins->zeros};

    memcpy(t.bins, bins->bin, sizeof(t.bins));
    return hd_sketch_quantile(&t, q);
}
