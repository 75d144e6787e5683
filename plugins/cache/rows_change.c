/*
 * Which rows a change of the stream touches; see rows.h.
 *
 * The stream knows types, not keys, so each column of a type that row columns have is marked; marks of
 * columns that no read hangs on find nothing.
 */
#include <string.h>

#include "rows.h"

struct marks {
    struct cache_mark *out;
    uint32_t cap, count;
};

static void put(struct marks *m, enum cache_mark_kind kind, uint32_t oid, uint64_t column, uint64_t hash)
{
    if (m->count < m->cap)
        m->out[m->count] = (struct cache_mark){.kind = kind, .oid = oid, .column = column, .hash = hash};
    m->count++;
}

static uint32_t canonical_of(uint32_t type)
{
    switch (type) {
    case 20: /* bigint, smallint, integer */
    case 21:
    case 23:
        return HD_CANONICAL_INTEGER;
    case 25: /* text, varchar */
    case 1043:
        return HD_CANONICAL_TEXT;
    case 2950:
        return HD_CANONICAL_UUID;
    default:
        return HD_CANONICAL_OTHER;
    }
}

/* A value before or after the change. */
struct side {
    int told; /* else it may be any */
    int some; /* not NULL */
    uint64_t hash;
};

static struct side side_of(const struct hd_stream_value *v, uint32_t canonical)
{
    struct side s = {.told = v->kind == HD_STREAM_NULL};

    if (v->kind == HD_STREAM_TEXT)
        s.told = s.some = cache_row_hash_text(canonical, v->text, &s.hash);
    return s;
}

static void mark_column(const struct hd_stream_row *row, uint32_t i, struct marks *m)
{
    const struct hd_stream_column *c = &row->relation->columns[i];
    uint32_t canonical = canonical_of(c->type), oid = row->relation->oid;
    uint64_t column = cache_column(c->name);
    struct side before = {.told = 1}, after = {.told = 1};

    if (canonical == HD_CANONICAL_OTHER)
        return;
    if (row->new_row)
        after = side_of(&row->new_row[i], canonical);
    if (row->old)
        before = side_of(&row->old[i], canonical);
    else if (row->kind != HD_STREAM_INSERT)
        before.told = (c->flags & HD_STREAM_COLUMN_KEY) != 0; /* it is as after */
    if (!before.told || !after.told) {
        put(m, CACHE_MARK_COLUMN, oid, column, 0);
        return;
    }
    if (before.some)
        put(m, CACHE_MARK_VALUE, oid, column, before.hash);
    if (after.some && !(before.some && before.hash == after.hash))
        put(m, CACHE_MARK_VALUE, oid, column, after.hash);
}

uint32_t cache_rows_change(const struct hd_stream_row *row, struct cache_mark *out, uint32_t cap)
{
    struct marks m = {.out = out, .cap = cap};

    put(&m, CACHE_MARK_WRITTEN, row->relation->oid, 0, 0);
    for (uint32_t i = 0; i < row->relation->column_count; i++)
        mark_column(row, i, &m);
    return m.count;
}
