/*
 * Bind and Describe from a client; see extended.h.
 */
#include <string.h>

#include "base/units.h"
#include "session/client.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/held.h"
#include "session/portal.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/sequence.h"
#include "session/server.h"
#include "session/track.h"
#include "sql/facts.h"
#include "wire/read.h"

/* So much of a Bind is gathered to find its two names. */
#define NAMES_MAX 8192
/* A portal's name that is longer leaves as a slice of its own, in front of the statement's new name. */
#define PORTAL_COPIED 64

/* Sends a message with one name in it replaced: `before` bytes of body stay in front of it. */
static enum hd_taken send_renamed(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                  size_t before, size_t old_len, uint64_t id)
{
    char name[HD_PREP_NAME];
    size_t name_len = hd_prep_name(id, name) + 1;
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
        return hd_no_memory(s);
    } else {
        n = 0;
    }
    memcpy(head + n, name, name_len);
    if (hd_link_send_copy(out, head, n + name_len) ||
        hd_link_send(out, buf, f->data + cut, (uint32_t)(f->here - cut)))
        return hd_no_memory(s);
    s->pass_rest = !hd_frame_last(f);
    return HD_TAKEN;
}

int hd_read_bind(const struct hd_frame *f, struct hd_bind_message *out)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), f->here - HD_MSG_HEAD);

    out->portal = hd_read_cstr(&r, &out->portal_len);
    out->name = hd_read_cstr(&r, &out->name_len);
    return !r.failed;
}

/* The server must have the statement that a message is about. *id: its number there, or 0 where it is known
 * by the client's own name. */
static enum hd_ready ready(struct hd_session *s, struct hd_name *n, const char *name, int describe,
                           uint64_t *id)
{
    *id = 0;
    if (!*name && !n)
        return hd_unnamed_ready(s, describe);
    if (n && n->own == HD_NAME_EMPTY && hd_prepared_unexport(s, n))
        return HD_READY_ENOMEM;
    return n && !n->own ? hd_prepared_ready(s, n, describe, id) : HD_READY;
}

static int tell_parameters(struct hd_session *s, const struct hd_prep *p)
{
    struct hd_buf *b = hd_prepared_parameters(s, p);
    int code = b ? hd_reply_buf(s, b) : HD_ENOMEM;

    hd_buf_drop(b);
    return code;
}

/* It is not. `described`: the content that is to be described. */
static enum hd_taken not_ready(struct hd_session *s, const struct hd_frame *f, enum hd_ready why,
                               const struct hd_prep *described)
{
    if (why == HD_READY_LATER)
        return HD_TAKE_LATER;
    if (why == HD_READY_ENOMEM || (described && tell_parameters(s, described)))
        return hd_no_memory(s);
    hd_refuse(s, 1, "0A000", "cached plan must not change result type", NULL, NULL);
    return hd_drop_piece(s, f);
}

enum hd_taken hd_forward_bind(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                              const struct hd_bind_message *b, struct hd_name *n)
{
    uint64_t id;
    enum hd_ready r = ready(s, n, b->name, 0, &id);

    if (r != HD_READY)
        return not_ready(s, f, r, NULL);
    s->unsynced++;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_BIND, .seq = n ? n->seq : 0}))
        return hd_no_memory(s);
    if (id)
        return send_renamed(s, f, buf, b->portal_len + 1, b->name_len, id);
    if (hd_link_send(&s->server->link, buf, f->data, f->here))
        return hd_no_memory(s);
    s->pass_rest = !hd_frame_last(f);
    return HD_TAKEN;
}

/* Does a filter want to see the parameters? Then the Bind is wanted whole. */
static int gather_bind(struct hd_session *s, const struct hd_frame *f, const struct hd_text *t)
{
    return !hd_frame_whole(f) && (t->plan->want & HD_WANT_DECIDE) &&
           f->total <= (uint32_t)s->w->settings->host.max_statement_length;
}

static void note_set_config(struct hd_session *s, const struct hd_frame *f, const struct hd_text *t,
                            const struct hd_prep *p)
{
    struct hd_stmt_input in = {.sql = (const char *)p->body, .sql_len = p->sql_len};

    if (hd_frame_whole(f)) {
        in.bind = hd_frame_body(f);
        in.bind_len = hd_frame_body_len(f);
    }
    hd_track_set_config(s, t, &in);
}

enum hd_taken hd_on_bind(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_text t = {0};
    struct hd_prep *p, *shown;
    struct hd_bind_message b;
    int hold = 0;

    if (!hd_read_bind(f, &b)) {
        if (!hd_frame_whole(f) && f->here < NAMES_MAX)
            return hd_want_bytes(s, f, NAMES_MAX);
        return hd_forward_unread(s, f, HD_EXPECT_BIND);
    }
    if (!*b.name && hd_unnamed_in_doubt(s))
        return hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    if (!*b.name)
        s->unnamed_now &= (uint8_t)~HD_UNNAMED_TO_ASK;
    p = hd_prepared_content(s, b.name);
    if (!p && hd_prepared_foreign(b.name)) {
        hd_refuse_name(s, "26000", b.name, "does not exist");
        return hd_drop_piece(s, f);
    }
    if (p) {
        if (hd_text_of_parse(s, (const char *)p->body, p->sql_len, &t))
            return hd_no_memory(s);
        if (gather_bind(s, f, &t))
            return hd_want_bytes(s, f, f->total);
        /* EXECUTE brings its name to the server in front of its own messages: those are never kept back. */
        hold = (t.plan->want & HD_WANT_REPLACE) && hd_frame_whole(f) && t.kind != HD_STATEMENT_EXECUTE;
        if (t.facts & HD_FACT_SET_CONFIG)
            note_set_config(s, f, &t, p);
        if (t.facts & HD_FACT_LASTVAL)
            hd_sequence_announce(s);
    }
    if (!hold) {
        if (s->held && !hd_held_release(s))
            return HD_TAKE_LATER;
        if (!s->server && !hd_session_want_server(s))
            return HD_TAKE_LATER;
    }
    shown = p && (t.plan->want & HD_WANT_DECIDE) ? p : NULL;
    if (t.kind == HD_STATEMENT_EXECUTE) { /* the portal takes its rows from what it executes */
        enum hd_taken taken = hd_prepared_sql(s, &t);

        if (taken != HD_TAKEN)
            return taken;
        t.tmpl = s->about_names; /* others have been looked up */
    }
    if (hd_portal_set(s, b.portal, t.tmpl, shown))
        return hd_no_memory(s);
    if (hold && hd_held_add(s, f, 0))
        return HD_TAKEN;
    if (hold && (!hd_held_release(s) || (!s->server && !hd_session_want_server(s))))
        return HD_TAKE_LATER;
    return hd_forward_bind(s, f, hd_link_buf(&s->link), &b, hd_names_find(&s->names, b.name));
}

enum hd_taken hd_forward_describe(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                  uint16_t flags)
{
    uint8_t what = hd_frame_body(f)[0];
    const char *name = (const char *)hd_frame_body(f) + 1;
    struct hd_name *n = what == HD_TARGET_STATEMENT ? hd_names_find(&s->names, name) : NULL;
    enum hd_ready r = HD_READY;
    uint64_t id = 0;

    if (what == HD_TARGET_STATEMENT)
        r = ready(s, n, name, 1, &id);
    if (r != HD_READY)
        return not_ready(s, f, r, hd_prepared_content(s, name));
    s->unsynced++;
    if (hd_server_expect(
            s->server, (struct hd_expect){.kind = HD_EXPECT_DESCRIBE, .flags = flags, .seq = n ? n->seq : 0}))
        return hd_no_memory(s);
    if (id)
        return send_renamed(s, f, buf, 1, strlen(name), id);
    return hd_link_send(&s->server->link, buf, f->data, f->here) ? hd_no_memory(s) : HD_TAKEN;
}

/* 'S' or 'P' and one string: Describe and Close. */
int hd_target_readable(const struct hd_frame *f)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    uint8_t what = hd_read_u8(&r);

    hd_read_cstr(&r, NULL);
    return hd_reader_done(&r) && (what == HD_TARGET_STATEMENT || what == HD_TARGET_PORTAL);
}

enum hd_taken hd_on_describe(struct hd_session *s, const struct hd_frame *f)
{
    const char *name = (const char *)hd_frame_body(f) + 1;
    struct hd_buf *excuse;

    if (!hd_target_readable(f))
        return hd_forward_unread(s, f, HD_EXPECT_DESCRIBE);
    if (s->held && hd_frame_body(f)[0] == HD_TARGET_PORTAL && hd_held_add(s, f, 0))
        return HD_TAKEN;
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (hd_frame_body(f)[0] == HD_TARGET_STATEMENT && !hd_prepared_content(s, name) &&
        hd_prepared_foreign(name)) {
        hd_refuse_name(s, "26000", name, "does not exist");
        return HD_TAKEN;
    }
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    if (s->excuses && hd_frame_body(f)[0] == HD_TARGET_PORTAL &&
        (excuse = hd_prepared_excuse_of(s, hd_portal_template(s, name)))) {
        hd_refuse_as(s, 1, excuse);
        return HD_TAKEN;
    }
    return hd_forward_describe(s, f, hd_link_buf(&s->link), 0);
}
