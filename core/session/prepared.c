/*
 * What a client has prepared, and bringing it to the server that it has at the moment; see prepared.h.
 */
#include "session/prepared_parts.h"

#include <string.h>

#include "base/alloc.h"
#include "session/forward.h"
#include "session/pool.h"
#include "session/server.h"
#include "wire/build.h"
#include "wire/read.h"

/* What RowDescription says of a column behind its name: table 4, column 2, type 4, length 2, modifier 4,
 * format 2. */
#define COLUMN_TABLE 6
#define COLUMN_TYPE  10
#define COLUMN_REST  2

struct hd_prep *hd_prepared_content(struct hd_session *s, const char *name)
{
    struct hd_name *n;

    if (!*name)
        return s->unnamed;
    n = hd_names_find(&s->names, name);
    return n && n->own != HD_NAME_OWN_TOO ? n->prep : NULL;
}

int hd_prepared_foreign(const char *name)
{
    return !strncmp(name, HD_PREP_PREFIX, sizeof(HD_PREP_PREFIX) - 1);
}

int hd_prepared_own(const struct hd_session *s)
{
    return (s->pins & (HD_PIN_MODE | HD_PIN_PREPARE | HD_PIN_PROTOCOL)) != 0;
}

void hd_prepared_pin(struct hd_session *s)
{
    s->pins &= ~HD_PIN_NAMES;
    for (uint32_t i = 0; i < s->names.count; i++)
        if (s->names.items[i].own)
            s->pins |= HD_PIN_NAMES;
}

/* --- closed names --- */

struct hd_closed_name *hd_closed_name_new(const struct hd_name *n)
{
    struct hd_closed_name *c = hd_malloc(sizeof(*c) + strlen(n->name) + 1);

    if (!c)
        return NULL;
    c->prep = hd_prep_hold(n->prep);
    c->rows = n->rows;
    c->id = n->id;
    c->seq = n->seq;
    c->own = n->own;
    strcpy(c->name, n->name);
    return c;
}

void hd_closed_name_free(struct hd_prep_table *t, struct hd_closed_name *c)
{
    if (!c)
        return;
    hd_prep_drop(t, c->prep);
    hd_free(c);
}

struct hd_closed_name *hd_closed_name_of_seq(struct hd_server *v, uint32_t seq)
{
    for (uint32_t i = 0; i < v->expects.count; i++) {
        const struct hd_expect *e = hd_expects_at(&v->expects, i);
        struct hd_closed_name *c = e->ref;

        if ((e->kind == HD_EXPECT_CLOSE || e->kind == HD_EXPECT_LOCAL) && (e->flags & HD_EXPECT_CLOSED) &&
            c->seq == seq)
            return c;
    }
    return NULL;
}

void hd_closed_name_undo(struct hd_session *s, const struct hd_closed_name *c)
{
    struct hd_name *n = hd_names_set(&s->names, hd_session_preps(s), c->name, hd_prep_hold(c->prep), c->seq);

    if (!n) {
        hd_prep_drop(hd_session_preps(s), c->prep);
        return;
    }
    n->rows = c->rows;
    n->id = c->id;
    n->own = c->own;
    hd_prepared_pin(s);
}

/* --- messages of the host's own --- */

int hd_prepared_inject(struct hd_server *v, struct hd_strbuf *sb, struct hd_expect e)
{
    int code = sb->failed ? HD_ENOMEM : hd_server_expect(v, e);

    if (code)
        hd_server_forget(v, &e);
    else
        code = hd_server_send_copy(v, sb->data, sb->len);
    if (code)
        v->must_close = 1;
    hd_strbuf_free(sb);
    return code;
}

int hd_prepared_send_parse(struct hd_server *v, const char *name, const uint8_t *body, uint32_t len,
                           struct hd_expect e)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    size_t name_len = strlen(name) + 1;
    uint8_t head[5] = {HD_MSG_PARSE};

    e.kind = HD_EXPECT_PARSE;
    hd_put_u32(head + 1, (uint32_t)(4 + name_len + len));
    hd_strbuf_add(&sb, head, sizeof(head));
    hd_strbuf_add(&sb, name, name_len);
    hd_strbuf_add(&sb, body, len);
    return hd_prepared_inject(v, &sb, e);
}

static int send_close(struct hd_server *v, uint64_t id)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    char name[HD_PREP_NAME];

    hd_prep_name(id, name);
    (void)hd_build_close(&b, HD_TARGET_STATEMENT, name);
    return hd_prepared_inject(
        v, &sb, (struct hd_expect){.kind = HD_EXPECT_CLOSE, .flags = HD_EXPECT_SWALLOW, .id = id});
}

int hd_prepared_send_ask(struct hd_session *s, const char *name, struct hd_ask what, uint32_t seq)
{
    struct hd_expect e = {.kind = HD_EXPECT_ASK, .flags = HD_EXPECT_SWALLOW, .seq = seq};
    struct hd_ask *a = hd_malloc(sizeof(*a));
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    if (!a)
        return HD_ENOMEM;
    *a = what;
    hd_prep_hold(a->prep);
    e.ref = a;
    (void)hd_build_describe(&b, HD_TARGET_STATEMENT, name); /* inject sees that it failed */
    return hd_prepared_inject(s->server, &sb, e);
}

/* Closes there what is not used any more. Only in front of a Parse: behind an Execute it might come into a
 * copy. */
static int tidy(struct hd_session *s)
{
    struct hd_stock *stock = &s->server->preps;

    while (stock->retired_count) {
        uint64_t id = stock->retired[--stock->retired_count];

        if (send_close(s->server, id))
            return HD_ENOMEM;
    }
    return HD_OK;
}

/* Makes room for one more statement on the server. */
static int make_room(struct hd_session *s)
{
    struct hd_server *v = s->server;
    int64_t max = v->pool->conf->max_prepared_statements;

    while (v->preps.count && (int64_t)v->preps.count >= max) {
        struct hd_stocked *e = hd_stock_oldest(&v->preps);

        if (hd_stock_retire(&v->preps, e->id))
            return HD_ENOMEM;
        hd_stock_remove(&v->preps, hd_session_preps(s), e);
    }
    return tidy(s);
}

/* A new statement on the server, of the name's content. `seq`: the client is to have the answer. */
static int add_there(struct hd_session *s, struct hd_name *n, unsigned flags, uint32_t seq, uint64_t rows)
{
    struct hd_expect e = {.flags = (uint8_t)flags, .seq = seq};
    char name[HD_PREP_NAME];
    int code = make_room(s);

    s->unsynced++;
    s->renaming = 1;
    n->id = e.id = hd_prep_new_id(hd_session_preps(s));
    hd_prep_name(n->id, name);
    if (!code)
        code = hd_stock_add(&s->server->preps, n->prep, n->id, rows);
    if (!code)
        code = hd_prepared_send_parse(s->server, name, n->prep->body, n->prep->len, e);
    if (!code && rows == HD_ROWS_UNKNOWN)
        code = hd_prepared_send_ask(s, name, (struct hd_ask){.prep = n->prep, .id = n->id}, n->seq);
    return code;
}

int hd_prepared_parse(struct hd_session *s, struct hd_name *n)
{
    return add_there(s, n, 0, n->seq, n->rows);
}

int hd_prepared_parse_taken(struct hd_session *s, const struct hd_name *n, const uint8_t *body, uint32_t len)
{
    static const uint8_t empty[] = {0, 0, 0};
    struct hd_server *v = s->server;
    uint64_t id = hd_prep_new_id(hd_session_preps(s));
    struct hd_expect e = {.flags = HD_EXPECT_SWALLOW, .id = id};
    char name[HD_PREP_NAME];

    s->unsynced++;
    hd_prep_name(id, name);
    if (hd_stock_retire(&v->preps, id) || hd_prepared_send_parse(v, name, empty, sizeof(empty), e))
        return HD_ENOMEM;
    e.flags = HD_EXPECT_TAKEN;
    e.seq = n->seq;
    return hd_prepared_send_parse(v, name, body, len, e);
}

int hd_prepared_export(struct hd_session *s, struct hd_name *n, int empty)
{
    static const uint8_t nothing[] = {0, 0, 0};
    const struct hd_expect e = {.flags = HD_EXPECT_SWALLOW | HD_EXPECT_TAKEN, .seq = n->seq};
    int code = hd_prepared_send_parse(s->server, n->name, empty ? nothing : n->prep->body,
                                      empty ? sizeof(nothing) : n->prep->len, e);

    n->own = empty ? HD_NAME_EMPTY : HD_NAME_OWN;
    hd_prepared_pin(s);
    if (!code && !empty && n->rows > HD_ROWS_NONE)
        code =
            hd_prepared_send_ask(s, n->name, (struct hd_ask){.prep = n->prep, .expected = n->rows}, n->seq);
    return code;
}

int hd_prepared_unexport(struct hd_session *s, struct hd_name *n)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    n->own = HD_NAME_SHARED;
    s->renaming = 1;
    hd_prepared_pin(s);
    (void)hd_build_close(&b, HD_TARGET_STATEMENT, n->name);
    if (hd_prepared_inject(
            s->server, &sb,
            (struct hd_expect){.kind = HD_EXPECT_CLOSE, .flags = HD_EXPECT_SWALLOW, .seq = n->seq}))
        return HD_ENOMEM;
    return s->unsynced ? HD_OK : hd_server_inject_sync(s->server);
}

struct hd_buf *hd_prepared_parameters(struct hd_session *s, const struct hd_prep *p)
{
    uint32_t len = p->len - p->sql_len - 1;
    struct hd_buf *b = hd_buf_new(&s->w->io.bufs, HD_MSG_HEAD + len);

    if (!b)
        return NULL;
    b->data[0] = HD_MSG_PARAMETER_DESCRIPTION;
    hd_put_u32(b->data + 1, 4 + len);
    memcpy(b->data + HD_MSG_HEAD, p->body + p->sql_len + 1, len);
    b->len = HD_MSG_HEAD + len;
    return b;
}

const struct hd_prep *hd_prepared_described(const struct hd_session *s, const struct hd_expect *e)
{
    if (e->kind != HD_EXPECT_PARSE || !(e->flags & HD_EXPECT_SWALLOW) || !(e->flags & HD_EXPECT_DESCRIBES))
        return NULL;
    if (e->flags & HD_EXPECT_UNNAMED)
        return s->unnamed;
    for (uint32_t i = 0; i < s->names.count; i++)
        if (s->names.items[i].id == e->id)
            return s->names.items[i].prep;
    return NULL;
}

/* Is it still to be heard whether the transaction has failed, or whether one that has is over? */
static int txn_in_doubt(const struct hd_session *s)
{
    struct hd_expects *q = &s->server->expects;

    for (uint32_t i = 0; i < q->count && s->txn != HD_TXN_IDLE; i++) {
        uint8_t kind = hd_expects_at(q, i)->kind;

        if (kind == HD_EXPECT_SYNC || kind == HD_EXPECT_QUERY ||
            (kind == HD_EXPECT_EXECUTE && s->txn == HD_TXN_FAILED))
            return 1;
    }
    return 0;
}

/* In a transaction that has failed PostgreSQL parses nothing, but looks at the parameters of what it has, and
 * tells them. So there is a statement with the same that does nothing. */
static enum hd_ready stand_in(struct hd_session *s, const struct hd_name *n, uint64_t *id)
{
    struct hd_server *v = s->server;
    const struct hd_prep *p = n->prep;
    char name[HD_PREP_NAME];

    *id = hd_prep_new_id(hd_session_preps(s));
    hd_prep_name(*id, name);
    if (hd_stock_retire(&v->preps, *id) ||
        hd_prepared_send_parse(v, name, p->body + p->sql_len, p->len - p->sql_len,
                               (struct hd_expect){.flags = HD_EXPECT_SWALLOW, .id = *id}))
        return HD_READY_ENOMEM;
    return HD_READY;
}

enum hd_ready hd_prepared_ready(struct hd_session *s, struct hd_name *n, int describe, uint64_t *id)
{
    struct hd_server *v = s->server;
    struct hd_stocked *e = hd_stock_find(&v->preps, n->prep, n->id, n->rows);
    uint64_t rows = n->rows > HD_ROWS_NONE ? HD_ROWS_UNKNOWN : n->rows;

    if (!e && txn_in_doubt(s))
        return hd_wait_for_replies(s) ? HD_READY_ENOMEM : HD_READY_LATER;
    if (!e && s->txn == HD_TXN_FAILED && (n->rows == HD_ROWS_NONE || (!describe && n->rows > HD_ROWS_NONE)))
        return stand_in(s, n, id);
    if (!e) {
        if (add_there(s, n, HD_EXPECT_SWALLOW | (describe ? HD_EXPECT_DESCRIBES : 0u), 0, rows))
            return HD_READY_ENOMEM;
        e = hd_stock_find(&v->preps, n->prep, n->id, n->rows);
    }
    if (e->rows == HD_ROWS_UNKNOWN && n->rows != HD_ROWS_UNKNOWN)
        return hd_wait_for_replies(s) ? HD_READY_ENOMEM : HD_READY_LATER;
    if (e->rows != n->rows && n->rows != HD_ROWS_UNKNOWN && s->txn != HD_TXN_FAILED) {
        n->id = 0; /* what was dropped may come back: the next use looks anew */
        return HD_READY_STALE;
    }
    hd_stock_touch(&v->preps, e);
    *id = e->id;
    return HD_READY;
}

/* --- what was asked --- */

void hd_ask_free(struct hd_prep_table *t, struct hd_ask *a)
{
    if (!a)
        return;
    hd_prep_drop(t, a->prep);
    hd_prep_drop(t, a->resolved);
    hd_free(a);
}

int hd_ask_parameters(struct hd_server *v, struct hd_ask *a, const struct hd_frame *f)
{
    const uint8_t *types = hd_frame_body(f);
    size_t len = hd_frame_body_len(f), sql = a->prep->sql_len + 1;
    struct hd_strbuf sb = HD_STRBUF_INIT;

    if (a->prep->len == sql + len && !memcmp(a->prep->body + sql, types, len)) {
        a->resolved = hd_prep_hold(a->prep);
        return 1;
    }
    hd_strbuf_add(&sb, a->prep->body, sql);
    hd_strbuf_add(&sb, types, len);
    if (!sb.failed)
        a->resolved =
            hd_prep_get(v->w->all->preps, (const uint8_t *)sb.data, (uint32_t)sb.len, a->prep->sql_len);
    hd_strbuf_free(&sb);
    return a->resolved != NULL;
}

/* Names and types, without which table a column is of: PostgreSQL does not mind when that changes. The same
 * in every process, for clients may move to another. 0: no memory. */
static uint64_t rows_of(const struct hd_frame *f)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    struct hd_strbuf sb = HD_STRBUF_INIT;
    uint64_t rows = HD_ROWS_UNKNOWN;

    if (f->type == HD_MSG_NO_DATA)
        return HD_ROWS_NONE;
    for (uint16_t n = hd_read_u16(&r); n && !r.failed; n--) {
        size_t len;
        const char *name = hd_read_cstr(&r, &len);
        const uint8_t *type;

        hd_read_bytes(&r, COLUMN_TABLE);
        type = hd_read_bytes(&r, COLUMN_TYPE);
        hd_read_bytes(&r, COLUMN_REST);
        if (r.failed)
            break;
        hd_strbuf_add(&sb, name, len + 1);
        hd_strbuf_add(&sb, type, COLUMN_TYPE);
    }
    if (!sb.failed)
        rows = hd_fingerprint64(sb.data ? sb.data : "", sb.len);
    if (!sb.failed && rows <= HD_ROWS_NONE)
        rows += HD_ROWS_NONE + 1;
    hd_strbuf_free(&sb);
    return rows;
}

/* Two that do the same: the older one stays, since PostgreSQL may have a plan for it. */
static uint64_t keep_older(struct hd_server *v, struct hd_stocked *e)
{
    struct hd_stocked *twin = hd_stock_twin(&v->preps, e);

    if (!twin)
        return e->id;
    if (hd_stock_retire(&v->preps, e->id))
        v->must_close = 1;
    hd_stock_remove(&v->preps, v->w->all->preps, e);
    return twin->id;
}

/* The same for a name that is closed, should the Close be skipped. */
static void tell_closed(struct hd_server *v, uint32_t seq, const struct hd_ask *a, uint64_t id, uint64_t rows)
{
    struct hd_closed_name *c = seq ? hd_closed_name_of_seq(v, seq) : NULL;
    struct hd_prep *old;

    if (!c)
        return;
    if (c->rows == HD_ROWS_UNKNOWN) {
        old = c->prep;
        c->prep = hd_prep_hold(a->resolved);
        c->rows = rows;
        hd_prep_drop(v->w->all->preps, old);
    }
    if (c->id == a->id)
        c->id = id;
}

int hd_ask_rows(struct hd_server *v, struct hd_ask *a, uint32_t seq, const struct hd_frame *f)
{
    struct hd_name *n = v->session && seq && !a->unnamed ? hd_names_of_seq(&v->session->names, seq) : NULL;
    struct hd_stocked *e = hd_stock_find(&v->preps, a->prep, a->id, HD_ROWS_UNKNOWN);
    struct hd_prep_table *t = v->w->all->preps;
    uint64_t rows = rows_of(f), id = a->id;

    if (rows == HD_ROWS_UNKNOWN || !a->resolved)
        return 0;
    if (a->unnamed) {
        hd_unnamed_rows(v, a, seq, rows);
        return 1;
    }
    if (a->expected)
        return rows == a->expected || !v->session || !hd_prepared_changed(v->session, seq);
    if (e && e->id == a->id) {
        hd_stock_resolve(&v->preps, t, e, a->resolved, rows);
        id = keep_older(v, e);
    }
    if (n && n->rows == HD_ROWS_UNKNOWN) {
        hd_names_resolve(&v->session->names, t, n, a->resolved);
        n->rows = rows;
    }
    if (n && n->id == a->id)
        n->id = id;
    if (!n)
        tell_closed(v, seq, a, id, rows);
    return 1;
}

void hd_prepared_parsed(struct hd_server *v, uint64_t id, uint32_t seq)
{
    struct hd_name *n = v->session && seq ? hd_names_of_seq(&v->session->names, seq) : NULL;
    struct hd_stocked *e = n ? hd_stock_find(&v->preps, n->prep, id, HD_ROWS_UNKNOWN) : NULL;

    if (e && e->id == id && e->rows != HD_ROWS_UNKNOWN)
        n->id = keep_older(v, e);
}
