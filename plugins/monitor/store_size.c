/*
 * The history's size and age: what is too old goes, and at the bound the oldest; see store.h.
 */
#include "store_parts.h"

#include <sys/statvfs.h>
#include <time.h>

#define CHUNK      "5000"           /* rows that one transaction deletes: the write-ahead log stays small */
#define GIVEN      "256"            /* pages that one transaction gives back; likewise */
#define NEAR(most) ((most) / 8 * 7) /* of the bound: so full that it is met */
#define FREE_LEAST (16 << 20)       /* bytes on the disk: with more it cannot be the disk that is full */

#define PAGES       "PRAGMA page_count"
#define FREE        "PRAGMA freelist_count"
#define INCREMENTAL 2 /* as PRAGMA auto_vacuum tells it */

/* What is deleted by its time: `times` gives the first and the last, `cut` deletes what is before ?1. A table
 * that has grains is asked for grain ?2. */
struct span {
    const char *first, *last, *cut;
    int grain; /* -1: it has none */
};

#define SPAN_OF(table, g)                                                                                    \
    {                                                                                                        \
        "SELECT min(start) FROM " table " WHERE grain = ?2",                                                 \
            "SELECT max(start) FROM " table " WHERE grain = ?2",                                             \
            "DELETE FROM " table " WHERE rowid IN (SELECT rowid FROM " table                                 \
            " WHERE start < ?1 AND grain = ?2 LIMIT " CHUNK ")",                                             \
            g                                                                                                \
    }

enum { SECONDS, MINUTES, HOURS, TEMPLATE_MINUTES, TEMPLATE_HOURS, EVENTS, SPANS };

static const struct span spans[SPANS] = {
    [SECONDS] = SPAN_OF("block", MON_SECOND),
    [MINUTES] = SPAN_OF("block", MON_MINUTE),
    [HOURS] = SPAN_OF("block", MON_HOUR),
    [TEMPLATE_MINUTES] = SPAN_OF("template", MON_MINUTE),
    [TEMPLATE_HOURS] = SPAN_OF("template", MON_HOUR),
    [EVENTS] = {"SELECT min(time) FROM event", "SELECT max(time) FROM event",
                "DELETE FROM event WHERE rowid IN (SELECT rowid FROM event WHERE time < ?1 LIMIT " CHUNK ")",
                -1},
};

static int64_t number_with(struct mon_store *s, const char *sql, int grain)
{
    sqlite3_stmt *st;
    int64_t value = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
        return 0;
    if (grain >= 0)
        sqlite3_bind_int(st, 2, grain);
    if (sqlite3_step(st) == SQLITE_ROW)
        value = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return value;
}

int64_t mon_store_number(struct mon_store *s, const char *sql)
{
    return number_with(s, sql, -1);
}

/* Runs it until it has nothing left to do. */
static int32_t delete_before(struct mon_store *s, const char *sql, int grain, int64_t before)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    int32_t code;

    if (rc != SQLITE_OK)
        return mon_store_code(rc);
    sqlite3_bind_int64(st, 1, before);
    if (grain >= 0)
        sqlite3_bind_int(st, 2, grain);
    do
        code = mon_store_run(st);
    while (!code && sqlite3_changes(s->db));
    sqlite3_finalize(st);
    return code;
}

static int32_t cut(struct mon_store *s, int span, int64_t before)
{
    return delete_before(s, spans[span].cut, spans[span].grain, before);
}

/* --- names that nothing refers to any more ----------------------------------------------------------------
 */

/* Texts of templates that were not seen since then, and series without samples. */
static int32_t drop_names(struct mon_store *s, int64_t before)
{
    static const char texts[] = "DELETE FROM text WHERE rowid IN (SELECT rowid FROM text WHERE seen < ?1"
                                " LIMIT " CHUNK ")";
    static const char series[] = "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM block b"
                                 " WHERE b.series = series.id)";
    int32_t code = delete_before(s, texts, -1, before);

    if (!code && sqlite3_exec(s->db, series, NULL, NULL, NULL) != SQLITE_OK)
        code = mon_store_code(sqlite3_errcode(s->db));
    mon_store_forget_ids(s); /* what is sampled still is made anew with its next sample */
    return code;
}

/* --- age -------------------------------------------------------------------------------------------------
 */

int32_t mon_store_prune(struct mon_store *s, int64_t now)
{
    static const char old_notes[] =
        "DELETE FROM note WHERE rowid IN (SELECT rowid FROM note WHERE time < ?1 LIMIT " CHUNK ")";
    int64_t year = now - mon_grains[MON_HOUR].keep;
    int32_t code = s->db ? HD_OK : HD_EIO;

    for (int g = 0; !code && g < MON_GRAINS; g++) {
        const struct mon_grain *grain = &mon_grains[g];

        code = cut(s, SECONDS + g, now - grain->keep - grain->step * grain->slots);
    }
    if (!code)
        code = cut(s, TEMPLATE_MINUTES, now - 2 * 86400);
    if (!code)
        code = cut(s, TEMPLATE_HOURS, year);
    if (!code)
        code = cut(s, EVENTS, year);
    if (!code)
        code = delete_before(s, old_notes, -1, year);
    return code ? code : drop_names(s, year);
}

int64_t mon_store_newest(struct mon_store *s)
{
    int64_t newest = 0;

    for (int i = 0; s->db && i <= HOURS; i++) {
        int64_t last = number_with(s, spans[i].last, spans[i].grain);

        newest = last > newest ? last : newest;
    }
    return newest;
}

/* --- size ------------------------------------------------------------------------------------------------
 */

/* Is it the file's bound that leaves no room, and not the disk? On a full disk nothing would be won by
 * deleting, and within an hour everything lost. */
static int is_at_bound(struct mon_store *s)
{
    int64_t used = mon_store_number(s, PAGES) - mon_store_number(s, FREE);
    struct statvfs disk;

    return used >= NEAR(mon_store_number(s, "PRAGMA max_page_count")) ||
           (!statvfs(s->path, &disk) && (uint64_t)disk.f_bavail * disk.f_frsize >= FREE_LEAST);
}

/* The oldest tenth; what is ahead of the clock was written while it was wrong, and says nothing of how long
 * the time is that is kept. */
static int32_t cut_tenth(struct mon_store *s, int span, int64_t now)
{
    int64_t first = number_with(s, spans[span].first, spans[span].grain);
    int64_t last = number_with(s, spans[span].last, spans[span].grain);

    if (first < now && last > now)
        last = now;
    return last > first ? cut(s, span, first + (last - first) / 10 + 1) : HD_OK;
}

static int32_t cut_all(struct mon_store *s, int64_t now)
{
    int32_t code = HD_OK;

    for (int i = 0; !code && i < SPANS; i++)
        code = cut_tenth(s, i, now);
    return code ? code : drop_names(s, number_with(s, spans[TEMPLATE_HOURS].first, MON_HOUR));
}

int32_t mon_store_make_room(struct mon_store *s, int64_t now)
{
    return !s->db ? HD_EIO : is_at_bound(s) ? cut_all(s, now) : HD_EFULL;
}

/* --- a bound that was lowered ------------------------------------------------------------------------------
 */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int32_t exec(struct mon_store *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? HD_OK
                                                                   : mon_store_code(sqlite3_errcode(s->db));
}

/* Free pages go a few at a time, so that the log stays small. A file from before this could be done is
 * written anew once, when what is used of it is below the bound. */
static int32_t give_back(struct mon_store *s, uint64_t ns)
{
    uint64_t begun = now_ns();
    int32_t code;

    if (mon_store_number(s, "PRAGMA auto_vacuum") != INCREMENTAL)
        return exec(s, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
    do
        code = exec(s, "PRAGMA incremental_vacuum(" GIVEN ")");
    while (!code && now_ns() - begun < ns && mon_store_number(s, PAGES) > mon_store_bound(s));
    return code;
}

int32_t mon_store_shrink(struct mon_store *s, int64_t now, uint64_t ns)
{
    int64_t pages = s->db ? mon_store_number(s, PAGES) : 0, bound = s->db ? mon_store_bound(s) : 0;
    int32_t code;

    if (!s->db)
        return HD_EIO;
    if (pages <= bound)
        return HD_OK;
    code = pages - mon_store_number(s, FREE) > NEAR(bound) ? cut_all(s, now) : give_back(s, ns);
    if (!code && mon_store_number(s, PAGES) <= bound) {
        mon_store_set_bound(s);
        code = mon_store_empty_log(s); /* only then is the file itself shorter */
    }
    return code;
}

int32_t mon_store_empty_log(struct mon_store *s)
{
    int rc =
        s->db ? sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) : SQLITE_ERROR;

    return rc == SQLITE_OK ? HD_OK : mon_store_code(rc);
}

int64_t mon_store_bytes(struct mon_store *s)
{
    return !s->db ? 0 : mon_store_number(s, PAGES) * mon_store_number(s, "PRAGMA page_size");
}
