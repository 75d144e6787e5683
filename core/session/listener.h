/*
 * Listening sockets: for each address one per worker (SO_REUSEPORT), so that the kernel spreads connections,
 * and one for all where it is a Unix socket. They are opened before anything changes and handed to the
 * workers. Who outlives the host keeps a copy of each, under a name, and a host that comes after takes them
 * up instead of opening its own.
 */
#ifndef HD_SESSION_LISTENER_H
#define HD_SESSION_LISTENER_H

#include "io/tls.h"
#include "session/session.h"

/* One listening socket on one worker. Sessions hold it, for its settings. */
struct hd_listener {
    struct hd_listener *next;
    uint32_t refs;
    struct hd_worker *w;
    struct hd_settings *settings; /* held; conf points into it */
    const struct hd_listener_conf *conf;
    struct hd_tls_context *tls; /* NULL: off */
    struct hd_loop_watch watch;
    const char *address; /* as written */
    int fd;
    uint8_t is_unix, open;
};

struct hd_keeper;

struct hd_listener *hd_listener_hold(struct hd_listener *l);
void hd_listener_drop(struct hd_listener *l);

/* Opens what `s` asks for; addresses that `old` (may be NULL) has open already are taken over from it when it
 * is replaced, those that `keeper` (may be NULL) has are taken from there. All or nothing. [control] */
int hd_sockets_open(const struct hd_settings *s, const struct hd_sockets *old, int workers,
                    const struct hd_keeper *keeper, struct hd_sockets **out, struct hd_error *err);
/* Gives the keeper copies of what was opened, before the workers have it. [control] */
void hd_sockets_keep(const struct hd_sockets *k, const struct hd_keeper *keeper);
/* Closes what it opened itself and nobody took over. [control] */
void hd_sockets_drop(struct hd_sockets *k);
/* The worker goes over to these sockets. Own thread. */
void hd_listeners_apply(struct hd_worker *w, struct hd_settings *s, struct hd_sockets *k);
/* Accepts no more; the sockets of this worker are closed. Own thread. */
void hd_listeners_close(struct hd_worker *w);
/* Frees the table after every worker has gone over to its successor or has ended; removes Unix sockets whose
 * address `next` (may be NULL) no longer has, and tells the keeper. [control] */
void hd_sockets_retire(struct hd_sockets *k, const struct hd_sockets *next, const struct hd_keeper *keeper);
/* Frees the table where another host has the addresses. [control] */
void hd_sockets_leave(struct hd_sockets *k);

#endif
