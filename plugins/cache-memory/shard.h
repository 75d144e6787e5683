/*
 * A shard: a part of the store with a lock, a bound and a policy of its own. Keys belong to a shard by the
 * top bits of their hash.
 *
 * The lock is held for a look-up in the index, the policy's few stores and the counting of a reference: some
 * tens of nanoseconds, with as many shards as to make it rare that two workers meet. It is a lock and not a
 * scheme without one since the last use has to be noted and the value to be kept from going, so a hit writes
 * in any case. Values are copied and freed outside of it. What bounds all work under it: evictions come in
 * slices, and tables grow by steps.
 *
 * The bound holds for values, keys, bookkeeping and values that have gone but are still held by a get(). Room
 * is made before memory is taken.
 */
#ifndef CACHE_MEMORY_SHARD_H
#define CACHE_MEMORY_SHARD_H

#include <howdah/howdah.h>

#include "index.h"

struct cm_shard;

/* What all shards are told when they are born. */
struct cm_shard_options {
    uint64_t max_bytes;
    int32_t lru;
    int32_t admission;
};

struct cm_shard_stats {
    uint64_t entries, bytes, max_bytes;
    uint64_t hits, misses, puts, rejected, evictions;
    int32_t wide; /* the small queue is the wide one */
    int32_t lru;  /* there is but one queue */
};

/* NULL without memory. */
struct cm_shard *cm_shard_new(const struct cm_shard_options *o);
/* Nobody may hold a value any more. NULL is allowed. */
void cm_shard_free(struct cm_shard *s);
/* A lower bound evicts before it returns, but for what is held. [any] */
void cm_shard_set(struct cm_shard *s, uint64_t max_bytes, int32_t admission);

/* As the calls of the same name of howdah.cache-store/1. `now` is the monotonic time in ms. [any] */
int32_t cm_shard_get(struct cm_shard *s, const struct hd_cache_key *key, uint64_t now,
                     struct hd_cache_value *value);
int32_t cm_shard_put(struct cm_shard *s, const struct hd_cache_key *key, uint64_t now,
                     const struct hd_cache_value *value);
void cm_shard_erase(struct cm_shard *s, const struct hd_cache_key *key);
void cm_shard_release(struct cm_item *item);
void cm_shard_flush(struct cm_shard *s);
void cm_shard_stats(struct cm_shard *s, struct cm_shard_stats *out);

/* Bytes that a value takes with its key, and that a shard has for itself with so many values. */
uint64_t cm_item_charge(const struct hd_cache_key *key, const struct hd_cache_value *value);
uint64_t cm_shard_overhead(uint64_t entries, int lru);

#endif
