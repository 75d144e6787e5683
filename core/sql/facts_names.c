/*
 * Functions and types that an expression names: what is known of them, and what a call brings.
 */
#include "sql/facts_build.h"
#include "sql/functions.h"

#include <string.h>

static struct hd_fact_function *add_function(struct hd_facts_builder *b, const char *schema, const char *name)
{
    const struct hd_known_function *known = NULL;
    struct hd_fact_function *f = hd_facts_push(b, &b->functions);

    b->st.flags |= HD_FACT_FUNCTION;
    if (name && (!schema || strcmp(schema, "pg_catalog") == 0))
        known = hd_known_function(name);
    b->st.flags |= known ? known->flags : HD_FACT_UNSURE_FUNCTION;
    if (known && known->volatility == HD_STABLE)
        b->st.flags |= HD_FACT_STABLE;
    if (known && known->volatility == HD_VOLATILE)
        b->st.flags |= HD_FACT_VOLATILE;
    if (!f)
        return NULL;
    f->schema = hd_facts_copy(b, schema);
    f->name = hd_facts_copy(b, name);
    f->volatility = known ? known->volatility : HD_VOLATILITY_UNKNOWN;
    f->aggregate = known && known->aggregate;
    f->value = -1;
    return f;
}

/* The word true, which the grammar has as a constant or a cast one. */
static int is_true(const PgQuery__Node *n)
{
    return n && n->node_case == PG_QUERY__NODE__NODE_A_CONST &&
           n->a_const->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL && n->a_const->boolval->boolval;
}

/* set_config(name, value, is_local): which setting, and for how long. */
static void note_set_config(struct hd_facts_builder *b, struct hd_fact_function *f,
                            const PgQuery__FuncCall *call)
{
    if (!f->name || strcmp(f->name, "set_config") != 0 || call->n_args != 3)
        return;
    f->local = (uint8_t)is_true(call->args[2]);
    if (call->args[0]->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR)
        return; /* in an order of its own */
    f->value = (int32_t)b->values.n;
    hd_facts_push_value(b, call->args[0]);
}

/* Does it stand in the text, or come as a parameter? Then whoever minds can look for such words himself. */
static int is_given(const PgQuery__Node *n)
{
    if (!n || n->node_case == PG_QUERY__NODE__NODE_A_CONST || n->node_case == PG_QUERY__NODE__NODE_PARAM_REF)
        return 1;
    if (n->node_case == PG_QUERY__NODE__NODE_TYPE_CAST)
        return is_given(n->type_cast->arg);
    if (n->node_case != PG_QUERY__NODE__NODE_A_ARRAY_EXPR)
        return 0;
    for (size_t i = 0; i < n->a_array_expr->n_elements; i++)
        if (!is_given(n->a_array_expr->elements[i]))
            return 0;
    return 1;
}

/* A cast that is written like a function. */
static int is_cast_to_time(const char *name)
{
    static const char *const names[] = {"date", "time", "timestamp", "timestamptz", "timetz"};

    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return 1;
    return 0;
}

void hd_facts_on_function(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__FuncCall *call = message;
    size_t n = call->n_funcname;
    struct hd_fact_function *f = add_function(b, n > 1 ? hd_facts_string(call->funcname[n - 2]) : NULL,
                                              hd_facts_last_name(call->funcname, n));

    (void)conjunctive;
    if (f) {
        f->n_args = (uint32_t)call->n_args;
        f->window = call->over != NULL;
        f->aggregate |= call->agg_star || call->agg_within_group || call->agg_distinct ||
                        call->n_agg_order > 0 || call->agg_filter;
        if (b->q && b->q->top)
            b->st.options |= f->window ? HD_OPTION_WINDOW : f->aggregate ? HD_OPTION_AGGREGATE : 0;
        note_set_config(b, f, call);
        if (f->name && strcmp(f->name, "age") == 0 && call->n_args < 2)
            b->st.flags |= HD_FACT_OUTSIDE; /* up to today */
        if (f->name && call->n_args == 1 && is_cast_to_time(f->name) && !is_given(call->args[0]))
            b->st.flags |= HD_FACT_OUTSIDE;
    }
    hd_facts_walk_nodes(b, call->args, call->n_args);
    hd_facts_walk_nodes(b, call->agg_order, call->n_agg_order);
    hd_facts_walk(b, call->agg_filter);
    hd_facts_walk(b, call->over);
}

/* CURRENT_USER and its kin, by the names they have as functions. */
void hd_facts_on_value_function(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    static const char *const names[] = {
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_DATE] = "current_date",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIME] = "current_time",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIME_N] = "current_time",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIMESTAMP] = "current_timestamp",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_TIMESTAMP_N] = "current_timestamp",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIME] = "localtime",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIME_N] = "localtime",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP] = "localtimestamp",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_LOCALTIMESTAMP_N] = "localtimestamp",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_ROLE] = "current_role",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_USER] = "current_user",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_USER] = "user",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_SESSION_USER] = "session_user",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_CATALOG] = "current_catalog",
        [PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_SCHEMA] = "current_schema",
    };
    const PgQuery__SQLValueFunction *f = message;
    unsigned op = (unsigned)f->op;

    (void)conjunctive;
    (void)add_function(b, "pg_catalog", op < HD_ARRAY_LEN(names) ? names[op] : NULL);
}

/* regclass and its kin look names up; those of text search mean what their definition says. */
static int looks_up_names(const char *type)
{
    static const char *const names[] = {"regclass", "regcollation", "regnamespace", "regoper", "regoperator",
                                        "regproc",  "regprocedure", "regrole",      "regtype"};

    for (size_t i = 0; type && i < HD_ARRAY_LEN(names); i++)
        if (strcmp(type, names[i]) == 0)
            return 1;
    return 0;
}

/* Text becomes a time by words that stand for it, such as 'now'. Types that have no time in them; of own
 * ones, ranges and domains nobody knows here. */
static int is_timeless(const PgQuery__TypeName *t)
{
    static const char *const names[] = {
        "bit",      "bool",     "box",      "bpchar",   "bytea",   "char",      "cidr",    "circle",
        "float4",   "float8",   "inet",     "int2",     "int4",    "int4range", "int8",    "int8range",
        "interval", "json",     "jsonb",    "jsonpath", "line",    "lseg",      "macaddr", "money",
        "name",     "numeric",  "numrange", "oid",      "path",    "point",     "polygon", "text",
        "tsquery",  "tsvector", "uuid",     "varbit",   "varchar", "xml"};
    const char *name = hd_facts_last_name(t->names, t->n_names);
    const char *schema = t->n_names > 1 ? hd_facts_string(t->names[t->n_names - 2]) : "pg_catalog";

    if (!schema || strcmp(schema, "pg_catalog"))
        return 0;
    for (size_t i = 0; name && i < HD_ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return 1;
    return 0;
}

void hd_facts_on_cast(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__TypeCast *cast = message;

    hd_facts_walk(b, cast->arg);
    if (!cast->type_name)
        return;
    if (!is_timeless(cast->type_name) && !is_given(cast->arg))
        b->st.flags |= HD_FACT_OUTSIDE;
    hd_facts_on_type(b, cast->type_name, conjunctive);
}

void hd_facts_on_type(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__TypeName *t = message;
    struct hd_fact_type *slot;

    (void)conjunctive;
    if (t->n_names == 0)
        return;
    if (looks_up_names(hd_facts_last_name(t->names, t->n_names)))
        b->st.flags |= HD_FACT_OUTSIDE;
    slot = hd_facts_push(b, &b->types);
    if (!slot)
        return;
    slot->schema = t->n_names > 1 ? hd_facts_copy(b, hd_facts_string(t->names[t->n_names - 2])) : NULL;
    slot->name = hd_facts_copy(b, hd_facts_last_name(t->names, t->n_names));
}
