/*
 * Which worker a new client lives on. Clients that share a worker share its wake-ups, which at a low load are
 * most of what a statement costs: so the workers are filled one after the other, up to worker_fill clients
 * each, and a worker that has much to do is passed over. Beyond that the kernel's choice stands, which
 * spreads them evenly.
 */
#ifndef HD_SESSION_PLACE_H
#define HD_SESSION_PLACE_H

#include "session/session.h"

/* A session begins, or has ended, on this worker. Own thread. */
void hd_place_enter(struct hd_worker *w);
void hd_place_leave(struct hd_worker *w);
/* A connection that was accepted here goes to where it is to live. Takes the descriptor. Own thread. */
void hd_place_client(struct hd_listener *l, int fd);
/* Measures how much the worker has to do, since the last time. Own thread. */
void hd_place_tick(struct hd_worker *w);
/* Are connections that were accepted here still looking for their worker? Own thread. */
int hd_place_pending(const struct hd_worker *w);

#endif
