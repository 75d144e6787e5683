/*
 * Names in what a server says: it knows prepared statements by the host's names, and its client by its own.
 */
#ifndef HD_SESSION_NAMES_H
#define HD_SESSION_NAMES_H

#include "session/session.h"

/* Does a text speak of a statement by the host's name? */
int hd_names_ours(const char *text);
/* The ErrorResponse, to a message about the statement of the Parse numbered `seq` (0: not known), with the
 * client's name for the host's, as a buffer of its own. NULL: it stays as it is (no name of the host's, or of
 * nobody's any more; or no memory). */
struct hd_buf *hd_names_in_report(struct hd_session *s, uint32_t seq, const uint8_t *message, uint32_t len);

#endif
