/*
 * What the files of connecting share: connect.c has the threads and libpq's way, connect_keys.c the way of a
 * login by SCRAM keys, for users whose password nobody here knows.
 */
#ifndef HD_SESSION_CONNECT_PARTS_H
#define HD_SESSION_CONNECT_PARTS_H

#include "session/connect.h"

/* Until when to wait, and what ends the waiting earlier. */
struct hd_connect_wait {
    uint64_t deadline_ns;
    int stop_fd; /* readable once stopping */
};

/* Waits until the descriptor is ready for `events` of poll(). 0; -1: the deadline passed; -2: stopping. */
int hd_connect_wait_fd(const struct hd_connect_wait *w, int fd, short events);

/* Connects and logs in by c->keys. NULL: c->message says why, and c->sqlstate where a server said it. libpq's
 * trace of it goes to `trace`. */
PGconn *hd_connect_by_keys(struct hd_connect *c, const struct hd_connect_wait *w, FILE *trace);
/* Takes the SQLSTATE and the message out of libpq's words. */
void hd_connect_read_failure(struct hd_connect *c, const char *text);

#endif
