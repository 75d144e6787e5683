/*
 * Context: what of a session an answer hangs on. Its digest goes into every key; its scope, which sessions of
 * a user share, is where names are looked up.
 */
#ifndef CACHE_CONTEXT_H
#define CACHE_CONTEXT_H

#include "cache.h"

#define CACHE_DIGEST_LEN 32

/* Where names are looked up, and for whom. One worker's; lives as long as the worker. */
struct cache_scope {
    struct cache_scope *next;
    struct cache_database *db;
    struct hd_catalog_scope catalog; /* its strings are in the memory behind this struct */
    struct hd_str database, user;
};

/* A session's. */
struct cache_context {
    uint64_t settings_id; /* that the rest was made from; 0: none yet */
    uint64_t defaults_id; /* as well */
    struct cache_scope *scope;
    int32_t isolated; /* its transactions are not READ COMMITTED by default */
    uint32_t reserved;
    uint8_t digest[CACHE_DIGEST_LEN];
};

/* Brings the context up to the statement's settings. HD_OK; HD_EFULL or HD_ENOMEM at a bound. Costs one
 * comparison where nothing has changed. [worker] */
int32_t cache_context_update(struct cache_worker *w, struct cache_context *c, const struct hd_statement *st);
/* A setting that changes no row of any answer, and is in no key. */
int cache_context_is_harmless(const char *name);
void cache_scopes_free(struct cache_worker *w);

#endif
