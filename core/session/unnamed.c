/*
 * The unnamed statement: a client has its own, a server one that may be another client's; see prepared.h.
 *
 * Most clients bind it in the batch that parses it, and never again. Of one that was only parsed when its
 * batch ends the host asks what rows it gives, so that it can be compared with what another server makes of
 * it.
 */
#include "base/alloc.h"
#include "session/forward.h"
#include "session/prepared_parts.h"
#include "session/server.h"
#include "wire/build.h"

static void set_unnamed(struct hd_prep_table *t, struct hd_prep **slot, struct hd_prep *p)
{
    struct hd_prep *old = *slot;

    *slot = p ? hd_prep_hold(p) : NULL;
    hd_prep_drop(t, old);
}

static void set_clients_unnamed(struct hd_session *s, struct hd_prep *p)
{
    set_unnamed(hd_session_preps(s), &s->unnamed, p);
    s->unnamed_rows = HD_ROWS_UNKNOWN;
}

static void set_servers_unnamed(struct hd_server *v, struct hd_prep *p, int unsure)
{
    if (v->unnamed != p)
        set_unnamed(v->w->all->preps, &v->unnamed, p);
    v->unnamed_unsure = (uint8_t)unsure;
    v->unnamed_rows = HD_ROWS_UNKNOWN;
    v->unnamed_changes++;
}

static int is_servers(const struct hd_session *s)
{
    return s->unnamed == s->server->unnamed && !s->server->unnamed_unsure;
}

/* What stands to be undone: the client's, held, and whether it was the server's too. */
static struct hd_expect unnamed_before(struct hd_session *s, enum hd_expect_kind kind)
{
    return (struct hd_expect){.kind = (uint8_t)kind,
                              .flags = HD_EXPECT_UNNAMED,
                              .type = is_servers(s),
                              .ref = s->unnamed ? hd_prep_hold(s->unnamed) : NULL};
}

int hd_unnamed_parse(struct hd_session *s, struct hd_prep *p)
{
    struct hd_expect e = unnamed_before(s, HD_EXPECT_PARSE);

    s->unsynced++;
    set_clients_unnamed(s, p);
    set_servers_unnamed(s->server, p, 0);
    e.seq = s->server->unnamed_changes;
    return hd_prepared_send_parse(s->server, "", p->body, p->len, e);
}

struct hd_expect hd_unnamed_close(struct hd_session *s)
{
    struct hd_expect e = unnamed_before(s, HD_EXPECT_CLOSE);

    hd_unnamed_lost(s, s->server);
    e.seq = s->server->unnamed_changes;
    return e;
}

/* --- its rows --- */

static int ask(struct hd_session *s)
{
    const struct hd_ask what = {.prep = s->server->unnamed, .unnamed = 1};

    s->unsynced++;
    return hd_prepared_send_ask(s, "", what, s->server->unnamed_changes);
}

/* Has the batch that a Sync is about to end brought nothing but statements? */
static int prepares_only(const struct hd_session *s)
{
    struct hd_expects *q = &s->server->expects;

    for (uint32_t i = q->count; i-- > 0;) {
        switch (hd_expects_at(q, i)->kind) {
        case HD_EXPECT_SYNC:
        case HD_EXPECT_QUERY:
        case HD_EXPECT_FUNCTION_CALL:
            return 1;
        case HD_EXPECT_BIND:
        case HD_EXPECT_EXECUTE:
            return 0;
        default:
            break;
        }
    }
    return 1;
}

int hd_unnamed_synced(struct hd_session *s)
{
    if (!s->unnamed || !is_servers(s) || s->server->skipping || s->server->copy_in || s->copy_ended ||
        !prepares_only(s))
        return HD_OK;
    return ask(s);
}

void hd_unnamed_rows(struct hd_server *v, const struct hd_ask *a, uint32_t seq, uint64_t rows)
{
    struct hd_session *s = v->session;

    if (v->unnamed_changes != seq || v->unnamed != a->prep || v->unnamed_unsure)
        return; /* it is another one by now */
    v->unnamed_rows = rows;
    set_unnamed(v->w->all->preps, &v->unnamed, a->resolved);
    if (!s || s->unnamed != a->prep)
        return;
    set_unnamed(v->w->all->preps, &s->unnamed, a->resolved);
    if (s->unnamed_rows == HD_ROWS_UNKNOWN)
        s->unnamed_rows = rows;
}

/* --- bringing it to a server --- */

static int bring(struct hd_session *s, int describe)
{
    struct hd_server *v = s->server;
    struct hd_expect e = {.flags = HD_EXPECT_SWALLOW | HD_EXPECT_UNNAMED};
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    set_servers_unnamed(v, s->unnamed, 0);
    e.seq = v->unnamed_changes;
    if (s->unnamed && describe)
        e.flags |= HD_EXPECT_DESCRIBES;
    if (s->unnamed)
        return hd_prepared_send_parse(v, "", s->unnamed->body, s->unnamed->len, e);
    /* another client's is there, and ours has none: PostgreSQL shall say so */
    e.kind = HD_EXPECT_CLOSE;
    (void)hd_build_close(&b, HD_TARGET_STATEMENT, "");
    return hd_prepared_inject(v, &sb, e);
}

/* Where the client's rows are known, so must be those that it would get. */
static enum hd_ready compare(struct hd_session *s)
{
    struct hd_server *v = s->server;

    if (s->unnamed_rows <= HD_ROWS_NONE || v->must_close)
        return HD_READY;
    if (v->unnamed_rows != HD_ROWS_UNKNOWN)
        return v->unnamed_rows == s->unnamed_rows || s->txn == HD_TXN_FAILED ? HD_READY : HD_READY_STALE;
    if (hd_quiet(s) && ask(s))
        return HD_READY_ENOMEM;
    return hd_wait_for_replies(s) ? HD_READY_ENOMEM : HD_READY_LATER;
}

int hd_unnamed_in_doubt(const struct hd_session *s)
{
    struct hd_expects *q = s->server ? &s->server->expects : NULL;

    for (uint32_t i = 0; q && i < q->count && !(s->unnamed_now & HD_UNNAMED_PARSED); i++)
        if (hd_expects_at(q, i)->kind == HD_EXPECT_SYNC)
            return 1;
    return 0;
}

enum hd_ready hd_unnamed_ready(struct hd_session *s, int describe)
{
    if (hd_unnamed_in_doubt(s))
        return hd_wait_for_replies(s) ? HD_READY_ENOMEM : HD_READY_LATER;
    if (!is_servers(s)) {
        if (bring(s, describe))
            return HD_READY_ENOMEM;
        if (s->unnamed_rows > HD_ROWS_NONE && ask(s))
            return HD_READY_ENOMEM;
    }
    return compare(s);
}

/* --- the end of it, and taking things back --- */

void hd_unnamed_ended(struct hd_session *s)
{
    if (s->unnamed)
        set_clients_unnamed(s, NULL);
}

void hd_unnamed_lost(struct hd_session *s, struct hd_server *v)
{
    if (s && s->unnamed)
        set_clients_unnamed(s, NULL);
    set_servers_unnamed(v, NULL, 0);
}

#define UNDONE 2 /* of an entry's `type` */

/* The change after the one numbered `seq`, if it is one that may be undone itself, and is not yet. */
static struct hd_expect *unnamed_change_after(struct hd_server *v, uint32_t seq)
{
    for (uint32_t i = 0; i < v->expects.count; i++) {
        struct hd_expect *e = hd_expects_at(&v->expects, i);

        if ((e->kind != HD_EXPECT_PARSE && e->kind != HD_EXPECT_CLOSE) || !(e->flags & HD_EXPECT_UNNAMED) ||
            e->seq != seq + 1)
            continue;
        if (e->type != UNDONE)
            return e;
        seq++;
    }
    return NULL;
}

/* Instead of what an entry stands for the client had `clients`, which was the server's too (`servers`). What
 * came behind it in the pipeline stands. */
static void unnamed_was(struct hd_server *v, const struct hd_expect *e, struct hd_prep *clients, int servers)
{
    struct hd_prep_table *t = v->w->all->preps;
    struct hd_expect *next;
    struct hd_prep *was;

    if (v->unnamed_changes == e->seq) {
        set_servers_unnamed(v, servers ? clients : NULL, !servers);
        if (v->session && !(e->flags & HD_EXPECT_SWALLOW))
            set_clients_unnamed(v->session, clients);
        v->unnamed_changes = e->seq - 1;
    } else if (!(e->flags & HD_EXPECT_SWALLOW) && (next = unnamed_change_after(v, e->seq)) &&
               !(next->flags & HD_EXPECT_SWALLOW)) {
        was = next->ref;
        set_unnamed(t, &was, clients);
        next->ref = was;
        next->type = (uint8_t)servers;
    }
}

void hd_unnamed_undo(struct hd_server *v, struct hd_expect *e)
{
    /* What the server had where it was not the client's is not remembered: that is brought anew. */
    unnamed_was(v, e, e->ref, !(e->flags & HD_EXPECT_SWALLOW) && e->type);
    e->type = UNDONE;
}

void hd_unnamed_failed(struct hd_server *v, const struct hd_expect *e)
{
    unnamed_was(v, e, NULL, 1);
}
