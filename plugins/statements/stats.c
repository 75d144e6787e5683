/*
 * The capability "howdah.statement-stats/1": the workers' numbers for other plugins, and who hears of slow
 * executions.
 */
#include "gather.h"

#include <stdlib.h>
#include <string.h>

/* What another plugin asked for. */
struct asked {
    void (*done)(void *arg, int32_t code, const hd_stats *stats, uint64_t rows);
    void *arg;
};

/* An hd_stats. */
struct stats {
    struct stmts_row **rows;
    size_t count;
    struct hd_stats_bin *bins; /* of the row that was asked for last */
};

static void give(struct stmts_gather *g, const struct asked *asked)
{
    struct stats s = {.bins = malloc(STMTS_SKETCH_ALL * sizeof(struct hd_stats_bin))};

    s.rows = s.bins ? stmts_gather_merge(g, 1, &s.count) : NULL;
    asked->done(asked->arg, s.rows ? HD_OK : HD_ENOMEM, s.rows ? (const hd_stats *)(const void *)&s : NULL,
                s.count);
    free(s.rows);
    free(s.bins);
}

/* An errand that came to nothing on another thread still ends on the control thread, where it can. */
static void done(struct stmts_gather *g, int32_t code)
{
    struct asked *asked = g->arg;

    if (code == HD_OK)
        give(g, asked);
    else
        asked->done(asked->arg, code, NULL, 0);
    free(asked);
}

static int32_t gather(void *arg, void (*fn)(void *, int32_t, const hd_stats *, uint64_t), void *fn_arg,
                      struct hd_error *err)
{
    struct asked *asked = malloc(sizeof(*asked));
    struct stmts_gather *g = asked ? stmts_gather_new(arg, done, asked) : NULL;

    if (!g) {
        free(asked);
        return hd_error_set(err, HD_ENOMEM, "no memory to gather the workers' numbers");
    }
    asked->done = fn;
    asked->arg = fn_arg;
    stmts_gather_send(g);
    return HD_OK;
}

/* --- making room ------------------------------------------------------------------------------------------
 */

struct forgetting {
    void (*done)(void *arg, int32_t code);
    void *arg;
};

static void forgotten(struct stmts_gather *g, int32_t code)
{
    struct forgetting *f = g->arg;

    f->done(f->arg, code);
    free(f);
}

static void copy_name(char *to, struct hd_str from)
{
    uint64_t n = from.len < HD_EVENT_NAME - 1 ? from.len : HD_EVENT_NAME - 1;

    if (n)
        memcpy(to, from.ptr, n);
}

static int32_t forget(void *arg, const struct hd_stats_key *keys, uint64_t count,
                      void (*fn)(void *arg, int32_t code), void *fn_arg, struct hd_error *err)
{
    struct forgetting *f = malloc(sizeof(*f));
    struct stmts_gather *g = f ? stmts_gather_new(arg, forgotten, f) : NULL;

    if (g)
        g->keys = calloc(count + 1, sizeof(*g->keys));
    if (!g || !g->keys) {
        free(f);
        if (g)
            stmts_gather_free(g);
        return hd_error_set(err, HD_ENOMEM, "no memory to tell the workers what to forget");
    }
    *f = (struct forgetting){fn, fn_arg};
    g->key_count = count;
    for (uint64_t i = 0; i < count; i++) {
        g->keys[i].fingerprint = keys[i].fingerprint;
        copy_name(g->keys[i].database, keys[i].database);
        copy_name(g->keys[i].user, keys[i].user);
    }
    qsort(g->keys, count, sizeof(*g->keys), stmts_key_order);
    stmts_gather_send(g);
    return HD_OK;
}

/* --- a row ------------------------------------------------------------------------------------------------
 */

/* The buckets that are not empty, in rising order. */
static uint32_t fill_bins(const struct stmts_sketch *from, struct hd_stats_bin *bins)
{
    uint32_t n = 0;

    for (uint32_t o = 0; o < STMTS_SKETCH_OCTAVES; o++)
        for (uint32_t b = 0; from->octaves[o] && b < STMTS_SKETCH_BUCKETS; b++) {
            if (!from->octaves[o][b])
                continue;
            bins[n].bin = o * STMTS_SKETCH_BUCKETS + b;
            bins[n].reserved = 0;
            bins[n++].count = from->octaves[o][b];
        }
    return n;
}

static void fill_sums(const struct stmts_sums *s, struct hd_stats_template *out)
{
    out->calls = s->calls;
    out->errors = s->errors;
    out->answered = s->answered;
    out->rows = s->rows;
    out->bytes = s->bytes;
    out->total_ns = s->total_ns;
    out->queue_ns = s->queue_ns;
    out->server_ns = s->server_ns;
    out->first_ns = s->first_ns;
    out->firsts = s->firsts;
    out->min_ns = s->min_ns;
    out->max_ns = s->max_ns;
}

static int32_t row(const hd_stats *stats, uint64_t i, struct hd_stats_template *out)
{
    const struct stats *s = (const struct stats *)(const void *)stats;
    struct hd_stats_template t = {.size = sizeof(t)};
    uint32_t size = out->size < sizeof(t) ? out->size : (uint32_t)sizeof(t);
    const struct stmts_row *r;

    if (i >= s->count)
        return HD_ENOENT;
    r = s->rows[i];
    t.fingerprint = r->fingerprint;
    t.database = hd_str_of(r->database);
    t.user = hd_str_of(r->user);
    if (r->text)
        t.text = (struct hd_str){r->text->bytes, r->text->len};
    t.generation = r->generation;
    fill_sums(&r->sums, &t);
    t.bin_count = fill_bins(&r->sketch, s->bins);
    t.bins = s->bins;
    t.state_count = r->states.count;
    t.states = r->states.at;
    memcpy(out, &t, size);
    out->size = size;
    return HD_OK;
}

/* As stmts_sketch_quantile: SHOW STATEMENTS and whoever asks here say the same. */
static double quantile(const struct hd_stats_bin *bins, uint32_t count, double q)
{
    uint64_t all = 0, seen = 0;

    for (uint32_t i = 0; i < count; i++)
        all += bins[i].count;
    if (!all || !(q >= 0 && q <= 1))
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        seen += bins[i].count;
        if (seen && (double)seen >= q * (double)all)
            return stmts_sketch_value(bins[i].bin);
    }
    return 0;
}

static int32_t watch(void *arg, const struct hd_stats_watch *w)
{
    struct stmts *self = arg;

    if (w && (!w->floor_ns || !w->slow))
        return HD_EINVAL;
    if (w && atomic_load(&self->watch))
        return HD_EBUSY;
    atomic_store(&self->slow_ns, UINT64_MAX);
    atomic_store(&self->watch, w);
    if (w)
        atomic_store(&self->slow_ns, w->floor_ns);
    return HD_OK;
}

const struct hd_statement_stats_v1 stmts_stats = {
    .size = sizeof(struct hd_statement_stats_v1),
    .gather = gather,
    .row = row,
    .quantile = quantile,
    .watch = watch,
    .forget = forget,
};
