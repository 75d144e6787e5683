/*
 * Facts as one line of text, so that tests can compare them: flags, then each statement, table, comparison, …
 * Literals show as L0, L1 … by their number.
 */
#ifndef HD_TESTS_SQL_DUMP_H
#define HD_TESTS_SQL_DUMP_H

#include "base/strbuf.h"
#include "sql/facts.h"

static inline void sql_dump_bits(struct hd_strbuf *o, uint64_t bits, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i] && (bits >> i & 1))
            hd_strbuf_printf(o, " %s", names[i]);
    }
}

/* LIMIT, AGGREGATE and their kin show among the options. */
static inline void sql_dump_flags(struct hd_strbuf *o, uint64_t flags)
{
    static const char *const names[64] = {"READS",
                                          "WRITES",
                                          "DEFINES",
                                          "LOCKS",
                                          "SESSION",
                                          "TXN",
                                          "TEMP",
                                          "VOLATILE",
                                          "STABLE",
                                          "UNSURE_FUNCTION",
                                          "ADVISORY",
                                          "SEQUENCE",
                                          "LASTVAL",
                                          "SET_CONFIG",
                                          "MULTI",
                                          "UNSURE",
                                          [24] = "NO_WHERE",
                                          [40] = "SYNTAX",
                                          [41] = "PRIVILEGE",
                                          [42] = "FUNCTION",
                                          [43] = "MAY_SEQUENCE",
                                          [44] = "SESSION_READ",
                                          [45] = "SERVER_FILE",
                                          [46] = "STREAM",
                                          [47] = "SET_UNNAMED",
                                          [48] = "SEED"};

    sql_dump_bits(o, flags, names, HD_ARRAY_LEN(names));
}

static inline void sql_dump_options(struct hd_strbuf *o, uint32_t options)
{
    static const char *const names[] = {
        "local",     "all",       "hold",       "analyze",    "default",
        "chain",     "read_only", "read_write", "repeatable", "characteristics",
        "plans",     "sequences", "temp",       "?",          "?",
        "?",         "where",     "limit",      "group",      "having",
        "aggregate", "distinct",  "window",     "order",      "returning",
        "conflict",  "do_update", "user_value", "indirect",   "uneven"};

    sql_dump_bits(o, options, names, HD_ARRAY_LEN(names));
}

static inline void sql_dump_statement(struct hd_strbuf *o, const struct hd_fact_statement *s)
{
    static const char *const verbs[] = {"", "create ", "alter ", "drop "};

    hd_strbuf_printf(o, " | %s", hd_statement_name((enum hd_statement_kind)s->kind));
    if (s->inner)
        hd_strbuf_printf(o, "/%s", hd_statement_name((enum hd_statement_kind)s->inner));
    if (s->verb || s->object)
        hd_strbuf_printf(o, " [%s%s]", verbs[s->verb], s->object ? s->object : "?");
    if (s->name)
        hd_strbuf_printf(o, " '%s'", s->name);
    sql_dump_options(o, s->options);
    if (s->n_joins + s->n_subselects + s->n_ctes + s->n_setops)
        hd_strbuf_printf(o, " j%u s%u c%u u%u", s->n_joins, s->n_subselects, s->n_ctes, s->n_setops);
    if (s->n_values)
        hd_strbuf_printf(o, " =%u", s->n_values);
    if (s->literal >= 0)
        hd_strbuf_printf(o, " L%d", s->literal);
    if (s->word)
        hd_strbuf_printf(o, " %s", s->word);
    if (s->conflict_key)
        hd_strbuf_printf(o, " (%s)", s->conflict_key);
}

static inline void sql_dump_value(struct hd_strbuf *o, const struct hd_fact_value *v)
{
    switch ((enum hd_value_kind)v->kind) {
    case HD_VALUE_OTHER:
        hd_strbuf_puts(o, " ?");
        break;
    case HD_VALUE_PARAM:
        hd_strbuf_printf(o, " $%u", v->index);
        break;
    case HD_VALUE_LITERAL:
        hd_strbuf_printf(o, " %sL%u", v->negative ? "-" : "", v->index);
        break;
    case HD_VALUE_NULL:
        hd_strbuf_puts(o, " null");
        break;
    case HD_VALUE_BOOL:
        hd_strbuf_puts(o, v->index ? " true" : " false");
        break;
    case HD_VALUE_DEFAULT:
        hd_strbuf_puts(o, " default");
        break;
    case HD_VALUE_COLUMN:
        hd_strbuf_printf(o, " %d.%s", (int)v->index, v->text);
        break;
    }
    if (v->cast)
        hd_strbuf_printf(o, "::%s", v->cast);
}

static inline void sql_dump_values(struct hd_strbuf *o, const struct hd_facts *f, struct hd_range r)
{
    for (uint32_t i = 0; i < r.n; i++)
        sql_dump_value(o, &f->values[r.first + i]);
}

static inline void sql_dump_comparison(struct hd_strbuf *o, const struct hd_facts *f,
                                       const struct hd_fact_comparison *c)
{
    static const char *const ops[] = {
        "?",        "=",    "<>",    "<",   "<=",      ">",        ">=",       "in",        "!in", "between",
        "!between", "like", "!like", "any", "is null", "not null", "distinct", "!distinct", "op"};

    hd_strbuf_printf(o, " %c %d.%s %s", c->conjunctive ? '&' : '~', c->table, c->column, ops[c->op]);
    sql_dump_values(o, f, c->values);
    if (c->query)
        hd_strbuf_printf(o, " q%u", c->query);
}

static inline void sql_dump_outputs(struct hd_strbuf *o, const struct hd_facts *f)
{
    for (uint32_t i = 0; i < f->n_outputs; i++) {
        const struct hd_fact_output *out = &f->outputs[i];

        if (out->kind == HD_OUTPUT_FUNCTION)
            hd_strbuf_printf(o, " f%d", out->function);
        else if (out->kind == HD_OUTPUT_OTHER)
            hd_strbuf_puts(o, " ?");
        else
            hd_strbuf_printf(o, " %d.%s", out->table, out->column ? out->column : "*");
        if (out->name)
            hd_strbuf_printf(o, "=%s", out->name);
    }
}

static inline void sql_dump_tables(struct hd_strbuf *o, const struct hd_facts *f)
{
    for (uint32_t i = 0; i < f->n_tables; i++) {
        const struct hd_fact_table *t = &f->tables[i];

        hd_strbuf_printf(o, " %s%s%s%s%s", t->only ? "only:" : "", t->schema ? t->schema : "",
                         t->schema ? "." : "", t->name, t->alias ? "=" : "");
        hd_strbuf_printf(o, "%s:%s%s%s%s", t->alias ? t->alias : "", t->access & HD_ACCESS_READ ? "r" : "",
                         t->access & HD_ACCESS_WRITE ? "w" : "", t->access & HD_ACCESS_LOCK ? "l" : "",
                         t->access & HD_ACCESS_DEFINE ? "d" : "");
        if (t->query)
            hd_strbuf_printf(o, "q%u", t->query);
    }
}

static inline void sql_dump_functions(struct hd_strbuf *o, const struct hd_facts *f)
{
    static const char *const volatilities[] = {"?", "i", "s", "v"};

    for (uint32_t i = 0; i < f->n_functions; i++) {
        const struct hd_fact_function *fn = &f->functions[i];

        hd_strbuf_printf(o, " %s%s%s/%u%s", fn->schema ? fn->schema : "", fn->schema ? "." : "",
                         fn->name ? fn->name : "?", fn->n_args, volatilities[fn->volatility]);
        hd_strbuf_puts(o, fn->aggregate ? "+agg" : "");
        hd_strbuf_puts(o, fn->window ? "+over" : "");
    }
}

static inline void sql_dump(struct hd_strbuf *o, const struct hd_facts *f)
{
    sql_dump_flags(o, f->flags);
    if (f->error)
        hd_strbuf_printf(o, " error:%s@%u", f->error, f->error_at);
    for (uint32_t i = 0; i < f->n_statements; i++)
        sql_dump_statement(o, &f->statements[i]);
    if (f->n_tables)
        hd_strbuf_puts(o, " | T");
    sql_dump_tables(o, f);
    if (f->n_comparisons)
        hd_strbuf_puts(o, " | C");
    for (uint32_t i = 0; i < f->n_comparisons; i++)
        sql_dump_comparison(o, f, &f->comparisons[i]);
    if (f->n_functions)
        hd_strbuf_puts(o, " | F");
    sql_dump_functions(o, f);
    if (f->n_outputs)
        hd_strbuf_puts(o, " | O");
    sql_dump_outputs(o, f);
    for (uint32_t i = 0; i < f->n_columns; i++)
        hd_strbuf_printf(o, "%s %s", i ? "" : " | W", f->columns[i] ? f->columns[i] : "?");
    for (uint32_t i = 0; i < f->n_rows; i++) {
        hd_strbuf_puts(o, " | V");
        sql_dump_values(o, f, f->rows[i]);
    }
    for (uint32_t i = 0; i < f->n_statements; i++) {
        if (f->statements[i].conflict_values.n)
            hd_strbuf_puts(o, " | U");
        sql_dump_values(o, f, f->statements[i].conflict_values);
    }
    for (uint32_t i = 0; i < f->n_types; i++)
        hd_strbuf_printf(o, "%s %s", i ? "" : " | Y", f->types[i].name ? f->types[i].name : "?");
}

#endif
