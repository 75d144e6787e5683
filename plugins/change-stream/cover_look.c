/*
 * Looking at tables on a control connection, which also adds to the publication what may be added: in
 * batches, by one statement each. Before the slot is made all that is asked for is looked at; what is in the
 * publication by then is told by the slot from its beginning on.
 */
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_MAX 200
#define POLL_MS   10

static const char no_memory[] = "no memory";

static int ids_has(const struct ids *ids, uint32_t id)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->list[i] == id)
            return 1;
    return 0;
}

/* --- looking at tables, on a control connection -------------------------------------------------------- */

/* As the server finds a table's replica identity: one that a deferrable primary key had does not count. */
#define HAS_IDENTITY                                                                                         \
    "(c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid"      \
    " AND i.indisunique AND i.indimmediate AND i.indpred IS NULL"                                            \
    " AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)))"

/* Adds what can be added; one that fails does not keep the others out. */
static const char add_sql[] =
    "DO $howdah$ DECLARE t oid; BEGIN"
    " IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = %1$s) THEN"
    " EXECUTE format('CREATE PUBLICATION %%I', %1$s); END IF;"
    " FOR t IN SELECT c.oid FROM pg_class c WHERE c.oid = ANY ('{%2$s}'::oid[]) AND c.oid >= 16384"
    " AND c.relkind = 'r' AND c.relpersistence = 'p' AND " HAS_IDENTITY
    " AND NOT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
    " WHERE r.prrelid = c.oid AND p.pubname = %1$s)"
    " LOOP BEGIN EXECUTE format('ALTER PUBLICATION %%I ADD TABLE ONLY %%s', %1$s, t::regclass);"
    " EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $howdah$; ";

static const char look_sql[] =
    "SELECT w.oid::text, CASE WHEN c.oid IS NULL THEN 'g' WHEN c.relkind = 'p' THEN 'p'"
    " WHEN c.relkind <> 'r' OR c.oid < 16384 THEN 'k' WHEN c.relpersistence <> 'p' THEN 'u'"
    " WHEN NOT " HAS_IDENTITY " THEN 'i'"
    " WHEN r.oid IS NULL THEN 'n' WHEN %3$s THEN 'f' ELSE 'm' END"
    " FROM unnest('{%2$s}'::oid[]) w(oid) LEFT JOIN pg_class c ON c.oid = w.oid"
    " LEFT JOIN (SELECT r.* FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
    " AND p.pubname = %1$s) r ON r.prrelid = w.oid";

static const struct {
    char verdict;
    const char *reason;
} reasons[] = {
    {'g', "there is no such table"},
    {'p', "it is partitioned: its leaves can be covered"},
    {'k', "it is no ordinary table"},
    {'u', "it is unlogged or temporary"},
    {'i', "it has no replica identity: no primary key, say"},
    {'n', "it is not in the publication, and could not be added by control_user"},
    {'f', "the publication has a filter or a list of columns for it"},
};

/* The publication's name as a literal. */
static void literal(const struct stream *s, char *out, size_t room)
{
    const struct hd_str *name = &s->plugin->conf->publication;
    size_t at = 0;

    out[at++] = '\'';
    for (uint64_t i = 0; i < name->len && at + 4 < room; i++) {
        if (name->ptr[i] == '\'')
            out[at++] = '\'';
        out[at++] = name->ptr[i];
    }
    out[at++] = '\'';
    out[at] = 0;
}

/* The statement for the batch. NULL: no memory. */
static char *look_text(const struct stream *s)
{
    const char *filtered =
        s->server_version >= 150000 ? "r.prqual IS NOT NULL OR r.prattrs IS NOT NULL" : "false";
    size_t room = sizeof(add_sql) + sizeof(look_sql) + 2 * (s->batch.count * 11) + 4096, at = 0;
    char *list = malloc(s->batch.count * 11 + 1), *text = malloc(room), name[160];

    if (list && text) {
        literal(s, name, sizeof(name));
        list[0] = 0;
        for (size_t i = 0; i < s->batch.count; i++)
            at += (size_t)sprintf(list + at, "%s%u", i ? "," : "", s->batch.list[i]);
        at = 0;
        if (s->plugin->conf->manage_publication)
            at = (size_t)snprintf(text, room, add_sql, name, list);
        snprintf(text + at, room - at, look_sql, name, list, filtered);
    } else {
        free(text);
        text = NULL;
    }
    free(list);
    return text;
}

/* [control] */
static void errand_done(void *arg, const struct hd_sql_result *r)
{
    struct stream *s = arg;
    struct errand *e = &s->errand;
    size_t len = 1;
    char *at;

    e->code = r->code;
    snprintf(e->message, sizeof(e->message), "%.*s", (int)(r->message.len < 150 ? r->message.len : 150),
             r->message.len ? r->message.ptr : "");
    for (uint32_t i = 0; i < r->rows * r->columns; i++)
        len += r->cells[i].len + 1;
    e->rows = at = malloc(len);
    for (uint32_t i = 0; at && i < r->rows * r->columns; i++) {
        if (r->cells[i].len)
            memcpy(at, r->cells[i].ptr, r->cells[i].len);
        at += r->cells[i].len;
        *at++ = (i + 1) % r->columns ? ' ' : '\n';
    }
    if (at)
        *at = 0;
    pthread_mutex_lock(&s->lock); /* the stream does not go before we are through */
    atomic_store(&e->state, 2);
    cs_wake(s);
    pthread_mutex_unlock(&s->lock);
}

/* Tables that are to be looked at, into the batch. */
static void fill_batch(struct stream *s)
{
    uint64_t now = cs_now();

    s->batch.count = 0;
    pthread_mutex_lock(&s->lock);
    s->tables_new = 0;
    for (uint32_t i = 0; i < s->table_count; i++) {
        const struct table *t = &s->tables[i];

        if (t->state != COVER_WANTED && !(t->state == COVER_REFUSED && t->retry_ns <= now))
            continue;
        if (s->batch.count == BATCH_MAX || cs_ids_add(&s->batch, t->oid)) {
            s->tables_new = 1;
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

/* Sends the batch on its way. */
static int send_batch(struct stream *s)
{
    struct plugin *p = s->plugin;
    struct hd_sql sql = {.size = sizeof(sql), .node = s->node, .database = s->dbname, .deadline_ms = 30000};
    char *text = look_text(s);
    int64_t handle = HD_ENOMEM;

    if (text) {
        sql.text = text;
        atomic_store(&s->errand.state, 1);
        handle = p->jobs->sql(p->host, &sql, errand_done, s);
    }
    free(text);
    s->errand.handle = handle;
    if (handle > 0)
        return HD_OK;
    atomic_store(&s->errand.state, 0);
    return (int)handle;
}

static void refuse_batch(struct stream *s, const char *reason)
{
    for (size_t i = 0; i < s->batch.count; i++)
        cs_cover_set(s, s->batch.list[i], COVER_REFUSED, reason);
}

/* The invalidations of ALTER PUBLICATION reach transactions that are under way from these releases on. */
static int adds_while_running(int version)
{
    int major = version / 10000;
    static const int since[] = {140018, 150013, 160009, 170005};

    return major >= 18 || (major >= 14 && version >= since[major - 14]);
}

static void take_verdict(struct stream *s, uint32_t oid, char verdict, int *added)
{
    struct table *t;

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].verdict == verdict) {
            cs_cover_set(s, oid, COVER_REFUSED, reasons[i].reason);
            return;
        }
    }
    cs_cover_set(s, oid, COVER_MEMBER, "");
    pthread_mutex_lock(&s->lock);
    t = cs_cover_find(s, oid);
    if (t)
        t->initial = s->slot_made ? ids_has(&s->initial, oid) : 1;
    if (t) {
        t->until_xid = 0;
        t->fence = cs_next_fence(s);
        *added |= !t->initial;
    }
    pthread_mutex_unlock(&s->lock);
}

/* What has come of the batch. HD_EBUSY: the stream has to begin anew. */
static int take_batch(struct stream *s, char *why)
{
    struct errand *e = &s->errand;
    int added = 0;

    atomic_store(&e->state, 0);
    if (e->code || !e->rows) {
        cs_log(s->plugin, HD_LEVEL_WARNING, "tables cannot be covered", s, e->message);
        refuse_batch(s, e->rows ? "the server could not be asked about it" : no_memory);
    }
    for (char *at = e->rows, *end; at && *at && !e->code; at = end + 1) {
        uint32_t oid = (uint32_t)strtoul(at, &end, 10);

        if (*end != ' ')
            break;
        take_verdict(s, oid, end[1], &added);
        end = strchr(end, '\n');
        if (!end)
            break;
    }
    free(e->rows);
    e->rows = NULL;
    if (!added || adds_while_running(s->server_version))
        return HD_OK;
    snprintf(why, 200, "tables were added to the publication, of which this server's release cannot tell");
    return HD_EBUSY;
}

static int looks_due(struct stream *s)
{
    uint64_t now = cs_now();
    int due;

    if (s->next_look_ns > now && !s->tables_new)
        return 0;
    pthread_mutex_lock(&s->lock);
    due = s->tables_new;
    for (uint32_t i = 0; i < s->table_count && !due; i++)
        due = s->tables[i].state == COVER_REFUSED && s->tables[i].retry_ns <= now;
    pthread_mutex_unlock(&s->lock);
    s->next_look_ns = now + UINT64_C(1000) * NS_PER_MS;
    return due;
}

int cs_cover_step(struct stream *s, char *why)
{
    int state = atomic_load(&s->errand.state);

    if (state == 2)
        return take_batch(s, why);
    if (state == 1 || !looks_due(s))
        return HD_OK;
    fill_batch(s);
    if (s->batch.count && send_batch(s))
        refuse_batch(s, "too much is being asked of the server already");
    return HD_OK;
}

/* --- before the slot ----------------------------------------------------------------------------------- */

static int wait_for_errand(struct stream *s)
{
    int code = HD_OK;

    while (!code && atomic_load(&s->errand.state) == 1)
        code = cs_pause(s, POLL_MS);
    return code;
}

/* Tables that are asked for already come into the publication before the slot is made. */
static int look_at_all(struct stream *s, char *why)
{
    int code = HD_OK;

    s->slot_made = 0;
    do {
        fill_batch(s);
        code = send_batch(s);
        if (code) {
            snprintf(why, 200, "too much is being asked of the server already");
            return code;
        }
        code = wait_for_errand(s);
        if (code)
            return code;
        if (s->errand.code) {
            snprintf(why, 200, "%.160s", s->errand.message);
            code = s->errand.code;
        }
        pthread_mutex_lock(&s->calling);
        take_batch(s, why);
        pthread_mutex_unlock(&s->calling);
    } while (!code && s->tables_new);
    return code;
}

static int read_members(struct stream *s, const PGresult *res)
{
    int code = HD_OK;

    s->initial.count = 0;
    for (int i = 0; i < PQntuples(res) && !code; i++)
        if (!PQgetisnull(res, i, 2))
            code = cs_ids_add(&s->initial, (uint32_t)strtoul(PQgetvalue(res, i, 2), NULL, 10));
    return code;
}

static int look_at_publication(struct stream *s, char *why)
{
    char name[160], sql[640];
    PGresult *res;
    int code;

    literal(s, name, sizeof(name));
    snprintf(sql, sizeof(sql),
             "SELECT p.oid::text || ' ' || p.xmin::text, p.pubinsert AND p.pubupdate AND p.pubdelete"
             " AND p.pubtruncate AND NOT p.pubviaroot AND NOT p.puballtables, r.prrelid FROM pg_publication p"
             " LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname = %s",
             name);
    code = cs_exec(s, s->ask, sql, &res, why);
    if (code)
        return code;
    code = HD_ENOENT;
    if (!PQntuples(res)) {
        snprintf(why, 200, "there is no publication %s", name);
    } else if (PQgetvalue(res, 0, 1)[0] != 't') {
        snprintf(
            why, 200,
            "the publication %.64s has to publish insert, update, delete and truncate, of tables that it "
            "lists, and not via their roots",
            name);
    } else {
        snprintf(s->publication_print, sizeof(s->publication_print), "=%.80s", PQgetvalue(res, 0, 0));
        code = read_members(s, res);
    }
    PQclear(res);
    return code;
}

int cs_cover_begin(struct stream *s, char *why)
{
    int code;

    pthread_mutex_lock(&s->calling);
    cs_holds_join(s);
    pthread_mutex_unlock(&s->calling);
    code = look_at_all(s, why);
    if (!code)
        code = look_at_publication(s, why);
    s->slot_made = 1;
    return code;
}

void cs_cover_end(struct stream *s)
{
    struct plugin *p = s->plugin;
    struct timespec tick = {0, POLL_MS * 1000000};

    if (atomic_load(&s->errand.state) == 1)
        p->jobs->cancel(p->host, s->errand.handle);
    while (atomic_load(&s->errand.state) == 1)
        nanosleep(&tick, NULL);
    pthread_mutex_lock(&s->lock); /* whoever has ended it has let go */
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->errand.state, 0);
    free(s->errand.rows);
    s->errand.rows = NULL;
}
