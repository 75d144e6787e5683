/*
 * Transactions that may change a schema; see defined.h.
 */
#include "session/defined.h"

#include <string.h>

#include "plug/catalog.h"
#include "session/pool.h"

static int begins_with_one_of(const char *tag, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strncmp(tag, words[i], strlen(words[i])))
            return 1;
    return 0;
}

void hd_defined_tag(struct hd_server *v, const char *tag)
{
    static const char *const definitions[] = {"CREATE ", "ALTER ", "DROP ",     "GRANT",          "REVOKE",
                                              "IMPORT ", "DO",     "REASSIGN ", "COMMIT PREPARED"};

    if (!begins_with_one_of(tag, definitions, HD_ARRAY_LEN(definitions)))
        return;
    v->defines |= HD_DEFINES_DATABASE;
    if (strstr(tag, "ROLE") || strstr(tag, "DATABASE") || strstr(tag, "OWNED"))
        v->defines |= HD_DEFINES_NODE;
}

static struct hd_str str_of(const char *s)
{
    return (struct hd_str){s, strlen(s)};
}

void hd_defined_end(struct hd_server *v)
{
    const struct hd_pool *p = v->pool;
    struct hd_catalog *catalog = v->w->all->env.catalog;
    struct hd_str dbname = str_of(p->node->dbname ? p->node->dbname : p->database);

    if (catalog)
        hd_catalog_changed(catalog, str_of(p->node->name),
                           v->defines & HD_DEFINES_NODE ? (struct hd_str){NULL, 0} : dbname);
    if (!v->expects.count) /* else it may have been about what is still to come */
        v->defines = 0;
}
