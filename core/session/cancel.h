/*
 * Cancelling: a client's CancelRequest finds its session by a key of the host's own, and hits only the
 * statement that this session runs. While a cancel is on its way to a server, that server is given to nobody
 * else.
 */
#ifndef HD_SESSION_CANCEL_H
#define HD_SESSION_CANCEL_H

#include "session/session.h"
#include "wire/startup.h"

/* Gives a session its key. */
void hd_cancel_new_key(struct hd_session *s);
/* Carries out a request that arrived on the connection `asker`, which is closed when the cancel has been
 * sent, so that a client that waits for the end of the connection knows that it was. */
void hd_cancel_request(struct hd_session *asker, const struct hd_startup *req);
/* The same, from another host, if it proves to be one. It goes no further from here. */
void hd_cancel_relayed(struct hd_session *asker, const struct hd_startup *req);
/* Cancels whatever the server runs; its client has left. */
void hd_cancel_server(struct hd_server *v);

#endif
