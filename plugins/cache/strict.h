/*
 * Strict answers: one that was found is held until a check has shown that everything acknowledged before the
 * read came has been told, and is given if it still holds then.
 */
#ifndef CACHE_STRICT_H
#define CACHE_STRICT_H

#include "answer.h"

/* Parks the read that has found `value` in the tier; the value is released when it is over. HD_OK: *v says
 * so; else nothing was done. [worker] */
int32_t cache_strict_hold(struct cache_worker *w, const struct cache_bound *b, const struct cache_tier *tier,
                          const struct hd_cache_value *value, const struct hd_statement *st,
                          struct hd_verdict *v);

/* The same for those who wait for a flight that has landed with that value: it is copied, as is what it hangs
 * on. Frees the flight, now or later; if it cannot be checked they go on to the server. [worker] */
void cache_strict_land(struct cache *self, struct cache_database *db, struct cache_flight *flight,
                       const struct cache_capture *c, const struct hd_cache_value *value, uint64_t own);

#endif
