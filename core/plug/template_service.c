/*
 * Templates and facts for plugins; see template_service.h. Templates are immutable, so all of this runs on
 * any thread without a lock.
 */
#include "plug/template_service.h"

#include <howdah/howdah.h>
#include <string.h>

#include "base/check.h"
#include "base/thread.h"
#include "plug/services.h"
#include "plug/values.h"
#include "sql/template.h"

static struct hd_templates
    *all_templates; /* the process's; NULL: not there yet, or no more. The control thread's */

/* --- kinds --------------------------------------------------------------------------------------------- */

static const uint8_t kinds[HD_STATEMENT_KINDS] = {
    [HD_STATEMENT_OTHER] = HD_KIND_OTHER,
    [HD_STATEMENT_SELECT] = HD_KIND_SELECT,
    [HD_STATEMENT_INSERT] = HD_KIND_INSERT,
    [HD_STATEMENT_UPDATE] = HD_KIND_UPDATE,
    [HD_STATEMENT_DELETE] = HD_KIND_DELETE,
    [HD_STATEMENT_MERGE] = HD_KIND_MERGE,
    [HD_STATEMENT_COPY_FROM] = HD_KIND_COPY_FROM,
    [HD_STATEMENT_COPY_TO] = HD_KIND_COPY_TO,
    [HD_STATEMENT_BEGIN] = HD_KIND_BEGIN,
    [HD_STATEMENT_COMMIT] = HD_KIND_COMMIT,
    [HD_STATEMENT_ROLLBACK] = HD_KIND_ROLLBACK,
    [HD_STATEMENT_SAVEPOINT] = HD_KIND_SAVEPOINT,
    [HD_STATEMENT_RELEASE] = HD_KIND_RELEASE,
    [HD_STATEMENT_ROLLBACK_TO] = HD_KIND_ROLLBACK_TO,
    [HD_STATEMENT_PREPARE_TRANSACTION] = HD_KIND_PREPARE_TXN,
    [HD_STATEMENT_COMMIT_PREPARED] = HD_KIND_COMMIT_PREPARED,
    [HD_STATEMENT_ROLLBACK_PREPARED] = HD_KIND_ROLLBACK_PREPARED,
    [HD_STATEMENT_SET] = HD_KIND_SET,
    [HD_STATEMENT_RESET] = HD_KIND_RESET,
    [HD_STATEMENT_SHOW] = HD_KIND_SHOW,
    [HD_STATEMENT_PREPARE] = HD_KIND_PREPARE,
    [HD_STATEMENT_EXECUTE] = HD_KIND_EXECUTE,
    [HD_STATEMENT_DEALLOCATE] = HD_KIND_DEALLOCATE,
    [HD_STATEMENT_DECLARE] = HD_KIND_DECLARE,
    [HD_STATEMENT_FETCH] = HD_KIND_FETCH,
    [HD_STATEMENT_CLOSE] = HD_KIND_CLOSE,
    [HD_STATEMENT_LISTEN] = HD_KIND_LISTEN,
    [HD_STATEMENT_UNLISTEN] = HD_KIND_UNLISTEN,
    [HD_STATEMENT_NOTIFY] = HD_KIND_NOTIFY,
    [HD_STATEMENT_DISCARD] = HD_KIND_DISCARD,
    [HD_STATEMENT_LOCK] = HD_KIND_LOCK,
    [HD_STATEMENT_DO] = HD_KIND_DO,
    [HD_STATEMENT_CALL] = HD_KIND_CALL,
    [HD_STATEMENT_LOAD] = HD_KIND_LOAD,
    [HD_STATEMENT_EXPLAIN] = HD_KIND_EXPLAIN,
    [HD_STATEMENT_VACUUM] = HD_KIND_MAINTENANCE,
    [HD_STATEMENT_ANALYZE] = HD_KIND_MAINTENANCE,
    [HD_STATEMENT_CLUSTER] = HD_KIND_MAINTENANCE,
    [HD_STATEMENT_CHECKPOINT] = HD_KIND_MAINTENANCE,
    [HD_STATEMENT_REINDEX] = HD_KIND_MAINTENANCE,
    [HD_STATEMENT_TRUNCATE] = HD_KIND_TRUNCATE,
    [HD_STATEMENT_CONSTRAINTS] = HD_KIND_SET_LOCAL,
    [HD_STATEMENT_DDL] = HD_KIND_DDL,
    [HD_STATEMENT_PRIVILEGE] = HD_KIND_PRIVILEGE,
};

/* SET LOCAL, and SET TRANSACTION, which lasts no longer. */
static int is_set_local(const struct hd_fact_statement *st)
{
    return st->kind == HD_STATEMENT_SET &&
           ((st->options & HD_OPTION_LOCAL) || (st->name && !strncmp(st->name, "TRANSACTION", 11)));
}

static uint32_t statement_kind(const struct hd_fact_statement *st)
{
    uint32_t kind = st->kind < HD_STATEMENT_KINDS ? kinds[st->kind] : HD_KIND_UNKNOWN;

    if (is_set_local(st))
        return HD_KIND_SET_LOCAL;
    if (st->object && !strcmp(st->object, "materialized view") && (st->flags & HD_FACT_WRITES) &&
        st->verb == HD_DDL_ALTER)
        return HD_KIND_MAINTENANCE; /* REFRESH */
    return kind;
}

static uint32_t text_kind(const struct hd_facts *f)
{
    if (f->n_statements == 1)
        return statement_kind(&f->statements[0]);
    if (f->n_statements > 1 || (f->flags & HD_FACT_MULTI))
        return HD_KIND_MULTI;
    return f->flags & HD_FACT_UNSURE ? HD_KIND_UNKNOWN : HD_KIND_EMPTY;
}

/* The statement's own kind, and those of what runs within it. */
static uint64_t kind_bits(const struct hd_fact_statement *st)
{
    uint64_t bits = UINT64_C(1) << statement_kind(st);

    for (unsigned k = 0; st->within >> k; k++)
        if (st->within >> k & 1)
            bits |= UINT64_C(1) << kinds[k];
    return bits;
}

/* --- rows that are written ----------------------------------------------------------------------------- */

/* What is told of a write; all 0 where nothing is. */
struct writes {
    uint32_t flags; /* HD_WRITES_… */
    int32_t table;
    uint32_t rows, per_row;    /* assignments of one row */
    uint32_t count, conflicts; /* assignments of rows, and behind them of ON CONFLICT */
};

/* The only table that is written; -1: none, or several. */
static int32_t only_written(const struct hd_facts *f)
{
    int32_t found = -1;

    for (uint32_t i = 0; i < f->n_tables; i++) {
        if (!(f->tables[i].access & HD_ACCESS_WRITE))
            continue;
        if (found >= 0)
            return -1;
        found = (int32_t)i;
    }
    return found;
}

/* Are all rows there, with a value for each column that is listed? */
static int rows_fit(const struct hd_facts *f, const struct hd_fact_statement *st)
{
    return st->rows.n && (!st->columns.n || st->columns.n == f->rows[st->rows.first].n) &&
           st->conflict_columns.n == st->conflict_values.n &&
           !(st->options & (HD_OPTION_INDIRECT | HD_OPTION_UNEVEN));
}

static struct writes writes_of(const struct hd_facts *f)
{
    const struct hd_fact_statement *st = f->statements;
    struct writes w = {.table = only_written(f)};

    if (f->n_statements != 1 || (f->flags & HD_FACT_UNSURE) || w.table < 0)
        return w;
    if (st->kind == HD_STATEMENT_DELETE) {
        w.flags = HD_WRITES_TOLD;
        return w;
    }
    if ((st->kind != HD_STATEMENT_INSERT && st->kind != HD_STATEMENT_UPDATE) || !rows_fit(f, st))
        return w;
    w.flags = HD_WRITES_TOLD | (st->options & HD_OPTION_CONFLICT_UPDATE ? HD_WRITES_CONFLICT : 0) |
              (st->options & HD_OPTION_USER_VALUE ? HD_WRITES_IGNORED : 0);
    w.rows = st->rows.n;
    w.per_row = f->rows[st->rows.first].n;
    w.count = w.rows * w.per_row;
    w.conflicts = st->conflict_columns.n;
    return w;
}

static int32_t get_info(const hd_template *t, struct hd_template_info *out)
{
    const struct hd_facts *f = t->facts;
    struct hd_template_info info = {
        .kind = text_kind(f),
        .facts = f->flags & HD_FACTS_PUBLIC,
        .fingerprint = t->fingerprint,
        .text = {t->text, t->len},
        .statements = f->n_statements,
        .tables = f->n_tables,
        .comparisons = f->n_comparisons,
        .functions = f->n_functions,
        .params = t->n_params,
        .constants = t->n_literals,
    };
    struct writes w = writes_of(f);

    info.writes = w.flags;
    info.rows = w.rows;
    info.assignments = w.count + w.conflicts;
    info.conflict_key = w.flags ? hd_str_of(f->statements[0].conflict_key) : hd_str_of(NULL);

    for (uint32_t i = 0; i < f->n_statements; i++) {
        info.kinds |= kind_bits(&f->statements[i]);
        info.joins += f->statements[i].n_joins;
        info.subselects += f->statements[i].n_subselects;
        info.ctes += f->statements[i].n_ctes;
        info.set_operations += f->statements[i].n_setops;
    }
    return hd_service_give(out, out->size, &info, sizeof(info));
}

/* --- what it names ------------------------------------------------------------------------------------- */

static int32_t get_table(const hd_template *t, uint32_t i, struct hd_template_table *out)
{
    const struct hd_facts *f = t->facts;
    struct hd_template_table table = {.size = 0};

    if (i >= f->n_tables)
        return HD_ENOENT;
    table.access = f->tables[i].access;
    table.schema = hd_str_of(f->tables[i].schema);
    table.name = hd_str_of(f->tables[i].name);
    return hd_service_give(out, out->size, &table, sizeof(table));
}

static int32_t get_function(const hd_template *t, uint32_t i, struct hd_template_function *out)
{
    const struct hd_facts *f = t->facts;
    struct hd_template_function function = {.size = 0};

    if (i >= f->n_functions)
        return HD_ENOENT;
    function.args = f->functions[i].n_args;
    function.schema = hd_str_of(f->functions[i].schema);
    function.name = hd_str_of(f->functions[i].name);
    return hd_service_give(out, out->size, &function, sizeof(function));
}

/* --- comparisons --------------------------------------------------------------------------------------- */

/* Negations, and ANY over one array, are "other": nobody may take them for what they resemble. */
static uint32_t comparison_op(const struct hd_fact_comparison *c)
{
    switch (c->op) {
    case HD_COMPARE_EQ:
        return HD_CMP_EQ;
    case HD_COMPARE_NE:
        return HD_CMP_NE;
    case HD_COMPARE_LT:
        return HD_CMP_LT;
    case HD_COMPARE_LE:
        return HD_CMP_LE;
    case HD_COMPARE_GT:
        return HD_CMP_GT;
    case HD_COMPARE_GE:
        return HD_CMP_GE;
    case HD_COMPARE_IN:
        return HD_CMP_IN;
    case HD_COMPARE_BETWEEN:
        return HD_CMP_BETWEEN;
    case HD_COMPARE_LIKE:
        return HD_CMP_LIKE;
    case HD_COMPARE_IS_NULL:
        return HD_CMP_ISNULL;
    default:
        return HD_CMP_OTHER;
    }
}

/* The $n that a value is, in the client's numbering, literals behind parameters; 0: neither. A value that is
 * cast is another one than its $n, unless that only says its type. */
static uint32_t value_number(const hd_template *t, const struct hd_fact_value *v)
{
    if (v->cast && !v->typed)
        return 0;
    if (v->kind == HD_VALUE_PARAM)
        return v->index;
    return v->kind == HD_VALUE_LITERAL ? t->n_params + 1 + v->index : 0;
}

/* $first … of a list whose values follow each other; 0 where they do not. */
static uint32_t first_number(const hd_template *t, struct hd_range values)
{
    uint32_t first = values.n ? value_number(t, &t->facts->values[values.first]) : 0;

    for (uint32_t i = 1; first && i < values.n; i++) {
        const struct hd_fact_value *v = &t->facts->values[values.first + i];

        if (value_number(t, v) != first + i || v->typed != t->facts->values[values.first].typed)
            return 0;
    }
    return first;
}

static int32_t get_comparison(const hd_template *t, uint32_t i, struct hd_template_comparison *out)
{
    const struct hd_facts *f = t->facts;
    const struct hd_fact_comparison *from;
    struct hd_template_comparison c = {.size = 0};

    if (i >= f->n_comparisons)
        return HD_ENOENT;
    from = &f->comparisons[i];
    c.table = from->table;
    c.column = hd_str_of(from->column);
    c.op = comparison_op(from);
    /* That of a sub-query, or of one statement among several, binds their rows alone. */
    c.conjunctive = from->conjunctive && !from->query && f->n_statements == 1;
    c.param_first = first_number(t, from->values);
    c.param_count = from->values.n;
    c.cast = c.param_first ? f->values[from->values.first].typed : HD_CAST_NONE;
    return hd_service_give(out, out->size, &c, sizeof(c));
}

/* --- assignments --------------------------------------------------------------------------------------- */

static uint32_t assigned(const struct hd_fact_value *v)
{
    if (v->cast && !v->typed)
        return HD_ASSIGN_OTHER;
    switch ((enum hd_value_kind)v->kind) {
    case HD_VALUE_PARAM:
    case HD_VALUE_LITERAL:
        return HD_ASSIGN_VALUE;
    case HD_VALUE_NULL:
        return HD_ASSIGN_NULL;
    case HD_VALUE_DEFAULT:
        return HD_ASSIGN_DEFAULT;
    default:
        return HD_ASSIGN_OTHER;
    }
}

static int32_t get_assignment(const hd_template *t, uint32_t i, struct hd_template_assignment *out)
{
    const struct hd_facts *f = t->facts;
    const struct hd_fact_statement *st = f->statements;
    const struct writes w = writes_of(f);
    struct hd_template_assignment a = {.table = w.table};
    const struct hd_fact_value *v;
    uint32_t k;

    if (i >= w.count + w.conflicts)
        return HD_ENOENT;
    if (i < w.count) {
        k = i % w.per_row;
        a.row = i / w.per_row;
        v = &f->values[f->rows[st->rows.first + a.row].first + k];
        a.column = hd_str_of(st->columns.n ? f->columns[st->columns.first + k] : NULL);
    } else {
        k = i - w.count;
        a.row = HD_ROW_CONFLICT;
        v = &f->values[st->conflict_values.first + k];
        a.column = hd_str_of(f->columns[st->conflict_columns.first + k]);
    }
    a.position = k + 1;
    a.value = assigned(v);
    a.param = a.value == HD_ASSIGN_VALUE ? value_number(t, v) : 0;
    a.cast = a.param ? v->typed : HD_CAST_NONE;
    return hd_service_give(out, out->size, &a, sizeof(a));
}

/* --- the service --------------------------------------------------------------------------------------- */

static void hold(const hd_template *t)
{
    hd_template_hold(t);
}

static void release(const hd_template *t)
{
    hd_template_release((struct hd_template *)(uintptr_t)t);
}

static int32_t find(hd_host *host, struct hd_str sql, const hd_template **out)
{
    struct hd_scan scan = HD_SCAN_INIT;
    const char *text = sql.ptr ? sql.ptr : "";
    size_t len = hd_template_trim(text, sql.len);

    (void)host;
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    *out = NULL;
    if (!all_templates)
        return HD_EBUSY;
    if (!hd_scan_normalize(text, len, &scan))
        *out = hd_template_get(all_templates, text, len, &scan, 0);
    hd_scan_free(&scan);
    return *out ? HD_OK : HD_ENOMEM;
}

static struct hd_values text_values; /* the control thread's */

static int32_t value(hd_host *host, const hd_template *t, struct hd_str sql, uint32_t n, struct hd_value *out)
{
    static const struct hd_session_setting utf8 = {"client_encoding", "UTF8"};
    const char *text = sql.ptr ? sql.ptr : "";
    struct hd_statement st = {.size = sizeof(st),
                              .handle = text_values.handle + 1,
                              .tmpl = t,
                              .sql = {text, hd_template_trim(text, sql.len)},
                              .settings = &utf8,
                              .setting_count = 1};
    struct hd_value found;
    int code;

    (void)host;
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    code = hd_values_get(&text_values, &st, n, &found);
    return code ? code : hd_service_give(out, out->size, &found, sizeof(found));
}

static const struct hd_template_v1 service = {
    .size = sizeof(struct hd_template_v1),
    .info = get_info,
    .table = get_table,
    .comparison = get_comparison,
    .function = get_function,
    .hold = hold,
    .release = release,
    .assignment = get_assignment,
    .find = find,
    .value = value,
};

void hd_template_serve_from(struct hd_templates *ts)
{
    all_templates = ts;
    if (!ts)
        hd_values_free(&text_values);
}

int hd_template_serve(void)
{
    return hd_service_add(HD_SERVICE_TEMPLATE, &service);
}
