/*
 * What the files about prepared statements share: prepared.c (those with a name) and unnamed.c.
 */
#ifndef HD_SESSION_PREPARED_PARTS_H
#define HD_SESSION_PREPARED_PARTS_H

#include "session/prepared.h"

/* Sends a message of the host's own with what the server owes for it; takes the entry's reference over. A
 * server that did not get it has not what it is held to have, and goes with its session. */
int hd_prepared_inject(struct hd_server *v, struct hd_strbuf *sb, struct hd_expect e) HD_MUST_USE;
/* A Parse under `name`; `body` is its message from the SQL on. */
int hd_prepared_send_parse(struct hd_server *v, const char *name, const uint8_t *body, uint32_t len,
                           struct hd_expect e) HD_MUST_USE;
/* Asks what a statement takes and gives, by its name on the server. `seq`: of the client's Parse, or of the
 * change to the unnamed statement. */
int hd_prepared_send_ask(struct hd_session *s, const char *name, struct hd_ask what,
                         uint32_t seq) HD_MUST_USE;
/* What the server's unnamed statement gives. */
void hd_unnamed_rows(struct hd_server *v, const struct hd_ask *a, uint32_t seq, uint64_t rows);

#endif
