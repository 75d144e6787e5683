/*
 * The catalog of the small host: a template hangs on the tables that it was given, in the schema `public`
 * where it names none, and on what the test says beside them.
 */
#include "mock_parts.h"

#include <stdlib.h>
#include <string.h>

/* What was told at one time. Freed with its last hold. */
struct hd_dependencies {
    struct mock *m;
    const hd_template *t;
    uint64_t problems;
    uint32_t footprint;
    uint64_t generation;
};

static int32_t dependencies(hd_host *host, const hd_template *t, const struct hd_catalog_scope *scope,
                            const hd_dependencies **out)
{
    struct mock *m = mock_of(host);
    struct hd_dependencies *d;

    *out = NULL;
    if (scope->size < sizeof(*scope) || !scope->node.len || !scope->dbname.len || !scope->user.len)
        return HD_EINVAL;
    if (m->catalog_code != HD_OK)
        return m->catalog_code;
    d = mock_zalloc(sizeof(*d));
    d->m = m;
    d->t = t;
    d->problems = m->catalog_problems;
    d->footprint = m->catalog_footprint;
    d->generation = m->catalog_generation;
    m->catalog_held++;
    *out = d;
    return HD_OK;
}

static int32_t current(const hd_dependencies *d)
{
    return d->generation == d->m->catalog_generation;
}

static int32_t give(void *to, uint32_t room, const void *from, uint32_t size)
{
    memcpy((char *)to + sizeof(uint32_t), (const char *)from + sizeof(uint32_t),
           (room < size ? room : size) - sizeof(uint32_t));
    return HD_OK;
}

static int32_t info(const hd_dependencies *d, struct hd_dependencies_info *out)
{
    struct hd_template_info t = {.size = sizeof(t)};
    struct hd_dependencies_info i = {
        .problems = d->problems, .generation = d->generation, .footprint = d->footprint};

    mock_templates.info(d->t, &t);
    i.tables = t.tables;
    if (d->problems)
        i.reason = (struct hd_str){"the test says so", 16};
    if (d->footprint)
        i.footprint_reason = (struct hd_str){"the test says so", 16};
    return give(out, out->size, &i, sizeof(i));
}

/* The i-th column of tables of that name; NULL past the end. */
static const struct mock_column *find_column(const struct mock *m, struct hd_str table, uint32_t i)
{
    for (unsigned k = 0; k < m->column_count; k++) {
        const struct mock_column *c = &m->columns[k];

        if (strlen(c->table) == table.len && !memcmp(c->table, table.ptr, table.len) && !i--)
            return c;
    }
    return NULL;
}

static int32_t table(const hd_dependencies *d, uint32_t i, struct hd_dependency *out)
{
    struct hd_template_table t = {.size = sizeof(t)};
    struct hd_dependency one = {.kind = HD_RELATION_TABLE, .mention = (int32_t)i, .oid = 20000 + i};

    if (mock_templates.table(d->t, i, &t) != HD_OK)
        return HD_ENOENT;
    one.flags =
        HD_RELATION_NAMED | HD_RELATION_IDENTITY | (t.access & HD_ACCESS_WRITE ? HD_RELATION_WRITTEN : 0);
    one.schema = t.schema.len ? t.schema : (struct hd_str){"public", 6};
    one.name = t.name;
    while (find_column(d->m, t.name, one.columns))
        one.columns++;
    return give(out, out->size, &one, sizeof(one));
}

static int32_t column(const hd_dependencies *d, uint32_t i, uint32_t k, struct hd_dependency_column *out)
{
    struct hd_template_table t = {.size = sizeof(t)};
    const struct mock_column *c;

    if (mock_templates.table(d->t, i, &t) != HD_OK)
        return HD_ENOENT;
    c = find_column(d->m, t.name, k);
    return c ? give(out, out->size, &c->told, sizeof(c->told)) : HD_ENOENT;
}

static void release(const hd_dependencies *d)
{
    if (!d)
        return;
    d->m->catalog_held--;
    free((void *)(uintptr_t)d);
}

static void changed(hd_host *host, struct hd_str node, struct hd_str dbname)
{
    (void)node;
    (void)dbname;
    mock_of(host)->catalog_generation++;
}

const struct hd_catalog_v1 mock_catalog = {
    .size = sizeof(struct hd_catalog_v1),
    .dependencies = dependencies,
    .current = current,
    .info = info,
    .table = table,
    .release = release,
    .changed = changed,
    .column = column,
};

void mock_catalog_answers(struct mock *m, int32_t code, uint64_t problems, uint32_t footprint)
{
    m->catalog_code = code;
    m->catalog_problems = problems;
    m->catalog_footprint = footprint;
}

void mock_catalog_column(struct mock *m, const char *table_name, const struct hd_dependency_column *c)
{
    struct mock_column *mine;

    m->columns = mock_grow(m->columns, m->column_count, sizeof(*m->columns));
    mine = &m->columns[m->column_count++];
    mine->table = mock_copy(table_name, strlen(table_name));
    mine->name = mock_copy(c->name.ptr, c->name.len);
    mine->told = *c;
    mine->told.name.ptr = mine->name;
}

void mock_catalog_free(struct mock *m)
{
    for (unsigned i = 0; i < m->column_count; i++) {
        free(m->columns[i].table);
        free(m->columns[i].name);
    }
    free(m->columns);
}

void mock_catalog_changes(struct mock *m)
{
    m->catalog_generation++;
}

unsigned mock_catalog_held(const struct mock *m)
{
    return m->catalog_held;
}
