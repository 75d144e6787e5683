/*
 * Parts of the plugin "cache" by themselves: hints, words that stand for the time, what transactions have
 * touched and what their ends invalidate, misses in flight, heads of values.
 */
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache/answer.h"
#include "cache/refresh.h"
#include "cache/shared_head.h"
#include "cache/words.h"
#include "cache/writes.h"

/* --- hints and words ----------------------------------------------------------------------------------- */

static struct cache_policy hinted(const char *sql)
{
    const struct cache_rules rules = {.hints = 1};
    struct cache_policy policy = {.on = 0, .ttl_ms = 1};

    cache_rules_hint(&rules, hd_str_of(sql), &policy);
    return policy;
}

static void hints(void)
{
    const struct cache_rules deaf = {.hints = 0};
    struct cache_policy policy = {0};

    CU_ASSERT(hinted("/* howdah: cache=5m */ SELECT 1").on);
    CU_ASSERT_EQUAL(hinted("/* howdah: cache=5m */ SELECT 1").ttl_ms, 300000);
    CU_ASSERT_EQUAL(hinted("  /*howdah: cache=250ms tag=a:1*/SELECT 1").ttl_ms, 250);
    CU_ASSERT_EQUAL(hinted("SELECT 1 /* howdah: cache=2h */ ; ").ttl_ms, 7200000);
    CU_ASSERT(hinted("/* howdah: cache=on */ SELECT 1").on);
    CU_ASSERT_EQUAL(hinted("/* howdah: cache=on */ SELECT 1").ttl_ms, 1);
    CU_ASSERT(!hinted("/* howdah: cache=on cache=off */ SELECT 1").on);
    /* What a client's value may hold is no hint. */
    CU_ASSERT(!hinted("SELECT '/* howdah: cache=5m */'").on);
    CU_ASSERT(!hinted("SELECT '/* howdah: cache=5m */', 1").on);
    CU_ASSERT(!hinted("/* a comment */ SELECT '/* howdah: cache=5m */'").on);
    /* What cannot be read is none. */
    CU_ASSERT(!hinted("/* howdah: cache=5y */ SELECT 1").on);
    CU_ASSERT(!hinted("/* howdah: cache= */ SELECT 1").on);
    CU_ASSERT(!hinted("/* howdah: cache=99999999999999999999h */ SELECT 1").on);
    CU_ASSERT(!hinted("/* howdah:").on);
    CU_ASSERT(!hinted("/*").on);
    CU_ASSERT(!hinted("*/").on);
    CU_ASSERT(!hinted("/*/").on);
    CU_ASSERT(!hinted("").on);
    cache_rules_hint(&deaf, hd_str_of("/* howdah: cache=5m */ SELECT 1"), &policy);
    CU_ASSERT(!policy.on);
}

static int in_text(const char *sql)
{
    const struct hd_statement st = {.size = sizeof(st), .sql = hd_str_of(sql)};

    return cache_has_time_words(&st);
}

static int in_param(const char *value, uint32_t format)
{
    const struct hd_param p = {(const uint8_t *)value, (uint32_t)strlen(value), 0, format, 0};
    const struct hd_statement st = {
        .size = sizeof(st), .sql = hd_str_of("SELECT $1"), .params = &p, .param_count = 1};

    return cache_has_time_words(&st);
}

static void time_words(void)
{
    CU_ASSERT(in_text("SELECT 'now'"));
    CU_ASSERT(in_text("SELECT ' Today '"));
    CU_ASSERT(in_text("SELECT '{yesterday,2020-01-01}'"));
    CU_ASSERT(in_text("SELECT 'TOMORROW 04:05'"));
    CU_ASSERT(in_text("SELECT E'n\\157w'"));
    CU_ASSERT(in_text("SELECT U&'!006eow' UESCAPE '!'"));
    CU_ASSERT(!in_text("SELECT 'I know', nowhere, todays FROM snow"));
    CU_ASSERT(!in_text(""));
    CU_ASSERT(in_text("SELECT 'no'\n  'w'"));
    CU_ASSERT(in_text("SELECT 'no' -- in pieces\n 'w'"));
    CU_ASSERT(!in_text("SELECT 'no', 'w', '-5', 'a'\n, 'b'"));
    CU_ASSERT(in_param("now", 0));
    CU_ASSERT(in_param("\"now\"", 0));
    CU_ASSERT(in_param("now", 1)); /* a text is the same in both */
    CU_ASSERT(!in_param("nowhere", 0));
}

/* --- transactions -------------------------------------------------------------------------------------- */

static void count_nothing(hd_host *host, int64_t id, int64_t delta)
{
    (void)host;
    (void)id;
    (void)delta;
}

static const struct hd_metrics_v1 no_metrics = {
    .size = sizeof(no_metrics), .add = count_nothing, .set = count_nothing};

struct fixture {
    struct cache cache;
    struct cache_database *db;
    struct cache_table *a, *b;
    struct cache_writes w;
};

static void set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->cache.metrics = &no_metrics;
    pthread_mutex_init(&f->cache.left_lock, NULL);
    cache_prepared_init(&f->cache.prepared);
    f->cache.prepared.max = 2;
    cache_epochs_init(&f->cache.epochs);
    f->cache.epochs.max_databases = 2;
    f->cache.epochs.max_tables = 2;
    f->db = cache_epochs_database(&f->cache.epochs, hd_str_of("main"), hd_str_of("shop"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(f->db);
    f->a = cache_database_table(f->db, 1, 2);
    f->b = cache_database_table(f->db, 2, 2);
    CU_ASSERT_FATAL(f->a && f->b);
}

static void tear_down(struct fixture *f)
{
    cache_writes_forget_left(&f->cache);
    pthread_mutex_destroy(&f->cache.left_lock);
    cache_writes_free(&f->w);
    cache_prepared_free(&f->cache.prepared);
    cache_epochs_free(&f->cache.epochs);
}

/* Of a write of the table, which rows cannot be told; oid 0: of none. */
static struct cache_write *begin(struct fixture *f, uint64_t handle, uint32_t flags, uint32_t oid)
{
    const struct cache_mark marks[] = {{.kind = CACHE_MARK_WRITTEN, .oid = oid}};
    struct cache_footprint what = {.flags = CACHE_TXN_WRITES | flags};

    cache_footprint_marks(&what, f->db, 2, marks, oid != 0);
    return cache_writes_begin(&f->w, handle, f->db, &what);
}

static void end(struct fixture *f, uint32_t how, uint64_t behind)
{
    const struct hd_transaction t = {.size = sizeof(t),
                                     .end = how,
                                     .handle = 1,
                                     .node = hd_str_of("main"),
                                     .dbname = hd_str_of("shop"),
                                     .behind = behind,
                                     .flags = how == HD_END_ABANDONED ? HD_TRANSACTION_OPEN : 0};

    cache_writes_end(&f->cache, &f->w, &t);
}

/* What was told as call 1 is over. */
static void settled(struct fixture *f)
{
    const struct hd_transaction t = {.size = sizeof(t), .end = HD_END_SETTLED, .about = 1};

    cache_writes_end(&f->cache, NULL, &t);
}

/* What has been bumped since: 1 the first table, 2 the second, 4 the database. */
static unsigned bumped(struct fixture *f)
{
    static uint64_t seen[3];
    const struct cache_cell *cells[] = {&f->a->written, &f->b->written, &f->db->written};
    unsigned changed = 0;

    for (unsigned i = 0; i < 3; i++) {
        changed |= (cache_epoch(cells[i]) != seen[i]) << i;
        seen[i] = cache_epoch(cells[i]);
    }
    return changed;
}

static void ends(void)
{
    struct fixture f;

    set_up(&f);
    (void)bumped(&f);
    cache_writes_complete(&f.cache, &f.w, begin(&f, 1, 0, 1), 0);
    CU_ASSERT(cache_writes_flags(&f.w) & CACHE_TXN_WRITES);
    CU_ASSERT_EQUAL(bumped(&f), 0);
    end(&f, HD_END_COMMITTED, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 1);
    CU_ASSERT_EQUAL(cache_writes_flags(&f.w), 0);
    cache_writes_complete(&f.cache, &f.w, begin(&f, 2, 0, 1), 0);
    end(&f, HD_END_ROLLED_BACK, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 0);
    cache_writes_complete(&f.cache, &f.w, begin(&f, 3, 0, 2), 0);
    end(&f, HD_END_PREPARED, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 0);
    cache_writes_complete(&f.cache, &f.w, begin(&f, 4, CACHE_TXN_ANYTHING, 0), 0);
    end(&f, HD_END_UNKNOWN, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 4);
    /* A procedure may have committed what is rolled back at its end. */
    cache_writes_complete(&f.cache, &f.w, begin(&f, 5, CACHE_TXN_ANYTHING | CACHE_TXN_COMMITS, 0), 0);
    end(&f, HD_END_ROLLED_BACK, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 4);
    /* Something has ended of which nothing was noted. */
    end(&f, HD_END_COMMITTED, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 4);
    tear_down(&f);
}

static void pipelines(void)
{
    struct fixture f;
    struct cache_write *one, *two;

    set_up(&f);
    (void)bumped(&f);
    /* The end comes before the completion. */
    one = begin(&f, 1, 0, 1);
    end(&f, HD_END_UNKNOWN, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 1);
    CU_ASSERT_EQUAL(cache_writes_flags(&f.w), 0);
    cache_writes_complete(&f.cache, &f.w, one, 0);
    CU_ASSERT_EQUAL(cache_writes_flags(&f.w), 0);
    /* One that is behind stays, and is told of at its own end. */
    one = begin(&f, 2, 0, 1);
    two = begin(&f, 3, 0, 2);
    cache_writes_complete(&f.cache, &f.w, one, 0);
    end(&f, HD_END_UNKNOWN, 3);
    CU_ASSERT(bumped(&f) & 1);
    CU_ASSERT(cache_writes_flags(&f.w) & CACHE_TXN_WRITES);
    cache_writes_complete(&f.cache, &f.w, two, 0);
    end(&f, HD_END_UNKNOWN, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 2);
    CU_ASSERT_EQUAL(cache_writes_flags(&f.w), 0);
    tear_down(&f);
}

static void schemas(void)
{
    struct fixture f;
    struct cache_write *one;
    struct cache_writes other = {0};

    set_up(&f);
    (void)bumped(&f);
    one = begin(&f, 1, 0, 1);
    cache_writes_define(&other, f.db); /* somebody makes a trigger meanwhile */
    CU_ASSERT_EQUAL(atomic_load(&f.db->defining), 1);
    cache_writes_complete(&f.cache, &f.w, one, 0);
    end(&f, HD_END_UNKNOWN, UINT64_MAX);
    CU_ASSERT(bumped(&f) & 4);
    cache_writes_free(&other);
    CU_ASSERT_EQUAL(atomic_load(&f.db->defining), 0);
    tear_down(&f);
}

static void abandoned(void)
{
    struct fixture f;
    const struct hd_transaction nowhere = {.size = sizeof(nowhere),
                                           .end = HD_END_ABANDONED,
                                           .node = hd_str_of("main"),
                                           .dbname = hd_str_of("third"),
                                           .behind = UINT64_MAX,
                                           .flags = HD_TRANSACTION_OPEN};

    set_up(&f);
    (void)bumped(&f);
    cache_writes_complete(&f.cache, &f.w, begin(&f, 1, 0, 1), 0);
    end(&f, HD_END_ABANDONED, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 1);
    CU_ASSERT_EQUAL(atomic_load(&f.a->written.unsettled), 1);
    settled(&f);
    CU_ASSERT_EQUAL(bumped(&f), 1);
    CU_ASSERT_EQUAL(atomic_load(&f.a->written.unsettled), 0);
    settled(&f); /* it is no longer known */
    CU_ASSERT_EQUAL(bumped(&f), 0);
    /* A table that has no room to be noted: its database is. */
    cache_writes_complete(&f.cache, &f.w, begin(&f, 2, 0, 77), 0);
    end(&f, HD_END_ABANDONED, UINT64_MAX);
    CU_ASSERT_EQUAL(atomic_load(&f.db->written.unsettled), 1);
    /* A database that has none: nothing is kept any more. */
    CU_ASSERT_PTR_NOT_NULL(cache_epochs_database(&f.cache.epochs, hd_str_of("main"), hd_str_of("second")));
    cache_writes_end(&f.cache, NULL, &nowhere);
    CU_ASSERT_EQUAL(atomic_load(&f.cache.epochs.broken), 1);
    tear_down(&f);
}

/* What a transaction has touched is kept under its name, until another is prepared under it. */
static void prepared(void)
{
    const struct cache_footprint one = {.flags = CACHE_TXN_WRITES};
    struct cache_footprint what = {0};
    struct cache_write *commit;
    struct fixture f;
    uint64_t serial;

    set_up(&f);
    what = one;
    what.cells[what.count++] = &f.a->written;
    cache_prepared_keep(&f.cache, f.db, hd_str_of("x"), &what);
    memset(&what, 0, sizeof(what));
    CU_ASSERT_EQUAL(cache_prepared_find(&f.cache, f.db, hd_str_of("y"), &what), 0);
    serial = cache_prepared_find(&f.cache, f.db, hd_str_of("x"), &what);
    CU_ASSERT_FATAL(serial && what.count == 1);
    CU_ASSERT_PTR_EQUAL(what.cells[0], &f.a->written);
    /* It is committed. */
    (void)bumped(&f);
    commit = cache_writes_begin(&f.w, 1, f.db, &what);
    commit->prepared = serial;
    cache_writes_complete(&f.cache, &f.w, commit, 0);
    CU_ASSERT(!cache_prepared_stands(&f.cache, serial));
    end(&f, HD_END_COMMITTED, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 1);
    /* Its name is used again while that is on its way. */
    cache_prepared_keep(&f.cache, f.db, hd_str_of("x"), &what);
    serial = cache_prepared_find(&f.cache, f.db, hd_str_of("x"), &what);
    commit = cache_writes_begin(&f.w, 2, f.db, &what);
    commit->prepared = serial;
    cache_prepared_forget(&f.cache, f.db, hd_str_of("x"));
    end(&f, HD_END_COMMITTED, UINT64_MAX);
    CU_ASSERT_EQUAL(bumped(&f), 4);
    cache_writes_complete(&f.cache, &f.w, commit, 0);
    /* A commit that failed leaves it; the oldest makes room; and a name that cannot be told may be any. */
    cache_prepared_keep(&f.cache, f.db, hd_str_of("x"), &what);
    serial = cache_prepared_find(&f.cache, f.db, hd_str_of("x"), &what);
    commit = cache_writes_begin(&f.w, 3, f.db, &what);
    commit->prepared = serial;
    cache_writes_complete(&f.cache, &f.w, commit, 1);
    CU_ASSERT(cache_prepared_stands(&f.cache, serial));
    cache_prepared_keep(&f.cache, f.db, hd_str_of("y"), &what);
    cache_prepared_keep(&f.cache, f.db, hd_str_of("z"), &what);
    CU_ASSERT(!cache_prepared_stands(&f.cache, serial));
    CU_ASSERT_EQUAL(f.cache.prepared.count, 2);
    cache_prepared_forget(&f.cache, f.db, (struct hd_str){NULL, 0});
    CU_ASSERT_EQUAL(f.cache.prepared.count, 0);
    tear_down(&f);
}

static void footprints(void)
{
    struct cache_cell cells[CACHE_WRITES_MAX + 1];
    struct cache_footprint sum = {0};

    for (uint32_t i = 0; i < CACHE_WRITES_MAX; i++) {
        const struct cache_footprint one = {.flags = CACHE_TXN_WRITES, .count = 1, .cells = {&cells[i]}};

        cache_footprint_add(&sum, &one);
        cache_footprint_add(&sum, &one);
        CU_ASSERT_EQUAL(sum.count, i + 1);
    }
    CU_ASSERT_EQUAL(sum.flags, CACHE_TXN_WRITES);
    cache_footprint_add(&sum, &(struct cache_footprint){.flags = CACHE_TXN_WRITES,
                                                        .count = 1,
                                                        .cells = {&cells[CACHE_WRITES_MAX]}});
    CU_ASSERT_EQUAL(sum.flags, CACHE_TXN_WRITES | CACHE_TXN_ANYTHING);
}

/* Of 512 cells of rows most are not shared: a write of one value ends few answers about others. */
static void row_cells(void)
{
    struct cache_mark mark = {.kind = CACHE_MARK_VALUE, .oid = 1, .column = 77};
    struct cache_cell *one;
    struct fixture f;
    int shared = 0;

    set_up(&f);
    mark.hash = 12345;
    one = cache_table_cell(f.a, &mark);
    CU_ASSERT_PTR_NOT_NULL_FATAL(one);
    CU_ASSERT_PTR_EQUAL(cache_table_cell(f.a, &mark), one);
    for (uint64_t i = 1; i <= 5120; i++) {
        mark.hash = i;
        shared += cache_table_cell(f.a, &mark) == one;
    }
    CU_ASSERT(shared < 40);
    mark.kind = CACHE_MARK_WRITTEN;
    CU_ASSERT_PTR_EQUAL(cache_table_cell(f.a, &mark), &f.a->written);
    mark.kind = CACHE_MARK_WHOLE;
    CU_ASSERT_PTR_EQUAL(cache_table_cell(f.a, &mark), &f.a->whole);
    tear_down(&f);
}

/* --- flights and heads --------------------------------------------------------------------------------- */

static void flights(void)
{
    struct cache_flights all;
    struct cache_flight *mine, *none;
    const struct hd_cache_key key = {.size = sizeof(key), .hash = 7, .bytes = hd_str_of("key")};
    const struct hd_cache_key other = {.size = sizeof(key), .hash = 7, .bytes = hd_str_of("kex")};

    cache_flights_init(&all);
    CU_ASSERT_EQUAL(cache_flight_start(&all, &key, 1, &mine), HD_OK);
    for (uint64_t i = 2; i < 30; i++)
        CU_ASSERT_EQUAL(cache_flight_start(&all, &key, i, &none), HD_PENDING);
    CU_ASSERT_EQUAL(cache_flight_start(&all, &key, 0, &none), HD_EBUSY);
    CU_ASSERT_EQUAL(mine->count, 28);
    CU_ASSERT_EQUAL(mine->waiters[27], 29);
    CU_ASSERT_EQUAL(cache_flight_start(&all, &other, 1, &none), HD_OK);
    cache_flight_land(&all, none);
    free(none);
    cache_flight_land(&all, mine);
    free(mine->waiters);
    free(mine);
    CU_ASSERT_EQUAL(cache_flight_start(&all, &key, 1, &mine), HD_OK);
    cache_flight_land(&all, mine);
    free(mine);
    cache_flights_free(&all);
}

static void heads(void)
{
    const struct cache_head made = {.nonce = 99, .generation = 5, .count = 2};
    struct cache_condition conditions[2];
    char unaligned[1 + sizeof(made) + sizeof(conditions)];
    struct hd_str head = {unaligned + 1, sizeof(made) + sizeof(conditions)};
    struct fixture f;

    set_up(&f);
    f.cache.nonce = 99;
    conditions[0] = (struct cache_condition){&f.db->written, cache_epoch(&f.db->written)};
    conditions[1] = (struct cache_condition){&f.a->written, cache_epoch(&f.a->written)};
    memcpy(unaligned + 1, &made, sizeof(made));
    memcpy(unaligned + 1 + sizeof(made), conditions, sizeof(conditions));
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, head, 5), HD_OK);
    cache_bump(&f.b->written);
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, head, 5), HD_OK);
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, head, 6), HD_ENOENT);
    f.cache.nonce++; /* the cells are another instance's: they are not looked at */
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, head, 5), HD_ENOENT);
    f.cache.nonce--;
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, (struct hd_str){head.ptr, head.len - 1}, 5), HD_ENOENT);
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, (struct hd_str){head.ptr, 3}, 5), HD_ENOENT);
    atomic_store(&f.a->written.unsettled, 1);
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, head, 5), HD_EBUSY);
    atomic_store(&f.a->written.unsettled, 0);
    cache_bump(&f.a->written);
    CU_ASSERT_EQUAL(cache_head_check(&f.cache, head, 5), HD_ENOENT);
    tear_down(&f);
}

/* --- answers ------------------------------------------------------------------------------------------- */

#define ROWS     "T\0\0\0\6\0\0"
#define ROW      "D\0\0\0\6\0\0"
#define COMPLETE "C\0\0\0\15SELECT 1\0"
#define READY    "Z\0\0\0\5I"
#define NOTICE   "N\0\0\0\5\0"

/* Does it split, and how long are the parts? */
static int splits(int described, const char *bytes, size_t len, size_t *describe, size_t *rest)
{
    struct cache_capture c = {.described = described, .max_bytes = 100};
    struct hd_str d = {0}, r = {0};
    int good;

    for (size_t i = 0; i < len; i++) /* in the smallest of pieces */
        cache_capture_data(&c, (struct hd_str){bytes + i, 1});
    good = !c.dropped && cache_capture_split(&c, &d, &r);
    *describe = d.len;
    *rest = r.len;
    free(c.answer.p);
    return good;
}

#define SPLITS(described, bytes) splits(described, bytes, sizeof(bytes) - 1, &d, &r)

static void answers(void)
{
    char longer[200];
    size_t d, r;

    memset(longer, 'x', sizeof(longer));
    CU_ASSERT(SPLITS(1, ROWS ROW ROW COMPLETE READY));
    CU_ASSERT_EQUAL(d, sizeof(ROWS) - 1);
    CU_ASSERT_EQUAL(r, 2 * (sizeof(ROW) - 1) + sizeof(COMPLETE) - 1);
    CU_ASSERT(SPLITS(0, ROW COMPLETE));
    CU_ASSERT_EQUAL(d, 0);
    CU_ASSERT(SPLITS(0, COMPLETE));
    CU_ASSERT(!SPLITS(1, ROW COMPLETE READY));
    CU_ASSERT(!SPLITS(0, ROWS ROW COMPLETE));
    CU_ASSERT(!SPLITS(1, ROWS ROW));
    CU_ASSERT(!SPLITS(1, ROWS ROW COMPLETE COMPLETE));
    CU_ASSERT(!SPLITS(1, ROW ROWS COMPLETE));
    CU_ASSERT(!SPLITS(1, ROWS NOTICE ROW COMPLETE));
    CU_ASSERT(!SPLITS(1, ROWS ROW COMPLETE NOTICE));
    CU_ASSERT(!SPLITS(1, ROWS ROW "C\0\0\0\15SEL"));
    CU_ASSERT(!SPLITS(1, ROWS "D\0\0\0\1\0\0" COMPLETE));
    CU_ASSERT(!SPLITS(1, ROWS "D\377\377\377\377\0\0" COMPLETE));
    CU_ASSERT(!SPLITS(0, ""));
    CU_ASSERT(!splits(0, longer, sizeof(longer), &d, &r));
}

/* --- age ----------------------------------------------------------------------------------------------- */

/* How many of so many hits ask anew. */
static unsigned asking(struct cache_worker *w, const struct cache_policy *p, uint64_t left_ms, unsigned hits)
{
    const struct hd_cache_value v = {.size = sizeof(v), .left_ms = left_ms, .cost_ns = 100000000};
    unsigned n = 0;

    for (unsigned i = 0; i < hits; i++)
        n += cache_age(w, p, &v, 0) == CACHE_REFRESH_EARLY;
    return n;
}

/* -ln(u) is exponential: with a cost of 100 ms and beta 1 the share of hits that ask so long before the end
 * is e to the power of minus (what is left) / (100 ms). */
static void ages(void)
{
    struct cache_worker w = {.random = 42};
    struct cache_policy p = {.ttl_ms = 1000};
    struct hd_cache_value v = {.size = sizeof(v), .left_ms = 10, .cost_ns = 1000};
    double beta;

    CU_ASSERT_EQUAL(asking(&w, &p, 1, 1000), 0);
    p.beta = 1;
    CU_ASSERT(fabs(asking(&w, &p, 100, 100000) / 100000.0 - exp(-1)) < 0.01);
    CU_ASSERT(fabs(asking(&w, &p, 300, 100000) / 100000.0 - exp(-3)) < 0.005);
    p.beta = 3;
    CU_ASSERT(fabs(asking(&w, &p, 300, 100000) / 100000.0 - exp(-1)) < 0.01);
    CU_ASSERT_EQUAL(asking(&w, &p, UINT64_MAX, 1000), 0);
    /* What is left in the store is more than is left of the ttl, in this process. */
    p.stale_ms = 500;
    CU_ASSERT_EQUAL(cache_keep_ms(&p, 0), 1500);
    CU_ASSERT_EQUAL(cache_keep_ms(&p, 1), 1000);
    CU_ASSERT(fabs(asking(&w, &p, 800, 100000) / 100000.0 - exp(-1)) < 0.01);
    v.left_ms = 501;
    CU_ASSERT_EQUAL(cache_age(&w, &p, &v, 0), CACHE_FRESH);
    v.left_ms = 500;
    CU_ASSERT_EQUAL(cache_age(&w, &p, &v, 0), CACHE_STALE);
    CU_ASSERT_EQUAL(cache_age(&w, &p, &v, 1), CACHE_FRESH);
    /* How it is said. */
    CU_ASSERT(cache_read_beta(hd_str_of("no"), &beta) && beta == 0);
    CU_ASSERT(cache_read_beta(hd_str_of(""), &beta) && beta == 0);
    CU_ASSERT(cache_read_beta(hd_str_of("yes"), &beta) && beta == 1);
    CU_ASSERT(cache_read_beta(hd_str_of("2.5"), &beta) && beta == 2.5);
    CU_ASSERT(!cache_read_beta(hd_str_of("2.5x"), &beta));
    CU_ASSERT(!cache_read_beta(hd_str_of("1001"), &beta));
    CU_ASSERT(!cache_read_beta(hd_str_of("-1"), &beta));
    CU_ASSERT(!cache_read_beta(hd_str_of("inf"), &beta));
}

/* --- heads of shared values ---------------------------------------------------------------------------- */

static int32_t read_head(const char *bytes, size_t len, struct cache_shared_head *out)
{
    return cache_shared_head_read((struct hd_str){bytes, len}, out);
}

static void shared_heads(void)
{
    const struct cache_shared_head h = {1, UINT64_MAX, 0x0102030405060708u, {7, 1ull << 63}};
    struct cache_shared_head got = {0};
    char bytes[CACHE_SHARED_HEAD_LEN], bad[CACHE_SHARED_HEAD_LEN + 1];

    cache_shared_head_write(&h, bytes);
    CU_ASSERT_EQUAL(read_head(bytes, sizeof(bytes), &got), HD_OK);
    CU_ASSERT(!memcmp(&got, &h, sizeof(h)));
    CU_ASSERT(!memcmp(bytes, "HDSH\1\0\0\0\1\0\0\0\0\0\0\0", 16)); /* the same on every machine */
    for (size_t len = 0; len < sizeof(bytes); len++)
        CU_ASSERT_EQUAL(read_head(bytes, len, &got), HD_EPROTO);
    memset(bad, 0, sizeof(bad));
    memcpy(bad, bytes, sizeof(bytes));
    CU_ASSERT_EQUAL(read_head(bad, sizeof(bad), &got), HD_EPROTO);
    for (size_t i = 0; i < 8; i++) {
        memcpy(bad, bytes, sizeof(bytes));
        bad[i] ^= 64;
        CU_ASSERT_EQUAL(read_head(bad, sizeof(bytes), &got), i < 4 ? HD_EPROTO : HD_EVERSION);
    }
    memcpy(bad, bytes, sizeof(bytes));
    memset(bad + 24, 0, 8); /* no lineage */
    CU_ASSERT_EQUAL(read_head(bad, sizeof(bytes), &got), HD_EPROTO);
}

UNIT_MAIN("plugin cache", {"hints", hints}, {"words that stand for the time", time_words},
          {"ends of transactions", ends}, {"pipelines", pipelines},
          {"schemas that change meanwhile", schemas}, {"transactions that were abandoned", abandoned},
          {"prepared transactions", prepared}, {"footprints", footprints}, {"cells of rows", row_cells},
          {"flights", flights}, {"heads", heads}, {"answers", answers}, {"ages of answers", ages},
          {"heads of shared values", shared_heads})
