/*
 * A client's session: its birth and end, what the pool and the server tell it, and its messages' way to the
 * files that handle them.
 */
#ifndef HD_SESSION_CLIENT_H
#define HD_SESSION_CLIENT_H

#include "session/session.h"

/* Takes over an accepted socket. */
void hd_session_accept(struct hd_worker *w, struct hd_listener *listener, int fd);
/* The same of one whose other end is the host's own: it logs in without a proof. Closes it where there is no
 * listener left. */
void hd_session_accept_own(struct hd_worker *w, int fd);
/* Takes over a socket whose client another host has let in: ready, but for what its owner fills in before
 * hd_session_adopted. NULL: no memory, and the socket stays the caller's. */
struct hd_session *hd_session_adopt(struct hd_worker *w, struct hd_listener *listener, int fd);
void hd_session_adopted(struct hd_session *s);
/* Another host has it now, and its link is detached: everything here goes, and the client hears nothing. */
void hd_session_gone(struct hd_session *s);
/* The only place where a session's state changes. */
void hd_session_set_state(struct hd_session *s, enum hd_session_state to);
/* Says why and ends: a FATAL ErrorResponse, and the connection is closed when it has gone out. */
void hd_session_fatal(struct hd_session *s, const char *sqlstate, const char *message, const char *hint);
/* Ends it now, without a word. */
void hd_session_close(struct hd_session *s);
/* Ends it when what is queued has been sent. */
void hd_session_close_soon(struct hd_session *s);

/* Bytes for the client. Out of memory ends the session. */
void hd_session_send(struct hd_session *s, const void *bytes, size_t len);

/* From the pool: the server that acquire gave at once; the one that a waiting session gets. */
void hd_session_linked(struct hd_session *s, struct hd_server *v);
void hd_session_granted(struct hd_session *s, struct hd_server *v);
/* Puts the session's settings on its server where they differ. HD_OK or a code. */
int hd_session_sync_params(struct hd_session *s, struct hd_server *v);
/* The server has taken on the session's role, before which nothing may run: the session goes on. 0: it does
 * not wait for that. */
int hd_session_role_taken(struct hd_session *s);
/* The server has gone; `told`: the client has seen its last error. */
void hd_session_server_lost(struct hd_session *s, const char *why, int told);
/* May the server go back to the pool, as far as the session is concerned? */
int hd_session_may_release(const struct hd_session *s);
void hd_session_release(struct hd_session *s);
/* The reason for which the other side was paused has gone. */
void hd_session_unpause(struct hd_session *s);

/* The pool that the next statement goes to; NULL: the session's own. */
void hd_session_set_route(struct hd_session *s, struct hd_pool *p);
/* Gets a server for the next statement: 1, or 0 and the session waits (its input stays where it is). */
int hd_session_want_server(struct hd_session *s);
/* A parked session goes on; from outside its own on_data. */
void hd_session_wake(struct hd_session *s);

/* Logged in: filters and the bus hear of it. */
void hd_session_opened(struct hd_session *s);

/* login.c */
size_t hd_login_data(struct hd_session *s, const uint8_t *data, size_t len);
void hd_login_free(struct hd_session *s);
/* Ready: from here on the session takes statements. */
void hd_login_greet(struct hd_session *s);
void hd_session_forget_logins(struct hd_pool *p);
/* The pool knows what its servers are like: sessions in HD_SESSION_WELCOME may go on. */
void hd_session_welcomed(struct hd_pool *p);
/* A server was granted to a session that logs in with settings that nobody has asked for before. */
void hd_login_granted(struct hd_session *s, struct hd_server *v);
/* That server has put them in place. */
void hd_login_server_ready(struct hd_session *s);

/* Seconds-grained timeouts. */
void hd_sessions_tick(struct hd_worker *w, uint64_t now_ns);
const char *hd_session_state_name(const struct hd_session *s);
/* Writes "temp,listen"; returns out. */
char *hd_session_pin_names(uint32_t pins, char *out, size_t cap);

#endif
