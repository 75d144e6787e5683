/*
 * Plans as text: literals are masked wherever they stand, and the shape is another only where the server does
 * something else. And normalized texts as they can be prepared.
 */
#include "unit.h"
#include "monitor/explain_sql.h"
#include "monitor/plan_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *masked(const char *text, size_t max)
{
    struct hd_str lines[64];
    uint32_t n = 0;

    for (const char *end; (end = strchr(text, '\n')); text = end + 1)
        lines[n++] = (struct hd_str){text, (uint64_t)(end - text)};
    lines[n++] = (struct hd_str){text, strlen(text)};
    return mon_plan_mask(lines, n, max);
}

static void check(const char *text, const char *expected)
{
    char *got = masked(text, 4096);

    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    if (strcmp(got, expected) != 0)
        printf("# %s\n# %s\n", got, expected);
    CU_ASSERT_STRING_EQUAL(got, expected);
    free(got);
}

static void test_mask(void)
{
    check("Seq Scan on item1  (cost=0.00..35.50 rows=10 width=4)\n  Filter: (name = 'a ''quoted'' b'::text)",
          "Seq Scan on item1  (cost=0.00..35.50 rows=10 width=4)\n  Filter: (name = ?::text)");
    check("Index Cond: ((id = $12) AND (n > 17) AND (x < 1.5e-7) AND (b = B'101'))",
          "Index Cond: ((id = $12) AND (n > ?) AND (x < ?) AND (b = B?))");
    check("Filter: (\"it's 5\" = 'x' AND t2.c3 <> 4)", "Filter: (\"it's 5\" = ? AND t2.c3 <> ?)");
    check("Filter: (a = 'one\ntwo ''three''\nfour' AND b)", "Filter: (a = ? AND b)");
    check("InitPlan 1 (returns $0)\n  Workers Planned: 2\n  Filter: (hashed SubPlan 3)",
          "InitPlan 1 (returns $0)\n  Workers Planned: 2\n  Filter: (hashed SubPlan 3)");
    check("Filter: (x = 'never ended", "Filter: (x = ?");
    check("Seq Scan on \"never ended", "Seq Scan on \"never ended");
    check("Seq Scan  (cost=1", "Seq Scan  (cost=1");
    check("", "");
    check("'", "?");
    check("5", "?");
}

static void test_cut(void)
{
    char *got = masked("0123 Seq Scan on item", 10);

    CU_ASSERT_STRING_EQUAL(got, "? Seq Scan...");
    free(got);
    got = masked("Seq Scan on \xc3\xa4\xc3\xa4", 13); /* in the midst of a character */
    CU_ASSERT_STRING_EQUAL(got, "Seq Scan on ...");
    free(got);
}

static uint64_t shape(const char *text)
{
    char *m = masked(text, 4096);
    uint64_t s = mon_plan_shape(m);

    free(m);
    return s;
}

static void test_shape(void)
{
    const char *one = "Gather  (cost=1.00..2.00 rows=3 width=4)\n  Workers Planned: 2\n"
                      "  ->  Seq Scan on item  (cost=0.00..35.50 rows=10 width=4)\n        Filter: (id = 17)";

    CU_ASSERT_EQUAL(
        shape(one),
        shape("Gather  (cost=9.00..99.00 rows=7 width=40)\n  Workers Planned: 14\n  ->  Seq Scan on "
              "item  (cost=5.00..6.00 rows=1 width=4)\n        Filter: (id = 18)\nJIT:\n  Functions: 9"));
    CU_ASSERT_NOT_EQUAL(shape(one),
                        shape("Seq Scan on item  (cost=0.00..35.50 rows=10 width=4)\n  Filter: (id = 17)"));
    CU_ASSERT_NOT_EQUAL(shape("Seq Scan on a1"), shape("Seq Scan on a2"));
    CU_ASSERT_NOT_EQUAL(shape("Seq Scan on a\n  Filter: (b = $1)"),
                        shape("Seq Scan on a\n  Filter: (b = $2)"));
    CU_ASSERT_NOT_EQUAL(shape(""), 0);
}

static void test_difference(void)
{
    char out[200];

    mon_plan_difference(
        "Aggregate  (cost=1..2 rows=1 width=8)\n  ->  Index Scan using i on t  (cost=0..1 rows=1 width=0)",
        "Aggregate  (cost=3..9 rows=1 width=8)\n  ->  Seq Scan on t  (cost=0..1 rows=1 width=0)", out,
        sizeof(out));
    CU_ASSERT_STRING_EQUAL(out, "Index Scan using i on t -> Seq Scan on t");
    mon_plan_difference("Limit", "Limit\n  ->  Seq Scan on t", out, sizeof(out));
    CU_ASSERT_STRING_EQUAL(out, "nothing -> Seq Scan on t");
}

static void check_prepared(const char *text, const char *expected)
{
    char *got = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&got, &size);

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    mon_sql_prepared(f, text);
    fclose(f);
    CU_ASSERT_STRING_EQUAL(got, expected);
    free(got);
}

static void test_prepared(void)
{
    check_prepared("select now() - interval $1, date $2+$3", "select now() - $1::interval, $2::date+$3");
    check_prepared("select timestamp with time zone $12, interval $3 day",
                   "select $12::timestamp with time zone, $3::interval day");
    check_prepared("select x::interval, \"interval $1\", my_interval, interval",
                   "select x::interval, \"interval $1\", my_interval, interval");
    check_prepared("select \"a\"\"b\" from t where date = $1", "select \"a\"\"b\" from t where date = $1");
    check_prepared("", "");
}

static void test_columns(void)
{
    CU_ASSERT_TRUE(mon_sql_counts_columns("select a from t order by $1"));
    CU_ASSERT_TRUE(mon_sql_counts_columns("select a from t group by lower(a, $1), $2 having b"));
    CU_ASSERT_TRUE(mon_sql_counts_columns("select * from (select a from t order by a, $1 desc) x"));
    CU_ASSERT_FALSE(
        mon_sql_counts_columns("select a from t where by = $1 order by a, b + $2, f($3, $4) limit $5"));
    CU_ASSERT_FALSE(mon_sql_counts_columns("select a from t order by a) , $1"));
    CU_ASSERT_FALSE(mon_sql_counts_columns("select \"order by $1\" from t"));
    CU_ASSERT_FALSE(mon_sql_counts_columns("order by"));
}

UNIT_MAIN("monitor_plan_text", {"literals are masked, names and costs are not", test_mask},
          {"a long one is cut", test_cut}, {"the shape", test_shape},
          {"the first difference", test_difference}, {"literals behind a type", test_prepared},
          {"numbers of columns", test_columns})
