/*
 * Epochs: counters that say whether something has changed. An answer is kept together with the epochs of all
 * that it hangs on, as they were before its statement was sent; it may be given while they are the same. So
 * an invalidation costs one addition, however many answers it ends.
 *
 * There is one for everything, one for each database, one for each table that an answer has ever hung on, and
 * those of tags.
 * They are made when they are first needed and live as long as the cache, because heads of values point to
 * them.
 */
#ifndef CACHE_EPOCHS_H
#define CACHE_EPOCHS_H

#include <howdah/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "rows.h"

struct cache_cell {
    _Atomic uint64_t epoch;
    /* Transactions that have written what it stands for and whose end is not known, or not seen by all yet:
     * it may change, without a word. */
    _Atomic uint32_t unsettled;
    /* For what other hosts have stored, see shared.h: changes whose ticks are on their way, the highest that
     * came, and the end of the last commit that the change stream has told. */
    _Atomic uint32_t untold;
    _Atomic uint64_t tick, lsn;
    uint32_t oid, part; /* of a table's cell: which it is, for other hosts, as in hd_written_part */
};

/* Cells of a table's rows: by the hash of what names them, so that some share one. */
#define CACHE_ROW_CELLS 512

struct cache_table {
    struct cache_table *next; /* in its bucket */
    uint32_t oid;
    uint32_t reserved;
    char *schema, *name; /* as they were when it was first read; NULL: it was not yet. Guarded by the lock */
    struct cache_cell written, whole; /* see rows.h */
    struct cache_cell *_Atomic rows;  /* CACHE_ROW_CELLS of them, made when they are first needed */
    _Atomic int32_t covered;          /* the change stream tells of it */
    _Atomic int32_t asked;            /* it has been asked to */
    char *refused;                    /* why it does not; NULL: not known. Guarded by the lock */
};

#define CACHE_TABLE_BUCKETS 256

struct cache_follow;

struct cache_database {
    struct cache_database *next;
    struct hd_str node, dbname; /* NUL-terminated */
    struct cache_cell written;  /* anything in it */
    struct cache_cell schema;   /* bumped before it may change */
    _Atomic uint32_t defining;  /* sessions whose transaction has changed the schema, or is about to */
    uint32_t count;             /* of tables; guarded by lock */
    struct cache_follow *_Atomic follow; /* its change stream; NULL: not opened */
    pthread_mutex_t opening;             /* guards retry_ns, and that it is opened once */
    uint64_t retry_ns;                   /* when opening it may be tried again */
    /* For other hosts' values: the highest generation of its schema that reads have been bound by; and which
     * server it is on, as the server has said (0: not yet), when it said so and when it was asked. */
    _Atomic uint64_t generation, lineage, lineage_ns, lineage_asked_ns;
    _Atomic int32_t lineage_said; /* that it cannot be told */
    int32_t reserved;
    pthread_mutex_t lock;
    struct cache_table *buckets[CACHE_TABLE_BUCKETS]; /* guarded by lock */
};

/* Cells of tags: by the hash of what they stand for, so that some share one. */
#define CACHE_TAG_CELLS 4096

struct cache_epochs {
    struct cache_cell everything;
    struct cache_cell tags[CACHE_TAG_CELLS]; /* see tags.h */
    _Atomic int32_t broken; /* there was no memory to note what must be known: nothing is kept any more */
    pthread_mutex_t lock;   /* guards the list; its members' own have theirs */
    struct cache_database *databases;
    uint32_t count, max_databases;
    uint32_t max_tables; /* of each database, for whoever makes them */
};

/* The bounds are the caller's to set. */
void cache_epochs_init(struct cache_epochs *e);
void cache_epochs_free(struct cache_epochs *e);

/* Found or made; NULL at the bound, or without memory. [any] */
struct cache_database *cache_epochs_database(struct cache_epochs *e, struct hd_str node,
                                             struct hd_str dbname);
/* Found, or NULL: nothing has hung on it yet. [any] */
struct cache_database *cache_epochs_find(struct cache_epochs *e, struct hd_str node, struct hd_str dbname);
/* Found or made; NULL at the bound, or without memory. [any] */
struct cache_table *cache_database_table(struct cache_database *db, uint32_t oid, uint32_t max);
/* Notes what the table is called. Without memory it has no name. [any] */
void cache_table_named(struct cache_database *db, struct cache_table *t, struct hd_str schema,
                       struct hd_str name);
/* Notes why the change stream does not tell of it; NULL: it does. [any] */
void cache_table_refused(struct cache_database *db, struct cache_table *t, const char *why);
/* Copies that, or leaves `out` empty. [any] */
void cache_table_why(struct cache_database *db, struct cache_table *t, char *out, size_t room);
/* Ends what hangs on the tables of that name, in all databases; schema empty: in any schema. How many they
 * were. `ends` is called for each, before. [any] */
typedef void (*cache_ends_fn)(void *arg, struct cache_database *db, struct cache_table *t);
uint32_t cache_epochs_end_named(struct cache_epochs *e, struct hd_str schema, struct hd_str name,
                                cache_ends_fn ends, void *arg);
/* The same of the tables whose name, "NAME:" or "SCHEMA.NAME:", the pattern matches. [any] */
uint32_t cache_epochs_end_like(struct cache_epochs *e, const char *pattern, cache_ends_fn ends, void *arg);
/* Found, or NULL: nothing has hung on it yet. [any] */
struct cache_table *cache_database_find(struct cache_database *db, uint32_t oid);

static inline uint64_t cache_epoch(const struct cache_cell *cell)
{
    return atomic_load_explicit(&cell->epoch, memory_order_acquire);
}

/* The cell that a mark names; NULL: no memory. [any] */
struct cache_cell *cache_table_cell(struct cache_table *t, const struct cache_mark *mark);

/* The cell that another host has named; NULL: there is none, or no memory. [any] */
struct cache_cell *cache_table_part(struct cache_table *t, uint32_t part);

static inline int cache_is_unsettled(const struct cache_cell *cell)
{
    return atomic_load_explicit(&cell->unsettled, memory_order_acquire) != 0;
}

/* The change stream, which one thread reads, has told of a change up to there. */
static inline void cache_cell_told(struct cache_cell *cell, uint64_t lsn)
{
    if (atomic_load_explicit(&cell->lsn, memory_order_relaxed) < lsn)
        atomic_store_explicit(&cell->lsn, lsn, memory_order_release);
}

/* What was true of it is so no more. [any] */
static inline void cache_bump(struct cache_cell *cell)
{
    atomic_fetch_add_explicit(&cell->epoch, 1, memory_order_acq_rel);
}

#endif
