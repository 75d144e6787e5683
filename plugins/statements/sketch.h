/*
 * A template's latency distribution: counts in buckets whose width grows with the value, so that a quantile
 * is within 0.8 % of the exact one, whatever its size. It is a DDSketch (Masson, Rim, Lee: "DDSketch: A Fast
 * and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB 2019) whose mapping is linear
 * within a power of two instead of a logarithm: each is cut into 64 equal buckets, and takes memory (512
 * bytes) only once a value falls into it.
 *
 * Values are nanoseconds. Below 1 µs they count as 1 µs, above 18 minutes as 18 minutes.
 */
#ifndef STATEMENTS_SKETCH_H
#define STATEMENTS_SKETCH_H

#include <stdint.h>

#define STMTS_SKETCH_LOW     10 /* the first power of two: 1024 ns */
#define STMTS_SKETCH_OCTAVES 30 /* the last is 2^39 ns */
#define STMTS_SKETCH_BITS    6
#define STMTS_SKETCH_BUCKETS (1u << STMTS_SKETCH_BITS)

struct stmts_sketch {
    uint64_t count;                          /* values that were recorded */
    uint64_t *octaves[STMTS_SKETCH_OCTAVES]; /* counts of each power of two's buckets; NULL: none yet */
};

/* Records a value; forgets it when there is no memory for its power of two. */
void stmts_sketch_add(struct stmts_sketch *s, uint64_t ns);
/* Adds all of `from`; what finds no memory is left out. */
void stmts_sketch_merge(struct stmts_sketch *s, const struct stmts_sketch *from);
/* Bucket number i of all, counted through the powers of two: the value that stands for it. */
#define STMTS_SKETCH_ALL (STMTS_SKETCH_OCTAVES * STMTS_SKETCH_BUCKETS)
double stmts_sketch_value(unsigned i);
/* The smallest value that a share of q (0 … 1) of all values does not exceed, in nanoseconds; 0 when empty.
 */
double stmts_sketch_quantile(const struct stmts_sketch *s, double q);
/* Frees the buckets; the sketch is empty again. */
void stmts_sketch_clear(struct stmts_sketch *s);

#endif
