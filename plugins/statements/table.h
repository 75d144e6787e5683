/*
 * What one worker knows of the templates that it ran: one entry for each template, database and user, in a
 * table with a bound. Past the bound an execution counts in the entry "other". What is counted stays until a
 * reset, or until somebody who sees all workers says what has not run for long: it goes into "other", too.
 *
 * A table belongs to its worker's thread and has no locks. Texts are shared with whoever gathers them, by
 * reference.
 */
#ifndef STATEMENTS_TABLE_H
#define STATEMENTS_TABLE_H

#include <howdah/howdah.h>
#include <howdah/statement_stats.h>
#include <stdatomic.h>

#include "sketch.h"

/* Databases that are told apart; further ones share the name "other". */
#define STMTS_DATABASES 100

/* A normalized text, cut to the length that was configured when it was first seen. */
struct stmts_text {
    atomic_uint refs;
    uint32_t len;
    char bytes[];
};

/* A database's name and its counter, the latter kept here for the filter. */
struct stmts_db {
    char name[HD_EVENT_NAME];
    uint32_t len;
    int64_t metric;
};

/* A database and a user that has logged in to it. */
struct stmts_who {
    struct stmts_db *db;
    char database[HD_EVENT_NAME], user[HD_EVENT_NAME];
    uint32_t database_len, user_len;
};

/* Failures of one entry by SQLSTATE; what finds no place counts in the last, whose code is empty. */
struct stmts_states {
    uint32_t count;
    struct hd_stats_state at[HD_STATS_STATES + 1];
};

/* Sums over executions. */
struct stmts_sums {
    uint64_t calls;
    uint64_t errors;
    uint64_t rows;
    uint64_t bytes;
    uint64_t total_ns;
    uint64_t queue_ns;
    uint64_t server_ns;
    uint64_t first_ns;
    uint64_t firsts;
    uint64_t answered;
    uint64_t min_ns;
    uint64_t max_ns;
};

struct stmts_entry {
    uint64_t fingerprint;
    struct stmts_who *who;       /* NULL in "other" */
    struct stmts_text *text;     /* NULL when there was no memory for it */
    struct stmts_entry *change;  /* next in the table's list of changes */
    struct stmts_sums all;       /* since the last reset */
    struct stmts_sums news;      /* since the last batch of events */
    struct stmts_states *states; /* NULL: none has failed, or there was no memory */
    struct stmts_sketch sketch;
};

struct stmts_table {
    uint32_t max;                 /* entries that may be */
    uint32_t count;               /* entries that are */
    uint32_t mask;                /* slots - 1 */
    uint32_t db_count;            /* used of `dbs` */
    uint64_t generation;          /* grows with each reset: entries of an older one are gone */
    uint64_t epoch;               /* grows whenever entries have gone: pointers of an older one are stale */
    uint32_t *slots;              /* index into `entries` + 1; 0: free */
    struct stmts_entry **entries; /* in order of arrival */
    struct stmts_entry *changes;  /* entries that have news */
    struct stmts_entry other;
    struct stmts_db dbs[STMTS_DATABASES + 1]; /* the last is "other" */
    uint32_t who_max, who_count, who_mask;
    uint32_t *who_slots;    /* index into `whos` + 1; 0: free */
    struct stmts_who *whos; /* never moves; past who_max: "other" of each of `dbs` */
};

/* HD_OK or HD_ENOMEM. `who_max` pairs of database and user are told apart. */
int32_t stmts_table_init(struct stmts_table *t, uint32_t max, uint32_t who_max);
void stmts_table_free(struct stmts_table *t);
/* Changes the bound; entries beyond a lower one stay. HD_ENOMEM changes nothing. */
int32_t stmts_table_resize(struct stmts_table *t, uint32_t max);
/* Forgets all entries. */
void stmts_table_reset(struct stmts_table *t);

/* That user of that database, made when it is new; the `metric` of a new database is 0. Past the bound it is
 * the database's user "other". */
struct stmts_who *stmts_table_who(struct stmts_table *t, struct hd_str database, struct hd_str user);

/* The entry, or NULL. */
struct stmts_entry *stmts_table_find(struct stmts_table *t, uint64_t fingerprint,
                                     const struct stmts_who *who);
/* Makes the entry, which must not be there; NULL at the bound or without memory. */
struct stmts_entry *stmts_table_add(struct stmts_table *t, uint64_t fingerprint, struct stmts_who *who,
                                    struct hd_str text, uint32_t text_length);
/* Folds up to `max` entries into "other", those that `goes` is true for; their news become its. Returns how
 * many. */
uint32_t stmts_table_forget(struct stmts_table *t, uint32_t max,
                            int (*goes)(const void *arg, const struct stmts_entry *e), const void *arg);
/* Counts one execution in an entry of the table. */
void stmts_table_count(struct stmts_table *t, struct stmts_entry *e, const struct hd_outcome *o);

/* Adds `count` failures with that code. */
void stmts_states_add(struct stmts_states *states, const char *sqlstate, uint64_t count);
void stmts_sums_add(struct stmts_sums *to, const struct stmts_sums *from);
struct stmts_text *stmts_text_ref(struct stmts_text *text); /* NULL is allowed */
void stmts_text_unref(struct stmts_text *text);             /* NULL is allowed */

#endif
