/*
 * lastval() and currval(), which know what the server's session has drawn from sequences. In pool_mode = auto
 * a session that may have drawn from one is marked: it prefers the server where it did, and is pinned there
 * once any statement of its database is known to ask. What a server has drawn for others is never told: it is
 * discarded before a session that could ask gets the server, which then says that nothing was drawn yet.
 */
#ifndef HD_SESSION_SEQUENCE_H
#define HD_SESSION_SEQUENCE_H

#include "session/session.h"

/* Notes a statement with these HD_FACT_…. */
void hd_sequence_note(struct hd_session *s, uint64_t facts);
/* Such a statement is prepared, or bound: where no batch has begun the server is made ready for it. */
void hd_sequence_announce(struct hd_session *s);
/* The statement asks, and the session has its server already, which may have drawn for others. `between`: no
 * message of a batch stands before it, so that the host may send one of its own. 1: it must be refused. */
int hd_sequence_guard(struct hd_session *s, int between);
/* A server was linked: nothing of others' may be told. HD_OK or HD_ENOMEM. */
int hd_sequence_linked(struct hd_session *s, struct hd_server *v) HD_MUST_USE;
/* The session leaves its server, having marked itself there. */
void hd_sequence_left(struct hd_session *s, struct hd_server *v);
/* The server has forgotten: DISCARD SEQUENCES, or ALL. `alone`: nothing has been sent behind it. */
void hd_sequence_discarded(struct hd_session *s, struct hd_server *v, int alone);
/* One of the two goes: s its server, or v its worker. */
void hd_sequence_forget_server(struct hd_session *s);
void hd_sequence_forget_session(struct hd_server *v);
/* Every session has ended. */
void hd_sequences_free(struct hd_workers *all);

#endif
