/*
 * A quantile sketch with relative error; see sketch.h.
 */
#include "plug/sketch.h"

#include "base/alloc.h"
#include "base/check.h"

#include <howdah/error.h>
#include <math.h>
#include <string.h>

#define ACCURACY 0.01
#define GAMMA    ((1 + ACCURACY) / (1 - ACCURACY))

/* 1 / ln(GAMMA) = 1 / (2 × atanh(ACCURACY)), as a constant so that no thread has to make it first. */
static const double per_log = 49.998333288886556;

/* The natural logarithm of a value above 0 to eight decimals, exactly 0 for 1. It stands on the way of each
 * statement, where log() costs several times as much: value = m x 2^power, m near 1, and
 * ln(m) = 2 x atanh((m - 1) / (m + 1)), of whose series five terms are enough there. */
static double log_of(uint64_t value)
{
    int power = 63 - __builtin_clzll(value);
    double m = (double)value / (double)(UINT64_C(1) << power), t, square;

    if (m > M_SQRT2) {
        m /= 2;
        power++;
    }
    t = (m - 1) / (m + 1);
    square = t * t;
    return power * M_LN2 +
           2 * t * (1 + square * (1 / 3.0 + square * (1 / 5.0 + square * (1 / 7.0 + square * (1 / 9.0)))));
}

/* The bin of a value above 0: 1 falls into bin 0. */
static size_t bin_of(uint64_t value)
{
    double place = log_of(value) * per_log;
    size_t bin = (size_t)place;

    bin += (double)bin < place; /* up to the whole number, without a call */
    return bin < HD_SKETCH_BINS ? bin : HD_SKETCH_BINS - 1;
}

/* The value whose distance to both ends of the bin is the same share of them. */
static double middle_of(size_t bin)
{
    return 2 * exp((double)bin / per_log) / (GAMMA + 1);
}

/* The page of a bin, made where there is none; NULL: no memory. */
static struct hd_sketch_page *page_for(struct hd_sketch *s, size_t bin)
{
    _Atomic(struct hd_sketch_page *) *at = &s->pages[bin / HD_SKETCH_PAGE];
    struct hd_sketch_page *page = atomic_load_explicit(at, memory_order_acquire), *fresh;

    if (HD_LIKELY(page))
        return page;
    fresh = hd_calloc(1, sizeof(*fresh));
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong(at, &page, fresh))
        return fresh;
    hd_free(fresh); /* another writer of a shared sketch was first */
    return page;
}

/* Adds where nobody else writes: no locked instruction. */
static void bump(_Atomic uint64_t *v, uint64_t by)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + by, memory_order_relaxed);
}

static void raise_to(_Atomic uint64_t *v, uint64_t value)
{
    if (value > atomic_load_explicit(v, memory_order_relaxed))
        atomic_store_explicit(v, value, memory_order_relaxed);
}

static void raise_shared(_Atomic uint64_t *v, uint64_t value)
{
    uint64_t old = atomic_load_explicit(v, memory_order_relaxed);

    while (value > old &&
           !atomic_compare_exchange_weak_explicit(v, &old, value, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Where a value is counted; NULL: no memory for it. */
static _Atomic uint64_t *counter_for(struct hd_sketch *s, uint64_t value)
{
    struct hd_sketch_page *page;
    size_t bin;

    if (!value)
        return &s->zeros;
    bin = bin_of(value);
    page = page_for(s, bin);
    return page ? &page->bin[bin % HD_SKETCH_PAGE] : NULL;
}

int hd_sketch_add(struct hd_sketch *s, uint64_t value)
{
    _Atomic uint64_t *counter = counter_for(s, value);

    if (!counter)
        return HD_ENOMEM;
    bump(counter, 1);
    bump(&s->sum, value);
    raise_to(&s->max, value);
    raise_to(&s->low, UINT64_MAX - value);
    return HD_OK;
}

int hd_sketch_add_shared(struct hd_sketch *s, uint64_t value)
{
    _Atomic uint64_t *counter = counter_for(s, value);

    if (!counter)
        return HD_ENOMEM;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->sum, value, memory_order_relaxed);
    raise_shared(&s->max, value);
    raise_shared(&s->low, UINT64_MAX - value);
    return HD_OK;
}

static void clear(_Atomic uint64_t *v)
{
    atomic_store_explicit(v, 0, memory_order_relaxed);
}

void hd_sketch_reset(struct hd_sketch *s)
{
    for (size_t p = 0; p < HD_SKETCH_PAGES; p++) {
        struct hd_sketch_page *page = atomic_load_explicit(&s->pages[p], memory_order_acquire);

        for (size_t i = 0; page && i < HD_SKETCH_PAGE; i++)
            clear(&page->bin[i]);
    }
    clear(&s->zeros);
    clear(&s->sum);
    clear(&s->max);
    clear(&s->low);
}

void hd_sketch_free(struct hd_sketch *s)
{
    for (size_t p = 0; p < HD_SKETCH_PAGES; p++)
        hd_free(atomic_load(&s->pages[p]));
}

void hd_sketch_total_init(struct hd_sketch_total *t)
{
    memset(t, 0, sizeof(*t));
    t->min = UINT64_MAX;
}

void hd_sketch_total_add(struct hd_sketch_total *t, struct hd_sketch *s)
{
    uint64_t zeros = atomic_load_explicit(&s->zeros, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&s->max, memory_order_relaxed);
    uint64_t min = UINT64_MAX - atomic_load_explicit(&s->low, memory_order_relaxed);

    for (size_t p = 0; p < HD_SKETCH_PAGES; p++) {
        struct hd_sketch_page *page = atomic_load_explicit(&s->pages[p], memory_order_acquire);

        for (size_t i = 0; page && i < HD_SKETCH_PAGE; i++) {
            uint64_t n = atomic_load_explicit(&page->bin[i], memory_order_relaxed);

            t->bins[p * HD_SKETCH_PAGE + i] += n;
            t->count += n;
        }
    }
    t->zeros += zeros;
    t->count += zeros;
    t->sum += atomic_load_explicit(&s->sum, memory_order_relaxed);
    if (max > t->max)
        t->max = max;
    if (min < t->min)
        t->min = min;
}

uint64_t hd_sketch_below(const struct hd_sketch_total *t, uint64_t bound)
{
    size_t last = bound ? bin_of(bound) : 0;
    uint64_t below = t->zeros;

    for (size_t i = 0; bound && i <= last && i < HD_SKETCH_BINS; i++)
        below += t->bins[i];
    return below;
}

/* A bin's middle may lie outside of what was ever seen. */
static double within(const struct hd_sketch_total *t, double value)
{
    if (value > (double)t->max)
        return (double)t->max;
    return value < (double)t->min ? (double)t->min : value;
}

double hd_sketch_quantile(const struct hd_sketch_total *t, double q)
{
    uint64_t rank, below = t->zeros;

    if (!t->count || !(q >= 0 && q <= 1))
        return 0;
    rank = (uint64_t)(q * (double)(t->count - 1));
    if (rank < below)
        return 0;
    for (size_t i = 0; i < HD_SKETCH_BINS; i++) {
        below += t->bins[i];
        if (rank < below)
            return within(t, middle_of(i));
    }
    return (double)t->max;
}
