/*
 * Reads on their way through the filter: looked up, and answered, parked behind an equal one, or sent to the
 * server and their answers kept.
 */
#ifndef CACHE_READ_H
#define CACHE_READ_H

#include "plan.h"

/* The filter's statement(), data() and complete() of a read. What its slot points to is its capture, or NULL.
 * [worker] */
int32_t cache_read_statement(struct cache_worker *w, struct cache_plan *p, const struct hd_statement *st,
                             struct hd_verdict *v);
void cache_read_data(const struct hd_statement *st, struct hd_str bytes);
void cache_read_complete(struct cache *self, const struct hd_statement *st, const struct hd_outcome *o);

#endif
