/*
 * Connection strings for plugins that connect by themselves. The text is built in the caller's memory alone,
 * since there is a password in it.
 */
#include "plug/sqlconn.h"

#include "base/error.h"

#include <libpq-fe.h>
#include <string.h>

/* What is left of the caller's room; full stays once something did not fit. */
struct room {
    char *at, *end;
    int full;
};

static void put_char(struct room *r, char c)
{
    if (r->at + 1 >= r->end)
        r->full = 1;
    else
        *r->at++ = c;
}

/* One key with its value, quoted. */
static void put(struct room *r, const char *key, const char *value, size_t len)
{
    while (*key)
        put_char(r, *key++);
    put_char(r, '=');
    put_char(r, '\'');
    for (size_t i = 0; i < len; i++) {
        if (value[i] == '\'' || value[i] == '\\')
            put_char(r, '\\');
        put_char(r, value[i]);
    }
    put_char(r, '\'');
    put_char(r, ' ');
}

static void put_text(struct room *r, const char *key, const char *value)
{
    put(r, key, value, strlen(value));
}

int hd_sqlconn_conninfo(const struct hd_job_node *node, struct hd_str dbname, char *out, size_t len,
                        struct hd_error *err)
{
    struct room r = {out, out + len, len == 0};
    PQconninfoOption *options;
    char *why = NULL;

    if (!node->user)
        return hd_fail(err, HD_EINVAL, "node %s: connecting to it needs a control_user", node->name);
    options = PQconninfoParse(node->conninfo, &why);
    if (!options) {
        PQfreemem(why); /* may quote what it could not read: not to be shown */
        return hd_fail(err, HD_EINVAL, "node %s: its conninfo cannot be read", node->name);
    }
    for (const PQconninfoOption *o = options; o->keyword; o++)
        if (o->val)
            put_text(&r, o->keyword, o->val);
    PQconninfoFree(options);
    put_text(&r, "user", node->user);
    if (node->password)
        put_text(&r, "password", node->password);
    if (dbname.len)
        put(&r, "dbname", dbname.ptr, dbname.len);
    put_text(&r, "application_name", "howdah");
    put_text(&r, "client_encoding", "UTF8");
    put_text(&r, "gssencmode", "disable");
    if (r.full)
        return hd_fail(err, HD_EFULL, "node %s: its connection string is longer than %zu bytes", node->name,
                       len);
    *r.at = 0;
    return HD_OK;
}
