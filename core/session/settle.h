/*
 * Transactions that nobody waits for any more while their server may still be at them: the client has left,
 * or the connection was lost in their middle. Filters were told so; they are told again when it is over.
 * Where the host still has the connection, that is when what was sent has been answered. Where it was lost, a
 * control connection is asked, again and again, whether its backend is still there.
 */
#ifndef HD_SESSION_SETTLE_H
#define HD_SESSION_SETTLE_H

#include "session/session.h"

struct hd_settling;

/* A session is about to leave its server while filters wait to hear of its transaction. */
struct hd_leaving {
    struct hd_settling *settling; /* NULL: nothing to be waited for, or no memory */
    int open;                     /* the server may have something under way */
};

/* Before the session's server is put back, cleaned or closed; then hd_settle_tell. */
struct hd_leaving hd_settle_begin(struct hd_session *s);
/* Tells the filters, and keeps in mind to tell them again. `t` as for hd_chain_end. */
void hd_settle_tell(struct hd_session *s, struct hd_leaving leaving, struct hd_transaction *t);
/* Everything that was sent to the server has been answered, and it is in no transaction. */
void hd_settle_drained(struct hd_server *v);
/* Its connection has gone. */
void hd_settle_lost(struct hd_server *v);
/* Asks for those whose connection was lost, and tells of what has been answered. Each tick. */
void hd_settle_tick(struct hd_worker *w, uint64_t now);
/* Nothing is told any more: the worker ends. */
void hd_settle_free(struct hd_worker *w);

/* Who the backend behind a new connection is, as it has said itself. */
void hd_settle_learn(struct hd_server *v, const PGresult *answer, int column);
/* The columns that say so. */
#define HD_SETTLE_COLUMNS                                                                                    \
    "pg_catalog.pg_backend_pid(), (SELECT " HD_SETTLE_US(                                                    \
        "backend_start") " FROM"                                                                             \
                         " pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())), " HD_SETTLE_US(    \
                             "pg_catalog.pg_postmaster_start_time()")
/* Microseconds, which look the same whatever the session has set. */
#define HD_SETTLE_US(time)                                                                                   \
    "(pg_catalog.date_part('epoch', " time ") OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8"

#endif
