/*
 * CACHE EXPLAIN: what becomes of a statement, found out in the same way as for one that comes.
 */
#ifndef CACHE_EXPLAIN_H
#define CACHE_EXPLAIN_H

#include "cache.h"

/* The command's handler. [control] */
int32_t cache_explain(void *self, const struct hd_call *call, struct hd_error *err);
/* Those under way are given up. [control] */
void cache_explain_stop(struct cache *self);

/* Why a statement is not looked up by what its text does; NULL: its facts do not say so. */
const char *cache_explain_facts(const struct hd_template_info *info);

#endif
