/*
 * Which rows reads hang on and writes touch: templates of real texts over a small schema, and values of
 * executions in all their spellings.
 */
#include "unit.h"

#include <howdah/howdah.h>
#include <stdio.h>
#include <string.h>

#include "cache/row_value.h"
#include "cache/rows.h"
#include "plug/services.h"
#include "plug/template_service.h"
#include "plug/values.h"
#include "sql/template.h"

/* --- the schema ---------------------------------------------------------------------------------------- */

#define INT  HD_CANONICAL_INTEGER, 23
#define TEXT HD_CANONICAL_TEXT, 1043
#define KEY  (HD_COLUMN_UNIQUE | HD_COLUMN_IDENTITY | HD_COLUMN_NOT_NULL)

struct relation {
    const char *name, *parent;
    uint32_t kind, flags;
    const char *reads; /* of a view: what it is of */
    struct {
        const char *name;
        int32_t attnum;
        uint32_t position, canonical, type, flags;
    } columns[3];
};

static const struct relation schema[] = {
    {"t",
     NULL,
     HD_RELATION_TABLE,
     0,
     NULL,
     {{"id", 1, 1, INT, KEY}, {"email", 4, 3, TEXT, HD_COLUMN_UNIQUE}}},
    {"serial", NULL, HD_RELATION_TABLE, 0, NULL, {{"id", 1, 1, INT, KEY | HD_COLUMN_DEFAULT}}},
    {"log", NULL, HD_RELATION_TABLE, 0, NULL, {{NULL, 0, 0, 0, 0, 0}}},
    {"every", NULL, HD_RELATION_TABLE, 0, NULL, {{"a", 1, 1, INT, HD_COLUMN_IDENTITY}}},
    {"part", NULL, HD_RELATION_PARTITIONED, 0, NULL, {{"id", 1, 1, INT, KEY}}},
    {"part_1", "part", HD_RELATION_TABLE, 0, NULL, {{"id", 1, 1, INT, KEY}}},
    {"part_2",
     "part",
     HD_RELATION_TABLE,
     0,
     NULL,
     {{"id", 2, 2, INT, KEY}, {"own", 3, 3, INT, HD_COLUMN_UNIQUE}}},
    {"old", NULL, HD_RELATION_TABLE, 0, NULL, {{"id", 1, 1, INT, KEY}}},
    {"kid", "old", HD_RELATION_TABLE, 0, NULL, {{"id", 1, 1, INT, KEY}}},
    {"bare", "old", HD_RELATION_TABLE, 0, NULL, {{NULL, 0, 0, 0, 0, 0}}},
    {"tree", NULL, HD_RELATION_TABLE, HD_RELATION_CASCADED, NULL, {{"id", 1, 1, INT, KEY}}},
    {"v", NULL, HD_RELATION_VIEW, 0, "t", {{NULL, 0, 0, 0, 0, 0}}},
    {"m", NULL, HD_RELATION_MATVIEW, 0, NULL, {{NULL, 0, 0, 0, 0, 0}}},
};

#define SCHEMA (sizeof(schema) / sizeof(schema[0]))

/* What a text hangs on: numbers in the schema. */
struct hd_dependencies {
    uint32_t count;
    uint32_t relation[SCHEMA];
    int32_t mention[SCHEMA];
    uint32_t written[SCHEMA];
};

static uint32_t find_relation(const char *name, size_t len)
{
    for (uint32_t i = 0; i < SCHEMA; i++)
        if (strlen(schema[i].name) == len && !memcmp(schema[i].name, name, len))
            return i;
    CU_FAIL_FATAL("no such relation");
    return 0;
}

static void depend(struct hd_dependencies *d, uint32_t relation, int32_t mention, uint32_t written)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (d->relation[i] == relation) {
            d->written[i] |= written;
            return;
        }
    d->relation[d->count] = relation;
    d->mention[d->count] = mention;
    d->written[d->count++] = written;
    if (schema[relation].reads)
        depend(d, find_relation(schema[relation].reads, strlen(schema[relation].reads)), -1, written);
}

static struct hd_dependencies dependencies_of(const struct hd_template_v1 *templates, const hd_template *t)
{
    struct hd_template_table table = {.size = sizeof(table)};
    struct hd_dependencies d = {.count = 0};

    for (uint32_t i = 0; templates->table(t, i, &table) == HD_OK; i++)
        depend(&d, find_relation(table.name.ptr, table.name.len), (int32_t)i,
               table.access & HD_ACCESS_WRITE ? HD_RELATION_WRITTEN : 0);
    for (uint32_t i = 0; i < d.count; i++)
        for (uint32_t k = 0; k < SCHEMA; k++)
            if (schema[k].parent && !strcmp(schema[k].parent, schema[d.relation[i]].name))
                depend(&d, k, -1, d.written[i]);
    return d;
}

static int32_t give_info(const hd_dependencies *d, struct hd_dependencies_info *out)
{
    out->tables = d->count;
    return HD_OK;
}

static int32_t give_table(const hd_dependencies *d, uint32_t i, struct hd_dependency *out)
{
    const struct relation *r;

    if (i >= d->count)
        return HD_ENOENT;
    r = &schema[d->relation[i]];
    *out = (struct hd_dependency){.size = sizeof(*out),
                                  .oid = 100 + d->relation[i],
                                  .kind = r->kind,
                                  .flags = r->flags | d->written[i],
                                  .mention = d->mention[i],
                                  .name = hd_str_of(r->name)};
    out->flags |= d->mention[i] >= 0 ? HD_RELATION_NAMED : 0;
    for (uint32_t k = 0; r->parent && k < d->count; k++)
        if (!strcmp(schema[d->relation[k]].name, r->parent))
            out->parent = 100 + d->relation[k];
    while (out->columns < 3 && r->columns[out->columns].name)
        out->columns++;
    return HD_OK;
}

static int32_t give_column(const hd_dependencies *d, uint32_t table, uint32_t i,
                           struct hd_dependency_column *out)
{
    const struct relation *r = &schema[d->relation[table]];

    if (i >= 3 || !r->columns[i].name)
        return HD_ENOENT;
    *out = (struct hd_dependency_column){.size = sizeof(*out),
                                         .attnum = r->columns[i].attnum,
                                         .position = r->columns[i].position,
                                         .type = r->columns[i].type,
                                         .canonical = r->columns[i].canonical,
                                         .flags = r->columns[i].flags,
                                         .name = hd_str_of(r->columns[i].name)};
    return HD_OK;
}

static const struct hd_catalog_v1 catalog = {
    .size = sizeof(catalog), .info = give_info, .table = give_table, .column = give_column};

/* --- executions ---------------------------------------------------------------------------------------- */

static struct hd_values values;

static int32_t give_value(hd_host *host, const struct hd_statement *st, uint32_t n, struct hd_value *out)
{
    (void)host;
    return hd_values_get(&values, st, n, out);
}

static const struct hd_statement_v1 statements = {.size = sizeof(statements), .value = give_value};

/* The value's text, out of those that the cases use. */
static const char *text_of(uint64_t hash)
{
    static const char *const texts[] = {"-5", "1", "2", "3", "4", "5",       "6",
                                        "7",  "8", "9", "a", "b", "\xc3\xa9"};
    uint64_t other;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (uint32_t canonical = HD_CANONICAL_INTEGER; canonical <= HD_CANONICAL_TEXT; canonical += 2)
            if (cache_row_hash_text(canonical, hd_str_of(texts[i]), &other) && other == hash)
                return texts[i];
    return "??";
}

/* The number of the relation's column that stands in a mark. */
static int number_of(const struct cache_mark *m)
{
    const struct relation *r = &schema[m->oid - 100];

    for (int i = 0; i < 3 && r->columns[i].name; i++)
        if (cache_column(hd_str_of(r->columns[i].name)) == m->column)
            return r->columns[i].attnum;
    return 0;
}

/* Of each table: W written, H whole, C4 column, A1 added, a1 added unless rows, 1=5 a value. */
static void dump(const struct cache_mark *marks, uint32_t n, char *out, size_t cap)
{
    static const char letters[] = " WHCA";
    uint32_t oid = 0;
    size_t len = 0;

    out[0] = 0;
    for (uint32_t i = 0; i < n && len < cap; i++) {
        if (marks[i].oid != oid)
            len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? " | " : "",
                                    schema[marks[i].oid - 100].name);
        oid = marks[i].oid;
        if (marks[i].kind == CACHE_MARK_VALUE)
            len += (size_t)snprintf(out + len, cap - len, " %d=%s", number_of(&marks[i]),
                                    text_of(marks[i].hash));
        else if (marks[i].column)
            len +=
                (size_t)snprintf(out + len, cap - len, " %c%d",
                                 marks[i].unless_rows ? 'a' : letters[marks[i].kind], number_of(&marks[i]));
        else
            len += (size_t)snprintf(out + len, cap - len, " %c", letters[marks[i].kind]);
    }
}

struct rig {
    const struct hd_template_v1 *templates;
    struct hd_templates *table;
    struct hd_scan scan;
    uint64_t handle;
};

static struct rig rig;

static void begin(void)
{
    hd_template_serve();
    rig.templates = hd_service_find(HD_SERVICE_TEMPLATE);
    rig.table = hd_templates_new(100);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig.table);
}

static void end(void)
{
    hd_values_free(&values);
    hd_scan_free(&rig.scan);
    hd_templates_free(rig.table);
}

/* Of one execution, with these parameters and settings; returns the text in a buffer that the next call
 * overwrites. */
static const char *marks_of(const char *sql, int write, const struct hd_param *params, uint32_t count,
                            const char *encoding)
{
    static char text[1000];
    const struct hd_session_setting settings[] = {{"application_name", "x"}, {"client_encoding", encoding}};
    struct hd_template *t;
    struct hd_dependencies deps;
    struct cache_rows_from from = {.templates = rig.templates, .catalog = &catalog};
    struct hd_statement st = {.size = sizeof(st),
                              .handle = ++rig.handle,
                              .sql = hd_str_of(sql),
                              .params = params,
                              .param_count = count,
                              .settings = settings,
                              .setting_count = 2};
    struct cache_mark marks[100], tables[100];
    struct cache_rows *rows;
    uint32_t n;

    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &rig.scan), HD_OK);
    t = hd_template_get(rig.table, sql, strlen(sql), &rig.scan, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    st.tmpl = from.tmpl = t;
    deps = dependencies_of(rig.templates, t);
    from.deps = &deps;
    rows = write ? cache_rows_write(&from) : cache_rows_read(&from);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rows);
    n = cache_rows_marks(rows, NULL, &statements, cache_rows_fixed(rows) ? NULL : &st, marks, 100);
    CU_ASSERT_FATAL(n <= 100);
    dump(marks, n, text, sizeof(text));
    CU_ASSERT(n == 0 || cache_rows_marks(rows, NULL, &statements, &st, marks, n - 1) == n);
    CU_ASSERT(cache_rows_tables(rows, tables, 100) >= (n > 0));
    cache_rows_free(rows);
    hd_template_release(t);
    return text;
}

struct expected {
    const char *sql, *marks;
};

static void check(const struct expected *cases, size_t n, int write)
{
    begin();
    for (size_t i = 0; i < n; i++) {
        const char *got = marks_of(cases[i].sql, write, NULL, 0, "UTF8");

        if (strcmp(got, cases[i].marks) != 0)
            printf("# %s\n#   gives %s\n#   not   %s\n", cases[i].sql, got, cases[i].marks);
        CU_ASSERT_STRING_EQUAL(got, cases[i].marks);
    }
    end();
}

#define CHECK(cases, write) check(cases, sizeof(cases) / sizeof((cases)[0]), write)

/* --- reads --------------------------------------------------------------------------------------------- */

static void reads_hang_on_rows(void)
{
    static const struct expected cases[] = {
        {"select * from t where id = 5", "t H C1 a1 1=5"},
        {"select * from t where '5' = t.id and x > 2", "t H C1 a1 1=5"},
        {"select * from t where id = -5", "t H C1 a1 1=-5"},
        {"select * from t where id = '5'::bigint", "t H C1 a1 1=5"},
        {"select * from t where email = 'a'::text", "t H C4 a4 4=a"},
        {"select * from t where id in (1, 2, '3')", "t H C1 A1 1=1 1=2 1=3"},
        {"select * from t where email = 'a'", "t H C4 a4 4=a"},
        {"select * from every where a = 1", "every H C1 A1 1=1"},
        {"select count(*) from t where id = 5", "t H C1 A1 1=5"},
        {"select 1 from t where id = 5 having true", "t H C1 A1 1=5"},
        {"select id from t where id = 5 group by id", "t H C1 A1 1=5"},
        {"select * from t, log where t.id = 5", "t H C1 a1 1=5 | log W"},
        {"select * from t join every on t.id = every.a where t.id = 5 and every.a = 6",
         "t H C1 a1 1=5 | every H C1 A1 1=6"},
        {"select * from log left join t on log.x = t.x where t.id = 5", "log W | t H C1 a1 1=5"},
        {"select * from t where id = 5 and exists (select 1 from log where log.x = t.x)",
         "t H C1 a1 1=5 | log W"},
        {"select * from part where id = 5", "part H C1 a1 1=5 | part_1 H C1 a1 1=5 | part_2 H C2 a2 2=5"},
        {"select * from part_2 where id = 5", "part_2 H C2 a2 2=5"},
        {"select * from old where id = 5", "old H C1 A1 1=5 | kid H C1 A1 1=5 | bare W"},
        {"select * from kid where id = 5", "kid H C1 a1 1=5"},
        {"select * from m", "m W"},
    };

    CHECK(cases, 0);
}

static void reads_hang_on_tables(void)
{
    static const struct expected cases[] = {
        {"select * from t", "t W"},
        {"select * from t where id > 5", "t W"},
        {"select * from t where id = 5 or x = 2", "t W"},
        {"select * from t where not id = 5", "t W"},
        {"select * from t where id = 5.0::int", "t W"},
        {"select * from t where id = 5.5", "t W"},
        {"select * from t where id = 2 + 3", "t W"},
        {"select * from t where id = b'101'", "t W"},
        {"select * from t where email = 'a '", "t W"},
        {"select * from t where x = 5", "t W"},
        {"select * from t where id = 5 and x = (select max(x) from t)", "t W"},
        {"select * from t where x in (select x from t where id = 5)", "t W"},
        {"select * from t a join t b on a.x = b.x where a.id = 5 and b.id = 5", "t W"},
        {"select * from log left join t on t.id = 5", "log W | t W"},
        {"select * from t join v using (id) where t.id = 5", "t W"},
        {"select * from v where id = 5", "t W"},
        {"select * from part join part_1 on true where part.id = 5",
         "part H C1 a1 1=5 | part_1 W | part_2 H C2 a2 2=5"},
        {"select * from part, part_1 where part_1.id = 5", "part W | part_1 W | part_2 W"},
        {"select (select count(*) from t where id = 5)", "t W"},
    };

    CHECK(cases, 0);
}

/* --- writes -------------------------------------------------------------------------------------------- */

static void writes_touch_rows(void)
{
    static const struct expected cases[] = {
        {"delete from t where id = 5", "t W 1=5 C4"},
        {"delete from t where id in (5, 6) and x > 2", "t W 1=5 1=6 C4"},
        {"delete from t using log where t.id = 5 and log.x = t.x", "t W 1=5 C4"},
        {"update t set x = 2 where id = 5", "t W 1=5 C4"},
        {"update t set x = 2 where id = 5 and email = 'a'", "t W 1=5 4=a"},
        {"update t set id = 6 where id = 5", "t W 1=5 1=6 C4"},
        {"update t set id = null where id = 5", "t W 1=5 C4"},
        {"update t set id = id + 1 where id = 5", "t W C1 C4"},
        {"update t set id = default where id = 5", "t W C1 C4"},
        {"update t set (x, id) = (1, 2) where id = 5", "t W C1 C4"},
        {"update t set email = 'b' where id = 5", "t W 1=5 C4"},
        {"update t set email = 'b' where email = 'a'", "t W C1 4=a 4=b"},
        {"update t as x set y = 2 where x.id = 5", "t W 1=5 C4"},
        {"insert into t (id, email) values (5, 'a')", "t W 1=5 4=a"},
        {"insert into t (email, id, x) values ('a', 5, now()), (null, -5, 2)", "t W 1=5 1=-5 4=a"},
        {"insert into t values (5, 2, 'a')", "t W 1=5 4=a"},
        {"insert into t (id, email) values ('5'::int, 'a'::varchar)", "t W 1=5 4=a"},
        {"insert into t (id, email) values (5, '5'::int)", "t W 1=5 A4"},
        {"insert into t values (5)", "t W 1=5"},
        {"insert into t (id) values (5)", "t W 1=5"},
        {"insert into t (id, email) values (5, lower('A'))", "t W 1=5 A4"},
        {"insert into t (id, email) values (5, 'a '), (6, 'a')", "t W 1=5 1=6 A4"},
        {"insert into t (id) values (5) on conflict do nothing", "t W 1=5"},
        {"insert into t (id, x) values (5, 2) on conflict (id) do update set x = 3", "t W 1=5 C4"},
        {"insert into t (id, x) values (5, 2) on conflict (id) do update set id = 6", "t W 1=5 1=6 C4"},
        {"insert into t (id, x) values (5, 2) on conflict (id) do update set id = excluded.x", "t W C1 C4"},
        {"insert into t (id, email) values (5, 'a') on conflict (email) do update set x = 3", "t W C1 4=a"},
        {"insert into t (id) values (5) on conflict on constraint k do update set x = 3", "t W C1 C4"},
        {"insert into serial (x) values (5)", "serial W A1"},
        {"insert into serial (id, x) values (default, 5)", "serial W A1"},
        {"insert into serial (id, x) values (5, 5)", "serial W 1=5"},
        {"insert into serial (id, x) overriding user value values (5, 5)", "serial W A1"},
        {"update part set x = 2 where id = 5", "part W 1=5 | part_1 W 1=5 | part_2 W 2=5 C3"},
        {"update part set own = 2 where own = 5", "part W C1 | part_1 W C1 | part_2 W C2 3=5 3=2"},
        {"insert into part (x, id) values (2, 5)", "part W 1=5 | part_1 W 1=5 | part_2 W 2=5 A3"},
        {"insert into part (own, id) values (2, 5)", "part W 1=5 | part_1 W 1=5 | part_2 W 2=5 3=2"},
        {"insert into part values (5, 2, 2)", "part W 1=5 | part_1 W 1=5 | part_2 W 2=5 A3"},
        {"delete from part_2 where id = 5", "part_2 W 2=5 C3"},
        {"delete from old where id = 5", "old W 1=5 | kid W 1=5 | bare W"},
        {"insert into log values (1)", "log W"},
        {"update t set x = log.x from log where t.id = 5", "t W 1=5 C4"},
    };

    CHECK(cases, 1);
}

static void writes_touch_tables(void)
{
    static const struct expected cases[] = {
        {"delete from t", "t W C1 C4"},
        {"delete from t where id > 5", "t W C1 C4"},
        {"delete from t where id = 5 or x = 2", "t W C1 C4"},
        {"truncate t", "t W H"},
        {"copy t from stdin", "t W H"},
        {"insert into t select * from log", "t W H"},
        {"insert into t default values", "t W H"},
        {"merge into t using log on t.id = 5 when matched then delete", "t W H"},
        {"with x as (delete from log returning *) delete from t where id = 5", "log W H | t W H"},
        {"delete from t where id = 5; delete from t where id = 6", "t W H"},
        {"delete from tree where id = 5", "tree W H"},
        {"update v set x = 2 where id = 5", "t W H"},
    };

    CHECK(cases, 1);
}

/* Of a long list too much would have to be kept. */
static void long_lists_are_whole(void)
{
    char sql[1000] = "delete from t where id in (1", insert[1100] = "insert into t (id) values (1)";

    begin();
    for (int i = 0; i < CACHE_ROWS_VALUES; i++) {
        strcat(sql, ", 2");
        strcat(insert, ", (2)");
    }
    strcat(sql, ")");
    CU_ASSERT_STRING_EQUAL(marks_of(sql, 1, NULL, 0, "UTF8"), "t W C1 C4");
    CU_ASSERT_STRING_EQUAL(marks_of(insert, 1, NULL, 0, "UTF8"), "t W A1");
    snprintf(insert, sizeof(insert), "select * %s", sql + strlen("delete "));
    CU_ASSERT_STRING_EQUAL(marks_of(insert, 0, NULL, 0, "UTF8"), "t W");
    end();
}

/* --- values -------------------------------------------------------------------------------------------- */

#define INT8 20
#define INT2 21
#define INT4 23

static struct hd_param param(const void *data, uint32_t len, uint32_t type, uint32_t format)
{
    return (struct hd_param){.data = data, .len = len, .type = type, .format = format};
}

static const char *with(const char *sql, struct hd_param p)
{
    const struct hd_param both[2] = {p, p};

    return marks_of(sql, 0, both, 2, "UTF8");
}

static void parameters_in_all_forms(void)
{
    static const char by_id[] = "select * from t where id = $1",
                      by_email[] = "select * from t where email = $1";
    static const char told[] = "t H C1 a1 1=5", mail[] = "t H C4 a4 4=a";

    begin();
    CU_ASSERT_STRING_EQUAL(with(by_id, param("5", 1, 0, 0)), told);
    CU_ASSERT_STRING_EQUAL(with(by_id, param(" +05\n", 5, INT8, 0)), told);
    CU_ASSERT_STRING_EQUAL(with(by_id, param("\0\5", 2, INT2, 1)), told);
    CU_ASSERT_STRING_EQUAL(with(by_id, param("\0\0\0\5", 4, INT4, 1)), told);
    CU_ASSERT_STRING_EQUAL(with(by_id, param("\0\0\0\5", 4, 0, 1)), told);
    CU_ASSERT_STRING_EQUAL(with(by_id, param("\0\0\0\0\0\0\0\5", 8, INT8, 1)), told);
    CU_ASSERT_STRING_EQUAL(with(by_id, param("\377\377\377\373", 4, INT4, 1)), "t H C1 a1 1=-5");
    CU_ASSERT_STRING_EQUAL(with(by_id, param(NULL, 0, 0, 0)), "t H C1 a1");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("5", 1, 1700, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("5.0", 3, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("0x5", 3, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("", 0, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("-", 1, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("9223372036854775808", 19, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_id, param("\0\5", 2, 0, 1)), "t W"); /* the server would not take it */
    CU_ASSERT_STRING_EQUAL(with("select * from t where id = $1 and x = $1", param("5", 1, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with("select * from t where id = $1 and x = $1", param("5", 1, INT4, 0)), told);
    CU_ASSERT_STRING_EQUAL(with("select * from t where id in (3, $1, $2)", param("5", 1, 0, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_email, param("a", 1, 0, 0)), mail);
    CU_ASSERT_STRING_EQUAL(with(by_email, param("a", 1, 25, 1)), mail);
    CU_ASSERT_STRING_EQUAL(with(by_email, param("a", 1, 1042, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_email, param("a ", 2, 25, 0)), "t W");
    CU_ASSERT_STRING_EQUAL(with(by_email, param("\xc3\xa9", 2, 25, 0)), "t H C4 a4 4=\xc3\xa9");
    CU_ASSERT_STRING_EQUAL(marks_of("select * from t where email = '\xc3\xa9'", 0, NULL, 0, "LATIN1"), "t W");
    CU_ASSERT_STRING_EQUAL(marks_of("select * from t where email = 'a'", 0, NULL, 0, "LATIN1"), mail);
    /* not at hand */
    CU_ASSERT_STRING_EQUAL(marks_of(by_id, 0, NULL, 0, "UTF8"), "t W");
    CU_ASSERT_STRING_EQUAL(marks_of("delete from t where id = $1", 1, NULL, 0, "UTF8"), "t W C1 C4");
    end();
}

static void uuids_in_all_forms(void)
{
    static const char *const same[] = {
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",  "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",      "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
    };
    static const char *const other[] = {
        "",
        "{}",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
        "a0-eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
    };
    static const char bytes[] = "\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11";
    const struct cache_value_place at = {HD_CANONICAL_UUID, 2950, 1};
    const struct hd_value binary = {.kind = HD_VAL_PARAM, .format = 1, .data = {bytes, 16}};
    uint64_t first = 0, hash;

    CU_ASSERT_EQUAL(cache_value_form(&at, 1, &binary, &first), CACHE_FORM_HASH);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        CU_ASSERT_EQUAL(cache_row_hash_text(HD_CANONICAL_UUID, hd_str_of(same[i]), &hash), 1);
        CU_ASSERT_EQUAL(hash, first);
    }
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        CU_ASSERT_EQUAL(cache_row_hash_text(HD_CANONICAL_UUID, hd_str_of(other[i]), &hash), 0);
    CU_ASSERT_EQUAL(cache_row_hash_text(HD_CANONICAL_OTHER, hd_str_of("5"), &hash), 0);
}

/* --- changes ------------------------------------------------------------------------------------------- */

#define NEW HD_STREAM_INSERT
#define CHG HD_STREAM_UPDATE
#define DEL HD_STREAM_DELETE

/* A value by a word: NULL, "=" unchanged, "-" not told, else its text. */
static struct hd_stream_value word(const char *w)
{
    if (!w)
        return (struct hd_stream_value){.kind = HD_STREAM_NULL};
    if (*w == '=' || *w == '-')
        return (struct hd_stream_value){.kind = *w == '=' ? HD_STREAM_UNCHANGED : HD_STREAM_ABSENT};
    return (struct hd_stream_value){.kind = HD_STREAM_TEXT, .text = hd_str_of(w)};
}

static void changes_touch_rows(void)
{
    static const struct hd_stream_column columns[] = {{{"id", 2}, 23, -1, HD_STREAM_COLUMN_KEY, 0},
                                                      {{"at", 2}, 1184, -1, 0, 0},
                                                      {{"email", 5}, 1043, -1, 0, 0}};
    static const struct hd_stream_relation relation = {
        .size = sizeof(relation), .oid = 100, .identity = 'd', .column_count = 3, .columns = columns};
    static const struct {
        uint32_t kind;
        int has_old;
        const char *old[3], *new[3], *marks;
    } cases[] = {
        {NEW, 0, {0}, {"5", "x", "a"}, "t W 1=5 4=a"},
        {NEW, 0, {0}, {"5", "x", NULL}, "t W 1=5"},
        {NEW, 0, {0}, {"5", "x", "a "}, "t W 1=5 C4"},
        {CHG, 0, {0}, {"5", "x", "a"}, "t W 1=5 C4"},
        {CHG, 1, {"6", "-", "-"}, {"5", "x", "a"}, "t W 1=6 1=5 C4"},
        {CHG, 1, {"5", "y", "b"}, {"5", "x", "a"}, "t W 1=5 4=b 4=a"},
        {CHG, 1, {"5", "y", NULL}, {"5", "x", "a"}, "t W 1=5 4=a"},
        {CHG, 0, {0}, {"5", "x", "="}, "t W 1=5 C4"},
        {DEL, 1, {"5", "-", "-"}, {0}, "t W 1=5 C4"},
        {DEL, 1, {"5", "x", "a"}, {0}, "t W 1=5 4=a"},
    };
    struct cache_mark marks[10];
    char text[200];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hd_stream_value old[3], new[3];
        const struct hd_stream_row row = {.size = sizeof(row),
                                          .kind = cases[i].kind,
                                          .relation = &relation,
                                          .old = cases[i].has_old ? old : NULL,
                                          .new_row = cases[i].kind == DEL ? NULL : new};
        uint32_t n;

        for (int k = 0; k < 3; k++) {
            old[k] = word(cases[i].old[k]);
            new[k] = word(cases[i].new[k]);
        }
        n = cache_rows_change(&row, marks, 10);
        CU_ASSERT_FATAL(n <= 10);
        dump(marks, n, text, sizeof(text));
        if (strcmp(text, cases[i].marks) != 0)
            printf("# change %zu gives %s, not %s\n", i, text, cases[i].marks);
        CU_ASSERT_STRING_EQUAL(text, cases[i].marks);
        CU_ASSERT_EQUAL(cache_rows_change(&row, marks, 1), n);
    }
}

UNIT_MAIN("cache rows", {"reads hang on rows", reads_hang_on_rows},
          {"reads hang on tables", reads_hang_on_tables}, {"writes touch rows", writes_touch_rows},
          {"writes touch tables", writes_touch_tables}, {"long lists are whole", long_lists_are_whole},
          {"changes touch rows", changes_touch_rows}, {"parameters in all forms", parameters_in_all_forms},
          {"uuids in all forms", uuids_in_all_forms})
