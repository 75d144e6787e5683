/*
 * The errand through all workers and back. Each worker is asked to copy (or forget) its own entries, a slice
 * at a time so that its sessions do not wait, and the control thread gets the copies. So the statement's path
 * has no locks. Whoever embeds a gather decides what is done with what it brings: see show.c and stats.c.
 */
#ifndef STATEMENTS_GATHER_H
#define STATEMENTS_GATHER_H

#include "statements.h"

/* A copy of an entry; later several merged. */
struct stmts_row {
    uint64_t fingerprint;
    uint64_t generation; /* of the workers' tables: the greatest */
    char database[HD_EVENT_NAME], user[HD_EVENT_NAME];
    struct stmts_text *text;
    struct stmts_sums sums;
    struct stmts_states states;
    struct stmts_sketch sketch;
    double p95_ns; /* show.c's */
};

struct stmts_gather;

/* What one worker gives. */
struct stmts_part {
    struct stmts_gather *gather;
    uint32_t worker;
    uint32_t next; /* entry to be copied next */
    uint64_t generation, epoch;
    uint32_t count, room;
    struct stmts_row *rows;
    int32_t code;
};

/* A template of a database and user, by what rows are told apart by. */
struct stmts_key {
    uint64_t fingerprint;
    char database[HD_EVENT_NAME], user[HD_EVENT_NAME];
};

struct stmts_gather {
    struct stmts *self;
    int reset;              /* forget all instead of copying */
    struct stmts_key *keys; /* forget these instead; sorted, and the gather's own */
    uint64_t key_count;
    /* Called once. HD_OK: every worker has answered [control]. Otherwise why not, from whatever thread. The
     * gather is freed afterwards. */
    void (*done)(struct stmts_gather *g, int32_t code);
    void *arg; /* the embedder's own */
    _Atomic uint32_t left;
    uint32_t count;
    struct stmts_part parts[];
};

/* NULL: no memory. Freed by stmts_gather_free if it is not sent. [control] */
struct stmts_gather *stmts_gather_new(struct stmts *self, void (*done)(struct stmts_gather *g, int32_t code),
                                      void *arg);
void stmts_gather_free(struct stmts_gather *g);
/* In the order that a gather wants its keys in. */
int stmts_key_order(const void *a, const void *b);
/* Sends it. [control] */
void stmts_gather_send(struct stmts_gather *g);
/* All parts' rows, those of one template and database (and user, if `users`) folded into one; the array is
 * the caller's, the rows are the gather's. NULL without memory. Once for a gather. */
struct stmts_row **stmts_gather_merge(struct stmts_gather *g, int users, size_t *count);

/* SHOW STATEMENTS and STATEMENTS RESET. */
int32_t stmts_show(void *arg, const struct hd_call *call, struct hd_error *err);
int32_t stmts_reset(void *arg, const struct hd_call *call, struct hd_error *err);

#define STMTS_SHOW_USAGE "[TOP n] [ORDER BY total|calls|mean|p95]"

#endif
