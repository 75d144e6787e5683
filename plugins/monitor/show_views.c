/*
 * The commands that ask the PostgreSQL servers themselves, now: SHOW ACTIVITY, LOCKS, BLOCKING, REPLICATION,
 * … [NODE name] [DATABASE name]. All nodes are asked at once, and their rows come one after the other. Texts
 * of statements are shown as the host normalizes them, without literals; where it cannot read one, not at
 * all.
 */
#include "commands.h"

#include "collect.h"
#include "queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKED_MAX 64 /* servers' databases that one command asks */

struct show;

struct part {
    struct show *show;
    char node[64], database[64];
};

struct show {
    struct mon *self;
    const struct mon_view *view;
    hd_result *result;
    struct hd_str only_node, only_database;
    uint32_t count, left;
    int answered; /* columns have been written */
    struct hd_error err;
    struct part parts[ASKED_MAX];
};

/* --- cells
 * ---------------------------------------------------------------------------------------------------- */

static const char *type_name(struct hd_str column)
{
    const char *colon = memchr(column.ptr, ':', (size_t)column.len);

    return colon ? colon + 1 : "";
}

static uint32_t type_of(struct hd_str column)
{
    static const struct {
        const char *name;
        uint32_t type;
    } types[] = {{"int", HD_COL_INT}, {"real", HD_COL_REAL}, {"bool", HD_COL_BOOL}, {"time", HD_COL_TIME}};

    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcmp(type_name(column), types[i].name))
            return types[i].type;
    return HD_COL_TEXT;
}

static void show_statement(const struct show *s, struct hd_str sql)
{
    struct hd_template_info info = {.size = sizeof(info)};
    const hd_template *t = NULL;

    if (!sql.len || s->self->template->find(s->self->host, sql, &t) != HD_OK) {
        s->self->commands->null(s->result);
        return;
    }
    if (s->self->template->info(t, &info) == HD_OK && !(info.facts & HD_FACT_UNSURE))
        s->self->commands->text(s->result, info.text);
    else
        mon_text(s->self, s->result, "(not shown: it cannot be read)");
    s->self->template->release(t);
}

static void show_cell(const struct show *s, struct hd_str column, struct hd_str cell)
{
    const struct hd_commands_v1 *c = s->self->commands;

    if (!cell.ptr) {
        c->null(s->result);
        return;
    }
    switch (type_of(column)) {
    case HD_COL_INT:
    case HD_COL_TIME:
        c->integer(s->result, strtoll(cell.ptr, NULL, 10));
        break;
    case HD_COL_REAL:
        c->real(s->result, strtod(cell.ptr, NULL));
        break;
    case HD_COL_BOOL:
        c->integer(s->result, cell.ptr[0] == 't');
        break;
    default:
        if (!strcmp(type_name(column), "sql"))
            show_statement(s, cell);
        else
            c->text(s->result, cell);
    }
}

static void show_head(struct show *s, const struct hd_sql_result *r)
{
    char name[64];

    s->answered = 1;
    s->self->commands->column(s->result, "node", HD_COL_TEXT);
    for (uint32_t c = 0; c < r->columns; c++) {
        snprintf(name, sizeof(name), "%s", r->names[c].ptr);
        name[strcspn(name, ":")] = 0;
        s->self->commands->column(s->result, name, type_of(r->names[c]));
    }
}

static void show_rows(const struct show *s, const char *node, const struct hd_sql_result *r)
{
    const struct hd_str *cell = r->cells;

    for (uint32_t i = 0; i < r->rows; i++) {
        mon_text(s->self, s->result, node);
        for (uint32_t c = 0; c < r->columns; c++)
            show_cell(s, r->names[c], *cell++);
    }
}

/* --- asking
 * ------------------------------------------------------------------------------------------------------ */

static void finish(struct show *s)
{
    struct mon *self = s->self;

    self->commands->finish(s->result, s->answered ? HD_OK : s->err.code, s->answered ? NULL : &s->err);
    free(s);
    mon_errand_end(self);
}

static void failed(struct show *s, const struct part *p, int32_t code, struct hd_str why)
{
    if (!s->err.text[0])
        hd_error_set(&s->err, code, "node %s: %.*s", p->node, (int)why.len, why.len ? why.ptr : "");
}

static void answered(void *arg, const struct hd_sql_result *r)
{
    struct part *p = arg;
    struct show *s = p->show;

    if (r->code) {
        failed(s, p, r->code, r->message);
    } else {
        if (!s->answered)
            show_head(s, r);
        show_rows(s, p->node, r);
    }
    if (--s->left == 0)
        finish(s);
}

static void add_part(void *arg, const char *database)
{
    struct show *s = arg;
    struct part *p = &s->parts[s->count];

    if (s->count == ASKED_MAX)
        return;
    if (s->only_database.len)
        database = s->only_database.ptr;
    else if (s->count && !strcmp(p[-1].node, p->node) && database && !strcmp(p[-1].database, database))
        return;
    snprintf(p->database, sizeof(p->database), "%s", database ? database : "");
    p->show = s;
    s->count++;
    if (s->count < ASKED_MAX) /* the next, if there is one, is the same node's */
        memcpy(s->parts[s->count].node, p->node, sizeof(p->node));
}

static int32_t add_node(void *arg, struct hd_str name)
{
    struct show *s = arg;
    struct part *p = &s->parts[s->count];

    if (s->count == ASKED_MAX || name.len >= sizeof(p->node) ||
        (s->only_node.len &&
         (name.len != s->only_node.len || memcmp(name.ptr, s->only_node.ptr, name.len) != 0)))
        return HD_OK;
    snprintf(p->node, sizeof(p->node), "%s", name.ptr);
    if (s->view->each_database && !s->only_database.len)
        mon_collect_databases(s->self, p->node, add_part, s);
    else
        add_part(s, NULL);
    return HD_OK;
}

static void ask(struct show *s)
{
    struct mon *self = s->self;
    uint64_t timeout = (uint64_t)self->conf->collect_timeout;
    uint32_t count = s->count;

    s->left = count;
    for (uint32_t i = 0; i < count; i++) {
        struct part *p = &s->parts[i];
        struct hd_sql sql = {.size = sizeof(sql),
                             .node = p->node,
                             .database = p->database[0] ? p->database : NULL,
                             .text = s->view->sql,
                             .statement_timeout_ms = timeout,
                             .deadline_ms = timeout + 2000};

        if (self->jobs->sql(self->host, &sql, answered, p) > 0)
            continue;
        failed(s, p, HD_EFULL, (struct hd_str){"too many jobs wait", 18});
        if (--s->left == 0) {
            finish(s);
            return;
        }
    }
}

static int32_t parse(struct show *s, const struct hd_call *call)
{
    for (uint32_t i = 0; i < call->arg_count; i += 2) {
        if (i + 1 == call->arg_count)
            return HD_EINVAL;
        if (mon_word_is(call->args[i], "NODE"))
            s->only_node = call->args[i + 1];
        else if (mon_word_is(call->args[i], "DATABASE"))
            s->only_database = call->args[i + 1];
        else
            return HD_EINVAL;
    }
    return HD_OK;
}

int32_t mon_show_view(void *arg, const struct hd_call *call, struct hd_error *err)
{
    const struct mon_view_of *of = arg;
    struct show *s = calloc(1, sizeof(*s));
    int32_t code = HD_OK;

    if (!s)
        return hd_error_set(err, HD_ENOMEM, "no memory to ask the servers");
    s->self = of->self;
    s->view = of->view;
    s->result = call->result;
    s->err = (struct hd_error)HD_ERROR_INIT;
    if (parse(s, call))
        code = hd_error_set(err, HD_EINVAL, "usage: %s %s", of->view->command, MON_VIEW_USAGE);
    else
        of->self->nodes->each(of->self->host, add_node, s);
    if (!code && !s->count)
        code = hd_error_set(err, HD_ENOENT,
                            "no node of that name that statements can be run on: see control_user");
    if (code) {
        free(s);
        return code;
    }
    mon_errand_begin(of->self);
    ask(s);
    return HD_PENDING;
}

int32_t mon_views_start(struct mon *self, struct hd_error *err)
{
    int32_t code = HD_OK;

    self->views = calloc(mon_view_count, sizeof(*self->views));
    if (!self->views)
        return hd_error_set(err, HD_ENOMEM, "no memory for the views");
    for (unsigned i = 0; !code && i < mon_view_count; i++) {
        self->views[i] = (struct mon_view_of){self, &mon_views[i]};
        code = self->commands->add(self->host, mon_views[i].command, MON_VIEW_USAGE, mon_views[i].doc,
                                   HD_CMDF_READ_ONLY, mon_show_view, &self->views[i], err);
    }
    return code;
}
