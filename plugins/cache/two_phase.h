/*
 * Statements of two-phase commits: which prepared transaction (prepared.h) they are about, and what it has
 * touched.
 */
#ifndef CACHE_TWO_PHASE_H
#define CACHE_TWO_PHASE_H

#include "plan.h"

/* A statement that prepares a transaction, or may, is about to be sent: what stands under its name is not
 * what it has touched. `s` may be NULL: its end will not be noted. [worker] */
void cache_two_phase_prepare(struct cache *self, const struct cache_plan *p, struct cache_writes *s,
                             const struct hd_statement *st);

/* COMMIT PREPARED, ROLLBACK PREPARED: what it does, and the number of what it is about; 0: not known.
 * [worker] */
struct cache_footprint cache_two_phase_end(struct cache *self, const struct cache_plan *p,
                                           const struct hd_statement *st, uint64_t *prepared);

#endif
