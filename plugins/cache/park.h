/*
 * Reads that wait for the answer to an equal one: they are parked with the host, for so long and no longer.
 */
#ifndef CACHE_PARK_H
#define CACHE_PARK_H

#include "cache.h"

/* Is there room for one more on this worker? */
int cache_park_possible(const struct cache_worker *w, const struct cache_rules *rules);
/* Parks the statement. Past the rules' wait it goes on to the server. */
void cache_park(struct cache_worker *w, const struct cache_rules *rules, uint64_t handle,
                struct hd_verdict *v);
/* Those who waited for the flight, which has landed, get the answer; or, if it is NULL, go on to the server.
 * Frees the flight. */
void cache_resume_all(struct cache *self, struct cache_flight *flight, const struct hd_cache_value *value);
void cache_park_stop(struct cache_worker *w);

#endif
