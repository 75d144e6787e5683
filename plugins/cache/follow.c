/*
 * The cache as a consumer of change streams; see follow.h. The callbacks run on the stream's own thread, and
 * what they keep is touched there alone; workers see the epochs, and a few atomic marks.
 *
 * A commit is decoded before other sessions can see it. So its tables are bumped, and count as unsettled
 * until a snapshot has shown it: meanwhile reads of them are neither answered from the cache nor kept.
 */
#include "follow.h"

#include "lineage.h"

#include <stdlib.h>
#include <string.h>

/* A transaction that was told, from its first change until it is settled. */
struct told {
    struct told *next;
    uint32_t xid;
    struct cache_footprint what;
};

struct cache_follow {
    struct cache *cache;
    struct cache_database *db;
    hd_stream *stream;
    struct told *open; /* between begin() and commit(); one at a time */
    struct told *unsettled;
    _Atomic int32_t running;
    _Atomic int32_t asking;    /* a check for is_fresh() is under way */
    _Atomic uint64_t asked_ns; /* when that was sent */
    _Atomic uint64_t fresh_ns; /* everything acknowledged before was told; 0: not known */
    _Atomic uint64_t start;    /* where it has begun; 0: it does not run */
    _Atomic uint64_t lineage;  /* of the server that it reads */
};

#define RETRY_NS UINT64_C(5000000000)

/* --- callbacks ----------------------------------------------------------------------------------------- */

/* Nothing that was concluded holds. */
static void forget_all(struct cache_follow *f)
{
    atomic_store_explicit(&f->running, 0, memory_order_release);
    atomic_store_explicit(&f->fresh_ns, 0, memory_order_release);
    atomic_store_explicit(&f->start, 0, memory_order_release);
    cache_bump(&f->db->written);
    while (f->unsettled) {
        struct told *t = f->unsettled;

        f->unsettled = t->next;
        cache_footprint_unsettle(&t->what, f->db, -1);
        free(t);
    }
    free(f->open);
    f->open = NULL;
}

static void begin(struct cache_follow *f, uint64_t lsn)
{
    struct hd_stream_info info = {.size = sizeof(info)};

    if (f->cache->stream->info(f->stream, &info) == HD_OK)
        atomic_store_explicit(&f->lineage, cache_lineage(info.system, info.timeline), memory_order_release);
    atomic_store_explicit(&f->start, lsn, memory_order_release);
    atomic_store_explicit(&f->running, 1, memory_order_release);
}

static void on_state(void *arg, uint32_t state, uint64_t lsn)
{
    struct cache_follow *f = arg;

    if (state == HD_STREAM_RUNNING)
        begin(f, lsn);
    else
        forget_all(f);
}

static void on_lost(void *arg, const char *reason)
{
    (void)reason; /* the stream's own log says it */
    forget_all(arg);
}

/* Where there is no memory for what was told, nothing can be concluded for as long as it may be unsettled,
 * which cannot be told either. */
static void give_up(struct cache_follow *f)
{
    atomic_store_explicit(&f->cache->epochs.broken, 1, memory_order_release);
    cache_bump(&f->db->written);
}

static void on_begin(void *arg, uint32_t xid)
{
    struct cache_follow *f = arg;

    free(f->open);
    f->open = calloc(1, sizeof(*f->open));
    if (!f->open) {
        give_up(f);
        return;
    }
    f->open->xid = xid;
    f->open->what.flags = CACHE_TXN_WRITES;
}

static void add_marks(struct cache_follow *f, const struct cache_mark *marks, uint32_t count)
{
    if (f->open)
        cache_footprint_marks(&f->open->what, f->db, f->cache->epochs.max_tables, marks, count);
}

/* Which rows of it cannot be told. */
static void add_table(struct cache_follow *f, uint32_t oid)
{
    const struct cache_mark marks[] = {{.kind = CACHE_MARK_WRITTEN, .oid = oid},
                                       {.kind = CACHE_MARK_WHOLE, .oid = oid}};

    add_marks(f, marks, 2);
}

static void on_row(void *arg, const struct hd_stream_row *row)
{
    struct cache_mark marks[CACHE_WRITES_MAX];
    uint32_t n = cache_rows_change(row, marks, CACHE_WRITES_MAX);

    if (n <= CACHE_WRITES_MAX)
        add_marks(arg, marks, n);
    else
        add_table(arg, row->relation->oid);
}

static void on_truncate(void *arg, uint32_t xid, const uint32_t *oids, uint32_t count)
{
    (void)xid;
    for (uint32_t i = 0; i < count; i++)
        add_table(arg, oids[i]);
}

static void schema_changed(struct cache_follow *f)
{
    f->cache->catalog->changed(f->cache->host, f->db->node, f->db->dbname);
    cache_bump(&f->db->schema);
}

/* DDL around the host, where the server tells of it. */
static void on_message(void *arg, uint32_t xid, struct hd_str prefix, struct hd_str content)
{
    static const char ddl[] = HD_STREAM_DDL_PREFIX;
    struct cache_follow *f = arg;

    (void)xid;
    (void)content;
    if (prefix.len != sizeof(ddl) - 1 || memcmp(prefix.ptr, ddl, prefix.len) != 0)
        return;
    schema_changed(f);
    if (f->open)
        f->open->what.flags |= CACHE_TXN_ANYTHING | CACHE_TXN_DEFINES;
}

static void on_commit(void *arg, uint32_t xid, uint64_t commit_lsn, uint64_t end_lsn)
{
    struct cache_follow *f = arg;
    struct told *t = f->open;

    (void)commit_lsn;
    f->open = NULL;
    cache_shared_stir(f->cache);
    if (!t || t->xid != xid) {
        free(t);
        cache_cell_told(&f->db->written, end_lsn);
        cache_bump(&f->db->written);
        return;
    }
    cache_footprint_unsettle(&t->what, f->db, 1);
    cache_footprint_told(&t->what, f->db, end_lsn);
    cache_footprint_bump(f->cache, &t->what, f->db);
    f->cache->metrics->add(f->cache->host, f->cache->stats.followed, 1);
    t->next = f->unsettled;
    f->unsettled = t;
}

/* What was found out by the old schema while the transaction was on its way to being seen is asked for anew.
 */
static void on_settled(void *arg, uint32_t xid)
{
    struct cache_follow *f = arg;
    struct told **at = &f->unsettled, *t;

    while (*at && (*at)->xid != xid)
        at = &(*at)->next;
    t = *at;
    if (!t)
        return;
    *at = t->next;
    if (t->what.flags & CACHE_TXN_DEFINES)
        schema_changed(f);
    cache_footprint_unsettle(&t->what, f->db, -1);
    free(t);
}

static void on_coverage(void *arg, uint32_t oid, uint32_t covered, const char *reason)
{
    struct cache_follow *f = arg;
    struct cache_table *t = cache_database_find(f->db, oid);

    if (!t)
        return;
    cache_table_refused(f->db, t, covered ? NULL : reason);
    /* What was kept before is not known to hold. */
    if (covered) {
        uint64_t lsn = f->cache->stream->position(f->stream);

        cache_cell_told(&t->written, lsn);
        cache_cell_told(&t->whole, lsn);
        cache_bump(&t->written);
        cache_bump(&t->whole);
    }
    atomic_store_explicit(&t->covered, (int32_t)covered, memory_order_release);
}

static void on_changed(void *arg, uint32_t what)
{
    struct cache_follow *f = arg;

    (void)what;
    schema_changed(f);
    cache_bump(&f->db->written);
}

static const struct hd_stream_consumer consumer = {
    .size = sizeof(consumer),
    .state = on_state,
    .lost = on_lost,
    .begin = on_begin,
    .row = on_row,
    .truncate = on_truncate,
    .message = on_message,
    .commit = on_commit,
    .settled = on_settled,
    .coverage = on_coverage,
    .changed = on_changed,
};

/* --- opening ------------------------------------------------------------------------------------------- */

/* With the database's lock. */
static struct cache_follow *open_stream(struct cache *self, struct cache_database *db)
{
    struct cache_follow *f = calloc(1, sizeof(*f));
    struct hd_error err = HD_ERROR_INIT;

    if (!f)
        return NULL;
    f->cache = self;
    f->db = db;
    if (self->stream->open(self->stream_self, db->node, db->dbname, &consumer, f, &f->stream, &err) == HD_OK)
        return f;
    hd_host_api(self->host)
        ->log(self->host, HD_LEVEL_WARNING, "the changes of a database cannot be followed",
              (const char *const[]){"reason", err.text, NULL});
    free(f);
    return NULL;
}

/* The database's, opened where it is not yet; NULL: it cannot be, for now. */
static struct cache_follow *follow_of(struct cache *self, struct cache_database *db)
{
    struct cache_follow *f = atomic_load_explicit(&db->follow, memory_order_acquire);
    uint64_t now;

    if (f || !self->stream)
        return f;
    now = cache_now_ns();
    pthread_mutex_lock(&db->opening);
    f = atomic_load_explicit(&db->follow, memory_order_acquire);
    if (!f && now >= db->retry_ns) {
        f = open_stream(self, db);
        db->retry_ns = now + RETRY_NS;
        atomic_store_explicit(&db->follow, f, memory_order_release);
    }
    pthread_mutex_unlock(&db->opening);
    return f;
}

int cache_follow_covers(struct cache *self, const struct cache_bound *b)
{
    struct cache_follow *f = follow_of(self, b->scope->db);
    int covered = f && atomic_load_explicit(&f->running, memory_order_acquire);

    for (uint32_t i = 0; f && i < b->table_count; i++) {
        struct cache_table *t = b->tables[i];

        if (!b->rows[i])
            continue;
        if (!atomic_load_explicit(&t->covered, memory_order_acquire))
            covered = 0;
        if (!atomic_load_explicit(&t->asked, memory_order_relaxed) &&
            !atomic_exchange_explicit(&t->asked, 1, memory_order_acq_rel) &&
            self->stream->cover(f->stream, &t->oid, 1) != HD_OK)
            atomic_store_explicit(&t->asked, 0, memory_order_release);
    }
    return covered;
}

void cache_follow_look(struct cache *self, struct cache_database *db, struct cache_follow_state *out)
{
    struct cache_follow *f = atomic_load_explicit(&db->follow, memory_order_acquire);
    struct hd_stream_info info = {.size = sizeof(info)};

    *out = (struct cache_follow_state){.open = f != NULL};
    if (!f || self->stream->info(f->stream, &info) != HD_OK)
        return;
    out->running = atomic_load_explicit(&f->running, memory_order_acquire);
    out->tells_ddl = (info.flags & HD_STREAM_TELLS_DDL) != 0;
}

uint64_t cache_follow_where(const struct cache *self, struct cache_database *db, uint64_t *lineage,
                            uint64_t *position)
{
    struct cache_follow *f = atomic_load_explicit(&db->follow, memory_order_acquire);

    *lineage = *position = 0;
    if (!f || !atomic_load_explicit(&f->running, memory_order_acquire))
        return 0;
    *lineage = atomic_load_explicit(&f->lineage, memory_order_acquire);
    *position = self->stream->position(f->stream);
    return atomic_load_explicit(&f->start, memory_order_acquire);
}

/* --- how far it is ------------------------------------------------------------------------------------- */

static void on_fresh(void *arg, int32_t code, uint64_t lsn)
{
    struct cache_follow *f = arg;

    (void)lsn;
    if (code == HD_OK && atomic_load_explicit(&f->running, memory_order_acquire))
        atomic_store_explicit(&f->fresh_ns, atomic_load_explicit(&f->asked_ns, memory_order_relaxed),
                              memory_order_release);
    atomic_store_explicit(&f->asking, 0, memory_order_release);
}

static void ask_anew(struct cache *self, struct cache_follow *f, uint64_t now, uint64_t timeout_ms)
{
    if (atomic_exchange_explicit(&f->asking, 1, memory_order_acq_rel))
        return;
    atomic_store_explicit(&f->asked_ns, now, memory_order_relaxed);
    if (self->stream->check(f->stream, timeout_ms, on_fresh, f) != HD_PENDING)
        atomic_store_explicit(&f->asking, 0, memory_order_release);
}

int cache_follow_is_fresh(struct cache *self, struct cache_database *db, uint64_t bound_ms)
{
    struct cache_follow *f = atomic_load_explicit(&db->follow, memory_order_acquire);
    uint64_t now = cache_now_ns(), bound = bound_ms * UINT64_C(1000000), age;

    if (!f)
        return 0;
    age = now - atomic_load_explicit(&f->fresh_ns, memory_order_acquire);
    if (age > bound / 2)
        ask_anew(self, f, now, bound_ms < 1000 ? 1000 : bound_ms);
    return age <= bound;
}

int32_t cache_follow_check(struct cache *self, struct cache_database *db, uint64_t timeout_ms,
                           void (*done)(void *arg, int32_t code, uint64_t lsn), void *arg)
{
    struct cache_follow *f = atomic_load_explicit(&db->follow, memory_order_acquire);

    return f ? self->stream->check(f->stream, timeout_ms, done, arg) : HD_EIO;
}

void cache_follow_stop(struct cache *self)
{
    for (struct cache_database *db = self->epochs.databases; db; db = db->next) {
        struct cache_follow *f = atomic_load_explicit(&db->follow, memory_order_acquire);

        if (!f)
            continue;
        self->stream->close(f->stream);
        forget_all(f);
        free(f);
        atomic_store_explicit(&db->follow, NULL, memory_order_release);
    }
}
