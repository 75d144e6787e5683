/*
 * The scanner: what it writes, what belongs to a template's key, what it counts, and what it gives up on.
 */
#include "unit.h"
#include "base/alloc.h"
#include "base/strbuf.h"
#include "sql/scan.h"

#include <howdah/error.h>
#include <stdio.h>
#include <string.h>

static struct hd_scan scan_a, scan_b;

static const char *norm(const char *sql)
{
    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &scan_a), HD_OK);
    return scan_a.text;
}

struct pair {
    const char *a, *b;
};

static void check_texts(const struct pair *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *got = norm(p[i].a);

        CU_ASSERT_EQUAL(scan_a.flags, 0);
        if (strcmp(got, p[i].b) != 0)
            printf("# %s\n#   gives   %s\n#   not     %s\n", p[i].a, got, p[i].b);
        CU_ASSERT_STRING_EQUAL(got, p[i].b);
    }
}

static void check_keys(const struct pair *p, size_t n, int same)
{
    for (size_t i = 0; i < n; i++) {
        int equal;

        CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(p[i].a, strlen(p[i].a), &scan_a), HD_OK);
        CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(p[i].b, strlen(p[i].b), &scan_b), HD_OK);
        CU_ASSERT_EQUAL(scan_a.flags | scan_b.flags, 0);
        equal = hd_hash128_eq(scan_a.key, scan_b.key);
        if (equal != same)
            printf("# %s\n# %s\n#   should %sbe one template\n", p[i].a, p[i].b, same ? "" : "not ");
        CU_ASSERT_EQUAL(equal, same);
    }
}

static void plain(void)
{
    static const struct pair t[] = {
        {"", ""},
        {"  \n\t ", ""},
        {"SELECT 1", "select $1"},
        {"  select\n\t a , b\r\nfrom\fT  ", "select a , b from t"},
        {"select 'it''s', E'it\\'s', N'x', b'01', X'1f'", "select $1, $2, $3, $4, $5"},
        {"select $$a'b$$, $t$ $$ $x$ $t$, $_1$x$_1$", "select $1, $2, $3"},
        {"select U&'d\\0061t', u&'x!0061' uescape '!'", "select $1, $2 uescape $3"},
        {"select U&\"d\\0061t\" uescape '!', \"Mixed\"\"Q\"",
         "select u&\"d\\0061t\" uescape $1, \"Mixed\"\"Q\""},
        {"select 'a'\n  'b'\n'c', 'd'", "select $1, $2"},
        {"select 'a' 'b'", "select $1 $2"},
        {"select'a'from t", "select $1 from t"},
        {"select b'01''10'", "select $1 $2"},
        {"select e, u, x, b, n, e.x, u & 'x'", "select e, u, x, b, n, e.x, u & $1"},
        {"select \xc3\x89T\xc3\xa9", "select \xc3\x89t\xc3\xa9"},
        {"select a$1, a1b, _x", "select a$1, a1b, _x"},
        {"select null, TRUE, false", "select null, true, false"},
        {"select /* 'x' /* nested */ */ a--b 'c'\n, d", "select a , d"},
        {"select a --", "select a"},
        {"select+/**/-1, a-/* */-1", "select+ -$1, a- -$2"},
        {"select a*/b, 1/2", "select a*/b, $1/$2"},
        {"/* howdah: cache=no */ select 1;", "select $1;"},
        {"select ';' ; select 2", "select $1 ; select $2"},
    };

    check_texts(t, sizeof(t) / sizeof(t[0]));
}

static void numbers(void)
{
    static const struct pair t[] = {
        {"select 1, 1.5, .5, 5., 1e5, 1.5E-3, 1.e+2, 2147483648", "select $1, $2, $3, $4, $5, $6, $7, $8"},
        {"select 1..2, a[1:2], 1.5.5", "select $1..$2, a[$3:$4], $5 $6"},
        {"select -1, - 1, a-1, a - -1, a<-1", "select -$1, - $2, a-$3, a - -$4, a<-$5"},
        {"select $1, $12, 5, $3 + 7", "select $1, $12, $13, $3 + $14"},
        {"select 5, $1", "select $2, $1"},
        {"select 5$1", "select $2$1"},
        {"select t.a, t.5, t . 5", "select t.a, t $1, t . $2"},
    };
    static const uint8_t kinds[] = {HD_LITERAL_INTEGER, HD_LITERAL_NUMERIC, HD_LITERAL_NUMERIC,
                                    HD_LITERAL_NUMERIC, HD_LITERAL_NUMERIC, HD_LITERAL_NUMERIC,
                                    HD_LITERAL_NUMERIC, HD_LITERAL_NUMERIC};

    check_texts(t, sizeof(t) / sizeof(t[0]));
    norm(t[0].a);
    CU_ASSERT_EQUAL_FATAL(scan_a.n_literals, 8);
    for (size_t i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(scan_a.literals[i].kind, kinds[i]);
}

/* One template, whatever the literals are. */
static void same_key(void)
{
    static const struct pair t[] = {
        {"select a from t where b = 1", "SELECT  a\nFROM t WHERE b = 42"},
        {"select 'a'", "select $x$b$x$ -- why"},
        {"select * from t where a in (1, 2) order by b limit 10",
         "select * from t where a in (3, 4) order by b limit 20"},
        {"select f(1) from t order by a offset 5 limit 1", "select f(2) from t order by a offset 7 limit 3"},
        {"select cast(a as int) + 1", "select cast(a as int) + 2"},
        {"with x as (select 1) select * from x", "with x as (select 2) select * from x"},
        {"with x as materialized (select 1) select 1", "with x as materialized (select 2) select 1"},
        {"insert into t (a, b) values (1, 'x')", "insert into t (a, b) values (2, 'y')"},
        {"set statement_timeout = 5", "set statement_timeout = 6"},
        {"explain select * from t where a = 5", "explain select * from t where a = 6"},
        {"explain (costs off) select 5", "explain (costs off) select 6"},
        {"begin; select 1; commit", "begin; select 2; commit"},
        {"declare c cursor for select 1", "declare c cursor for select 2"},
        {"(select 1) union (select 2)", "(select 3) union (select 4)"},
        {"select a::int + 1, b::text = 'c' and (d = 1)", "select a::int + 2, b::text = 'd' and (d = 2)"},
    };

    check_keys(t, sizeof(t) / sizeof(t[0]), 1);
}

/* libpg_query tells these apart, or another kind of literal may mean another parse. */
static void other_key(void)
{
    static const struct pair t[] = {
        {"select 1", "select '1'"},
        {"select 1", "select 1.0"},
        {"select 1", "select $1"},
        {"select 1", "select 99999999999"},
        {"select 'a'", "select n'a'"},
        {"select n'a'", "select n 'a'"},
        {"select b'1'", "select x'1'"},
        {"select a from t order by 1", "select a from t order by 2"},
        {"select a from t order by b, 1", "select a from t order by b, 2"},
        {"select a from t order by (1)", "select a from t order by (2)"},
        {"select a from t order by t.limit, 1", "select a from t order by t.limit, 2"},
        {"select a from t group by -1", "select a from t group by -2"},
        {"select a::varchar(1)", "select a::varchar(2)"},
        {"select a::foo.bar(1)", "select a::foo.bar(2)"},
        {"select a::\"T\" (1)", "select a::\"T\" (2)"},
        {"select cast(a as numeric(1,2))", "select cast(a as numeric(1,3))"},
        {"select cast(a as foo(1))", "select cast(a as foo(2))"},
        {"select a::int[1]", "select a::int[2]"},
        {"select a::varchar(5)[1]", "select a::varchar(5)[2]"},
        {"select interval(1) '1'", "select interval(2) '1'"},
        {"select current_timestamp(1)", "select current_timestamp(2)"},
        {"select * from f() as (a foo(1))", "select * from f() as (a foo(2))"},
        {"select * from f() as t(a foo(1))", "select * from f() as t(a foo(2))"},
        {"create table t (a int default 1)", "create table t (a int default 2)"},
        {"execute p(1)", "execute p(2)"},
        {"explain (buffers 1) select 1", "explain (buffers 0) select 1"},
        {"create function f() begin atomic select 1; select 2; end",
         "create function f() begin atomic select 1; select 3; end"},
        {"fetch 1 from c", "fetch 2 from c"},
        {"select u&'a' uescape '!'", "select u&'a' uescape '?'"},
        {"select a from t", "select a from \"T\""},
        {"/* howdah: a */ select 1", "/* howdah: b */ select 1"},
        {"/* howdah: a */ select 1", "select 1"},
    };

    check_keys(t, sizeof(t) / sizeof(t[0]), 0);
}

static void literals(void)
{
    static const char sql[] = "select a, 'it''s' from t where b = -12 order by 2";

    norm(sql);
    CU_ASSERT_EQUAL_FATAL(scan_a.n_literals, 3);
    CU_ASSERT_EQUAL(scan_a.literals[0].offset, 10);
    CU_ASSERT_EQUAL(scan_a.literals[0].len, 7);
    CU_ASSERT_EQUAL(scan_a.literals[0].kind, HD_LITERAL_STRING);
    CU_ASSERT_EQUAL(scan_a.literals[0].in_key, 0);
    CU_ASSERT_EQUAL(scan_a.literals[1].offset, 36);
    CU_ASSERT_EQUAL(scan_a.literals[1].len, 2);
    CU_ASSERT_EQUAL(scan_a.literals[2].in_key, 1);
    CU_ASSERT_EQUAL(memcmp(sql + scan_a.literals[2].offset, "2", 1), 0);
    norm("select $7, 1");
    CU_ASSERT_EQUAL(scan_a.n_params, 7);
}

static void counts(void)
{
    static const struct {
        const char *sql;
        uint32_t statements;
    } t[] = {
        {"", 0},
        {";", 0},
        {" ; -- x\n;", 0},
        {"select 1", 1},
        {"select 1;", 1},
        {"begin;commit", 2},
        {"a;;b;/* c */;d", 3},
        {"create rule r do (a; b)", 1},
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        norm(t[i].sql);
        CU_ASSERT_EQUAL(scan_a.n_statements, t[i].statements);
    }
}

static void hints(void)
{
    static const char sql[] = "select /* no */ 1 /* howdah:  cache = off\n*/ /*howdah:second*/";

    norm(sql);
    CU_ASSERT_EQUAL_FATAL(scan_a.hint_len, 11);
    CU_ASSERT_EQUAL(memcmp(sql + scan_a.hint_offset, "cache = off", 11), 0);
    norm("select '/* howdah: x */' /* howdah: */ /* xhowdah: y */ -- howdah: z");
    CU_ASSERT_EQUAL(scan_a.hint_len, 0);
}

static void unsure(void)
{
    static const struct {
        const char *sql;
        uint32_t flags;
    } t[] = {
        {"select 'a", HD_SCAN_INCOMPLETE},
        {"select 'a''", HD_SCAN_INCOMPLETE},
        {"select E'a\\'", HD_SCAN_INCOMPLETE},
        {"select E'a\\", HD_SCAN_INCOMPLETE},
        {"select 'a'\n'b", HD_SCAN_INCOMPLETE},
        {"select \"a", HD_SCAN_INCOMPLETE},
        {"select \"a\"\"", HD_SCAN_INCOMPLETE},
        {"select U&\"a", HD_SCAN_INCOMPLETE},
        {"select $$a$", HD_SCAN_INCOMPLETE},
        {"select $a$b$c$", HD_SCAN_INCOMPLETE},
        {"select /* a /* b */", HD_SCAN_INCOMPLETE},
        {"select /*/", HD_SCAN_INCOMPLETE},
        {"select 0x1f", HD_SCAN_JUNK},
        {"select 1_000", HD_SCAN_JUNK},
        {"select 1e", HD_SCAN_JUNK},
        {"select 1e+", HD_SCAN_JUNK},
        {"select 1.5abc", HD_SCAN_JUNK},
        {"select $1a", HD_SCAN_JUNK},
        {"select $65536", HD_SCAN_JUNK},
        {"select $99999999999999999999", HD_SCAN_JUNK},
        {"select $abc", HD_SCAN_JUNK},
        {"select \\x", HD_SCAN_JUNK},
        {"select {a}", HD_SCAN_JUNK},
        {"select \x01", HD_SCAN_JUNK},
        {"select 'a' -- b\n 'c'", HD_SCAN_JUNK},
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        norm(t[i].sql);
        if (scan_a.flags != t[i].flags)
            printf("# %s\n", t[i].sql);
        CU_ASSERT_EQUAL(scan_a.flags, t[i].flags);
    }
    CU_ASSERT_EQUAL(hd_scan_normalize("select\0a", 8, &scan_a), HD_OK);
    CU_ASSERT_EQUAL(scan_a.flags, HD_SCAN_JUNK);
    CU_ASSERT_EQUAL(hd_scan_normalize("select 'a\0b'", 12, &scan_a), HD_OK);
    CU_ASSERT_EQUAL(scan_a.flags, HD_SCAN_JUNK);
    CU_ASSERT_EQUAL(hd_scan_normalize("", (size_t)1 << 31, &scan_a), HD_OK);
    CU_ASSERT_EQUAL(scan_a.flags, HD_SCAN_TOO_LONG);
}

/* Every prefix of a text is scanned without reading past it (the sanitizers watch). */
static void prefixes(void)
{
    static const char sql[] =
        "select u&'x' uescape '!', E'\\n', $a$ $ $a$, 1.5e+3, $12, a::varchar(3) /* x */ -- y\n "
        "from \"t\" where n'x'\n'y' = b'1' order by 1;";

    for (size_t n = 0; n < sizeof(sql); n++) {
        char *copy = hd_malloc(n ? n : 1);

        memcpy(copy, sql, n);
        CU_ASSERT_EQUAL(hd_scan_normalize(copy, n, &scan_a), HD_OK);
        hd_free(copy);
    }
}

static void repeat(struct hd_strbuf *b, const char *s, int n)
{
    while (n-- > 0)
        hd_strbuf_puts(b, s);
}

static uint32_t flags_of(const char *head, const char *rep, int n, const char *tail, const char *close)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    uint32_t flags;

    hd_strbuf_puts(&b, head);
    repeat(&b, rep, n);
    hd_strbuf_puts(&b, tail);
    repeat(&b, close, n);
    CU_ASSERT_EQUAL(hd_scan_normalize(hd_strbuf_str(&b), b.len, &scan_a), HD_OK);
    flags = scan_a.flags;
    hd_strbuf_free(&b);
    return flags;
}

static void depth(void)
{
    CU_ASSERT_EQUAL(flags_of("select ", "(", 300, "1", ")"), 0);
    CU_ASSERT_EQUAL(flags_of("select ", "(", 401, "1", ")"), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", "(", 100000, "", ""), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", "[", 100000, "", ""), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", ")", 100000, "", ""), 0);
    CU_ASSERT_EQUAL(flags_of("select 1", "+1", 1000, "", ""), 0);
    CU_ASSERT_EQUAL(flags_of("select 1", "+1", 5000, "", ""), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", "not ", 5000, "a", ""), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select a", "::int", 5000, "", ""), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select 1,2", " union select 1,2", 5000, "", ""), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select * from a", " join b on a.x = b.x and a.y = b.y", 5000, "", ""),
                    HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", "case when a and b then 1 else ", 5000, "1", " end"),
                    HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", "(1+1+1+1+1+1+1+1+1+1+", 300, "1", ")"), HD_SCAN_TOO_DEEP);
    CU_ASSERT_EQUAL(flags_of("select ", "(", 300, "1", "+1+1+1+1+1+1+1)"), HD_SCAN_TOO_DEEP);
    /* wide is not deep */
    CU_ASSERT_EQUAL(flags_of("select 1", ",a+1", 5000, "", ""), 0);
    CU_ASSERT_EQUAL(flags_of("select 1 where a=1", " or a=1", 5000, "", ""), 0);
    CU_ASSERT_EQUAL(flags_of("insert into t values (1)", ",(1,2,f(a))", 5000, "", ""), 0);
    CU_ASSERT_EQUAL(flags_of("", "select 1 + 1;", 5000, "", ""), 0);
}

static void many_literals(void)
{
    struct hd_scan fresh = HD_SCAN_INIT;
    struct hd_strbuf b = HD_STRBUF_INIT;

    hd_strbuf_puts(&b, "select 1");
    repeat(&b, ",1", HD_SCAN_MAX_LITERALS - 1);
    CU_ASSERT_EQUAL(hd_scan_normalize(hd_strbuf_str(&b), b.len, &fresh), HD_OK);
    CU_ASSERT_EQUAL(fresh.flags, 0);
    CU_ASSERT_EQUAL(fresh.n_literals, HD_SCAN_MAX_LITERALS);
    CU_ASSERT_EQUAL(strlen(fresh.text), fresh.len);
    CU_ASSERT_STRING_EQUAL(fresh.text + fresh.len - 13, "$16383,$16384");
    hd_strbuf_puts(&b, ",1");
    CU_ASSERT_EQUAL(hd_scan_normalize(hd_strbuf_str(&b), b.len, &fresh), HD_OK);
    CU_ASSERT_EQUAL(fresh.flags, HD_SCAN_TOO_MANY);
    hd_strbuf_free(&b);
    hd_scan_free(&fresh);
}

/* Adjacent short tokens, where the output grows most. */
static void growth(void)
{
    static const char *const unit[] = {"1 ", "''", "$1", "'a'b", "1-", "\"a\"1", "$9'' ", "$65535 1"};

    for (size_t i = 0; i < sizeof(unit) / sizeof(unit[0]); i++) {
        struct hd_scan fresh = HD_SCAN_INIT;
        struct hd_strbuf b = HD_STRBUF_INIT;

        repeat(&b, unit[i], 3000);
        CU_ASSERT_EQUAL(hd_scan_normalize(hd_strbuf_str(&b), b.len, &fresh), HD_OK);
        CU_ASSERT(fresh.len < fresh.cap);
        hd_strbuf_free(&b);
        hd_scan_free(&fresh);
    }
}

static void scan_once(void *arg)
{
    struct hd_scan fresh = HD_SCAN_INIT;
    int rc = hd_scan_normalize("select 'a', $1, 5 from t order by 1 /* howdah: x */", 51, &fresh);

    (void)arg;
    CU_ASSERT(rc == HD_OK || rc == HD_ENOMEM);
    hd_scan_free(&fresh);
}

static void no_memory(void)
{
    int failures = unit_each_alloc_failure(scan_once, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || failures >= 3);
}

static void finish(void)
{
    hd_scan_free(&scan_a);
    hd_scan_free(&scan_b);
    CU_ASSERT_PTR_NULL(scan_a.text);
}

UNIT_MAIN("sql scan", {"words, quotes, comments", plain}, {"numbers and parameters", numbers},
          {"what one template covers", same_key}, {"what tells templates apart", other_key},
          {"literals' places", literals}, {"statements are counted", counts}, {"hint comments", hints},
          {"given up", unsure}, {"every prefix", prefixes}, {"depth is bounded", depth},
          {"literals are bounded", many_literals}, {"output may grow", growth}, {"no memory", no_memory},
          {"buffers are freed", finish})
