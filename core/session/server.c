/*
 * Server connections; see server.h. Answers are relayed as runs: messages that follow each other in the
 * receive buffer leave as one slice, cut only where the host keeps a message to itself or puts one of its own
 * in between.
 */
#include "session/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "io/tls.h"
#include "plug/bus.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/extended.h"
#include "session/names.h"
#include "session/pool.h"
#include "session/statement.h"
#include "wire/build.h"
#include "wire/describe.h"

/* A message that has to be read whole, and is longer, is no message of a sane server. */
#define GATHER_MAX (1024 * 1024)
/* So much of answers that nobody waits for is read to keep the connection. */
#define ORPHAN_MAX (1024 * 1024)

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len);
static void on_drained(struct hd_link *l);
static void on_end(struct hd_link *l, int error);

static const struct hd_link_ops server_ops = {on_data, on_drained, on_end};

/* One buffer's worth of answers on their way to the client. */
struct relay {
    struct hd_server *v;
    const uint8_t *run; /* from here on nothing was relayed yet */
};

enum fate { RELAY, DROP };

static struct hd_server *server_of(struct hd_link *l)
{
    struct hd_server *v = HD_CONTAINER_OF(l, struct hd_server, link);

    HD_ASSERT(v->magic == HD_SERVER_MAGIC);
    return v;
}

/* --- birth -------------------------------------------------------------------------------------------------
 */

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

static struct hd_params *read_params(struct hd_worker *w, PGconn *pg)
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

struct hd_server *hd_server_new(struct hd_pool *pool, PGconn *pg)
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
    v->txn = HD_TXN_IDLE;
    hd_list_init(&v->node);
    hd_expects_init(&v->expects);
    hd_server_preps_init(&v->preps);
    hd_frame_scan_init(&v->scan, hd_frame_backend);
    v->connected_ns = v->idle_ns = hd_now_ns();
    v->params = read_params(w, pg);
    if (!v->params)
        goto fail;
    if (PQsslInUse(pg) && !(tls = hd_tls_adopt(PQgetssl(pg))))
        goto fail;
    if (hd_link_init(&v->link, &w->io, PQsocket(pg), &server_ops))
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

/* --- sending -----------------------------------------------------------------------------------------------
 */

int hd_server_expect(struct hd_server *v, struct hd_expect e)
{
    return hd_expects_push(&v->expects, e);
}

int hd_server_send_copy(struct hd_server *v, const void *bytes, size_t len)
{
    return hd_link_send_copy(&v->link, bytes, len);
}

int hd_server_inject_query(struct hd_server *v, const char *sql, size_t len, unsigned flags)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code = hd_build_query(&b, sql, len);

    hd_prep_drop(v->w->all->preps, v->unnamed); /* a Query ends the unnamed statement */
    v->unnamed = NULL;
    if (!code)
        code = hd_server_expect(
            v, (struct hd_expect){.kind = HD_EXPECT_QUERY, .flags = (uint8_t)(flags | HD_EXPECT_SWALLOW)});
    if (!code)
        code = hd_server_send_copy(v, sb.data, sb.len);
    hd_strbuf_free(&sb);
    return code;
}

/* --- giving up entries -------------------------------------------------------------------------------------
 */

void hd_server_forget(struct hd_server *v, struct hd_expect *e)
{
    struct hd_prep_table *t = v->w->all->preps;

    switch (e->kind) {
    case HD_EXPECT_PARSE:
    case HD_EXPECT_CLOSE:
        hd_prep_drop(t, e->ref);
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

/* An entry that the server skipped or failed: what was taken for granted when it was sent is taken back. */
static void undo(struct hd_server *v, struct hd_expect *e, const char *sqlstate)
{
    struct hd_session *s = v->session;
    struct hd_prep_table *t = v->w->all->preps;

    switch (e->kind) {
    case HD_EXPECT_PARSE:
        if (e->flags & HD_EXPECT_UNNAMED)
            hd_extended_unnamed_lost(s, v);
        else if (e->ref) /* NULL: forwarded as it came, under a name that is not ours */
            hd_server_preps_remove(&v->preps, t, e->ref);
        if (s && e->seq)
            hd_names_undo(&s->names, t, e->seq);
        break;
    case HD_EXPECT_CLOSE: /* the statement is still there */
        if (e->ref && hd_server_preps_add(&v->preps, e->ref))
            v->must_close = 1;
        break;
    case HD_EXPECT_LOCAL:
        if (s && e->seq)
            hd_names_undo(&s->names, t, e->seq);
        if (s && (e->flags & HD_EXPECT_CLOSED))
            hd_extended_unclose(s, e->ref);
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

/* --- relaying ----------------------------------------------------------------------------------------------
 */

static void client_out_of_memory(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
}

/* Sends the run up to `to`, and begins the next there. */
static void flush_run(struct relay *r, const uint8_t *to)
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
static void emit_locals(struct relay *r, const uint8_t *at)
{
    struct hd_expects *q = &r->v->expects;

    while (q->count && hd_expects_head(q)->kind == HD_EXPECT_LOCAL) {
        struct hd_expect e = hd_expects_pop(q);

        flush_run(r, at);
        send_local(r->v->session, &e);
        hd_server_forget(r->v, &e);
    }
}

static enum fate pop(struct relay *r, const struct hd_frame *f)
{
    struct hd_expect e = hd_expects_pop(&r->v->expects);
    enum fate fate = e.flags & HD_EXPECT_SWALLOW ? DROP : RELAY;

    hd_server_forget(r->v, &e);
    if (fate == DROP) {
        flush_run(r, f->data);
        r->run = f->data + f->here;
    }
    emit_locals(r, f->data + f->here);
    return RELAY; /* the run has been cut already */
}

/* After an ErrorResponse in the extended protocol the server skips everything up to the next Sync. */
static void skip_to_sync(struct hd_server *v, const char *sqlstate)
{
    struct hd_expects *q = &v->expects;

    uint32_t n = 0;

    while (n < q->count && hd_expects_at(q, n)->kind != HD_EXPECT_SYNC)
        n++;
    for (uint32_t i = n; i-- > 0;) /* the last first, so that what was there before stands in the end */
        undo(v, hd_expects_at(q, i), sqlstate);
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

static int is_batch(const struct hd_expect *e)
{
    return e->kind >= HD_EXPECT_PARSE && e->kind <= HD_EXPECT_CLOSE;
}

/* A plan that the server refuses from now on, or a statement that it does not have any more: whatever it has
 * is prepared anew before its next use. */
static void suspect_preps(struct hd_server *v, const struct hd_expect *head, const struct hd_report *rep)
{
    int stale = !strcmp(rep->code, "0A000") && (is_batch(head) || head->kind == HD_EXPECT_EXECUTE);

    if (stale || (!strcmp(rep->code, "26000") && hd_names_ours(rep->message)))
        hd_server_preps_expire(&v->preps);
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

/* The client reads this instead of the server's message. */
static void say_instead(struct relay *r, const struct hd_frame *f, struct hd_buf *b)
{
    struct hd_session *s = r->v->session;

    flush_run(r, f->data);
    if (s && hd_link_send(&s->link, b, b->data, b->len))
        client_out_of_memory(s);
}

static enum fate on_error(struct relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_expect *head = hd_expects_head(&v->expects);
    enum fate fate = RELAY;
    struct hd_report rep;
    struct hd_buf *renamed;
    char code[6];
    int batch;

    hd_report_parse(hd_frame_body(f), hd_frame_body_len(f), &rep);
    snprintf(code, sizeof(code), "%s", rep.code);
    note_error(v, head, &rep);
    if (!head)
        return RELAY; /* the server says why it ends */
    suspect_preps(v, head, &rep);
    batch = is_batch(head);
    if (head->flags & HD_EXPECT_REPLACE) {
        say_instead(r, f, head->ref);
        fate = DROP;
    } else if (v->session && (renamed = hd_names_in_report(v->session, f->data, f->total))) {
        say_instead(r, f, renamed);
        hd_buf_drop(renamed);
        fate = DROP;
    } else if ((head->flags & HD_EXPECT_SWALLOW) && head->kind == HD_EXPECT_QUERY) {
        if (head->flags & HD_EXPECT_MUST)
            own_statement_failed(v, &rep);
        fate = DROP;
    }
    if (v->state == HD_SERVER_CLOSED)
        return fate; /* with its session, and the queue with it */
    v->statement_error = 1;
    v->copy_in = 0;
    if (batch)
        skip_to_sync(v, code);
    return fate;
}

/* After DISCARD ALL: settings that the server does not report are its own again. A session whose startup
 * packet had others gets them back with its next server. */
static void forget_unreported(struct hd_server *v)
{
    struct hd_params *p = hd_params_reported(v->params);

    if (p) {
        hd_params_drop(v->params);
        v->params = p;
    } else {
        v->must_close = 1;
    }
}

/* Session state that a finished command took away. */
static void on_tag(struct hd_server *v, const char *tag)
{
    struct hd_session *s = v->session;
    struct hd_prep_table *t = v->w->all->preps;
    int all = !strcmp(tag, "DISCARD ALL");

    if (!all && strcmp(tag, "DEALLOCATE ALL"))
        return;
    hd_server_preps_clear(&v->preps, t);
    if (all)
        hd_extended_unnamed_lost(s, v);
    if (all)
        forget_unreported(v);
    if (!s)
        return;
    hd_names_clear(&s->names, t);
    if (all)
        s->pins &= HD_PIN_MODE | HD_PIN_UNSURE | HD_PIN_PROTOCOL;
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

static enum fate on_command_complete(struct relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_expect *head = hd_expects_head(&v->expects);
    const char *tag = (const char *)hd_frame_body(f);

    v->copy_in = 0;
    if (!head || (head->kind != HD_EXPECT_EXECUTE && head->kind != HD_EXPECT_QUERY)) {
        v->broken = 1; /* nobody asked for that */
        return RELAY;
    }
    if (hd_frame_body_len(f) == 0 || tag[hd_frame_body_len(f) - 1]) {
        v->broken = 1; /* not a string */
        tag = "";
    }
    if (!plain_tag(tag)) {
        on_tag(v, tag);
        publish_ddl(v, tag);
    }
    if (head->ref && !(head->flags & HD_EXPECT_REPLACE))
        hd_stmt_tag(head->ref, tag);
    if (head->kind != HD_EXPECT_EXECUTE)
        return head->flags & HD_EXPECT_SWALLOW ? DROP : RELAY;
    {
        struct hd_expect e = hd_expects_pop(&v->expects);

        hd_server_forget(v, &e); /* completes the statement, before the client sees the end */
        drop_maybe_syncs(v);
        emit_locals(r, f->data + f->here);
    }
    return RELAY;
}

/* COPY … FROM STDIN begins. What was sent behind the Execute is read in copy mode: Syncs there are ignored.
 */
static enum fate on_copy_in(struct relay *r)
{
    struct hd_server *v = r->v;
    struct hd_expects *q = &v->expects;
    struct hd_expect *head = hd_expects_head(q);

    v->copy_in = 1;
    if (!head || head->kind != HD_EXPECT_EXECUTE)
        return RELAY;
    hd_expects_drop_syncs(q); /* the server answers none of them */
    if (v->session && q->count == 1)
        v->session->unsynced = 1; /* a Sync is still to come */
    return RELAY;
}

static enum fate on_parameter_status(struct relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_session *s = v->session;
    struct hd_expect *head = hd_expects_head(&v->expects);
    const char *name, *value;
    struct hd_params *p;

    if (hd_parameter_status_parse(hd_frame_body(f), hd_frame_body_len(f), &name, &value))
        return RELAY;
    p = hd_params_with(v->params, name, value);
    if (!p) {
        v->must_close = 1;
        return RELAY;
    }
    hd_params_drop(v->params);
    v->params = p;
    if (head && (head->flags & HD_EXPECT_SWALLOW))
        return DROP; /* brought into step: the client knows this value */
    if (s) {
        hd_params_drop(s->params);
        s->params = hd_params_hold(p);
    }
    return RELAY;
}

static enum fate on_ready(struct relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;
    struct hd_session *s = v->session;
    struct hd_expect e;
    uint8_t txn = hd_frame_body(f)[0];

    if (!v->expects.count || is_batch(hd_expects_head(&v->expects))) {
        v->broken = 1; /* it answers what nobody asked: its count is not ours */
        return RELAY;
    }
    e = hd_expects_pop(&v->expects);
    v->txn = txn;
    v->idle_ns = uv_now(&v->w->loop.uv) * 1000000;
    v->copy_in = 0;
    v->statement_error = 0;
    hd_server_forget(v, &e);
    if (e.flags & HD_EXPECT_SWALLOW) {
        flush_run(r, f->data);
        r->run = f->data + f->here;
    } else if (s) {
        s->txn = txn;
        if (txn == HD_TXN_IDLE) {
            s->transactions++;
            v->pool->stats.transactions++;
            hd_extended_transaction_ended(s);
        }
    }
    emit_locals(r, f->data + f->here);
    return RELAY;
}

static void count_row(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->ref && !(head->flags & (HD_EXPECT_REPLACE | HD_EXPECT_SWALLOW)) && f->offset == 0 &&
        (head->kind == HD_EXPECT_EXECUTE || head->kind == HD_EXPECT_QUERY))
        hd_stmt_row(head->ref);
}

static enum fate if_asked(struct hd_server *v)
{
    struct hd_expect *head = hd_expects_head(&v->expects);

    return head && (head->flags & HD_EXPECT_SWALLOW) ? DROP : RELAY;
}

/* Pops when the head is of this kind; a server that answers out of turn is not used again. */
static enum fate answer_of(struct relay *r, const struct hd_frame *f, enum hd_expect_kind kind)
{
    struct hd_expect *head = hd_expects_head(&r->v->expects);

    if (head && head->kind == kind)
        return pop(r, f);
    if (!head || head->kind != HD_EXPECT_QUERY)
        r->v->broken = 1;
    return if_asked(r->v);
}

/* The head of what is owed was prepared. */
static void note_proven(struct hd_server *v)
{
    const struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->kind == HD_EXPECT_PARSE && head->ref && !(head->flags & HD_EXPECT_UNNAMED))
        atomic_store_explicit(&((struct hd_prep *)head->ref)->proven, v->pool->shared, memory_order_relaxed);
}

/* Decides about one message. Messages that are looked into are whole here. */
static enum fate on_message(struct relay *r, const struct hd_frame *f)
{
    struct hd_server *v = r->v;

    switch (f->type) {
    case HD_MSG_DATA_ROW:
        count_row(v, f);
        return if_asked(v);
    case HD_MSG_READY_FOR_QUERY:
        return on_ready(r, f);
    case HD_MSG_COMMAND_COMPLETE:
        return on_command_complete(r, f);
    case HD_MSG_PARSE_COMPLETE:
        note_proven(v);
        return answer_of(r, f, HD_EXPECT_PARSE);
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
    case HD_MSG_PARAMETER_STATUS:
        return on_parameter_status(r, f);
    case HD_MSG_COPY_IN_RESPONSE:
    case HD_MSG_COPY_BOTH_RESPONSE:
        return hd_frame_last(f) ? on_copy_in(r) : if_asked(v);
    default:
        return if_asked(v);
    }
}

static int looked_into(uint8_t type)
{
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
    else if (released(v))
        hd_session_release(v->session);
    else if (v->state == HD_SERVER_CLEANING && !v->expects.count)
        hd_pool_cleaned(v);
    else if (v->session && v->session->paused_by_server && v->expects.count < HD_EXPECT_MAX / 2)
        hd_session_unpause(v->session);
}

/* The answer's bytes that filters want to see; counted where they do not. */
static void show_bytes(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_expect *head = hd_expects_head(&v->expects);

    if (head && head->ref && (head->kind == HD_EXPECT_EXECUTE || head->kind == HD_EXPECT_QUERY) &&
        !(head->flags & (HD_EXPECT_REPLACE | HD_EXPECT_SWALLOW)))
        hd_stmt_bytes(head->ref, f->data, f->here);
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

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct hd_server *v = server_of(l);
    const uint8_t *p = data, *end = data + len;
    struct relay r = {v, data};
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
        if (!hd_frame_whole(&f) && f.offset == 0 && (looked_into(f.type) || f.total <= HD_BUF_STANDARD)) {
            if (f.total > GATHER_MAX) {
                code = HD_EPROTO;
                break;
            }
            l->want = f.total;
            break;
        }
        show_bytes(v, &f);
        if (on_message(&r, &f) == DROP) {
            flush_run(&r, p);
            r.run = p + f.here;
        }
        hd_frame_take(&v->scan, &f, f.here);
        p += f.here;
    }
    if (code == HD_EPROTO && v->state != HD_SERVER_CLOSED) {
        flush_run(&r, p);
        broken(v, p, (size_t)(end - p));
        return len;
    }
    if (v->state == HD_SERVER_CLOSED)
        return len;
    flush_run(&r, p);
    v->relay_buf = NULL;
    if (v->session && v->session->link.high && !v->paused_by_client) {
        v->paused_by_client = 1;
        hd_link_pause(l);
    }
    hd_server_settle(v);
    return (size_t)(p - data);
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

/* --- leaving a session, and the end ------------------------------------------------------------------------
 */

void hd_server_orphan(struct hd_server *v)
{
    for (uint32_t i = 0; i < v->expects.count; i++) {
        struct hd_expect *e = hd_expects_at(&v->expects, i);

        if (e->kind != HD_EXPECT_EXECUTE && e->kind != HD_EXPECT_QUERY)
            continue;
        if (!(e->flags & HD_EXPECT_REPLACE) && e->ref)
            hd_stmt_fail(e->ref, "08006");
        hd_server_forget(v, e);
        e->flags &= (uint8_t)~HD_EXPECT_REPLACE;
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
    s->server = NULL;
    v->session = NULL;
    v->skipping = 0;
    if (v->paused_by_client) {
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
    hd_pool_remove(v); /* sets the state */
    if (s) {
        s->server = NULL;
        v->session = NULL;
    }
    while (v->expects.count) {
        struct hd_expect e = hd_expects_pop(&v->expects);

        if (e.ref && (e.kind == HD_EXPECT_EXECUTE || e.kind == HD_EXPECT_QUERY) &&
            !(e.flags & HD_EXPECT_REPLACE))
            hd_stmt_fail(e.ref, "08006");
        hd_server_forget(v, &e);
    }
    hd_expects_free(&v->expects);
    hd_server_preps_clear(&v->preps, t);
    hd_prep_drop(t, v->unnamed);
    v->unnamed = NULL;
    hd_params_drop(v->params);
    v->params = NULL;
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

/* --- moving to another worker ------------------------------------------------------------------------------
 */

struct hd_server_move {
    struct hd_post announce, post;
    struct hd_server *v;
    struct hd_pool *to;
    struct hd_params_copy *params;
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
    m->announce.fn = on_announced;
    m->v = v;
    m->to = to;
    m->announced = announced;
    m->moved = moved;
    hd_params_drop(v->params);
    v->params = NULL;
    v->w->moving++;
    v->moving = m; /* carried until the link has left this loop */
    hd_loop_post(&to->w->loop, &m->announce);
    hd_link_detach(&v->link, on_detached);
    return HD_OK;
}
