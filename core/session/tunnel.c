/*
 * Replication connections; see tunnel.h.
 */
#include "session/tunnel.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "io/tls.h"
#include "session/client.h"
#include "session/pool_parts.h"
#include "session/server.h"

struct hd_tunnel {
    struct hd_link link; /* to the server */
    struct hd_connect c;
    struct hd_session *session; /* NULL: the client has left */
    struct hd_worker *w;
    struct hd_settings *settings; /* held: c's strings point into it */
    struct hd_scram_keys keys;
    char *mode, *options, *database, *user;
    PGconn *pg;
    uint8_t linked; /* the link is open */
};

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len);
static void on_drained(struct hd_link *l);
static void on_end(struct hd_link *l, int error);

static const struct hd_link_ops tunnel_ops = {on_data, on_drained, on_end};

static struct hd_tunnel *tunnel_of(struct hd_link *l)
{
    return HD_CONTAINER_OF(l, struct hd_tunnel, link);
}

PGconn *hd_tunnel_connection(const struct hd_session *s)
{
    return s->tunnel->linked ? s->tunnel->pg : NULL;
}

const struct hd_cancel_key *hd_tunnel_key(const struct hd_session *s)
{
    return &s->tunnel->c.key;
}

/* --- the end
 * ------------------------------------------------------------------------------------------------ */

static void tunnel_free(struct hd_tunnel *t)
{
    hd_settings_release(t->settings);
    OPENSSL_cleanse(&t->keys, sizeof(t->keys));
    hd_free(t->mode);
    hd_free(t->options);
    hd_free(t->database);
    hd_free(t->user);
    hd_free(t);
}

static void on_released(struct hd_link *l)
{
    tunnel_free(tunnel_of(l));
}

/* The socket is shut before libpq closes it, so that nothing libpq writes at its end reaches the server. */
static void close_server(struct hd_tunnel *t)
{
    shutdown(PQsocket(t->pg), SHUT_RDWR);
    t->link.fd = -1;
    t->linked = 0;
    hd_link_close(&t->link, on_released);
    PQfinish(t->pg);
    t->pg = NULL;
}

void hd_tunnel_close(struct hd_session *s)
{
    struct hd_tunnel *t = s->tunnel;

    if (!t)
        return;
    s->tunnel = NULL;
    t->session = NULL;
    hd_pool_leave_apart(s->pool);
    if (!t->linked)
        return; /* it is connecting: freed when that is over */
    hd_link_flush(&t->link);
    if (t->linked)
        close_server(t);
}

/* --- passing on
 * --------------------------------------------------------------------------------------------- */

static void out_of_memory(struct hd_session *s)
{
    hd_log(HD_LOG_WARNING, "no memory for a replication connection", HD_KV("session", s->id));
    hd_session_close(s);
}

size_t hd_tunnel_data(struct hd_session *s, const uint8_t *data, size_t len)
{
    struct hd_tunnel *t = s->tunnel;

    s->pool->stats.bytes_in += len;
    if (hd_link_send(&t->link, hd_link_buf(&s->link), data, (uint32_t)len))
        out_of_memory(s);
    else if (t->link.high)
        hd_link_pause(&s->link);
    return len;
}

void hd_tunnel_client_drained(struct hd_session *s)
{
    if (s->tunnel->linked)
        hd_link_resume(&s->tunnel->link);
}

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct hd_session *s = tunnel_of(l)->session;

    s->pool->stats.bytes_out += len;
    if (hd_link_send(&s->link, hd_link_buf(l), data, (uint32_t)len))
        out_of_memory(s);
    else if (s->link.high)
        hd_link_pause(l);
    return len;
}

static void on_drained(struct hd_link *l)
{
    struct hd_session *s = tunnel_of(l)->session;

    if (s)
        hd_link_resume(&s->link);
}

static void on_end(struct hd_link *l, int error)
{
    (void)error;
    hd_session_close_soon(tunnel_of(l)->session); /* what the server said last is on its way */
}

/* --- connecting
 * ---------------------------------------------------------------------------------------------- */

/* The server is there: its bytes go to the client from now on. */
static void established(struct hd_tunnel *t)
{
    struct hd_session *s = t->session;
    struct hd_tls *tls = NULL;

    t->pg = t->c.conn;
    s->params = hd_server_params(s->w, t->pg);
    if (!s->params || (PQsslInUse(t->pg) && !(tls = hd_tls_adopt(PQgetssl(t->pg)))) ||
        hd_link_init(&t->link, &s->w->io, PQsocket(t->pg), &tunnel_ops)) {
        hd_tls_free(tls);
        PQfinish(t->pg);
        t->pg = NULL;
        s->tunnel = NULL;
        hd_pool_leave_apart(s->pool);
        hd_session_fatal(s, "53200", "out of memory", NULL);
        tunnel_free(t);
        return;
    }
    if (tls)
        hd_link_set_tls(&t->link, tls);
    t->linked = 1;
    hd_login_greet(s);
}

static void on_connected(struct hd_connect *c)
{
    struct hd_tunnel *t = HD_CONTAINER_OF(c, struct hd_tunnel, c);
    struct hd_session *s = t->session;

    if (s && c->conn) {
        established(t);
        return;
    }
    if (c->conn)
        PQfinish(c->conn);
    if (s) {
        s->tunnel = NULL;
        hd_pool_leave_apart(s->pool);
        hd_session_fatal(s, c->sqlstate[0] ? c->sqlstate : "08001", c->message, NULL);
    }
    tunnel_free(t);
}

static void connect_it(struct hd_session *s, struct hd_tunnel *t)
{
    struct hd_pool *p = s->pool;
    struct hd_connect *c = &t->c;

    hd_pool_where(p, c, &t->keys, t->database, t->user);
    hd_connect_add(c, "options", t->options);
    hd_connect_add(c, "replication", t->mode);
    c->done = on_connected;
    hd_connector_connect(s->w->all->connector, c);
}

void hd_tunnel_open(struct hd_session *s, const char *mode, const char *options)
{
    struct hd_tunnel *t;

    if (!hd_pool_enter_apart(s->pool)) {
        hd_session_fatal(s, "53300", "no server connection is left for replication (max_servers)", NULL);
        return;
    }
    t = hd_calloc(1, sizeof(*t));
    if (t) {
        t->mode = hd_strdup(mode);
        t->options = hd_strdup(options);
        t->database = hd_strdup(s->pool->database);
        t->user = hd_strdup(s->pool->user);
    }
    if (!t || !t->mode || !t->options || !t->database || !t->user) {
        if (t)
            tunnel_free(t);
        hd_pool_leave_apart(s->pool);
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    t->w = s->w;
    t->session = s;
    t->settings = hd_settings_hold(s->pool->settings);
    s->tunnel = t;
    connect_it(s, t);
}
