/*
 * The builder of facts, shared by its parts: facts.c (parsing, collecting), facts_statement.c (what kind a
 * statement is), facts_walk.c (queries), facts_compare.c and facts_names.c (expressions). Private to them.
 */
#ifndef HD_SQL_FACTS_BUILD_H
#define HD_SQL_FACTS_BUILD_H

#include "sql/facts.h"

#include <pg_query/pg_query.pb-c.h>

/* Items of one kind while their number is unknown. */
struct hd_fact_vec {
    char *items;
    uint32_t n, cap;
    size_t size;
};

/* One entry of a FROM. */
struct hd_fact_from {
    struct hd_fact_from *next;
    const char *schema; /* of a table without alias */
    const char *name;   /* what columns are qualified with */
    int32_t table;      /* -1: a CTE, sub-select or function */
};

struct hd_fact_cte {
    struct hd_fact_cte *next;
    const char *name;
};

/* One query while it is walked. */
struct hd_fact_query {
    struct hd_fact_query *outer; /* where CTEs are looked up */
    struct hd_fact_query *sees;  /* whose columns it may name beside its own; NULL: nobody's */
    struct hd_fact_from *from;
    struct hd_fact_cte *ctes;
    uint32_t id, n_from;
    uint32_t access; /* the builder's, outside */
    uint8_t top;     /* the outermost, or an arm of it */
    uint8_t inner;   /* no outer join is above what is walked */
};

struct hd_facts_builder {
    const char *sql;
    const struct hd_scan *scan;
    struct hd_arena arena;
    struct hd_fact_vec statements, tables, comparisons, functions, outputs, columns, types, rows, values,
        operators;
    struct hd_fact_statement st; /* the one that is walked */
    struct hd_fact_query *q;
    uint32_t access; /* what a table's mention means where nobody says otherwise */
    uint32_t n_queries, depth;
    uint8_t conjunctive; /* what is walked next is AND-ed into its query's condition */
    uint8_t outputs_done;
    uint8_t no_memory;
    uint8_t full; /* a bound was reached */
};

/* A zeroed new item, or NULL where there is no room; the builder remembers why. */
void *hd_facts_push(struct hd_facts_builder *b, struct hd_fact_vec *v);
/* A copy that lives as long as the facts; NULL for NULL and "". */
const char *hd_facts_copy(struct hd_facts_builder *b, const char *s);
void *hd_facts_alloc(struct hd_facts_builder *b, size_t size);

/* facts_walk.c: everything below a message; NULL is fine. */
void hd_facts_walk(struct hd_facts_builder *b, const void *message);
void hd_facts_walk_nodes(struct hd_facts_builder *b, PgQuery__Node *const *nodes, size_t n);
/* Notes a table; returns its index, or -1. */
int32_t hd_facts_add_table(struct hd_facts_builder *b, const PgQuery__RangeVar *rv, uint32_t access);

/* facts_compare.c: columns, values, comparisons. facts_names.c: functions, types. */
struct hd_fact_column {
    int32_t table;    /* -1: unknown, or no table's */
    const char *name; /* NULL: a star */
    int known;        /* is it a plain column or star at all */
};

struct hd_fact_column hd_facts_resolve(const struct hd_facts_builder *b, const PgQuery__ColumnRef *ref);
/* What the value is: a parameter, a literal, … */
struct hd_fact_value hd_facts_value(struct hd_facts_builder *b, const PgQuery__Node *node);
void hd_facts_push_value(struct hd_facts_builder *b, const PgQuery__Node *node);
/* Notes an operator by its qualified name. */
void hd_facts_add_operator(struct hd_facts_builder *b, PgQuery__Node *const *name, size_t n);
/* Handlers of the walk. */
void hd_facts_on_function(struct hd_facts_builder *b, const void *message, int conjunctive);
void hd_facts_on_value_function(struct hd_facts_builder *b, const void *message, int conjunctive);
void hd_facts_on_type(struct hd_facts_builder *b, const void *message, int conjunctive);
void hd_facts_on_cast(struct hd_facts_builder *b, const void *message, int conjunctive);
void hd_facts_on_expression(struct hd_facts_builder *b, const void *message, int conjunctive);
void hd_facts_on_null_test(struct hd_facts_builder *b, const void *message, int conjunctive);

/* facts_statement.c: fills b->st. */
void hd_facts_statement(struct hd_facts_builder *b, const PgQuery__Node *node);

/* The message inside a node; NULL where there is none. */
static inline const void *hd_facts_unwrap(const PgQuery__Node *n)
{
    return n && n->node_case != PG_QUERY__NODE__NODE__NOT_SET ? (const void *)n->alias : NULL;
}

static inline int hd_facts_is_column(const PgQuery__Node *n)
{
    return n && n->node_case == PG_QUERY__NODE__NODE_COLUMN_REF;
}

/* The text of a String node; NULL for all else. */
static inline const char *hd_facts_string(const PgQuery__Node *n)
{
    return n && n->node_case == PG_QUERY__NODE__NODE_STRING ? n->string->sval : NULL;
}

/* The last of a qualified name's parts. */
static inline const char *hd_facts_last_name(PgQuery__Node *const *names, size_t n)
{
    return n > 0 ? hd_facts_string(names[n - 1]) : NULL;
}

#endif
