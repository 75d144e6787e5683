/*
 * Which tables the stream covers. What consumers ask for is looked at in batches, by one statement on a
 * control connection that also adds what may be added to the publication. A table that was added while the
 * stream runs counts only once all transactions have ended that were under way then: what those had written
 * before is not published. From then on each question to the server compares the table's row in the
 * publication with what it was: who takes it out, even for a moment, is found out by the next question.
 */
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_MAX 200
#define RETRY_NS  (UINT64_C(30000) * NS_PER_MS)
#define AGAIN_NS  (UINT64_C(1000) * NS_PER_MS)
#define POLL_MS   10

static const char no_memory[] = "no memory";

/* --- lists of OIDs ------------------------------------------------------------------------------------- */

static int ids_add(struct ids *ids, uint32_t id)
{
    if (ids->count == ids->room) {
        size_t room = ids->room ? ids->room * 2 : 32;
        uint32_t *grown = realloc(ids->list, room * sizeof(*grown));

        if (!grown)
            return HD_ENOMEM;
        ids->list = grown;
        ids->room = room;
    }
    ids->list[ids->count++] = id;
    return HD_OK;
}

static int ids_has(const struct ids *ids, uint32_t id)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->list[i] == id)
            return 1;
    return 0;
}

/* --- tables: under the lock ---------------------------------------------------------------------------- */

/* Where the table stands, or would. */
static uint32_t place(const struct stream *s, uint32_t oid)
{
    uint32_t low = 0, high = s->table_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (s->tables[mid].oid < oid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct table *find(const struct stream *s, uint32_t oid)
{
    uint32_t at = place(s, oid);

    return at < s->table_count && s->tables[at].oid == oid ? &s->tables[at] : NULL;
}

/* Somebody asks for a table that was refused: not more often than so. */
static int32_t ask_again(struct stream *s, struct table *t)
{
    uint64_t now = cs_now();

    if (t->state == COVER_REFUSED && now + RETRY_NS >= t->retry_ns + AGAIN_NS) {
        t->retry_ns = now;
        s->tables_new = 1;
    }
    return HD_OK;
}

static int32_t add(struct stream *s, uint32_t oid)
{
    uint32_t at = place(s, oid);

    if (at < s->table_count && s->tables[at].oid == oid)
        return ask_again(s, &s->tables[at]);
    if (s->table_count >= (uint32_t)s->plugin->conf->max_tables)
        return HD_EFULL;
    if (s->table_count == s->table_room) {
        uint32_t room = s->table_room ? s->table_room * 2 : 64;
        struct table *grown = realloc(s->tables, room * sizeof(*grown));

        if (!grown)
            return HD_ENOMEM;
        s->tables = grown;
        s->table_room = room;
    }
    memmove(&s->tables[at + 1], &s->tables[at], (s->table_count - at) * sizeof(s->tables[0]));
    s->tables[at] = (struct table){.oid = oid, .state = COVER_WANTED, .reason = ""};
    s->table_count++;
    s->tables_new = 1;
    return HD_OK;
}

int32_t cs_cover(hd_stream *h, const uint32_t *oids, uint32_t count)
{
    struct stream *s = h->stream;
    int32_t code = HD_OK;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < count && !code; i++)
        code = add(s, oids[i]);
    pthread_mutex_unlock(&s->lock);
    cs_wake(s);
    return code;
}

int32_t cs_covered(hd_stream *h, uint32_t oid)
{
    struct stream *s = h->stream;
    const struct table *t;
    int32_t covered;

    if (!atomic_load(&h->running))
        return 0;
    pthread_mutex_lock(&s->lock);
    t = find(s, oid);
    covered = t && t->state == COVERED;
    pthread_mutex_unlock(&s->lock);
    return covered;
}

uint32_t cs_cover_count(struct stream *s)
{
    uint32_t n = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count; i++)
        n += s->tables[i].state == COVERED;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* The next table from that OID on that there is something to say of; 0: none. */
static uint32_t next_told(struct stream *s, uint32_t oid, uint32_t *covered, const char **reason)
{
    uint32_t found = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t at = place(s, oid); at < s->table_count && !found; at++) {
        const struct table *t = &s->tables[at];

        if (t->state != COVERED && t->state != COVER_REFUSED)
            continue;
        found = t->oid;
        *covered = t->state == COVERED;
        *reason = t->reason;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void cs_cover_tell(struct stream *s, const struct hd_stream *h)
{
    uint32_t oid = 0, covered = 0;
    const char *reason = "";

    while (h->consumer->coverage && (oid = next_told(s, oid, &covered, &reason)))
        h->consumer->coverage(h->arg, oid++, covered, reason);
}

/* Changes a table's state, and tells of it where consumers see that. [the stream's thread] */
static void set_state(struct stream *s, uint32_t oid, enum cover_state state, const char *reason)
{
    struct table *t;
    int told = 0;

    pthread_mutex_lock(&s->lock);
    t = find(s, oid);
    if (t) {
        told = (t->state == COVERED) != (state == COVERED) ||
               (state == COVER_REFUSED && strcmp(t->reason, reason) != 0);
        t->state = state;
        t->reason = reason;
        t->retry_ns = cs_now() + RETRY_NS;
        if (state == COVER_REFUSED)
            t->initial = 0;
    }
    pthread_mutex_unlock(&s->lock);
    if (told)
        cs_tell_coverage(s, oid, state == COVERED, reason);
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
        if (s->batch.count == BATCH_MAX || ids_add(&s->batch, t->oid)) {
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
        set_state(s, s->batch.list[i], COVER_REFUSED, reason);
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
            set_state(s, oid, COVER_REFUSED, reasons[i].reason);
            return;
        }
    }
    set_state(s, oid, COVER_MEMBER, "");
    pthread_mutex_lock(&s->lock);
    t = find(s, oid);
    if (t)
        t->initial = s->slot_made ? ids_has(&s->initial, oid) : 1;
    if (t && !t->initial)
        *added = 1;
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
            code = ids_add(&s->initial, (uint32_t)strtoul(PQgetvalue(res, i, 2), NULL, 10));
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

/* --- fingerprints -------------------------------------------------------------------------------------- */

void cs_cover_ask(struct stream *s)
{
    s->watched.count = s->fresh.count = 0;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count; i++) {
        const struct table *t = &s->tables[i];

        if (t->state == COVER_MEMBER || (s->reverify && (t->state == COVER_WATCHED || t->state == COVERED)))
            ids_add(&s->fresh, t->oid);
        else if (t->state == COVER_WATCHED || t->state == COVERED)
            ids_add(&s->watched, t->oid);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Are those that were asked about all there, as they were? */
static int watched_as_ever(struct stream *s, const char *answer)
{
    size_t count = 0;
    int64_t print = 0;
    char *end;

    if (!s->watched.count)
        return 1;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->watched.count; i++) {
        const struct table *t = find(s, s->watched.list[i]);

        if (t) {
            count++;
            print ^= t->print;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return strtoull(answer, &end, 10) == count && strtoll(end, NULL, 10) == print;
}

/* The fingerprint of one table in "OID PRINT,OID PRINT"; 0: it is not there. */
static int fresh_print(const char *answer, uint32_t oid, int64_t *print)
{
    char *end;

    for (const char *at = answer; *at; at = *end ? end + 1 : end) {
        uint32_t one = (uint32_t)strtoul(at, &end, 10);

        *print = strtoll(end, &end, 10);
        if (one == oid)
            return 1;
        if (*end && *end != ',')
            return 0;
    }
    return 0;
}

static void take_fresh(struct stream *s, uint32_t oid, const char *answer)
{
    int64_t print = 0;
    int there = fresh_print(answer, oid, &print), member, same;
    struct table *t;

    pthread_mutex_lock(&s->lock);
    t = find(s, oid);
    member = t && t->state == COVER_MEMBER;
    same = t && t->print == print;
    if (there && member) {
        t->state = COVER_WATCHED;
        t->print = print;
        t->until_xid = t->initial ? 0 : s->xmax;
    }
    pthread_mutex_unlock(&s->lock);
    if (!there || (!member && !same))
        set_state(s, oid, COVER_REFUSED, "it was taken out of the publication");
}

int cs_cover_answer(struct stream *s, const char *watched, const char *fresh)
{
    if (!watched_as_ever(s, watched)) {
        s->reverify = 1;
        return HD_PENDING;
    }
    for (size_t i = 0; i < s->fresh.count; i++)
        take_fresh(s, s->fresh.list[i], fresh);
    s->reverify = 0;
    return HD_OK;
}

void cs_cover_snapshot(struct stream *s)
{
    uint32_t done[BATCH_MAX];
    size_t n;

    do {
        n = 0;
        pthread_mutex_lock(&s->lock);
        for (uint32_t i = 0; i < s->table_count && n < BATCH_MAX; i++)
            if (s->tables[i].state == COVER_WATCHED && s->xmin >= s->tables[i].until_xid)
                done[n++] = s->tables[i].oid;
        pthread_mutex_unlock(&s->lock);
        for (size_t i = 0; i < n; i++)
            set_state(s, done[i], COVERED, "");
    } while (n == BATCH_MAX);
}

int cs_cover_want_snapshot(struct stream *s)
{
    int want = s->reverify;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count && !want; i++)
        want = s->tables[i].state == COVER_MEMBER || s->tables[i].state == COVER_WATCHED;
    pthread_mutex_unlock(&s->lock);
    return want;
}

/* --- ending -------------------------------------------------------------------------------------------- */

/* All of it has to be looked at again. Consumers know, by lost(). */
void cs_cover_lost(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count; i++)
        s->tables[i] = (struct table){.oid = s->tables[i].oid, .state = COVER_WANTED, .reason = ""};
    s->tables_new = s->table_count > 0;
    pthread_mutex_unlock(&s->lock);
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

void cs_cover_free(struct stream *s)
{
    free(s->tables);
    free(s->watched.list);
    free(s->fresh.list);
    free(s->initial.list);
    free(s->batch.list);
}
