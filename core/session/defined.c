/*
 * Transactions that may change a schema; see defined.h.
 */
#include "session/defined.h"

#include <string.h>

#include "plug/catalog.h"
#include "session/pool.h"
#include "session/statement.h"

static int begins_with_one_of(const char *tag, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strncmp(tag, words[i], strlen(words[i])))
            return 1;
    return 0;
}

/* The name in the text of PREPARE TRANSACTION and COMMIT PREPARED. Empty: it cannot be told. */
static struct hd_str gid_of(const struct hd_stmt *st)
{
    const struct hd_facts *f = st ? st->tmpl->facts : NULL;

    return f && f->n_statements == 1 && f->statements[0].name ? hd_str_of(f->statements[0].name)
                                                              : (struct hd_str){NULL, 0};
}

/* What a prepared transaction has defined counts when it is committed, on whatever connection. */
static void two_phase(struct hd_server *v, const struct hd_stmt *st, const char *tag)
{
    struct hd_catalog *catalog = v->w->all->env.catalog;
    struct hd_str node = v->pool->names.node, dbname = v->pool->names.dbname;

    if (!catalog)
        return;
    if (!strcmp(tag, "PREPARE TRANSACTION"))
        hd_catalog_prepared(catalog, node, dbname, gid_of(st), v->defines != 0);
    else if (!strcmp(tag, "COMMIT PREPARED") && !hd_catalog_is_plain(catalog, node, dbname, gid_of(st)))
        v->defines |= HD_DEFINES_DATABASE | HD_DEFINES_NODE;
}

void hd_defined_tag(struct hd_server *v, const struct hd_stmt *st, const char *tag)
{
    static const char *const definitions[] = {"CREATE ", "ALTER ",  "DROP ", "GRANT",
                                              "REVOKE",  "IMPORT ", "DO",    "REASSIGN "};

    two_phase(v, st, tag);
    if (!begins_with_one_of(tag, definitions, HD_ARRAY_LEN(definitions)))
        return;
    v->defines |= HD_DEFINES_DATABASE;
    if (strstr(tag, "ROLE") || strstr(tag, "DATABASE") || strstr(tag, "OWNED"))
        v->defines |= HD_DEFINES_NODE;
}

void hd_defined_end(struct hd_server *v)
{
    const struct hd_pool *p = v->pool;
    struct hd_catalog *catalog = v->w->all->env.catalog;

    if (catalog)
        hd_catalog_changed(catalog, p->names.node,
                           v->defines & HD_DEFINES_NODE ? (struct hd_str){NULL, 0} : p->names.dbname);
    if (!v->expects.count) /* else it may have been about what is still to come */
        v->defines = 0;
}
