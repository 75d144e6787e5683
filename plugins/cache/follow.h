/*
 * Following the change stream of a database: what transactions have written around the host ends what hangs
 * on it, as do those through the host. One for each database that a read in mode strict or bounded has come
 * from, opened by the first of them.
 */
#ifndef CACHE_FOLLOW_H
#define CACHE_FOLLOW_H

#include "plan.h"

/* May answers that hang on these tables be kept and given as far as the stream goes? Opens the stream and
 * asks for the tables where that has not been done. [worker] */
int cache_follow_covers(struct cache *self, const struct cache_bound *b);

/* How far a database is followed. */
struct cache_follow_state {
    int open, running;
    int tells_ddl; /* of DDL around the host at once */
};

void cache_follow_look(struct cache *self, struct cache_database *db, struct cache_follow_state *out);

/* Which server the stream reads, and what it has told up to; returns where it has begun. 0 for what is not
 * known, as where it does not run. [any] */
uint64_t cache_follow_where(const struct cache *self, struct cache_database *db, uint64_t *lineage,
                            uint64_t *position);

/* Bounded: was everything told that was acknowledged up to `bound_ms` ago? Asks the server anew before that
 * is over. [any] */
int cache_follow_is_fresh(struct cache *self, struct cache_database *db, uint64_t bound_ms);

/* Strict: done(arg, code, …) comes once everything was told that has been acknowledged before this call. As
 * check() of the capability. [any] */
int32_t cache_follow_check(struct cache *self, struct cache_database *db, uint64_t timeout_ms,
                           void (*done)(void *arg, int32_t code, uint64_t lsn), void *arg);

/* Ends all of them; blocks until no callback is under way. [control] */
void cache_follow_stop(struct cache *self);

#endif
