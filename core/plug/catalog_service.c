/*
 * The catalog as plugins see it: "howdah.catalog/1".
 */
#include "plug/catalog_parts.h"

#include <string.h>

#include "plug/services.h"

static struct hd_catalog *served;

static int32_t dependencies(hd_host *host, const hd_template *t, const struct hd_catalog_scope *scope,
                            const hd_dependencies **out)
{
    (void)host;
    return hd_catalog_dependencies(served, t, scope, out);
}

static int32_t current(const hd_dependencies *d)
{
    return hd_dependencies_current(d);
}

static int32_t get_info(const hd_dependencies *d, struct hd_dependencies_info *out)
{
    const struct hd_dependencies_info info = {.tables = d->answer.count,
                                              .problems = d->answer.problems,
                                              .generation = d->generation,
                                              .reason = d->answer.reason,
                                              .footprint = d->answer.footprint,
                                              .footprint_reason = d->answer.footprint_reason};

    return hd_service_give(out, out->size, &info, sizeof(info));
}

static int32_t get_table(const hd_dependencies *d, uint32_t i, struct hd_dependency *out)
{
    const struct hd_catalog_table *t;
    struct hd_dependency table;

    if (i >= d->answer.count)
        return HD_ENOENT;
    t = &d->answer.tables[i];
    table = (struct hd_dependency){.oid = t->oid,
                                   .kind = t->kind,
                                   .flags = t->flags,
                                   .mention = t->mention,
                                   .schema = t->schema,
                                   .name = t->name,
                                   .parent = t->parent,
                                   .columns = t->columns};
    return hd_service_give(out, out->size, &table, sizeof(table));
}

static int32_t get_column(const hd_dependencies *d, uint32_t table, uint32_t i,
                          struct hd_dependency_column *out)
{
    const struct hd_catalog_table *t = table < d->answer.count ? &d->answer.tables[table] : NULL;
    const struct hd_catalog_column *c;
    struct hd_dependency_column column;

    if (!t || i >= t->columns)
        return HD_ENOENT;
    c = &d->answer.columns[t->first_column + i];
    column = (struct hd_dependency_column){.attnum = c->attnum,
                                           .position = c->position,
                                           .type = c->type,
                                           .canonical = c->canonical,
                                           .flags = c->flags,
                                           .name = c->name};
    return hd_service_give(out, out->size, &column, sizeof(column));
}

static void release(const hd_dependencies *d)
{
    hd_dependencies_release(d);
}

static void changed(hd_host *host, struct hd_str node, struct hd_str dbname)
{
    (void)host;
    hd_catalog_changed(served, node, dbname);
}

static const struct hd_catalog_v1 vtable = {
    .size = sizeof(vtable),
    .dependencies = dependencies,
    .current = current,
    .info = get_info,
    .table = get_table,
    .release = release,
    .changed = changed,
    .column = get_column,
};

int hd_catalog_serve(struct hd_catalog *c)
{
    served = c;
    return hd_service_add(HD_SERVICE_CATALOG, &vtable);
}
