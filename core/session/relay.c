/*
 * Moving answers; see relay.h.
 */
#include "session/relay.h"

#include <string.h>

#include "base/log.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/defaults.h"
#include "session/ending.h"
#include "session/moment.h"
#include "session/pool.h"
#include "session/server.h"
#include "session/statement.h"
#include "session/track.h"

/* A message that has to be read whole, and is longer, is no message of a sane server. */
#define GATHER_MAX (1024 * 1024)
/* So much of answers that nobody waits for is read to keep the connection. */
#define ORPHAN_MAX (1024 * 1024)

static struct hd_server *server_of(struct hd_link *l)
{
    struct hd_server *v = HD_CONTAINER_OF(l, struct hd_server, link);

    HD_ASSERT(v->magic == HD_SERVER_MAGIC);
    return v;
}

static void client_out_of_memory(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
}

/* Sends the run up to `to`, and begins the next there. */
void hd_relay_flush(struct hd_relay *r, const uint8_t *to)
{
    struct hd_session *s = r->v->session;

    if (to > r->run && s && hd_link_send(&s->link, r->v->relay_buf, r->run, (uint32_t)(to - r->run)))
        client_out_of_memory(s);
    r->run = to;
}

static void send_local(struct hd_session *s, struct hd_expect *e)
{
    int code;

    if (!s)
        return;
    if (e->flags & HD_EXPECT_BYTES) {
        struct hd_buf *b = e->ref;

        code = hd_link_send(&s->link, b, b->data, b->len);
    } else {
        const uint8_t bare[5] = {(uint8_t)e->type, 0, 0, 0, 4};

        code = hd_link_send_copy(&s->link, bare, sizeof(bare));
    }
    if (code)
        client_out_of_memory(s);
}

/* Replies of the host's own whose turn has come; `at` is the end of the server's reply before them. */
void hd_relay_locals(struct hd_relay *r, const uint8_t *at)
{
    struct hd_expects *q = &r->v->expects;

    while (q->count && hd_expects_head(q)->kind == HD_EXPECT_LOCAL) {
        struct hd_expect e = hd_expects_pop(q);

        hd_relay_flush(r, at);
        send_local(r->v->session, &e);
        hd_server_forget(r->v, &e);
    }
}

/* The client reads this instead of the server's message. */
void hd_relay_instead(struct hd_relay *r, const struct hd_frame *f, struct hd_buf *b)
{
    struct hd_session *s = r->v->session;

    hd_relay_flush(r, f->data);
    if (s && hd_link_send(&s->link, b, b->data, b->len))
        client_out_of_memory(s);
}

int hd_relay_asked(uint8_t type)
{
    return type == HD_MSG_PARAMETER_DESCRIPTION || type == HD_MSG_ROW_DESCRIPTION || type == HD_MSG_NO_DATA;
}

static int looked_into(struct hd_server *v, uint8_t type)
{
    const struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->kind == HD_EXPECT_ASK && hd_relay_asked(type))
        return 1;
    switch (type) {
    case HD_MSG_READY_FOR_QUERY:
    case HD_MSG_COMMAND_COMPLETE:
    case HD_MSG_ERROR_RESPONSE:
    case HD_MSG_PARAMETER_STATUS:
        return 1;
    default:
        return 0;
    }
}

/* Is the server's work for its session done, so that somebody else may have it? */
static int released(struct hd_server *v)
{
    return v->session && !v->expects.count && v->txn == HD_TXN_IDLE && hd_session_may_release(v->session);
}

/* Is the server to be asked first what its session has left there? */
static int asks_first(struct hd_server *v)
{
    struct hd_session *s = v->session;

    return s && s->track && !v->expects.count && v->txn == HD_TXN_IDLE && hd_track_ask(s);
}

/* After a buffer: back to the pool, on with cleaning, or away. */
void hd_server_settle(struct hd_server *v)
{
    if (v->state == HD_SERVER_CLOSED)
        return;
    if (v->broken && !v->expects.count) {
        hd_server_close(v, "broke the protocol");
        return;
    }
    if (v->session && v->session->state == HD_SESSION_WELCOME && !v->expects.count)
        hd_login_server_ready(v->session);
    else if (v->session && v->session->fence && !v->expects.count && hd_session_role_taken(v->session))
        return;
    else if (asks_first(v) || (HD_UNLIKELY(v->ask_defaults) && hd_defaults_ask(v)))
        return;
    else if (released(v))
        hd_session_release(v->session);
    else if (v->state == HD_SERVER_CLEANING && !v->expects.count)
        hd_pool_cleaned(v);
    else if (v->session && v->session->paused_by_server && v->expects.count < HD_EXPECT_MAX / 2)
        hd_session_unpause(v->session);
}

/* The description of rows that an Execute behind it will bring. */
static void show_description(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_stmt *st = v->session ? v->session->pending : NULL; /* not forwarded yet */
    uint32_t i = 1;

    if (f->type != HD_MSG_ROW_DESCRIPTION && f->type != HD_MSG_NO_DATA)
        return;
    while (i < v->expects.count && hd_expects_at(&v->expects, i)->kind != HD_EXPECT_EXECUTE)
        i++;
    if (i < v->expects.count)
        st = hd_expects_at(&v->expects, i)->ref;
    if (st)
        hd_stmt_show(st, f->data, f->here);
}

/* The answer's bytes that filters want to see; counted where they do not. */
static void show_bytes(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->ref && (head->kind == HD_EXPECT_EXECUTE || head->kind == HD_EXPECT_QUERY) &&
        !(head->flags & (HD_EXPECT_REPLACE | HD_EXPECT_SWALLOW)))
        hd_stmt_bytes(head->ref, f->data, f->here);
    else if (head && head->kind == HD_EXPECT_DESCRIBE && (head->flags & HD_EXPECT_SHOWN))
        show_description(v, f);
}

static int broken(struct hd_server *v, const uint8_t *p, size_t len)
{
    struct hd_error err = HD_ERROR_INIT;

    hd_frame_fail(&v->scan, p, len, &err);
    hd_log(HD_LOG_ERROR, "server broke the protocol", HD_KV("node", v->pool->node->name),
           HD_KV("database", v->pool->database), HD_KV("reason", err.text));
    hd_server_close(v, "broke the protocol");
    return 0;
}

/* Its client has left with a Terminate, as one does that does not want the answers. Small ones are read to
 * their end, so that the statements have theirs; PostgreSQL, too, gives up only once it cannot write. */
static int orphan_talks(struct hd_server *v, size_t len)
{
    if (!v->orphan)
        return 0;
    v->orphan_bytes += len;
    if (v->orphan_bytes <= ORPHAN_MAX)
        return 0;
    hd_cancel_server(v);
    hd_server_close(v, "its client has left");
    return 1;
}

static size_t relay(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct hd_server *v = server_of(l);
    const uint8_t *p = data, *end = data + len;
    struct hd_relay r = {v, data};
    struct hd_frame f;
    int code = HD_OK;

    if (orphan_talks(v, len))
        return len;
    v->relay_buf = hd_link_buf(l);
    v->pool->stats.bytes_out += len;
    while (p < end && v->state != HD_SERVER_CLOSED) {
        code = hd_frame_next(&v->scan, p, (size_t)(end - p), &f);
        if (code)
            break;
        /* What fits into a buffer is relayed whole, so that a client never has half a row in front of an
         * error. */
        if (!hd_frame_whole(&f) && f.offset == 0 && (looked_into(v, f.type) || f.total <= HD_BUF_STANDARD)) {
            if (f.total > GATHER_MAX) {
                code = HD_EPROTO;
                break;
            }
            l->want = f.total;
            break;
        }
        if (hd_ending_hold(v, &f))
            break;
        show_bytes(v, &f);
        if (hd_relay_message(&r, &f) == HD_DROP) {
            hd_relay_flush(&r, p);
            r.run = p + f.here;
        }
        hd_frame_take(&v->scan, &f, f.here);
        p += f.here;
    }
    if (code == HD_EPROTO && v->state != HD_SERVER_CLOSED) {
        hd_relay_flush(&r, p);
        broken(v, p, (size_t)(end - p));
        return len;
    }
    if (v->state == HD_SERVER_CLOSED)
        return len;
    hd_relay_flush(&r, p);
    v->relay_buf = NULL;
    if (v->session && v->session->link.high && !v->paused_by_client) {
        v->paused_by_client = 1;
        hd_link_pause(l);
    }
    hd_server_settle(v);
    return (size_t)(p - data);
}

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct hd_worker *w = server_of(l)->w;
    size_t taken;

    hd_moment_begins(w);
    taken = relay(l, data, len);
    hd_moment_ends(w);
    return taken;
}

static void on_drained(struct hd_link *l)
{
    struct hd_server *v = server_of(l);

    if (v->session)
        hd_session_unpause(v->session);
}

static void on_end(struct hd_link *l, int error)
{
    struct hd_server *v = server_of(l);

    if (v->state != HD_SERVER_CLEANING || v->expects.count)
        hd_log(HD_LOG_INFO, "server connection ended", HD_KV("node", v->pool->node->name),
               HD_KV("database", v->pool->database), HD_KV("user", v->pool->user),
               HD_KV("reason", error ? strerror(error) : "closed by the server"));
    hd_server_close(v, error ? strerror(error) : "server closed the connection unexpectedly");
}

const struct hd_link_ops hd_server_ops = {on_data, on_drained, on_end};
