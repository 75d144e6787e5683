/*
 * Making facts: parse once, prove that the literals outside the template's key do not matter, collect, and
 * pack everything into one arena.
 */
#include "sql/facts.h"
#include "sql/facts_build.h"
#include "base/alloc.h"

#include <howdah/error.h>
#include <pg_query.h>
#include <string.h>

static const char *const statement_names[HD_STATEMENT_KINDS] = {
    [HD_STATEMENT_OTHER] = "other",
    [HD_STATEMENT_SELECT] = "select",
    [HD_STATEMENT_INSERT] = "insert",
    [HD_STATEMENT_UPDATE] = "update",
    [HD_STATEMENT_DELETE] = "delete",
    [HD_STATEMENT_MERGE] = "merge",
    [HD_STATEMENT_COPY_FROM] = "copy from",
    [HD_STATEMENT_COPY_TO] = "copy to",
    [HD_STATEMENT_BEGIN] = "begin",
    [HD_STATEMENT_COMMIT] = "commit",
    [HD_STATEMENT_ROLLBACK] = "rollback",
    [HD_STATEMENT_SAVEPOINT] = "savepoint",
    [HD_STATEMENT_RELEASE] = "release",
    [HD_STATEMENT_ROLLBACK_TO] = "rollback to",
    [HD_STATEMENT_PREPARE_TRANSACTION] = "prepare transaction",
    [HD_STATEMENT_COMMIT_PREPARED] = "commit prepared",
    [HD_STATEMENT_ROLLBACK_PREPARED] = "rollback prepared",
    [HD_STATEMENT_SET] = "set",
    [HD_STATEMENT_RESET] = "reset",
    [HD_STATEMENT_SHOW] = "show",
    [HD_STATEMENT_PREPARE] = "prepare",
    [HD_STATEMENT_EXECUTE] = "execute",
    [HD_STATEMENT_DEALLOCATE] = "deallocate",
    [HD_STATEMENT_DECLARE] = "declare",
    [HD_STATEMENT_FETCH] = "fetch",
    [HD_STATEMENT_CLOSE] = "close",
    [HD_STATEMENT_LISTEN] = "listen",
    [HD_STATEMENT_UNLISTEN] = "unlisten",
    [HD_STATEMENT_NOTIFY] = "notify",
    [HD_STATEMENT_DISCARD] = "discard",
    [HD_STATEMENT_LOCK] = "lock",
    [HD_STATEMENT_DO] = "do",
    [HD_STATEMENT_CALL] = "call",
    [HD_STATEMENT_LOAD] = "load",
    [HD_STATEMENT_EXPLAIN] = "explain",
    [HD_STATEMENT_VACUUM] = "vacuum",
    [HD_STATEMENT_ANALYZE] = "analyze",
    [HD_STATEMENT_CLUSTER] = "cluster",
    [HD_STATEMENT_CHECKPOINT] = "checkpoint",
    [HD_STATEMENT_REINDEX] = "reindex",
    [HD_STATEMENT_TRUNCATE] = "truncate",
    [HD_STATEMENT_CONSTRAINTS] = "set constraints",
    [HD_STATEMENT_DDL] = "ddl",
    [HD_STATEMENT_PRIVILEGE] = "privilege",
};

const char *hd_statement_name(enum hd_statement_kind kind)
{
    return (unsigned)kind < HD_STATEMENT_KINDS ? statement_names[kind] : "other";
}

/* --- the builder's store --- */

void *hd_facts_push(struct hd_facts_builder *b, struct hd_fact_vec *v)
{
    void *item;

    if (v->n == HD_FACTS_MAX_ITEMS) {
        b->full = 1;
        return NULL;
    }
    if (v->n == v->cap) {
        uint32_t cap = v->cap ? v->cap * 2 : 8;
        char *p = hd_realloc(v->items, cap * v->size);

        if (!p) {
            b->no_memory = 1;
            return NULL;
        }
        v->items = p;
        v->cap = cap;
    }
    item = v->items + v->n++ * v->size;
    memset(item, 0, v->size);
    return item;
}

void *hd_facts_alloc(struct hd_facts_builder *b, size_t size)
{
    void *p = hd_arena_alloc(&b->arena, size);

    if (!p)
        b->no_memory = 1;
    return p;
}

const char *hd_facts_copy(struct hd_facts_builder *b, const char *s)
{
    char *p;

    if (!s || !*s)
        return NULL;
    p = hd_facts_alloc(b, strlen(s) + 1);
    if (p)
        memcpy(p, s, strlen(s));
    return p;
}

/* The vector's items in the arena; frees the vector. */
static void *pack(struct hd_facts_builder *b, struct hd_fact_vec *v, uint32_t *n)
{
    size_t bytes = v->n * v->size;
    void *p = bytes ? hd_facts_alloc(b, bytes) : NULL;

    if (p) {
        memcpy(p, v->items, bytes);
        *n = v->n;
    }
    hd_free(v->items);
    v->items = NULL;
    return p;
}

static void builder_init(struct hd_facts_builder *b, const char *sql, const struct hd_scan *scan)
{
    *b = (struct hd_facts_builder){.sql = sql, .scan = scan, .arena = HD_ARENA_INIT};
    b->statements.size = sizeof(struct hd_fact_statement);
    b->tables.size = sizeof(struct hd_fact_table);
    b->comparisons.size = sizeof(struct hd_fact_comparison);
    b->functions.size = sizeof(struct hd_fact_function);
    b->outputs.size = sizeof(struct hd_fact_output);
    b->columns.size = sizeof(const char *);
    b->types.size = sizeof(struct hd_fact_type);
    b->rows.size = sizeof(struct hd_range);
    b->values.size = sizeof(struct hd_fact_value);
    b->operators.size = sizeof(struct hd_fact_operator);
}

/* Notes the literals that a minus belongs to. */
static void find_negative(struct hd_facts_builder *b, struct hd_facts *f)
{
    for (uint32_t i = 0; i < f->n_values; i++) {
        const struct hd_fact_value *v = &f->values[i];

        if (v->kind != HD_VALUE_LITERAL || !v->negative)
            continue;
        if (!f->negative)
            f->negative = hd_facts_alloc(b, b->scan->n_literals);
        if (f->negative)
            f->negative[v->index] = 1;
    }
}

/* Moves everything into `f`, and the arena with it. */
static void builder_finish(struct hd_facts_builder *b, struct hd_facts *f)
{
    f->statements = pack(b, &b->statements, &f->n_statements);
    f->tables = pack(b, &b->tables, &f->n_tables);
    f->comparisons = pack(b, &b->comparisons, &f->n_comparisons);
    f->functions = pack(b, &b->functions, &f->n_functions);
    f->outputs = pack(b, &b->outputs, &f->n_outputs);
    f->columns = pack(b, &b->columns, &f->n_columns);
    f->types = pack(b, &b->types, &f->n_types);
    f->rows = pack(b, &b->rows, &f->n_rows);
    f->values = pack(b, &b->values, &f->n_values);
    f->operators = pack(b, &b->operators, &f->n_operators);
    find_negative(b, f);
    if (b->full)
        f->flags |= HD_FACT_UNSURE;
    f->arena = b->arena;
}

/* --- one statement after the other --- */

static struct hd_range since(const struct hd_fact_vec *v, uint32_t first)
{
    return (struct hd_range){first, v->n - first};
}

static void add_statement(struct hd_facts_builder *b, const PgQuery__Node *node)
{
    uint32_t tables = b->tables.n, comparisons = b->comparisons.n, functions = b->functions.n;
    uint32_t outputs = b->outputs.n, columns = b->columns.n, types = b->types.n, rows = b->rows.n;
    struct hd_fact_statement *st;

    b->st = (struct hd_fact_statement){.literal = -1};
    b->n_queries = b->depth = 0;
    b->outputs_done = b->conjunctive = 0;
    b->access = HD_ACCESS_READ;
    b->q = NULL;
    hd_facts_statement(b, node);
    b->st.tables = since(&b->tables, tables);
    b->st.comparisons = since(&b->comparisons, comparisons);
    b->st.functions = since(&b->functions, functions);
    b->st.outputs = since(&b->outputs, outputs);
    b->st.columns = since(&b->columns, columns);
    b->st.columns.n -= b->st.conflict_columns.n; /* they stand last */
    b->st.types = since(&b->types, types);
    b->st.rows = since(&b->rows, rows);
    st = hd_facts_push(b, &b->statements);
    if (st)
        *st = b->st;
}

static uint64_t collect(struct hd_facts_builder *b, const PgQuery__ParseResult *tree)
{
    uint64_t flags = 0;

    if (tree->n_stmts > HD_FACTS_MAX_STATEMENTS)
        return HD_FACT_UNSURE | HD_FACT_MULTI;
    for (size_t i = 0; i < tree->n_stmts && !b->no_memory; i++) {
        add_statement(b, tree->stmts[i]->stmt);
        flags |= b->st.flags;
    }
    if (tree->n_stmts > 1)
        flags |= HD_FACT_MULTI;
    return flags;
}

/* --- literals that must not matter --- */

/* Where a literal's content begins: behind prefix, quote and dollar tag. */
static uint32_t content_offset(const char *sql, const struct hd_literal *lit)
{
    const char *p = sql + lit->offset;

    if (*p == '$')
        return (uint32_t)(strchr(p + 1, '$') + 1 - sql);
    return (uint32_t)(strchr(p, '\'') + 1 - sql);
}

/* Appends `lit` with another content but of the same form: a character more, or another last digit. */
static char *put_sibling(char *o, const char *sql, const struct hd_literal *lit)
{
    const char *from = sql + lit->offset;

    if (lit->kind == HD_LITERAL_INTEGER || lit->kind == HD_LITERAL_NUMERIC) {
        char *p;

        memcpy(o, from, lit->len);
        for (p = o + lit->len - 1; *p < '0' || *p > '9'; p--)
            ;
        *p ^= 1;
        return o + lit->len;
    }
    from = sql + content_offset(sql, lit);
    memcpy(o, sql + lit->offset, (size_t)(from - sql) - lit->offset);
    o += (size_t)(from - sql) - lit->offset;
    *o++ = '1';
    memcpy(o, from, lit->offset + lit->len - (size_t)(from - sql));
    return o + (lit->offset + lit->len - (size_t)(from - sql));
}

/* The text with other contents in all literals that the key leaves out; NULL when there is no memory. */
static char *sibling_text(const char *sql, size_t len, const struct hd_scan *scan)
{
    char *text = hd_malloc(len + scan->n_literals + 1);
    char *o = text;
    size_t at = 0;

    if (!text)
        return NULL;
    for (uint32_t i = 0; i < scan->n_literals; i++) {
        const struct hd_literal *lit = &scan->literals[i];

        if (lit->in_key)
            continue;
        memcpy(o, sql + at, lit->offset - at);
        o = put_sibling(o + (lit->offset - at), sql, lit);
        at = lit->offset + lit->len;
    }
    memcpy(o, sql + at, len - at);
    o[len - at] = 0;
    return text;
}

static int key_has_all(const struct hd_scan *scan)
{
    for (uint32_t i = 0; i < scan->n_literals; i++) {
        if (!scan->literals[i].in_key)
            return 0;
    }
    return 1;
}

/* Does libpg_query replace all the literals that the scanner left out of the key? Then a sibling that differs
 * in each of them has the same normalization; a literal that is kept shows there. 1, 0, or -1 without memory.
 */
static int literals_do_not_matter(const char *sql, size_t len, const struct hd_scan *scan)
{
    PgQueryNormalizeResult mine, other;
    char *text;
    int same;

    if (key_has_all(scan))
        return 1;
    text = sibling_text(sql, len, scan);
    if (!text)
        return -1;
    mine = pg_query_normalize(sql);
    other = pg_query_normalize(text);
    same = !mine.error && !other.error && strcmp(mine.normalized_query, other.normalized_query) == 0;
    pg_query_free_normalize_result(mine);
    pg_query_free_normalize_result(other);
    hd_free(text);
    return same;
}

/* --- the whole --- */

/* What the parser says quotes the text it stands near, which may be a literal: cut there. */
static void note_error(struct hd_facts_builder *b, struct hd_facts *f, const PgQueryError *e)
{
    size_t n = strcspn(e->message, "\"");
    char *text;

    if (e->message[n] && n >= 12 && memcmp(e->message + n - 12, " at or near ", 12) == 0)
        n -= 12;
    text = hd_facts_alloc(b, n + 1);
    if (text)
        memcpy(text, e->message, n);
    f->error = text;
    f->error_at = e->cursorpos > 0 ? (uint32_t)e->cursorpos : 0;
    f->flags |= HD_FACT_UNSURE | HD_FACT_SYNTAX_ERROR;
}

static void parse(struct hd_facts_builder *b, struct hd_facts *f, const char *sql)
{
    PgQueryProtobufParseResult r = pg_query_parse_protobuf(sql);
    PgQuery__ParseResult *tree = NULL;

    if (r.error)
        note_error(b, f, r.error);
    else
        tree = pg_query__parse_result__unpack(NULL, r.parse_tree.len, (const uint8_t *)r.parse_tree.data);
    if (tree) {
        f->flags |= collect(b, tree);
        pg_query__parse_result__free_unpacked(tree, NULL);
    } else
        f->flags |= HD_FACT_UNSURE;
    pg_query_free_protobuf_parse_result(r);
}

static void note_hint(struct hd_facts_builder *b, struct hd_facts *f)
{
    char *hint;

    if (!b->scan->hint_len)
        return;
    hint = hd_facts_alloc(b, b->scan->hint_len + 1);
    if (hint)
        memcpy(hint, b->sql + b->scan->hint_offset, b->scan->hint_len);
    f->hint = hint;
}

/* Fills `f` from a text that is NUL-terminated. HD_OK or HD_ENOMEM. */
static int derive(struct hd_facts *f, const char *sql, size_t len, const struct hd_scan *scan)
{
    struct hd_facts_builder b;

    builder_init(&b, sql, scan);
    b.arena = f->arena;
    note_hint(&b, f);
    parse(&b, f, sql);
    if (!(f->flags & HD_FACT_UNSURE)) {
        int same = literals_do_not_matter(sql, len, scan);

        if (same < 0)
            b.no_memory = 1;
        else if (!same)
            f->flags |= HD_FACT_UNSURE;
    }
    builder_finish(&b, f);
    return b.no_memory ? HD_ENOMEM : HD_OK;
}

struct hd_facts *hd_facts_unsure(void)
{
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_facts *f = hd_arena_alloc(&arena, sizeof(*f));

    if (!f)
        return NULL;
    f->flags = HD_FACT_UNSURE;
    f->arena = arena;
    return f;
}

int hd_facts_parse(const char *sql, size_t len, const struct hd_scan *scan, struct hd_facts **out)
{
    struct hd_facts *f = hd_facts_unsure();
    char *text = NULL;
    int rc = HD_ENOMEM;

    *out = NULL;
    if (!f)
        return HD_ENOMEM;
    if (!scan->flags) {
        text = hd_strndup(sql, len);
        if (!text)
            goto done;
        f->flags = 0;
        rc = derive(f, text, len, scan);
        if (rc != HD_OK)
            goto done;
    }
    *out = f;
    f = NULL;
    rc = HD_OK;
done:
    hd_free(text);
    hd_facts_free(f);
    return rc;
}

void hd_facts_free(struct hd_facts *f)
{
    struct hd_arena arena;

    if (!f)
        return;
    arena = f->arena; /* f lies in it */
    hd_arena_free(&arena);
}
