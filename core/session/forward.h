/*
 * The common part of every client message's way: sending bytes on, carrying out what filters decide,
 * refusing.
 */
#ifndef HD_SESSION_FORWARD_H
#define HD_SESSION_FORWARD_H

#include "session/extended.h"
#include "session/statement.h"

/* What the filters made of an execution. */
enum hd_decision {
    HD_DECIDED_GO,     /* forward it */
    HD_DECIDED_ANSWER, /* v has the answer */
    HD_DECIDED_REFUSE, /* v has the reason */
    HD_DECIDED_PARK,   /* offer the message again when it is resumed */
    HD_DECIDED_ERROR,  /* no memory; the session is ending */
};

/* What can be carried out, as far as the messages go; verdicts beyond are passed by. */
#define HD_MAY_REWRITE 1u /* and route: the text, and the messages before it, are still in hand */
#define HD_MAY_ANSWER  2u /* so is the place where the answer belongs */

/* Asks the filters about an execution: begins s->pending where somebody wants it (t->plan->want), or goes on
 * with one that was parked. `may`: HD_MAY_…. With HD_DECIDED_GO s->pending may be NULL. */
enum hd_decision hd_decide(struct hd_session *s, const struct hd_text *t, const struct hd_stmt_input *in,
                           unsigned may, struct hd_verdict *v);
/* The execution that was decided goes to the server now: takes it out of the session. May be NULL. */
struct hd_stmt *hd_take_pending(struct hd_session *s);
/* Ends the execution as answered or refused, by a filter. */
void hd_finish_pending(struct hd_session *s, uint8_t answered_by, const char *sqlstate);

/* Sends this piece of the client's message as it is; notes whether the rest is to follow. */
enum hd_taken hd_forward_piece(struct hd_session *s, const struct hd_frame *f);
/* Throws this piece and what follows of its message away. */
enum hd_taken hd_drop_piece(struct hd_session *s, const struct hd_frame *f);
/* Wants the message whole (or `bytes` of it). */
enum hd_taken hd_want_bytes(struct hd_session *s, const struct hd_frame *f, uint32_t bytes);

/* Has the server answered everything but a copy that waits for data? If not, the client is read again once it
 * has said more, which it is asked for: offer the message again. */
int hd_quiet(const struct hd_session *s);
int hd_wait_for_replies(struct hd_session *s) HD_MUST_USE; /* HD_OK or HD_ENOMEM */

/* An ErrorResponse in place of a statement. Where a server is linked its transaction must fail too, as it
 * would in PostgreSQL: a statement that fails is sent instead, and its error replaced. `extended`: what
 * follows up to Sync is skipped; else ReadyForQuery follows. */
void hd_refuse(struct hd_session *s, int extended, const char *sqlstate, const char *message,
               const char *detail, const char *hint);
/* The same, from a filter's verdict. */
/* The same in the words of an ErrorResponse that is at hand. */
void hd_refuse_as(struct hd_session *s, int extended, struct hd_buf *error);
void hd_refuse_verdict(struct hd_session *s, int extended, const struct hd_verdict *v);

enum hd_taken hd_query_message(struct hd_session *s, const struct hd_frame *f);
enum hd_taken hd_function_call(struct hd_session *s, const struct hd_frame *f);
enum hd_taken hd_copy_message(struct hd_session *s, const struct hd_frame *f);

#endif
