/*
 * Messages of the extended protocol from a client; see extended.h.
 *
 * Looking at a message (what it means for the session) and forwarding it (what it means for the server) are
 * two steps, so that what a filter may replace can be kept back in between.
 */
#include "session/extended.h"

#include <string.h>

#include "base/alloc.h"
#include "session/client.h"
#include "session/console.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/held.h"
#include "session/portal.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/restore.h"
#include "session/server.h"

enum hd_taken hd_no_memory(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
    return HD_TAKE_END;
}

static int skipping(const struct hd_session *s)
{
    return s->skip_sync || (s->server && s->server->skipping);
}

void hd_extended_transaction_ended(struct hd_session *s)
{
    if (!s->held && !s->server->expects.count) /* else they may be of a batch behind */
        hd_portals_forget(s);
}

void hd_extended_free(struct hd_session *s)
{
    hd_held_drop(s, 0);
    hd_portals_free(s);
    hd_names_clear(&s->names, hd_session_preps(s));
    hd_template_release(s->about_names);
    s->about_names = NULL;
    hd_prepared_excuses_free(s);
    hd_prep_drop(hd_session_preps(s), s->unnamed);
    s->unnamed = NULL;
}

/* What cannot be understood goes to the server as it is, which says what is wrong. */
enum hd_taken hd_forward_unread(struct hd_session *s, const struct hd_frame *f, enum hd_expect_kind kind)
{
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    s->unsynced++;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = (uint8_t)kind}))
        return hd_no_memory(s);
    return hd_forward_piece(s, f);
}

/* PostgreSQL's words about a name; there is no other way to say them, since its server knows other names. */
void hd_refuse_name(struct hd_session *s, const char *sqlstate, const char *name, const char *what)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;

    hd_strbuf_printf(&sb, "prepared statement \"%s\" %s", name, what);
    hd_refuse(s, 1, sqlstate, hd_strbuf_str(&sb), NULL, NULL);
    hd_strbuf_free(&sb);
}

/* --- Close, Sync, Flush --- */

/* A name that the server knows by another: its statement stays there for whoever prepares the same. */
static enum hd_taken close_shared(struct hd_session *s, struct hd_name *n)
{
    struct hd_expect e = {.kind = HD_EXPECT_LOCAL, .flags = HD_EXPECT_CLOSED, .type = HD_MSG_CLOSE_COMPLETE};
    int code;

    if (hd_reply_now(s)) {
        code = hd_reply_bare(s, HD_MSG_CLOSE_COMPLETE, 0);
    } else { /* the server may yet skip it */
        s->renaming = 1;
        e.ref = hd_closed_name_new(n);
        code = e.ref ? hd_server_expect(s->server, e) : HD_ENOMEM;
        if (code)
            hd_closed_name_free(hd_session_preps(s), e.ref);
    }
    hd_names_remove(&s->names, hd_session_preps(s), n->name);
    return code ? hd_no_memory(s) : HD_TAKEN;
}

/* What the server knows by the client's name: a portal, a statement of its own, or the unnamed one. */
static enum hd_taken close_there(struct hd_session *s, const struct hd_frame *f, struct hd_name *n,
                                 int unnamed)
{
    struct hd_expect e = {.kind = HD_EXPECT_CLOSE};

    if (n) {
        s->renaming = 1;
        e.flags = HD_EXPECT_CLOSED;
        e.ref = hd_closed_name_new(n);
        if (!e.ref)
            return hd_no_memory(s);
        hd_names_remove(&s->names, hd_session_preps(s), n->name);
        hd_prepared_pin(s);
    } else if (unnamed) {
        e = hd_unnamed_close(s);
    }
    s->unsynced++;
    if (hd_server_expect(s->server, e)) {
        hd_server_forget(s->server, &e);
        return hd_no_memory(s);
    }
    return hd_forward_piece(s, f);
}

static enum hd_taken on_close(struct hd_session *s, const struct hd_frame *f)
{
    const char *name = (const char *)hd_frame_body(f) + 1;
    int statement = hd_frame_body(f)[0] == HD_TARGET_STATEMENT;
    struct hd_name *n;

    if (!hd_target_readable(f))
        return hd_forward_unread(s, f, HD_EXPECT_CLOSE);
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    n = statement && *name ? hd_names_find(&s->names, name) : NULL;
    if (n && !n->own)
        return close_shared(s, n);
    if (s->server && (n || !statement || !*name || hd_prepared_own(s)))
        return close_there(s, f, n, statement && !*name);
    if (statement && !*name)
        hd_unnamed_ended(s);
    /* nothing of that name is on any server */
    return hd_reply_bare(s, HD_MSG_CLOSE_COMPLETE, 0) ? hd_no_memory(s) : HD_TAKEN;
}

/* What the pipeline has done to names may yet turn out not to have happened: until it is known, whatever
 * stands on names waits. */
static int names_are_sure(struct hd_session *s)
{
    if (s->doubt && hd_quiet(s))
        s->doubt = 0;
    return !s->doubt;
}

enum hd_taken hd_extended_message(struct hd_session *s, const struct hd_frame *f)
{
    if (skipping(s)) {
        hd_held_skip(s);
        return hd_drop_piece(s, f);
    }
    if (!names_are_sure(s))
        return hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    if (f->type != HD_MSG_BIND && f->type != HD_MSG_PARSE && !hd_frame_whole(f))
        return hd_want_bytes(s, f, f->total);
    if (s->console)
        return hd_console_extended(s, f);
    switch (f->type) {
    case HD_MSG_PARSE:
        if (s->held && !hd_held_release(s))
            return HD_TAKE_LATER;
        return hd_on_parse(s, f);
    case HD_MSG_BIND:
        return hd_on_bind(s, f);
    case HD_MSG_DESCRIBE:
        return hd_on_describe(s, f);
    case HD_MSG_EXECUTE:
        return hd_on_execute(s, f);
    default:
        return on_close(s, f);
    }
}

/* Nothing of the batch has reached a server: the host says that it is ready. */
static enum hd_taken sync_here(struct hd_session *s)
{
    const uint8_t ready[6] = {HD_MSG_READY_FOR_QUERY, 0, 0, 0, 5, s->txn};

    s->skip_sync = 0;
    s->unnamed_now = 0;
    return hd_reply_bytes(s, ready, sizeof(ready)) ? hd_no_memory(s) : HD_TAKEN;
}

static unsigned sync_flags(const struct hd_session *s)
{
    return s->server->copy_in ? HD_EXPECT_MAYBE : s->copy_ended ? HD_EXPECT_ENDED : 0;
}

enum hd_taken hd_extended_sync(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_server *v;

    if (s->held && skipping(s))
        hd_held_skip(s);
    if (s->held && !hd_held_release(s))
        return HD_TAKE_LATER;
    v = s->server;
    if (!v || s->console || (!s->unsynced && !v->expects.count && !v->skipping))
        return sync_here(s);
    if ((s->unnamed_now & HD_UNNAMED_TO_ASK) && hd_unnamed_synced(s))
        return hd_no_memory(s);
    if (hd_server_expect(v, (struct hd_expect){.kind = HD_EXPECT_SYNC, .flags = (uint16_t)sync_flags(s)}))
        return hd_no_memory(s);
    if (s->restore)
        hd_restore_fence(s);
    s->copy_ended = 0;
    s->unnamed_now = 0;
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
