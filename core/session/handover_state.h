/*
 * A session at rest, as bytes for another host.
 */
#ifndef HD_SESSION_HANDOVER_STATE_H
#define HD_SESSION_HANDOVER_STATE_H

#include "base/strbuf.h"
#include "session/session.h"

/* Would another host with the same configuration know what to do with it? */
int hd_handover_understandable(const struct hd_session *s);
/* Appends it. HD_OK or HD_ENOMEM. */
int hd_handover_pack(const struct hd_session *s, struct hd_strbuf *out);
/* Makes the session here, with this socket. HD_OK; else why not has been logged, and the socket is the
 * caller's. */
int hd_handover_unpack(struct hd_worker *w, int fd, uint32_t cancel_pid, const uint8_t cancel_key[4],
                       const uint8_t *bytes, size_t len);

#endif
