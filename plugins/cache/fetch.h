/*
 * Reads that are not in this process' stores, and may be in the shared one: it is asked before the server,
 * with the statement parked meanwhile. What it gives is kept in the nearer stores as an answer of the server
 * would be.
 */
#ifndef CACHE_FETCH_H
#define CACHE_FETCH_H

#include "answer.h"

/* Asks for a read that has missed; its flight has taken off. 1: the statement is parked; 0: nothing of the
 * kind, it goes to the server. [worker] */
int cache_fetch(struct cache_worker *w, const struct cache_plan *p, const struct cache_bound *b,
                struct cache_capture *c, const struct hd_statement *st, struct hd_verdict *v);

/* The statement has completed. 1: its answer is none to be kept, and the capture is no longer the caller's.
 * [worker] */
int cache_fetch_completed(struct cache_capture *c);

#endif
