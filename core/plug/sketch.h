/*
 * A quantile sketch with relative error: any quantile is within 1 % of the true value, whatever the values.
 *
 * It is DDSketch (Masson, Rim, Lee, 2019): a value falls into bin ceil(log_g(value)) with g = 1.01 / 0.99, so
 * that a bin's middle is within 1 % of all that it holds. All 64-bit values need 2,219 bins (35 pages), so
 * nothing is ever collapsed; bins come in pages that are made when first needed. One thread writes a sketch,
 * any thread may read it meanwhile.
 */
#ifndef HD_PLUG_SKETCH_H
#define HD_PLUG_SKETCH_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HD_SKETCH_PAGE  64 /* bins */
#define HD_SKETCH_PAGES 35
#define HD_SKETCH_BINS  (HD_SKETCH_PAGE * HD_SKETCH_PAGES)

struct hd_sketch_page {
    _Atomic uint64_t bin[HD_SKETCH_PAGE];
};

/* Zeroed memory is an empty sketch. */
struct hd_sketch {
    _Atomic(struct hd_sketch_page *) pages[HD_SKETCH_PAGES];
    _Atomic uint64_t zeros, sum;
    _Atomic uint64_t max, low; /* `low` is UINT64_MAX - the least value, so that 0 is "none" */
};

void hd_sketch_free(struct hd_sketch *s); /* its pages */
/* Records a value. HD_ENOMEM when its page cannot be made; it is then not counted. One thread at a time. */
int hd_sketch_add(struct hd_sketch *s, uint64_t value);
/* The same for a sketch that several threads write. */
int hd_sketch_add_shared(struct hd_sketch *s, uint64_t value);
/* Empties it. The writing thread. */
void hd_sketch_reset(struct hd_sketch *s);

/* Sketches added up, to be asked. */
struct hd_sketch_total {
    uint64_t count, sum, min, max;
    uint64_t zeros;
    uint64_t bins[HD_SKETCH_BINS];
};

void hd_sketch_total_init(struct hd_sketch_total *t);
void hd_sketch_total_add(struct hd_sketch_total *t, struct hd_sketch *s);
/* The q-quantile (0 … 1): the value at rank floor(q × (count - 1)); 0 when there is none. */
double hd_sketch_quantile(const struct hd_sketch_total *t, double q);
/* How many values were at most `bound`, within 1 % of the bound. */
uint64_t hd_sketch_below(const struct hd_sketch_total *t, uint64_t bound);

#endif
