/*
 * Lineage: which server a database is on, and which of its timelines. What other hosts have stored is worth
 * something only where both are the same, whatever a [node] is called.
 */
#ifndef CACHE_LINEAGE_H
#define CACHE_LINEAGE_H

#include "rules.h"
#include "shared_head.h"

struct cache;
struct cache_database;

/* Fills lineage (0: not proved) and, where the mode goes by the change stream, its position. Returns where
 * that has begun; 0: it has not. Asks the server anew now and then. [worker] */
uint64_t cache_lineage_of(struct cache *self, struct cache_database *db, enum cache_mode mode,
                          struct cache_shared_head *h);

/* As a number; never 0 but for system 0. */
uint64_t cache_lineage(uint64_t system, uint32_t timeline);

#endif
