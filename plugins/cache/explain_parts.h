/*
 * A call of CACHE EXPLAIN, between what finds out (explain.c) and what tells it (explain_tell.c).
 */
#ifndef CACHE_EXPLAIN_PARTS_H
#define CACHE_EXPLAIN_PARTS_H

#include "explain.h"
#include "plan.h"

/* One call. */
struct cache_explain {
    struct cache_explain *next;
    struct cache *cache;
    hd_result *result;
    hd_timer *timer;
    const hd_template *tmpl;
    struct cache_plan *plan; /* NULL: it is nothing to the cache, or there was no memory */
    void (*destroy)(void *plan);
    struct cache_scope scope;
    int32_t follows_settings;
    uint32_t looks;
    char *text;  /* the statement */
    char *names; /* that the scope points to */
};

/* The columns of the result and its first rows: whether it is kept, and why not (NULL: it is). */
void cache_explain_head(const struct cache_explain *x, const char *cached, const char *reason);
/* All of it, of a statement whose answers may be kept; and of one whose may not. */
void cache_explain_kept(const struct cache_explain *x, const struct cache_bound *b);
void cache_explain_refused(const struct cache_explain *x, const struct cache_bound *b);

#endif
