/*
 * From one host to the next: a host that has been replaced accepts no more, hands clients that are at rest to
 * the one that serves (the socket, and all that makes up the session), and keeps the others until they are at
 * rest or leave.
 *
 * At rest is a session without server, transaction, pin, TLS, or anything that waits. Its client notices
 * nothing: prepared statements, settings and the key for cancelling stay as they are. A cancel for a client
 * of the other host is passed on, once.
 */
#ifndef HD_SESSION_HANDOVER_H
#define HD_SESSION_HANDOVER_H

#include "session/session.h"

/* The way to the other host; takes the descriptor, and gives up an earlier way. HD_OK or a code. [control] */
int hd_handover_open(struct hd_workers *all, int fd);
void hd_handover_close(struct hd_workers *all);
/* Begins; `done` runs on the control loop when no client is left. [control] */
int hd_handover_begin(struct hd_workers *all, void (*done)(void *arg), void *arg);

/* A session of a host that retires has come to rest. [worker] */
void hd_handover_soon(struct hd_worker *w);
/* Hands over what can be, and tells when nothing is left. [worker] */
void hd_handover_tick(struct hd_worker *w);

/* Asks the other host to cancel; 0: there is none. [worker] */
int hd_handover_cancel(struct hd_workers *all, uint32_t pid, const uint8_t key[4]);

#endif
