/*
 * Asking for the lineage; see lineage.h. Where a change stream is followed it tells; else the server is asked
 * by a job, and again every few seconds, for a failover makes another timeline.
 */
#include "lineage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "follow.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define AGAIN_NS UINT64_C(5000000000)
#define OLD_NS   UINT64_C(30000000000) /* without an answer for so long nothing is proved any more */
#define JOB_MS   5000

/* The control file has the timeline late after a promotion, so it is read from the name of the log's file. */
static const char question[] =
    "SELECT s.system_identifier, CASE WHEN pg_catalog.pg_is_in_recovery()"
    " THEN (SELECT c.timeline_id FROM pg_catalog.pg_control_checkpoint() c)"
    " ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))"
    "::bit(32)::int END FROM pg_catalog.pg_control_system() s";

uint64_t cache_lineage(uint64_t system, uint32_t timeline)
{
    uint8_t bytes[12]; /* in one order on all machines */

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(system >> (8 * i));
    for (int i = 0; i < 4; i++)
        bytes[8 + i] = (uint8_t)(timeline >> (8 * i));
    return system ? XXH3_64bits(bytes, sizeof(bytes)) | 1 : 0;
}

/* What is asked about, until the answer is there. */
struct asked {
    struct cache *cache;
    struct cache_database *db;
};

static void say_unproved(const struct cache *self, const struct cache_database *db, struct hd_str why)
{
    char reason[256];

    snprintf(reason, sizeof(reason), "%.*s", (int)(why.len < 200 ? why.len : 200), why.ptr ? why.ptr : "");
    hd_host_api(self->host)
        ->log(
            self->host, HD_LEVEL_WARNING,
            "which server it is cannot be proved, so nothing is shared with other hosts",
            (const char *const[]){"node", db->node.ptr, "database", db->dbname.ptr, "reason", reason, NULL});
}

static uint64_t read_answer(const struct hd_sql_result *r)
{
    char system[24], timeline[16];

    if (r->code != HD_OK || r->rows != 1 || r->columns != 2 || !r->cells[0].ptr || !r->cells[1].ptr)
        return 0;
    snprintf(system, sizeof(system), "%.*s", (int)r->cells[0].len, r->cells[0].ptr);
    snprintf(timeline, sizeof(timeline), "%.*s", (int)r->cells[1].len, r->cells[1].ptr);
    return cache_lineage(strtoull(system, NULL, 10), (uint32_t)strtoul(timeline, NULL, 10));
}

/* [control] */
static void on_answer(void *arg, const struct hd_sql_result *r)
{
    struct asked *a = arg;
    struct cache_database *db = a->db;
    uint64_t is = read_answer(r), was = atomic_load_explicit(&db->lineage, memory_order_acquire);

    if (is) {
        if (was && was != is) {
            struct cache_cell *written = &db->written;

            cache_shared_raise(a->cache, &written, 1);
            cache_bump(written);
        }
        atomic_store_explicit(&db->lineage, is, memory_order_release);
        atomic_store_explicit(&db->lineage_ns, cache_now_ns(), memory_order_release);
    } else if (!atomic_exchange(&db->lineage_said, 1)) {
        say_unproved(a->cache, db, r->message);
    }
    free(a);
}

static void ask(struct cache *self, struct cache_database *db, uint64_t now)
{
    uint64_t asked = atomic_load_explicit(&db->lineage_asked_ns, memory_order_relaxed);
    const struct hd_sql sql = {.size = sizeof(sql),
                               .node = db->node.ptr,
                               .database = db->dbname.ptr,
                               .text = question,
                               .deadline_ms = JOB_MS};
    struct asked *a;

    if ((asked && now - asked < AGAIN_NS) ||
        !atomic_compare_exchange_strong(&db->lineage_asked_ns, &asked, now))
        return;
    a = malloc(sizeof(*a));
    if (!a)
        return;
    *a = (struct asked){self, db};
    if (self->jobs->sql(self->host, &sql, on_answer, a) <= 0)
        free(a);
}

static uint64_t asked_lineage(struct cache *self, struct cache_database *db)
{
    uint64_t now = cache_now_ns(), age = now - atomic_load_explicit(&db->lineage_ns, memory_order_acquire);

    if (age > AGAIN_NS)
        ask(self, db, now);
    return age < OLD_NS ? atomic_load_explicit(&db->lineage, memory_order_acquire) : 0;
}

uint64_t cache_lineage_of(struct cache *self, struct cache_database *db, enum cache_mode mode,
                          struct cache_shared_head *h)
{
    if (mode != CACHE_TTL)
        return cache_follow_where(self, db, &h->lineage, &h->lsn);
    h->lsn = 0;
    h->lineage = asked_lineage(self, db);
    return 0;
}
