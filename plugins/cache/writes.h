/*
 * Writes: what a session's transactions have touched, from the statement that may write until the end of its
 * transaction, when the epochs of its tables are bumped. Statements of a pipeline may be on their way while
 * an earlier transaction ends, so those that have not completed stay when it does.
 */
#ifndef CACHE_WRITES_H
#define CACHE_WRITES_H

#include "cache.h"
#include "prepared.h"

/* What a transaction has done that matters to reads in it, beside writing. */
#define CACHE_TXN_WRITES   1u  /* tables, or anything */
#define CACHE_TXN_ANYTHING 2u  /* which tables is not known */
#define CACHE_TXN_ISOLATED 4u  /* not READ COMMITTED */
#define CACHE_TXN_SETTINGS 8u  /* SET LOCAL and such */
#define CACHE_TXN_LOCKS    16u /* waits for others, and may then expect to see what they did */
#define CACHE_TXN_DEFINES  32u /* changes the schema or privileges */
#define CACHE_TXN_COMMITS  64u /* may commit in its midst: a procedure */

/* Cells of what is touched, up to a number; more are anything. */
#define CACHE_WRITES_MAX 64

struct cache_footprint {
    uint32_t flags; /* CACHE_TXN_… */
    uint32_t count;
    struct cache_cell *cells[CACHE_WRITES_MAX];
};

/* A statement on its way. */
struct cache_write {
    struct cache_write *next;
    uint64_t handle; /* of the execution */
    int32_t ended;   /* its transaction has ended before it has completed */
    uint32_t reserved;
    struct cache_database *db; /* NULL: not known, and its footprint is anything */
    uint64_t prepared;         /* number of the prepared transaction whose footprint it has; 0: none */
    uint64_t schema;           /* epoch of the schema that the footprint was found by */
    struct cache_footprint what;
};

/* A transaction that nobody waits for, while its server may yet commit it. */
struct cache_left {
    struct cache_left *next;
    uint64_t handle; /* of the call that told of it */
    struct cache_database *db;
    struct cache_footprint what;
};

/* A PREPARE TRANSACTION whose transaction has not ended. */
struct cache_preparing {
    uint64_t handle;  /* of the execution; 0: there is none */
    uint32_t several; /* there are more, and none is noted */
    uint32_t len;
    char gid[CACHE_GID_MAX];
};

/* A session's. */
struct cache_writes {
    struct cache_footprint *done; /* of statements that have completed; NULL: of none yet */
    struct cache_write *pending;
    uint32_t done_flags; /* of what had no memory to be noted in `done` */
    uint32_t reserved;
    struct cache_preparing *preparing; /* NULL: there has been none yet */
    struct cache_database *defining;   /* where this session is counted among those; NULL: nowhere */
};

/* Adds one to the other. */
void cache_footprint_add(struct cache_footprint *to, const struct cache_footprint *what);

/* Adds what the marks name. Where there is no room or memory for that it becomes anything. */
void cache_footprint_marks(struct cache_footprint *to, struct cache_database *db, uint32_t max_tables,
                           const struct cache_mark *marks, uint32_t count);
/* What it touches counts as unsettled (+1), or no longer (-1). */
void cache_footprint_unsettle(const struct cache_footprint *what, struct cache_database *db, int32_t change);
/* What hangs on it holds no more. */
void cache_footprint_bump(struct cache *self, const struct cache_footprint *what, struct cache_database *db);

/* The same at the end of a transaction through this host: other hosts are told, too, and what they have
 * stored is taken for what it is. */
void cache_footprint_end(struct cache *self, const struct cache_footprint *what, struct hd_str node,
                         struct hd_str dbname);
/* The change stream has told of it, up to there. */
void cache_footprint_told(const struct cache_footprint *what, struct cache_database *db, uint64_t lsn);

/* Notes that the schema of a database may change until the transaction's end. */
void cache_writes_define(struct cache_writes *w, struct cache_database *db);

/* Notes a statement that is about to be sent, and the other way when it has completed. Returns NULL without
 * memory; then the session's transaction counts as one that may have written anything. */
struct cache_write *cache_writes_begin(struct cache_writes *w, uint64_t handle, struct cache_database *db,
                                       const struct cache_footprint *what);
void cache_writes_complete(struct cache *self, struct cache_writes *w, struct cache_write *one, int failed);

/* CACHE_TXN_… of the transaction so far, and of what is on its way. */
uint32_t cache_writes_flags(const struct cache_writes *w);

/* The last word on transactions that have been left. Ends all that are still open. */
void cache_writes_forget_left(struct cache *self);

/* The end of a transaction. `w` may be NULL: nothing is known of it. */
void cache_writes_end(struct cache *self, struct cache_writes *w, const struct hd_transaction *t);
void cache_writes_free(struct cache_writes *w);

#endif
