/*
 * A client's session; see client.h.
 */
#include "session/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "io/tls.h"
#include "plug/bus.h"
#include "session/cancel.h"
#include "session/client_log.h"
#include "session/console.h"
#include "session/ending.h"
#include "session/forward.h"
#include "session/handover.h"
#include "session/held.h"
#include "session/listener.h"
#include "session/moment.h"
#include "session/place.h"
#include "session/pool.h"
#include "session/reply.h"
#include "session/restore.h"
#include "session/sequence.h"
#include "session/server.h"
#include "session/tally.h"
#include "session/track.h"
#include "session/tunnel.h"
#include "wire/build.h"
#include "wire/describe.h"

/* How long the last words may take to go out. */
#define CLOSING_NS 5000000000u
#define FENCE_ROLE 3 /* of session->fence; the others are restore.c's */
/* What DISCARD ALL may leave behind, so that the server is nobody else's. */
#define UNCLEAN (HD_PIN_UNSURE | HD_PIN_LOAD | HD_PIN_SEED)

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len);
static void on_drained(struct hd_link *l);
static void on_end(struct hd_link *l, int error);

static const struct hd_link_ops client_ops = {on_data, on_drained, on_end};

static struct hd_session *session_of(struct hd_link *l)
{
    struct hd_session *s = HD_CONTAINER_OF(l, struct hd_session, link);

    HD_ASSERT(s->magic == HD_SESSION_MAGIC);
    return s;
}

/* --- states
 * -------------------------------------------------------------------------------------------------- */

/* From which state to which: a bit for each state that may follow. */
#define TO(x) (1u << HD_SESSION_##x)
static const unsigned allowed[] = {
    [HD_SESSION_STARTUP] = TO(STARTUP) | TO(AUTH) | TO(WELCOME) | TO(READY) | TO(CLOSING) | TO(CLOSED),
    [HD_SESSION_AUTH] = TO(AUTH) | TO(WELCOME) | TO(READY) | TO(CLOSING) | TO(CLOSED),
    [HD_SESSION_WELCOME] = TO(READY) | TO(CLOSING) | TO(CLOSED),
    [HD_SESSION_READY] = TO(WAITING) | TO(PARKED) | TO(CLOSING) | TO(CLOSED),
    [HD_SESSION_WAITING] = TO(READY) | TO(CLOSING) | TO(CLOSED),
    [HD_SESSION_PARKED] = TO(READY) | TO(CLOSING) | TO(CLOSED),
    [HD_SESSION_CLOSING] = TO(CLOSED),
};

void hd_session_set_state(struct hd_session *s, enum hd_session_state to)
{
    HD_CHECK(s->state == 0 || (allowed[s->state] & (1u << to)));
    s->state = to;
    /* Nothing is read while it waits; a client that leaves meanwhile is noticed all the same. */
    s->link.watch_end = to == HD_SESSION_WAITING || to == HD_SESSION_PARKED || to == HD_SESSION_WELCOME;
    if (s->link.watch_end || to == HD_SESSION_CLOSING)
        hd_link_pause(&s->link);
}

const char *hd_session_state_name(const struct hd_session *s)
{
    static const char *const names[] = {"",        "startup", "auth",    "login", "idle",
                                        "waiting", "parked",  "closing", "closed"};

    if (s->state == HD_SESSION_READY && s->tunnel)
        return "replication";
    if (s->state != HD_SESSION_READY || !s->server)
        return names[s->state];
    if (s->server->expects.count)
        return "active";
    return s->txn == HD_TXN_IDLE ? "linked" : "in transaction";
}

char *hd_session_pin_names(uint32_t pins, char *out, size_t cap)
{
    static const char *const names[] = {"session",  "setting", "temp", "listen",   "lock",
                                        "cursor",   "prepare", "load", "sequence", "unsure",
                                        "protocol", "names",   "seed"};
    size_t n = 0;

    out[0] = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (pins & (1u << i))
            n += (size_t)snprintf(out + n, n < cap ? cap - n : 0, "%s%s", n ? "," : "", names[i]);
    return out;
}

/* --- birth
 * --------------------------------------------------------------------------------------------------- */

static void publish_session(struct hd_session *s, int topic)
{
    struct hd_bus *bus = s->w->all->env.bus;
    struct hd_event_session ev = {.size = sizeof(ev), .worker = (uint32_t)s->w->index, .session_id = s->id};

    if (!bus || !hd_bus_wanted(bus, topic) || !s->pool)
        return;
    snprintf(ev.database, sizeof(ev.database), "%s", s->pool->database);
    snprintf(ev.user, sizeof(ev.user), "%s", s->pool->user);
    hd_bus_publish(bus, topic, &ev, sizeof(ev));
}

void hd_session_opened(struct hd_session *s)
{
    s->logged_in = 1;
    hd_client_log_opened(s);
    if (!s->pool)
        return; /* the console has no statements */
    hd_chain_session_open(s->w->chain, &s->chain, s->id,
                          (struct hd_str){s->pool->database, strlen(s->pool->database)},
                          (struct hd_str){s->pool->user, strlen(s->pool->user)});
    publish_session(s, HD_BUS_SESSION_OPENED);
}

static struct hd_session *session_new(struct hd_worker *w, struct hd_listener *listener, int fd, int adopted)
{
    struct hd_session *s = hd_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->magic = HD_SESSION_MAGIC;
    s->w = w;
    s->txn = HD_TXN_IDLE;
    s->id = atomic_fetch_add(&w->all->next_session, 1);
    s->listener = hd_listener_hold(listener);
    s->since_ns = hd_now_ns();
    hd_list_init(&s->all);
    hd_list_init(&s->waiting);
    hd_frame_scan_init(&s->scan, adopted ? hd_frame_frontend : hd_frame_login);
    if (hd_link_init(&s->link, &w->io, fd, &client_ops)) {
        hd_listener_drop(listener);
        hd_free(s);
        return NULL;
    }
    hd_session_set_state(s, HD_SESSION_STARTUP);
    hd_list_push_back(&w->sessions, &s->all);
    hd_place_enter(w);
    return s;
}

void hd_session_accept(struct hd_worker *w, struct hd_listener *listener, int fd)
{
    struct hd_session *s;
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on a Unix socket, harmlessly */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    s = session_new(w, listener, fd, 0);
    if (!s) {
        close(fd);
        return;
    }
    hd_list_push_back(&w->logins, &s->waiting);
    w->stats.accepted++;
}

void hd_session_accept_own(struct hd_worker *w, int fd)
{
    struct hd_session *s = w->listeners && !w->draining ? session_new(w, w->listeners, fd, 0) : NULL;

    if (!s) {
        close(fd);
        return;
    }
    s->own = 1;
    hd_list_push_back(&w->logins, &s->waiting);
}

struct hd_session *hd_session_adopt(struct hd_worker *w, struct hd_listener *listener, int fd)
{
    struct hd_session *s = session_new(w, listener, fd, 1);

    if (s)
        hd_link_pause(&s->link);
    return s;
}

void hd_session_adopted(struct hd_session *s)
{
    if (s->pool->conf->pool_mode == HD_POOL_SESSION)
        s->pins |= HD_PIN_MODE;
    hd_session_set_state(s, HD_SESSION_READY);
    hd_session_opened(s);
    hd_link_resume(&s->link);
}

/* --- the end
 * ------------------------------------------------------------------------------------------------- */

/* Makes a server clean for the next one: ends the transaction, and the session's state. */
static int clean(struct hd_server *v, uint32_t pins)
{
    static const char rollback[] = "ROLLBACK", discard[] = "DISCARD ALL";
    int code = HD_OK;

    if (v->txn != HD_TXN_IDLE || v->orphan)
        code = hd_server_inject_query(v, rollback, sizeof(rollback) - 1, HD_EXPECT_MUST);
    if (!code && pins)
        code = hd_server_inject_query(v, discard, sizeof(discard) - 1, HD_EXPECT_MUST);
    return code;
}

/* A Terminate behind statements that are on their way: they run, as they would in PostgreSQL, and then the
 * server is cleaned. */
static void leave_running(struct hd_session *s)
{
    struct hd_server *v = s->server;
    uint32_t pins = s->pins;
    struct hd_leaving leaving;

    if (!v || !v->expects.count || s->unsynced || s->pass_rest || v->copy_in || v->must_close || v->broken ||
        (pins & (UNCLEAN | HD_PIN_PROTOCOL)))
        return;
    leaving = hd_settle_begin(s);
    hd_server_orphan(v);
    if (clean(v, pins))
        hd_server_close(v, "out of memory");
    else
        hd_pool_put_cleaning(v);
    hd_ending_lost(s, HD_END_ABANDONED, leaving);
}

/* The session leaves its server. In the middle of something the statement is cancelled and the connection
 * ended: what it still has to say is nobody's. A batch without its Sync is taken back by the end of its
 * connection alone: a Sync would commit it. Returns HD_END_…: what becomes of a transaction that is open. */
static uint32_t leave_server(struct hd_session *s)
{
    struct hd_server *v = s->server;
    uint32_t pins = s->pins;
    int busy;

    if (!v)
        return HD_END_ABANDONED;
    busy = v->expects.count || s->pass_rest || v->copy_in || v->link.out_count;
    hd_server_unlink(v);
    if (busy && v->expects.count)
        hd_cancel_server(v);
    if (busy || s->unsynced || v->must_close || v->broken || (pins & UNCLEAN))
        hd_server_close(v, "its client has left");
    else if (!pins && v->txn == HD_TXN_IDLE)
        hd_pool_put(v);
    else if (clean(v, pins))
        hd_server_close(v, "out of memory");
    else
        hd_pool_put_cleaning(v);
    return busy ? HD_END_ABANDONED : HD_END_ROLLED_BACK;
}

static void leave_queue(struct hd_session *s)
{
    if (s->queue)
        hd_pool_give_up(s->queue, s);
    hd_list_remove(&s->waiting);
}

/* What a session holds, but for its link. Once. */
static void let_go(struct hd_session *s)
{
    struct hd_leaving leaving;
    uint32_t end;

    if (s->logged_in)
        hd_client_log_closed(s);
    leave_queue(s);
    if (s->pending)
        hd_finish_pending(s, 2, "08006");
    leaving = hd_settle_begin(s);
    end = leave_server(s);
    hd_ending_lost(s, end, leaving);
    hd_extended_free(s);
    hd_console_free(s);
    hd_tunnel_close(s);
    hd_login_free(s);
    if (s->logged_in) {
        publish_session(s, HD_BUS_SESSION_CLOSED);
        hd_chain_session_close(s->w->chain, &s->chain);
        s->logged_in = 0;
    }
    if (s->in_clients) {
        atomic_fetch_sub(&s->w->all->clients, 1);
        s->in_clients = 0;
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(s->tallies); i++) {
        if (s->tallies[i])
            hd_tally_leave(s->tallies[i]);
        hd_tally_put(s->w->all, s->tallies[i]);
        s->tallies[i] = NULL;
    }
    if (s->pool && s->counted) {
        hd_pool_leave(s->pool);
        s->counted = 0;
    }
    hd_track_free(s);
    hd_restore_free(s);
    hd_sequence_forget_server(s);
    hd_params_drop(s->params);
    s->params = NULL;
}

static void on_released(struct hd_link *l)
{
    struct hd_session *s = session_of(l);

    hd_session_set_route(s, NULL);
    if (s->pool)
        s->pool->refs--;
    s->magic = 0;
    hd_free(s);
}

void hd_session_close(struct hd_session *s)
{
    struct hd_worker *w = s->w;

    if (s->state == HD_SESSION_CLOSED)
        return;
    let_go(s);
    hd_list_remove(&s->waiting);
    hd_session_set_state(s, HD_SESSION_CLOSED);
    hd_list_remove(&s->all);
    hd_place_leave(w);
    hd_listener_drop(s->listener);
    s->listener = NULL;
    hd_link_close(&s->link, on_released);
}

void hd_session_gone(struct hd_session *s)
{
    let_go(s);
    hd_list_remove(&s->waiting);
    hd_list_remove(&s->all);
    hd_session_set_state(s, HD_SESSION_CLOSED);
    hd_place_leave(s->w);
    hd_listener_drop(s->listener);
    s->listener = NULL;
    if (s->link.fd >= 0)
        close(s->link.fd);
    s->link.fd = -1;
    on_released(&s->link);
}

void hd_session_close_soon(struct hd_session *s)
{
    if (s->state == HD_SESSION_CLOSED || s->state == HD_SESSION_CLOSING)
        return;
    let_go(s);
    hd_session_set_state(s, HD_SESSION_CLOSING);
    s->since_ns = hd_now_ns();
    hd_list_push_back(&s->w->closing, &s->waiting);
    hd_link_flush(&s->link);
    /* Nothing can be said before a handshake has come to its end. */
    if (s->state == HD_SESSION_CLOSING &&
        (!hd_link_unsent(&s->link) || (s->link.tls && !hd_tls_ready(s->link.tls))))
        hd_session_close(s);
}

void hd_session_fatal(struct hd_session *s, const char *sqlstate, const char *message, const char *hint)
{
    struct hd_buf *b;

    if (s->state == HD_SESSION_CLOSED || s->state == HD_SESSION_CLOSING)
        return;
    if (s->pending)
        hd_stmt_fail(s->pending, sqlstate);          /* what the client is told of it */
    if (s->tunnel && s->state == HD_SESSION_READY) { /* it may stand in the middle of a message */
        hd_session_close(s);
        return;
    }
    b = hd_reply_error_buf(s, "FATAL", sqlstate, message, NULL, hint);
    if (b && hd_link_send(&s->link, b, b->data, b->len))
        hd_log(HD_LOG_WARNING, "no memory for a client's last message", HD_KV("session", s->id));
    hd_buf_drop(b);
    hd_session_close_soon(s);
}

void hd_session_send(struct hd_session *s, const void *bytes, size_t len)
{
    if (hd_link_send_copy(&s->link, bytes, len))
        hd_session_close(s);
}

static void on_end(struct hd_link *l, int error)
{
    (void)error;
    hd_session_close(session_of(l));
}

/* --- servers
 * ------------------------------------------------------------------------------------------------- */

void hd_session_set_route(struct hd_session *s, struct hd_pool *p)
{
    if (p) {
        p->refs++;
        hd_pool_share_keys(s->pool, p);
    }
    if (s->route)
        s->route->refs--;
    s->route = p;
}

int hd_session_want_server(struct hd_session *s)
{
    struct hd_pool *p = s->route ? s->route : s->pool;

    if (s->w->draining) {
        hd_session_fatal(s, "57P01", "terminating connection due to administrator command", NULL);
        return 0;
    }
    hd_session_set_route(s, NULL);
    if (hd_pool_acquire(p, s))
        return s->server != NULL && !s->fence; /* its settings may have failed, or have to come first */
    if (s->state != HD_SESSION_READY)
        return 0;
    if (s->pending)
        hd_stmt_wait(s->pending, hd_now_ns());
    hd_session_set_state(s, HD_SESSION_WAITING);
    return 0;
}

/* A value that only the server sets has changed under the session: the client is told. is_superuser follows
 * from the role, which is put in place. */
static int adopt_own_values(struct hd_session *s, struct hd_server *v)
{
    for (uint32_t i = 0; i < v->params->count; i++) {
        const struct hd_param_entry *e = &v->params->entries[i];
        const char *mine = hd_params_get(s->params, e->name);
        struct hd_strbuf sb = HD_STRBUF_INIT;
        struct hd_build b = hd_build_onto(&sb);
        struct hd_params *p;
        int code;

        if (hd_param_settable(e->name) || !strcmp(e->name, "is_superuser") ||
            (mine && !strcmp(mine, e->value)))
            continue;
        p = hd_params_with(s->params, e->name, e->value);
        if (!p)
            return HD_ENOMEM;
        hd_params_drop(s->params);
        s->params = p;
        code = hd_build_parameter_status(&b, e->name, e->value);
        if (!code)
            code = hd_link_send_copy(&s->link, sb.data, sb.len);
        hd_strbuf_free(&sb);
        if (code)
            return code;
    }
    return HD_OK;
}

/* Will the server run statements by other rights than before? Then they have to wait: should the role be
 * refused, they must not run by the rights of the user who logged in. */
static int takes_role(const struct hd_params *have, const struct hd_params *want)
{
    static const char *const names[] = {"role", "session_authorization"};

    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        const char *now = hd_params_get(have, names[i]), *then = hd_params_get(want, names[i]);

        if (then && (!now || strcmp(now, then)))
            return 1;
    }
    return 0;
}

static void wait_for_role(struct hd_session *s)
{
    s->fence = FENCE_ROLE;
    s->paused_by_server = 1;
    hd_link_pause(&s->link);
}

int hd_session_role_taken(struct hd_session *s)
{
    if (s->fence != FENCE_ROLE)
        return 0;
    s->fence = 0;
    hd_session_unpause(s);
    return 1;
}

int hd_session_sync_params(struct hd_session *s, struct hd_server *v)
{
    struct hd_strbuf sql = HD_STRBUF_INIT;
    int code = HD_OK;

    if (s->params == v->params)
        return HD_OK;
    if (adopt_own_values(s, v))
        return HD_ENOMEM;
    if (hd_params_sync_sql(v->params, s->params, &sql) > 0)
        code = sql.failed ? HD_ENOMEM : hd_server_inject_query(v, sql.data, sql.len, HD_EXPECT_MUST);
    hd_strbuf_free(&sql);
    if (code)
        return code;
    if (takes_role(v->params, s->params))
        wait_for_role(s);
    hd_params_drop(v->params);
    v->params = hd_params_hold(s->params);
    return HD_OK;
}

void hd_session_linked(struct hd_session *s, struct hd_server *v)
{
    if (s->state == HD_SESSION_WELCOME)
        return; /* login.c has its own way with it */
    if (hd_session_sync_params(s, v) || (v->drawn_for && hd_sequence_linked(s, v)))
        hd_session_fatal(s, "53200", "out of memory", NULL);
}

void hd_session_granted(struct hd_session *s, struct hd_server *v)
{
    if (s->state == HD_SESSION_WELCOME) {
        hd_login_granted(s, v);
        return;
    }
    hd_session_linked(s, v);
    if (s->state == HD_SESSION_WAITING)
        hd_session_wake(s);
}

void hd_session_wake(struct hd_session *s)
{
    if (s->state != HD_SESSION_WAITING && s->state != HD_SESSION_PARKED)
        return;
    hd_session_set_state(s, HD_SESSION_READY);
    if (!s->paused_by_server)
        hd_link_resume(&s->link);
}

void hd_session_server_lost(struct hd_session *s, const char *why, int told)
{
    char text[200];

    if (told) {
        hd_session_close_soon(s);
        return;
    }
    snprintf(text, sizeof(text), "server connection lost: %s", why);
    hd_session_fatal(s, "08006", text, NULL);
}

/* Also while it is parked: what it waits for may need that very server. */
int hd_session_may_release(const struct hd_session *s)
{
    return !s->pins && !s->fence && !s->exporting && !s->unsynced && !s->pass_rest &&
           (s->state == HD_SESSION_READY || s->state == HD_SESSION_PARKED);
}

void hd_session_release(struct hd_session *s)
{
    struct hd_worker *w = s->w;
    struct hd_server *v = s->server;
    int retiring = w->retiring;

    s->since_ns = uv_now(&s->w->loop.uv) * 1000000;
    hd_server_unlink(v);
    hd_pool_put(v);
    if (s->w->draining && s->state == HD_SESSION_READY)
        hd_session_fatal(s, "57P01", "terminating connection due to administrator command", NULL);
    else
        hd_session_unpause(s);
    if (retiring)
        hd_handover_soon(w);
}

void hd_session_unpause(struct hd_session *s)
{
    if (!s->paused_by_server)
        return;
    s->paused_by_server = 0;
    if (s->state == HD_SESSION_READY)
        hd_link_resume(&s->link);
}

/* --- messages
 * ------------------------------------------------------------------------------------------------ */

/* A cancel that came while the statement waited: it is refused, as PostgreSQL would. */
static enum hd_taken refuse_cancelled(struct hd_session *s, const struct hd_frame *f)
{
    int extended = f->type != HD_MSG_QUERY && f->type != HD_MSG_FUNCTION_CALL;

    s->cancelled = 0;
    hd_finish_pending(s, 2, "57014");
    hd_held_drop(s, 1);
    hd_refuse(s, extended, "57014", "canceling statement due to user request", NULL, NULL);
    if (s->state >= HD_SESSION_CLOSING)
        return HD_TAKE_END;
    /* What waited for a server may be the Sync behind messages that were kept back. */
    return f->type == HD_MSG_SYNC ? hd_extended_sync(s, f) : hd_drop_piece(s, f);
}

static int is_copy(uint8_t type)
{
    return type == HD_MSG_COPY_DATA || type == HD_MSG_COPY_DONE || type == HD_MSG_COPY_FAIL;
}

static enum hd_taken dispatch(struct hd_session *s, const struct hd_frame *f)
{
    if (s->cancelled)
        return refuse_cancelled(s, f);
    if (s->fence && !is_copy(f->type) && f->type != HD_MSG_TERMINATE && hd_restore_waits(s))
        return HD_TAKE_LATER;
    switch (f->type) {
    case HD_MSG_QUERY:
        return hd_query_message(s, f);
    case HD_MSG_PARSE:
    case HD_MSG_BIND:
    case HD_MSG_DESCRIBE:
    case HD_MSG_EXECUTE:
    case HD_MSG_CLOSE:
        return hd_extended_message(s, f);
    case HD_MSG_SYNC:
        return hd_extended_sync(s, f);
    case HD_MSG_FLUSH:
        return hd_extended_flush(s, f);
    case HD_MSG_COPY_DATA:
    case HD_MSG_COPY_DONE:
    case HD_MSG_COPY_FAIL:
        return hd_copy_message(s, f);
    case HD_MSG_FUNCTION_CALL:
        return hd_function_call(s, f);
    case HD_MSG_TERMINATE:
        leave_running(s);
        hd_session_close(s);
        return HD_TAKE_END;
    default:
        hd_session_fatal(s, "08P01", "invalid frontend message type", NULL);
        return HD_TAKE_END;
    }
}

/* A further piece of a message that streams. */
static enum hd_taken further_piece(struct hd_session *s, const struct hd_frame *f)
{
    if (s->drop_rest || !s->server)
        return hd_drop_piece(s, f);
    return hd_forward_piece(s, f);
}

/* What is on its way to the server, or owed by it, has a bound. */
static void press(struct hd_session *s)
{
    struct hd_server *v = s->server;

    if (!v || s->paused_by_server || (!v->link.high && v->expects.count < HD_EXPECT_MAX))
        return;
    s->paused_by_server = 1;
    hd_link_pause(&s->link);
}

static void bad_frame(struct hd_session *s, const uint8_t *p, size_t len)
{
    struct hd_error err = HD_ERROR_INIT;

    hd_frame_fail(&s->scan, p, len, &err);
    hd_session_fatal(s, "08P01", err.text, NULL);
}

static size_t take(struct hd_session *s, const uint8_t *data, size_t len)
{
    const struct hd_link *l = &s->link;
    const uint8_t *p = data, *end = data + len;
    struct hd_frame f;

    if (s->state == HD_SESSION_STARTUP || s->state == HD_SESSION_AUTH) {
        p += hd_login_data(s, data, len);
        if (s->state >= HD_SESSION_CLOSING)
            return len;
    }
    if (s->tunnel && s->state == HD_SESSION_READY)
        return hd_tunnel_data(s, data, len);
    while (p < end && s->state == HD_SESSION_READY && !l->paused) {
        int code = hd_frame_next(&s->scan, p, (size_t)(end - p), &f);
        enum hd_taken taken;

        if (code == HD_PENDING)
            break;
        if (code) {
            bad_frame(s, p, (size_t)(end - p));
            break;
        }
        taken = f.offset ? further_piece(s, &f) : dispatch(s, &f);
        if (taken != HD_TAKEN)
            break;
        hd_frame_take(&s->scan, &f, f.here);
        p += f.here;
        press(s);
    }
    if (s->state == HD_SESSION_READY && s->server && !s->server->expects.count)
        hd_server_settle(s->server); /* it was not needed after all */
    return s->state >= HD_SESSION_CLOSING ? len : (size_t)(p - data);
}

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct hd_session *s = session_of(l);
    struct hd_worker *w = s->w;
    size_t taken;

    hd_moment_begins(w);
    taken = take(s, data, len);
    hd_moment_ends(w);
    return taken;
}

static void on_drained(struct hd_link *l)
{
    struct hd_session *s = session_of(l);

    if (s->tunnel)
        hd_tunnel_client_drained(s);
    if (s->server && s->server->paused_by_client) {
        s->server->paused_by_client = 0;
        hd_link_resume(&s->server->link);
    }
}

/* --- time
 * ---------------------------------------------------------------------------------------------------- */

static void time_out_logins(struct hd_worker *w, uint64_t now)
{
    uint64_t limit = (uint64_t)w->settings->host.login_timeout * 1000000;
    struct hd_list *n;

    while (limit && (n = hd_list_first(&w->logins))) {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, waiting);

        if (hd_elapsed_ns(now, s->since_ns) < limit)
            break;
        w->stats.login_failures++;
        hd_client_log_refused(s, "08P01", "login timed out");
        hd_session_fatal(s, "08P01", "login timed out", NULL);
    }
    HD_LIST_EACH(c, &w->closing)
    {
        struct hd_session *s = HD_LIST_ITEM(c, struct hd_session, waiting);

        if (!hd_link_unsent(&s->link) || hd_elapsed_ns(now, s->since_ns) > CLOSING_NS)
            hd_session_close(s);
    }
}

static void time_out_transactions(struct hd_pool *p, uint64_t now)
{
    uint64_t limit = (uint64_t)p->conf->idle_transaction_timeout * 1000000;

    if (!limit)
        return;
    HD_LIST_EACH(n, &p->busy)
    {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (v->session && v->txn != HD_TXN_IDLE && !v->expects.count &&
            hd_elapsed_ns(now, v->idle_ns) > limit)
            hd_session_fatal(v->session, "25P03", "terminating connection due to idle-in-transaction timeout",
                             NULL);
    }
}

static void time_out_idle(struct hd_worker *w, uint64_t now)
{
    HD_LIST_EACH(n, &w->sessions)
    {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);
        uint64_t limit;

        if (s->state != HD_SESSION_READY || s->server || s->tunnel || !s->pool)
            continue;
        limit = (uint64_t)s->pool->conf->client_idle_timeout * 1000000;
        if (limit && hd_elapsed_ns(now, s->since_ns) > limit)
            hd_session_fatal(s, "57P05", "terminating connection due to idle-session timeout", NULL);
    }
}

void hd_sessions_tick(struct hd_worker *w, uint64_t now)
{
    time_out_logins(w, now);
    if (now - w->second_ns < 1000000000u)
        return;
    w->second_ns = now;
    hd_meter_update(w);
    hd_pools_meter(w, now);
    for (struct hd_pool *p = w->pools; p; p = p->next)
        time_out_transactions(p, now);
    time_out_idle(w, now);
}
