/*
 * A filter that tells the cache's marks of a statement: which rows a read hangs on, or a write touches. For
 * tests of plugins/cache/rows.h with a real PostgreSQL. A text with
 *
 *     / * marks * /        (without the blanks)
 *
 * is not run: it is refused, and the message has a line "KIND OID COLUMN HASH UNLESS_ROWS" for each mark;
 * or it is "code N" where the catalog does not answer (yet), "unproved" of a read, "anything" of a write.
 */
#include "skeleton.h"

#include <stdio.h>

#include "cache/rows.h"

#define MARKS     "/* marks */"
#define MARKS_MAX 500

/* A worker's. */
struct worker {
    char text[65536];
    struct cache_mark marks[MARKS_MAX];
};

static struct hd_str setting(const struct hd_statement *st, const char *name)
{
    for (uint32_t i = 0; i < st->setting_count; i++)
        if (!strcmp(st->settings[i].name, name))
            return (struct hd_str){st->settings[i].value, strlen(st->settings[i].value)};
    return (struct hd_str){NULL, 0};
}

static void print(struct base *b, struct worker *w, const struct hd_statement *st, struct cache_rows *rows)
{
    uint32_t n = rows ? cache_rows_marks(rows, b->host, b->statement, st, w->marks, MARKS_MAX) : 0;
    size_t len = 0;

    if (n > MARKS_MAX)
        n = cache_rows_tables(rows, w->marks, MARKS_MAX);
    w->text[0] = 0;
    for (uint32_t i = 0; i < n && i < MARKS_MAX; i++)
        len += (size_t)snprintf(w->text + len, sizeof(w->text) - len, "%u %u %llu %llu %u\n",
                                w->marks[i].kind, w->marks[i].oid, (unsigned long long)w->marks[i].column,
                                (unsigned long long)w->marks[i].hash, w->marks[i].unless_rows);
    cache_rows_free(rows);
}

static void tell(struct base *b, struct worker *w, const struct hd_statement *st)
{
    const struct hd_catalog_scope scope = {.size = sizeof(scope),
                                           .node = st->node,
                                           .dbname = st->dbname,
                                           .user = st->user,
                                           .search_path = setting(st, "search_path")};
    struct cache_rows_from from = {.templates = b->template, .catalog = b->catalog, .tmpl = st->tmpl};
    struct hd_dependencies_info info = {.size = sizeof(info)};
    struct hd_template_info t = {.size = sizeof(t)};
    int32_t code = b->catalog->dependencies(b->host, st->tmpl, &scope, &from.deps);

    if (code) {
        snprintf(w->text, sizeof(w->text), "code %d", code);
        return;
    }
    b->catalog->info(from.deps, &info);
    b->template->info(st->tmpl, &t);
    if (t.kinds != HD_KIND_BIT(SELECT) && info.footprint)
        snprintf(w->text, sizeof(w->text), "anything");
    else if (t.kinds != HD_KIND_BIT(SELECT))
        print(b, w, st, cache_rows_write(&from));
    else if (info.problems)
        snprintf(w->text, sizeof(w->text), "unproved");
    else
        print(b, w, st, cache_rows_read(&from));
    b->catalog->release(from.deps);
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    struct worker *w = ws;

    (void)plan;
    if (!after_mark(st, MARKS))
        return HD_OK;
    tell(self, w, st);
    v->kind = HD_VERDICT_REFUSE;
    memcpy(v->sqlstate, "HD001", 6);
    v->message = (struct hd_str){w->text, strlen(w->text)};
    return HD_OK;
}

static void *worker_start(void *self, uint32_t worker)
{
    (void)self;
    (void)worker;
    return calloc(1, sizeof(struct worker));
}

static void worker_stop(void *self, void *ws)
{
    (void)self;
    free(ws);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .plan = plan_to_decide,
    .statement = statement,
};

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,      TEST_PLUGIN_QUIET,
    .id = "rows",          .summary = "tells which rows statements hang on or touch",
    .options = NO_OPTIONS, .create = create_base,
    .start = start_base,   .capability = filter_alone,
};
