/*
 * Columns and parents; see catalog_columns.h. Rows come in any order: tables are found by a sorted list of
 * their oids, and columns are sorted at the end.
 */
#include "sql/catalog_columns.h"

#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT, NUMBER, OID, POSITION, NAME, TYPE, LETTERS };

/* A table's place by its oid. */
struct place {
    uint32_t oid, table;
};

static int is(struct hd_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

static int has(struct hd_str s, char letter)
{
    return s.len && memchr(s.ptr, letter, s.len) != NULL;
}

static uint32_t number(struct hd_str s)
{
    return s.len ? (uint32_t)strtoul(s.ptr, NULL, 10) : 0;
}

static int by_oid(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return (x->oid > y->oid) - (x->oid < y->oid);
}

static struct place *sort_tables(struct hd_catalog_answer *a)
{
    struct place *places = hd_arena_alloc(&a->arena, (a->count + 1) * sizeof(*places));

    for (uint32_t i = 0; places && i < a->count; i++)
        places[i] = (struct place){a->tables[i].oid, i};
    if (places)
        qsort(places, a->count, sizeof(*places), by_oid);
    return places;
}

static struct hd_catalog_table *table_of(const struct hd_catalog_answer *a, const struct place *places,
                                         uint32_t oid)
{
    const struct place key = {oid, 0};
    const struct place *p = bsearch(&key, places, a->count, sizeof(*places), by_oid);

    return p ? &a->tables[p->table] : NULL;
}

static uint32_t canonical(struct hd_str letters)
{
    switch (letters.len ? *letters.ptr : 0) {
    case 'N':
        return HD_CANONICAL_INTEGER;
    case 'U':
        return HD_CANONICAL_UUID;
    case 'T':
        return HD_CANONICAL_TEXT;
    default:
        return HD_CANONICAL_OTHER;
    }
}

static int on_column(struct hd_catalog_answer *a, uint32_t table, const struct hd_str *row)
{
    const char *name = hd_arena_strndup(&a->arena, row[NAME].ptr, row[NAME].len);
    const struct hd_str letters = row[LETTERS];

    a->columns[a->column_count++] = (struct hd_catalog_column){
        .table = table,
        .attnum = (int32_t)number(row[NUMBER]),
        .position = number(row[POSITION]),
        .type = number(row[TYPE]),
        .canonical = canonical(letters),
        .flags = (has(letters, 'i') ? HD_COLUMN_IDENTITY : 0) | (has(letters, 'u') ? HD_COLUMN_UNIQUE : 0) |
                 (has(letters, 'n') ? HD_COLUMN_NOT_NULL : 0) | (has(letters, 'd') ? HD_COLUMN_DEFAULT : 0),
        .name = {name, name ? row[NAME].len : 0}};
    return name ? HD_OK : HD_ENOMEM;
}

static void on_child(struct hd_catalog_table *t, uint32_t parent)
{
    if (t->parent)
        t->flags |= HD_RELATION_PARENTS;
    t->parent = parent;
}

static int by_table(const void *a, const void *b)
{
    const struct hd_catalog_column *x = a, *y = b;

    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    return (x->attnum > y->attnum) - (x->attnum < y->attnum);
}

/* Gives each table its columns. */
static void share_out(struct hd_catalog_answer *a)
{
    if (a->column_count)
        qsort(a->columns, a->column_count, sizeof(*a->columns), by_table);
    for (uint32_t i = a->column_count; i-- > 0;) {
        struct hd_catalog_table *t = &a->tables[a->columns[i].table];

        t->first_column = i;
        t->columns++;
    }
}

int hd_catalog_read_columns(const struct hd_str *cells, uint32_t rows, struct hd_catalog_answer *a)
{
    struct place *places = sort_tables(a);
    uint32_t count = 0;
    int code = places ? HD_OK : HD_ENOMEM;

    for (uint32_t i = 0; i < rows; i++)
        count += (uint32_t)is(cells[(size_t)i * HD_CATALOG_CELLS], "column");
    a->columns = count && !code ? hd_arena_alloc(&a->arena, count * sizeof(*a->columns)) : NULL;
    if (count && !a->columns)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < rows && !code; i++) {
        const struct hd_str *row = cells + (size_t)i * HD_CATALOG_CELLS;
        int column = is(row[WHAT], "column"), child = is(row[WHAT], "child");
        struct hd_catalog_table *t = column || child ? table_of(a, places, number(row[OID])) : NULL;

        if (t && column)
            code = on_column(a, (uint32_t)(t - a->tables), row);
        else if (t)
            on_child(t, number(row[TYPE]));
    }
    share_out(a);
    return code;
}
