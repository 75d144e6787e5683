/*
 * The history's file: its tables, opening and closing; see store.h.
 *
 * The number that SQLite keeps for applications says that a file is a history, and of which format. A file of
 * a later format, or of another program, is left as it is: whoever wrote it may come back for it.
 */
#include "store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK   0x48444800 /* "HDH" and the format */
#define FORMAT 1

static const char schema[] =
    /* Of a new file: pages that are free can be given back a few at a time. */
    "PRAGMA auto_vacuum = INCREMENTAL;"
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = NORMAL;"
    /* The log is small, for as much must be free on the disk when it is moved into the file. */
    "PRAGMA wal_autocheckpoint = 256;"
    "PRAGMA journal_size_limit = 1048576;"
    "CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, unit TEXT NOT "
    "NULL);"
    "CREATE TABLE IF NOT EXISTS block (grain INTEGER, series INTEGER, start INTEGER, data BLOB,"
    " PRIMARY KEY (grain, series, start));"
    "CREATE INDEX IF NOT EXISTS block_age ON block (grain, start);"
    "CREATE INDEX IF NOT EXISTS block_series ON block (series);"
    "CREATE TABLE IF NOT EXISTS text (fingerprint INTEGER PRIMARY KEY, text TEXT, seen INTEGER);"
    "CREATE TABLE IF NOT EXISTS template (grain INTEGER, start INTEGER, fingerprint INTEGER, db TEXT, user "
    "TEXT,"
    " calls INTEGER, errors INTEGER, answered INTEGER, rows INTEGER, bytes INTEGER, total INTEGER, queue "
    "INTEGER,"
    " server INTEGER, longest INTEGER, bins BLOB, PRIMARY KEY (grain, start, fingerprint, db, user));"
    "CREATE TABLE IF NOT EXISTS event (time INTEGER, topic TEXT, subject TEXT, text TEXT);"
    "CREATE INDEX IF NOT EXISTS event_time ON event (time);"
    "CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, time INTEGER);"
    /* Series whose last sample has gone. */
    "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM block b WHERE b.series = series.id);";

static const char *const texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [SERIES_ADD] = "INSERT OR IGNORE INTO series (key, unit) VALUES (?1, ?2)",
    [SERIES_FIND] = "SELECT id FROM series WHERE key = ?1",
    [BLOCK_GET] = "SELECT data FROM block WHERE grain = ?1 AND series = ?2 AND start = ?3",
    [BLOCK_PUT] = "INSERT OR REPLACE INTO block (grain, series, start, data) VALUES (?1, ?2, ?3, ?4)",
    /* Series first, by their names: there are many more blocks than series. What follows { is |. */
    [BLOCK_READ] = "SELECT s.key, s.unit, b.start, b.data FROM series s CROSS JOIN block b"
                   " WHERE s.key >= ?1 AND s.key < ?1 || '|'"
                   " AND (s.key = ?1 OR substr(s.key, 1, length(?1) + 1) = ?1 || '{')"
                   " AND b.series = s.id AND b.grain = ?2 AND b.start > ?3 AND b.start < ?4"
                   " ORDER BY s.key, b.start",
    [BLOCKS_AT] = "SELECT series, data FROM block WHERE grain = ?1 AND start = ?2",
    [TEMPLATE_GET] =
        "SELECT bins FROM template WHERE grain = ?1 AND start = ?2 AND fingerprint = ?3 AND db = ?4"
        " AND user = ?5",
    [TEMPLATE_PUT] =
        "INSERT INTO template VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        " ON CONFLICT (grain, start, fingerprint, db, user) DO UPDATE SET calls = calls + excluded.calls,"
        " errors = errors + excluded.errors, answered = answered + excluded.answered, rows = rows + "
        "excluded.rows,"
        " bytes = bytes + excluded.bytes, total = total + excluded.total, queue = queue + excluded.queue,"
        " server = server + excluded.server, longest = max(longest, excluded.longest), bins = excluded.bins",
    [TEMPLATE_READ] =
        "SELECT m.fingerprint, m.db, m.user, coalesce(t.text, ''), m.calls, m.errors, m.answered, m.rows, "
        "m.bytes,"
        " m.total, m.queue, m.server, m.longest, m.bins FROM template m LEFT JOIN text t USING (fingerprint)"
        " WHERE m.grain = ?1 AND m.start >= ?2 AND m.start < ?3 ORDER BY m.fingerprint, m.db, m.user, "
        "m.start",
    [TEXT_PUT] =
        "INSERT INTO text VALUES (?1, ?2, ?3) ON CONFLICT (fingerprint) DO UPDATE SET seen = excluded.seen",
    [EVENT_PUT] = "INSERT INTO event VALUES (?1, ?2, ?3, ?4)",
    [EVENT_READ] =
        "SELECT time, topic, subject, text FROM event WHERE time >= ?1 AND time < ?2 ORDER BY time DESC"
        " LIMIT ?3",
    [NOTE_GET] = "SELECT time FROM note WHERE key = ?1",
    [NOTE_PUT] = "INSERT OR REPLACE INTO note VALUES (?1, ?2)",
};

/* The file, made for its owner alone before SQLite sees it. */
static int32_t make_file(const char *path, struct hd_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return hd_error_set(err, HD_EIO, "%s: %s", path, strerror(errno));
    close(fd);
    return HD_OK;
}

int64_t mon_store_bound(struct mon_store *s)
{
    int64_t page = mon_store_number(s, "PRAGMA page_size");

    return s->max_size / (page ? page : 4096);
}

int mon_store_set_bound(struct mon_store *s)
{
    char sql[80];

    snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %lld", (long long)mon_store_bound(s));
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

/* An SQLite result; SQLITE_MISMATCH: the file is none that this plugin may write, and why. */
static int check_kind(struct mon_store *s, struct hd_error *err)
{
    sqlite3_stmt *st;
    int64_t mark = 0;
    int rc = sqlite3_prepare_v2(s->db, "PRAGMA application_id", -1, &st, NULL);

    if (rc == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW)
            mark = sqlite3_column_int64(st, 0);
        rc = sqlite3_finalize(st);
    }
    if (rc != SQLITE_OK || !mark || mark == (MARK | FORMAT))
        return rc;
    if ((mark & ~INT64_C(0xff)) == MARK)
        hd_error_set(err, HD_EIO, "%s is a history of a later version (format %d, this one knows %d)",
                     s->path, (int)(mark & 0xff), FORMAT);
    else
        hd_error_set(err, HD_EIO, "%s is a database of another program", s->path);
    return SQLITE_MISMATCH;
}

/* An SQLite result, as check_kind(). */
static int open_db(struct mon_store *s, struct hd_error *err)
{
    char mark[64];
    int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    snprintf(mark, sizeof(mark), "PRAGMA application_id = %d", MARK | FORMAT);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(s->db, 2000);
    if (rc == SQLITE_OK)
        rc = check_kind(s, err);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, schema, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, mark, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = mon_store_set_bound(s);
    for (int i = 0; rc == SQLITE_OK && i < STATEMENTS; i++)
        rc = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL);
    return rc;
}

void mon_store_close(struct mon_store *s)
{
    for (int i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(s->st[i]);
        s->st[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
    mon_store_forget_ids(s);
}

/* A file that is no database any more is kept as PATH.damaged; one at a time. */
static void put_aside(const char *path)
{
    static const char *const tails[] = {"", "-wal", "-shm"};
    char from[4096], to[4096];

    for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        snprintf(from, sizeof(from), "%s%s", path, tails[i]);
        snprintf(to, sizeof(to), "%s.damaged%s", path, tails[i]);
        if (rename(from, to) && errno != ENOENT)
            unlink(from);
    }
}

void mon_store_put_aside(struct mon_store *s)
{
    mon_store_close(s);
    put_aside(s->path);
}

int32_t mon_store_open(struct mon_store *s, struct hd_error *err)
{
    int32_t code = make_file(s->path, err);
    int rc = code ? SQLITE_CANTOPEN : open_db(s, err);

    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) {
        mon_store_put_aside(s);
        code = make_file(s->path, err);
        rc = code ? SQLITE_CANTOPEN : open_db(s, err);
    }
    if (rc == SQLITE_OK)
        return HD_OK;
    if (!code)
        code = rc == SQLITE_MISMATCH ? HD_EIO
                                     : hd_error_set(err, HD_EIO, "%s: %s", s->path,
                                                    s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    mon_store_close(s);
    return code;
}

int mon_store_is_open(const struct mon_store *s)
{
    return s->db != NULL;
}

struct mon_store *mon_store_new(const char *path, int64_t max_size)
{
    struct mon_store *s = calloc(1, sizeof(*s));

    if (s)
        s->path = strdup(path);
    if (!s || !s->path) {
        free(s);
        return NULL;
    }
    s->max_size = max_size;
    return s;
}

void mon_store_free(struct mon_store *s)
{
    if (!s)
        return;
    mon_store_close(s);
    for (uint32_t i = 0; i < s->name_room; i++) {
        free(s->names[i].key);
        free(s->names[i].unit);
    }
    free(s->names);
    free(s->path);
    free(s);
}
