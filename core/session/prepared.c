/*
 * What a client has prepared, and bringing it to the server that it has at the moment; see prepared.h.
 */
#include "session/prepared.h"

#include <string.h>

#include "base/alloc.h"
#include "session/forward.h"
#include "session/pool.h"
#include "session/server.h"
#include "sql/facts.h"
#include "wire/build.h"

void hd_closed_name_free(struct hd_prep_table *t, struct hd_closed_name *c)
{
    if (!c)
        return;
    hd_prep_drop(t, c->prep);
    hd_free(c);
}

void hd_extended_unclose(struct hd_session *s, const struct hd_closed_name *c)
{
    struct hd_prep *p = hd_prep_hold(c->prep);

    if (hd_names_set(&s->names, hd_session_preps(s), c->name, p, c->seq))
        hd_prep_drop(hd_session_preps(s), p);
}

void hd_extended_unnamed_lost(struct hd_session *s, struct hd_server *v)
{
    if (s && s->unnamed) {
        hd_prep_drop(s->w->all->preps, s->unnamed);
        s->unnamed = NULL;
    }
    if (v->unnamed) {
        hd_prep_drop(v->w->all->preps, v->unnamed);
        v->unnamed = NULL;
    }
}

void hd_prepared_set_unnamed(struct hd_prep_table *t, struct hd_prep **slot, struct hd_prep *p)
{
    struct hd_prep *old = *slot;

    *slot = p ? hd_prep_hold(p) : NULL;
    hd_prep_drop(t, old);
}

/* The content that a name stands for; NULL: the client has no such name. */
struct hd_prep *hd_prepared_content(struct hd_session *s, const char *name)
{
    struct hd_name *n;

    if (!*name)
        return s->unnamed;
    n = hd_names_find(&s->names, name);
    return n ? n->prep : NULL;
}

/* A name that is nobody's goes to the server as it is, so that PostgreSQL answers; unless it is one of ours
 * there. */
int hd_prepared_foreign(const char *name)
{
    return !strncmp(name, HD_PREP_PREFIX, sizeof(HD_PREP_PREFIX) - 1);
}

/* --- on the server --- */

/* Sends a message of the host's own with what the server owes for it; takes the entry's reference over. A
 * server that did not get it has not what it is held to have, and goes with its session. */
static int inject(struct hd_server *v, struct hd_strbuf *sb, struct hd_expect e)
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

/* A Parse of the content under `name`. The rest of the message is the content's body as it is. */
int hd_prepared_send_parse(struct hd_session *s, struct hd_prep *p, const char *name, unsigned flags,
                           uint32_t seq)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    size_t name_len = strlen(name) + 1;
    uint8_t head[5] = {HD_MSG_PARSE};

    hd_put_u32(head + 1, (uint32_t)(4 + name_len + p->len));
    hd_strbuf_add(&sb, head, sizeof(head));
    hd_strbuf_add(&sb, name, name_len);
    hd_strbuf_add(&sb, p->body, p->len);
    return inject(s->server, &sb,
                  (struct hd_expect){
                      .kind = HD_EXPECT_PARSE, .flags = (uint8_t)flags, .seq = seq, .ref = hd_prep_hold(p)});
}

/* Takes a prepared statement away from the server. */
static int drop_there(struct hd_session *s, struct hd_prep *p)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_expect e = {.kind = HD_EXPECT_CLOSE, .flags = HD_EXPECT_SWALLOW, .ref = hd_prep_hold(p)};
    char name[HD_PREP_NAME];

    hd_prep_name(p, name);
    hd_server_preps_remove(&s->server->preps, hd_session_preps(s), p);
    (void)hd_build_close(&b, HD_TARGET_STATEMENT, name); /* inject sees that it failed */
    return inject(s->server, &sb, e);
}

/* Makes room for one more prepared statement on the server. */
static int evict(struct hd_session *s)
{
    struct hd_server *v = s->server;
    int64_t max = v->pool->conf->max_prepared_statements;
    int code = HD_OK;

    while (!code && v->preps.count && (int64_t)v->preps.count >= max)
        code = drop_there(s, hd_server_preps_oldest(&v->preps));
    return code;
}

/* Makes sure that the server has the content under its name. */
int hd_prepared_ensure(struct hd_session *s, struct hd_prep *p, unsigned flags, uint32_t seq)
{
    char name[HD_PREP_NAME];
    int code;

    s->renaming = 1;
    hd_prep_name(p, name);
    code = hd_server_preps_expired(&s->server->preps, p) ? drop_there(s, p) : HD_OK;
    if (!code)
        code = evict(s);
    if (!code)
        code = hd_server_preps_add(&s->server->preps, p);
    if (!code)
        code = hd_prepared_send_parse(s, p, name, flags, seq);
    return code;
}

/* Makes the server's unnamed statement the client's. */
static int ensure_unnamed(struct hd_session *s)
{
    struct hd_server *v = s->server;
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    if (v->unnamed == s->unnamed)
        return HD_OK;
    if (s->unnamed) {
        hd_prepared_set_unnamed(hd_session_preps(s), &v->unnamed, s->unnamed);
        return hd_prepared_send_parse(s, s->unnamed, "", HD_EXPECT_SWALLOW | HD_EXPECT_UNNAMED, 0);
    }
    /* another client's is there, and ours has none: PostgreSQL shall say so */
    hd_prepared_set_unnamed(hd_session_preps(s), &v->unnamed, NULL);
    (void)hd_build_close(&b, HD_TARGET_STATEMENT, "");
    return inject(v, &sb, (struct hd_expect){.kind = HD_EXPECT_CLOSE, .flags = HD_EXPECT_SWALLOW});
}

/* The server must have what the message is about. HD_OK, or HD_ENOMEM. */
int hd_prepared_ready(struct hd_session *s, const char *name, struct hd_prep *p)
{
    if (!*name)
        return ensure_unnamed(s);
    if (!p || hd_server_preps_use(&s->server->preps, p))
        return HD_OK;
    return hd_prepared_ensure(s, p, HD_EXPECT_SWALLOW, 0);
}

/* DEALLOCATE of a name that the client made by Parse: the server, which knows it by another, is given
 * something to deallocate. */
int hd_prepared_give(struct hd_session *s, const struct hd_text *t)
{
    static const uint8_t empty[] = {0, 0, 0};
    const struct hd_fact_statement *st;
    struct hd_prep *none;
    int code;

    if (t->kind != HD_STATEMENT_DEALLOCATE || s->txn == HD_TXN_FAILED)
        return HD_OK;
    st = t->tmpl->facts->statements;
    if (!st->name || !hd_names_find(&s->names, st->name))
        return HD_OK;
    none = hd_prep_get(hd_session_preps(s), empty, sizeof(empty), 0);
    if (!none)
        return HD_ENOMEM;
    code = hd_prepared_send_parse(s, none, st->name, HD_EXPECT_SWALLOW, 0);
    hd_prep_drop(hd_session_preps(s), none);
    if (!code)
        hd_names_remove(&s->names, hd_session_preps(s), st->name);
    return code;
}
