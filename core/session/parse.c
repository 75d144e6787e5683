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
#include "session/sequence.h"
#include "session/server.h"
#include "sql/facts.h"
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

/* What is known beforehand of the rows that a statement gives. Where PostgreSQL compares them with those of
 * its Parse before each use, or where its parameters are for the server to say, it is asked. */
static uint64_t rows_of(uint32_t kind)
{
    switch (kind) {
    case HD_STATEMENT_SELECT:
    case HD_STATEMENT_INSERT:
    case HD_STATEMENT_UPDATE:
    case HD_STATEMENT_DELETE:
    case HD_STATEMENT_MERGE:
    case HD_STATEMENT_DECLARE:
    case HD_STATEMENT_DDL:
        return HD_ROWS_UNKNOWN;
    case HD_STATEMENT_BEGIN:
    case HD_STATEMENT_SAVEPOINT:
    case HD_STATEMENT_RELEASE:
    case HD_STATEMENT_SET:
    case HD_STATEMENT_RESET:
    case HD_STATEMENT_DEALLOCATE:
    case HD_STATEMENT_CLOSE:
    case HD_STATEMENT_LISTEN:
    case HD_STATEMENT_UNLISTEN:
    case HD_STATEMENT_NOTIFY:
    case HD_STATEMENT_DISCARD:
    case HD_STATEMENT_LOCK:
    case HD_STATEMENT_DO:
    case HD_STATEMENT_VACUUM:
    case HD_STATEMENT_ANALYZE:
    case HD_STATEMENT_TRUNCATE:
    case HD_STATEMENT_PRIVILEGE:
        return HD_ROWS_NONE;
    default:
        return HD_ROWS_NOT_ASKED;
    }
}

/* Remembers what the client has prepared. NULL: no memory. */
static struct hd_name *note_parse(struct hd_session *s, const char *name, struct hd_prep *prep, uint32_t kind)
{
    struct hd_name *n =
        hd_names_set(&s->names, hd_session_preps(s), name, hd_prep_hold(prep), ++s->parse_seq);

    if (!n) {
        hd_prep_drop(hd_session_preps(s), prep);
        return NULL;
    }
    n->rows = rows_of(kind);
    n->own = hd_prepared_own(s) ? HD_NAME_OWN : HD_NAME_SHARED;
    if (n->own)
        hd_prepared_pin(s);
    return n;
}

enum hd_taken hd_forward_named_parse(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                     struct hd_name *n)
{
    if (!n->own)
        return hd_prepared_parse(s, n) ? hd_no_memory(s) : HD_TAKEN;
    s->unsynced++;
    s->renaming = 1;
    if (hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_PARSE, .seq = n->seq}) ||
        hd_link_send(&s->server->link, buf, f->data, f->here))
        return hd_no_memory(s);
    return HD_TAKEN;
}

/* A name that the client has already: PostgreSQL says what is wrong with that, unless with the text. */
static enum hd_taken parse_taken(struct hd_session *s, const struct hd_frame *f, struct hd_name *n,
                                 const struct hd_parse_message *p)
{
    if (!s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    if (!n->own)
        return hd_prepared_parse_taken(s, n, p->body, p->body_len) ? hd_no_memory(s) : HD_TAKEN;
    if (n->own == HD_NAME_OWN)
        n->own = HD_NAME_OWN_TOO; /* unless a function has dropped it there */
    s->unsynced++;
    if (hd_server_expect(
            s->server, (struct hd_expect){.kind = HD_EXPECT_PARSE, .flags = HD_EXPECT_TAKEN, .seq = n->seq}))
        return hd_no_memory(s);
    return hd_forward_piece(s, f);
}

static enum hd_taken parse_new(struct hd_session *s, const struct hd_frame *f,
                               const struct hd_parse_message *p, struct hd_prep *prep, uint32_t kind,
                               int hold)
{
    struct hd_name *n;

    if (!*p->name)
        s->unnamed_now = HD_UNNAMED_PARSED | (rows_of(kind) == HD_ROWS_UNKNOWN ? HD_UNNAMED_TO_ASK : 0u);
    if (!*p->name && !hold)
        return hd_unnamed_parse(s, prep) ? hd_no_memory(s) : HD_TAKEN;
    if (!*p->name)
        return hd_held_parse(s, f, ++s->parse_seq, prep) ? HD_TAKEN : hd_no_memory(s);
    n = note_parse(s, p->name, prep, kind);
    if (!n)
        return hd_no_memory(s);
    if (hold)
        return hd_held_parse(s, f, n->seq, NULL) ? HD_TAKEN : hd_no_memory(s);
    return hd_forward_named_parse(s, f, hd_link_buf(&s->link), n);
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
    enum hd_taken taken;
    struct hd_prep *prep;
    struct hd_name *n;
    int hold;

    if (!hd_frame_whole(f)) {
        if (f->total <= (uint32_t)s->w->settings->host.max_statement_length)
            return hd_want_bytes(s, f, f->total);
        s->pins |= HD_PIN_PROTOCOL; /* too long to be kept: it stays on its server, under its own name */
        return hd_forward_unread(s, f, HD_EXPECT_PARSE);
    }
    if (!hd_read_parse(hd_frame_body(f), hd_frame_body_len(f), &p))
        return hd_forward_unread(s, f, HD_EXPECT_PARSE);
    n = *p.name ? hd_names_find(&s->names, p.name) : NULL;
    if (n)
        return parse_taken(s, f, n, &p);
    if (*p.name && s->names.count >= (uint64_t)s->w->settings->host.max_prepared_per_client) {
        hd_refuse(s, 1, "53400", "too many prepared statements", NULL,
                  "Close some, or raise max_prepared_per_client of [host].");
        return HD_TAKEN;
    }
    if (*p.name && no_room(s, f->total))
        return HD_TAKEN;
    if (hd_text_of_parse(s, p.sql, p.sql_len, &t))
        return hd_no_memory(s);
    if (t.facts & HD_FACT_LASTVAL)
        hd_sequence_announce(s);
    hold = (t.plan->want & HD_WANT_REPLACE) && !s->held && t.kind != HD_STATEMENT_EXECUTE &&
           f->total <= (uint32_t)s->w->settings->host.max_statement_length;
    if (!hold && !s->server && !hd_session_want_server(s))
        return HD_TAKE_LATER;
    if (t.kind == HD_STATEMENT_EXECUTE && (taken = hd_prepared_sql(s, &t)) != HD_TAKEN)
        return taken;
    prep = hd_prep_get(hd_session_preps(s), p.body, p.body_len, (uint32_t)p.sql_len);
    if (!prep)
        return hd_no_memory(s);
    taken = parse_new(s, f, &p, prep, t.kind, hold);
    hd_prep_drop(hd_session_preps(s), prep);
    return taken;
}
