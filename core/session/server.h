/*
 * Server connections: taking over what libpq has logged in, sending the host's own statements, relaying
 * answers while counting them, and the end.
 */
#ifndef HD_SESSION_SERVER_H
#define HD_SESSION_SERVER_H

#include "session/session.h"

/* What the server at the other end of a new connection has told of its settings. */
struct hd_params *hd_server_params(struct hd_worker *w, PGconn *pg);
/* Takes over a connection that libpq has just made. NULL: no memory, and the connection is closed. */
struct hd_server *hd_server_new(struct hd_pool *pool, PGconn *pg, const struct hd_cancel_key *key);
/* Ends it: expected replies are given up, its session (if any) hears of it through hd_session_server_lost. */
void hd_server_close(struct hd_server *v, const char *why);

/* Frees one that was closed while a cancel was under way; the cancel calls it. */
void hd_server_free(struct hd_server *v);

/* Queues one entry of what it owes. HD_OK or HD_ENOMEM. */
int hd_server_expect(struct hd_server *v, struct hd_expect e) HD_MUST_USE;
/* Sends a Sync of the host's own, whose ReadyForQuery nobody sees. */
int hd_server_inject_sync(struct hd_server *v) HD_MUST_USE;
/* Sends a Query of the host's own, whose replies nobody sees. */
int hd_server_inject_query(struct hd_server *v, const char *sql, size_t len, unsigned flags) HD_MUST_USE;
/* Sends bytes that stand in no buffer. */
int hd_server_send_copy(struct hd_server *v, const void *bytes, size_t len) HD_MUST_USE;

/* The session has nothing more for it: back to the pool, if need be after cleaning. */
void hd_server_unlink(struct hd_server *v);
/* The same while it owes answers: they are read, and nobody sees them. Statements end here for their filters.
 */
void hd_server_orphan(struct hd_server *v);
/* Nothing is owed any more, perhaps: back to the pool, on with cleaning, or away. */
void hd_server_settle(struct hd_server *v);
/* Gives up what an entry holds. */
void hd_server_forget(struct hd_server *v, struct hd_expect *e);

/* Moving to another worker while idle: everything of this worker's is given up in the first call. On the new
 * worker's thread `announced` runs soon, and `moved` when it is there; nothing else touches v in between.
 * HD_OK, or HD_ENOMEM and nothing has changed. */
int hd_server_move(struct hd_server *v, struct hd_pool *to, void (*announced)(struct hd_pool *to),
                   void (*moved)(struct hd_server *v, struct hd_pool *to)) HD_MUST_USE;

#endif
