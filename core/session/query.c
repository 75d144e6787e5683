/*
 * Query, FunctionCall and the messages of COPY from a client.
 */
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/units.h"
#include "session/client.h"
#include "session/console.h"
#include "session/defined.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/held.h"
#include "session/pool.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/restore.h"
#include "session/sequence.h"
#include "session/server.h"
#include "session/track.h"
#include "sql/facts.h"
#include "wire/build.h"

/* Is the server (or are we, in its place) skipping everything up to Sync? */
static int skipping(const struct hd_session *s)
{
    return s->skip_sync || (s->server && s->server->skipping);
}

/* The text of a whole Query, or NULL when it is not one string. */
static const char *query_text(const struct hd_frame *f, size_t *len)
{
    const char *sql = (const char *)hd_frame_body(f);
    uint32_t n = hd_frame_body_len(f);

    if (!n || memchr(sql, 0, n) != sql + n - 1)
        return NULL; /* PostgreSQL says what is wrong with it */
    *len = n - 1;
    return sql;
}

/* Behind messages of a batch without its Sync: when one of them fails, this is skipped as well. */
static int in_open_batch(const struct hd_session *s)
{
    return s->unsynced && !hd_quiet(s);
}

/* A filter's answer to a simple Query: nothing is owed before it, so the transaction's state is known. */
static void answer_query(struct hd_session *s, struct hd_verdict *v)
{
    const uint8_t ready[6] = {HD_MSG_READY_FOR_QUERY, 0, 0, 0, 5, s->txn};
    int code = hd_reply_bytes(s, v->describe.ptr, v->describe.len);

    hd_unnamed_ended(s);
    if (!code)
        code = hd_reply_bytes(s, v->bytes.ptr, v->bytes.len);
    s->pending->bytes = v->describe.len + sizeof(ready); /* as of a server's answer */
    hd_stmt_answer(s->pending, v->bytes.ptr, v->bytes.len);
    if (v->release)
        v->release(v->release_arg);
    hd_finish_pending(s, 1, NULL);
    s->pool->stats.answered++;
    if (!code)
        code = hd_reply_bytes(s, ready, sizeof(ready));
    if (code)
        hd_session_fatal(s, "53200", "out of memory", NULL);
}

/* DEALLOCATE of a name that the server knows by another. 1 when it was answered. */
static int deallocate(struct hd_session *s, const struct hd_text *t)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code;

    if (!hd_prepared_deallocates(s, t))
        return 0;
    hd_unnamed_ended(s);
    code = hd_build_command_complete(&b, "DEALLOCATE");
    if (!code)
        code = hd_build_ready_for_query(&b, s->txn);
    if (!code)
        code = hd_reply_bytes(s, sb.data, sb.len);
    hd_strbuf_free(&sb);
    if (code)
        hd_session_fatal(s, "53200", "out of memory", NULL);
    return 1;
}

static int send_rewritten(struct hd_session *s, const struct hd_stmt *st)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code = hd_build_query(&b, (const char *)st->rewrite->data, st->rewrite->len);

    if (!code)
        code = hd_server_send_copy(s->server, sb.data, sb.len);
    hd_strbuf_free(&sb);
    return code;
}

static enum hd_taken forward_query(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_stmt *st = hd_take_pending(s);
    struct hd_server *v = s->server;

    hd_unnamed_lost(s, v); /* a Query ends the unnamed statement */
    s->statements++;
    s->pool->stats.queries++;
    if (hd_server_expect(v, (struct hd_expect){.kind = HD_EXPECT_QUERY, .ref = st})) {
        if (st)
            hd_stmt_complete(st);
        return hd_no_memory(s);
    }
    if (s->restore)
        hd_restore_fence(s);
    if (!st || !st->rewrite)
        return hd_forward_piece(s, f);
    if (send_rewritten(s, st))
        return hd_no_memory(s);
    return HD_TAKEN;
}

/* The server's answer would be about another session's sequences. */
static enum hd_taken refuse_sequence(struct hd_session *s, const struct hd_frame *f)
{
    hd_finish_pending(s, 2, "55000");
    hd_refuse(s, 0, "55000", "lastval is not yet defined in this session", NULL, NULL);
    return hd_drop_piece(s, f);
}

/* Carries out what was decided. */
static enum hd_taken carry_out(struct hd_session *s, const struct hd_frame *f, const struct hd_text *t,
                               enum hd_decision d, struct hd_verdict *v)
{
    enum hd_taken taken;

    switch (d) {
    case HD_DECIDED_ANSWER:
        answer_query(s, v);
        return hd_drop_piece(s, f);
    case HD_DECIDED_REFUSE:
        hd_refuse_verdict(s, 0, v);
        return hd_drop_piece(s, f);
    case HD_DECIDED_PARK:
        return HD_TAKE_LATER;
    case HD_DECIDED_ERROR:
        return HD_TAKE_END;
    case HD_DECIDED_GO:
        break;
    }
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    taken = hd_prepared_sql(s, t);
    if (taken != HD_TAKEN)
        return taken;
    hd_defined_note(s->server, t->facts);
    return forward_query(s, f);
}

enum hd_taken hd_query_message(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_stmt_input in = {.flags = HD_STMT_DESCRIBED};
    struct hd_verdict v;
    struct hd_text t;
    enum hd_decision d;

    if (skipping(s)) {
        hd_held_skip(s);
        return hd_drop_piece(s, f);
    }
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (in_open_batch(s))
        return hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    if (!hd_frame_whole(f) && f->total <= (uint32_t)s->w->settings->host.max_statement_length)
        return hd_want_bytes(s, f, f->total);
    if (hd_frame_whole(f))
        in.sql = query_text(f, &in.sql_len);
    if (s->console)
        return hd_console_query(s, in.sql, in.sql_len);
    if (!in.sql)
        in.flags |= HD_STMT_NO_TEXT;
    if (hd_text_of_query(s, in.sql, in.sql_len, &t))
        return hd_no_memory(s);
    d = hd_decide(s, &t, &in,
                  (hd_frame_whole(f) ? HD_MAY_REWRITE : 0u) | (hd_reply_now(s) ? HD_MAY_ANSWER : 0u), &v);
    if (d == HD_DECIDED_GO) {
        if (deallocate(s, &t)) {
            hd_finish_pending(s, 1, NULL);
            return hd_drop_piece(s, f);
        }
        if (hd_track_note(s, &t))
            return hd_no_memory(s);
        if (t.facts & HD_FACT_SET_CONFIG)
            hd_track_set_config(s, &t, &in);
        if ((t.facts & HD_FACT_LASTVAL) && hd_sequence_guard(s, !s->unsynced))
            return refuse_sequence(s, f);
    }
    return carry_out(s, f, &t, d, &v);
}

/* The host cannot see what function a FunctionCall means: its facts are unsure. */
enum hd_taken hd_function_call(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_stmt_input in = {.flags = HD_STMT_NO_TEXT};
    struct hd_verdict v;
    struct hd_text t;
    enum hd_decision d;

    if (skipping(s))
        return hd_drop_piece(s, f);
    if (s->console) {
        hd_refuse(s, 0, "0A000", "the console has no functions to call", NULL, NULL);
        return hd_drop_piece(s, f);
    }
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (in_open_batch(s))
        return hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    if (hd_text_of_query(s, NULL, 0, &t))
        return hd_no_memory(s);
    d = hd_decide(s, &t, &in, 0, &v);
    if (d != HD_DECIDED_GO)
        return carry_out(s, f, &t, d, &v);
    if (hd_track_note(s, &t))
        return hd_no_memory(s);
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    hd_finish_pending(s, 0, NULL);
    s->statements++;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_FUNCTION_CALL}))
        return hd_no_memory(s);
    return hd_forward_piece(s, f);
}

/* CopyData that comes after the copy has failed has no receiver any more; PostgreSQL ignores it too. */
enum hd_taken hd_copy_message(struct hd_session *s, const struct hd_frame *f)
{
    if (!s->server)
        return hd_drop_piece(s, f);
    if (f->type != HD_MSG_COPY_DATA) {
        s->copy_ended = !s->server->copy_in && s->server->expects.count;
        s->server->copy_in = 0; /* from here on a Sync counts */
    }
    return hd_forward_piece(s, f);
}
