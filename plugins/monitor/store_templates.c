/*
 * What templates did, by the minute and by the hour, and events of the bus, in the history; see store.h.
 */
#include "store_parts.h"

#include <stdlib.h>
#include <string.h>

int32_t mon_bins_merge(struct hd_stats_bin **to, uint32_t *count, const struct hd_stats_bin *more,
                       uint32_t more_count)
{
    struct hd_stats_bin *bins = malloc((*count + more_count + 1) * sizeof(*bins)), *old = *to;
    uint32_t i = 0, k = 0, n = 0;

    if (!bins)
        return HD_ENOMEM;
    while (i < *count || k < more_count) {
        if (k == more_count || (i < *count && old[i].bin < more[k].bin)) {
            bins[n++] = old[i++];
        } else if (i == *count || old[i].bin > more[k].bin) {
            bins[n++] = more[k++];
        } else {
            bins[n] = old[i++];
            bins[n++].count += more[k++].count;
        }
    }
    free(old);
    *to = bins;
    *count = n;
    return HD_OK;
}

/* Bins of a latency sketch are kept as bytes: pairs of the bin's number and its count, in rising order. */
static int32_t merge_bins(sqlite3_stmt *get, const struct mon_template *t, struct hd_stats_bin **out,
                          uint32_t *n)
{
    int32_t code;

    *n = (uint32_t)((size_t)sqlite3_column_bytes(get, 0) / sizeof(struct hd_stats_bin));
    *out = malloc((*n + 1) * sizeof(struct hd_stats_bin));
    if (!*out)
        return HD_ENOMEM;
    if (*n)
        memcpy(*out, sqlite3_column_blob(get, 0), *n * sizeof(struct hd_stats_bin));
    code = mon_bins_merge(out, n, t->bins, t->bin_count);
    if (code) {
        free(*out);
        *out = NULL;
    }
    return code;
}

static void bind_key(sqlite3_stmt *st, int grain, int64_t time, const struct mon_template *t)
{
    sqlite3_bind_int(st, 1, grain);
    sqlite3_bind_int64(st, 2, time);
    sqlite3_bind_int64(st, 3, (int64_t)t->fingerprint);
    sqlite3_bind_text(st, 4, t->database, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 5, t->user, -1, SQLITE_STATIC);
}

static int32_t put_template(struct mon_store *s, int grain, int64_t time, const struct mon_template *t,
                            const struct hd_stats_bin *bins, uint32_t bin_count)
{
    const uint64_t numbers[] = {t->calls,    t->errors,   t->answered,  t->rows,  t->bytes,
                                t->total_ns, t->queue_ns, t->server_ns, t->max_ns};
    sqlite3_stmt *put = s->st[TEMPLATE_PUT];

    bind_key(put, grain, time, t);
    for (int i = 0; i < 9; i++)
        sqlite3_bind_int64(put, 6 + i, (int64_t)numbers[i]);
    sqlite3_bind_blob(put, 15, bins, (int)(bin_count * sizeof(*bins)), SQLITE_STATIC);
    return mon_store_run(put);
}

static int32_t put_text(struct mon_store *s, int64_t time, const struct mon_template *t)
{
    sqlite3_stmt *st = s->st[TEXT_PUT];

    sqlite3_bind_int64(st, 1, (int64_t)t->fingerprint);
    sqlite3_bind_text(st, 2, t->text, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, time);
    return mon_store_run(st);
}

int32_t mon_store_add_template(struct mon_store *s, int grain, int64_t time, const struct mon_template *t)
{
    sqlite3_stmt *get = s->st[TEMPLATE_GET];
    struct hd_stats_bin *bins = NULL;
    uint32_t n = 0;
    int32_t code = HD_OK;
    int rc;

    if (!s->db)
        return HD_EIO;
    time -= time % mon_grains[grain].step;
    bind_key(get, grain, time, t);
    rc = sqlite3_step(get);
    if (rc == SQLITE_ROW)
        code = merge_bins(get, t, &bins, &n);
    else if (rc != SQLITE_DONE)
        code = mon_store_code(rc);
    sqlite3_reset(get);
    if (!code)
        code = put_template(s, grain, time, t, bins ? bins : t->bins, bins ? n : t->bin_count);
    free(bins);
    if (!code && t->fingerprint)
        code = put_text(s, time, t);
    return code ? mon_store_undo(s, code) : HD_OK;
}

int32_t mon_store_read_templates(struct mon_store *s, int grain, int64_t from, int64_t to,
                                 int32_t (*fn)(void *arg, const struct mon_template *t), void *arg)
{
    sqlite3_stmt *st = s->st[TEMPLATE_READ];
    int32_t code = HD_OK;
    int rc = SQLITE_DONE;

    if (!s->db)
        return HD_EIO;
    sqlite3_bind_int(st, 1, grain);
    sqlite3_bind_int64(st, 2, from);
    sqlite3_bind_int64(st, 3, to);
    while (!code && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct mon_template t = {.fingerprint = (uint64_t)sqlite3_column_int64(st, 0)};
        uint64_t *numbers[] = {&t.calls,    &t.errors,   &t.answered,  &t.rows,  &t.bytes,
                               &t.total_ns, &t.queue_ns, &t.server_ns, &t.max_ns};

        t.database = (const char *)sqlite3_column_text(st, 1);
        t.user = (const char *)sqlite3_column_text(st, 2);
        t.text = (const char *)sqlite3_column_text(st, 3);
        for (int i = 0; i < 9; i++)
            *numbers[i] = (uint64_t)sqlite3_column_int64(st, 4 + i);
        t.bin_count = (uint32_t)((size_t)sqlite3_column_bytes(st, 13) / sizeof(*t.bins));
        t.bins = malloc((t.bin_count + 1) * sizeof(*t.bins));
        if (t.bins && t.bin_count)
            memcpy(t.bins, sqlite3_column_blob(st, 13), t.bin_count * sizeof(*t.bins));
        code = t.bins ? fn(arg, &t) : HD_ENOMEM;
        free(t.bins);
    }
    sqlite3_reset(st);
    return code || rc == SQLITE_DONE ? code : mon_store_code(rc);
}

int32_t mon_store_add_event(struct mon_store *s, int64_t time, const char *topic, const char *subject,
                            const char *text)
{
    sqlite3_stmt *st = s->st[EVENT_PUT];
    int32_t code;

    if (!s->db)
        return HD_EIO;
    sqlite3_bind_int64(st, 1, time);
    sqlite3_bind_text(st, 2, topic, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 3, subject, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 4, text, -1, SQLITE_STATIC);
    code = mon_store_run(st);
    return code ? mon_store_undo(s, code) : HD_OK;
}

int32_t mon_store_read_events(struct mon_store *s, int64_t from, int64_t to, uint32_t max,
                              int32_t (*fn)(void *arg, const struct mon_event *e), void *arg)
{
    sqlite3_stmt *st = s->st[EVENT_READ];
    int32_t code = HD_OK;
    int rc = SQLITE_DONE;

    if (!s->db)
        return HD_EIO;
    sqlite3_bind_int64(st, 1, from);
    sqlite3_bind_int64(st, 2, to);
    sqlite3_bind_int64(st, 3, max);
    while (!code && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct mon_event e = {sqlite3_column_int64(st, 0), (const char *)sqlite3_column_text(st, 1),
                              (const char *)sqlite3_column_text(st, 2),
                              (const char *)sqlite3_column_text(st, 3)};

        code = fn(arg, &e);
    }
    sqlite3_reset(st);
    return code || rc == SQLITE_DONE ? code : mon_store_code(rc);
}
