/*
 * Counts that several pools share, over all workers: the clients of a database and of a user, for their
 * max_clients, and the servers of a database, a user and a node, for their max_servers, which hold over two
 * hosts while one takes over from the other.
 */
#ifndef HD_SESSION_TALLY_H
#define HD_SESSION_TALLY_H

#include "session/session.h"

enum hd_tally_kind {
    HD_TALLY_DATABASE,
    HD_TALLY_USER,
    HD_TALLY_DATABASE_SERVERS,
    HD_TALLY_USER_SERVERS,
    HD_TALLY_NODE_SERVERS,
};

/* The tally of that name, found or made, and held; NULL: no memory. [worker] */
struct hd_tally *hd_tally_get(struct hd_workers *all, enum hd_tally_kind kind, const char *name) HD_MUST_USE;
void hd_tally_put(struct hd_workers *all, struct hd_tally *t); /* NULL is allowed [worker] */

/* Counts one in, unless there are `max` already (0: no limit) or the next place is promised to somebody else
 * than `who`. 1, or 0. [worker] */
int hd_tally_enter(struct hd_tally *t, int64_t max, const void *who) HD_MUST_USE;
void hd_tally_leave(struct hd_tally *t); /* [worker] */
/* The next place goes to `who`, unless it is promised already; and the promise is taken back. [worker] */
void hd_tally_promise(struct hd_tally *t, const void *who);
void hd_tally_waive(struct hd_tally *t, const void *who);
/* Is it full, and its next place promised to somebody else? */
int hd_tally_owed(const struct hd_tally *t, int64_t max, const void *who);

/* Tells another host that somebody waits here (by is 1), or no longer (-1). [worker] */
void hd_tally_wait(struct hd_tally *t, int by);
/* Does somebody wait on the other host? Then one that is about to leave here is for him. 1, or 0. [worker] */
int hd_tally_yield(struct hd_tally *t);

/* All have left. */
void hd_tallies_free(struct hd_workers *all);

#endif
