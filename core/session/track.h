/*
 * What a session leaves on its server, in pool_mode = auto. Statements whose facts say that they may touch
 * the session's state pin it to its server; at the end of the transaction the server itself is asked what is
 * there, so that rollbacks, savepoints, failures and whatever a function did count as PostgreSQL counts them.
 * What is gone pins no longer, and settings become part of the session's set, which any server can be given.
 */
#ifndef HD_SESSION_TRACK_H
#define HD_SESSION_TRACK_H

#include "session/statement.h"
#include "sql/facts.h"

#define HD_FACTS_SEQUENCE (HD_FACT_SEQUENCE | HD_FACT_MAY_SEQUENCE | HD_FACT_LASTVAL)
/* Of a statement with none of these nothing has to be known. */
#define HD_FACTS_TRACKED                                                                                     \
    (HD_FACT_UNSURE | HD_FACT_UNSURE_FUNCTION | HD_FACT_SESSION | HD_FACT_TEMP | HD_FACT_ADVISORY_LOCK |     \
     HD_FACT_SET_CONFIG | HD_FACT_SEED | HD_FACTS_SEQUENCE)

/* Notes what a text may do to its session, before it is forwarded; the same text may be noted twice. HD_OK
 * or HD_ENOMEM. */
int hd_track_statement(struct hd_session *s, const struct hd_text *t) HD_MUST_USE;
HD_MUST_USE static inline int hd_track_note(struct hd_session *s, const struct hd_text *t)
{
    return (t->facts & HD_FACTS_TRACKED) || s->track ? hd_track_statement(s, t) : HD_OK;
}

/* Notes which settings the calls of set_config in a text change. Of `in` the text is read, and the Bind where
 * there is one. */
void hd_track_set_config(struct hd_session *s, const struct hd_text *t, const struct hd_stmt_input *in);

/* The server owes nothing and is in no transaction: asks it what has come of what was noted. 1 when a
 * question is on its way. */
int hd_track_ask(struct hd_session *s);
/* The row that answers it, and the end of the answer. */
void hd_track_answer(struct hd_session *s, const struct hd_frame *f);
void hd_track_answered(struct hd_session *s);
/* A statement has failed. */
void hd_track_failed(struct hd_session *s);
/* DISCARD ALL was carried out; `alone`: nothing has been sent behind it. */
void hd_track_discarded(struct hd_session *s, int alone);

void hd_track_free(struct hd_session *s);

#endif
