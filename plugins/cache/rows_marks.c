/*
 * The marks of executions, and what is told of rows to people; see rows.h.
 */
#include <string.h>

#include "row_value.h"
#include "rows_parts.h"

int cache_rows_tell(const struct cache_rows *rows, uint32_t i, struct cache_rows_told *out)
{
    const struct cache_row_table *t = &rows->tables[i];
    const struct cache_row_source *s;

    if (i >= rows->table_count)
        return 0;
    *out = (struct cache_rows_told){.oid = t->oid, .whole = t->whole};
    if (t->whole)
        return 1;
    s = &rows->sources[rows->targets[t->first].source];
    out->column = rows->targets[t->first].column;
    for (; out->count < s->count; out->count++)
        out->numbers[out->count] = rows->numbers[s->first + out->count].n;
    return 1;
}

/* --- executions ---------------------------------------------------------------------------------------- */

/* Marks while they are made; counted also where there is no room. */
struct marks {
    struct cache_mark *out;
    uint32_t cap, count;
};

static struct cache_mark *put(struct marks *m, enum cache_mark_kind kind, uint32_t oid, uint64_t column)
{
    static _Thread_local struct cache_mark nowhere;
    struct cache_mark *mark = m->count < m->cap ? &m->out[m->count] : &nowhere;

    m->count++;
    *mark = (struct cache_mark){.kind = kind, .oid = oid, .column = column};
    return mark;
}

int cache_rows_fixed(const struct cache_rows *rows)
{
    return !rows->number_count;
}

static int is_utf8(const struct hd_statement *st)
{
    for (uint32_t i = 0; i < st->setting_count; i++)
        if (strcmp(st->settings[i].name, "client_encoding") == 0)
            return strcmp(st->settings[i].value, "UTF8") == 0;
    return 0;
}

/* Who asks for values. */
struct asker {
    hd_host *host;
    const struct hd_statement_v1 *statements;
    const struct hd_statement *st;
};

/* The hashes of a source's values. 0: there is one that cannot be told. */
static int find_hashes(const struct cache_rows *rows, const struct cache_row_source *s,
                       const struct asker *who, uint64_t *hashes, uint32_t *count)
{
    int utf8 = s->count && s->canonical == HD_CANONICAL_TEXT && is_utf8(who->st);

    *count = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct cache_row_number *n = &rows->numbers[s->first + i];
        const struct cache_value_place at = {s->canonical, s->type, n->once};
        struct hd_value v = {.size = sizeof(v)};
        enum cache_value_form form;

        if (who->statements->value(who->host, who->st, n->n, &v) != HD_OK)
            return 0;
        form = cache_value_form(&at, utf8, &v, &hashes[*count]);
        if (form == CACHE_FORM_UNKNOWN)
            return 0;
        *count += form == CACHE_FORM_HASH;
    }
    return 1;
}

static void put_values(struct marks *m, const struct cache_row_target *t, const uint64_t *hashes,
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put(m, CACHE_MARK_VALUE, t->oid, t->column)->hash = hashes[i];
}

static void mark_target(const struct cache_rows *rows, const struct cache_row_target *t,
                        const struct asker *who, struct marks *m)
{
    uint64_t hashes[CACHE_ROWS_VALUES];
    uint32_t count;
    int told = t->source != CACHE_NONE && find_hashes(rows, &rows->sources[t->source], who, hashes, &count);

    if (!told) {
        put(m, rows->write ? rows->unknown : CACHE_MARK_WRITTEN, t->oid, rows->write ? t->column : 0);
        return;
    }
    if (!rows->write) {
        put(m, CACHE_MARK_WHOLE, t->oid, 0);
        put(m, CACHE_MARK_COLUMN, t->oid, t->column);
        put(m, CACHE_MARK_ADDED, t->oid, t->column)->unless_rows = (uint32_t)t->unless_rows;
    }
    put_values(m, t, hashes, count);
}

uint32_t cache_rows_marks(const struct cache_rows *rows, hd_host *host,
                          const struct hd_statement_v1 *statements, const struct hd_statement *st,
                          struct cache_mark *out, uint32_t cap)
{
    const struct asker who = {host, statements, st};
    struct marks m = {.out = out, .cap = cap};

    for (uint32_t i = 0; i < rows->table_count; i++) {
        const struct cache_row_table *t = &rows->tables[i];

        if (rows->write || t->whole)
            put(&m, CACHE_MARK_WRITTEN, t->oid, 0);
        if (rows->write && t->whole)
            put(&m, CACHE_MARK_WHOLE, t->oid, 0);
        for (uint32_t k = 0; k < t->targets; k++)
            mark_target(rows, &rows->targets[t->first + k], &who, &m);
    }
    return m.count;
}

uint32_t cache_rows_tables(const struct cache_rows *rows, struct cache_mark *out, uint32_t cap)
{
    struct marks m = {.out = out, .cap = cap};

    for (uint32_t i = 0; i < rows->table_count; i++) {
        put(&m, CACHE_MARK_WRITTEN, rows->tables[i].oid, 0);
        if (rows->write)
            put(&m, CACHE_MARK_WHOLE, rows->tables[i].oid, 0);
    }
    return m.count;
}
