/*
 * Fuzzes the facts: whatever the text, their ranges stay inside their arrays; and a text that differs only in
 * literals outside the key has the same facts.
 */
#include "../unit/sql_dump.h"
#include "sql/facts.h"
#include "sql/scan.h"

#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_TEXT 4096

static void inside(struct hd_range r, uint32_t n)
{
    HD_CHECK(r.first <= n && r.n <= n - r.first);
}

static void check_statement(const struct hd_facts *f, const struct hd_fact_statement *s)
{
    inside(s->tables, f->n_tables);
    inside(s->comparisons, f->n_comparisons);
    inside(s->functions, f->n_functions);
    inside(s->outputs, f->n_outputs);
    inside(s->columns, f->n_columns);
    inside(s->types, f->n_types);
    inside(s->rows, f->n_rows);
    inside(s->conflict_columns, f->n_columns);
    inside(s->conflict_values, f->n_values);
    HD_CHECK(f->flags & HD_FACT_UNSURE || s->conflict_columns.n == s->conflict_values.n);
    HD_CHECK(s->kind < HD_STATEMENT_KINDS && s->inner < HD_STATEMENT_KINDS);
}

static void check_facts(const struct hd_facts *f, const struct hd_scan *scan)
{
    for (uint32_t i = 0; i < f->n_statements; i++)
        check_statement(f, &f->statements[i]);
    for (uint32_t i = 0; i < f->n_comparisons; i++) {
        inside(f->comparisons[i].values, f->n_values);
        HD_CHECK(f->comparisons[i].table < (int32_t)f->n_tables && f->comparisons[i].column);
    }
    for (uint32_t i = 0; i < f->n_rows; i++)
        inside(f->rows[i], f->n_values);
    for (uint32_t i = 0; i < f->n_values; i++)
        HD_CHECK(f->values[i].kind != HD_VALUE_LITERAL || f->values[i].index < scan->n_literals);
    for (uint32_t i = 0; i < f->n_outputs; i++)
        HD_CHECK(f->outputs[i].function < (int32_t)f->n_functions &&
                 f->outputs[i].table < (int32_t)f->n_tables);
}

/* The same text with every digit and letter of each literal outside the key changed, where that is harmless.
 */
static void change_literals(char *text, const struct hd_scan *scan)
{
    for (uint32_t i = 0; i < scan->n_literals; i++) {
        const struct hd_literal *lit = &scan->literals[i];
        char *p = text + lit->offset;

        if (lit->in_key || lit->kind == HD_LITERAL_UNICODE || lit->kind == HD_LITERAL_ESCAPE || *p == '$')
            continue;
        for (uint32_t k = 1; k < lit->len; k++) {
            if (p[k] >= '2' && p[k] <= '7' && lit->kind != HD_LITERAL_BITS && lit->kind != HD_LITERAL_INTEGER)
                p[k] ^= 1;
            else if (lit->kind == HD_LITERAL_STRING && p[k] >= 'a' && p[k] <= 'z')
                p[k] = (char)('a' + 'z' - p[k]);
        }
    }
}

static struct hd_facts *facts_of(const char *text, size_t len, struct hd_scan *scan)
{
    struct hd_facts *f;

    HD_CHECK(hd_scan_normalize(text, len, scan) == HD_OK);
    HD_CHECK(hd_facts_parse(text, len, scan, &f) == HD_OK);
    check_facts(f, scan);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_scan scan = HD_SCAN_INIT, other = HD_SCAN_INIT;
    struct hd_strbuf a = HD_STRBUF_INIT, b = HD_STRBUF_INIT;
    struct hd_facts *f, *g;
    char text[MAX_TEXT + 1];

    if (size > MAX_TEXT)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    f = facts_of(text, size, &scan);
    change_literals(text, &scan);
    g = facts_of(text, size, &other);
    if (!scan.flags && !(f->flags & HD_FACT_UNSURE)) {
        HD_CHECK(hd_hash128_eq(scan.key, other.key));
        sql_dump(&a, f);
        sql_dump(&b, g);
        HD_CHECK(strcmp(hd_strbuf_str(&a), hd_strbuf_str(&b)) == 0);
    }
    hd_facts_free(f);
    hd_facts_free(g);
    hd_strbuf_free(&a);
    hd_strbuf_free(&b);
    hd_scan_free(&scan);
    hd_scan_free(&other);
    return 0;
}
