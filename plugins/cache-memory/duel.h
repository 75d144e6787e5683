/*
 * The duel: which size of the small queue serves this shard better, a tenth or nine tenths? Two small caches
 * without values, one of each kind, are run on a sample of the keys, with as much of the shard's bytes as the
 * sample is of the keys (after Waldspurger et al., "Cache Modeling and Optimization using Miniature
 * Simulations", ATC 2017). The shard follows the one that has more hits.
 *
 * Costs nothing for keys outside of the sample, which are nearly all once there are many values; belongs to
 * whoever holds the shard's lock, and allocates nothing after its birth.
 */
#ifndef CACHE_MEMORY_DUEL_H
#define CACHE_MEMORY_DUEL_H

#include "policy.h"

struct cm_duel;

/* NULL without memory. */
struct cm_duel *cm_duel_new(void);
void cm_duel_free(struct cm_duel *d);
size_t cm_duel_bytes(void);

/* A value of that size was asked for, or kept anew. `entries` and `capacity` are the shard's. Returns whether
 * the small queue should be wide. */
int cm_duel_access(struct cm_duel *d, uint64_t hash, uint32_t bytes, uint64_t entries, uint64_t capacity);

#endif
