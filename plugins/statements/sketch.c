/* The distribution of one template's latencies; see sketch.h. Allocates buckets and does nothing else. */
#include "sketch.h"

#include <stdlib.h>

static uint64_t *octave_of(struct stmts_sketch *s, unsigned octave)
{
    if (!s->octaves[octave])
        s->octaves[octave] = calloc(STMTS_SKETCH_BUCKETS, sizeof(uint64_t));
    return s->octaves[octave];
}

void stmts_sketch_add(struct stmts_sketch *s, uint64_t ns)
{
    const uint64_t low = UINT64_C(1) << STMTS_SKETCH_LOW;
    const uint64_t high = (UINT64_C(1) << (STMTS_SKETCH_LOW + STMTS_SKETCH_OCTAVES)) - 1;
    unsigned power;
    uint64_t *buckets;

    ns = ns < low ? low : ns > high ? high : ns;
    power = 63u - (unsigned)__builtin_clzll(ns);
    buckets = octave_of(s, power - STMTS_SKETCH_LOW);
    if (!buckets)
        return;
    buckets[(ns >> (power - STMTS_SKETCH_BITS)) & (STMTS_SKETCH_BUCKETS - 1)]++;
    s->count++;
}

void stmts_sketch_merge(struct stmts_sketch *s, const struct stmts_sketch *from)
{
    for (unsigned o = 0; o < STMTS_SKETCH_OCTAVES; o++) {
        uint64_t *to;

        if (!from->octaves[o] || !(to = octave_of(s, o)))
            continue;
        for (unsigned b = 0; b < STMTS_SKETCH_BUCKETS; b++) {
            to[b] += from->octaves[o][b];
            s->count += from->octaves[o][b];
        }
    }
}

/* The value that stands for a bucket: between its edges, equally far from both in proportion. */
static double bucket_value(unsigned octave, unsigned bucket)
{
    unsigned shift = octave + STMTS_SKETCH_LOW - STMTS_SKETCH_BITS;
    double low = (double)((uint64_t)(STMTS_SKETCH_BUCKETS + bucket) << shift);
    double high = low + (double)(UINT64_C(1) << shift);

    return 2 * low * high / (low + high);
}

double stmts_sketch_value(unsigned i)
{
    return bucket_value(i / STMTS_SKETCH_BUCKETS, i % STMTS_SKETCH_BUCKETS);
}

double stmts_sketch_quantile(const struct stmts_sketch *s, double q)
{
    double rank, seen = 0, value = 0;

    if (!s->count)
        return 0;
    q = q < 0 ? 0 : q > 1 ? 1 : q;
    rank = q * (double)s->count;
    for (unsigned o = 0; o < STMTS_SKETCH_OCTAVES; o++)
        for (unsigned b = 0; s->octaves[o] && b < STMTS_SKETCH_BUCKETS; b++) {
            if (!s->octaves[o][b])
                continue;
            seen += (double)s->octaves[o][b];
            value = bucket_value(o, b);
            if (seen >= rank)
                return value;
        }
    return value;
}

void stmts_sketch_clear(struct stmts_sketch *s)
{
    for (unsigned o = 0; o < STMTS_SKETCH_OCTAVES; o++) {
        free(s->octaves[o]);
        s->octaves[o] = NULL;
    }
    s->count = 0;
}
