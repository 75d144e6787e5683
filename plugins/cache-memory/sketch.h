/*
 * How often a key was asked for lately, whether it is kept or not: a count-min sketch of 4-bit counters which
 * are halved now and then, so that the past fades (as TinyLFU has it: Einziger, Friedman, Manes, ACM ToS
 * 2017). All counters of a key lie in one cache line. May say too much, up to 15; never too little, but for
 * what has faded.
 *
 * Belongs to whoever holds the shard's lock.
 */
#ifndef CACHE_MEMORY_SKETCH_H
#define CACHE_MEMORY_SKETCH_H

#include <stdint.h>

#define CM_SKETCH_LINES 256

struct cm_sketch {
    uint64_t line[CM_SKETCH_LINES][8]; /* 16 counters a word */
    uint32_t added;                    /* since the last halving */
};

void cm_sketch_add(struct cm_sketch *s, uint64_t hash);
unsigned cm_sketch_count(const struct cm_sketch *s, uint64_t hash);

#endif
