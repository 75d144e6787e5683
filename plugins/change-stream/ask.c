/*
 * Questions to the server, on an ordinary connection, one at a time. One kind of question serves all who want
 * to know something: how far the log is written and flushed, which transactions have ended, and whether the
 * publication and the roles are still what they were. Who comes while a question is under way shares the next
 * one.
 */
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS             NS_PER_MS
#define SETTLE_MIN     (1 * MS) /* between questions that only ask for transactions' ends */
#define SETTLE_MAX     (50 * MS)
#define FLUSH_PATIENCE (1 * MS) /* for others' commits to flush what a check waits for */
#define MONITOR_NS     (1000 * MS)
#define ANSWER_NS      (30000 * MS)

/* XLogPageHeaderData and its long form, aligned. */
#define SHORT_HEADER 24
#define LONG_HEADER  40

/* clang-format off: the texts are laid out as SQL */
static const char session_sql[] =
    "SET search_path = pg_catalog; SET synchronous_commit = local; SET statement_timeout = 0;"
    "SET idle_session_timeout = 0; SET lock_timeout = 0; SET jit = off;"
    "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off";

#define PRINT(alias) "hashtextextended(" alias ".oid::text || ' ' || " alias ".xmin::text, 0)"

/* $5: a snapshot in which nobody writes. While it is still the present one, nothing has been changed since.
 */
#define UNLESS_QUIET(expression) " CASE WHEN pg_current_snapshot()::text <> $5::text THEN " expression " END"
#define OF_PUBLICATION                                                                                       \
    " FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = $1::text::name"

static const char position_sql[] =
    "SELECT pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn(), "
    "pg_current_snapshot()::text," UNLESS_QUIET(
        "(SELECT p.oid::text || ' ' || p.xmin::text FROM pg_publication p WHERE p.pubname = "
        "$1::text::name)") ","
                           " CASE WHEN $4::text = '1' AND pg_current_snapshot()::text <> $5::text THEN"
                           " (SELECT coalesce(bit_xor(hashtextextended(m::text, 0)), 0) FROM "
                           "pg_auth_members m)::text"
                           " || ' ' || (SELECT coalesce(bit_xor(hashtextextended(r::text, 0)), 0) FROM "
                           "pg_roles r)"
                           " || ' ' || (SELECT coalesce(bit_xor(hashtextextended(d::text, 0)), 0) FROM "
                           "pg_db_role_setting d) END," UNLESS_QUIET(
                               "(SELECT string_agg(e.evtname || ' ' || e.evtenabled::text || ' ' || "
                               "e.xmin::text, ',' ORDER BY e.evtname)"
                               " FROM pg_event_trigger e WHERE e.evtname IN ('howdah_ddl', "
                               "'howdah_drop', 'howdah_rewrite'))") ","
                                                                    " CASE WHEN $2::text <> '{}' AND "
                                                                    "pg_current_snapshot()::text <> "
                                                                    "$5::text THEN"
                                                                    " (SELECT count(*) || ' ' || "
                                                                    "coalesce(bit_xor(" PRINT(
                                                                        "r") "), 0)" OF_PUBLICATION
                                                                             " WHERE r.prrelid = ANY "
                                                                             "($2::text::oid[])) END,"
                                                                             " CASE WHEN $3::text <> "
                                                                             "'{}' THEN (SELECT "
                                                                             "string_agg(r.prrelid::text "
                                                                             "|| ' ' || " PRINT(
                                                                                 "r") ", "
                                                                                      "','"
                                                                                      ")" OF_PUBLICATION
                                                                                      " WHERE r.prrelid "
                                                                                      "= ANY "
                                                                                      "($3::text::oid[]))"
                                                                                      " END";

static const char flush_sql[] = "SELECT pg_logical_emit_message(true, 'howdah', '')";

static const char monitor_sql[] =
    "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), coalesce(restart_lsn, "
    "pg_current_wal_insert_lsn()))::int8,"
    " pg_current_wal_insert_lsn() FROM pg_replication_slots WHERE slot_name = $1";

static const char server_sql[] =
    "SELECT current_setting('server_version_num'), current_setting('wal_level'), pg_is_in_recovery(),"
    " current_setting('wal_block_size'), (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size')";

/* clang-format on */

/* --- start --------------------------------------------------------------------------------------------- */

static int look_at_server(struct stream *s, char *why)
{
    PGresult *res;
    int code = cs_exec(s, s->ask, server_sql, &res, why);

    if (code)
        return code;
    s->server_version = atoi(PQgetvalue(res, 0, 0));
    s->block_size = (uint32_t)atoi(PQgetvalue(res, 0, 3));
    s->segment_size = strtoull(PQgetvalue(res, 0, 4), NULL, 10);
    code = HD_EUNSUPP;
    if (s->server_version < 140000)
        snprintf(why, 200, "the server is older than PostgreSQL 14");
    else if (strcmp(PQgetvalue(res, 0, 1), "logical") != 0)
        snprintf(why, 200, "the server has wal_level = %s; it has to be logical", PQgetvalue(res, 0, 1));
    else if (PQgetvalue(res, 0, 2)[0] == 't')
        snprintf(why, 200, "the server is a standby");
    else if (!s->block_size || !s->segment_size)
        snprintf(why, 200, "the server does not say how its log is cut");
    else
        code = HD_OK;
    PQclear(res);
    return code;
}

int cs_ask_prepare(struct stream *s, char *why)
{
    int code = cs_exec(s, s->ask, session_sql, NULL, why);

    if (!code)
        code = look_at_server(s, why);
    if (!code)
        code = cs_prepare(s, s->ask, "position", position_sql, why);
    if (!code)
        code = cs_prepare(s, s->ask, "flush", flush_sql, why);
    if (!code)
        code = cs_prepare(s, s->ask, "monitor", monitor_sql, why);
    return code;
}

void cs_ask_reset(struct stream *s)
{
    s->asking = ASK_NOTHING;
    s->unsettled.count = 0;
    atomic_store(&s->unsettled_count, 0);
    s->settle_ns = 0;
    s->flush_lsn = 0;
    s->next_monitor_ns = 0;
    s->publication_print[0] = s->roles_print[0] = s->ddl_print[0] = 0;
    s->xmin = s->xmax = 0;
    s->reverify = 0;
    s->quiet[0] = 0;
}

/* --- transactions' ends -------------------------------------------------------------------------------- */

int cs_unsettled_add(struct stream *s, uint32_t xid)
{
    uint64_t soon = s->asked_ns + SETTLE_MIN;
    struct ids *u = &s->unsettled;

    if (u->count == u->room) {
        size_t room = u->room ? u->room * 2 : 64;
        uint32_t *grown = realloc(u->list, room * sizeof(*grown));

        if (!grown)
            return HD_ENOMEM;
        u->list = grown;
        u->room = room;
    }
    u->list[u->count++] = xid;
    atomic_store_explicit(&s->unsettled_count, (uint32_t)u->count, memory_order_relaxed);
    s->settle_step_ns = SETTLE_MIN;
    if (u->count == 1 || s->settle_ns > soon)
        s->settle_ns = soon;
    return HD_OK;
}

struct snapshot {
    uint64_t xmin, xmax;
    const char *xip; /* numbers with commas between */
};

static int read_snapshot(const char *text, struct snapshot *out)
{
    char *end;

    out->xmin = strtoull(text, &end, 10);
    if (*end != ':')
        return HD_EPROTO;
    out->xmax = strtoull(end + 1, &end, 10);
    if (*end != ':')
        return HD_EPROTO;
    out->xip = end + 1;
    return HD_OK;
}

/* Has the transaction ended, as everybody sees it? Its number is told without its epoch. */
static int has_ended(const struct snapshot *snap, uint32_t xid)
{
    uint64_t full = snap->xmax + (uint64_t)(int64_t)(int32_t)(xid - (uint32_t)snap->xmax);
    char *end;

    if (full < snap->xmin)
        return 1;
    if (full >= snap->xmax)
        return 0;
    for (const char *at = snap->xip; *at; at = *end ? end + 1 : end)
        if (strtoull(at, &end, 10) == full)
            return 0;
    return 1;
}

static void settle(struct stream *s, const struct snapshot *snap)
{
    struct ids *u = &s->unsettled;
    size_t kept = 0;

    for (size_t i = 0; i < u->count; i++) {
        uint32_t xid = u->list[i];

        if (has_ended(snap, xid))
            CS_TELL(s, settled, xid);
        else
            u->list[kept++] = xid;
    }
    u->count = kept;
    atomic_store_explicit(&s->unsettled_count, (uint32_t)kept, memory_order_relaxed);
}

/* --- answers ------------------------------------------------------------------------------------------- */

/* A position as the end of a record has it: the header of a page that is still empty does not count. */
static uint64_t without_header(const struct stream *s, uint64_t lsn)
{
    if (lsn % s->segment_size == LONG_HEADER)
        return lsn - LONG_HEADER;
    if (lsn % s->segment_size > LONG_HEADER && lsn % s->block_size == SHORT_HEADER)
        return lsn - SHORT_HEADER;
    return lsn;
}

/* Compares a fingerprint with the last one, and keeps it. 1: it has changed. */
static int differs(char *kept, size_t room, const char *now)
{
    char cut[256];
    int first = !kept[0], same;

    snprintf(cut, room < sizeof(cut) ? room : sizeof(cut), "=%s", now);
    same = !strcmp(kept, cut);
    strcpy(kept, cut);
    return !first && !same;
}

static int tells_ddl(const char *triggers)
{
    int enabled = 0;

    for (const char *at = triggers; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        const char *blank = strchr(at, ' ');

        enabled += blank && (blank[1] == 'O' || blank[1] == 'A');
    }
    return enabled == 3;
}

static int look_at_prints(struct stream *s, const PGresult *res, char *why)
{
    if (differs(s->publication_print, sizeof(s->publication_print), PQgetvalue(res, 0, 3))) {
        snprintf(why, 200, "the publication was changed");
        return HD_EBUSY;
    }
    if (differs(s->roles_print, sizeof(s->roles_print), PQgetvalue(res, 0, 4)))
        cs_tell_changed(s, HD_STREAM_CHANGED_ROLES);
    atomic_store(&s->tells_ddl, (uint32_t)tells_ddl(PQgetvalue(res, 0, 5)));
    if (differs(s->ddl_print, sizeof(s->ddl_print), PQgetvalue(res, 0, 5)))
        cs_tell_changed(s, HD_STREAM_CHANGED_DDL);
    return HD_OK;
}

/* What was asked waits until the stream is there, and sees to it that the log is flushed so far. */
static void wait_for_position(struct stream *s, uint64_t flushed, uint64_t written)
{
    cs_checks_answered(s, written);
    if (flushed < written && s->waits) {
        if (!s->flush_lsn)
            s->flush_at_ns = cs_now() + FLUSH_PATIENCE;
        s->flush_lsn = written;
    }
}

/* Publication, roles and triggers: what the question has found, unless nothing can have changed. */
static int take_prints(struct stream *s, const PGresult *res, const struct snapshot *snap, char *why)
{
    const char *text = PQgetvalue(res, 0, 2);
    int code;

    if (s->quiet[0] && !strcmp(s->quiet, text))
        return HD_OK;
    s->quiet[0] = 0;
    code = look_at_prints(s, res, why);
    if (!code)
        code = cs_cover_answer(s, PQgetvalue(res, 0, 6), PQgetvalue(res, 0, 7));
    if (!code && snap->xmin == snap->xmax)
        snprintf(s->quiet, sizeof(s->quiet), "%s", text);
    return code;
}

static int take_position(struct stream *s, const PGresult *res, char *why)
{
    uint64_t flushed = cs_lsn(PQgetvalue(res, 0, 0)), now = cs_now();
    uint64_t written = without_header(s, cs_lsn(PQgetvalue(res, 0, 1)));
    struct snapshot snap;
    int code = read_snapshot(PQgetvalue(res, 0, 2), &snap);

    if (code) {
        snprintf(why, 200, "a snapshot that cannot be read");
        return code;
    }
    s->xmin = snap.xmin;
    s->xmax = snap.xmax;
    atomic_store(&s->server_lsn, written);
    settle(s, &snap);
    code = take_prints(s, res, &snap, why);
    if (code == HD_PENDING) {
        cs_checks_again(s);
        return HD_OK;
    }
    if (code)
        return code;
    cs_holds_snapshot(s);
    cs_cover_snapshot(s);
    wait_for_position(s, flushed, written);
    if (s->settle_step_ns < SETTLE_MAX)
        s->settle_step_ns *= 2;
    s->settle_ns = now + s->settle_step_ns;
    return HD_OK;
}

static int take_monitor(struct stream *s, const PGresult *res, char *why)
{
    uint64_t held;

    if (PQntuples(res) != 1) {
        snprintf(why, 200, "the slot is gone");
        return HD_EIO;
    }
    held = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
    atomic_store(&s->held, held);
    atomic_store(&s->server_lsn, without_header(s, cs_lsn(PQgetvalue(res, 0, 1))));
    if (held > (uint64_t)s->plugin->conf->max_lag) {
        snprintf(why, 200, "the server holds more of its log than max_lag");
        return HD_EFULL;
    }
    return HD_OK;
}

static int take_answer(struct stream *s, const PGresult *res, char *why)
{
    enum question q = s->asking;

    s->asking = ASK_NOTHING;
    if (PQresultStatus(res) != PGRES_TUPLES_OK) {
        cs_pq_reason(PQresultErrorMessage(res), why);
        return HD_ESQL;
    }
    if (q == ASK_POSITION)
        return PQntuples(res) == 1 && PQnfields(res) == 8 ? take_position(s, res, why) : HD_EPROTO;
    if (q == ASK_MONITOR)
        return take_monitor(s, res, why);
    s->flush_lsn = 0;
    s->fences_done = s->fences_sent;
    return HD_OK;
}

/* --- questions ----------------------------------------------------------------------------------------- */

/* An array of OIDs as text. NULL: no memory. */
static char *array_of(const struct ids *ids)
{
    char *text = malloc(ids->count * 11 + 3), *at = text;

    if (!text)
        return NULL;
    *at++ = '{';
    for (size_t i = 0; i < ids->count; i++)
        at += sprintf(at, "%s%u", i ? "," : "", ids->list[i]);
    strcpy(at, "}");
    return text;
}

static int send_position(struct stream *s)
{
    const struct conf *c = s->plugin->conf;
    const char *params[5];
    char *watched, *fresh;
    int sent;

    cs_cover_ask(s);
    watched = array_of(&s->watched);
    fresh = array_of(&s->fresh);
    params[0] = c->publication.ptr;
    params[1] = watched;
    params[2] = fresh;
    params[3] = c->watch_roles ? "1" : "0";
    if (s->fresh.count)
        s->quiet[0] = 0;
    params[4] = s->quiet;
    sent = watched && fresh && PQsendQueryPrepared(s->ask, "position", 5, params, NULL, NULL, 0);
    free(watched);
    free(fresh);
    atomic_fetch_add_explicit(&s->questions, 1, memory_order_relaxed);
    return sent;
}

static int send_question(struct stream *s, enum question q, char *why)
{
    const char *slot = s->slot;
    int sent;

    if (q == ASK_POSITION) {
        sent = send_position(s);
    } else if (q == ASK_FLUSH) {
        s->fences_sent++;
        atomic_fetch_add_explicit(&s->flushes, 1, memory_order_relaxed);
        sent = PQsendQueryPrepared(s->ask, "flush", 0, NULL, NULL, NULL, 0);
    } else {
        s->next_monitor_ns = cs_now() + MONITOR_NS;
        sent = PQsendQueryPrepared(s->ask, "monitor", 1, &slot, NULL, NULL, 0);
    }
    if (!sent || PQflush(s->ask) < 0) {
        cs_pq_reason(PQerrorMessage(s->ask), why);
        return HD_EIO;
    }
    s->asking = q;
    s->asked_ns = cs_now();
    return HD_OK;
}

static int wants_snapshot(struct stream *s)
{
    return s->unsettled.count || cs_holds_want_snapshot(s) || cs_cover_want_snapshot(s);
}

uint64_t cs_next_fence(const struct stream *s)
{
    return s->fences_sent + 1;
}

static enum question next_question(struct stream *s)
{
    uint64_t now = cs_now();

    if (s->flush_lsn && atomic_load(&s->position) >= s->flush_lsn)
        s->flush_lsn = 0;
    if ((s->flush_lsn && now >= s->flush_at_ns) || cs_holds_want_fence(s) || cs_cover_want_fence(s))
        return ASK_FLUSH;
    if (cs_checks_ask(s) || (wants_snapshot(s) && now >= s->settle_ns))
        return ASK_POSITION;
    if (now >= s->next_monitor_ns)
        return ASK_MONITOR;
    return ASK_NOTHING;
}

/* Reads what has come; *done: the answer was taken. */
static int read_answer(struct stream *s, char *why)
{
    PGresult *res;
    int code = HD_OK;

    if (!PQconsumeInput(s->ask) || PQflush(s->ask) < 0) {
        cs_pq_reason(PQerrorMessage(s->ask), why);
        return HD_EIO;
    }
    while (!code && s->asking != ASK_NOTHING && !PQisBusy(s->ask)) {
        res = PQgetResult(s->ask);
        if (!res)
            break;
        code = take_answer(s, res, why);
        PQclear(res);
    }
    if (!code && s->asking == ASK_NOTHING && !PQisBusy(s->ask) && (res = PQgetResult(s->ask)))
        PQclear(res);
    if (!code && s->asking != ASK_NOTHING && cs_now() - s->asked_ns > ANSWER_NS) {
        snprintf(why, 200, "the server does not answer");
        code = HD_ETIMEOUT;
    }
    return code;
}

int cs_ask_step(struct stream *s, char *why)
{
    enum question q;
    int code = read_answer(s, why);

    if (code || s->asking != ASK_NOTHING || PQisBusy(s->ask))
        return code;
    q = next_question(s);
    return q == ASK_NOTHING ? HD_OK : send_question(s, q, why);
}

uint64_t cs_ask_due(const struct stream *s)
{
    uint64_t due = s->next_monitor_ns;

    if (s->asking != ASK_NOTHING)
        return s->asked_ns + ANSWER_NS;
    if (s->flush_lsn && s->flush_at_ns < due)
        due = s->flush_at_ns;
    if (wants_snapshot((struct stream *)(uintptr_t)s) && s->settle_ns < due)
        due = s->settle_ns;
    return s->next_checks ? 0 : due;
}
