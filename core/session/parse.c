/*
 * Parse from a client; see extended.h.
 */
#include <string.h>

#include "base/units.h"
#include "session/client.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/held.h"
#include "session/pool.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/server.h"
#include "wire/read.h"

int hd_read_parse(const uint8_t *body, uint32_t len, struct hd_parse_message *out)
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

/* Has a server of this session's pool prepared it before? Then none need be waited for to say so again:
 * clients that prepare the same as they connect would wait for those that are in a transaction. */
static int proven(const struct hd_session *s, const struct hd_prep *prep)
{
    return !s->server && !s->route &&
           atomic_load_explicit(&prep->proven, memory_order_relaxed) == hd_pool_identity(s->pool);
}

enum hd_taken hd_forward_named_parse(struct hd_session *s, struct hd_prep *prep, uint32_t seq)
{
    int code;

    s->unsynced++;
    s->renaming = 1;
    if (hd_server_preps_use(&s->server->preps, prep))
        code = hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, seq);
    else
        code = hd_prepared_ensure(s, prep, 0, seq);
    return code ? hd_no_memory(s) : HD_TAKEN;
}

enum hd_taken hd_forward_unnamed_parse(struct hd_session *s, struct hd_prep *prep, uint32_t seq)
{
    s->unsynced++;
    hd_prepared_set_unnamed(hd_session_preps(s), &s->server->unnamed, prep);
    return hd_prepared_send_parse(s, prep, "", HD_EXPECT_UNNAMED, seq) ? hd_no_memory(s) : HD_TAKEN;
}

/* Remembers what the client has prepared. */
static int note_parse(struct hd_session *s, const struct hd_parse_message *p, struct hd_prep *prep,
                      uint32_t seq)
{
    if (!*p->name) {
        hd_prepared_set_unnamed(hd_session_preps(s), &s->unnamed, prep);
        return HD_OK;
    }
    if (hd_names_set(&s->names, hd_session_preps(s), p->name, hd_prep_hold(prep), seq)) {
        hd_prep_drop(hd_session_preps(s), prep);
        return HD_ENOMEM;
    }
    return HD_OK;
}

static enum hd_taken parse_known(struct hd_session *s, const struct hd_frame *f,
                                 const struct hd_parse_message *p, int hold)
{
    struct hd_prep *prep = hd_prep_get(hd_session_preps(s), p->body, p->body_len, (uint32_t)p->sql_len);
    int known = prep && *p->name && !hold && proven(s, prep);
    uint32_t seq = ++s->parse_seq;
    enum hd_taken taken = HD_TAKEN;

    if (!hold && !known && !s->server && !hd_session_want_server(s)) {
        hd_prep_drop(hd_session_preps(s), prep);
        return HD_TAKE_LATER;
    }
    if (!prep || note_parse(s, p, prep, seq)) {
        hd_prep_drop(hd_session_preps(s), prep);
        return hd_no_memory(s);
    }
    if (hold)
        taken = hd_held_add(s, f, seq) ? HD_TAKEN : hd_no_memory(s);
    else if (known)
        taken = hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, seq) ? hd_no_memory(s) : HD_TAKEN;
    else
        taken = *p->name ? hd_forward_named_parse(s, prep, seq) : hd_forward_unnamed_parse(s, prep, seq);
    hd_prep_drop(hd_session_preps(s), prep);
    return taken;
}

/* The client's statements, or the host as a whole, may not have any more memory: refused in clear words. */
static int no_room(struct hd_session *s, uint32_t more)
{
    const char *hint;

    if (s->names.bytes + more > (uint64_t)s->w->settings->host.max_session_memory)
        hint = "Close some of its prepared statements, or raise max_session_memory of [host].";
    else if (atomic_load_explicit(&s->w->all->memory_over, memory_order_relaxed))
        hint = "The host has reached max_memory of [host].";
    else
        return 0;
    hd_refuse(s, 1, "53200", "out of memory", "No more prepared statements can be kept for this client.",
              hint);
    return 1;
}

enum hd_taken hd_on_parse(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_text t;
    struct hd_parse_message p;
    int hold;

    if (!hd_frame_whole(f)) {
        if (f->total <= (uint32_t)s->w->settings->host.max_statement_length)
            return hd_want_bytes(s, f, f->total);
        s->pins |= HD_PIN_PROTOCOL; /* too long to be kept: it stays on its server, under its own name */
        return hd_forward_unread(s, f, HD_EXPECT_PARSE);
    }
    if (!hd_read_parse(hd_frame_body(f), hd_frame_body_len(f), &p))
        return hd_forward_unread(s, f, HD_EXPECT_PARSE);
    if (*p.name && hd_names_find(&s->names, p.name)) {
        hd_refuse_name(s, "42P05", p.name, "already exists");
        return HD_TAKEN;
    }
    if (*p.name && s->names.count >= (uint64_t)s->w->settings->host.max_prepared_per_client) {
        hd_refuse(s, 1, "53400", "too many prepared statements", NULL,
                  "Close some, or raise max_prepared_per_client of [host].");
        return HD_TAKEN;
    }
    if (*p.name && no_room(s, f->total))
        return HD_TAKEN;
    if (hd_text_of_parse(s, p.sql, p.sql_len, &t))
        return hd_no_memory(s);
    hold = (t.plan->want & HD_WANT_REPLACE) && !s->held &&
           f->total <= (uint32_t)s->w->settings->host.max_statement_length;
    return parse_known(s, f, &p, hold);
}
