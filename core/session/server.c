/*
 * Server connections; see server.h.
 */
#include "session/defined.h"
#include "session/ending.h"
#include "session/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "io/tls.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/defaults.h"
#include "session/pool.h"
#include "session/prepared.h"
#include "session/relay.h"
#include "session/sequence.h"
#include "session/statement.h"
#include "wire/build.h"

static struct hd_server *server_of(struct hd_link *l)
{
    struct hd_server *v = HD_CONTAINER_OF(l, struct hd_server, link);

    HD_ASSERT(v->magic == HD_SERVER_MAGIC);
    return v;
}

/* --- birth --- */

static const char *const asked_params[] = {"application_name",
                                           "client_encoding",
                                           "DateStyle",
                                           "default_transaction_read_only",
                                           "in_hot_standby",
                                           "integer_datetimes",
                                           "IntervalStyle",
                                           "is_superuser",
                                           "scram_iterations",
                                           "search_path",
                                           "server_encoding",
                                           "server_version",
                                           "session_authorization",
                                           "standard_conforming_strings",
                                           "TimeZone"};

struct hd_params *hd_server_params(struct hd_worker *w, PGconn *pg)
{
    struct hd_param_entry e[HD_ARRAY_LEN(asked_params)];
    uint32_t n = 0;

    for (size_t i = 0; i < HD_ARRAY_LEN(asked_params); i++) {
        const char *value = PQparameterStatus(pg, asked_params[i]);

        if (value)
            e[n++] = (struct hd_param_entry){asked_params[i], value};
    }
    return hd_params_make(w->params, e, n);
}

struct hd_server *hd_server_new(struct hd_pool *pool, PGconn *pg, const struct hd_cancel_key *key)
{
    struct hd_server *v = hd_calloc(1, sizeof(*v));
    struct hd_worker *w = pool->w;
    struct hd_tls *tls = NULL;

    if (!v)
        goto fail;
    v->magic = HD_SERVER_MAGIC;
    v->w = w;
    v->pool = pool;
    v->pg = pg;
    v->cancel_key = *key;
    v->txn = HD_TXN_IDLE;
    hd_list_init(&v->node);
    hd_expects_init(&v->expects);
    hd_stock_init(&v->preps);
    hd_frame_scan_init(&v->scan, hd_frame_backend);
    v->connected_ns = v->idle_ns = hd_now_ns();
    v->params = hd_server_params(w, pg);
    if (!v->params)
        goto fail;
    if (PQsslInUse(pg) && !(tls = hd_tls_adopt(PQgetssl(pg))))
        goto fail;
    if (hd_link_init(&v->link, &w->io, PQsocket(pg), &hd_server_ops))
        goto fail;
    if (tls)
        hd_link_set_tls(&v->link, tls);
    return v;
fail:
    hd_tls_free(tls);
    if (v)
        hd_params_drop(v->params);
    hd_free(v);
    PQfinish(pg);
    return NULL;
}

/* --- sending --- */

int hd_server_expect(struct hd_server *v, struct hd_expect e)
{
    return hd_expects_push(&v->expects, e);
}

int hd_server_send_copy(struct hd_server *v, const void *bytes, size_t len)
{
    return hd_link_send_copy(&v->link, bytes, len);
}

int hd_server_inject_sync(struct hd_server *v)
{
    static const uint8_t sync[5] = {HD_MSG_SYNC, 0, 0, 0, 4};
    int code = hd_server_expect(v, (struct hd_expect){.kind = HD_EXPECT_SYNC, .flags = HD_EXPECT_SWALLOW});

    return code ? code : hd_server_send_copy(v, sync, sizeof(sync));
}

int hd_server_inject_query(struct hd_server *v, const char *sql, size_t len, unsigned flags)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code = hd_build_query(&b, sql, len);

    hd_unnamed_lost(NULL, v); /* a Query ends it */
    if (!code)
        code = hd_server_expect(
            v, (struct hd_expect){.kind = HD_EXPECT_QUERY, .flags = (uint16_t)(flags | HD_EXPECT_SWALLOW)});
    if (!code)
        code = hd_server_send_copy(v, sb.data, sb.len);
    hd_strbuf_free(&sb);
    return code;
}

void hd_server_forget(struct hd_server *v, struct hd_expect *e)
{
    struct hd_prep_table *t = v->w->all->preps;

    switch (e->kind) {
    case HD_EXPECT_PARSE:
        if (e->flags & HD_EXPECT_UNNAMED)
            hd_prep_drop(t, e->ref);
        break;
    case HD_EXPECT_CLOSE:
        if (e->flags & HD_EXPECT_UNNAMED)
            hd_prep_drop(t, e->ref);
        else if (e->flags & HD_EXPECT_CLOSED)
            hd_closed_name_free(t, e->ref);
        break;
    case HD_EXPECT_ASK:
        hd_ask_free(t, e->ref);
        break;
    case HD_EXPECT_LOCAL:
        if (e->flags & HD_EXPECT_BYTES)
            hd_buf_drop(e->ref);
        else if (e->flags & HD_EXPECT_CLOSED)
            hd_closed_name_free(t, e->ref);
        break;
    default:
        if (e->flags & HD_EXPECT_REPLACE)
            hd_buf_drop(e->ref);
        else if (e->ref)
            hd_stmt_complete(e->ref);
        break;
    }
    e->ref = NULL;
}

/* --- leaving a session, and the end --- */

void hd_server_orphan(struct hd_server *v)
{
    for (uint32_t i = 0; i < v->expects.count; i++) {
        struct hd_expect *e = hd_expects_at(&v->expects, i);

        if (e->kind != HD_EXPECT_EXECUTE && e->kind != HD_EXPECT_QUERY)
            continue;
        if (!(e->flags & HD_EXPECT_REPLACE) && e->ref)
            hd_stmt_fail(e->ref, "08006");
        hd_server_forget(v, e);
        e->flags &= (uint16_t)~HD_EXPECT_REPLACE;
    }
    v->orphan = 1;
    v->orphan_bytes = 0;
    v->orphan_ns = hd_now_ns();
    hd_server_unlink(v);
}

void hd_server_unlink(struct hd_server *v)
{
    struct hd_session *s = v->session;

    HD_ASSERT(s && s->server == v);
    if (s->draws)
        hd_sequence_left(s, v);
    s->server = NULL;
    v->session = NULL;
    v->skipping = 0;
    if (v->paused_by_client || s->ending) {
        v->paused_by_client = 0;
        hd_link_resume(&v->link);
    }
}

static void on_released(struct hd_link *l)
{
    struct hd_server *v = server_of(l);

    v->freed = 1;
    if (!v->cancels)
        hd_server_free(v);
}

void hd_server_free(struct hd_server *v)
{
    HD_ASSERT(v->freed && !v->cancels);
    v->magic = 0;
    hd_free(v);
}

/* The socket is shut before libpq closes it, so that nothing libpq writes at its end reaches the server; a
 * server that is idle gets its Terminate from us. */
static void finish(struct hd_server *v)
{
    static const uint8_t terminate[5] = {HD_MSG_TERMINATE, 0, 0, 0, 4};
    int fd = PQsocket(v->pg);

    if (!v->link.ended && !v->link.tls && v->link.out_count == 0)
        (void)!send(fd, terminate, sizeof(terminate), MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_RDWR);
}

void hd_server_close(struct hd_server *v, const char *why)
{
    struct hd_session *s = v->session;
    struct hd_prep_table *t = v->w->all->preps;
    int attached;

    if (v->state == HD_SERVER_CLOSED)
        return;
    finish(v);
    if (v->defines)
        hd_defined_end(v);
    hd_pool_remove(v); /* sets the state */
    if (s) {
        struct hd_leaving leaving = hd_settle_begin(s);

        if (v->settling)
            hd_settle_lost(v);
        hd_ending_lost(s, HD_END_UNKNOWN, leaving);
        s->server = NULL;
        v->session = NULL;
    } else if (v->settling) {
        hd_settle_lost(v);
    }
    while (v->expects.count) {
        struct hd_expect e = hd_expects_pop(&v->expects);

        if (e.ref && (e.kind == HD_EXPECT_EXECUTE || e.kind == HD_EXPECT_QUERY) &&
            !(e.flags & HD_EXPECT_REPLACE))
            hd_stmt_fail(e.ref, "08006");
        hd_server_forget(v, &e);
    }
    hd_expects_free(&v->expects);
    hd_sequence_forget_session(v);
    hd_stock_clear(&v->preps, t);
    hd_unnamed_lost(NULL, v);
    hd_params_drop(v->params);
    hd_params_drop(v->defaults);
    hd_params_drop(v->defaults_answer);
    v->params = v->defaults = v->defaults_answer = NULL;
    v->link.fd = -1;            /* libpq closes it */
    attached = !v->link.closed; /* not when moving it failed */
    if (attached)
        hd_link_close(&v->link, on_released);
    PQfinish(v->pg);
    v->pg = NULL;
    if (!attached) {
        hd_tls_free(v->link.tls);
        on_released(&v->link);
    }
    if (s) /* in the middle of a message nothing more can be said */
        hd_session_server_lost(s, why, v->relayed_fatal || !hd_frame_between(&v->scan));
}

/* --- moving to another worker --- */

struct hd_server_move {
    struct hd_post announce, post;
    struct hd_server *v;
    struct hd_pool *to;
    struct hd_params_copy *params, *defaults;
    void (*announced)(struct hd_pool *to);
    void (*moved)(struct hd_server *v, struct hd_pool *to);
};

static void on_announced(struct hd_post *p)
{
    struct hd_server_move *m = HD_CONTAINER_OF(p, struct hd_server_move, announce);

    m->announced(m->to);
}

static void arrive(struct hd_post *p)
{
    struct hd_server_move *m = HD_CONTAINER_OF(p, struct hd_server_move, post);
    struct hd_server *v = m->v;

    v->pool = m->to;
    v->w = m->to->w;
    v->params = hd_params_from_copy(v->w->params, m->params);
    hd_defaults_moved(v, m->defaults);
    if (!v->params || hd_link_attach(&v->link, &v->w->io))
        v->must_close = 1;
    m->moved(v, m->to);
    hd_free(m);
}

static void on_detached(struct hd_link *l)
{
    struct hd_server *v = server_of(l);
    struct hd_server_move *m = v->moving;

    v->moving = NULL;
    v->w->moving--;
    m->post.fn = arrive;
    hd_loop_post(&m->to->w->loop, &m->post);
}

int hd_server_move(struct hd_server *v, struct hd_pool *to, void (*announced)(struct hd_pool *to),
                   void (*moved)(struct hd_server *v, struct hd_pool *to))
{
    struct hd_server_move *m = hd_malloc(sizeof(*m));

    HD_ASSERT(!v->expects.count && !v->session && !v->cancels);
    if (!m || !(m->params = hd_params_copy(v->params))) {
        hd_free(m);
        return HD_ENOMEM;
    }
    m->defaults = v->defaults ? hd_params_copy(v->defaults) : NULL;
    hd_sequence_forget_session(v);
    m->announce.fn = on_announced;
    m->v = v;
    m->to = to;
    m->announced = announced;
    m->moved = moved;
    hd_params_drop(v->params);
    hd_params_drop(v->defaults);
    v->params = v->defaults = NULL;
    v->w->moving++;
    v->moving = m; /* carried until the link has left this loop */
    hd_loop_post(&to->w->loop, &m->announce);
    hd_link_detach(&v->link, on_detached);
    return HD_OK;
}
