/*
 * Parse facts: what they say of each kind of statement, what they are not sure of, and that no text crashes
 * them.
 */
#include "unit.h"
#include "sql_dump.h"
#include "base/alloc.h"
#include "sql/facts.h"
#include "sql/functions.h"

#include <howdah/error.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct hd_scan scan;

static struct hd_facts *facts_of(const char *sql)
{
    struct hd_facts *f = NULL;

    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &scan), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_facts_parse(sql, strlen(sql), &scan, &f), HD_OK);
    return f;
}

struct facts_case {
    const char *sql, *facts;
};

static void check(const struct facts_case *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct hd_facts *f = facts_of(c[i].sql);
        struct hd_strbuf dump = HD_STRBUF_INIT;
        const char *got;

        sql_dump(&dump, f);
        got = hd_strbuf_str(&dump) + (dump.len > 0);
        if (strcmp(got, c[i].facts) != 0)
            printf("# %s\n#   gives %s\n#   not   %s\n", c[i].sql, got, c[i].facts);
        CU_ASSERT_STRING_EQUAL(got, c[i].facts);
        hd_strbuf_free(&dump);
        hd_facts_free(f);
    }
}

static void statements(void)
{
    /* clang-format off */
    static const struct facts_case cases[] = {
        {"", ""},
        {"select a from t as x(a, b) where x.a = 1 and b = 2",
         "READS | select where | T t=x:r | C & -1.a = L0 & -1.b = L1 | O -1.a"},
        {"select a.id, b.name, count(*) as n, t.* from s.a join b on a.id = b.aid and b.k = 5 left join c on c.x = 7 where a.id = $1 and (b.name = 'x' or b.z = -3) and not a.q = 1 and a.p in (1,-2,$3) and a.r between 1 and 2 and 5 < a.m and a.n is null group by 1 order by 1 limit 10",
         "READS FUNCTION | select where limit group aggregate order j2 s0 c0 u0 | T s.a:r b:r c:r | C & 0.id = 1.aid & 1.k = L0 ~ 2.x = L1 & 0.id = $1 ~ 1.name = L2 ~ 1.z = -L3 ~ 0.q = L4 & 0.p in L5 -L6 $3 & 0.r between L7 L8 & 0.m > L9 & 0.n is null | F count/0i+agg | O 0.id 1.name f0=n -1.*"},
        {"select id from t where id = 1 union all select id from u where id = 2 order by 1",
         "READS | select where order j0 s0 c0 u1 | T t:rq1 u:rq2 | C & 0.id = L0 q1 & 1.id = L1 q2 | O 0.id"},
        {"with x as (delete from t returning *), y as (select * from t, x) select * from x, y, t z where z.id in (select id from k where k.id = z.id and n = 1) for update of z",
         "READS WRITES LOCKS NO_WHERE | select where j3 s1 c2 u0 | T t:rwq1 t:rq2 t=z:rl k:rq3 | C & 3.id = 2.id q3 & -1.n = L0 q3 | O -1.*"},
        {"with recursive r as (select 1 union all select * from r) select * from r",
         "| select j0 s0 c1 u1 | O -1.*"},
        {"insert into s.t as tt (a, b, c) values (1, $1, default), (-2, now(), 'x'::text) on conflict (a) do update set b = excluded.b where tt.c = 5 returning a, b as bb",
         "WRITES STABLE FUNCTION MAY_SEQUENCE | insert returning conflict do_update (a) | T s.t=tt:w | C ~ 0.c = L3 | F now/0s | O 0.a 0.b=bb | W a b c b | V L0 $1 default | V -L1 ? L2::text | U -1.b | Y text"},
        {"insert into t select * from u where k = 5",
         "READS WRITES MAY_SEQUENCE | insert | T u:rq1 t:w | C & 0.k = L0 q1"},
        {"update t set a = 5, b = nextval('s') from u where t.id = u.id and u.x = any($1) and t.y = any(array[1,2])",
         "READS WRITES SESSION VOLATILE SEQUENCE FUNCTION | update where | T t:rw u:r | C & 0.id = 1.id & 1.x any $1 & 0.y any L2 L3 | F nextval/1v | W a b | V L0 ?"},
        {"delete from t",
         "READS WRITES NO_WHERE | delete | T t:rw"},
        {"begin isolation level serializable read only; set local search_path = 'a', b; set x to on; commit and chain",
         "SESSION TXN MULTI | begin read_only repeatable | set 'search_path' local =2 L0 | set 'x' =1 on | commit chain"},
        {"set session characteristics as transaction isolation level repeatable read",
         "SESSION | set 'SESSION CHARACTERISTICS' repeatable characteristics"},
        {"set transaction read write",
         "TXN | set 'TRANSACTION' read_write"},
        {"reset all; discard all; discard temp; deallocate all; deallocate p; close all; unlisten *; listen c; notify c, 'x'",
         "WRITES SESSION MULTI | reset all | discard all | discard temp | deallocate all | deallocate 'p' | close all | unlisten all | listen 'c' | notify 'c'"},
        {"explain (analyze, costs off) delete from t where a = 1",
         "READS WRITES | explain/delete analyze where | T t:rw | C & 0.a = L0"},
        {"explain delete from t",
         "READS | explain/delete | T t:rw"},
        {"declare c cursor with hold for select * from t for share",
         "READS LOCKS SESSION | declare/select 'c' hold | T t:rl | O -1.*"},
        {"prepare p as insert into t values (1)",
         "WRITES SESSION MAY_SEQUENCE | prepare/insert 'p' | T t:w | V L0"},
        {"execute p(1)",
         "READS WRITES SESSION UNSURE_FUNCTION | execute 'p'"},
        {"create temp table t (a int default nextval('x'))",
         "DEFINES SESSION TEMP VOLATILE SEQUENCE FUNCTION | ddl [create table] temp | T t:d | F nextval/1v | Y int4"},
        {"create table pg_temp.x as select * from t where a = 5",
         "READS WRITES DEFINES SESSION TEMP | ddl/select [create table] temp where | T t:r pg_temp.x:d | C & 0.a = L0 | O -1.*"},
        {"select * into temp x from t",
         "READS WRITES DEFINES SESSION TEMP | ddl/select [create table] temp | T t:r x:wd | O -1.*"},
        {"drop table a.b, c; drop policy p on s.t; drop materialized view m; drop function f(int)",
         "DEFINES MULTI PRIVILEGE | ddl [drop table] | privilege [drop policy] | ddl [drop materialized view] | ddl [drop function] | T a.b:d c:d s.t:d m:d | Y int4 int4"},
        {"alter table t owner to x",
         "DEFINES PRIVILEGE | ddl [alter table] | T t:d"},
        {"alter table t enable row level security",
         "DEFINES PRIVILEGE | ddl [alter table] | T t:d"},
        {"grant select on t to x",
         "DEFINES PRIVILEGE | privilege | T t:d"},
        {"create view v as select * from t where a = 1",
         "READS DEFINES | ddl [create view] where | T v:d t:r | C & 1.a = L0 | O -1.*"},
        {"select pg_advisory_lock(1), lastval(), set_config('a','b',false), myfunc(1), s.f(2), lower('x'), current_user, now(), row_number() over (), random()",
         "WRITES SESSION VOLATILE STABLE UNSURE_FUNCTION ADVISORY LASTVAL SET_CONFIG FUNCTION SESSION_READ | select window | F pg_advisory_lock/1v lastval/0v set_config/3v myfunc/1? s.f/1? lower/1i pg_catalog.current_user/0s now/0s row_number/0i+over random/0v | O f0 f1 f2 f3 f4 f5 ? f7 f8 f9"},
        {"select current_timestamp, a at time zone 'utc', extract(year from b), a::regclass, cast('5' as numeric(10,2)), '{1}'::int[] from t",
         "READS STABLE FUNCTION | select | T t:r | F pg_catalog.current_timestamp/0s pg_catalog.timezone/2s pg_catalog.extract/2s | O ? f1 f2 ? ? ? | Y regclass numeric int4"},
        {"copy t (a,b) from stdin",
         "WRITES MAY_SEQUENCE STREAM | copy from | T t:w"},
        {"copy (select * from t where a = 1) to '/tmp/x'",
         "READS SERVER_FILE | copy to where | T t:r | C & 0.a = L0 | O -1.*"},
        {"lock table a, b in exclusive mode",
         "LOCKS | lock | T a:l b:l"},
        {"truncate a, b",
         "WRITES | truncate | T a:w b:w"},
        {"vacuum t; analyze t; reindex table t; cluster t using i; checkpoint",
         "READS WRITES MULTI | vacuum | analyze | reindex | cluster | checkpoint | T t:r t:r t:d t:d"},
        {"do $$ x $$",
         "READS WRITES SESSION UNSURE_FUNCTION | do"},
        {"call p(1)",
         "READS WRITES SESSION UNSURE_FUNCTION FUNCTION | call | F p/1?"},
        {"merge into t using s on t.id = s.id when matched then update set a = 1 when not matched then insert values (1)",
         "READS WRITES MAY_SEQUENCE | merge | T t:rw s:r | C ~ 0.id = 1.id"},
        {"select (a, b) = (1, $2), c is distinct from 5, d like 'x%', e not in (1), f ~ 'x' from t",
         "READS | select | T t:r | C ~ 0.a = L0 ~ 0.b = $2 ~ 0.c distinct L1 ~ 0.d like L2 ~ 0.e !in L3 ~ 0.f op L4 | O ? ? ? ? ?"},
        {"select * from (select * from a where x = 1) s where s.x = 2",
         "READS | select where j0 s1 c0 u0 | T a:rq1 | C & 0.x = L0 q1 & -1.x = L1 | O -1.*"},
        {"select * from a, lateral (select * from b where b.x = a.x and y = 1) s, f(a.z) g",
         "READS WRITES UNSURE_FUNCTION FUNCTION | select j2 s1 c0 u0 | T a:r b:rq1 | C & 1.x = 0.x q1 & -1.y = L0 q1 | F f/1? | O -1.*"},
        {"select x where",
         "UNSURE SYNTAX error:syntax error at end of input@15"},
        {"refresh materialized view m",
         "WRITES DEFINES | ddl [alter materialized view] | T m:wd"},
        {"select * from only t where true and t.a",
         "READS | select where | T only:t:r | O -1.*"},
        {"select 1 from t where exists (select 1 from u where u.a = t.a) and t.b = (select max(b) from t)",
         "READS FUNCTION | select where j0 s2 c0 u0 | T t:r u:rq1 t:rq2 | C & 1.a = 0.a q1 & 0.b = ? | F max/1i+agg | O ?"},
        {"create index i on t (lower(a)) where b = 5",
         "DEFINES FUNCTION | ddl [create index] | T t:d | C ~ -1.b = L0 | F lower/1i"},
        {"select foo(10) 'abc'",
         "UNSURE | select | O ? | Y foo"},
        {"savepoint a; rollback to savepoint a; release a; prepare transaction 'x'; commit prepared 'x'; rollback prepared 'x'",
         "TXN MULTI | savepoint 'a' | rollback to 'a' | release 'a' | prepare transaction 'x' | commit prepared 'x' | rollback prepared 'x'"},
        {"comment on table t is 'x'",
         "DEFINES | ddl [alter table]"},
        {"show all",
         "SESSION_READ | show 'all'"},
        {"load 'x'",
         "SESSION SERVER_FILE | load"},
        {"create role x password 'y'",
         "DEFINES PRIVILEGE | privilege [create role]"},
        {"set role x; set session authorization default; set time zone 5",
         "SESSION MULTI | set 'role' =1 x | set 'session_authorization' default | set 'timezone' =1 L0"},
        {"select * from t where $1::int = id and id2 = '5'::bigint and id3::text = '4'",
         "READS | select where | T t:r | C & 0.id = $1::int4 & 0.id2 = L0::int8 | O -1.* | Y int4 int8 text"},
        {"select 1",
         "| select | O ?"},
        {"select x.a from t x, u x2 where x.a = x2.b and c = 5",
         "READS | select where j1 s0 c0 u0 | T t=x:r u=x2:r | C & 0.a = 1.b & -1.c = L0 | O 0.a"},
        {"select t.a from s.t where s.t.a = 5 and r.t.b = 6",
         "READS | select where | T s.t:r | C & 0.a = L0 & -1.b = L1 | O 0.a"},
        {"select a from t where (b = 1 and c = 2) and (d = 3 or e = 4)",
         "READS | select where | T t:r | C & 0.b = L0 & 0.c = L1 ~ 0.d = L2 ~ 0.e = L3 | O 0.a"},
        {"select * from a full join b on a.x = 1 join c on c.y = 2",
         "READS | select j2 s0 c0 u0 | T a:r b:r c:r | C ~ 0.x = L0 & 2.y = L1 | O -1.*"},
        {"select * from a left join (b join c on b.x = 1) on c.y = 2 where a.z = 3",
         "READS | select where j2 s0 c0 u0 | T a:r b:r c:r | C ~ 1.x = L0 ~ 2.y = L1 & 0.z = L2 | O -1.*"},
        {"select * from a right join b on a.x = b.x and b.y = 5",
         "READS | select j1 s0 c0 u0 | T a:r b:r | C ~ 0.x = 1.x ~ 1.y = L0 | O -1.*"},
        {"select (select id from u where k = 5) from t",
         "READS | select j0 s1 c0 u0 | T t:r u:rq1 | C & -1.k = L0 q1 | O ?"},
        {"select a from t where b = $1 limit $2",
         "READS | select where limit | T t:r | C & 0.b = $1 | O 0.a"},
        {"select a from (select b from u) x where x.b = 5 intersect select 1",
         "READS | select where j0 s1 c0 u1 | T u:rq2 | C & -1.b = L0 q1 | O -1.a"},
        {"insert into t values (1, (select 2), $1 + 1)",
         "WRITES MAY_SEQUENCE | insert j0 s1 c0 u0 | T t:w | V L0 ? ?"},
        {"insert into t (a, b.c) overriding user value values (1, 2), (3) on conflict (a) where b do nothing",
         "WRITES MAY_SEQUENCE | insert conflict user_value indirect uneven | T t:w | W a b | V L0 L1 | V L2"},
        {"insert into t values (1) on conflict (a collate x) do update set (b, c) = (1, 2), d = -$1",
         "WRITES MAY_SEQUENCE | insert conflict do_update | T t:w | W b c d | V L0 | U ? ? ?"},
        {"insert into t default values",
         "WRITES MAY_SEQUENCE | insert | T t:w"},
        {"with a as (select * from a) select * from a",
         "READS | select j0 s0 c1 u0 | T a:rq1 | O -1.*"},
        {"with a as (select 1), b as (select * from a) select * from b join public.a on true",
         "READS | select j1 s0 c2 u0 | T public.a:r | O -1.*"},
        {"update only t as x set (a, b) = (select 1, 2) where x.c = 5 returning x.*",
         "READS WRITES | update where returning j0 s2 c0 u0 | T only:t=x:rw | C & 0.c = L2 | O 0.* | W a b | V ? ?"},
        {"delete from t using u where t.id = u.id and u.k = null",
         "READS WRITES | delete where | T t:rw u:r | C & 0.id = 1.id & 1.k = null"},
        {"select * from t where a = true and b is not null and c not between 1 and 2 and d not like 'x' and e is not distinct from 3",
         "READS | select where | T t:r | C & 0.a = true & 0.b not null & 0.c !between L0 L1 & 0.d !like L2 & 0.e !distinct L3 | O -1.*"},
        {"select * from t where $1 > a and 'x' = b",
         "READS | select where | T t:r | C & 0.a < $1 & 0.b = L0 | O -1.*"},
        {"select count(distinct a), sum(b) filter (where c > 5), myagg(d order by e), array_agg(f) over w from t window w as (partition by g)",
         "READS WRITES UNSURE_FUNCTION FUNCTION | select aggregate window | T t:r | C ~ 0.c > L0 | F count/1i+agg sum/1i+agg myagg/1?+agg array_agg/1i+agg+over | O f0 f1 f2 f3"},
        {"select * from t where id operator(pg_catalog.=) 5 and id operator(my.=) 6",
         "READS WRITES UNSURE_FUNCTION | select where | T t:r | C & 0.id = L0 & 0.id op L1 | O -1.*"},
        {"alter sequence s restart; create sequence s; create database x; drop role r; alter role r set a = 'b'",
         "DEFINES MULTI PRIVILEGE | ddl [alter sequence] | ddl [create sequence] | ddl [create database] | privilege [drop role] | privilege [alter role] | T s:d s:d"},
        {"create rule r as on insert to t do instead (insert into u values (1); delete from v)",
         "READS WRITES DEFINES NO_WHERE MAY_SEQUENCE | ddl [create rule] | T t:d u:w v:rwq2 | V L0"},
        {"create function f() returns int language sql begin atomic select a from t; end",
         "READS DEFINES | ddl [create function] | T t:r | O 0.a | Y int4"},
        {"create view v as select 1; comment on column t.a is 'x'; alter table a rename to b; alter function f() set schema s",
         "DEFINES MULTI | ddl [create view] | ddl [alter column] | ddl [alter table] | ddl [alter function] | T v:d a:d | O ?"},
        {"explain select 1; explain (analyze off) insert into t values (1); explain analyze execute p(1)",
         "READS WRITES SESSION UNSURE_FUNCTION MULTI | explain/select | explain/insert | explain/execute analyze | T t:w | O ? | V L1"},
        {"set constraints all deferred; set local x to default; set x from current; set transaction snapshot '1'",
         "SESSION TXN MULTI | set constraints | set 'x' local default | set 'x' default | set 'TRANSACTION SNAPSHOT'"},
        {"begin; insert into t values (1); commit",
         "WRITES TXN MULTI MAY_SEQUENCE | begin | insert | commit | T t:w | V L0"},
        {"select nextval('s'), setval('s', 1), currval('s')",
         "SESSION VOLATILE SEQUENCE LASTVAL FUNCTION SESSION_READ | select | F nextval/1v setval/2v currval/1v | O f0 f1 f2"},
        {"copy t to stdout; copy t from '/tmp/x' where a > 5; copy t from program 'x'",
         "READS WRITES MULTI MAY_SEQUENCE SERVER_FILE STREAM | copy to | copy from | copy from | T t:r t:w t:w | C ~ -1.a > L1"},
        {"fetch 5 from c; move all in c; declare d cursor for select 1",
         "READS MULTI | fetch 'c' | fetch 'c' | declare/select 'd' | O ?"},
        {"select pg_try_advisory_xact_lock(1), pg_advisory_unlock_all(), setseed(0.5), query_to_xml('a', true, true, '')",
         "WRITES LOCKS SESSION VOLATILE UNSURE_FUNCTION ADVISORY FUNCTION SEED | select | F pg_try_advisory_xact_lock/1v pg_advisory_unlock_all/0v setseed/1v query_to_xml/4? | O f0 f1 f2 f3"},
        {"table t; values (1, 'x'), ($1, null)",
         "READS MULTI | select | select | T t:r | O -1.*"},
        {"select * from xmltable('/r' passing x.doc columns a int path 'a'), rows from (f(1), generate_series(1, 2)) g",
         "WRITES STABLE UNSURE_FUNCTION FUNCTION | select j1 s0 c0 u0 | F f/1? generate_series/2s | O -1.* | Y int4"},
    };
    /* clang-format on */

    check(cases, HD_ARRAY_LEN(cases));
}

/* What is kept of a syntax error never quotes the text. */
static void errors(void)
{
    struct hd_facts *f = facts_of("select 'x' 'it is secret'");

    CU_ASSERT_EQUAL(f->flags, HD_FACT_UNSURE | HD_FACT_SYNTAX_ERROR);
    CU_ASSERT_STRING_EQUAL(f->error, "syntax error");
    CU_ASSERT_EQUAL(f->error_at, 12);
    hd_facts_free(f);
    f = facts_of("select 'unterminated");
    CU_ASSERT_EQUAL(f->flags, HD_FACT_UNSURE);
    CU_ASSERT_PTR_NULL(f->error);
    hd_facts_free(f);
    f = facts_of("/* howdah: cache=no */ select 1");
    CU_ASSERT_STRING_EQUAL(f->hint, "cache=no");
    CU_ASSERT_EQUAL(f->flags, 0);
    hd_facts_free(f);
}

/* A literal that libpg_query keeps though the scanner left it out of the key. */
static void literals_that_matter(void)
{
    static const char *const unsure[] = {
        "select foo(10) 'abc'",
        "select a::int array[3]",
        "select * from f(1) t(a foo(3))",
    };
    static const char *const sure[] = {
        "select 1, 'a', E'a', U&'a', n'a', b'1', x'1', $$a$$, $t$a$t$, 1.5, .5, 5.",
        "select 1e5, 2147483647, 99999999999, -1",
        "select a from t order by 1, f(2) limit 5 offset 6",
        "set x = 'y'",
        "select a::numeric(10, 2), interval '1' day, date '2020-01-01' from t",
        "insert into t values (1, 'x'), (2, $1)",
        "explain (analyze, buffers 1) select 5",
        "select 'a'\n'b'",
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(unsure); i++) {
        struct hd_facts *f = facts_of(unsure[i]);

        CU_ASSERT_EQUAL(f->flags & HD_FACT_UNSURE, HD_FACT_UNSURE);
        hd_facts_free(f);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(sure); i++) {
        struct hd_facts *f = facts_of(sure[i]);

        if (f->flags & HD_FACT_UNSURE)
            printf("# %s\n", sure[i]);
        CU_ASSERT_EQUAL(f->flags & HD_FACT_UNSURE, 0);
        hd_facts_free(f);
    }
}

static void nested(const char *head, const char *rep, int n, const char *tail, const char *close,
                   uint64_t unsure)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    struct hd_facts *f;

    hd_strbuf_puts(&b, head);
    for (int i = 0; i < n; i++)
        hd_strbuf_puts(&b, rep);
    hd_strbuf_puts(&b, tail);
    for (int i = 0; i < n; i++)
        hd_strbuf_puts(&b, close);
    f = facts_of(hd_strbuf_str(&b));
    CU_ASSERT_EQUAL(f->flags & HD_FACT_UNSURE, unsure);
    hd_facts_free(f);
    hd_strbuf_free(&b);
}

static void depth(void)
{
    nested("select ", "(", 10000, "1", ")", HD_FACT_UNSURE);
    nested("select ", "(", 100000, "", "", HD_FACT_UNSURE);
    nested("select 1", "+1", 100000, "", "", HD_FACT_UNSURE);
    nested("select ", "not ", 10000, "a", "", HD_FACT_UNSURE);
    nested("select 1", " union all select 1", 10000, "", "", HD_FACT_UNSURE);
    nested("select ", "(select ", 10000, "1", ")", HD_FACT_UNSURE);
    nested("select * from a", " join b on true", 10000, "", "", HD_FACT_UNSURE);
    nested("select ", "case when true then 1 else ", 10000, "1", " end", HD_FACT_UNSURE);
    /* the deepest that is let through has to fit the stack */
    nested("select ", "(", 390, "1", ")", 0);
    nested("select 1", "+1", 1190, "", "", 0);
    nested("select ", "not ", 1190, "a", "", 0);
    nested("select a", "::int", 590, "", "", 0);
    nested("select 1", " union all select 1", 390, "", "", 0);
    nested("select ", "(select ", 290, "1", ")", 0);
    nested("select * from a", " join b on true", 390, "", "", 0);
    nested("select ", "f(", 290, "1", ")", 0);
    nested("select ", "array[", 290, "1", "]", 0);
}

static void bounds(void)
{
    nested("select 1", ";select 1", HD_FACTS_MAX_STATEMENTS - 1, "", "", 0);
    nested("select 1", ";select 1", HD_FACTS_MAX_STATEMENTS, "", "", HD_FACT_UNSURE);
    nested("select * from a where x in (1", ",1", 5000, ")", "", 0);
    nested("select * from a where x in (a", ",a", HD_FACTS_MAX_ITEMS, ")", "", HD_FACT_UNSURE);
    nested("select * from a", ",a", HD_FACTS_MAX_ITEMS, "", "", HD_FACT_UNSURE);
}

static void functions(void)
{
    CU_ASSERT_PTR_NULL(hd_known_function("no_such_function"));
    CU_ASSERT_PTR_NULL(hd_known_function(""));
    CU_ASSERT_EQUAL(hd_known_function("lower")->volatility, HD_IMMUTABLE);
    CU_ASSERT_EQUAL(hd_known_function("abs")->volatility, HD_IMMUTABLE);
    CU_ASSERT_EQUAL(hd_known_function("now")->volatility, HD_STABLE);
    CU_ASSERT_EQUAL(hd_known_function("random")->volatility, HD_VOLATILE);
    CU_ASSERT_EQUAL(hd_known_function("xpath_exists")->volatility, HD_IMMUTABLE);
    CU_ASSERT_EQUAL(hd_known_function("nextval")->flags, HD_FACT_SEQUENCE | HD_FACT_SESSION);
    CU_ASSERT_EQUAL(hd_known_function("count")->aggregate, 1);
    CU_ASSERT_STRING_EQUAL(hd_statement_name(HD_STATEMENT_ROLLBACK_TO), "rollback to");
    for (int k = 0; k < HD_STATEMENT_KINDS; k++)
        CU_ASSERT_PTR_NOT_NULL(hd_statement_name((enum hd_statement_kind)k));
}

static const char busy[] =
    "with a as (select 1) insert into t (x, y) select b.x, lower(b.y) from a, b where b.z in "
    "(1, $1, 'c') and b.k = now() returning x";

static void parse_once(void *arg)
{
    struct hd_facts *f = NULL;
    int rc;

    (void)arg;
    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(busy, sizeof(busy) - 1, &scan), HD_OK);
    rc = hd_facts_parse(busy, sizeof(busy) - 1, &scan, &f);
    CU_ASSERT(rc == HD_OK || (rc == HD_ENOMEM && !f));
    hd_facts_free(f);
}

static void no_memory(void)
{
    int failures;

    parse_once(NULL); /* the scan's buffers are there: what fails now is the facts' */
    failures = unit_each_alloc_failure(parse_once, NULL);
    CU_ASSERT(!unit_can_fail_alloc() || failures > 5);
}

static void *parse_many(void *arg)
{
    struct hd_scan own = HD_SCAN_INIT;
    struct hd_strbuf dump = HD_STRBUF_INIT;
    int *failed = arg;

    for (int i = 0; i < 200; i++) {
        struct hd_facts *f = NULL;

        if (hd_scan_normalize(busy, sizeof(busy) - 1, &own) != HD_OK ||
            hd_facts_parse(busy, sizeof(busy) - 1, &own, &f) != HD_OK) {
            *failed = 1;
            break;
        }
        hd_strbuf_reset(&dump);
        sql_dump(&dump, f);
        if (!strstr(hd_strbuf_str(&dump), "in L1 $1 L2"))
            *failed = 1;
        hd_facts_free(f);
    }
    hd_strbuf_free(&dump);
    hd_scan_free(&own);
    return NULL;
}

static void threads(void)
{
    pthread_t t[4];
    int failed[4] = {0};

    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, parse_many, &failed[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        CU_ASSERT_EQUAL(failed[i], 0);
    }
}

static void finish(void)
{
    hd_scan_free(&scan);
    CU_ASSERT_PTR_NULL(scan.text);
}

UNIT_MAIN("sql facts", {"statements", statements}, {"errors and hints", errors},
          {"literals that matter", literals_that_matter}, {"depth", depth}, {"bounds", bounds},
          {"known functions", functions}, {"no memory", no_memory}, {"four threads", threads},
          {"buffers are freed", finish})
