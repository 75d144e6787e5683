/*
 * The inside of the catalog, which catalog.c (answers) and catalog_watch.c (databases and their generations)
 * share.
 */
#ifndef HD_PLUG_CATALOG_PARTS_H
#define HD_PLUG_CATALOG_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/list.h"
#include "plug/catalog.h"
#include "sql/catalog.h"
#include "sql/template.h"

#define HD_CATALOG_BUCKETS 1024
/* Prepared transactions that are known to have defined nothing; the oldest make room. */
#define HD_CATALOG_PREPARED 1024

/* A database on a node. Lives as long as the catalog. */
struct hd_catalog_database {
    struct hd_catalog_database *next;
    struct hd_catalog *catalog;
    const char *node, *dbname;
    _Atomic uint64_t generation;
    _Atomic uint64_t used_ns; /* when somebody asked last */
    struct hd_list waiting;   /* questions that are to be put; guarded by the catalog's lock, */
    uint32_t under_way;       /* and so is how many are on their way */
    char *fingerprint;        /* found last, NULL: none; guarded as well, */
    enum { HD_CATALOG_UNSEEN, HD_CATALOG_LOOKING, HD_CATALOG_LOOKED } first_look; /* and this */
    void (*looked)(struct hd_catalog_database *d); /* when the first look is over */
};

struct hd_dependencies {
    _Atomic int refs;
    const struct hd_catalog_database *database;
    uint64_t generation;
    struct hd_catalog_answer answer;
};

/* What is known of one template in one scope. */
struct hd_catalog_entry {
    struct hd_catalog_entry *next; /* in its bucket */
    struct hd_list order;          /* oldest first */
    struct hd_hash128 key;
    struct hd_dependencies *known; /* held; NULL: nothing yet, or it could not be asked */
    int asking;                    /* a question is on its way */
    uint64_t retry_ns;             /* it could not be asked; not again before this */
};

struct hd_catalog {
    struct hd_jobs *jobs;
    size_t max;
    pthread_mutex_t lock; /* guards all below but what is atomic */
    struct hd_catalog_database *databases;
    uint32_t database_count;
    struct hd_catalog_entry *buckets[HD_CATALOG_BUCKETS];
    struct hd_list order;
    struct hd_hash128 prepared[HD_CATALOG_PREPARED]; /* of node, database and name; 0: none */
    uint32_t prepared_next;
    size_t count, asking;
    uint64_t asked, failed, evicted, changes;
};

/* The database of that name, made if need be; NULL: no memory, or too many. Under the lock. */
struct hd_catalog_database *hd_catalog_database(struct hd_catalog *c, struct hd_str node,
                                                struct hd_str dbname);
/* The entry with that key, or NULL. Under the lock. */
struct hd_catalog_entry *hd_catalog_find(struct hd_catalog *c, struct hd_hash128 key);
/* No answer that was given before this still stands. */
void hd_catalog_new_generation(struct hd_catalog *c, struct hd_catalog_database *d);
/*
 * Before the first question to a database its fingerprint is taken, so that the watch knows whether answers
 * still stand; where that fails the watch ends them all when it looks first. HD_PENDING: then(d) comes when
 * that is over; HD_OK: it has been.
 */
int hd_catalog_look_first(struct hd_catalog_database *d, void (*then)(struct hd_catalog_database *d));

#endif
