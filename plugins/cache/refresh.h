/*
 * Answers that are asked for anew while they may still be given: one read goes to the server, and the others
 * get the old answer meanwhile. So nobody waits when a hot answer gets too old, and nothing runs but what
 * clients have sent.
 *
 * Early refresh is XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
 * Prevention, VLDB 2015): the nearer the end, and the longer the answer took to make, the likelier is a hit
 * to be the one that asks anew. stale_while_revalidate gives answers past their ttl for so long, while one is
 * on its way. Neither gives an answer that a write has ended.
 */
#ifndef CACHE_REFRESH_H
#define CACHE_REFRESH_H

#include "cache.h"

enum cache_age { CACHE_FRESH, CACHE_REFRESH_EARLY, CACHE_STALE };

/* How long a value may be kept in a store: past the ttl only where it says how much of that is left. */
static inline uint64_t cache_keep_ms(const struct cache_policy *policy, int shared)
{
    return policy->ttl_ms + (shared ? 0 : policy->stale_ms);
}

/* What a hit is to do: give it; or be the one that asks anew, if nobody has. [worker] */
enum cache_age cache_age(struct cache_worker *w, const struct cache_policy *policy,
                         const struct hd_cache_value *value, int shared);

/* Reads early_refresh: yes, no, or the number that the paper calls beta. 0: it is none of these. */
int cache_read_beta(struct hd_str text, double *beta);

#endif
