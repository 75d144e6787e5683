/*
 * Columns, values and comparisons: which column of which table is compared with what.
 *
 * A column counts only where it is certain whose it is: named with its table's alias, or without where there
 * is no other table that it could be of.
 */
#include "sql/facts_build.h"
#include "sql/functions.h"

#include <string.h>

/* --- columns and values --- */

static int32_t find_table(const struct hd_fact_query *q, const char *schema, const char *name)
{
    for (; q; q = q->sees) {
        for (const struct hd_fact_from *f = q->from; f; f = f->next) {
            if (strcmp(f->name, name) == 0 && (!schema || (f->schema && strcmp(f->schema, schema) == 0)))
                return f->table;
        }
    }
    return -1;
}

/* A column without qualification is certain only where there is one table that it can be of. */
static int32_t only_table(const struct hd_fact_query *q)
{
    if (!q || q->n_from != 1 || !q->from)
        return -1;
    for (const struct hd_fact_query *s = q->sees; s; s = s->sees) {
        if (s->n_from > 0)
            return -1;
    }
    return q->from->table;
}

struct hd_fact_column hd_facts_resolve(const struct hd_facts_builder *b, const PgQuery__ColumnRef *ref)
{
    size_t n = ref->n_fields;
    const char *part[3] = {NULL, NULL, NULL};
    struct hd_fact_column c = {-1, NULL, 0};

    if (n < 1 || n > 3)
        return c;
    for (size_t i = 0; i < n; i++) {
        part[i] = hd_facts_string(ref->fields[i]);
        if (!part[i] && (i + 1 < n || ref->fields[i]->node_case != PG_QUERY__NODE__NODE_A_STAR))
            return c;
    }
    c.known = 1;
    c.name = part[n - 1];
    if (n == 1)
        c.table = c.name ? only_table(b->q) : -1;
    else
        c.table = n == 2 ? find_table(b->q, NULL, part[0]) : find_table(b->q, part[0], part[1]);
    return c;
}

/* The literal that stands at a constant's place, minus sign or not. */
static struct hd_fact_value literal_at(const struct hd_facts_builder *b, int32_t location)
{
    const struct hd_scan *scan = b->scan;
    uint32_t lo = 0, hi = scan->n_literals, at = (uint32_t)location;
    struct hd_fact_value v = {.kind = HD_VALUE_OTHER};

    if (location < 0)
        return v;
    while (lo < hi) { /* the first that ends behind `at` */
        uint32_t mid = (lo + hi) / 2;

        if (scan->literals[mid].offset + scan->literals[mid].len <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == scan->n_literals)
        return v;
    v.negative = scan->literals[lo].offset > at;
    if (v.negative && b->sql[at] != '-')
        return (struct hd_fact_value){.kind = HD_VALUE_OTHER}; /* a word that the grammar makes a constant */
    v.kind = HD_VALUE_LITERAL;
    v.index = lo;
    return v;
}

static struct hd_fact_value constant(const struct hd_facts_builder *b, const PgQuery__AConst *c)
{
    if (c->isnull)
        return (struct hd_fact_value){.kind = HD_VALUE_NULL};
    if (c->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL)
        return (struct hd_fact_value){.kind = HD_VALUE_BOOL, .index = c->boolval->boolval ? 1 : 0};
    return literal_at(b, c->location);
}

/* A cast to an integer, uuid or text without a length changes nothing of a string, an integer or a parameter
 * but the type. HD_CAST_… */
static uint8_t only_types(const struct hd_facts_builder *b, const PgQuery__TypeName *type,
                          struct hd_fact_value v)
{
    static const struct {
        const char *name;
        uint8_t cast;
    } types[] = {
        {"int2", HD_CAST_INTEGER}, {"int4", HD_CAST_INTEGER}, {"int8", HD_CAST_INTEGER},
        {"uuid", HD_CAST_UUID},    {"text", HD_CAST_TEXT},    {"varchar", HD_CAST_TEXT},
    };
    const char *name = hd_facts_last_name(type->names, type->n_names);
    const char *schema = type->n_names == 2 ? hd_facts_string(type->names[0]) : NULL;

    if (!name || type->n_names > 2 || (schema && strcmp(schema, "pg_catalog") != 0) || type->n_array_bounds ||
        type->n_typmods || type->setof || type->pct_type ||
        (v.kind != HD_VALUE_LITERAL && v.kind != HD_VALUE_PARAM) ||
        (v.kind == HD_VALUE_LITERAL && b->scan->literals[v.index].kind == HD_LITERAL_NUMERIC))
        return HD_CAST_NONE;
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].cast;
    return HD_CAST_NONE;
}

static struct hd_fact_value cast_value(struct hd_facts_builder *b, const PgQuery__TypeCast *cast)
{
    struct hd_fact_value v = hd_facts_value(b, cast->arg);
    const PgQuery__TypeName *type = cast->type_name;

    if (!type)
        return v;
    v.typed = only_types(b, type, v);
    v.cast =
        type->n_array_bounds ? "array" : hd_facts_copy(b, hd_facts_last_name(type->names, type->n_names));
    return v;
}

struct hd_fact_value hd_facts_value(struct hd_facts_builder *b, const PgQuery__Node *node)
{
    struct hd_fact_value v = {.kind = HD_VALUE_OTHER};
    struct hd_fact_column c;

    switch (node ? (int)node->node_case : -1) {
    case PG_QUERY__NODE__NODE_PARAM_REF:
        v.kind = HD_VALUE_PARAM;
        v.index = (uint32_t)node->param_ref->number;
        break;
    case PG_QUERY__NODE__NODE_A_CONST:
        v = constant(b, node->a_const);
        break;
    case PG_QUERY__NODE__NODE_SET_TO_DEFAULT:
        v.kind = HD_VALUE_DEFAULT;
        break;
    case PG_QUERY__NODE__NODE_COLUMN_REF:
        c = hd_facts_resolve(b, node->column_ref);
        if (c.known && c.name) {
            v.kind = HD_VALUE_COLUMN;
            v.index = (uint32_t)c.table;
            v.text = hd_facts_copy(b, c.name);
        }
        break;
    case PG_QUERY__NODE__NODE_TYPE_CAST: /* one, of a constant or parameter; a cast column is an expression */
        if (node->type_cast->arg && (node->type_cast->arg->node_case == PG_QUERY__NODE__NODE_A_CONST ||
                                     node->type_cast->arg->node_case == PG_QUERY__NODE__NODE_PARAM_REF))
            v = cast_value(b, node->type_cast);
        break;
    default:
        break;
    }
    return v;
}

/* --- comparisons --- */

void hd_facts_push_value(struct hd_facts_builder *b, const PgQuery__Node *node)
{
    struct hd_fact_value v = hd_facts_value(b, node), *slot = hd_facts_push(b, &b->values);

    if (slot)
        *slot = v;
}

/* column op value(s): `right` is one value, or a list of them. */
static void add_comparison(struct hd_facts_builder *b, const PgQuery__Node *left, enum hd_compare op,
                           const PgQuery__Node *right, int conjunctive)
{
    struct hd_fact_column c = hd_facts_resolve(b, left->column_ref);
    struct hd_fact_comparison cmp = {
        .table = c.table, .op = (uint8_t)op, .conjunctive = (uint8_t)conjunctive};
    struct hd_fact_comparison *slot;

    if (!c.known || !c.name)
        return;
    cmp.column = hd_facts_copy(b, c.name);
    cmp.query = b->q ? b->q->id : 0;
    cmp.values.first = b->values.n;
    if (right && right->node_case == PG_QUERY__NODE__NODE_LIST) {
        for (size_t i = 0; i < right->list->n_items; i++)
            hd_facts_push_value(b, right->list->items[i]);
    } else if (right && right->node_case == PG_QUERY__NODE__NODE_A_ARRAY_EXPR && op == HD_COMPARE_ANY) {
        for (size_t i = 0; i < right->a_array_expr->n_elements; i++)
            hd_facts_push_value(b, right->a_array_expr->elements[i]);
    } else if (right)
        hd_facts_push_value(b, right);
    cmp.values.n = b->values.n - cmp.values.first;
    slot = hd_facts_push(b, &b->comparisons);
    if (slot)
        *slot = cmp;
}

/* The built-in comparison of that name; one of another schema is another operator. */
static enum hd_compare operator_named(PgQuery__Node *const *name, size_t n)
{
    static const struct {
        const char *name;
        enum hd_compare op;
    } known[] = {
        {"=", HD_COMPARE_EQ},  {"<>", HD_COMPARE_NE}, {"<", HD_COMPARE_LT},
        {"<=", HD_COMPARE_LE}, {">", HD_COMPARE_GT},  {">=", HD_COMPARE_GE},
    };
    const char *op = hd_facts_last_name(name, n), *schema = n == 2 ? hd_facts_string(name[0]) : NULL;

    if (op && n <= 2 && (!schema || strcmp(schema, "pg_catalog") == 0)) {
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            if (strcmp(known[i].name, op) == 0)
                return known[i].op;
        }
    }
    return HD_COMPARE_OTHER;
}

static enum hd_compare turned(enum hd_compare op)
{
    switch (op) {
    case HD_COMPARE_LT:
        return HD_COMPARE_GT;
    case HD_COMPARE_LE:
        return HD_COMPARE_GE;
    case HD_COMPARE_GT:
        return HD_COMPARE_LT;
    case HD_COMPARE_GE:
        return HD_COMPARE_LE;
    default:
        return op;
    }
}

static int turnable(enum hd_compare op)
{
    return op <= HD_COMPARE_GE || op == HD_COMPARE_DISTINCT || op == HD_COMPARE_NOT_DISTINCT;
}

static enum hd_compare comparison_of(const PgQuery__AExpr *e)
{
    const char *name = hd_facts_last_name(e->name, e->n_name);
    enum hd_compare op = operator_named(e->name, e->n_name);

    switch (e->kind) {
    case PG_QUERY__A__EXPR__KIND__AEXPR_OP:
        return op;
    case PG_QUERY__A__EXPR__KIND__AEXPR_OP_ANY:
        return op == HD_COMPARE_EQ ? HD_COMPARE_ANY : HD_COMPARE_OTHER;
    case PG_QUERY__A__EXPR__KIND__AEXPR_DISTINCT:
        return HD_COMPARE_DISTINCT;
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_DISTINCT:
        return HD_COMPARE_NOT_DISTINCT;
    case PG_QUERY__A__EXPR__KIND__AEXPR_IN:
        return op == HD_COMPARE_EQ ? HD_COMPARE_IN : HD_COMPARE_NOT_IN;
    case PG_QUERY__A__EXPR__KIND__AEXPR_LIKE:
    case PG_QUERY__A__EXPR__KIND__AEXPR_ILIKE:
        return name && name[0] == '!' ? HD_COMPARE_NOT_LIKE : HD_COMPARE_LIKE;
    case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN:
    case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN_SYM:
        return HD_COMPARE_BETWEEN;
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN:
    case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN_SYM:
        return HD_COMPARE_NOT_BETWEEN;
    default:
        return HD_COMPARE_OTHER;
    }
}

static int same_name(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* An operator that is not a built-in one's name may call any function. */
void hd_facts_add_operator(struct hd_facts_builder *b, PgQuery__Node *const *list, size_t n)
{
    const char *name = hd_facts_last_name(list, n);
    const char *schema = n > 1 ? hd_facts_string(list[0]) : NULL;
    const struct hd_fact_operator *there = (const struct hd_fact_operator *)b->operators.items;
    struct hd_fact_operator *slot;

    if (!name || (schema && strcmp(schema, "pg_catalog") != 0) || !hd_known_operator(name))
        b->st.flags |= HD_FACT_UNSURE_FUNCTION;
    for (uint32_t i = 0; i < b->operators.n; i++)
        if (same_name(there[i].schema, schema) && same_name(there[i].name, name))
            return;
    slot = hd_facts_push(b, &b->operators);
    if (!slot)
        return;
    slot->schema = hd_facts_copy(b, schema);
    slot->name = hd_facts_copy(b, name);
}

/* BETWEEN and its kin have words in the place of a name. */
static void note_operator(struct hd_facts_builder *b, const PgQuery__AExpr *e)
{
    if (e->kind < PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN)
        hd_facts_add_operator(b, e->name, e->n_name);
}

/* (a, b) = (1, 2) is a = 1 AND b = 2. Returns whether it was that. */
static int rows_compared(struct hd_facts_builder *b, const PgQuery__AExpr *e, enum hd_compare op,
                         int conjunctive)
{
    const PgQuery__RowExpr *l, *r;

    if (op != HD_COMPARE_EQ || !e->lexpr || !e->rexpr ||
        e->lexpr->node_case != PG_QUERY__NODE__NODE_ROW_EXPR ||
        e->rexpr->node_case != PG_QUERY__NODE__NODE_ROW_EXPR)
        return 0;
    l = e->lexpr->row_expr;
    r = e->rexpr->row_expr;
    for (size_t i = 0; l->n_args == r->n_args && i < l->n_args; i++) {
        if (hd_facts_is_column(l->args[i]))
            add_comparison(b, l->args[i], op, r->args[i], conjunctive);
        else if (hd_facts_is_column(r->args[i]))
            add_comparison(b, r->args[i], op, l->args[i], conjunctive);
    }
    return 1;
}

void hd_facts_on_expression(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__AExpr *e = message;
    enum hd_compare op = comparison_of(e);

    note_operator(b, e);
    if (e->kind != PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF && !rows_compared(b, e, op, conjunctive)) {
        if (hd_facts_is_column(e->lexpr) && e->rexpr)
            add_comparison(b, e->lexpr, op, e->rexpr, conjunctive);
        else if (hd_facts_is_column(e->rexpr) && e->lexpr && turnable(op))
            add_comparison(b, e->rexpr, turned(op), e->lexpr, conjunctive);
    }
    hd_facts_walk(b, e->lexpr);
    hd_facts_walk(b, e->rexpr);
}

void hd_facts_on_null_test(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__NullTest *t = message;

    if (hd_facts_is_column(t->arg))
        add_comparison(b, t->arg,
                       t->nulltesttype == PG_QUERY__NULL_TEST_TYPE__IS_NULL ? HD_COMPARE_IS_NULL
                                                                            : HD_COMPARE_NOT_NULL,
                       NULL, conjunctive);
    hd_facts_walk(b, t->arg);
}
