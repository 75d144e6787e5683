/*
 * Execute from a client, where filters decide; see extended.h.
 */
#include <string.h>

#include "base/units.h"
#include "session/client.h"
#include "session/defined.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/held.h"
#include "session/pool.h"
#include "session/portal.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/sequence.h"
#include "session/server.h"
#include "session/track.h"
#include "wire/read.h"

/* The content that the kept Bind is about. */
static struct hd_prep *held_content(struct hd_session *s, struct hd_frame *f)
{
    const struct hd_held_message *m = hd_held_find(s, HD_MSG_BIND);
    struct hd_bind_message b;

    if (!m)
        return NULL;
    *f = hd_held_frame(s->held, m);
    return hd_read_bind(f, &b) ? hd_prepared_content(s, b.name) : NULL;
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
        out = hd_prep_get(hd_session_preps(s), (const uint8_t *)sb.data, (uint32_t)sb.len, sql->len);
    hd_strbuf_free(&sb);
    return out;
}

/* What is kept back goes to the server, as the filter would have it. 0: later. */
static int release_decided(struct hd_session *s)
{
    struct hd_frame f;
    struct hd_prep *p = held_content(s, &f), *other = NULL;
    struct hd_name instead = {.rows = HD_ROWS_NOT_ASKED};
    int done;

    if (s->pending && s->pending->rewrite && p && !(other = rewritten(s, p, s->pending->rewrite))) {
        hd_no_memory(s);
        return 0;
    }
    instead.prep = other;
    done = hd_held_release_as(s, other ? &instead : NULL);
    hd_prep_drop(hd_session_preps(s), other);
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
    hd_stmt_answer(s->pending, v->bytes.ptr, v->bytes.len);
    if (v->release)
        v->release(v->release_arg);
    hd_held_drop(s, 0);
    hd_finish_pending(s, 1, NULL);
    s->pool->stats.answered++;
    s->statements++;
    return code ? hd_no_memory(s) : HD_TAKEN;
}

static enum hd_taken forward_execute(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_stmt *st = hd_take_pending(s);

    s->unsynced++;
    s->copy_ended = 0; /* that was of what came before */
    s->statements++;
    s->pool->stats.queries++;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_EXECUTE, .ref = st})) {
        if (st)
            hd_stmt_complete(st);
        return hd_no_memory(s);
    }
    return hd_forward_piece(s, f);
}

static void fill_input(struct hd_session *s, const char *portal, uint32_t max_rows, struct hd_stmt_input *in)
{
    struct hd_frame f;
    struct hd_prep *held = held_content(s, &f), *p = held ? held : hd_portal_prep(s, portal);

    in->flags = HD_STMT_EXTENDED | (max_rows ? HD_STMT_LIMITED : 0) |
                (hd_held_find(s, HD_MSG_DESCRIBE) ? HD_STMT_DESCRIBED : 0);
    if (!p) {
        in->flags |= HD_STMT_NO_TEXT;
        return;
    }
    in->sql = (const char *)p->body;
    in->sql_len = p->sql_len;
    if (!held)
        return; /* the Bind has gone on */
    in->bind = hd_frame_body(&f);
    in->bind_len = hd_frame_body_len(&f);
    in->types = p->body + p->sql_len + 3;
    in->type_count = (p->len - p->sql_len - 3) / 4;
}

/* The text that a portal runs, or one without facts where it is not known. */
static int text_of_portal(struct hd_session *s, const char *portal, struct hd_text *t)
{
    struct hd_template *tmpl = hd_portal_template(s, portal);

    return tmpl ? hd_text_of_template(s, tmpl, t) : hd_text_of_query(s, NULL, 0, t);
}

/* Is what is kept back about this portal? */
static int held_portal(struct hd_session *s, const char *portal)
{
    const struct hd_held_message *m = hd_held_find(s, HD_MSG_BIND);
    struct hd_frame f;
    struct hd_bind_message b;

    if (!m)
        return 0;
    f = hd_held_frame(s->held, m);
    return hd_read_bind(&f, &b) && !strcmp(b.portal, portal);
}

enum hd_taken hd_on_execute(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    const char *portal = hd_read_cstr(&r, NULL);
    uint32_t max_rows = hd_read_u32(&r);
    struct hd_stmt_input in = {0};
    enum hd_decision d;
    enum hd_taken taken;
    struct hd_verdict v;
    struct hd_text t;

    if (r.failed)
        return hd_forward_unread(s, f, HD_EXPECT_EXECUTE);
    if (s->held && !held_portal(s, portal) && !hd_held_release(s))
        return HD_TAKE_LATER;
    if (text_of_portal(s, portal, &t))
        return hd_no_memory(s);
    fill_input(s, portal, max_rows, &in);
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
    if (hd_track_note(s, &t))
        return hd_no_memory(s);
    if ((t.facts & HD_FACT_LASTVAL) && hd_sequence_guard(s, !s->unsynced && !s->held)) {
        hd_finish_pending(s, 2, "55000");
        hd_held_drop(s, 1);
        hd_refuse(s, 1, "55000", "lastval is not yet defined in this session", NULL, NULL);
        return HD_TAKEN;
    }
    if (s->held && !release_decided(s))
        return HD_TAKE_LATER;
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    taken = hd_prepared_sql(s, &t);
    if (taken != HD_TAKEN)
        return taken;
    hd_defined_note(s->server, t.facts);
    return forward_execute(s, f);
}
