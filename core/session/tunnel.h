/*
 * Replication connections: a client and a server of its own, bytes passed through as they come, both ways.
 * They never come from a pool nor go to one, since what is said there (CopyBoth) cannot be shared.
 */
#ifndef HD_SESSION_TUNNEL_H
#define HD_SESSION_TUNNEL_H

#include "session/session.h"

/* Connects the session, which has proved itself, to a server; `mode` is the startup packet's `replication`,
 * `options` its settings as a server's command line. The session is greeted, or refused, later. */
void hd_tunnel_open(struct hd_session *s, const char *mode, const char *options);
/* Frees it, with its server connection. */
void hd_tunnel_close(struct hd_session *s);
/* Bytes from the client. */
size_t hd_tunnel_data(struct hd_session *s, const uint8_t *data, size_t len);
/* The client's queue has gone out. */
void hd_tunnel_client_drained(struct hd_session *s);
/* Its connection, for cancelling and to be shown; NULL until it is there. */
PGconn *hd_tunnel_connection(const struct hd_session *s);
const struct hd_cancel_key *hd_tunnel_key(const struct hd_session *s);

#endif
