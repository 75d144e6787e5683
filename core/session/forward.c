/*
 * The common part of every client message's way; see forward.h.
 */
#include "session/forward.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/units.h"
#include "plug/bus.h"
#include "session/client.h"
#include "session/pool.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/server.h"
#include "session/track.h"
#include "wire/build.h"

enum hd_taken hd_forward_piece(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_server *v = s->server;

    s->pass_rest = !hd_frame_last(f);
    s->pool->stats.bytes_in += f->here;
    if (hd_link_send(&v->link, hd_link_buf(&s->link), f->data, f->here)) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return HD_TAKE_END;
    }
    return HD_TAKEN;
}

enum hd_taken hd_drop_piece(struct hd_session *s, const struct hd_frame *f)
{
    s->drop_rest = !hd_frame_last(f);
    return HD_TAKEN;
}

enum hd_taken hd_want_bytes(struct hd_session *s, const struct hd_frame *f, uint32_t bytes)
{
    HD_ASSERT(f->offset == 0);
    s->link.want = bytes < f->total ? bytes : f->total;
    return HD_TAKE_MORE;
}

int hd_quiet(const struct hd_session *s)
{
    return !s->server || !s->server->expects.count || s->server->copy_in;
}

int hd_wait_for_replies(struct hd_session *s)
{
    static const uint8_t flush[5] = {HD_MSG_FLUSH, 0, 0, 0, 4};

    s->paused_by_server = 1;
    hd_link_pause(&s->link);
    return s->unsynced ? hd_server_send_copy(s->server, flush, sizeof(flush)) : HD_OK;
}

/* --- filters
 * ------------------------------------------------------------------------------------------------- */

struct hd_stmt *hd_take_pending(struct hd_session *s)
{
    struct hd_stmt *st = s->pending;

    s->pending = NULL;
    s->decided = 0;
    if (st && st->queued_at_ns)
        hd_stmt_go(st, hd_now_ns());
    return st;
}

void hd_finish_pending(struct hd_session *s, uint8_t answered_by, const char *sqlstate)
{
    struct hd_stmt *st = hd_take_pending(s);

    if (!st)
        return;
    st->answered_by = answered_by;
    if (sqlstate)
        hd_stmt_fail(st, sqlstate);
    hd_stmt_complete(st);
}

/* The pool of another node, for one transaction. 0 when there is no such node. */
static int route(struct hd_session *s, struct hd_str name)
{
    char node_name[128];
    const struct hd_node_conf *node;

    if (!name.len || name.len >= sizeof(node_name))
        return 0;
    memcpy(node_name, name.ptr, name.len);
    node_name[name.len] = 0;
    node = hd_settings_node(s->pool->settings, node_name);
    if (node)
        hd_session_set_route(s, hd_pool_get(s->w, s->pool->settings, s->pool->conf, s->pool->user_conf, node,
                                            s->pool->database, s->pool->user));
    return node && s->route;
}

/* A filter asked for a node that is not there: running the statement elsewhere would answer another question.
 */
static enum hd_decision no_such_node(struct hd_verdict *v)
{
    static const char message[] = "a filter routed this statement to a node that does not exist";

    memcpy(v->sqlstate, "58000", 6);
    v->message = (struct hd_str){message, sizeof(message) - 1};
    v->detail = v->hint = (struct hd_str){0};
    return HD_DECIDED_REFUSE;
}

static int rewrite(struct hd_session *s, struct hd_str text)
{
    struct hd_stmt *st = s->pending;

    hd_buf_drop(st->rewrite);
    st->rewrite = hd_buf_new(&s->w->io.bufs, (uint32_t)text.len + 16);
    if (!st->rewrite)
        return HD_ENOMEM;
    memcpy(st->rewrite->data, text.ptr, text.len);
    st->rewrite->len = (uint32_t)text.len;
    return HD_OK;
}

static enum hd_decision out_of_memory(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
    return HD_DECIDED_ERROR;
}

static void give_back(struct hd_verdict *v)
{
    if (v->release)
        v->release(v->release_arg);
}

/* A verdict that changes what runs, or where. */
static enum hd_decision change(struct hd_session *s, uint32_t kind, struct hd_verdict *v)
{
    if (kind == HD_VERDICT_REWRITE)
        return rewrite(s, v->text) ? out_of_memory(s) : HD_DECIDED_GO;
    if (s->server) /* in the middle of a transaction: it is one server's */
        return HD_DECIDED_GO;
    return route(s, v->text) ? HD_DECIDED_GO : no_such_node(v);
}

/* Is it known that the server would run the statement? Not in a failed transaction, nor behind batches of the
 * pipeline that may have left one. */
static int would_run(const struct hd_session *s)
{
    struct hd_expects *q = s->server ? &s->server->expects : NULL;

    if (s->txn == HD_TXN_FAILED)
        return 0;
    for (uint32_t i = 0; q && i < q->count; i++)
        if (hd_expects_at(q, i)->kind == HD_EXPECT_SYNC || hd_expects_at(q, i)->kind == HD_EXPECT_QUERY ||
            hd_expects_at(q, i)->kind == HD_EXPECT_FUNCTION_CALL)
            return 0;
    return 1;
}

static enum hd_decision ask(struct hd_session *s, const struct hd_stmt_input *in, unsigned may,
                            struct hd_verdict *v)
{
    for (;;) {
        uint32_t kind = hd_stmt_decide(s->pending, in, v);

        switch (kind) {
        case HD_VERDICT_REFUSE:
            return HD_DECIDED_REFUSE;
        case HD_VERDICT_PARK:
            return HD_DECIDED_PARK;
        case HD_VERDICT_ANSWER:
            if ((may & HD_MAY_ANSWER) && would_run(s))
                return HD_DECIDED_ANSWER;
            give_back(v); /* not to be carried out here: the filters behind are asked */
            continue;
        case HD_VERDICT_REWRITE:
        case HD_VERDICT_ROUTE:
            if (may & HD_MAY_REWRITE)
                return change(s, kind, v);
            give_back(v); /* not to be carried out here: the filters behind are asked */
            continue;
        default:
            return HD_DECIDED_GO;
        }
    }
}

enum hd_decision hd_decide(struct hd_session *s, const struct hd_text *t, const struct hd_stmt_input *in,
                           unsigned may, struct hd_verdict *v)
{
    enum hd_decision d = HD_DECIDED_GO;

    *v = (struct hd_verdict){.size = sizeof(*v)};
    if (s->decided || (!s->pending && !t->plan->want))
        return HD_DECIDED_GO;
    if (!s->pending && !(s->pending = hd_stmt_begin(s, t, in->flags)))
        return out_of_memory(s);
    if (s->pending->want & HD_WANT_DECIDE)
        d = ask(s, in, may, v);
    s->decided = d == HD_DECIDED_GO;
    if (d == HD_DECIDED_PARK) {
        hd_stmt_wait(s->pending, hd_now_ns());
        hd_session_set_state(s, HD_SESSION_PARKED);
    }
    return d;
}

/* --- refusing
 * ------------------------------------------------------------------------------------------------ */

/* A statement that every server refuses. Its log says whose doing that was. */
#define FAILING_SQL "\"howdah refused this statement\""

static int fail_on_server(struct hd_session *s, int extended, struct hd_buf *error)
{
    struct hd_server *v = s->server;
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_expect e = {.kind = extended ? HD_EXPECT_BIND : HD_EXPECT_QUERY, .flags = HD_EXPECT_REPLACE};
    int code =
        extended ? hd_build_parse(&b, HD_PREP_PREFIX "refused", FAILING_SQL, sizeof(FAILING_SQL) - 1, NULL, 0)
                 : hd_build_query(&b, FAILING_SQL, sizeof(FAILING_SQL) - 1);

    if (!extended)
        hd_unnamed_lost(s, v);
    if (!code) {
        e.ref = hd_buf_hold(error);
        code = hd_server_expect(v, e);
        if (code)
            hd_buf_drop(error);
    }
    if (!code)
        code = hd_server_send_copy(v, sb.data, sb.len);
    if (!code && extended)
        s->unsynced++;
    hd_strbuf_free(&sb);
    return code;
}

static int fail_here(struct hd_session *s, int extended, struct hd_buf *error)
{
    const uint8_t ready[6] = {HD_MSG_READY_FOR_QUERY, 0, 0, 0, 5, HD_TXN_IDLE};
    int code = hd_reply_buf(s, error);

    hd_track_failed(s);
    if (extended)
        s->skip_sync = 1;
    else if (!code)
        code = hd_reply_bytes(s, ready, sizeof(ready));
    return code;
}

void hd_refuse_as(struct hd_session *s, int extended, struct hd_buf *error)
{
    if (s->server ? fail_on_server(s, extended, error) : fail_here(s, extended, error))
        hd_session_fatal(s, "53200", "out of memory", NULL);
}

void hd_refuse(struct hd_session *s, int extended, const char *sqlstate, const char *message,
               const char *detail, const char *hint)
{
    struct hd_buf *error = hd_reply_error_buf(s, "ERROR", sqlstate, message, detail, hint);

    if (s->pool)
        s->pool->stats.refused++;
    if (error)
        hd_refuse_as(s, extended, error);
    else
        hd_session_fatal(s, "53200", "out of memory", NULL);
    hd_buf_drop(error);
}

static char *copy_str(struct hd_str str)
{
    return str.len ? hd_strndup(str.ptr, str.len) : NULL;
}

void hd_refuse_verdict(struct hd_session *s, int extended, const struct hd_verdict *v)
{
    char *message = copy_str(v->message), *detail = copy_str(v->detail), *hint = copy_str(v->hint);
    char sqlstate[6] = "42501";

    if (v->sqlstate[0])
        snprintf(sqlstate, sizeof(sqlstate), "%.5s", v->sqlstate);
    hd_finish_pending(s, 2, sqlstate);
    hd_refuse(s, extended, sqlstate, message ? message : "refused", detail, hint);
    hd_free(message);
    hd_free(detail);
    hd_free(hint);
}
