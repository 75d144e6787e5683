/*
 * What a server's messages mean: which of the replies that it owes each one is, and what it changes; see
 * relay.h.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/units.h"
#include "plug/bus.h"
#include "session/client.h"
#include "session/defaults.h"
#include "session/defined.h"
#include "session/extended.h"
#include "session/names.h"
#include "session/pool.h"
#include "session/prepared.h"
#include "session/relay.h"
#include "session/restore.h"
#include "session/sequence.h"
#include "session/server.h"
#include "session/statement.h"
#include "session/track.h"
#include "wire/describe.h"

static enum hd_fate pop(struct hd_relay *r, const struct hd_frame *f)
{
    struct hd_expect e = hd_expects_pop(&r->v->expects);
    enum hd_fate fate = e.flags & HD_EXPECT_SWALLOW ? HD_DROP : HD_RELAY;

    hd_server_forget(r->v, &e);
    if (fate == HD_DROP) {
        hd_relay_flush(r, f->data);
        r->run = f->data + f->here;
    }
    hd_relay_locals(r, f->data + f->here);
    return HD_RELAY; /* the run has been cut already */
}

static int is_batch(const struct hd_expect *e)
{
    return e->kind >= HD_EXPECT_PARSE && e->kind <= HD_EXPECT_CLOSE;
}

/* --- errors --- */

/* A name that was to be known to the server as the client knows it. `there`: it is. */
static void undo_export(struct hd_server *v, const struct hd_expect *e, int there)
{
    struct hd_name *n = v->session && !there ? hd_names_of_seq(&v->session->names, e->seq) : NULL;

    if (!n)
        return;
    n->own = HD_NAME_SHARED;
    hd_prepared_pin(v->session);
}

/* It is known so still. */
static void undo_unexport(struct hd_server *v, const struct hd_expect *e)
{
    struct hd_name *n = v->session ? hd_names_of_seq(&v->session->names, e->seq) : NULL;

    if (!n) {
        v->must_close = 1;
        return;
    }
    n->own = HD_NAME_EMPTY;
    hd_prepared_pin(v->session);
}

static void undo_parse(struct hd_server *v, struct hd_expect *e, const char *sqlstate, int failed)
{
    struct hd_prep_table *t = v->w->all->preps;
    struct hd_stocked *there = e->id ? hd_stock_of_id(&v->preps, e->id) : NULL;

    if (e->flags & HD_EXPECT_UNNAMED) {
        if (failed)
            hd_unnamed_failed(v, e);
        else
            hd_unnamed_undo(v, e);
        return;
    }
    if ((e->flags & HD_EXPECT_SWALLOW) && (e->flags & HD_EXPECT_TAKEN)) {
        undo_export(v, e, failed && !strcmp(sqlstate, "42P05"));
        return;
    }
    if (there)
        hd_stock_remove(&v->preps, t, there);
    if (v->session && e->seq && !(e->flags & HD_EXPECT_TAKEN)) {
        hd_names_undo(&v->session->names, t, e->seq);
        hd_prepared_pin(v->session);
    }
}

/* An entry that the server skipped or failed: what was taken for granted when it was sent is taken back. */
static void undo(struct hd_server *v, struct hd_expect *e, const char *sqlstate, int failed)
{
    struct hd_session *s = v->session;
    struct hd_prep_table *t = v->w->all->preps;

    switch (e->kind) {
    case HD_EXPECT_PARSE:
        undo_parse(v, e, sqlstate, failed);
        break;
    case HD_EXPECT_CLOSE: /* the statement is still there */
        if (e->flags & HD_EXPECT_UNNAMED)
            hd_unnamed_undo(v, e);
        else if ((e->flags & HD_EXPECT_SWALLOW) && !e->id)
            undo_unexport(v, e);
        else if ((e->flags & HD_EXPECT_SWALLOW) && hd_stock_retire(&v->preps, e->id))
            v->must_close = 1;
        else if (s && (e->flags & HD_EXPECT_CLOSED))
            hd_closed_name_undo(s, e->ref);
        break;
    case HD_EXPECT_LOCAL:
        if (s && e->seq)
            hd_names_undo(&s->names, t, e->seq);
        if (s && (e->flags & HD_EXPECT_CLOSED))
            hd_closed_name_undo(s, e->ref);
        break;
    case HD_EXPECT_EXECUTE:
    case HD_EXPECT_QUERY:
        if (e->ref && !(e->flags & HD_EXPECT_REPLACE))
            hd_stmt_fail(e->ref, sqlstate);
        break;
    default:
        break;
    }
    hd_server_forget(v, e);
}

/* After an ErrorResponse in the extended protocol the server skips everything up to the next Sync. */
static void skip_to_sync(struct hd_server *v, const char *sqlstate)
{
    struct hd_expects *q = &v->expects;

    uint32_t n = 0;

    while (n < q->count && hd_expects_at(q, n)->kind != HD_EXPECT_SYNC)
        n++;
    for (uint32_t i = n; i-- > 0;) /* the last first, so that what was there before stands in the end */
        undo(v, hd_expects_at(q, i), sqlstate, i == 0);
    while (n--)
        hd_expects_pop(q);
    v->skipping = !q->count;
}

static void note_error(struct hd_server *v, struct hd_expect *e, const struct hd_report *rep)
{
    if (e && e->ref && !(e->flags & HD_EXPECT_REPLACE) &&
        (e->kind == HD_EXPECT_QUERY || e->kind == HD_EXPECT_EXECUTE))
        hd_stmt_fail(e->ref, rep->code);
    if (!strcmp(rep->severity, "FATAL") || !strcmp(rep->severity, "PANIC")) {
        v->must_close = 1;
        v->relayed_fatal = 1;
    }
}

/* A statement that the server does not have any more, or a plan that it refuses from now on where that is not
 * the client's doing: none of its kind is used again. */
static void suspect_preps(struct hd_server *v, const struct hd_expect *head, const struct hd_report *rep)
{
    int stale = !strcmp(rep->code, "0A000") && (is_batch(head) || head->kind == HD_EXPECT_EXECUTE);
    int lost = !strcmp(rep->code, "26000") && hd_names_ours(rep->message);

    if ((stale || lost) && hd_stock_retire_all(&v->preps, v->w->all->preps, lost))
        v->must_close = 1;
}

/* An error in a statement of the host's own that must not fail: the session cannot go on. */
static void own_statement_failed(struct hd_server *v, const struct hd_report *rep)
{
    char text[512];

    snprintf(text, sizeof(text), "%s", rep->message);
    v->must_close = 1;
    if (v->session)
        hd_session_fatal(v->session, *rep->code ? rep->code : "XX000", text, NULL);
}

/* Its session is done with the server, and goes on with another: what the server says of itself is not for
 * that session. */
static int nobodys(const struct hd_server *v)
{
    return !v->expects.count && v->txn == HD_TXN_IDLE && v->session && hd_session_may_release(v->session);
}

/* What a Describe was to be about cannot be brought to the server. */
static void tell_parameters(struct hd_relay *r, const struct hd_frame *f, const struct hd_expect *head)
{
    struct hd_session *s = r->v->session;
    const struct hd_prep *p = hd_prepared_described(s, head);
    struct hd_buf *b = p ? hd_prepared_parameters(s, p) : NULL;

    if (b)
        hd_relay_instead(r, f, b);
    hd_buf_drop(b);
}

static enum hd_fate on_error(struct hd_relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_expect *head = hd_expects_head(&v->expects);
    enum hd_fate fate = HD_RELAY;
    struct hd_report rep;
    struct hd_buf *renamed, *excuse;
    char code[6];
    int batch;

    hd_report_parse(hd_frame_body(f), hd_frame_body_len(f), &rep);
    snprintf(code, sizeof(code), "%s", rep.code);
    note_error(v, head, &rep);
    if (!v->session && !strcmp(code, "57P05"))
        hd_pool_ended_idle(v);
    if (!head)
        return nobodys(v) ? HD_DROP : HD_RELAY; /* the server says why it ends */
    suspect_preps(v, head, &rep);
    batch = is_batch(head);
    if (v->session && strcmp(code, "25P02"))
        tell_parameters(r, f, head);
    if (head->flags & HD_EXPECT_REPLACE) {
        hd_relay_instead(r, f, head->ref);
        fate = HD_DROP;
    } else if (v->session && (renamed = hd_names_in_report(v->session, head->seq, f->data, f->total))) {
        hd_relay_instead(r, f, renamed);
        hd_buf_drop(renamed);
        fate = HD_DROP;
    } else if ((head->flags & HD_EXPECT_SWALLOW) && head->kind == HD_EXPECT_PARSE &&
               (head->flags & HD_EXPECT_TAKEN)) {
        if (hd_prepared_export_failed(v, f))
            fate = HD_DROP;
    } else if (v->session && v->session->excuses &&
               (head->kind == HD_EXPECT_QUERY || head->kind == HD_EXPECT_EXECUTE) &&
               (excuse = hd_prepared_excuse(v->session, &rep))) {
        hd_relay_instead(r, f, excuse);
        fate = HD_DROP;
    } else if ((head->flags & HD_EXPECT_SWALLOW) && head->kind == HD_EXPECT_QUERY) {
        if (head->flags & HD_EXPECT_MUST)
            own_statement_failed(v, &rep);
        fate = HD_DROP;
    }
    if (v->state == HD_SERVER_CLOSED)
        return fate; /* with its session, and the queue with it */
    if (head->flags & HD_EXPECT_FORGETS)
        v->drawn_for = UINT64_MAX; /* it has not forgotten */
    if (v->session && v->session->track)
        hd_track_failed(v->session);
    v->statement_error = 1;
    v->copy_in = 0;
    if (batch)
        skip_to_sync(v, code);
    return fate;
}

/* --- ends of commands --- */

/* Is this the last statement that was sent? */
static int nothing_behind(struct hd_server *v)
{
    for (uint32_t i = 1; i < v->expects.count; i++) {
        uint8_t kind = hd_expects_at(&v->expects, i)->kind;

        if (kind == HD_EXPECT_QUERY || kind == HD_EXPECT_EXECUTE || kind == HD_EXPECT_FUNCTION_CALL)
            return 0;
    }
    return 1;
}

/* Session state that a finished command took away. */
static void on_tag(struct hd_server *v, const char *tag)
{
    int all = !strcmp(tag, "DISCARD ALL");

    if (all || !strcmp(tag, "DISCARD SEQUENCES"))
        hd_sequence_discarded(v->session, v, nothing_behind(v));
    if (!all && strncmp(tag, "DEALLOCATE", 10))
        return;
    hd_prepared_sql_done(v, tag);
    if (!all)
        return;
    hd_restore_discarded(v->session, v);
    if (v->session)
        hd_track_discarded(v->session, nothing_behind(v));
}

/* Syncs that the server read while it copied in were ignored. */
static void drop_maybe_syncs(struct hd_server *v)
{
    struct hd_expects *q = &v->expects;

    while (q->count && hd_expects_head(q)->kind == HD_EXPECT_SYNC &&
           (hd_expects_head(q)->flags & HD_EXPECT_MAYBE))
        hd_expects_pop(q);
}

/* Tells the bus of a command that may have changed the schema or privileges, as its tag says. */
static void publish_ddl(struct hd_server *v, const char *tag)
{
    static const char *const words[] = {"CREATE ",  "ALTER ",  "DROP ",     "GRANT",     "REVOKE",  "COMMENT",
                                        "TRUNCATE", "IMPORT ", "SECURITY ", "REASSIGN ", "REFRESH "};
    struct hd_bus *bus = v->w->all->env.bus;
    struct hd_event_ddl ev = {.size = sizeof(ev)};
    int hit = 0;

    for (size_t i = 0; i < HD_ARRAY_LEN(words) && !hit; i++)
        hit = !strncmp(tag, words[i], strlen(words[i]));
    if (!hit || !bus || !hd_bus_wanted(bus, HD_BUS_DDL_OBSERVED))
        return;
    ev.session_id = v->session ? v->session->id : 0;
    snprintf(ev.tag, sizeof(ev.tag), "%s", tag);
    snprintf(ev.database, sizeof(ev.database), "%s", v->pool->database);
    hd_bus_publish(bus, HD_BUS_DDL_OBSERVED, &ev, sizeof(ev));
}

/* Tags of reads and row writes, which are nearly all: nothing more to look at. */
static int plain_tag(const char *tag)
{
    return !strncmp(tag, "SELECT", 6) || !strncmp(tag, "INSERT", 6) || !strncmp(tag, "UPDATE", 6) ||
           !strncmp(tag, "DELETE", 6);
}

static enum hd_fate on_command_complete(struct hd_relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_expect *head = hd_expects_head(&v->expects);
    const char *tag = (const char *)hd_frame_body(f);
    size_t len = hd_frame_body_len(f);

    v->copy_in = 0;
    if (!head || (head->kind != HD_EXPECT_EXECUTE && head->kind != HD_EXPECT_QUERY)) {
        v->broken = 1; /* nobody asked for that */
        return HD_RELAY;
    }
    if (len == 0 || tag[len - 1]) {
        v->broken = 1; /* not a string */
        tag = "";
        len = 1;
    }
    v->rolled_back = 0;
    if (!plain_tag(tag)) {
        v->rolled_back = !strcmp(tag, "ROLLBACK");
        if (v->session && v->session->txn == HD_TXN_FAILED && !strcmp(tag, "ROLLBACK"))
            v->session->txn = HD_TXN_BLOCK; /* until the server says which */
        on_tag(v, tag);
        publish_ddl(v, tag);
        hd_defined_tag(v, head->flags & HD_EXPECT_REPLACE ? NULL : head->ref, tag);
    }
    if (head->ref && !(head->flags & HD_EXPECT_REPLACE))
        hd_stmt_tag(head->ref, tag, len - 1);
    if (head->kind != HD_EXPECT_EXECUTE)
        return head->flags & HD_EXPECT_SWALLOW ? HD_DROP : HD_RELAY;
    {
        struct hd_expect e = hd_expects_pop(&v->expects);

        hd_server_forget(v, &e); /* completes the statement, before the client sees the end */
        drop_maybe_syncs(v);
        hd_relay_locals(r, f->data + f->here);
    }
    return HD_RELAY;
}

/* --- the rest --- */

/* COPY … FROM STDIN begins. What was sent behind the Execute is read in copy mode: Syncs there are ignored.
 */
static enum hd_fate on_copy_in(struct hd_relay *r)
{
    struct hd_server *v = r->v;
    struct hd_expects *q = &v->expects;
    struct hd_expect *head = hd_expects_head(q);

    v->copy_in = 1;
    if (!head || head->kind != HD_EXPECT_EXECUTE)
        return HD_RELAY;
    hd_expects_drop_syncs(q); /* the server answers none of them */
    if (v->session && q->count == 1)
        v->session->unsynced = 1; /* a Sync is still to come */
    return HD_RELAY;
}

static int take_reported(struct hd_session *s, const char *name, const char *value)
{
    struct hd_params *p = hd_params_with(s->params, name, value);

    if (!p)
        return HD_ENOMEM;
    hd_params_drop(s->params);
    s->params = p;
    return HD_OK;
}

static enum hd_fate on_parameter_status(struct hd_relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_session *s = v->session;
    struct hd_expect *head = hd_expects_head(&v->expects);
    const char *name, *value;
    struct hd_params *p;

    if (hd_parameter_status_parse(hd_frame_body(f), hd_frame_body_len(f), &name, &value))
        return HD_RELAY;
    p = hd_params_with(v->params, name, value);
    if (!p) { /* the session must not go on with a setting that is not its own */
        v->must_close = 1;
        if (s)
            hd_session_fatal(s, "53200", "out of memory", NULL);
        return HD_DROP;
    }
    hd_params_drop(v->params);
    v->params = p;
    if (head && (head->flags & HD_EXPECT_SWALLOW) && !(head->flags & HD_EXPECT_AHEAD))
        return HD_DROP; /* brought into step: the client knows this value */
    if (head && (head->flags & HD_EXPECT_FENCE))
        return HD_DROP; /* it may be changed back: the client is told what comes of it */
    if (s && take_reported(s, name, value)) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return HD_DROP;
    }
    return HD_RELAY;
}

static enum hd_fate on_ready(struct hd_relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_session *s = v->session;
    struct hd_expect e;
    int failed = v->statement_error;
    uint8_t txn = hd_frame_body(f)[0];

    if (!v->expects.count || is_batch(hd_expects_head(&v->expects))) {
        v->broken = 1; /* it answers what nobody asked: its count is not ours */
        return HD_RELAY;
    }
    e = hd_expects_pop(&v->expects);
    v->txn = txn;
    v->idle_ns = uv_now(&v->w->loop.uv) * 1000000;
    v->copy_in = 0;
    v->statement_error = 0;
    if (v->defines && txn == HD_TXN_IDLE)
        hd_defined_end(v);
    hd_server_forget(v, &e);
    if (s && (e.flags & HD_EXPECT_PROBE))
        hd_track_answered(s);
    else if (e.flags & HD_EXPECT_DEFAULTS)
        hd_defaults_answered(v);
    if (s && s->excuses && !(e.flags & HD_EXPECT_SWALLOW))
        hd_prepared_excuses_free(s); /* the text that they were for is over */
    if (s && (e.flags & (HD_EXPECT_FENCE | HD_EXPECT_RESTORE))) {
        s->txn = txn;
        hd_relay_flush(r, f->data); /* before the client is told of what has changed */
        e.flags = hd_restore_ready(s, &e, failed) ? HD_EXPECT_SWALLOW : 0;
        if (v->session != s)
            return HD_DROP; /* no memory: it has ended */
    }
    if (e.flags & HD_EXPECT_SWALLOW) {
        hd_relay_flush(r, f->data);
        r->run = f->data + f->here;
    } else if (s) {
        s->txn = txn;
        if (txn == HD_TXN_IDLE) {
            s->transactions++;
            v->pool->stats.transactions++;
            hd_extended_transaction_ended(s);
        }
    }
    hd_relay_locals(r, f->data + f->here);
    return HD_RELAY;
}

static void count_row(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->ref && !(head->flags & (HD_EXPECT_REPLACE | HD_EXPECT_SWALLOW)) && f->offset == 0 &&
        (head->kind == HD_EXPECT_EXECUTE || head->kind == HD_EXPECT_QUERY))
        hd_stmt_row(head->ref);
}

static enum hd_fate if_asked(struct hd_server *v)
{
    struct hd_expect *head = hd_expects_head(&v->expects);

    return head && (head->flags & HD_EXPECT_SWALLOW) ? HD_DROP : HD_RELAY;
}

/* Pops when the head is of this kind; a server that answers out of turn is not used again. */
static enum hd_fate answer_of(struct hd_relay *r, const struct hd_frame *f, enum hd_expect_kind kind)
{
    struct hd_expect *head = hd_expects_head(&r->v->expects);

    if (head && head->kind == kind)
        return pop(r, f);
    if (!head || head->kind != HD_EXPECT_QUERY)
        r->v->broken = 1;
    return if_asked(r->v);
}

/* An answer to what the host asked about a statement. */
static enum hd_fate on_asked(struct hd_relay *r, const struct hd_frame *f, struct hd_expect *head)
{
    struct hd_server *v = r->v;
    int ok = f->type == HD_MSG_PARAMETER_DESCRIPTION ? hd_ask_parameters(v, head->ref, f)
                                                     : hd_ask_rows(v, head->ref, head->seq, f);

    if (!ok) /* no memory: what it has is not known */
        v->must_close = 1;
    return f->type == HD_MSG_PARAMETER_DESCRIPTION ? HD_DROP : pop(r, f);
}

static enum hd_fate on_parse_complete(struct hd_relay *r, const struct hd_frame *f)
{
    const struct hd_expect *head = hd_expects_head(&r->v->expects);

    if (head && head->kind == HD_EXPECT_PARSE && !(head->flags & HD_EXPECT_UNNAMED) && head->id)
        hd_prepared_parsed(r->v, head->id, head->seq);
    return answer_of(r, f, HD_EXPECT_PARSE);
}

/* Decides about one message. Messages that are looked into are whole here. */
enum hd_fate hd_relay_message(struct hd_relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->kind == HD_EXPECT_ASK && hd_relay_asked(f->type))
        return on_asked(r, f, head);
    switch (f->type) {
    case HD_MSG_DATA_ROW:
        count_row(v, f);
        if (v->session && v->expects.count && (hd_expects_head(&v->expects)->flags & HD_EXPECT_PROBE))
            hd_track_answer(v->session, f);
        else if (v->expects.count && (hd_expects_head(&v->expects)->flags & HD_EXPECT_DEFAULTS))
            hd_defaults_row(v, f);
        return if_asked(v);
    case HD_MSG_READY_FOR_QUERY:
        return on_ready(r, f);
    case HD_MSG_COMMAND_COMPLETE:
        return on_command_complete(r, f);
    case HD_MSG_PARSE_COMPLETE:
        return on_parse_complete(r, f);
    case HD_MSG_BIND_COMPLETE:
        return answer_of(r, f, HD_EXPECT_BIND);
    case HD_MSG_CLOSE_COMPLETE:
        return answer_of(r, f, HD_EXPECT_CLOSE);
    case HD_MSG_ROW_DESCRIPTION:
    case HD_MSG_NO_DATA:
        if (f->offset + f->here < f->total)
            return if_asked(v); /* its end counts */
        return answer_of(r, f, HD_EXPECT_DESCRIBE);
    case HD_MSG_EMPTY_QUERY_RESPONSE:
    case HD_MSG_PORTAL_SUSPENDED:
        return answer_of(r, f, HD_EXPECT_EXECUTE);
    case HD_MSG_ERROR_RESPONSE:
        return on_error(r, f);
    case HD_MSG_NOTICE_RESPONSE:
        return nobodys(v) ? HD_DROP : if_asked(v);
    case HD_MSG_PARAMETER_STATUS:
        return on_parameter_status(r, f);
    case HD_MSG_COPY_IN_RESPONSE:
    case HD_MSG_COPY_BOTH_RESPONSE:
        return hd_frame_last(f) ? on_copy_in(r) : if_asked(v);
    default:
        return if_asked(v);
    }
}
