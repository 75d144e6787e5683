/*
 * The history on disk; see store.h. A row holds a block of samples of one series, so that the file has one
 * row where there would be sixty; a sample is written into its block's place.
 */
#include "store_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct mon_grain mon_grains[MON_GRAINS] = {
    {1, 60, 1, 3600},
    {60, 60, 3, 7 * 86400},
    {3600, 24, 3, INT64_C(396) * 86400},
};

/* Floats in the longest block. */
#define BLOCK_MAX 180

/* The hour (since 1970) whose sample has not been made yet; 0: none was. */
#define ROLLED "PRAGMA user_version"
#define WEEK_H (7 * 24) /* minutes are kept so long */

static int32_t mend_hour(struct mon_store *s, int64_t id, int64_t start, const float *minutes);

int32_t mon_store_code(int rc)
{
    switch (rc) {
    case SQLITE_FULL:
        return HD_EFULL;
    case SQLITE_NOMEM:
        return HD_ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return HD_EPROTO;
    default:
        return HD_EIO;
    }
}

int32_t mon_store_run(sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);

    sqlite3_reset(st);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? HD_OK : mon_store_code(rc);
}

void mon_store_forget_ids(struct mon_store *s)
{
    for (uint32_t i = 0; i < s->name_room; i++)
        s->names[i].id = 0;
}

int32_t mon_store_undo(struct mon_store *s, int32_t code)
{
    if (!s->db || sqlite3_get_autocommit(s->db))
        return code;
    mon_store_run(s->st[ROLLBACK]);
    mon_store_forget_ids(s); /* some may have been made by what is undone */
    return code;
}

int32_t mon_store_begin(struct mon_store *s)
{
    int32_t code;

    mon_store_undo(s, HD_OK);
    code = s->db ? mon_store_run(s->st[BEGIN]) : HD_EIO;
    if (!code)
        s->rolled = mon_store_number(s, ROLLED);
    return code;
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
        if (!code && grain == MON_MINUTE)
            code = mend_hour(s, id, start, block);
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

/* The hour of these minutes, if it was made without them. */
static int32_t mend_hour(struct mon_store *s, int64_t id, int64_t start, const float *minutes)
{
    int64_t hour = start / 3600;
    float out[3] = {0, 0, 0};

    if (hour >= s->rolled || hour < s->rolled - WEEK_H || !sum_up(minutes, out))
        return HD_OK;
    return put_samples(s, MON_HOUR, id, start, out, 1);
}

/* One hour of all series: a block of minutes is just an hour long. */
static int32_t roll_hour(struct mon_store *s, int64_t hour)
{
    sqlite3_stmt *at = s->st[BLOCKS_AT];
    float minutes[BLOCK_MAX], out[3] = {0, 0, 0};
    int32_t code = HD_OK;
    int rc = SQLITE_DONE;

    sqlite3_bind_int(at, 1, MON_MINUTE);
    sqlite3_bind_int64(at, 2, hour);
    while (!code && (rc = sqlite3_step(at)) == SQLITE_ROW) {
        if ((size_t)sqlite3_column_bytes(at, 1) != sizeof(minutes))
            continue;
        memcpy(minutes, sqlite3_column_blob(at, 1), sizeof(minutes));
        if (sum_up(minutes, out))
            code = put_samples(s, MON_HOUR, sqlite3_column_int64(at, 0), hour, out, 1);
    }
    sqlite3_reset(at);
    return code || rc == SQLITE_DONE ? code : mon_store_code(rc);
}

int32_t mon_store_roll(struct mon_store *s, int64_t now)
{
    int64_t this_hour = now / 3600, week = this_hour - WEEK_H, hour;
    char sql[64];
    int32_t code = s->db ? HD_OK : HD_EIO;

    if (code)
        return code;
    hour = mon_store_number(s, ROLLED);
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
        code = mon_store_code(sqlite3_errcode(s->db));
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
