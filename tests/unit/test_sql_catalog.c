/*
 * What is asked of a server's catalogs about a text, and what the rows of the answer come to.
 */
#include "unit.h"

#include <howdah/error.h>
#include <stdio.h>
#include <string.h>

#include "sql/catalog.h"

static struct hd_scan scan = HD_SCAN_INIT;

static struct hd_facts *facts_of(const char *sql)
{
    struct hd_facts *f = NULL;

    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &scan), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_facts_parse(sql, strlen(sql), &scan, &f), HD_OK);
    return f;
}

static const struct hd_catalog_view view = {.user = "u", .role = "r"};

static void names_become_arrays(void)
{
    struct hd_facts *f =
        facts_of("select a.f(x), lower(y) from t, s.t t2, \"we\"\"ird\\{},\" where x <-> 1 = $1 and "
                 "y operator(o.@@@) z and x = 2 order by y using <# limit 5::int");
    static const char *const expected[] = {
        "u",
        "r",
        NULL,
        "f",
        "{\"\",\"s\",\"\"}",
        "{\"t\",\"t\",\"we\\\"ird\\\\{},\"}",
        "{\"a\",\"\"}",
        "{\"f\",\"lower\"}",
        "{\"\",\"\",\"o\",\"\"}",
        "{\"=\",\"<->\",\"@@@\",\"<#\"}",
        "{\"pg_catalog\"}",
        "{\"int4\"}",
        "the text",
        "{\"f\",\"f\",\"f\"}",
        "f",
    };
    struct hd_catalog_params p;

    CU_ASSERT_EQUAL_FATAL(hd_catalog_ask(f, "the text", &view, &p), HD_OK);
    for (int i = 0; i < HD_CATALOG_PARAMS; i++) {
        if (!expected[i] || !p.value[i]) {
            CU_ASSERT_PTR_EQUAL(p.value[i], expected[i]);
            continue;
        }
        if (strcmp(p.value[i], expected[i]))
            printf("# $%d: %s\n", i + 1, p.value[i]);
        CU_ASSERT_STRING_EQUAL(p.value[i], expected[i]);
    }
    hd_catalog_params_free(&p);
    hd_facts_free(f);
}

#define COLUMNS 7

/* A cell of NULL is SQL NULL. */
static int judge(const char *sql, const char *const (*rows)[COLUMNS], uint32_t n, struct hd_catalog_answer *a)
{
    struct hd_facts *f = facts_of(sql);
    struct hd_str cells[16 * COLUMNS];
    int code;

    for (uint32_t i = 0; i < n * COLUMNS; i++) {
        const char *s = rows[i / COLUMNS][i % COLUMNS];

        cells[i] = (struct hd_str){s, s ? strlen(s) : 0};
    }
    code = hd_catalog_judge(f, cells, n, COLUMNS, a);
    hd_facts_free(f);
    return code;
}

#define PATH                                                                                                 \
    {                                                                                                        \
        "path", NULL, NULL, NULL, "public", NULL, NULL                                                       \
    }

static void rows_are_judged(void)
{
    static const struct {
        const char *row[COLUMNS];
        uint64_t problems;
        const char *reason;
    } cases[] = {
        {{"path", NULL, NULL, NULL, "", NULL, NULL}, 0, ""},
        {{"path", NULL, NULL, NULL, NULL, NULL, NULL},
         HD_PROBLEM_PATH,
         "the user's default search_path is not known"},
        {{"table", "1", "16384", "s", "t", "r", ""}, 0, ""},
        {{"table", "1", "1259", "pg_catalog", "pg_class", "r", ""},
         HD_PROBLEM_SYSTEM,
         "pg_catalog.pg_class is a system catalog"},
        {{"table", "1", "20000", "s", "q", "S", ""}, HD_PROBLEM_RELATION, "s.q is no table or view"},
        {{"table", "1", "20000", "s", "q", "f", ""}, HD_PROBLEM_RELATION, "s.q is no table or view"},
        {{"table", NULL, "20000", "s", "q", "r", "ts"},
         HD_PROBLEM_TEMPORARY | HD_PROBLEM_SECURITY,
         "s.q is temporary"},
        {{"missing", "1", NULL, NULL, NULL, NULL, NULL}, HD_PROBLEM_MISSING, "a table was not found"},
        {{"function", "1", "20000", "s", "f", "s", NULL},
         HD_PROBLEM_FUNCTION,
         "s.f is stable: it may read anything"},
        {{"function", "1", "20000", "s", "f", "v", NULL}, HD_PROBLEM_VOLATILE, "s.f is volatile"},
        {{"function", "1", "1299", "pg_catalog", "now", "s", NULL}, 0, ""}, /* the facts say it */
        {{"function", NULL, "1299", "pg_catalog", "now", "s", NULL},
         HD_PROBLEM_OUTSIDE,
         "pg_catalog.now hangs on more than tables and settings"},
        {{"function", NULL, "1", "pg_catalog", "to_char", "s", NULL}, 0, ""},
        {{"function", "1", "1", "pg_catalog", "pg_new_thing", "s", NULL},
         HD_PROBLEM_OUTSIDE,
         "pg_catalog.pg_new_thing hangs on more than tables and settings"},
        {{"nofunction", "1", NULL, NULL, "f", NULL, NULL}, HD_PROBLEM_MISSING, "f is no function"},
        {{"nofunction", "2", NULL, NULL, "current_date", NULL, NULL}, 0, ""},
        {{"nofunction", "99", NULL, NULL, "f", NULL, NULL}, HD_PROBLEM_MISSING, "f is no function"},
        {{"nooperator", "1", NULL, NULL, "<#>", NULL, NULL}, HD_PROBLEM_MISSING, "<#> is no operator"},
        {{"type", NULL, "20000", "s", "d", NULL, NULL},
         HD_PROBLEM_TYPE,
         "s.d has functions that are not immutable"},
        {{"cast", NULL, "20000", "s", "d", NULL, NULL},
         HD_PROBLEM_TYPE,
         "s.d has functions that are not immutable"},
        {{"view", NULL, "20000", "s", "v", "v", NULL}, HD_PROBLEM_VOLATILE, "s.v samples or locks"},
        {{"view", NULL, "20000", "s", "v", "s", NULL},
         HD_PROBLEM_OUTSIDE,
         "s.v hangs on more than tables and settings"},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        struct hd_catalog_answer a;

        CU_ASSERT_EQUAL(judge("select f(a), extract(day from b) from t", &cases[i].row, 1, &a), HD_OK);
        if (a.problems != cases[i].problems)
            printf("# row %zu: problems %llx\n", i, (unsigned long long)a.problems);
        CU_ASSERT_EQUAL(a.problems, cases[i].problems);
        CU_ASSERT_EQUAL(a.reason.len, strlen(cases[i].reason));
        if (a.reason.len)
            CU_ASSERT_STRING_EQUAL(a.reason.ptr, cases[i].reason);
        hd_catalog_answer_free(&a);
    }
}

static void tables_are_listed(void)
{
    static const char *const rows[][COLUMNS] = {
        PATH,
        {"table", "2", "20001", "s", "t", "r", "ui"},
        {"table", NULL, "20002", "s", "p", "p", ""},
    };
    struct hd_catalog_answer a;

    CU_ASSERT_EQUAL(judge("select 1 from t", rows, 3, &a), HD_OK);
    CU_ASSERT_EQUAL_FATAL(a.count, 2);
    CU_ASSERT_EQUAL(a.tables[0].oid, 20001);
    CU_ASSERT_EQUAL(a.tables[0].kind, HD_RELATION_TABLE);
    CU_ASSERT_EQUAL(a.tables[0].flags, HD_RELATION_NAMED | HD_RELATION_UNLOGGED | HD_RELATION_IDENTITY);
    CU_ASSERT_EQUAL(a.tables[0].mention, 1);
    CU_ASSERT_STRING_EQUAL(a.tables[0].schema.ptr, "s");
    CU_ASSERT_EQUAL(a.tables[1].kind, HD_RELATION_PARTITIONED);
    CU_ASSERT_EQUAL(a.tables[1].mention, -1);
    CU_ASSERT_EQUAL(a.tables[1].flags, 0);
    hd_catalog_answer_free(&a);
}

static void columns_and_parents_are_given_out(void)
{
    static const char *const rows[][COLUMNS] = {
        PATH,
        {"column", "7", "20002", "6", "b", "2950", "Uind"},
        {"table", "1", "20002", "s", "t", "p", "k"},
        {"child", NULL, "20003", NULL, NULL, "20002", NULL},
        {"column", "1", "20003", "1", "c", "25", "Tu"},
        {"column", "3", "20002", "2", "a", "23", "Nu"},
        {"table", NULL, "20003", "s", "u", "r", ""},
        {"child", NULL, "20003", NULL, NULL, "20001", NULL},
        {"table", "2", "20001", "s", "v", "v", ""},
        {"column", "1", "666", "1", "of no table", "25", "Tu"},
        {"child", NULL, "666", NULL, NULL, "20001", NULL},
    };
    struct hd_catalog_answer a;

    CU_ASSERT_EQUAL(judge("select 1 from t", rows, HD_ARRAY_LEN(rows), &a), HD_OK);
    CU_ASSERT_EQUAL_FATAL(a.count, 3);
    CU_ASSERT_EQUAL_FATAL(a.column_count, 3);
    CU_ASSERT_EQUAL(a.tables[0].flags, HD_RELATION_NAMED | HD_RELATION_CASCADED);
    CU_ASSERT_EQUAL(a.tables[0].parent, 0);
    CU_ASSERT_EQUAL_FATAL(a.tables[0].columns, 2);
    CU_ASSERT_EQUAL(a.tables[0].first_column, 0);
    CU_ASSERT_STRING_EQUAL(a.columns[0].name.ptr, "a");
    CU_ASSERT_EQUAL(a.columns[0].attnum, 3);
    CU_ASSERT_EQUAL(a.columns[0].position, 2);
    CU_ASSERT_EQUAL(a.columns[0].type, 23);
    CU_ASSERT_EQUAL(a.columns[0].canonical, HD_CANONICAL_INTEGER);
    CU_ASSERT_EQUAL(a.columns[0].flags, HD_COLUMN_UNIQUE);
    CU_ASSERT_STRING_EQUAL(a.columns[1].name.ptr, "b");
    CU_ASSERT_EQUAL(a.columns[1].canonical, HD_CANONICAL_UUID);
    CU_ASSERT_EQUAL(a.columns[1].flags, HD_COLUMN_IDENTITY | HD_COLUMN_NOT_NULL | HD_COLUMN_DEFAULT);
    CU_ASSERT_EQUAL(a.tables[1].flags, HD_RELATION_PARENTS);
    CU_ASSERT_EQUAL(a.tables[1].parent, 20001);
    CU_ASSERT_EQUAL(a.tables[1].first_column, 2);
    CU_ASSERT_EQUAL(a.tables[1].columns, 1);
    CU_ASSERT_EQUAL(a.columns[2].canonical, HD_CANONICAL_TEXT);
    CU_ASSERT_EQUAL(a.tables[2].columns, 0);
    hd_catalog_answer_free(&a);
}

static void only_plain_reads_are_proved(void)
{
    static const char *const rows[][COLUMNS] = {PATH};
    static const struct {
        const char *sql;
        uint64_t problems;
    } cases[] = {
        {"select 1", 0},
        {"with x as (select 1) table x", 0},
        {"", HD_PROBLEM_FACTS},
        {"selec", HD_PROBLEM_FACTS},
        {"select 1; select 2", HD_PROBLEM_FACTS},
        {"insert into t values (1)", HD_PROBLEM_FACTS},
        {"select * from t for share", HD_PROBLEM_FACTS},
        {"select 1 into t", HD_PROBLEM_FACTS},
        {"explain select 1", HD_PROBLEM_FACTS},
        {"with x as (delete from t returning *) table x", HD_PROBLEM_FACTS},
        {"select set_config('a.b', 'c', false)", HD_PROBLEM_FACTS | HD_PROBLEM_VOLATILE},
        {"select clock_timestamp()", HD_PROBLEM_VOLATILE},
        {"select now()", HD_PROBLEM_OUTSIDE},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        struct hd_catalog_answer a;

        CU_ASSERT_EQUAL(judge(cases[i].sql, rows, 1, &a), HD_OK);
        if (a.problems != cases[i].problems)
            printf("# %s: problems %llx\n", cases[i].sql, (unsigned long long)a.problems);
        CU_ASSERT_EQUAL(a.problems, cases[i].problems);
        hd_catalog_answer_free(&a);
    }
}

static void nonsense_is_refused(void)
{
    static const char *const rows[][COLUMNS] = {{"what", NULL, NULL, NULL, NULL, NULL, NULL}};
    static const char *const nothing[][COLUMNS] = {{NULL, NULL, NULL, NULL, NULL, NULL, NULL}};
    struct hd_facts *f = facts_of("select 1");
    struct hd_str cell = {"path", 4};
    struct hd_catalog_answer a;

    CU_ASSERT_EQUAL(judge("select 1", rows, 1, &a), HD_EPROTO);
    hd_catalog_answer_free(&a);
    CU_ASSERT_EQUAL(judge("select 1", nothing, 1, &a), HD_EPROTO);
    hd_catalog_answer_free(&a);
    CU_ASSERT_EQUAL(judge("select 1", rows, 0, &a), HD_EPROTO);
    hd_catalog_answer_free(&a);
    CU_ASSERT_EQUAL(hd_catalog_judge(f, &cell, 1, 1, &a), HD_EPROTO);
    hd_catalog_answer_free(&a);
    hd_facts_free(f);
}

static void footprints_are_judged(void)
{
    static const struct {
        const char *sql;
        const char *row[COLUMNS];
        uint32_t footprint;
        const char *reason;
    } cases[] = {
        {"delete from t", PATH, 0, ""},
        {"delete from t; update t set a = 1", PATH, 0, ""},
        {"begin", PATH, 0, ""},
        {"explain analyze delete from t", PATH, 0, ""},
        {"explain analyze execute p", PATH, HD_FOOTPRINT_KIND, "it is no plain read or write"},
        {"selec", PATH, HD_FOOTPRINT_KIND, "it is no plain read or write"},
        {"select 1; drop table t", PATH, HD_FOOTPRINT_KIND, "it is no plain read or write"},
        {"delete from t",
         {"trigger", NULL, "20000", "s", "t", NULL, NULL},
         HD_FOOTPRINT_TRIGGER,
         "s.t has a trigger or a rule"},
        {"delete from t",
         {"writer", NULL, "20000", "s", "f", "v", NULL},
         HD_FOOTPRINT_FUNCTION,
         "s.f is volatile: it may write anything"},
        {"select f()",
         {"function", "1", "20000", "s", "f", "v", NULL},
         HD_FOOTPRINT_FUNCTION,
         "s.f is volatile: it may write anything"},
        {"select f()", {"function", "1", "20000", "s", "f", "s", NULL}, 0, ""},
        {"select random()", {"function", "1", "1598", "pg_catalog", "random", "v", NULL}, 0, ""},
        {"select x()",
         {"function", "1", "1", "pg_catalog", "pg_new_thing", "v", NULL},
         HD_FOOTPRINT_FUNCTION,
         "pg_catalog.pg_new_thing is volatile: it may write anything"},
        {"delete from t", {"table", "1", "20000", "s", "t", "r", "w"}, 0, ""},
        {"delete from t",
         {"table", "1", "20000", "s", "t", "f", "w"},
         HD_FOOTPRINT_RELATION,
         "s.t is no table of the application's"},
        {"delete from t",
         {"missing", "1", NULL, NULL, NULL, NULL, NULL},
         HD_FOOTPRINT_NAME,
         "a table was not found"},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        struct hd_catalog_answer a;

        CU_ASSERT_EQUAL(judge(cases[i].sql, &cases[i].row, 1, &a), HD_OK);
        if (a.footprint != cases[i].footprint)
            printf("# %s, row %zu: footprint %x\n", cases[i].sql, i, a.footprint);
        CU_ASSERT_EQUAL(a.footprint, cases[i].footprint);
        CU_ASSERT_EQUAL(a.footprint_reason.len, strlen(cases[i].reason));
        if (a.footprint_reason.len)
            CU_ASSERT_STRING_EQUAL(a.footprint_reason.ptr, cases[i].reason);
        hd_catalog_answer_free(&a);
    }
}

static void ask_and_judge(void *arg)
{
    static const char *const rows[][COLUMNS] = {PATH, {"table", "1", "20001", "s", "t", "f", "u"}};
    struct hd_str cells[2 * COLUMNS];
    struct hd_catalog_params p;
    struct hd_catalog_answer a;
    int code;

    for (uint32_t i = 0; i < 2 * COLUMNS; i++)
        cells[i] =
            (struct hd_str){rows[i / COLUMNS][i % COLUMNS],
                            rows[i / COLUMNS][i % COLUMNS] ? strlen(rows[i / COLUMNS][i % COLUMNS]) : 0};
    code = hd_catalog_ask(arg, "", &view, &p);
    CU_ASSERT(code == HD_OK || code == HD_ENOMEM);
    hd_catalog_params_free(&p);
    code = hd_catalog_judge(arg, cells, 2, COLUMNS, &a);
    CU_ASSERT(code == HD_OK || code == HD_ENOMEM);
    hd_catalog_answer_free(&a);
}

static void no_memory(void)
{
    struct hd_facts *f = facts_of("select f(x) from t where a = 1");
    int failures;

    failures = unit_each_alloc_failure(ask_and_judge, f);
    CU_ASSERT(!unit_can_fail_alloc() || failures > 5);
    hd_facts_free(f);
    hd_scan_free(&scan);
}

/* Each parameter is an array, with an element of each template; what is an array itself is one as text. */
static void several_are_asked_together(void)
{
    static const struct hd_catalog_view other = {.user = "o\"ne", .role = "r", .search_path = "a, b"};
    struct hd_facts *f = facts_of("select x from t"), *g = facts_of("select y from s.\"q\\\"");
    struct hd_catalog_params p, q, all;
    const struct hd_catalog_params *const each[] = {&p, &q};

    CU_ASSERT_EQUAL_FATAL(hd_catalog_ask(f, "one", &view, &p), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_catalog_ask(g, "two", &other, &q), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_catalog_ask_together(each, 2, &all), HD_OK);
    CU_ASSERT_STRING_EQUAL(all.value[0], "{\"u\",\"o\\\"ne\"}");
    CU_ASSERT_STRING_EQUAL(all.value[2], "{NULL,\"a, b\"}");
    CU_ASSERT_STRING_EQUAL(all.value[3], "{\"f\",\"f\"}");
    CU_ASSERT_STRING_EQUAL(all.value[4], "{\"{\\\"\\\"}\",\"{\\\"s\\\"}\"}");
    CU_ASSERT_STRING_EQUAL(all.value[5], "{\"{\\\"t\\\"}\",\"{\\\"q\\\\\\\\\\\"}\"}");
    CU_ASSERT_STRING_EQUAL(all.value[12], "{\"one\",\"two\"}");
    hd_catalog_params_free(&all);
    CU_ASSERT_EQUAL_FATAL(hd_catalog_ask_together(each, 1, &all), HD_OK);
    CU_ASSERT_STRING_EQUAL(all.value[2], "{NULL}");
    hd_catalog_params_free(&all);
    hd_catalog_params_free(&p);
    hd_catalog_params_free(&q);
    hd_facts_free(f);
    hd_facts_free(g);
}

UNIT_MAIN("sql catalog", {"names become arrays", names_become_arrays},
          {"several are asked together", several_are_asked_together}, {"rows are judged", rows_are_judged},
          {"tables are listed", tables_are_listed},
          {"columns and parents are given out", columns_and_parents_are_given_out},
          {"only plain reads are proved", only_plain_reads_are_proved},
          {"footprints are judged", footprints_are_judged}, {"nonsense is refused", nonsense_is_refused},
          {"no memory", no_memory})
