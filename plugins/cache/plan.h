/*
 * Plans: what the cache does with the executions of a template. A plan is one worker's; for each scope that
 * executions come from it is bound: names are looked up there, and a rule is found.
 */
#ifndef CACHE_PLAN_H
#define CACHE_PLAN_H

#include "context.h"
#include "writes.h"

/* What a template has to do with prepared transactions. */
enum cache_gid {
    CACHE_GID_NONE,
    CACHE_GID_PREPARES,   /* PREPARE TRANSACTION, */
    CACHE_GID_COMMITS,    /* COMMIT PREPARED, */
    CACHE_GID_ROLLS_BACK, /* ROLLBACK PREPARED alone: the name stands in the text */
    CACHE_GID_UNKNOWN     /* it may prepare one, whose name cannot be told */
};

enum cache_class {
    CACHE_READ,  /* may be answered from the cache */
    CACHE_WRITE, /* may write, or define */
    CACHE_MARK   /* does something that reads behind it in its transaction must know: `marks` */
};

/* A plan in a scope. */
struct cache_bound {
    struct cache_bound *next;
    struct cache_scope *scope;
    const hd_dependencies *deps; /* NULL: not known */
    /* Of a read: */
    int32_t code; /* HD_OK: it may be kept; else why not: `why` */
    enum cache_bypass why;
    struct cache_policy policy;
    uint64_t generation;
    uint32_t table_count;
    struct cache_table **tables;
    uint8_t *rows;  /* per table: it has rows of its own, and is no view or parent alone */
    int32_t silent; /* one of them is told of by no change stream */
    int32_t reserved;
    struct cache_rows *rows_of; /* which rows it hangs on, or touches; NULL: not known */
    /* Of a write: */
    int32_t anything; /* it may touch anything */
    int32_t reserved2;
};

struct cache_plan {
    struct cache *cache;
    const hd_template *tmpl;   /* held */
    struct cache_rules *rules; /* held */
    enum cache_class class;
    uint32_t marks; /* CACHE_TXN_…, whatever the class */
    enum cache_gid gid;
    uint32_t reserved;
    uint64_t fingerprint;
    uint32_t bound_count;
    struct cache_bound *bounds;
};

/* The filter's plan(). */
int32_t cache_plan(void *self, void *ws, const hd_template *t, struct hd_plan *out);

/* The plan in that scope, as the catalog says now. NULL: no memory. [worker] */
struct cache_bound *cache_plan_bind(struct cache_plan *p, struct cache_scope *scope);

#endif
