/*
 * What RESET goes back to. PostgreSQL goes back to what the startup packet said; but a pooled server was not
 * started by this client's. So behind a message that resets something its startup packet had set, the host
 * puts that in place itself: the ReadyForQuery is kept back until it is, and the client's next message waits.
 */
#ifndef HD_SESSION_RESTORE_H
#define HD_SESSION_RESTORE_H

#include "session/session.h"
#include "sql/facts.h"

/* The startup packet's settings, noted at login. HD_OK or HD_ENOMEM. */
int hd_restore_startup(struct hd_session *s, const struct hd_param_entry *e, uint32_t count) HD_MUST_USE;

/* Notes what a text resets. HD_OK or HD_ENOMEM. */
int hd_restore_note(struct hd_session *s, const struct hd_facts *f) HD_MUST_USE;
/* The message's last reply, the ReadyForQuery, was just queued as owed. */
void hd_restore_fence(struct hd_session *s);
/* Has the client's next message to wait? Then reading is paused. */
int hd_restore_waits(struct hd_session *s);
/* The ReadyForQuery of an entry with HD_EXPECT_FENCE or HD_EXPECT_RESTORE. 1: the client does not see it. */
int hd_restore_ready(struct hd_session *s, const struct hd_expect *e, int failed);
/* DISCARD ALL was carried out: the settings of both sides are as at the start. */
void hd_restore_discarded(struct hd_session *s, struct hd_server *v);

void hd_restore_free(struct hd_session *s);

#endif
