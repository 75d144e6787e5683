/*
 * Finding rows; see rows.h.
 *
 * A table's children and partitions go with it: what restricts the rows of a table that is named once
 * restricts theirs, by the column of the same name. A source is where values of one column come from; targets
 * are the tables' columns that they are values of.
 */
#include "rows_parts.h"

#include <stdlib.h>
#include <string.h>

/* --- building ------------------------------------------------------------------------------------------ */

struct builder {
    const struct cache_rows_from *from;
    struct hd_template_info info;
    struct cache_rows *rows;
    struct hd_dependency *deps;
    uint32_t count;
};

/* Room for one more; arrays grow when their length is a power of two. */
static void *more(struct cache_rows *r, void *array, uint32_t count, size_t item)
{
    void *p = array;

    if ((count & (count - 1)) == 0)
        p = realloc(array, item * (count ? (size_t)count * 2 : 1));
    r->failed |= !p;
    return p;
}

#define PUSH(r, array, count, value)                                                                         \
    do {                                                                                                     \
        void *grown_ = more(r, (r)->array, (r)->count, sizeof(*(r)->array));                                 \
        if (grown_) {                                                                                        \
            (r)->array = grown_;                                                                             \
            (r)->array[(r)->count++] = (value);                                                              \
        }                                                                                                    \
    } while (0)

static int same(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static int begin(struct builder *b, const struct cache_rows_from *from, int write)
{
    struct hd_dependencies_info info = {.size = sizeof(info)};

    *b = (struct builder){.from = from, .info = {.size = sizeof(b->info)}};
    b->rows = calloc(1, sizeof(*b->rows));
    if (!b->rows || from->templates->info(from->tmpl, &b->info) || from->catalog->info(from->deps, &info))
        return 0;
    b->rows->write = write;
    b->deps = calloc(info.tables ? info.tables : 1, sizeof(*b->deps));
    for (b->count = 0; b->deps && b->count < info.tables; b->count++) {
        b->deps[b->count].size = sizeof(*b->deps);
        if (from->catalog->table(from->deps, b->count, &b->deps[b->count]))
            return 0;
    }
    return b->deps != NULL;
}

/* Builds on success, or frees. */
static struct cache_rows *finish(struct builder *b, int built)
{
    struct cache_rows *rows = b->rows;

    free(b->deps);
    for (uint32_t i = 0; rows && i < rows->source_count; i++)
        rows->sources[i].name = (struct hd_str){NULL, 0}; /* was borrowed */
    if (built && !rows->failed)
        return rows;
    cache_rows_free(rows);
    return NULL;
}

/* How often does $n stand in the text? */
static uint32_t mentions_of(const struct builder *b, uint32_t n)
{
    const char *p = b->info.text.ptr, *end = p + b->info.text.len;
    uint32_t found = 0;

    while ((p = memchr(p, '$', (size_t)(end - p)))) {
        uint32_t k = 0;

        for (p++; p < end && *p >= '0' && *p <= '9' && k < 100000; p++)
            k = k * 10 + (uint32_t)(*p - '0');
        found += k == n;
    }
    return found;
}

static void add_number(struct builder *b, uint32_t source, uint32_t n)
{
    struct cache_row_number one = {n, n > b->info.params || mentions_of(b, n) == 1};

    PUSH(b->rows, numbers, number_count, one);
    b->rows->sources[source].count++;
}

static uint32_t add_source(struct builder *b, const struct hd_dependency_column *c)
{
    const struct cache_row_source s = {
        .name = c->name, .type = c->type, .canonical = c->canonical, .first = b->rows->number_count};

    PUSH(b->rows, sources, source_count, s);
    return b->rows->failed ? CACHE_NONE : b->rows->source_count - 1;
}

/* A source that came to nothing is the last one. */
static uint32_t drop_source(struct builder *b)
{
    b->rows->number_count = b->rows->sources[--b->rows->source_count].first;
    return CACHE_NONE;
}

/* The row column of that name of a table; 0: there is none. */
static int find_column(const struct builder *b, uint32_t table, struct hd_str name,
                       struct hd_dependency_column *out)
{
    for (uint32_t i = 0; i < b->deps[table].columns; i++) {
        out->size = sizeof(*out);
        if (b->from->catalog->column(b->from->deps, table, i, out) == HD_OK && same(out->name, name))
            return 1;
    }
    return 0;
}

static uint32_t parent_of(const struct builder *b, uint32_t table)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (b->deps[i].oid == b->deps[table].parent)
            return i;
    return CACHE_NONE;
}

/* Is it the root itself, or a child or partition that is reached by way of it alone? */
static int is_below(const struct builder *b, uint32_t table, uint32_t root)
{
    for (uint32_t depth = 0; table != CACHE_NONE && depth < b->count; depth++) {
        if (table == root)
            return 1;
        if (!b->deps[table].parent || (b->deps[table].flags & (HD_RELATION_PARENTS | HD_RELATION_NAMED)))
            return 0;
        table = parent_of(b, table);
    }
    return 0;
}

static int is_table(const struct hd_dependency *d)
{
    return d->kind == HD_RELATION_TABLE || d->kind == HD_RELATION_PARTITIONED;
}

static void add_whole(struct builder *b, const struct hd_dependency *d)
{
    const struct cache_row_table t = {.oid = d->oid, .whole = 1};

    PUSH(b->rows, tables, table_count, t);
}

static void begin_table(struct builder *b, const struct hd_dependency *d)
{
    const struct cache_row_table t = {.oid = d->oid, .first = b->rows->target_count};

    PUSH(b->rows, tables, table_count, t);
}

static void add_target(struct builder *b, const struct hd_dependency *d, struct hd_str column,
                       uint32_t source, int unless_rows)
{
    const struct cache_row_target t = {d->oid, cache_column(column), source, unless_rows};

    PUSH(b->rows, targets, target_count, t);
    if (!b->rows->failed)
        b->rows->tables[b->rows->table_count - 1].targets++;
}

/* --- comparisons --------------------------------------------------------------------------------------- */

/* A cast to another kind of type may give another value to a column, as '007'::int does to one of text. */
static int may_cast(const struct builder *b, uint32_t source, uint32_t cast)
{
    static const uint32_t to[] = {[HD_CAST_INTEGER] = HD_CANONICAL_INTEGER,
                                  [HD_CAST_UUID] = HD_CANONICAL_UUID,
                                  [HD_CAST_TEXT] = HD_CANONICAL_TEXT};

    return cast == HD_CAST_NONE ||
           (cast < sizeof(to) / sizeof(to[0]) && to[cast] == b->rows->sources[source].canonical);
}

/* Adds the values that a column of a mention is compared with, where each row must meet that. */
static int add_compared(struct builder *b, uint32_t source, int32_t mention, struct hd_str column)
{
    struct hd_template_comparison c = {.size = sizeof(c)};

    for (uint32_t i = 0; b->from->templates->comparison(b->from->tmpl, i, &c) == HD_OK; i++) {
        if (c.table != mention || !c.conjunctive || (c.op != HD_CMP_EQ && c.op != HD_CMP_IN) ||
            !c.param_first || c.param_count > CACHE_ROWS_VALUES || !same(c.column, column) ||
            !may_cast(b, source, c.cast))
            continue;
        for (uint32_t k = 0; k < c.param_count; k++)
            add_number(b, source, c.param_first + k);
        return 1;
    }
    return 0;
}

/* --- reads --------------------------------------------------------------------------------------------- */

static int named_once(const struct builder *b, struct hd_str name)
{
    struct hd_template_table t = {.size = sizeof(t)};
    uint32_t found = 0;

    for (uint32_t i = 0; b->from->templates->table(b->from->tmpl, i, &t) == HD_OK; i++)
        found += same(t.name, name);
    return found == 1;
}

/* A table that the text names, once, and that is reached by no other way. */
static int is_root(const struct builder *b, const struct hd_dependency *d)
{
    return is_table(d) && (d->flags & HD_RELATION_NAMED) && !d->parent && d->columns &&
           named_once(b, d->name);
}

/* The values that restrict it: of a unique column before any other. */
static uint32_t restrict_root(struct builder *b, uint32_t root)
{
    struct hd_dependency_column c = {.size = sizeof(c)};

    for (uint32_t unique = HD_COLUMN_UNIQUE;; unique = 0) {
        for (uint32_t i = 0; i < b->deps[root].columns; i++) {
            uint32_t source;

            if (b->from->catalog->column(b->from->deps, root, i, &c) || (c.flags & unique) != unique)
                continue;
            source = add_source(b, &c);
            if (source == CACHE_NONE || add_compared(b, source, b->deps[root].mention, c.name))
                return source;
            drop_source(b);
        }
        if (!unique)
            return CACHE_NONE;
    }
}

/* Does a row of the answer mean that there is a row with the value that its root is restricted to, which is
 * one value, and can there be only one such row in all of it? */
static int proves_row(const struct builder *b, uint32_t root, uint32_t source)
{
    struct hd_dependency_column c;
    uint32_t members = 0;

    if ((b->info.facts & (HD_FACT_AGGREGATE | HD_FACT_GROUP_BY | HD_FACT_UNSURE_FUNCTION)) ||
        b->info.set_operations || b->rows->sources[source].count != 1 ||
        !find_column(b, root, b->rows->sources[source].name, &c) || !(c.flags & HD_COLUMN_UNIQUE))
        return 0;
    for (uint32_t i = 0; i < b->count; i++)
        members += (uint32_t)is_below(b, i, root);
    return members == 1 || b->deps[root].kind == HD_RELATION_PARTITIONED;
}

static void read_table(struct builder *b, uint32_t table, uint32_t root, uint32_t source)
{
    const struct hd_dependency *d = &b->deps[table];
    struct hd_dependency_column c;

    if (source == CACHE_NONE || !find_column(b, table, b->rows->sources[source].name, &c) ||
        c.canonical != b->rows->sources[source].canonical) {
        add_whole(b, d);
        return;
    }
    begin_table(b, d);
    add_target(b, d, c.name, source, proves_row(b, root, source));
}

/* Which root a table hangs on; CACHE_NONE: on none, or it may be reached by a view. */
static uint32_t root_of(const struct builder *b, uint32_t table, const uint32_t *sources)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (sources[i] != CACHE_NONE && is_below(b, table, i))
            return i;
    return CACHE_NONE;
}

static int has_views(const struct builder *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (b->deps[i].kind == HD_RELATION_VIEW)
            return 1;
    return 0;
}

static int read_all(struct builder *b)
{
    uint32_t *sources = malloc((b->count ? b->count : 1) * sizeof(*sources));
    int views = has_views(b);

    if (!sources)
        return 0;
    for (uint32_t i = 0; i < b->count; i++)
        sources[i] = !views && is_root(b, &b->deps[i]) ? restrict_root(b, i) : CACHE_NONE;
    for (uint32_t i = 0; i < b->count && !b->rows->failed; i++) {
        uint32_t root = root_of(b, i, sources);

        if (b->deps[i].kind != HD_RELATION_VIEW)
            read_table(b, i, root, root == CACHE_NONE ? CACHE_NONE : sources[root]);
    }
    free(sources);
    return 1;
}

struct cache_rows *cache_rows_read(const struct cache_rows_from *from)
{
    struct builder b;

    return finish(&b, begin(&b, from, 0) && read_all(&b));
}

/* --- writes -------------------------------------------------------------------------------------------- */

/* The table that the statement writes by its name; CACHE_NONE: that is not told, or it is a view. */
static uint32_t find_written(const struct builder *b)
{
    struct hd_template_table t = {.size = sizeof(t)};

    if (!(b->info.writes & HD_WRITES_TOLD))
        return CACHE_NONE;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct hd_dependency *d = &b->deps[i];

        if (is_table(d) && d->mention >= 0 &&
            !b->from->templates->table(b->from->tmpl, (uint32_t)d->mention, &t) &&
            (t.access & HD_ACCESS_WRITE))
            return i;
    }
    return CACHE_NONE;
}

/* Does an assignment give a value to the column? One that the INSERT does not list is known by its place. */
static int assigns(const struct builder *b, uint32_t root, const struct hd_template_assignment *a,
                   struct hd_str column)
{
    struct hd_dependency_column c;

    if (a->column.len)
        return same(a->column, column);
    return find_column(b, root, column, &c) && c.position == a->position;
}

/* Adds the values that the column is given; *rows counts those. 0: there is one that cannot be told. */
static int add_assigned(struct builder *b, uint32_t source, uint32_t root, int conflicts, uint32_t *rows)
{
    const struct hd_str column = b->rows->sources[source].name;
    struct hd_template_assignment a = {.size = sizeof(a)};

    for (uint32_t i = 0; b->from->templates->assignment(b->from->tmpl, i, &a) == HD_OK; i++) {
        if ((a.row == HD_ROW_CONFLICT) != conflicts || !assigns(b, root, &a, column))
            continue;
        if (a.value != HD_ASSIGN_NULL &&
            (a.value != HD_ASSIGN_VALUE || !a.param || !may_cast(b, source, a.cast)))
            return 0;
        if (a.value == HD_ASSIGN_VALUE)
            add_number(b, source, a.param);
        if (b->rows->sources[source].count > CACHE_ROWS_VALUES || b->rows->failed)
            return 0;
        ++*rows;
    }
    return 1;
}

static int add_inserted(struct builder *b, uint32_t source, uint32_t root, struct hd_str name)
{
    struct hd_dependency_column c;
    int has_default = !find_column(b, root, name, &c) || (c.flags & HD_COLUMN_DEFAULT); /* or may have */
    uint32_t rows = 0, changed = 0;

    if ((b->info.writes & HD_WRITES_IGNORED) || !add_assigned(b, source, root, 0, &rows))
        return 0;
    if (rows != b->info.rows && (rows || has_default))
        return 0;
    if (!(b->info.writes & HD_WRITES_CONFLICT))
        return 1;
    return same(b->info.conflict_key, name) && add_assigned(b, source, root, 1, &changed);
}

/* The values that rows which are written have, or had, in a column. */
static uint32_t written_source(struct builder *b, uint32_t root, const struct hd_dependency_column *c)
{
    uint32_t source, changed = 0;
    int told;

    for (uint32_t i = 0; i < b->rows->source_count; i++)
        if (same(b->rows->sources[i].name, c->name) && b->rows->sources[i].canonical == c->canonical)
            return i;
    source = add_source(b, c);
    if (source == CACHE_NONE)
        return CACHE_NONE;
    if (b->info.kind == HD_KIND_INSERT)
        told = add_inserted(b, source, root, c->name);
    else
        told = add_compared(b, source, b->deps[root].mention, c->name) &&
               add_assigned(b, source, root, 0, &changed);
    return told ? source : drop_source(b);
}

static void write_table(struct builder *b, uint32_t table, uint32_t root)
{
    const struct hd_dependency *d = &b->deps[table];
    struct hd_dependency_column c = {.size = sizeof(c)};

    if (root == CACHE_NONE || (d->flags & HD_RELATION_CASCADED) || !is_below(b, table, root)) {
        add_whole(b, d);
        return;
    }
    begin_table(b, d);
    for (uint32_t i = 0; i < d->columns && !b->rows->failed; i++)
        if (b->from->catalog->column(b->from->deps, table, i, &c) == HD_OK)
            add_target(b, d, c.name, written_source(b, root, &c), 0);
}

static int write_all(struct builder *b)
{
    uint32_t root = find_written(b);
    int adds = b->info.kind == HD_KIND_INSERT && !(b->info.writes & HD_WRITES_CONFLICT);

    b->rows->unknown = adds ? CACHE_MARK_ADDED : CACHE_MARK_COLUMN;
    for (uint32_t i = 0; i < b->count && !b->rows->failed; i++)
        if ((b->deps[i].flags & HD_RELATION_WRITTEN) && b->deps[i].kind != HD_RELATION_VIEW)
            write_table(b, i, root);
    return 1;
}

struct cache_rows *cache_rows_write(const struct cache_rows_from *from)
{
    struct builder b;

    return finish(&b, begin(&b, from, 1) && write_all(&b));
}

void cache_rows_free(struct cache_rows *rows)
{
    if (!rows)
        return;
    free(rows->tables);
    free(rows->targets);
    free(rows->sources);
    free(rows->numbers);
    free(rows);
}
