/*
 * What the walsender sends: messages told to consumers, keepalives that move the position. A transaction is
 * told from its first change on, so that those without any are not told at all, and the host's own messages
 * are not either.
 */
#include "stream.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define BATCH      512 /* messages between two looks at everything else */
#define OWN_PREFIX "howdah"
#define PG_EPOCH   INT64_C(946684800) /* 2000-01-01 in seconds since 1970 */

void cs_advance(struct stream *s, uint64_t lsn)
{
    if (lsn > atomic_load_explicit(&s->position, memory_order_relaxed))
        atomic_store(&s->position, lsn);
}

int cs_send_status(struct stream *s, int want_reply)
{
    uint8_t status[PGO_STATUS_LEN];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    pgo_status(status, atomic_load(&s->position),
               ((int64_t)now.tv_sec - PG_EPOCH) * 1000000 + now.tv_nsec / 1000, want_reply);
    s->last_status_ns = cs_now();
    /* 0: there is no room now; what is ahead of it says as much. */
    return PQputCopyData(s->repl, (const char *)status, sizeof(status)) < 0 || PQflush(s->repl) < 0 ? HD_EIO
                                                                                                    : HD_OK;
}

/* --- the bus ------------------------------------------------------------------------------------------- */

static void name(char *to, const char *from)
{
    snprintf(to, HD_EVENT_NAME, "%s", from);
}

static void publish(struct stream *s, uint32_t kind, uint32_t oid, const struct hd_stream_relation *r)
{
    struct plugin *p = s->plugin;
    struct hd_event_row ev = {.size = sizeof(ev), .kind = kind, .xid = s->xid, .oid = oid, .lsn = s->xid_lsn};

    if (p->topic < 0 || !p->bus->wanted(p->host, p->topic))
        return;
    name(ev.node, s->node);
    name(ev.database, s->dbname);
    name(ev.schema, r ? r->schema.ptr : "");
    name(ev.table, r ? r->name.ptr : "");
    p->bus->publish(p->host, p->topic, &ev, sizeof(ev));
}

void cs_publish_gap(struct stream *s)
{
    publish(s, HD_ROW_GAP, 0, NULL);
}

/* --- messages ------------------------------------------------------------------------------------------ */

static void tell_begin(struct stream *s)
{
    if (s->told_begin)
        return;
    s->told_begin = 1;
    CS_TELL(s, begin, s->xid);
}

static void take_row(struct stream *s, struct hd_stream_row *row)
{
    tell_begin(s);
    row->xid = s->xid;
    atomic_fetch_add_explicit(&s->changes, 1, memory_order_relaxed);
    CS_TELL(s, row, row);
    publish(s, row->kind, row->relation->oid, row->relation);
}

static void take_truncate(struct stream *s, const struct pgo_message *m)
{
    tell_begin(s);
    atomic_fetch_add_explicit(&s->changes, 1, memory_order_relaxed);
    CS_TELL(s, truncate, s->xid, m->oids, m->oid_count);
    for (uint32_t i = 0; i < m->oid_count; i++)
        publish(s, HD_ROW_TRUNCATE, m->oids[i], NULL);
}

static void take_message(struct stream *s, const struct pgo_message *m)
{
    if (m->prefix.len == strlen(OWN_PREFIX) && !memcmp(m->prefix.ptr, OWN_PREFIX, m->prefix.len))
        return;
    if (m->transactional)
        tell_begin(s);
    CS_TELL(s, message, m->transactional ? s->xid : 0, m->prefix, m->content);
}

static int take_commit(struct stream *s, const struct pgo_message *m)
{
    int code = HD_OK;

    s->in_transaction = 0;
    if (s->told_begin) {
        atomic_fetch_add_explicit(&s->commits, 1, memory_order_relaxed);
        CS_TELL(s, commit, s->xid, m->lsn, m->end_lsn);
        code = cs_unsettled_add(s, s->xid);
    }
    s->told_begin = 0;
    cs_advance(s, m->end_lsn);
    return code;
}

static void take_begin(struct stream *s, const struct pgo_message *m)
{
    s->in_transaction = 1;
    s->told_begin = 0;
    s->xid = m->xid;
    s->xid_lsn = m->lsn;
}

static int take_inside(struct stream *s, const struct pgo_envelope *e, char *why)
{
    struct pgo_message m;
    int code = pgo_parse(s->parser, e->inside, e->inside_len, &m);

    if (!code && !s->in_transaction &&
        (m.kind == PGO_ROW || m.kind == PGO_TRUNCATE || m.kind == PGO_COMMIT ||
         (m.kind == PGO_MESSAGE && m.transactional)))
        code = HD_EPROTO;
    if (code) {
        snprintf(why, 200, "a message of the stream cannot be read (%d)", code);
        return code;
    }
    switch (m.kind) {
    case PGO_RELATION:
        CS_TELL(s, relation, m.relation);
        break;
    case PGO_BEGIN:
        take_begin(s, &m);
        break;
    case PGO_COMMIT:
        return take_commit(s, &m);
    case PGO_ROW:
        take_row(s, &m.row);
        break;
    case PGO_TRUNCATE:
        take_truncate(s, &m);
        break;
    case PGO_MESSAGE:
        take_message(s, &m);
        break;
    default:
        break;
    }
    return HD_OK;
}

static int take_piece(struct stream *s, const char *data, size_t len, char *why)
{
    struct pgo_envelope e;

    if (pgo_unwrap(data, len, &e)) {
        snprintf(why, 200, "a piece of the stream cannot be read");
        return HD_EPROTO;
    }
    if (!e.keepalive)
        return take_inside(s, &e, why);
    cs_advance(s, e.end);
    s->pinged = 0;
    return e.reply_wanted ? cs_send_status(s, 0) : HD_OK;
}

/* Why the stream has ended, as the server says. */
static int ended(struct stream *s, int got, char *why)
{
    PGresult *res = got == -1 ? PQgetResult(s->repl) : NULL;

    cs_pq_reason(res && PQresultErrorMessage(res)[0] ? PQresultErrorMessage(res) : PQerrorMessage(s->repl),
                 why);
    PQclear(res);
    return HD_EIO;
}

int cs_receive(struct stream *s, char *why)
{
    char *data;
    int code = HD_OK, got = 0;

    if (!PQconsumeInput(s->repl))
        return ended(s, -2, why);
    s->more = 0;
    for (int i = 0; i < BATCH && !code && (got = PQgetCopyData(s->repl, &data, 1)) > 0; i++) {
        s->last_received_ns = cs_now();
        code = take_piece(s, data, (size_t)got, why);
        PQfreemem(data);
    }
    if (!code && got < 0)
        return ended(s, got, why);
    s->more = got > 0;
    return code;
}
