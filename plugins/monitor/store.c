/*
 * The history on disk; see store.h. A row holds a block of samples of one series, so that the file has one
 * row where there would be sixty; a sample is written into its block's place.
 */
#include "store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct mon_grain mon_grains[MON_GRAINS] = {
    {1, 60, 1, 3600},
    {60, 60, 3, 7 * 86400},
    {3600, 24, 3, INT64_C(396) * 86400},
};

/* Floats in the longest block. */
#define BLOCK_MAX 180

static const char schema[] =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = NORMAL;"
    "PRAGMA journal_size_limit = 8388608;"
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
    [BLOCK_READ] = "SELECT s.key, s.unit, b.start, b.data FROM series s JOIN block b ON b.series = s.id"
                   " WHERE (s.key = ?1 OR substr(s.key, 1, length(?1) + 1) = ?1 || '{') AND b.grain = ?2"
                   " AND b.start > ?3 AND b.start < ?4 ORDER BY s.key, b.start",
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
};

int32_t mon_store_code(int rc)
{
    return rc == SQLITE_FULL ? HD_EFULL : rc == SQLITE_NOMEM ? HD_ENOMEM : HD_EIO;
}

int32_t mon_store_run(sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);

    sqlite3_reset(st);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? HD_OK : mon_store_code(rc);
}

int32_t mon_store_undo(struct mon_store *s, int32_t code)
{
    if (!s->db || sqlite3_get_autocommit(s->db))
        return code;
    mon_store_run(s->st[ROLLBACK]);
    for (uint32_t i = 0; i < s->name_room; i++) /* some may have been made by what is undone */
        s->names[i].id = 0;
    return code;
}

/* --- opening -------------------------------------------------------------------------------------------- */

/* The file, made for its owner alone before SQLite sees it. */
static int32_t make_file(const char *path, struct hd_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return hd_error_set(err, HD_EIO, "%s: %s", path, strerror(errno));
    close(fd);
    return HD_OK;
}

static int set_bound(struct mon_store *s)
{
    char sql[80];
    sqlite3_stmt *st;
    int64_t page = 4096;

    if (sqlite3_prepare_v2(s->db, "PRAGMA page_size", -1, &st, NULL) == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW)
            page = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
    }
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %lld", (long long)(s->max_size / page));
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

/* An SQLite result. */
static int open_db(struct mon_store *s, const char *path)
{
    int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(s->db, 2000);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->db, schema, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = set_bound(s);
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
    for (uint32_t i = 0; i < s->name_room; i++)
        s->names[i].id = 0;
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

int32_t mon_store_open(struct mon_store *s, struct hd_error *err)
{
    int32_t code = make_file(s->path, err);
    int rc = code ? SQLITE_CANTOPEN : open_db(s, s->path);

    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) {
        mon_store_close(s);
        put_aside(s->path);
        code = make_file(s->path, err);
        rc = code ? SQLITE_CANTOPEN : open_db(s, s->path);
    }
    if (rc == SQLITE_OK)
        return HD_OK;
    if (!code)
        code =
            hd_error_set(err, HD_EIO, "%s: %s", s->path, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
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

int32_t mon_store_begin(struct mon_store *s)
{
    mon_store_undo(s, HD_OK);
    return s->db ? mon_store_run(s->st[BEGIN]) : HD_EIO;
}

int32_t mon_store_commit(struct mon_store *s)
{
    int32_t code = mon_store_run(s->st[COMMIT]);

    return code ? mon_store_undo(s, code) : HD_OK;
}

/* --- series --------------------------------------------------------------------------------------------- */

static int32_t room_for(struct mon_store *s, uint32_t number)
{
    uint32_t room = s->name_room ? s->name_room : 256;
    struct mon_name *names;

    while (room <= number)
        room *= 2;
    if (room == s->name_room)
        return HD_OK;
    names = realloc(s->names, room * sizeof(*names));
    if (!names)
        return HD_ENOMEM;
    memset(names + s->name_room, 0, (room - s->name_room) * sizeof(*names));
    s->names = names;
    s->name_room = room;
    return HD_OK;
}

int32_t mon_store_define(struct mon_store *s, uint32_t number, const char *key, const char *unit)
{
    char *k = strdup(key), *u = strdup(unit);

    if (!k || !u || room_for(s, number) != HD_OK) {
        free(k);
        free(u);
        return HD_ENOMEM;
    }
    free(s->names[number].key);
    free(s->names[number].unit);
    s->names[number] = (struct mon_name){k, u, 0};
    return HD_OK;
}

/* The file's number of a series, made where it has none. */
static int32_t id_of(struct mon_store *s, uint32_t number, int64_t *id)
{
    sqlite3_stmt *add = s->st[SERIES_ADD], *find = s->st[SERIES_FIND];
    struct mon_name *n = number < s->name_room ? &s->names[number] : NULL;
    int32_t code = HD_OK;

    if (!n || !n->key)
        return HD_ENOENT;
    if (!n->id) {
        sqlite3_bind_text(add, 1, n->key, -1, SQLITE_STATIC);
        sqlite3_bind_text(add, 2, n->unit, -1, SQLITE_STATIC);
        code = mon_store_run(add);
        sqlite3_bind_text(find, 1, n->key, -1, SQLITE_STATIC);
        if (!code && sqlite3_step(find) == SQLITE_ROW)
            n->id = sqlite3_column_int64(find, 0);
        sqlite3_reset(find);
    }
    *id = n->id;
    return code || n->id ? code : HD_EIO;
}

/* The block as it is, or empty: all its samples missing. */
static int32_t get_block(struct mon_store *s, int grain, int64_t id, int64_t start, float *block)
{
    const struct mon_grain *g = &mon_grains[grain];
    sqlite3_stmt *get = s->st[BLOCK_GET];
    size_t bytes = g->slots * g->width * sizeof(float);
    int32_t code = HD_OK;
    int rc;

    for (uint32_t i = 0; i < g->slots * g->width; i++)
        block[i] = NAN;
    sqlite3_bind_int(get, 1, grain);
    sqlite3_bind_int64(get, 2, id);
    sqlite3_bind_int64(get, 3, start);
    rc = sqlite3_step(get);
    if (rc == SQLITE_ROW && (size_t)sqlite3_column_bytes(get, 0) == bytes)
        memcpy(block, sqlite3_column_blob(get, 0), bytes);
    else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        code = mon_store_code(rc);
    sqlite3_reset(get);
    return code;
}

static int32_t put_block(struct mon_store *s, int grain, int64_t id, int64_t start, const float *block)
{
    const struct mon_grain *g = &mon_grains[grain];
    sqlite3_stmt *put = s->st[BLOCK_PUT];

    sqlite3_bind_int(put, 1, grain);
    sqlite3_bind_int64(put, 2, id);
    sqlite3_bind_int64(put, 3, start);
    sqlite3_bind_blob(put, 4, block, (int)(g->slots * g->width * sizeof(float)), SQLITE_STATIC);
    return mon_store_run(put);
}

/* `count` samples into as many blocks as they need. */
static int32_t put_samples(struct mon_store *s, int grain, int64_t id, int64_t time, const float *values,
                           uint32_t count)
{
    const struct mon_grain *g = &mon_grains[grain];
    int64_t span = g->step * g->slots;
    float block[BLOCK_MAX];
    int32_t code = HD_OK;

    for (uint32_t done = 0; !code && done < count;) {
        int64_t start = time - time % span;
        uint32_t slot = (uint32_t)((time - start) / g->step);
        uint32_t n = count - done < g->slots - slot ? count - done : g->slots - slot;

        code = get_block(s, grain, id, start, block);
        memcpy(block + slot * g->width, values + done * g->width, n * g->width * sizeof(float));
        if (!code)
            code = put_block(s, grain, id, start, block);
        done += n;
        time += n * g->step;
    }
    return code;
}

int32_t mon_store_put(struct mon_store *s, uint32_t number, int grain, int64_t time, const float *values,
                      uint32_t count)
{
    int64_t id = 0;
    int32_t code = s->db ? id_of(s, number, &id) : HD_EIO;

    if (code == HD_ENOENT)
        return code;
    if (!code)
        code = put_samples(s, grain, id, time, values, count);
    return code ? mon_store_undo(s, code) : HD_OK;
}

/* --- hours from minutes ----------------------------------------------------------------------------------
 */

/* Mean, least and greatest of a block of minutes; 0: it has none. */
static int sum_up(const float *v, float out[3])
{
    const struct mon_grain *g = &mon_grains[MON_MINUTE];
    double sum = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->slots; i++, v += 3) {
        if (isnan(v[0]))
            continue;
        out[1] = n && out[1] < v[1] ? out[1] : v[1];
        out[2] = n && out[2] > v[2] ? out[2] : v[2];
        sum += (double)v[0];
        n++;
    }
    if (n)
        out[0] = (float)(sum / n);
    return n > 0;
}

/* One hour of all series: a block of minutes is just an hour long. */
static int32_t roll_hour(struct mon_store *s, int64_t hour)
{
    sqlite3_stmt *at = s->st[BLOCKS_AT];
    float minutes[BLOCK_MAX], out[3] = {0, 0, 0};
    int32_t code = HD_OK;

    sqlite3_bind_int(at, 1, MON_MINUTE);
    sqlite3_bind_int64(at, 2, hour);
    while (!code && sqlite3_step(at) == SQLITE_ROW) {
        if ((size_t)sqlite3_column_bytes(at, 1) != sizeof(minutes))
            continue;
        memcpy(minutes, sqlite3_column_blob(at, 1), sizeof(minutes));
        if (sum_up(minutes, out))
            code = put_samples(s, MON_HOUR, sqlite3_column_int64(at, 0), hour, out, 1);
    }
    sqlite3_reset(at);
    return code;
}

static int64_t number_of(struct mon_store *s, const char *sql, int grain);

int32_t mon_store_roll(struct mon_store *s, int64_t now)
{
    int64_t this_hour = now / 3600, week = this_hour - 7 * 24, hour;
    char sql[64];
    int32_t code = s->db ? HD_OK : HD_EIO;

    if (code)
        return code;
    hour = number_of(s, "PRAGMA user_version", 0);
    /* A clock that went back makes them anew. */
    if (hour < week || hour > this_hour)
        hour = week;
    if (hour == this_hour)
        return HD_OK;
    code = mon_store_begin(s);
    for (; !code && hour < this_hour; hour++)
        code = roll_hour(s, hour * 3600);
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %lld", (long long)this_hour);
    if (!code && sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        code = HD_EIO;
    return code ? mon_store_undo(s, code) : mon_store_commit(s);
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

/* One block's samples within the range. */
static int32_t read_block(sqlite3_stmt *st, int grain, int64_t from, int64_t to,
                          int32_t (*fn)(void *, const struct mon_sample *), void *arg)
{
    const struct mon_grain *g = &mon_grains[grain];
    float block[BLOCK_MAX], *v = block;
    struct mon_sample sample = {.key = (const char *)sqlite3_column_text(st, 0),
                                .unit = (const char *)sqlite3_column_text(st, 1)};
    int64_t start = sqlite3_column_int64(st, 2);
    int32_t code = HD_OK;

    if ((size_t)sqlite3_column_bytes(st, 3) != g->slots * g->width * sizeof(float))
        return HD_OK;
    memcpy(block, sqlite3_column_blob(st, 3), (size_t)sqlite3_column_bytes(st, 3));
    for (uint32_t i = 0; !code && i < g->slots; i++, v += g->width) {
        sample.time = start + i * g->step;
        if (sample.time < from || sample.time >= to || isnan(v[0]))
            continue;
        sample.mean = (double)v[0];
        sample.min = (double)v[g->width > 1 ? 1 : 0];
        sample.max = (double)v[g->width > 1 ? 2 : 0];
        code = fn(arg, &sample);
    }
    return code;
}

int32_t mon_store_read(struct mon_store *s, const char *name, int grain, int64_t from, int64_t to,
                       int32_t (*fn)(void *arg, const struct mon_sample *sample), void *arg)
{
    sqlite3_stmt *st = s->st[BLOCK_READ];
    int32_t code = HD_OK;
    int rc = SQLITE_DONE;

    if (!s->db)
        return HD_EIO;
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int(st, 2, grain);
    sqlite3_bind_int64(st, 3, from - mon_grains[grain].step * mon_grains[grain].slots);
    sqlite3_bind_int64(st, 4, to);
    while (!code && (rc = sqlite3_step(st)) == SQLITE_ROW)
        code = read_block(st, grain, from, to, fn, arg);
    sqlite3_reset(st);
    if (!code && rc != SQLITE_DONE)
        code = mon_store_code(rc);
    return code;
}

/* --- size and age ----------------------------------------------------------------------------------------
 */

static int32_t delete_before(struct mon_store *s, const char *sql, int grain, int64_t before)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    int32_t code;

    if (rc != SQLITE_OK)
        return mon_store_code(rc);
    sqlite3_bind_int64(st, 1, before);
    if (sqlite3_bind_parameter_count(st) > 1)
        sqlite3_bind_int(st, 2, grain);
    code = mon_store_run(st);
    sqlite3_finalize(st);
    return code;
}

static const char old_blocks[] = "DELETE FROM block WHERE start < ?1 AND grain = ?2";
static const char old_templates[] = "DELETE FROM template WHERE start < ?1 AND grain = ?2";
static const char old_events[] = "DELETE FROM event WHERE time < ?1";
static const char old_texts[] = "DELETE FROM text WHERE seen < ?1";

int32_t mon_store_prune(struct mon_store *s, int64_t now)
{
    int64_t year = now - mon_grains[MON_HOUR].keep;
    int32_t code = s->db ? HD_OK : HD_EIO;

    for (int g = 0; !code && g < MON_GRAINS; g++) {
        const struct mon_grain *grain = &mon_grains[g];

        code = delete_before(s, old_blocks, g, now - grain->keep - grain->step * grain->slots);
    }
    if (!code)
        code = delete_before(s, old_templates, MON_MINUTE, now - 2 * 86400);
    if (!code)
        code = delete_before(s, old_templates, MON_HOUR, year);
    if (!code)
        code = delete_before(s, old_texts, 0, year);
    if (!code)
        code = delete_before(s, old_events, 0, year);
    return code;
}

static int64_t number_of(struct mon_store *s, const char *sql, int grain)
{
    sqlite3_stmt *st;
    int64_t value = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
        return 0;
    if (sqlite3_bind_parameter_count(st))
        sqlite3_bind_int(st, 1, grain);
    if (sqlite3_step(st) == SQLITE_ROW)
        value = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return value;
}

int32_t mon_store_make_room(struct mon_store *s)
{
    int32_t code = s->db ? HD_OK : HD_EIO;

    for (int g = 0; !code && g < MON_GRAINS; g++) {
        int64_t old = number_of(s, "SELECT min(start) FROM block WHERE grain = ?1", g);
        int64_t young = number_of(s, "SELECT max(start) FROM block WHERE grain = ?1", g);
        int64_t cut = old + (young - old) / 10 + 1;

        code = delete_before(s, old_blocks, g, cut);
        if (!code && g != MON_SECOND)
            code = delete_before(s, old_templates, g, cut);
    }
    return code;
}

int64_t mon_store_bytes(struct mon_store *s)
{
    return !s->db ? 0 : number_of(s, "PRAGMA page_count", 0) * number_of(s, "PRAGMA page_size", 0);
}
