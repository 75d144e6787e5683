/*
 * Replies of the host's own, in their turn: at once when the server owes nothing, else queued behind what it
 * owes.
 */
#ifndef HD_SESSION_REPLY_H
#define HD_SESSION_REPLY_H

#include "session/session.h"

/* Whole messages. */
int hd_reply_bytes(struct hd_session *s, const void *bytes, size_t len) HD_MUST_USE;
/* The same bytes in a counted buffer; takes its own reference. */
int hd_reply_buf(struct hd_session *s, struct hd_buf *b) HD_MUST_USE;
/* A message without a body: ParseComplete, BindComplete, CloseComplete, NoData. `seq` numbers a client's
 * Parse. */
int hd_reply_bare(struct hd_session *s, uint8_t type, uint32_t seq) HD_MUST_USE;
/* Is there nothing that must come before? */
int hd_reply_now(const struct hd_session *s);

/* An ErrorResponse as bytes in a buffer; NULL: no memory. */
struct hd_buf *hd_reply_error_buf(struct hd_session *s, const char *severity, const char *sqlstate,
                                  const char *message, const char *detail, const char *hint);

#endif
