/*
 * What an expression comes to, from the series that were read: a value for each set of labels.
 */
#ifndef ALERTS_EVAL_H
#define ALERTS_EVAL_H

#include "alerts/series.h"

/* A value of an expression. The labels are of the memory, or of a series. */
struct al_sample {
    const struct al_labels *labels;
    double value;
};

struct al_vector {
    struct al_sample *samples;
    uint32_t count;
    uint32_t scalar; /* one sample, of numbers alone */
};

struct al_memory; /* what vectors of one evaluation stand in */

struct al_memory *al_memory_new(void);
/* Zeroed bytes of it; NULL: no memory. */
void *al_memory_take(struct al_memory *m, size_t bytes);
void al_memory_clear(struct al_memory *m);
void al_memory_free(struct al_memory *m);

/* HD_OK, or HD_ENOMEM. What has no data has no samples. */
int32_t al_eval(const struct al_node *n, struct al_memory *m, struct al_vector *out);

#endif
