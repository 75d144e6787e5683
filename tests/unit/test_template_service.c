/*
 * What plugins are told about templates: kinds, counts, tables, functions, and comparisons with the numbers
 * of their values.
 */
#include "unit.h"

#include <howdah/howdah.h>
#include <stdio.h>
#include <string.h>

#include "base/thread.h"
#include "plug/services.h"
#include "plug/template_service.h"
#include "sql/template.h"

static const struct hd_template_v1 *service;
static struct hd_templates *templates;
static struct hd_scan scan;

static void begin(void)
{
    hd_template_serve();
    service = hd_service_find(HD_SERVICE_TEMPLATE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(service);
    templates = hd_templates_new(100);
    CU_ASSERT_PTR_NOT_NULL_FATAL(templates);
}

static void end(void)
{
    hd_templates_free(templates);
    hd_scan_free(&scan);
    scan = (struct hd_scan)HD_SCAN_INIT;
}

static struct hd_template *template_of(const char *sql)
{
    struct hd_template *t;

    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &scan), HD_OK);
    t = hd_template_get(templates, sql, strlen(sql), &scan, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    return t;
}

static struct hd_template_info info_of(const char *sql)
{
    struct hd_template_info info = {.size = sizeof(info)};
    struct hd_template *t = template_of(sql);

    CU_ASSERT_EQUAL(service->info(t, &info), HD_OK);
    hd_template_release(t);
    info.text = (struct hd_str){NULL, 0}; /* went with it */
    return info;
}

static void kinds_are_told(void)
{
    static const struct {
        const char *sql;
        uint32_t kind;
    } cases[] = {
        {"select 1", HD_KIND_SELECT},
        {"table t", HD_KIND_SELECT},
        {"", HD_KIND_EMPTY},
        {" ; -- nothing\n", HD_KIND_EMPTY},
        {"select 1; select 2", HD_KIND_MULTI},
        {"selec 1", HD_KIND_UNKNOWN},
        {"select 'open", HD_KIND_UNKNOWN},
        {"insert into t values (1)", HD_KIND_INSERT},
        {"update t set a = 1", HD_KIND_UPDATE},
        {"delete from t", HD_KIND_DELETE},
        {"merge into t using s on t.a = s.a when matched then delete", HD_KIND_MERGE},
        {"copy t from stdin", HD_KIND_COPY_FROM},
        {"copy t to stdout", HD_KIND_COPY_TO},
        {"begin", HD_KIND_BEGIN},
        {"start transaction", HD_KIND_BEGIN},
        {"end", HD_KIND_COMMIT},
        {"abort", HD_KIND_ROLLBACK},
        {"savepoint s", HD_KIND_SAVEPOINT},
        {"release s", HD_KIND_RELEASE},
        {"rollback to s", HD_KIND_ROLLBACK_TO},
        {"prepare transaction 'x'", HD_KIND_PREPARE_TXN},
        {"set a.b = 1", HD_KIND_SET},
        {"set role r", HD_KIND_SET},
        {"set session characteristics as transaction read only", HD_KIND_SET},
        {"set local a.b = 1", HD_KIND_SET_LOCAL},
        {"set transaction read only", HD_KIND_SET_LOCAL},
        {"set constraints all deferred", HD_KIND_SET_LOCAL},
        {"reset all", HD_KIND_RESET},
        {"show all", HD_KIND_SHOW},
        {"prepare p as select 1", HD_KIND_PREPARE},
        {"execute p", HD_KIND_EXECUTE},
        {"deallocate p", HD_KIND_DEALLOCATE},
        {"declare c cursor for select 1", HD_KIND_DECLARE},
        {"move c", HD_KIND_FETCH},
        {"close c", HD_KIND_CLOSE},
        {"listen l", HD_KIND_LISTEN},
        {"unlisten l", HD_KIND_UNLISTEN},
        {"notify l", HD_KIND_NOTIFY},
        {"discard all", HD_KIND_DISCARD},
        {"lock t", HD_KIND_LOCK},
        {"do 'begin end'", HD_KIND_DO},
        {"call p()", HD_KIND_CALL},
        {"load 'x'", HD_KIND_LOAD},
        {"explain select 1", HD_KIND_EXPLAIN},
        {"truncate t", HD_KIND_TRUNCATE},
        {"create table t (a int)", HD_KIND_DDL},
        {"alter materialized view m rename to n", HD_KIND_DDL},
        {"grant select on t to r", HD_KIND_PRIVILEGE},
        {"vacuum t", HD_KIND_MAINTENANCE},
        {"analyze", HD_KIND_MAINTENANCE},
        {"checkpoint", HD_KIND_MAINTENANCE},
        {"reindex table t", HD_KIND_MAINTENANCE},
        {"refresh materialized view m", HD_KIND_MAINTENANCE},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t kind = info_of(cases[i].sql).kind;

        if (kind != cases[i].kind)
            printf("# %s: kind %u, wanted %u\n", cases[i].sql, kind, cases[i].kind);
        CU_ASSERT_EQUAL(kind, cases[i].kind);
    }
    end();
}

#define K(kind) HD_KIND_BIT(kind)

/* Of all statements of a text, and of what runs within them. */
static void sets_of_kinds_are_told(void)
{
    static const struct {
        const char *sql;
        uint64_t kinds;
    } cases[] = {
        {"", 0},
        {"select a from t for update", K(SELECT)},
        {"insert into t select 1 on conflict (a) do update set a = 2", K(INSERT)},
        {"with x as (delete from t returning *) select * from x", K(SELECT) | K(DELETE)},
        {"with x as materialized (insert into t select 1 returning *) table x", K(SELECT) | K(INSERT)},
        {"with x as (select 1) update t set a = 2", K(UPDATE)},
        {"with x as (update t set a = 1 returning a) insert into u select * from x", K(INSERT) | K(UPDATE)},
        {"with x as (merge into t using s on true when matched then delete) select 1", K(SELECT) | K(MERGE)},
        {"merge into t using s on t.a = s.a when matched then update set a = 1", K(MERGE)},
        {"select 1 into t", K(DDL)},
        {"create table u as select * from t", K(DDL)},
        {"create table u as execute p", K(DDL) | K(EXECUTE)},
        {"create table u as with x as (delete from t returning *) table x", K(DDL) | K(DELETE)},
        {"create materialized view v as select * from t", K(DDL)},
        {"create view v as select * from t", K(DDL)},
        {"create rule r as on insert to t do also delete from u", K(DDL)},
        {"create function f() returns void begin atomic delete from t; end", K(DDL)},
        {"grant select on t to u", K(PRIVILEGE)},
        {"refresh materialized view v", K(MAINTENANCE)},
        {"explain delete from t", K(EXPLAIN)},
        {"explain (analyze off) delete from t", K(EXPLAIN)},
        {"explain analyze delete from t", K(EXPLAIN) | K(DELETE)},
        {"explain (analyze, buffers) update t set a = 1", K(EXPLAIN) | K(UPDATE)},
        {"explain analyze with x as (insert into t values (1)) select 1", K(EXPLAIN) | K(SELECT) | K(INSERT)},
        {"explain analyze execute p", K(EXPLAIN) | K(EXECUTE)},
        {"explain analyze select 1 into t", K(EXPLAIN) | K(SELECT) | K(DDL)},
        {"explain analyze create table u as select 1", K(EXPLAIN) | K(DDL)},
        {"prepare p as delete from t", K(PREPARE) | K(DELETE)},
        {"prepare p (int) as select $1", K(PREPARE) | K(SELECT)},
        {"declare c cursor for select a from t for update", K(DECLARE) | K(SELECT)},
        {"copy (select a from t) to stdout", K(COPY_TO) | K(SELECT)},
        {"copy (delete from t returning a) to stdout", K(COPY_TO) | K(DELETE)},
        {"copy t to stdout", K(COPY_TO)},
        {"copy t from stdin", K(COPY_FROM)},
        {"select 1; drop table t", K(SELECT) | K(DDL)},
        {"begin; delete from t; commit", K(BEGIN) | K(DELETE) | K(COMMIT)},
        {"; ;create role r; select \"; drop\" from t", K(PRIVILEGE) | K(SELECT)},
        {"(select 1) union (select 2); with x as (update t set a = 3) select 4", K(SELECT) | K(UPDATE)},
        {"set local a.b = 1; lock t", K(SET_LOCAL) | K(LOCK)},
        {"frobnicate; truncate t", 0},
        {"select \"unended", 0},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t kinds = info_of(cases[i].sql).kinds;

        if (kinds != cases[i].kinds)
            printf("# %s: kinds %llx, wanted %llx\n", cases[i].sql, (unsigned long long)kinds,
                   (unsigned long long)cases[i].kinds);
        CU_ASSERT_EQUAL(kinds, cases[i].kinds);
    }
    end();
}

static void counts_are_told(void)
{
    struct hd_template_info info;

    begin();
    info = info_of("with w as (select 1) select a, count(*) from t join u on t.x = u.x, v "
                   "where a = 5 and b in (select b from s) union select 1, $1 limit 3");
    CU_ASSERT(info.facts & HD_FACT_READS);
    CU_ASSERT(info.facts & HD_FACT_LIMIT);
    CU_ASSERT(!(info.facts & HD_FACT_WRITES));
    CU_ASSERT_EQUAL(info.facts & ~HD_FACTS_PUBLIC, 0);
    CU_ASSERT_EQUAL(info.statements, 1);
    CU_ASSERT_EQUAL(info.tables, 4);
    CU_ASSERT_EQUAL(info.joins, 2);
    CU_ASSERT_EQUAL(info.subselects, 1);
    CU_ASSERT_EQUAL(info.ctes, 1);
    CU_ASSERT_EQUAL(info.set_operations, 1);
    CU_ASSERT_EQUAL(info.params, 1);
    CU_ASSERT_EQUAL(info.functions, 1);
    CU_ASSERT(info_of("delete from t").facts & HD_FACT_NO_WHERE);
    CU_ASSERT(info_of("selec 1").facts & HD_FACT_UNSURE);
    CU_ASSERT_EQUAL(info_of("select 1").fingerprint, info_of("SELECT  2").fingerprint);
    end();
}

/* What an answer hangs on, and what asks for another isolation level. */
static void dependence_is_told(void)
{
    static const struct {
        const char *sql;
        uint64_t facts; /* of OUTSIDE, VOLATILE and ISOLATION */
    } cases[] = {
        {"select to_char(a, 'DD'), date_trunc('day', a), lower(b), count(*) from t", 0},
        {"select age(a, b) from t", 0},
        {"select age(a) from t", HD_FACT_OUTSIDE},
        {"select now()", HD_FACT_OUTSIDE},
        {"select current_date", HD_FACT_OUTSIDE},
        {"select current_user", HD_FACT_OUTSIDE},
        {"select current_setting('x')", HD_FACT_OUTSIDE},
        {"select 't'::regclass", HD_FACT_OUTSIDE},
        {"select to_tsvector('english'::regconfig, a) from t", 0},
        {"select obj_description(1)", HD_FACT_OUTSIDE},
        {"select random()", HD_FACT_VOLATILE},
        {"select * from t tablesample system (1)", HD_FACT_VOLATILE},
        {"select * from (t tablesample system (1) repeatable (now()::int)) x", HD_FACT_UNSURE},
        {"begin", 0},
        {"begin isolation level read committed", 0},
        {"begin isolation level serializable", HD_FACT_ISOLATION},
        {"start transaction isolation level repeatable read, read only", HD_FACT_ISOLATION},
        {"set transaction isolation level serializable", HD_FACT_ISOLATION},
        {"set session characteristics as transaction isolation level serializable", HD_FACT_ISOLATION},
        {"set transaction snapshot '1'", HD_FACT_ISOLATION},
        {"set transaction_isolation = 'serializable'", HD_FACT_ISOLATION},
        {"set Default_Transaction_Isolation to 'read committed'", HD_FACT_ISOLATION},
        {"set local timezone to 'utc'", 0},
    };
    const uint64_t looked_at = HD_FACT_OUTSIDE | HD_FACT_VOLATILE | HD_FACT_ISOLATION | HD_FACT_UNSURE;

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t facts = info_of(cases[i].sql).facts & looked_at;

        if (facts != cases[i].facts)
            printf("# %s: facts %llx, wanted %llx\n", cases[i].sql, (unsigned long long)facts,
                   (unsigned long long)cases[i].facts);
        CU_ASSERT_EQUAL(facts, cases[i].facts);
    }
    end();
}

static void names_are_told(void)
{
    struct hd_template_table table = {.size = sizeof(table)};
    struct hd_template_function fn = {.size = sizeof(fn)};
    struct hd_template *t;
    int seen = 0;

    begin();
    t = template_of("insert into app.log select now(), app.f(1, 2) from t");
    for (uint32_t i = 0; i < 2; i++) { /* in no order that is promised */
        int is_log;

        CU_ASSERT_EQUAL(service->table(t, i, &table), HD_OK);
        is_log = table.name.len == 3 && !memcmp(table.name.ptr, "log", 3);
        CU_ASSERT_EQUAL(table.access, (uint32_t)(is_log ? HD_ACCESS_WRITE : HD_ACCESS_READ));
        CU_ASSERT_EQUAL(table.schema.len, is_log ? 3 : 0);
        seen |= is_log ? 1 : 2;
    }
    CU_ASSERT_EQUAL(seen, 3);
    CU_ASSERT_EQUAL(service->table(t, 2, &table), HD_ENOENT);
    CU_ASSERT_EQUAL(service->function(t, 0, &fn), HD_OK);
    CU_ASSERT_EQUAL(memcmp(fn.name.ptr, "now", 3), 0);
    CU_ASSERT_EQUAL(service->function(t, 1, &fn), HD_OK);
    CU_ASSERT_EQUAL(fn.args, 2);
    CU_ASSERT_EQUAL(fn.schema.len, 3);
    CU_ASSERT_EQUAL(service->function(t, 2, &fn), HD_ENOENT);
    hd_template_release(t);
    end();
}

struct comparison {
    const char *sql;
    uint32_t op, conjunctive, first, count, cast;
};

static void comparisons_are_told(void)
{
    static const struct comparison cases[] = {
        {"select * from t where a = $2 and $1 is null", HD_CMP_EQ, 1, 2, 1, 0},
        {"select * from t where a = 7", HD_CMP_EQ, 1, 1, 1, 0},
        {"select $3 from t where a = 'x'", HD_CMP_EQ, 1, 4, 1, 0}, /* literals come behind parameters */
        {"select * from t where a < 7 or b = 1", HD_CMP_LT, 0, 1, 1, 0},
        {"select * from t where 7 < a", HD_CMP_GT, 1, 1, 1, 0},
        {"select * from t where a in (1, 2, 3)", HD_CMP_IN, 1, 1, 3, 0},
        {"select * from t where a in (1, $1, 3)", HD_CMP_IN, 1, 0, 3, 0}, /* not one after the other */
        {"select * from t where a not in (1, 2)", HD_CMP_OTHER, 1, 1, 2, 0},
        {"select * from t where a between 1 and 2", HD_CMP_BETWEEN, 1, 1, 2, 0},
        {"select * from t where a = -5", HD_CMP_EQ, 1, 1, 1, 0}, /* $1 with its minus */
        {"select * from t where a in (1, - 2)", HD_CMP_IN, 1, 1, 2, 0},
        {"select * from t where a = 1 - 5", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = '5'::int", HD_CMP_EQ, 1, 1, 1, HD_CAST_INTEGER},
        {"select * from t where a = $1::bigint", HD_CMP_EQ, 1, 1, 1, HD_CAST_INTEGER},
        {"select * from t where a = smallint '5'", HD_CMP_EQ, 1, 1, 1, HD_CAST_INTEGER},
        {"select * from t where a = cast(-5 as pg_catalog.int8)", HD_CMP_EQ, 1, 1, 1, HD_CAST_INTEGER},
        {"select * from t where a = $1::uuid", HD_CMP_EQ, 1, 1, 1, HD_CAST_UUID},
        {"select * from t where a in ('x'::text, 'y'::varchar)", HD_CMP_IN, 1, 1, 2, HD_CAST_TEXT},
        {"select * from t where a in (1::int, 2)", HD_CMP_IN, 1, 0, 2, 0},
        {"select * from t where a = 5.5::int", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = 'x'::varchar(3)", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = N'x'", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = 'x'::text[]", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = '5'::own.int4", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = '5'::int::int", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = b::int", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a = b", HD_CMP_EQ, 1, 0, 1, 0},
        {"select * from t where a like 'x%'", HD_CMP_LIKE, 1, 1, 1, 0},
        {"select * from t where a is null", HD_CMP_ISNULL, 1, 0, 0, 0},
        {"select * from t where a is not null", HD_CMP_OTHER, 1, 0, 0, 0},
        {"select * from t where a = any($1)", HD_CMP_OTHER, 1, 1, 1, 0},
        {"select * from (select * from t where a = 1) x", HD_CMP_EQ, 0, 1, 1, 0},
        {"delete from t where a = 1; select 1", HD_CMP_EQ, 0, 1, 1, 0},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hd_template_comparison c = {.size = sizeof(c)};
        struct hd_template *t = template_of(cases[i].sql);

        CU_ASSERT_EQUAL(service->comparison(t, 0, &c), HD_OK);
        if (c.op != cases[i].op || c.conjunctive != cases[i].conjunctive || c.param_first != cases[i].first ||
            c.param_count != cases[i].count || c.table != 0 || c.column.len != 1)
            printf("# %s: op %u conjunctive %u first %u count %u table %d\n", cases[i].sql, c.op,
                   c.conjunctive, c.param_first, c.param_count, c.table);
        CU_ASSERT_EQUAL(c.op, cases[i].op);
        CU_ASSERT_EQUAL(c.conjunctive, cases[i].conjunctive);
        CU_ASSERT_EQUAL(c.param_first, cases[i].first);
        CU_ASSERT_EQUAL(c.param_count, cases[i].count);
        CU_ASSERT_EQUAL(c.cast, cases[i].cast);
        CU_ASSERT_EQUAL(c.table, 0);
        CU_ASSERT_EQUAL(service->comparison(t, 99, &c), HD_ENOENT);
        hd_template_release(t);
    }
    end();
}

/* Each as "row.position column=value": $n, null, default, ?; c for what ON CONFLICT sets. */
static void dump_writes(const char *sql, char *out, size_t cap)
{
    static const char *const values[] = {"?", "$", "null", "default"};
    struct hd_template_info info = {.size = sizeof(info)};
    struct hd_template_assignment a = {.size = sizeof(a)};
    struct hd_template *t = template_of(sql);
    size_t n;

    CU_ASSERT_EQUAL(service->info(t, &info), HD_OK);
    n = (size_t)snprintf(out, cap, "%u/%u", info.writes, info.rows);
    if (info.conflict_key.len)
        n += (size_t)snprintf(out + n, cap - n, " (%.*s)", (int)info.conflict_key.len, info.conflict_key.ptr);
    for (uint32_t i = 0; i < info.assignments && n < cap; i++) {
        CU_ASSERT_EQUAL_FATAL(service->assignment(t, i, &a), HD_OK);
        CU_ASSERT_EQUAL((a.value == HD_ASSIGN_VALUE), (a.param > 0));
        n += a.row == HD_ROW_CONFLICT ? (size_t)snprintf(out + n, cap - n, " c.")
                                      : (size_t)snprintf(out + n, cap - n, " %u.", a.row);
        n += (size_t)snprintf(out + n, cap - n, "%u %d.%.*s=%s", a.position, a.table, (int)a.column.len,
                              a.column.len ? a.column.ptr : "", values[a.value]);
        if (a.param)
            n += (size_t)snprintf(out + n, cap - n, a.cast ? "%u::%u" : "%u", a.param, a.cast);
    }
    CU_ASSERT_EQUAL(service->assignment(t, info.assignments, &a), HD_ENOENT);
    hd_template_release(t);
}

static void assignments_are_told(void)
{
    static const struct {
        const char *sql, *told;
    } cases[] = {
        {"insert into t (a, b) values (1, $1)", "1/1 0.1 0.a=$2 0.2 0.b=$1"},
        {"insert into t values (1, 'x'), (-2, null)", "1/2 0.1 0.=$1 0.2 0.=$2 1.1 0.=$3 1.2 0.=null"},
        {"insert into t (a, b, c) values (default, now(), '5'::int)",
         "1/1 0.1 0.a=default 0.2 0.b=? 0.3 0.c=$1::1"},
        {"insert into t values ($1::uuid, 'x'::text, 5.5::int)", "1/1 0.1 0.=$1::2 0.2 0.=$2::3 0.3 0.=?"},
        {"insert into t (a) values ((select 1))", "1/1 0.1 0.a=?"},
        {"insert into t as x (a) overriding user value values (1)", "5/1 0.1 0.a=$1"},
        {"insert into t (a) overriding system value values (1)", "1/1 0.1 0.a=$1"},
        {"insert into t (a, b) values (1, 2) on conflict (a) do update set b = 3, a = excluded.a",
         "3/1 (a) 0.1 0.a=$1 0.2 0.b=$2 c.1 0.b=$3 c.2 0.a=?"},
        {"insert into t (a) values (1) on conflict do nothing", "1/1 0.1 0.a=$1"},
        {"insert into t (a) values (1) on conflict (a, b) do update set b = 3", "3/1 0.1 0.a=$1 c.1 0.b=$2"},
        {"insert into t (a) values (1) on conflict (lower(a)) do update set b = 3",
         "3/1 0.1 0.a=$1 c.1 0.b=$2"},
        {"insert into t (a) values (1) on conflict (a) where b > 2 do update set b = 3",
         "3/1 0.1 0.a=$1 c.1 0.b=$3"},
        {"insert into t (a) values (1) on conflict on constraint k do update set b = 3",
         "3/1 0.1 0.a=$1 c.1 0.b=$2"},
        {"update t set a = $2, b = b + 1, c = 4 from u where t.id = 7",
         "1/1 0.1 0.a=$2 0.2 0.b=? 0.3 0.c=$4"},
        {"update t set (a, b) = (1, 2)", "1/1 0.1 0.a=? 0.2 0.b=?"},
        {"update t set (a, b) = (select 1, 2), c = 5", "1/1 0.1 0.a=? 0.2 0.b=? 0.3 0.c=$3"},
        {"delete from t where a = 1", "1/0"},
        /* what is not told */
        {"update t set a[1] = 5", "0/0"},
        {"insert into t (a.b) values (1)", "0/0"},
        {"insert into t values (1), (1, 2)", "0/0"},
        {"insert into t (a, b) values (1)", "0/0"},
        {"insert into t default values", "0/0"},
        {"insert into t select 1", "0/0"},
        {"insert into t values (1) union all values (2)", "0/0"},
        {"with x as (delete from u returning *) insert into t values (1)", "0/0"},
        {"with x as (insert into t values (2)) insert into t values (1)", "0/0"},
        {"merge into t using s on t.a = s.a when matched then update set a = 1", "0/0"},
        {"prepare p as insert into t values (1)", "0/0"},
        {"explain analyze insert into t values (1)", "0/0"},
        {"insert into t values (1); select 2", "0/0"},
        {"truncate t", "0/0"},
        {"copy t from stdin", "0/0"},
        {"select 1", "0/0"},
    };
    char text[1000];

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        dump_writes(cases[i].sql, text, sizeof(text));
        if (strcmp(text, cases[i].told) != 0)
            printf("# %s\n#   gives %s\n#   not   %s\n", cases[i].sql, text, cases[i].told);
        CU_ASSERT_STRING_EQUAL(text, cases[i].told);
    }
    end();
}

static int is_value(const hd_template *t, const char *sql, uint32_t n, uint32_t kind, const char *text)
{
    struct hd_value v = {.size = sizeof(v)};

    return service->value(NULL, t, (struct hd_str){sql, strlen(sql)}, n, &v) == HD_OK && v.kind == kind &&
           v.data.len == strlen(text) && memcmp(v.data.ptr, text, v.data.len) == 0;
}

/* Two texts of one template; a parameter, and what is not there. */
static void values_of_a_text(void)
{
    static const char one[] = "select a from t where b = 'it''s' and c = -7 and d = $1;";
    static const char two[] = "SELECT a FROM t WHERE b = 'x' AND c = -8 AND d = $1";
    struct hd_value v = {.size = sizeof(v)};
    const hd_template *t;

    CU_ASSERT_EQUAL_FATAL(service->find(NULL, (struct hd_str){one, strlen(one)}, &t), HD_OK);
    CU_ASSERT(is_value(t, one, 2, HD_VAL_STRING, "it's"));
    CU_ASSERT(is_value(t, one, 3, HD_VAL_INTEGER, "-7"));
    CU_ASSERT(is_value(t, two, 2, HD_VAL_STRING, "x"));
    CU_ASSERT(is_value(t, two, 3, HD_VAL_INTEGER, "-8"));
    CU_ASSERT(is_value(t, one, 3, HD_VAL_INTEGER, "-7"));
    CU_ASSERT_EQUAL(service->value(NULL, t, (struct hd_str){one, strlen(one)}, 1, &v), HD_ENOENT);
    CU_ASSERT_EQUAL(service->value(NULL, t, (struct hd_str){one, strlen(one)}, 4, &v), HD_ENOENT);
    CU_ASSERT_EQUAL(service->value(NULL, t, (struct hd_str){one, strlen(one)}, 0, &v), HD_ENOENT);
    CU_ASSERT_EQUAL(service->value(NULL, t, (struct hd_str){"select 1", 8}, 2, &v), HD_ENOENT);
    service->release(t);
}

static void templates_of_texts_are_found(void)
{
    struct hd_template_info info = {.size = sizeof(info)};
    const hd_template *a, *b;
    struct hd_template *mine;

    begin();
    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL(service->find(NULL, (struct hd_str){"select 1", 8}, &a), HD_EBUSY);
    hd_template_serve_from(templates);
    CU_ASSERT_EQUAL_FATAL(service->find(NULL, (struct hd_str){"select 1 ; ", 11}, &a), HD_OK);
    CU_ASSERT_EQUAL_FATAL(service->find(NULL, (struct hd_str){"SELECT 2", 8}, &b), HD_OK);
    mine = template_of("select 3");
    CU_ASSERT_PTR_EQUAL(a, b);
    CU_ASSERT_PTR_EQUAL(a, mine);
    service->release(a);
    service->release(b);
    hd_template_release(mine);
    values_of_a_text();
    CU_ASSERT_EQUAL_FATAL(service->find(NULL, (struct hd_str){NULL, 0}, &a), HD_OK);
    CU_ASSERT_EQUAL(service->info(a, &info), HD_OK);
    CU_ASSERT_EQUAL(info.kind, HD_KIND_EMPTY);
    service->release(a);
    hd_template_serve_from(NULL);
    end();
}

static void smaller_structs_get_what_they_know(void)
{
    struct hd_template_info info;
    struct hd_template *t;

    begin();
    t = template_of("select 1 from t");
    memset(&info, 0xaa, sizeof(info));
    info.size = offsetof(struct hd_template_info, fingerprint);
    CU_ASSERT_EQUAL(service->info(t, &info), HD_OK);
    CU_ASSERT_EQUAL(info.kind, HD_KIND_SELECT);
    CU_ASSERT_EQUAL(info.size, offsetof(struct hd_template_info, fingerprint));
    CU_ASSERT_EQUAL(info.fingerprint, UINT64_C(0xaaaaaaaaaaaaaaaa));
    info.size = 1;
    CU_ASSERT_EQUAL(service->info(t, &info), HD_EINVAL);
    service->hold(t);
    hd_template_release(t);
    service->release(t);
    end();
}

UNIT_MAIN("template service", {"kinds are told", kinds_are_told},
          {"sets of kinds are told", sets_of_kinds_are_told}, {"counts are told", counts_are_told},
          {"dependence is told", dependence_is_told}, {"names are told", names_are_told},
          {"comparisons are told", comparisons_are_told}, {"assignments are told", assignments_are_told},
          {"templates of texts are found", templates_of_texts_are_found},
          {"smaller structs get what they know", smaller_structs_get_what_they_know})
