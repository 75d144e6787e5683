/*
 * A filter that tells what a statement hangs on: for tests of the catalog with a real PostgreSQL. A text with
 *
 *     / * depends * /        (without the blanks)
 *
 * is not run: its answer is one row of one column,
 *
 *     PROBLEMS|REASON|GENERATION|FOOTPRINT|REASON|SCHEMA.NAME:KIND:FLAGS:MENTION SCHEMA.NAME:…
 *
 * or a code's number where that is not known (yet). A text with a mark `/ * columns * /` is answered with
 *
 *     SCHEMA.NAME<PARENT NUMBER@POSITION:NAME:CANONICAL:FLAGS …|SCHEMA.NAME< …
 *
 * The mark `/ * current * /` says whether what was told last on this worker still stands; `/ * setting NAME *
 * /` what the statement would find set, or "unsure" where that is not known. With `/ * by default * /` the
 * catalog is not told the search_path.
 */
#include "skeleton.h"

#include <stdio.h>
#include <strings.h>

#define DEPENDS    "/* depends */"
#define COLUMNS    "/* columns */"
#define CURRENT    "/* current */"
#define CHANGED    "/* changed */"
#define BY_DEFAULT "/* by default */"
#define SETTING    "/* setting "

/* A worker's. */
struct worker {
    const hd_dependencies *last;
    char text[65536];
    char answer[66000];
};

static size_t put(char *o, size_t at, const void *p, size_t len)
{
    memcpy(o + at, p, len);
    return at + len;
}

static size_t put_u32(char *o, size_t at, size_t v)
{
    const char bytes[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};

    return put(o, at, bytes, 4);
}

/* One row of one column, of type text. */
static void answer(struct worker *w, struct hd_verdict *v)
{
    static const char description[] =
        "T\0\0\0\040\0\1depends\0\0\0\0\0\0\0\0\0\0\031\377\377\377\377\377\377\0";
    size_t len = strlen(w->text), n = 0;

    n = put(w->answer, n, "D", 1);
    n = put_u32(w->answer, n, 4 + 2 + 4 + len);
    n = put(w->answer, n, "\0\1", 2);
    n = put_u32(w->answer, n, len);
    n = put(w->answer, n, w->text, len);
    n = put(w->answer, n, "C\0\0\0\015SELECT 1", 14);
    v->kind = HD_VERDICT_ANSWER;
    v->describe = (struct hd_str){description, sizeof(description)};
    v->bytes = (struct hd_str){w->answer, n};
}

static struct hd_str setting(const struct hd_statement *st, const char *name)
{
    const char *value = hd_statement_setting(st, name);

    return (struct hd_str){value, value ? strlen(value) : 0};
}

/* What the statement would find set, or what the catalog takes for the default. */
static struct hd_str path(const struct hd_statement *st)
{
    return after_mark(st, BY_DEFAULT) ? (struct hd_str){NULL, 0} : setting(st, "search_path");
}

static void print(struct base *b, struct worker *w)
{
    struct hd_dependencies_info info = {.size = sizeof(info)};
    struct hd_dependency t = {.size = sizeof(t)};
    size_t n;

    b->catalog->info(w->last, &info);
    n = (size_t)snprintf(w->text, sizeof(w->text), "%llu|%.*s|%llu|", (unsigned long long)info.problems,
                         (int)info.reason.len, info.reason.ptr ? info.reason.ptr : "",
                         (unsigned long long)info.generation);
    n += (size_t)snprintf(w->text + n, sizeof(w->text) - n, "%u|%.*s|", info.footprint,
                          (int)info.footprint_reason.len,
                          info.footprint_reason.ptr ? info.footprint_reason.ptr : "");
    for (uint32_t i = 0; b->catalog->table(w->last, i, &t) == HD_OK && n < sizeof(w->text) - 300; i++)
        n += (size_t)snprintf(w->text + n, sizeof(w->text) - n, "%s%.*s.%.*s:%u:%u:%d", i ? " " : "",
                              (int)t.schema.len, t.schema.ptr, (int)t.name.len, t.name.ptr, t.kind, t.flags,
                              t.mention);
}

/* The name of the table with that oid. */
static struct hd_str name_of(struct base *b, struct worker *w, uint32_t oid)
{
    struct hd_dependency t = {.size = sizeof(t)};

    for (uint32_t i = 0; b->catalog->table(w->last, i, &t) == HD_OK; i++)
        if (t.oid == oid)
            return t.name;
    return (struct hd_str){"", 0};
}

static void print_columns(struct base *b, struct worker *w)
{
    struct hd_dependency t = {.size = sizeof(t)};
    size_t n = 0, cap = sizeof(w->text) - 300;

    w->text[0] = 0;
    for (uint32_t i = 0; b->catalog->table(w->last, i, &t) == HD_OK && n < cap; i++) {
        struct hd_dependency_column c = {.size = sizeof(c)};
        struct hd_str parent = name_of(b, w, t.parent);

        n += (size_t)snprintf(w->text + n, 300, "%s%.*s.%.*s<%.*s", i ? "|" : "", (int)t.schema.len,
                              t.schema.ptr, (int)t.name.len, t.name.ptr, (int)parent.len, parent.ptr);
        for (uint32_t k = 0; k < t.columns && n < cap && !b->catalog->column(w->last, i, k, &c); k++)
            n += (size_t)snprintf(w->text + n, 300, " %d@%u:%.*s:%u:%u", c.attnum, c.position,
                                  (int)c.name.len, c.name.ptr, c.canonical, c.flags);
    }
}

static void tell(struct base *b, struct worker *w, const struct hd_statement *st)
{
    const struct hd_catalog_scope scope = {.size = sizeof(scope),
                                           .node = st->node,
                                           .dbname = st->dbname,
                                           .user = st->user,
                                           .role = setting(st, "role"),
                                           .search_path = path(st)};
    int32_t code;

    b->catalog->release(w->last);
    w->last = NULL;
    code = b->catalog->dependencies(b->host, st->tmpl, &scope, &w->last);
    if (code == HD_OK && after_mark(st, COLUMNS))
        print_columns(b, w);
    else if (code == HD_OK)
        print(b, w);
    else
        snprintf(w->text, sizeof(w->text), "%d", code);
}

static void tell_setting(struct worker *w, const struct hd_statement *st, const char *name)
{
    char copy[64];
    const char *value;

    snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(name, " "), name);
    value = hd_statement_setting(st, copy);
    snprintf(w->text, sizeof(w->text), "%s%s",
             st->flags & HD_STMT_SETTINGS_UNSURE ? "unsure"
             : value                             ? "="
                                                 : "none",
             !(st->flags & HD_STMT_SETTINGS_UNSURE) && value ? value : "");
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    struct base *b = self;
    struct worker *w = ws;

    (void)plan;
    if (after_mark(st, SETTING))
        tell_setting(w, st, after_mark(st, SETTING));
    else if (after_mark(st, DEPENDS) || after_mark(st, COLUMNS))
        tell(b, w, st);
    else if (after_mark(st, CURRENT))
        snprintf(w->text, sizeof(w->text), "%d", w->last ? b->catalog->current(w->last) : -1);
    else if (after_mark(st, CHANGED)) {
        b->catalog->changed(b->host, st->node, st->dbname);
        snprintf(w->text, sizeof(w->text), "done");
    } else
        return HD_OK;
    answer(w, v);
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
    struct worker *w = ws;

    ((struct base *)self)->catalog->release(w->last);
    free(w);
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
    .id = "depends",       .summary = "tells what statements hang on",
    .options = NO_OPTIONS, .create = create_base,
    .start = start_base,   .capability = filter_alone,
};
