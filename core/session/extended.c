/*
 * Messages of the extended protocol from a client; see extended.h.
 *
 * Looking at a message (what it means for the session) and forwarding it (what it means for the server) are
 * two steps, so that what a filter may replace can be kept back in between.
 */
#include "session/extended.h"

#include <string.h>

#include "base/alloc.h"
#include "base/units.h"
#include "session/client.h"
#include "session/console.h"
#include "session/forward.h"
#include "session/held.h"
#include "session/pool.h"
#include "session/reply.h"
#include "session/server.h"
#include "sql/facts.h"
#include "wire/build.h"
#include "wire/read.h"

/* So much of a Bind is gathered to find its two names. */
#define NAMES_MAX 8192
/* A portal's name that is longer leaves as a slice of its own, in front of the statement's new name. */
#define PORTAL_COPIED 64

static enum hd_taken no_memory(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
    return HD_TAKE_END;
}

static int skipping(const struct hd_session *s)
{
    return s->skip_sync || (s->server && s->server->skipping);
}

static struct hd_prep_table *preps(const struct hd_session *s)
{
    return s->w->all->preps;
}

/* --- small state
 * --------------------------------------------------------------------------------------------- */

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

    if (hd_names_set(&s->names, preps(s), c->name, p, c->seq))
        hd_prep_drop(preps(s), p);
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

static void set_unnamed(struct hd_prep_table *t, struct hd_prep **slot, struct hd_prep *p)
{
    struct hd_prep *old = *slot;

    *slot = p ? hd_prep_hold(p) : NULL;
    hd_prep_drop(t, old);
}

static void forget_portals(struct hd_session *s)
{
    while (s->portals) {
        struct hd_portal *p = s->portals;

        s->portals = p->next;
        hd_template_release(p->tmpl);
        hd_free(p);
    }
}

void hd_extended_transaction_ended(struct hd_session *s)
{
    forget_portals(s);
}

void hd_extended_free(struct hd_session *s)
{
    hd_held_drop(s, 0);
    forget_portals(s);
    hd_template_release(s->portal_tmpl);
    s->portal_tmpl = NULL;
    hd_names_clear(&s->names, preps(s));
    hd_prep_drop(preps(s), s->unnamed);
    s->unnamed = NULL;
}

/* Notes which template a portal runs; NULL: not known. */
static int set_portal(struct hd_session *s, const char *name, struct hd_template *tmpl)
{
    struct hd_portal *p;

    if (!*name) {
        struct hd_template *old = s->portal_tmpl;

        s->portal_tmpl = tmpl ? hd_template_hold(tmpl) : NULL;
        hd_template_release(old);
        return HD_OK;
    }
    for (p = s->portals; p && strcmp(p->name, name); p = p->next)
        ;
    if (!p) {
        p = hd_malloc(sizeof(*p) + strlen(name) + 1);
        if (!p)
            return HD_ENOMEM;
        strcpy(p->name, name);
        p->tmpl = NULL;
        p->next = s->portals;
        s->portals = p;
    }
    hd_template_release(p->tmpl);
    p->tmpl = tmpl ? hd_template_hold(tmpl) : NULL;
    return HD_OK;
}

static struct hd_template *portal_template(const struct hd_session *s, const char *name)
{
    if (!*name)
        return s->portal_tmpl;
    for (const struct hd_portal *p = s->portals; p; p = p->next)
        if (!strcmp(p->name, name))
            return p->tmpl;
    return NULL;
}

/* --- the server's side of names
 * ------------------------------------------------------------------------------ */

/* Sends a message of the host's own with what the server owes for it. */
static int inject(struct hd_server *v, struct hd_strbuf *sb, struct hd_expect e)
{
    int code = sb->failed ? HD_ENOMEM : hd_server_expect(v, e);

    if (!code)
        code = hd_server_send_copy(v, sb->data, sb->len);
    hd_strbuf_free(sb);
    return code;
}

/* A Parse of the content under `name`. The rest of the message is the content's body as it is. */
static int send_parse(struct hd_session *s, struct hd_prep *p, const char *name, unsigned flags, uint32_t seq)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    size_t name_len = strlen(name) + 1;
    uint8_t head[5] = {HD_MSG_PARSE};
    int code;

    hd_put_u32(head + 1, (uint32_t)(4 + name_len + p->len));
    hd_strbuf_add(&sb, head, sizeof(head));
    hd_strbuf_add(&sb, name, name_len);
    hd_strbuf_add(&sb, p->body, p->len);
    code = inject(s->server, &sb,
                  (struct hd_expect){
                      .kind = HD_EXPECT_PARSE, .flags = (uint8_t)flags, .seq = seq, .ref = hd_prep_hold(p)});
    if (code)
        hd_prep_drop(preps(s), p);
    return code;
}

/* Takes a prepared statement away from the server. */
static int drop_there(struct hd_session *s, struct hd_prep *p)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_expect e = {.kind = HD_EXPECT_CLOSE, .flags = HD_EXPECT_SWALLOW, .ref = hd_prep_hold(p)};
    char name[HD_PREP_NAME];
    int code;

    hd_prep_name(p, name);
    hd_server_preps_remove(&s->server->preps, preps(s), p);
    code = hd_build_close(&b, HD_TARGET_STATEMENT, name);
    if (!code)
        code = inject(s->server, &sb, e);
    if (code)
        hd_prep_drop(preps(s), e.ref);
    return code;
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
static int ensure(struct hd_session *s, struct hd_prep *p, unsigned flags, uint32_t seq)
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
        code = send_parse(s, p, name, flags, seq);
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
        set_unnamed(preps(s), &v->unnamed, s->unnamed);
        return send_parse(s, s->unnamed, "", HD_EXPECT_SWALLOW | HD_EXPECT_UNNAMED, 0);
    }
    /* another client's is there, and ours has none: PostgreSQL shall say so */
    set_unnamed(preps(s), &v->unnamed, NULL);
    if (hd_build_close(&b, HD_TARGET_STATEMENT, ""))
        return HD_ENOMEM;
    return inject(v, &sb, (struct hd_expect){.kind = HD_EXPECT_CLOSE, .flags = HD_EXPECT_SWALLOW});
}

/* --- Parse
 * --------------------------------------------------------------------------------------------------- */

struct parse {
    const char *name, *sql;
    size_t sql_len;
    const uint8_t *body; /* from the SQL on */
    uint32_t body_len;
};

static int read_parse(const uint8_t *body, uint32_t len, struct parse *out)
{
    struct hd_reader r = hd_reader_on(body, len);
    uint16_t n;

    out->name = hd_read_cstr(&r, NULL);
    out->body = r.at;
    out->sql = hd_read_cstr(&r, &out->sql_len);
    n = hd_read_u16(&r);
    hd_read_bytes(&r, 4 * (size_t)n);
    out->body_len = (uint32_t)(body + len - out->body);
    return !r.failed && hd_reader_done(&r);
}

/* What cannot be understood goes to the server as it is, which says what is wrong. */
static enum hd_taken forward_unread(struct hd_session *s, const struct hd_frame *f, enum hd_expect_kind kind)
{
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    s->unsynced++;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = (uint8_t)kind}))
        return no_memory(s);
    return hd_forward_piece(s, f);
}

/* Has a server of this session's pool prepared it before? Then none need be waited for to say so again:
 * clients that prepare the same as they connect would wait for those that are in a transaction. */
static int proven(const struct hd_session *s, const struct hd_prep *prep)
{
    return !s->server && !s->route &&
           atomic_load_explicit(&prep->proven, memory_order_relaxed) == (const void *)s->pool->shared;
}

static enum hd_taken forward_named_parse(struct hd_session *s, struct hd_prep *prep, uint32_t seq)
{
    int code;

    s->unsynced++;
    s->renaming = 1;
    if (hd_server_preps_use(&s->server->preps, prep))
        code = hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, seq);
    else
        code = ensure(s, prep, 0, seq);
    return code ? no_memory(s) : HD_TAKEN;
}

static enum hd_taken forward_unnamed_parse(struct hd_session *s, struct hd_prep *prep, uint32_t seq)
{
    s->unsynced++;
    set_unnamed(preps(s), &s->server->unnamed, prep);
    return send_parse(s, prep, "", HD_EXPECT_UNNAMED, seq) ? no_memory(s) : HD_TAKEN;
}

/* PostgreSQL's words about a name; there is no other way to say them, since its server knows other names. */
static void refuse_name(struct hd_session *s, const char *sqlstate, const char *name, const char *what)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;

    hd_strbuf_printf(&sb, "prepared statement \"%s\" %s", name, what);
    hd_refuse(s, 1, sqlstate, hd_strbuf_str(&sb), NULL, NULL);
    hd_strbuf_free(&sb);
}

/* Remembers what the client has prepared. */
static int note_parse(struct hd_session *s, const struct parse *p, struct hd_prep *prep, uint32_t seq)
{
    if (!*p->name) {
        set_unnamed(preps(s), &s->unnamed, prep);
        return HD_OK;
    }
    if (hd_names_set(&s->names, preps(s), p->name, hd_prep_hold(prep), seq)) {
        hd_prep_drop(preps(s), prep);
        return HD_ENOMEM;
    }
    return HD_OK;
}

static enum hd_taken parse_known(struct hd_session *s, const struct hd_frame *f, const struct parse *p,
                                 int hold)
{
    struct hd_prep *prep = hd_prep_get(preps(s), p->body, p->body_len, (uint32_t)p->sql_len);
    int known = prep && *p->name && !hold && proven(s, prep);
    uint32_t seq = ++s->parse_seq;
    enum hd_taken taken = HD_TAKEN;

    if (!hold && !known && !s->server && !hd_session_want_server(s)) {
        hd_prep_drop(preps(s), prep);
        return HD_TAKE_LATER;
    }
    if (!prep || note_parse(s, p, prep, seq)) {
        hd_prep_drop(preps(s), prep);
        return no_memory(s);
    }
    if (hold)
        taken = hd_held_add(s, f, seq) ? HD_TAKEN : no_memory(s);
    else if (known)
        taken = hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, seq) ? no_memory(s) : HD_TAKEN;
    else
        taken = *p->name ? forward_named_parse(s, prep, seq) : forward_unnamed_parse(s, prep, seq);
    hd_prep_drop(preps(s), prep);
    return taken;
}

static enum hd_taken on_parse(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_text t;
    struct parse p;
    int hold;

    if (!hd_frame_whole(f)) {
        if (f->total <= (uint32_t)s->w->settings->host.max_statement_length)
            return hd_want_bytes(s, f, f->total);
        s->pins |= HD_PIN_PROTOCOL; /* too long to be kept: it stays on its server, under its own name */
        return forward_unread(s, f, HD_EXPECT_PARSE);
    }
    if (!read_parse(hd_frame_body(f), hd_frame_body_len(f), &p))
        return forward_unread(s, f, HD_EXPECT_PARSE);
    if (*p.name && hd_names_find(&s->names, p.name)) {
        refuse_name(s, "42P05", p.name, "already exists");
        return HD_TAKEN;
    }
    if (*p.name && s->names.count >= (uint64_t)s->w->settings->host.max_prepared_per_client) {
        hd_refuse(s, 1, "53400", "too many prepared statements", NULL,
                  "Close some, or raise max_prepared_per_client of [host].");
        return HD_TAKEN;
    }
    if (hd_text_of_parse(s, p.sql, p.sql_len, &t))
        return no_memory(s);
    hold = (t.plan->want & HD_WANT_REPLACE) && !s->held &&
           f->total <= (uint32_t)s->w->settings->host.max_statement_length;
    return parse_known(s, f, &p, hold);
}

/* --- Bind, Describe, Execute, Close
 * -------------------------------------------------------------------------- */

/* The content that a name stands for; NULL: the client has no such name. */
static struct hd_prep *content_of(struct hd_session *s, const char *name)
{
    struct hd_name *n;

    if (!*name)
        return s->unnamed;
    n = hd_names_find(&s->names, name);
    return n ? n->prep : NULL;
}

/* A name that is nobody's goes to the server as it is, so that PostgreSQL answers; unless it is one of ours
 * there. */
static int foreign(const char *name)
{
    return !strncmp(name, HD_PREP_PREFIX, sizeof(HD_PREP_PREFIX) - 1);
}

/* The server must have what the message is about. HD_OK, or HD_ENOMEM. */
static int ready_statement(struct hd_session *s, const char *name, struct hd_prep *p)
{
    if (!*name)
        return ensure_unnamed(s);
    if (!p || hd_server_preps_use(&s->server->preps, p))
        return HD_OK;
    return ensure(s, p, HD_EXPECT_SWALLOW, 0);
}

/* Sends a message with one name in it replaced: `before` bytes of body stay in front of it. */
static enum hd_taken send_renamed(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                  size_t before, size_t old_len, const struct hd_prep *p)
{
    char name[HD_PREP_NAME];
    size_t name_len = hd_prep_name(p, name) + 1;
    size_t cut = HD_MSG_HEAD + before + old_len + 1;
    uint8_t head[HD_MSG_HEAD + PORTAL_COPIED + HD_PREP_NAME] = {f->type};
    size_t n = HD_MSG_HEAD;
    struct hd_link *out = &s->server->link;

    hd_put_u32(head + 1, (uint32_t)(f->total - 1 - (old_len + 1) + name_len));
    if (before <= PORTAL_COPIED) {
        memcpy(head + n, f->data + HD_MSG_HEAD, before);
        n += before;
    } else if (hd_link_send_copy(out, head, n) ||
               hd_link_send(out, buf, f->data + HD_MSG_HEAD, (uint32_t)before)) {
        return no_memory(s);
    } else {
        n = 0;
    }
    memcpy(head + n, name, name_len);
    if (hd_link_send_copy(out, head, n + name_len) ||
        hd_link_send(out, buf, f->data + cut, (uint32_t)(f->here - cut)))
        return no_memory(s);
    s->pass_rest = !hd_frame_last(f);
    return HD_TAKEN;
}

struct bind {
    const char *portal, *name;
    size_t portal_len, name_len;
};

static int read_bind(const struct hd_frame *f, struct bind *out)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), f->here - HD_MSG_HEAD);

    out->portal = hd_read_cstr(&r, &out->portal_len);
    out->name = hd_read_cstr(&r, &out->name_len);
    return !r.failed;
}

/* `p`: the content to bind; NULL: not known. `renamed`: by its own name even where the client uses the
 * unnamed one. */
static enum hd_taken forward_bind(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                  const struct bind *b, struct hd_prep *p, int renamed)
{
    s->unsynced++;
    if (ready_statement(s, renamed ? "x" : b->name, p) ||
        hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_BIND}))
        return no_memory(s);
    if (p && (*b->name || renamed))
        return send_renamed(s, f, buf, b->portal_len + 1, b->name_len, p);
    if (hd_link_send(&s->server->link, buf, f->data, f->here))
        return no_memory(s);
    s->pass_rest = !hd_frame_last(f);
    return HD_TAKEN;
}

/* Does a filter want to see the parameters? Then the Bind is wanted whole. */
static int gather_bind(struct hd_session *s, const struct hd_frame *f, const struct hd_text *t)
{
    return !hd_frame_whole(f) && (t->plan->want & HD_WANT_DECIDE) &&
           f->total <= (uint32_t)s->w->settings->host.max_statement_length;
}

static enum hd_taken on_bind(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_text t = {0};
    struct hd_prep *p;
    struct bind b;
    int hold = 0;

    if (!read_bind(f, &b)) {
        if (!hd_frame_whole(f) && f->here < NAMES_MAX)
            return hd_want_bytes(s, f, NAMES_MAX);
        return forward_unread(s, f, HD_EXPECT_BIND);
    }
    p = content_of(s, b.name);
    if (!p && foreign(b.name)) {
        refuse_name(s, "26000", b.name, "does not exist");
        return hd_drop_piece(s, f);
    }
    if (p) {
        if (hd_text_of_parse(s, (const char *)p->body, p->sql_len, &t))
            return no_memory(s);
        if (gather_bind(s, f, &t))
            return hd_want_bytes(s, f, f->total);
        hold = (t.plan->want & HD_WANT_REPLACE) && hd_frame_whole(f);
    }
    if (!hold) {
        if (s->held && !hd_held_release(s))
            return HD_TAKE_LATER;
        if (!s->server && !hd_session_want_server(s))
            return HD_TAKE_LATER;
    }
    if (set_portal(s, b.portal, t.tmpl))
        return no_memory(s);
    if (hold && hd_held_add(s, f, 0))
        return HD_TAKEN;
    if (hold && (!hd_held_release(s) || (!s->server && !hd_session_want_server(s))))
        return HD_TAKE_LATER;
    return forward_bind(s, f, hd_link_buf(&s->link), &b, p, 0);
}

static enum hd_taken forward_describe(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf)
{
    uint8_t what = hd_frame_body(f)[0];
    const char *name = (const char *)hd_frame_body(f) + 1;
    struct hd_prep *p = what == HD_TARGET_STATEMENT ? content_of(s, name) : NULL;

    s->unsynced++;
    if (what == HD_TARGET_STATEMENT && ready_statement(s, name, p))
        return no_memory(s);
    if (hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_DESCRIBE}))
        return no_memory(s);
    if (p && *name)
        return send_renamed(s, f, buf, 1, strlen(name), p);
    return hd_link_send(&s->server->link, buf, f->data, f->here) ? no_memory(s) : HD_TAKEN;
}

/* 'S' or 'P' and one string: Describe and Close. */
static int readable_target(const struct hd_frame *f)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    uint8_t what = hd_read_u8(&r);

    hd_read_cstr(&r, NULL);
    return hd_reader_done(&r) && (what == HD_TARGET_STATEMENT || what == HD_TARGET_PORTAL);
}

static enum hd_taken on_describe(struct hd_session *s, const struct hd_frame *f)
{
    const char *name = (const char *)hd_frame_body(f) + 1;

    if (!readable_target(f))
        return forward_unread(s, f, HD_EXPECT_DESCRIBE);
    if (s->held && hd_frame_body(f)[0] == HD_TARGET_PORTAL && hd_held_add(s, f, 0))
        return HD_TAKEN;
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (hd_frame_body(f)[0] == HD_TARGET_STATEMENT && !content_of(s, name) && foreign(name)) {
        refuse_name(s, "26000", name, "does not exist");
        return HD_TAKEN;
    }
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    return forward_describe(s, f, hd_link_buf(&s->link));
}

/* --- what is kept back
 * --------------------------------------------------------------------------------------- */

const struct hd_held_message *hd_held_find(const struct hd_session *s, uint8_t type)
{
    for (uint32_t i = 0; s->held && i < s->held->count; i++)
        if (s->held->m[i].type == type)
            return &s->held->m[i];
    return NULL;
}

/* Parse, then Bind, then Describe of the portal; each at most once. */
static int fits(const struct hd_session *s, const struct hd_frame *f)
{
    static const char order[] = {HD_MSG_PARSE, HD_MSG_BIND, HD_MSG_DESCRIBE};
    const struct hd_held *h = s->held;
    const char *at = memchr(order, f->type, sizeof(order));
    const char *last = h && h->count ? memchr(order, h->m[h->count - 1].type, sizeof(order)) : NULL;

    return at && (last ? at > last : f->type != HD_MSG_DESCRIBE);
}

int hd_held_add(struct hd_session *s, const struct hd_frame *f, uint32_t seq)
{
    struct hd_held *h = s->held;
    uint32_t used = h ? h->buf->len : 0;
    struct hd_buf *b;

    if (!fits(s, f) || used + f->total > (uint32_t)s->w->settings->host.max_statement_length)
        return 0;
    if (!h) {
        h = hd_calloc(1, sizeof(*h));
        if (!h || !(h->buf = hd_buf_new(&s->w->io.bufs, f->total))) {
            hd_free(h);
            return 0;
        }
        s->held = h;
    }
    if (h->buf->cap - used < f->total) {
        b = hd_buf_new(&s->w->io.bufs, used + f->total);
        if (!b)
            return 0;
        memcpy(b->data, h->buf->data, used);
        hd_buf_drop(h->buf);
        h->buf = b;
    }
    memcpy(h->buf->data + used, f->data, f->total);
    h->buf->len = used + f->total;
    h->m[h->count++] = (struct hd_held_message){used, f->total, seq, f->type};
    return 1;
}

void hd_held_drop(struct hd_session *s, int undo)
{
    struct hd_held *h = s->held;

    if (!h)
        return;
    for (uint32_t i = 0; undo && i < h->count; i++)
        if (h->m[i].type == HD_MSG_PARSE)
            hd_names_undo(&s->names, preps(s), h->m[i].seq);
    s->held = NULL;
    hd_buf_drop(h->buf);
    hd_free(h);
}

static struct hd_frame held_frame(const struct hd_held *h, const struct hd_held_message *m)
{
    return (struct hd_frame){.type = m->type, .data = h->buf->data + m->off, .here = m->len, .total = m->len};
}

static enum hd_taken forward_held(struct hd_session *s, const struct hd_held *h,
                                  const struct hd_held_message *m, struct hd_prep *instead)
{
    struct hd_frame f = held_frame(h, m);
    struct hd_prep *prep;
    struct parse p;
    struct bind b;

    switch (m->type) {
    case HD_MSG_PARSE:
        if (instead)
            return hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, m->seq) ? no_memory(s) : HD_TAKEN;
        read_parse(hd_frame_body(&f), hd_frame_body_len(&f), &p);
        prep = content_of(s, p.name);
        if (!prep)
            return HD_TAKEN;
        return *p.name ? forward_named_parse(s, prep, m->seq) : forward_unnamed_parse(s, prep, m->seq);
    case HD_MSG_BIND:
        read_bind(&f, &b);
        return forward_bind(s, &f, h->buf, &b, instead ? instead : content_of(s, b.name), instead != NULL);
    default:
        return forward_describe(s, &f, h->buf);
    }
}

static int release(struct hd_session *s, struct hd_prep *instead)
{
    struct hd_held *h = s->held;

    if (!h)
        return 1;
    if (!s->server && !hd_session_want_server(s))
        return 0;
    s->held = NULL; /* what follows forwards, and never holds */
    for (uint32_t i = 0; i < h->count; i++)
        if (forward_held(s, h, &h->m[i], instead) == HD_TAKE_END)
            break;
    hd_buf_drop(h->buf);
    hd_free(h);
    return 1;
}

int hd_held_release(struct hd_session *s)
{
    return release(s, NULL);
}

/* --- Execute
 * ------------------------------------------------------------------------------------------------- */

/* The content that the kept Bind is about. */
static struct hd_prep *held_content(struct hd_session *s, struct hd_frame *f)
{
    const struct hd_held_message *m = hd_held_find(s, HD_MSG_BIND);
    struct bind b;

    if (!m)
        return NULL;
    *f = held_frame(s->held, m);
    return read_bind(f, &b) ? content_of(s, b.name) : NULL;
}

/* A filter's text, prepared under a name of its own with the same parameter types. */
static struct hd_prep *rewritten(struct hd_session *s, const struct hd_prep *p, const struct hd_buf *sql)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_prep *out = NULL;

    hd_strbuf_add(&sb, sql->data, sql->len);
    hd_strbuf_putc(&sb, 0);
    hd_strbuf_add(&sb, p->body + p->sql_len + 1, p->len - p->sql_len - 1);
    if (!sb.failed)
        out = hd_prep_get(preps(s), (const uint8_t *)sb.data, (uint32_t)sb.len, sql->len);
    hd_strbuf_free(&sb);
    return out;
}

/* What is kept back goes to the server, as the filter would have it. 0: later. */
static int release_decided(struct hd_session *s)
{
    struct hd_frame f;
    struct hd_prep *p = held_content(s, &f), *instead = NULL;
    int done;

    if (s->pending && s->pending->rewrite && p && !(instead = rewritten(s, p, s->pending->rewrite))) {
        no_memory(s);
        return 0;
    }
    done = release(s, instead);
    hd_prep_drop(preps(s), instead);
    return done;
}

/* A filter's answer: what the kept messages would have brought, then its rows. */
static enum hd_taken answer_execute(struct hd_session *s, struct hd_verdict *v)
{
    const struct hd_held_message *parse = hd_held_find(s, HD_MSG_PARSE);
    int code = parse ? hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, parse->seq) : HD_OK;

    if (!code && hd_held_find(s, HD_MSG_BIND))
        code = hd_reply_bare(s, HD_MSG_BIND_COMPLETE, 0);
    if (!code && hd_held_find(s, HD_MSG_DESCRIBE))
        code = v->describe.len ? hd_reply_bytes(s, v->describe.ptr, v->describe.len)
                               : hd_reply_bare(s, HD_MSG_NO_DATA, 0);
    if (!code)
        code = hd_reply_bytes(s, v->bytes.ptr, v->bytes.len);
    if (v->release)
        v->release(v->release_arg);
    hd_held_drop(s, 0);
    s->pending->bytes = v->bytes.len;
    hd_finish_pending(s, 1, NULL);
    s->pool->stats.answered++;
    s->statements++;
    return code ? no_memory(s) : HD_TAKEN;
}

static enum hd_taken forward_execute(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_stmt *st = hd_take_pending(s);

    s->unsynced++;
    s->statements++;
    s->pool->stats.queries++;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_EXECUTE, .ref = st})) {
        if (st)
            hd_stmt_complete(st);
        return no_memory(s);
    }
    return hd_forward_piece(s, f);
}

static void fill_input(struct hd_session *s, uint32_t max_rows, struct hd_stmt_input *in)
{
    struct hd_frame f;
    struct hd_prep *p = held_content(s, &f);

    in->flags = HD_STMT_EXTENDED | (max_rows ? HD_STMT_LIMITED : 0);
    if (!p) {
        in->flags |= HD_STMT_NO_TEXT;
        return;
    }
    in->sql = (const char *)p->body;
    in->sql_len = p->sql_len;
    in->bind = hd_frame_body(&f);
    in->bind_len = hd_frame_body_len(&f);
    in->types = p->body + p->sql_len + 3;
    in->type_count = (p->len - p->sql_len - 3) / 4;
}

/* DEALLOCATE of a name that the client made by Parse: the server, which knows it by another, is given
 * something to deallocate. */
static int give_deallocated(struct hd_session *s, const struct hd_text *t)
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
    none = hd_prep_get(preps(s), empty, sizeof(empty), 0);
    if (!none)
        return HD_ENOMEM;
    code = send_parse(s, none, st->name, HD_EXPECT_SWALLOW, 0);
    hd_prep_drop(preps(s), none);
    if (!code)
        hd_names_remove(&s->names, preps(s), st->name);
    return code;
}

/* The text that a portal runs, or one without facts where it is not known. */
static int text_of_portal(struct hd_session *s, const char *portal, struct hd_text *t)
{
    struct hd_template *tmpl = portal_template(s, portal);

    return tmpl ? hd_text_of_template(s, tmpl, t) : hd_text_of_query(s, NULL, 0, t);
}

/* Is what is kept back about this portal? */
static int held_portal(struct hd_session *s, const char *portal)
{
    const struct hd_held_message *m = hd_held_find(s, HD_MSG_BIND);
    struct hd_frame f;
    struct bind b;

    if (!m)
        return 0;
    f = held_frame(s->held, m);
    return read_bind(&f, &b) && !strcmp(b.portal, portal);
}

static enum hd_taken on_execute(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    const char *portal = hd_read_cstr(&r, NULL);
    uint32_t max_rows = hd_read_u32(&r);
    struct hd_stmt_input in = {0};
    enum hd_decision d;
    struct hd_verdict v;
    struct hd_text t;

    if (r.failed)
        return forward_unread(s, f, HD_EXPECT_EXECUTE);
    if (s->held && !held_portal(s, portal) && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (text_of_portal(s, portal, &t))
        return no_memory(s);
    fill_input(s, max_rows, &in);
    d = hd_decide(s, &t, &in, !s->held ? 0 : max_rows ? HD_MAY_REWRITE : HD_MAY_REWRITE | HD_MAY_ANSWER, &v);
    switch (d) {
    case HD_DECIDED_ANSWER:
        return answer_execute(s, &v);
    case HD_DECIDED_REFUSE:
        hd_held_drop(s, 1);
        hd_refuse_verdict(s, 1, &v);
        return HD_TAKEN;
    case HD_DECIDED_PARK:
        return HD_TAKE_LATER;
    case HD_DECIDED_ERROR:
        return HD_TAKE_END;
    case HD_DECIDED_GO:
        break;
    }
    hd_note_pins(s, &t);
    if (s->held && !release_decided(s))
        return HD_TAKE_LATER;
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    if (give_deallocated(s, &t))
        return no_memory(s);
    return forward_execute(s, f);
}

/* --- Close, Sync, Flush
 * -------------------------------------------------------------------------------------- */

static enum hd_taken close_name(struct hd_session *s, const char *name)
{
    struct hd_name *n = hd_names_find(&s->names, name);
    struct hd_closed_name *c = NULL;
    int code = HD_OK;

    if (n && !hd_reply_now(s)) { /* the server may yet skip it */
        c = hd_malloc(sizeof(*c) + strlen(name) + 1);
        if (!c)
            return no_memory(s);
        s->renaming = 1;
        c->prep = hd_prep_hold(n->prep);
        c->seq = n->seq;
        strcpy(c->name, name);
        code = hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_LOCAL,
                                                              .flags = HD_EXPECT_CLOSED,
                                                              .type = HD_MSG_CLOSE_COMPLETE,
                                                              .ref = c});
        if (code)
            hd_closed_name_free(preps(s), c);
    } else {
        code = hd_reply_bare(s, HD_MSG_CLOSE_COMPLETE, 0);
    }
    hd_names_remove(&s->names, preps(s), name);
    return code ? no_memory(s) : HD_TAKEN;
}

static enum hd_taken on_close(struct hd_session *s, const struct hd_frame *f)
{
    const char *name = (const char *)hd_frame_body(f) + 1;

    if (!readable_target(f))
        return forward_unread(s, f, HD_EXPECT_CLOSE);
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (hd_frame_body(f)[0] == HD_TARGET_STATEMENT) {
        if (*name && !(s->pins & HD_PIN_PROTOCOL))
            return close_name(s, name);
        if (!*name)
            set_unnamed(preps(s), &s->unnamed, NULL);
    }
    if (!s->server) /* nothing of this session's is on any server */
        return hd_reply_bare(s, HD_MSG_CLOSE_COMPLETE, 0) ? no_memory(s) : HD_TAKEN;
    if (!*name && hd_frame_body(f)[0] == HD_TARGET_STATEMENT)
        set_unnamed(preps(s), &s->server->unnamed, NULL);
    return forward_unread(s, f, HD_EXPECT_CLOSE);
}

/* An earlier batch of the pipeline may yet fail, and with it what it did to names: until it is known,
 * whatever stands on names waits. */
static int wait_for_names(struct hd_session *s)
{
    if (!s->doubt)
        return 0;
    if (!s->server || !s->server->expects.count) {
        s->doubt = 0;
        return 0;
    }
    s->paused_by_server = 1;
    hd_link_pause(&s->link);
    return 1;
}

enum hd_taken hd_extended_message(struct hd_session *s, const struct hd_frame *f)
{
    if (skipping(s))
        return hd_drop_piece(s, f);
    if (wait_for_names(s))
        return HD_TAKE_LATER;
    if (f->type != HD_MSG_BIND && f->type != HD_MSG_PARSE && !hd_frame_whole(f))
        return hd_want_bytes(s, f, f->total);
    if (s->console)
        return hd_console_extended(s, f);
    switch (f->type) {
    case HD_MSG_PARSE:
        if (s->held && !hd_held_release(s))
            return HD_TAKE_LATER;
        return on_parse(s, f);
    case HD_MSG_BIND:
        return on_bind(s, f);
    case HD_MSG_DESCRIBE:
        return on_describe(s, f);
    case HD_MSG_EXECUTE:
        return on_execute(s, f);
    default:
        return on_close(s, f);
    }
}

/* Nothing of the batch has reached a server: the host says that it is ready. */
static enum hd_taken sync_here(struct hd_session *s)
{
    const uint8_t ready[6] = {HD_MSG_READY_FOR_QUERY, 0, 0, 0, 5, s->txn};

    s->skip_sync = 0;
    return hd_reply_bytes(s, ready, sizeof(ready)) ? no_memory(s) : HD_TAKEN;
}

static unsigned sync_flags(const struct hd_session *s)
{
    return s->server->copy_in ? HD_EXPECT_MAYBE : s->copy_ended ? HD_EXPECT_ENDED : 0;
}

enum hd_taken hd_extended_sync(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_server *v;

    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    v = s->server;
    if (!v || s->console || (!s->unsynced && !v->expects.count && !v->skipping))
        return sync_here(s);
    if (hd_server_expect(v, (struct hd_expect){.kind = HD_EXPECT_SYNC, .flags = (uint8_t)sync_flags(s)}))
        return no_memory(s);
    s->copy_ended = 0;
    s->doubt |= s->renaming;
    s->renaming = 0;
    if (v->copy_in)
        s->pins |= HD_PIN_PROTOCOL; /* whether it counts depends on what the server finds in the data */
    else
        s->unsynced = 0;
    v->skipping = 0;
    s->skip_sync = 0;
    return hd_forward_piece(s, f);
}

enum hd_taken hd_extended_flush(struct hd_session *s, const struct hd_frame *f)
{
    if (skipping(s))
        return HD_TAKEN;
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    return s->server ? hd_forward_piece(s, f) : HD_TAKEN;
}
