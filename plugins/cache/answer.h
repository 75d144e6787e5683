/*
 * Answers: caught as they stream from the server, taken apart when they are complete, and kept with what they
 * hang on.
 */
#ifndef CACHE_ANSWER_H
#define CACHE_ANSWER_H

#include "plan.h"

/* Conditions that every head has: everything, the database, its schema. Those of tags and tables follow. */
#define CACHE_FIXED_CONDITIONS 3

/* What must hold for a value to be right: its head in stores of this process. */
struct cache_condition {
    const struct cache_cell *cell;
    uint64_t epoch;
};

struct cache_head {
    uint64_t nonce; /* of the instance whose cells these are */
    uint64_t generation;
    uint64_t count;
    struct cache_condition conditions[];
};

/* A read that was sent to the server, from its statement() to its complete(). */
struct cache_capture {
    struct cache_flight *flight; /* which has the key */
    struct cache_bytes answer;
    struct cache_policy policy;
    struct cache_database *db;
    uint64_t sent_ns;
    int32_t described; /* a RowDescription comes with it */
    int32_t dropped;   /* longer than may be kept, or out of memory */
    uint32_t absences; /* conditions at the end of the head that an answer with rows does not hang on */
    uint32_t reserved;
    uint64_t max_bytes;
    struct cache_shared_head shared; /* for the shared store */
    uint64_t shared_start;           /* where the change stream had begun, of whose position it tells */
    struct cache_worker *worker;     /* while that is asked, these */
    uint64_t handle;                 /* of the statement, which is parked */
    int32_t fetching;                /* its answer has not come yet */
    int32_t over;                    /* the statement is, before that */
    struct cache_head head;          /* and its conditions */
};

/* Takes the epochs of everything that the read hangs on. NULL, and *why: something of it is unsettled, or
 * there is no memory. */
struct cache_capture *cache_capture_new(struct cache *self, const struct cache_bound *b,
                                        const struct cache_policy *policy, const struct hd_statement *st,
                                        enum cache_bypass *why);
void cache_capture_free(struct cache_capture *c);
/* Its head, for stores of this process. */
struct hd_str cache_capture_head(const struct cache_capture *c);
void cache_capture_data(struct cache_capture *c, struct hd_str bytes);

/* HD_OK: what stands in the head holds. HD_EBUSY: it does, but something of it is unsettled. HD_ENOENT: it
 * does not. [any] */
int32_t cache_head_check(const struct cache *self, struct hd_str head, uint64_t generation);
/* The same of a capture, by its own head alone. */
int cache_capture_holds(const struct cache_capture *c);

/* Takes the answer apart into the parts of a value. 0: it is not one of rows that came to its end. */
int cache_capture_split(struct cache_capture *c, struct hd_str *describe, struct hd_str *bytes);

#endif
