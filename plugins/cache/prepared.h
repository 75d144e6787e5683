/*
 * Prepared transactions: what each has touched, from PREPARE TRANSACTION until it is committed or rolled
 * back, by whatever session. What was prepared elsewhere, or before the host started, or had to make room is
 * not known here; then a commit is one of a write of anything.
 */
#ifndef CACHE_PREPARED_H
#define CACHE_PREPARED_H

#include <howdah/types.h>
#include <pthread.h>

/* PostgreSQL's bound of a name, in bytes. */
#define CACHE_GID_MAX 200

struct cache;
struct cache_database;
struct cache_footprint;
struct cache_prepared;

struct cache_prepared_list {
    pthread_mutex_t lock;
    struct cache_prepared *first; /* newest first */
    uint32_t count, max;          /* past `max` the oldest makes room */
    uint64_t serial;              /* of the newest ever; never 0 once there was one */
};

void cache_prepared_init(struct cache_prepared_list *l);
void cache_prepared_free(struct cache_prepared_list *l);

/* A transaction is about to be prepared under that name, so what stands there is not its footprint. An empty
 * name: it cannot be told, and may be any of the database's. [any] */
void cache_prepared_forget(struct cache *self, const struct cache_database *db, struct hd_str gid);
/* It has been. Without memory it is not noted. [any] */
void cache_prepared_keep(struct cache *self, const struct cache_database *db, struct hd_str gid,
                         const struct cache_footprint *what);
/* Fills what it has touched and returns its number, or returns 0: not known. [any] */
uint64_t cache_prepared_find(struct cache *self, const struct cache_database *db, struct hd_str gid,
                             struct cache_footprint *what);
/* 1: it is still the one that was found. A name may be used again meanwhile. [any] */
int cache_prepared_stands(struct cache *self, uint64_t serial);
/* It is committed or rolled back. [any] */
void cache_prepared_drop(struct cache *self, uint64_t serial);

#endif
