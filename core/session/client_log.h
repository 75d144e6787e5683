/*
 * What the log says of clients: who came (debug), who was refused and why (info), who left (debug).
 */
#ifndef HD_SESSION_CLIENT_LOG_H
#define HD_SESSION_CLIENT_LOG_H

#include "session/session.h"

/* Where the client is: ADDRESS:PORT, or "unix". */
void hd_client_address(const struct hd_session *s, char *out, size_t cap);
void hd_client_log_refused(const struct hd_session *s, const char *sqlstate, const char *reason);
void hd_client_log_opened(const struct hd_session *s);
void hd_client_log_closed(const struct hd_session *s);

#endif
