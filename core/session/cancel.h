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
/* The worker that a key's process number names. */
unsigned hd_cancel_worker(uint32_t pid, int workers);
/* A request that the other host has passed on: it is looked for here, and no further. [control] */
void hd_cancel_passed_on(struct hd_workers *all, uint32_t pid, const uint8_t key[4]);
/* Cancels whatever the server runs; its client has left. */
void hd_cancel_server(struct hd_server *v);

#endif
