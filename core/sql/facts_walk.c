/*
 * Walking queries and expressions: tables, comparisons, functions, types.
 *
 * Where a node has no handler here, its children are walked by protobuf-c's own descriptors, so that nothing
 * is passed over, whatever the grammar puts where. Handlers exist for what opens a scope or is a fact.
 */
#include "sql/facts_build.h"

#include <string.h>

#define MAX_DEPTH 4096 /* the scanner keeps every text far below it */

typedef void (*handler)(struct hd_facts_builder *b, const void *message, int conjunctive);

static void walk_condition(struct hd_facts_builder *b, const PgQuery__Node *node, int conjunctive)
{
    b->conjunctive = (uint8_t)conjunctive;
    hd_facts_walk(b, node);
    b->conjunctive = 0;
}

void hd_facts_walk_nodes(struct hd_facts_builder *b, PgQuery__Node *const *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hd_facts_walk(b, nodes[i]);
}

/* A statement that does more than read: the one that is walked, or one within it. */
static void note_within(struct hd_facts_builder *b, enum hd_statement_kind kind)
{
    b->st.within |= UINT64_C(1) << kind;
}

/* --- queries and what they see --- */

/* Opens a query inside the current one. What it mentions it reads, unless said otherwise. */
static void enter(struct hd_facts_builder *b, struct hd_fact_query *q, struct hd_fact_query *sees, int top)
{
    *q = (struct hd_fact_query){.outer = b->q, .sees = sees, .id = b->n_queries++, .access = b->access};
    q->top = (uint8_t)top;
    q->inner = 1;
    b->access = HD_ACCESS_READ;
    b->q = q;
}

/* Opens a scope that hides the current query's columns from what is walked next, but not its CTEs. */
static void hide(struct hd_facts_builder *b, struct hd_fact_query *scope)
{
    *scope = (struct hd_fact_query){.outer = b->q, .sees = b->q->sees, .id = b->q->id, .access = b->access};
    b->q = scope;
}

static void leave(struct hd_facts_builder *b)
{
    b->access = b->q->access;
    b->q = b->q->outer;
}

static int is_cte(const struct hd_facts_builder *b, const char *name)
{
    for (const struct hd_fact_query *q = b->q; q; q = q->outer) {
        for (const struct hd_fact_cte *c = q->ctes; c; c = c->next) {
            if (strcmp(c->name, name) == 0)
                return 1;
        }
    }
    return 0;
}

static void add_cte(struct hd_facts_builder *b, const char *name)
{
    struct hd_fact_cte *c = hd_facts_alloc(b, sizeof(*c));

    if (!c)
        return;
    c->name = name;
    c->next = b->q->ctes;
    b->q->ctes = c;
}

/* Names of a WITH RECURSIVE are known in all its queries, else only behind their own. */
static void walk_with(struct hd_facts_builder *b, const PgQuery__WithClause *with)
{
    if (!with)
        return;
    for (size_t i = 0; with->recursive && i < with->n_ctes; i++)
        add_cte(b, with->ctes[i]->common_table_expr->ctename);
    for (size_t i = 0; i < with->n_ctes; i++) {
        const PgQuery__CommonTableExpr *cte = with->ctes[i]->common_table_expr;
        struct hd_fact_query scope;

        b->st.n_ctes++;
        hide(b, &scope);
        hd_facts_walk(b, cte->ctequery);
        leave(b);
        if (!with->recursive)
            add_cte(b, cte->ctename);
    }
}

static void add_from(struct hd_facts_builder *b, const char *schema, const char *name, int32_t table)
{
    struct hd_fact_from *f;

    if (!b->q)
        return;
    b->q->n_from++;
    f = hd_facts_alloc(b, sizeof(*f));
    if (!f)
        return;
    *f = (struct hd_fact_from){b->q->from, schema, name, table};
    b->q->from = f;
}

int32_t hd_facts_add_table(struct hd_facts_builder *b, const PgQuery__RangeVar *rv, uint32_t access)
{
    struct hd_fact_table *t = hd_facts_push(b, &b->tables);
    const char *schema = rv->schemaname;

    if (!t)
        return -1;
    t->schema = hd_facts_copy(b, schema);
    t->name = hd_facts_copy(b, rv->relname);
    t->alias = rv->alias ? hd_facts_copy(b, rv->alias->aliasname) : NULL;
    t->access = access;
    t->query = b->q ? b->q->id : 0;
    t->location = rv->location;
    t->only = !rv->inh;
    if (access & HD_ACCESS_READ)
        b->st.flags |= HD_FACT_READS;
    if (access & HD_ACCESS_WRITE)
        b->st.flags |= HD_FACT_WRITES;
    if ((access & HD_ACCESS_WRITE) && t->name && strcmp(t->name, "pg_settings") == 0)
        b->st.flags |= HD_FACT_SESSION | HD_FACT_SET_CONFIG | HD_FACT_SET_UNNAMED; /* a SET in disguise */
    if ((rv->relpersistence && rv->relpersistence[0] == 't') ||
        (schema && (strcmp(schema, "pg_temp") == 0 || strncmp(schema, "pg_temp_", 8) == 0)))
        b->st.flags |= HD_FACT_TEMP;
    return (int32_t)(b->tables.n - 1);
}

/* Notes a table that the current query may name columns of. */
static int32_t add_target(struct hd_facts_builder *b, const PgQuery__RangeVar *rv, uint32_t access)
{
    int32_t table = hd_facts_add_table(b, rv, access);

    if (!rv->alias)
        add_from(b, rv->schemaname, rv->relname, table);
    else if (rv->alias->n_colnames > 0)
        add_from(b, NULL, rv->alias->aliasname, -1); /* its columns go by other names */
    else
        add_from(b, NULL, rv->alias->aliasname, table);
    return table;
}

static void on_range_var(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__RangeVar *rv = message;

    (void)conjunctive;
    if (b->access == HD_ACCESS_READ && (!rv->schemaname || !*rv->schemaname) && is_cte(b, rv->relname))
        add_from(b, NULL, rv->alias ? rv->alias->aliasname : rv->relname, -1);
    else
        add_target(b, rv, b->access);
}

static void on_range_subselect(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__RangeSubselect *r = message;
    struct hd_fact_query scope;

    (void)conjunctive;
    b->st.n_subselects++;
    if (b->q && !r->lateral) {
        hide(b, &scope);
        hd_facts_walk(b, r->subquery);
        leave(b);
    } else
        hd_facts_walk(b, r->subquery);
    add_from(b, NULL, r->alias ? r->alias->aliasname : "", -1);
}

static void on_range_function(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__RangeFunction *r = message;

    (void)conjunctive;
    hd_facts_walk_nodes(b, r->functions, r->n_functions);
    hd_facts_walk_nodes(b, r->coldeflist, r->n_coldeflist);
    add_from(b, NULL, r->alias ? r->alias->aliasname : "", -1);
}

static void on_range_table_func(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__RangeTableFunc *r = message;

    (void)conjunctive;
    hd_facts_walk(b, r->docexpr);
    hd_facts_walk(b, r->rowexpr);
    hd_facts_walk_nodes(b, r->namespaces, r->n_namespaces);
    hd_facts_walk_nodes(b, r->columns, r->n_columns);
    add_from(b, NULL, r->alias ? r->alias->aliasname : "", -1);
}

/* The ON of an inner join that no outer join makes optional restricts the query's rows like its WHERE. */
static void on_join(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__JoinExpr *j = message;
    uint8_t inner = b->q ? b->q->inner : 0;
    int left_inner =
        j->jointype == PG_QUERY__JOIN_TYPE__JOIN_INNER || j->jointype == PG_QUERY__JOIN_TYPE__JOIN_LEFT;
    int right_inner =
        j->jointype == PG_QUERY__JOIN_TYPE__JOIN_INNER || j->jointype == PG_QUERY__JOIN_TYPE__JOIN_RIGHT;

    (void)conjunctive;
    b->st.n_joins++;
    if (b->q)
        b->q->inner = inner && left_inner;
    hd_facts_walk(b, j->larg);
    if (b->q)
        b->q->inner = inner && right_inner;
    hd_facts_walk(b, j->rarg);
    if (b->q)
        b->q->inner = inner;
    walk_condition(b, j->quals, inner && left_inner && right_inner);
}

static void walk_from(struct hd_facts_builder *b, PgQuery__Node *const *from, size_t n)
{
    hd_facts_walk_nodes(b, from, n);
    if (n > 1)
        b->st.n_joins += (uint32_t)n - 1;
}

/* --- expressions --- */

static void on_bool(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__BoolExpr *e = message;
    int below = conjunctive && e->boolop == PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR;

    for (size_t i = 0; i < e->n_args; i++)
        walk_condition(b, e->args[i], below);
}

static void on_sublink(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__SubLink *s = message;

    (void)conjunctive;
    b->st.n_subselects++;
    if (s->n_oper_name > 0)
        hd_facts_add_operator(b, s->oper_name, s->n_oper_name);
    hd_facts_walk(b, s->testexpr);
    hd_facts_walk(b, s->subselect);
}

/* --- what stands in FROM and ORDER BY --- */

/* ORDER BY … USING. */
static void on_sort(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__SortBy *s = message;

    (void)conjunctive;
    if (s->n_use_op > 0)
        hd_facts_add_operator(b, s->use_op, s->n_use_op);
    hd_facts_walk(b, s->node);
}

/* TABLESAMPLE: other rows each time. */
static void on_sample(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__RangeTableSample *s = message;

    (void)conjunctive;
    b->st.flags |= HD_FACT_VOLATILE;
    hd_facts_walk(b, s->relation);
    hd_facts_walk_nodes(b, s->args, s->n_args);
    hd_facts_walk(b, s->repeatable);
}

/* --- SELECT --- */

static void add_output(struct hd_facts_builder *b, const PgQuery__ResTarget *target)
{
    struct hd_fact_output *o = hd_facts_push(b, &b->outputs);
    struct hd_fact_column c;

    if (!o)
        return;
    o->table = o->function = -1;
    o->name = hd_facts_copy(b, target->name);
    if (hd_facts_is_column(target->val)) {
        c = hd_facts_resolve(b, target->val->column_ref);
        o->table = c.table;
        o->column = hd_facts_copy(b, c.name);
        if (c.known)
            o->kind = c.name ? HD_OUTPUT_COLUMN : HD_OUTPUT_STAR;
    } else if (target->val && target->val->node_case == PG_QUERY__NODE__NODE_FUNC_CALL) {
        o->kind = HD_OUTPUT_FUNCTION;
        o->function = (int32_t)b->functions.n; /* walked next */
    }
}

static void walk_outputs(struct hd_facts_builder *b, PgQuery__Node *const *list, size_t n)
{
    int outermost = b->q->top && !b->outputs_done;

    for (size_t i = 0; i < n; i++) {
        if (outermost && list[i]->node_case == PG_QUERY__NODE__NODE_RES_TARGET)
            add_output(b, list[i]->res_target);
        hd_facts_walk(b, list[i]);
    }
    if (outermost)
        b->outputs_done = 1;
}

static void lock_tables(struct hd_facts_builder *b, const PgQuery__LockingClause *lock)
{
    struct hd_fact_table *tables = (struct hd_fact_table *)b->tables.items;

    b->st.flags |= HD_FACT_LOCKS;
    for (const struct hd_fact_from *f = b->q->from; f; f = f->next) {
        int named = lock->n_locked_rels == 0;

        for (size_t i = 0; i < lock->n_locked_rels; i++)
            named |= lock->locked_rels[i]->node_case == PG_QUERY__NODE__NODE_RANGE_VAR &&
                     strcmp(lock->locked_rels[i]->range_var->relname, f->name) == 0;
        if (named && f->table >= 0)
            tables[f->table].access |= HD_ACCESS_LOCK;
    }
}

static uint32_t select_options(const PgQuery__SelectStmt *s)
{
    uint32_t o = 0;

    o |= s->where_clause ? HD_OPTION_WHERE : 0;
    o |= s->limit_count || s->limit_offset ? HD_OPTION_LIMIT : 0;
    o |= s->n_group_clause ? HD_OPTION_GROUP : 0;
    o |= s->having_clause ? HD_OPTION_HAVING : 0;
    o |= s->n_distinct_clause ? HD_OPTION_DISTINCT : 0;
    o |= s->n_sort_clause ? HD_OPTION_ORDER : 0;
    return o;
}

static void walk_select_body(struct hd_facts_builder *b, const PgQuery__SelectStmt *s)
{
    walk_from(b, s->from_clause, s->n_from_clause);
    walk_condition(b, s->where_clause, 1);
    walk_outputs(b, s->target_list, s->n_target_list);
    hd_facts_walk_nodes(b, s->distinct_clause, s->n_distinct_clause);
    hd_facts_walk_nodes(b, s->group_clause, s->n_group_clause);
    hd_facts_walk(b, s->having_clause);
    hd_facts_walk_nodes(b, s->window_clause, s->n_window_clause);
    hd_facts_walk_nodes(b, s->values_lists, s->n_values_lists);
    hd_facts_walk_nodes(b, s->sort_clause, s->n_sort_clause);
    hd_facts_walk(b, s->limit_offset);
    hd_facts_walk(b, s->limit_count);
}

/* A set operation's arms are queries of their own, as much the outermost as it is itself. */
static void walk_select(struct hd_facts_builder *b, const PgQuery__SelectStmt *s, struct hd_fact_query *sees,
                        int top)
{
    struct hd_fact_query q;

    if (!s)
        return;
    enter(b, &q, sees, top);
    if (top)
        b->st.options |= select_options(s);
    walk_with(b, s->with_clause);
    if (s->larg || s->rarg)
        b->st.n_setops++;
    walk_select(b, s->larg, sees, top);
    walk_select(b, s->rarg, sees, top);
    walk_select_body(b, s);
    for (size_t i = 0; i < s->n_locking_clause; i++)
        lock_tables(b, s->locking_clause[i]->locking_clause);
    if (s->into_clause && s->into_clause->rel) {
        note_within(b, HD_STATEMENT_DDL);
        b->st.flags |= HD_FACT_DEFINES;
        (void)hd_facts_add_table(b, s->into_clause->rel, HD_ACCESS_DEFINE | HD_ACCESS_WRITE);
    }
    leave(b);
}

static void on_select(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    (void)conjunctive;
    walk_select(b, message, b->q, b->q == NULL);
}

/* --- INSERT, UPDATE, DELETE, MERGE --- */

static void add_columns(struct hd_facts_builder *b, PgQuery__Node *const *list, size_t n)
{
    for (size_t i = 0; b->q->top && i < n; i++) {
        const char *name =
            list[i]->node_case == PG_QUERY__NODE__NODE_RES_TARGET ? list[i]->res_target->name : NULL;
        const char **slot = hd_facts_push(b, &b->columns);

        if (slot)
            *slot = hd_facts_copy(b, name);
        if (name && list[i]->res_target->n_indirection)
            b->st.options |= HD_OPTION_INDIRECT;
    }
}

static void push_row(struct hd_facts_builder *b, uint32_t first)
{
    struct hd_range *slot = hd_facts_push(b, &b->rows);

    if (slot)
        *slot = (struct hd_range){first, b->values.n - first};
}

/* The values of each row of an outermost INSERT … VALUES. */
static void add_rows(struct hd_facts_builder *b, const PgQuery__SelectStmt *s)
{
    for (size_t i = 0; b->q->top && i < s->n_values_lists; i++) {
        const PgQuery__Node *row = s->values_lists[i];
        uint32_t first = b->values.n;

        if (row->node_case != PG_QUERY__NODE__NODE_LIST)
            return;
        for (size_t k = 0; k < row->list->n_items; k++)
            hd_facts_push_value(b, row->list->items[k]);
        if (row->list->n_items != s->values_lists[0]->list->n_items)
            b->st.options |= HD_OPTION_UNEVEN;
        push_row(b, first);
    }
}

/* The values of SET, one for each column; those of (a, b) = … are expressions. */
static void add_set_values(struct hd_facts_builder *b, PgQuery__Node *const *list, size_t n)
{
    for (size_t i = 0; b->q->top && i < n; i++)
        hd_facts_push_value(
            b, list[i]->node_case == PG_QUERY__NODE__NODE_RES_TARGET ? list[i]->res_target->val : NULL);
}

static void walk_returning(struct hd_facts_builder *b, PgQuery__Node *const *list, size_t n)
{
    if (n > 0 && b->q->top)
        b->st.options |= HD_OPTION_RETURNING;
    walk_outputs(b, list, n);
}

/* The column that a conflict is looked for in, where it is one, plain and under no condition. */
static const char *conflict_key(const PgQuery__InferClause *infer)
{
    const PgQuery__IndexElem *e;

    if (!infer || infer->where_clause || infer->n_index_elems != 1 ||
        infer->index_elems[0]->node_case != PG_QUERY__NODE__NODE_INDEX_ELEM)
        return NULL;
    e = infer->index_elems[0]->index_elem;
    return e->expr || e->n_collation || e->n_opclass ? NULL : e->name;
}

static void note_conflict(struct hd_facts_builder *b, const PgQuery__OnConflictClause *c)
{
    struct hd_fact_statement *st = &b->st;

    st->options |= HD_OPTION_CONFLICT;
    st->conflict_key = hd_facts_copy(b, conflict_key(c->infer));
    if (c->action != PG_QUERY__ON_CONFLICT_ACTION__ONCONFLICT_UPDATE)
        return;
    st->options |= HD_OPTION_CONFLICT_UPDATE;
    st->conflict_columns.first = b->columns.n;
    st->conflict_values.first = b->values.n;
    add_columns(b, c->target_list, c->n_target_list);
    add_set_values(b, c->target_list, c->n_target_list);
    st->conflict_columns.n = b->columns.n - st->conflict_columns.first;
    st->conflict_values.n = b->values.n - st->conflict_values.first;
}

static void walk_conflict(struct hd_facts_builder *b, const PgQuery__OnConflictClause *c)
{
    if (!c)
        return;
    if (b->q->top)
        note_conflict(b, c);
    hd_facts_walk(b, c->infer);
    hd_facts_walk_nodes(b, c->target_list, c->n_target_list);
    hd_facts_walk(b, c->where_clause);
}

static void on_insert(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__InsertStmt *s = message;
    struct hd_fact_query q;

    (void)conjunctive;
    note_within(b, HD_STATEMENT_INSERT);
    enter(b, &q, NULL, b->q == NULL);
    b->st.flags |= HD_FACT_MAY_SEQUENCE | HD_FACT_WRITES;
    if (b->q->top && s->override == PG_QUERY__OVERRIDING_KIND__OVERRIDING_USER_VALUE)
        b->st.options |= HD_OPTION_USER_VALUE;
    walk_with(b, s->with_clause);
    add_columns(b, s->cols, s->n_cols);
    if (s->select_stmt && s->select_stmt->node_case == PG_QUERY__NODE__NODE_SELECT_STMT)
        add_rows(b, s->select_stmt->select_stmt);
    hd_facts_walk(b, s->select_stmt); /* before the target: it does not see that */
    (void)add_target(b, s->relation, HD_ACCESS_WRITE);
    hd_facts_walk_nodes(b, s->cols, s->n_cols);
    walk_conflict(b, s->on_conflict_clause);
    walk_returning(b, s->returning_list, s->n_returning_list);
    leave(b);
}

static void note_where(struct hd_facts_builder *b, const PgQuery__Node *where)
{
    if (!where)
        b->st.flags |= HD_FACT_NO_WHERE;
    else if (b->q->top)
        b->st.options |= HD_OPTION_WHERE;
}

static void on_update(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__UpdateStmt *s = message;
    struct hd_fact_query q;
    uint32_t values;

    (void)conjunctive;
    note_within(b, HD_STATEMENT_UPDATE);
    enter(b, &q, NULL, b->q == NULL);
    note_where(b, s->where_clause);
    walk_with(b, s->with_clause);
    (void)add_target(b, s->relation, HD_ACCESS_READ | HD_ACCESS_WRITE);
    walk_from(b, s->from_clause, s->n_from_clause);
    values = b->values.n; /* behind those of the comparisons so far */
    add_columns(b, s->target_list, s->n_target_list);
    add_set_values(b, s->target_list, s->n_target_list);
    if (b->q->top)
        push_row(b, values);
    walk_condition(b, s->where_clause, 1);
    hd_facts_walk_nodes(b, s->target_list, s->n_target_list);
    walk_returning(b, s->returning_list, s->n_returning_list);
    leave(b);
}

static void on_delete(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__DeleteStmt *s = message;
    struct hd_fact_query q;

    (void)conjunctive;
    note_within(b, HD_STATEMENT_DELETE);
    enter(b, &q, NULL, b->q == NULL);
    note_where(b, s->where_clause);
    walk_with(b, s->with_clause);
    (void)add_target(b, s->relation, HD_ACCESS_READ | HD_ACCESS_WRITE);
    walk_from(b, s->using_clause, s->n_using_clause);
    walk_condition(b, s->where_clause, 1);
    walk_returning(b, s->returning_list, s->n_returning_list);
    leave(b);
}

static void on_merge(struct hd_facts_builder *b, const void *message, int conjunctive)
{
    const PgQuery__MergeStmt *s = message;
    struct hd_fact_query q;

    (void)conjunctive;
    note_within(b, HD_STATEMENT_MERGE);
    enter(b, &q, NULL, b->q == NULL);
    b->st.flags |= HD_FACT_MAY_SEQUENCE;
    walk_with(b, s->with_clause);
    (void)add_target(b, s->relation, HD_ACCESS_READ | HD_ACCESS_WRITE);
    hd_facts_walk(b, s->source_relation);
    hd_facts_walk(b, s->join_condition);
    hd_facts_walk_nodes(b, s->merge_when_clauses, s->n_merge_when_clauses);
    leave(b);
}

/* --- the walk --- */

static const struct {
    const ProtobufCMessageDescriptor *of;
    handler call;
} handlers[] = {
    {&pg_query__column_ref__descriptor, NULL}, /* a leaf */
    {&pg_query__a__const__descriptor, NULL},
    {&pg_query__a__expr__descriptor, hd_facts_on_expression},
    {&pg_query__func_call__descriptor, hd_facts_on_function},
    {&pg_query__type_name__descriptor, hd_facts_on_type},
    {&pg_query__type_cast__descriptor, hd_facts_on_cast},
    {&pg_query__range_var__descriptor, on_range_var},
    {&pg_query__bool_expr__descriptor, on_bool},
    {&pg_query__null_test__descriptor, hd_facts_on_null_test},
    {&pg_query__sub_link__descriptor, on_sublink},
    {&pg_query__select_stmt__descriptor, on_select},
    {&pg_query__join_expr__descriptor, on_join},
    {&pg_query__range_subselect__descriptor, on_range_subselect},
    {&pg_query__range_function__descriptor, on_range_function},
    {&pg_query__range_table_func__descriptor, on_range_table_func},
    {&pg_query__range_table_sample__descriptor, on_sample},
    {&pg_query__sort_by__descriptor, on_sort},
    {&pg_query__sqlvalue_function__descriptor, hd_facts_on_value_function},
    {&pg_query__insert_stmt__descriptor, on_insert},
    {&pg_query__update_stmt__descriptor, on_update},
    {&pg_query__delete_stmt__descriptor, on_delete},
    {&pg_query__merge_stmt__descriptor, on_merge},
};

/* The messages in one field of `m`. */
static void walk_field(struct hd_facts_builder *b, const char *m, const ProtobufCFieldDescriptor *f)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = *(const size_t *)(m + f->quantifier_offset);
        void *const *items = *(void *const *const *)(m + f->offset);

        for (size_t i = 0; i < n; i++)
            hd_facts_walk(b, items[i]);
        return;
    }
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(const uint32_t *)(m + f->quantifier_offset) != f->id)
        return;
    hd_facts_walk(b, *(void *const *)(m + f->offset));
}

static void walk_children(struct hd_facts_builder *b, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;

    for (unsigned i = 0; i < d->n_fields; i++)
        walk_field(b, (const char *)m, &d->fields[i]);
}

static void visit(struct hd_facts_builder *b, const ProtobufCMessage *m, int conjunctive)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(handlers); i++) {
        if (m->descriptor == handlers[i].of) {
            if (handlers[i].call)
                handlers[i].call(b, m, conjunctive);
            return;
        }
    }
    walk_children(b, m);
}

void hd_facts_walk(struct hd_facts_builder *b, const void *message)
{
    const ProtobufCMessage *m = message;
    int conjunctive = b->conjunctive;

    if (m && m->descriptor == &pg_query__node__descriptor)
        m = hd_facts_unwrap(message);
    b->conjunctive = 0;
    if (!m || b->no_memory || b->full)
        return;
    if (b->depth == MAX_DEPTH) {
        b->full = 1;
        return;
    }
    b->depth++;
    visit(b, m, conjunctive);
    b->depth--;
}
