/*
 * The question and what its rows come to; see catalog.h.
 */
#include "sql/catalog.h"

#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "sql/catalog_columns.h"
#include "sql/catalog_sql.h"
#include "sql/functions.h"

#define FIRST_OWN 16384u /* objects below are PostgreSQL's */

const char *const hd_catalog_question = catalog_sql;
const char *const hd_catalog_fingerprint = fingerprint_sql;

/* --- asking -------------------------------------------------------------------------------------------- */

/* One element of an array's text. */
static void put_element(struct hd_strbuf *b, const char *s)
{
    hd_strbuf_puts(b, b->len > 1 ? ",\"" : "\"");
    for (; s && *s; s++) {
        if (*s == '"' || *s == '\\')
            hd_strbuf_putc(b, '\\');
        hd_strbuf_putc(b, *s);
    }
    hd_strbuf_putc(b, '"');
}

/* Facts with a schema and a name, of whatever kind, become two arrays. */
static int put_names(struct hd_catalog_params *p, unsigned at, const void *items, uint32_t n, size_t stride,
                     size_t schema_at, size_t name_at)
{
    const size_t offset[2] = {schema_at, name_at};

    for (unsigned k = 0; k < 2; k++) {
        struct hd_strbuf b = HD_STRBUF_INIT;

        hd_strbuf_putc(&b, '{');
        for (uint32_t i = 0; i < n; i++) {
            const char *s;

            memcpy(&s, (const char *)items + i * stride + offset[k], sizeof(s));
            put_element(&b, s);
        }
        hd_strbuf_putc(&b, '}');
        p->value[at + k] = b.failed ? NULL : hd_arena_strdup(&p->arena, b.data);
        hd_strbuf_free(&b);
        if (!p->value[at + k])
            return HD_ENOMEM;
    }
    return HD_OK;
}

#define PUT_NAMES(p, at, facts, n, type)                                                                     \
    put_names(p, at, facts, n, sizeof(struct type), offsetof(struct type, schema),                           \
              offsetof(struct type, name))

/* Which of the tables are written. */
static int put_writes(struct hd_catalog_params *p, const struct hd_facts *f)
{
    struct hd_strbuf b = HD_STRBUF_INIT;

    hd_strbuf_putc(&b, '{');
    for (uint32_t i = 0; i < f->n_tables; i++)
        put_element(&b, f->tables[i].access & HD_ACCESS_WRITE ? "t" : "f");
    hd_strbuf_putc(&b, '}');
    p->value[13] = b.failed ? NULL : hd_arena_strdup(&p->arena, b.data);
    hd_strbuf_free(&b);
    return p->value[13] ? HD_OK : HD_ENOMEM;
}

/* TRUNCATE … CASCADE takes tables along by every foreign key. */
static int truncates(const struct hd_facts *f)
{
    for (uint32_t i = 0; i < f->n_statements; i++)
        if (f->statements[i].kind == HD_STATEMENT_TRUNCATE)
            return 1;
    return 0;
}

int hd_catalog_ask(const struct hd_facts *f, const char *text, const struct hd_catalog_view *view,
                   struct hd_catalog_params *out)
{
    int code;

    *out = (struct hd_catalog_params){.arena = HD_ARENA_INIT,
                                      .value = {NULL, NULL, NULL, view->default_hidden ? "t" : "f"}};
    out->value[12] = text;
    out->value[14] = truncates(f) ? "t" : "f";
    out->value[0] = hd_arena_strdup(&out->arena, view->user);
    out->value[1] = hd_arena_strdup(&out->arena, view->role);
    if (view->search_path)
        out->value[2] = hd_arena_strdup(&out->arena, view->search_path);
    if (!out->value[0] || !out->value[1] || (view->search_path && !out->value[2]))
        return HD_ENOMEM;
    code = put_writes(out, f);
    if (!code)
        code = PUT_NAMES(out, 4, f->tables, f->n_tables, hd_fact_table);
    if (!code)
        code = PUT_NAMES(out, 6, f->functions, f->n_functions, hd_fact_function);
    if (!code)
        code = PUT_NAMES(out, 8, f->operators, f->n_operators, hd_fact_operator);
    if (!code)
        code = PUT_NAMES(out, 10, f->types, f->n_types, hd_fact_type);
    return code;
}

int hd_catalog_ask_together(const struct hd_catalog_params *const *each, uint32_t n,
                            struct hd_catalog_params *out)
{
    *out = (struct hd_catalog_params){.arena = HD_ARENA_INIT};
    for (unsigned k = 0; k < HD_CATALOG_PARAMS; k++) {
        struct hd_strbuf b = HD_STRBUF_INIT;

        hd_strbuf_putc(&b, '{');
        for (uint32_t i = 0; i < n; i++) {
            if (each[i]->value[k])
                put_element(&b, each[i]->value[k]);
            else
                hd_strbuf_puts(&b, b.len > 1 ? ",NULL" : "NULL");
        }
        hd_strbuf_putc(&b, '}');
        out->value[k] = b.failed ? NULL : hd_arena_strdup(&out->arena, b.data);
        hd_strbuf_free(&b);
        if (!out->value[k])
            return HD_ENOMEM;
    }
    return HD_OK;
}

void hd_catalog_params_free(struct hd_catalog_params *p)
{
    hd_arena_free(&p->arena);
}

/* --- judging ------------------------------------------------------------------------------------------- */

/* A row; what is NULL is 0 or empty. */
struct row {
    struct hd_str what, schema, name, detail, more;
    uint32_t number; /* of what the text names, from 1; 0: none */
    uint32_t oid;
};

struct judge {
    const struct hd_facts *facts;
    struct hd_catalog_answer *out;
    int no_memory;
};

/* "s.t is temporary": what a row is about, and what is the matter with it. */
static void say(struct judge *j, struct hd_str *reason, const char *words, const struct row *r)
{
    const char *text;

    if (reason->len)
        return; /* the first one's words stay */
    if (!r)
        text = hd_arena_strdup(&j->out->arena, words);
    else
        text = hd_arena_printf(&j->out->arena, "%.*s%s%.*s %s", (int)r->schema.len, r->schema.ptr,
                               r->schema.len ? "." : "", (int)r->name.len, r->name.ptr, words);
    if (text)
        *reason = (struct hd_str){text, strlen(text)};
    else
        j->no_memory = 1;
}

static void problem(struct judge *j, uint64_t bit, const char *words, const struct row *r)
{
    j->out->problems |= bit;
    say(j, &j->out->reason, words, r);
}

static void footprint(struct judge *j, uint32_t bit, const char *words, const struct row *r)
{
    j->out->footprint |= bit;
    say(j, &j->out->footprint_reason, words, r);
}

/* Nobody knows what it is, so neither what it reads nor what it writes. */
static void missing(struct judge *j, const char *words, const struct row *r)
{
    problem(j, HD_PROBLEM_MISSING, words, r);
    footprint(j, HD_FOOTPRINT_NAME, words, r);
}

static int is(struct hd_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

static int has(struct hd_str s, char letter)
{
    return s.len && memchr(s.ptr, letter, s.len) != NULL;
}

static struct hd_str copy(struct judge *j, struct hd_str s)
{
    const char *p = hd_arena_strndup(&j->out->arena, s.ptr, s.len);

    if (!p)
        j->no_memory = 1;
    return (struct hd_str){p, p ? s.len : 0};
}

static uint32_t relation_kind(struct hd_str letter)
{
    switch (letter.len ? *letter.ptr : 0) {
    case 'r':
        return HD_RELATION_TABLE;
    case 'p':
        return HD_RELATION_PARTITIONED;
    case 'v':
        return HD_RELATION_VIEW;
    case 'm':
        return HD_RELATION_MATVIEW;
    default:
        return HD_RELATION_OTHER;
    }
}

static void on_table(struct judge *j, const struct row *r)
{
    struct hd_catalog_table *t = &j->out->tables[j->out->count++];

    *t = (struct hd_catalog_table){.oid = r->oid,
                                   .kind = relation_kind(r->detail),
                                   .mention = (int32_t)r->number - 1,
                                   .schema = copy(j, r->schema),
                                   .name = copy(j, r->name)};
    t->flags = (r->number ? HD_RELATION_NAMED : 0) | (has(r->more, 'u') ? HD_RELATION_UNLOGGED : 0) |
               (has(r->more, 'i') ? HD_RELATION_IDENTITY : 0) |
               (has(r->more, 'w') ? HD_RELATION_WRITTEN : 0) | (has(r->more, 'k') ? HD_RELATION_CASCADED : 0);
    if (has(r->more, 'w') && (r->oid < FIRST_OWN || t->kind == HD_RELATION_OTHER))
        footprint(j, HD_FOOTPRINT_RELATION, "is no table of the application's", r);
    if (r->oid < FIRST_OWN)
        problem(j, HD_PROBLEM_SYSTEM, "is a system catalog", r);
    else if (t->kind == HD_RELATION_OTHER)
        problem(j, HD_PROBLEM_RELATION, "is no table or view", r);
    if (has(r->more, 't'))
        problem(j, HD_PROBLEM_TEMPORARY, "is temporary", r);
    if (has(r->more, 's'))
        problem(j, HD_PROBLEM_SECURITY, "has row-level security", r);
}

/* A function that is not immutable. What the host knows of PostgreSQL's own by name is in the facts already,
 * where the text names them; but not where a view does. */
static void on_function(struct judge *j, const struct row *r)
{
    const struct hd_known_function *known = NULL;
    char name[64];

    if (r->oid < FIRST_OWN && r->name.len < sizeof(name)) {
        memcpy(name, r->name.ptr, r->name.len);
        name[r->name.len] = 0;
        known = hd_known_function(name);
    }
    if (has(r->detail, 'v') && !known)
        footprint(j, HD_FOOTPRINT_FUNCTION, "is volatile: it may write anything", r);
    if (known && r->number)
        return;
    if (has(r->detail, 'v'))
        problem(j, HD_PROBLEM_VOLATILE, "is volatile", r);
    else if (r->oid >= FIRST_OWN)
        problem(j, HD_PROBLEM_FUNCTION, "is stable: it may read anything", r);
    else if (!known || (known->flags & HD_FACT_OUTSIDE) || is(r->name, "age"))
        problem(j, HD_PROBLEM_OUTSIDE, "hangs on more than tables and settings", r);
}

/* CURRENT_USER and its kin, COALESCE-like syntax: names of no function, of which the facts say all. */
static void on_no_function(struct judge *j, const struct row *r)
{
    const struct hd_fact_function *f =
        r->number && r->number <= j->facts->n_functions ? &j->facts->functions[r->number - 1] : NULL;

    if (!f || f->volatility == HD_VOLATILITY_UNKNOWN)
        missing(j, "is no function", r);
}

static void on_view(struct judge *j, const struct row *r)
{
    if (is(r->detail, "v"))
        problem(j, HD_PROBLEM_VOLATILE, "samples or locks", r);
    else
        problem(j, HD_PROBLEM_OUTSIDE, "hangs on more than tables and settings", r);
}

static void on_type(struct judge *j, const struct row *r)
{
    problem(j, HD_PROBLEM_TYPE, "has functions that are not immutable", r);
    footprint(j, HD_FOOTPRINT_FUNCTION, "has functions that are not immutable", r);
}

static void on_path(struct judge *j, const struct row *r)
{
    static const char words[] = "the user's default search_path is not known";

    if (r->name.ptr)
        return;
    problem(j, HD_PROBLEM_PATH, words, NULL);
    footprint(j, HD_FOOTPRINT_NAME, words, NULL);
}

static void on_no_operator(struct judge *j, const struct row *r)
{
    missing(j, "is no operator", r);
}

static void on_missing(struct judge *j, const struct row *r)
{
    (void)r;
    missing(j, "a table was not found", NULL);
}

static void on_trigger(struct judge *j, const struct row *r)
{
    footprint(j, HD_FOOTPRINT_TRIGGER, "has a trigger or a rule", r);
}

/* What runs by a default, a constraint or a policy. */
static void on_writer(struct judge *j, const struct row *r)
{
    footprint(j, HD_FOOTPRINT_FUNCTION, "is volatile: it may write anything", r);
}

/* "column" and "child", which are read when all tables are known. */
static void on_later(struct judge *j, const struct row *r)
{
    (void)j;
    (void)r;
}

static int on_row(struct judge *j, const struct row *r)
{
    static const struct {
        const char *what;
        void (*call)(struct judge *j, const struct row *r);
    } rows[] = {
        {"path", on_path},
        {"table", on_table},
        {"function", on_function},
        {"nofunction", on_no_function},
        {"nooperator", on_no_operator},
        {"missing", on_missing},
        {"type", on_type},
        {"cast", on_type},
        {"view", on_view},
        {"trigger", on_trigger},
        {"writer", on_writer},
        {"column", on_later},
        {"child", on_later},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(rows); i++) {
        if (is(r->what, rows[i].what)) {
            rows[i].call(j, r);
            return HD_OK;
        }
    }
    return HD_EPROTO;
}

static uint32_t number(struct hd_str s)
{
    return s.len ? (uint32_t)strtoul(s.ptr, NULL, 10) : 0;
}

/* One read of tables, and nothing else? */
static void judge_facts(struct judge *j)
{
    const uint64_t other = HD_FACT_UNSURE | HD_FACT_MULTI | HD_FACT_DEFINES | HD_FACT_LOCKS | HD_FACT_SESSION;
    const struct hd_facts *f = j->facts;
    const struct hd_fact_statement *st = f->n_statements == 1 ? &f->statements[0] : NULL;

    if (!st || st->kind != HD_STATEMENT_SELECT || (st->within & ~(UINT64_C(1) << HD_STATEMENT_SELECT)) ||
        (f->flags & other))
        problem(j, HD_PROBLEM_FACTS, "it is no plain read", NULL);
    if (f->flags & HD_FACT_VOLATILE)
        problem(j, HD_PROBLEM_VOLATILE, "it calls a volatile function, or samples", NULL);
    if (f->flags & HD_FACT_OUTSIDE)
        problem(j, HD_PROBLEM_OUTSIDE, "it hangs on more than tables and settings", NULL);
}

/* Does a statement of this kind write nothing but what the text names, what that calls, and what follows? */
static int writes_what_it_says(uint8_t kind)
{
    static const uint64_t unknown = UINT64_C(1) << HD_STATEMENT_OTHER | UINT64_C(1) << HD_STATEMENT_EXECUTE |
                                    UINT64_C(1) << HD_STATEMENT_DO | UINT64_C(1) << HD_STATEMENT_CALL |
                                    UINT64_C(1) << HD_STATEMENT_LOAD |
                                    UINT64_C(1) << HD_STATEMENT_COMMIT_PREPARED |
                                    UINT64_C(1) << HD_STATEMENT_DDL | UINT64_C(1) << HD_STATEMENT_PRIVILEGE;

    return !(unknown >> kind & 1);
}

/* REFRESH MATERIALIZED VIEW. */
static int refreshes(const struct hd_fact_statement *st)
{
    return st->kind == HD_STATEMENT_DDL && st->verb == HD_DDL_ALTER && (st->flags & HD_FACT_WRITES) &&
           st->object && strcmp(st->object, "materialized view") == 0;
}

static void judge_footprint(struct judge *j)
{
    const struct hd_facts *f = j->facts;
    int known = !(f->flags & HD_FACT_UNSURE);

    for (uint32_t i = 0; i < f->n_statements && known; i++) {
        const struct hd_fact_statement *st = &f->statements[i];

        known = writes_what_it_says(st->kind) || refreshes(st);
        for (unsigned k = 0; k < HD_STATEMENT_KINDS && known; k++)
            known = !(st->within >> k & 1) || writes_what_it_says((uint8_t)k);
    }
    if (!known)
        footprint(j, HD_FOOTPRINT_KIND, "it is no plain read or write", NULL);
}

int hd_catalog_judge(const struct hd_facts *f, const struct hd_str *cells, uint32_t rows, uint32_t columns,
                     struct hd_catalog_answer *out)
{
    struct judge j = {.facts = f, .out = out};

    *out = (struct hd_catalog_answer){.arena = HD_ARENA_INIT};
    if (columns != HD_CATALOG_CELLS || !rows)
        return HD_EPROTO;
    out->tables = hd_arena_alloc(&out->arena, (rows < HD_DEPENDENCIES_MAX ? rows : HD_DEPENDENCIES_MAX) *
                                                  sizeof(*out->tables));
    if (!out->tables)
        return HD_ENOMEM;
    judge_facts(&j);
    judge_footprint(&j);
    for (uint32_t i = 0; i < rows; i++) {
        const struct hd_str *c = cells + (size_t)i * columns;
        const struct row r = {.what = c[0],
                              .number = number(c[1]),
                              .oid = number(c[2]),
                              .schema = c[3],
                              .name = c[4],
                              .detail = c[5],
                              .more = c[6]};

        if (is(r.what, "table") && out->count == HD_DEPENDENCIES_MAX)
            problem(&j, HD_PROBLEM_BOUND, "it reads more tables than are kept", NULL);
        else if (on_row(&j, &r))
            return HD_EPROTO;
    }
    return j.no_memory ? HD_ENOMEM : hd_catalog_read_columns(cells, rows, out);
}

void hd_catalog_answer_free(struct hd_catalog_answer *a)
{
    hd_arena_free(&a->arena);
}
