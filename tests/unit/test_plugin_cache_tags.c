/*
 * Tags of the plugin "cache": which names a rule and a hint give to an execution, and which ends of names and
 * patterns it feels. Templates and values are those of real texts.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "cache/tags.h"
#include "plug/services.h"
#include "plug/template_service.h"
#include "plug/values.h"
#include "sql/template.h"

static void count_nothing(hd_host *host, int64_t id, int64_t delta)
{
    (void)host;
    (void)id;
    (void)delta;
}

static struct hd_values values;

static int32_t give_value(hd_host *host, const struct hd_statement *st, uint32_t n, struct hd_value *out)
{
    (void)host;
    return hd_values_get(&values, st, n, out);
}

static const struct hd_metrics_v1 metrics = {.size = sizeof(metrics), .add = count_nothing};
static const struct hd_statement_v1 statements = {.size = sizeof(statements), .value = give_value};

static struct cache *cache;
static struct hd_templates *table;
static struct hd_scan scan;

static int set_up(void)
{
    if (cache)
        return 1;
    hd_template_serve();
    table = hd_templates_new(1000);
    cache = calloc(1, sizeof(*cache));
    if (!table || !cache)
        return 0;
    cache_epochs_init(&cache->epochs);
    cache->template = hd_service_find(HD_SERVICE_TEMPLATE);
    cache->statement = &statements;
    cache->metrics = &metrics;
    return cache->template != NULL;
}

/* The cells of an execution. */
static struct cache_tagged tags_of(const char *tag, const char *sql, const struct hd_param *params,
                                   uint32_t count, const char *encoding)
{
    static uint64_t handle;
    const struct hd_session_setting settings[] = {{"client_encoding", encoding}};
    struct hd_statement st = {.size = sizeof(st),
                              .handle = ++handle,
                              .sql = hd_str_of(sql),
                              .params = params,
                              .param_count = count,
                              .settings = settings,
                              .setting_count = 1};
    const struct hd_str tags[] = {hd_str_of(tag)};
    struct cache_policy policy = {.tags = tags, .tag_count = tag[0] != 0};
    const struct cache_rules rules = {.hints = 1};
    struct cache_tagged out;
    struct hd_template *t;

    CU_ASSERT_FATAL(set_up());
    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &scan), HD_OK);
    t = hd_template_get(table, sql, strlen(sql), &scan, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    st.tmpl = t;
    cache_rules_hint(&rules, st.sql, &policy);
    cache_tags_find(cache, &policy, &st, &out);
    hd_template_release(t);
    return out;
}

static uint64_t sum_of(const struct cache_tagged *tags)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < tags->count; i++)
        sum += cache_epoch(tags->cells[i]);
    return sum;
}

/* Does the execution feel the end of that tag? */
static int feels(const struct cache_tagged *tags, const char *tag)
{
    uint64_t before = sum_of(tags);

    cache_tags_end(cache, hd_str_of(tag));
    return sum_of(tags) != before;
}

static int feels_like(const struct cache_tagged *tags, const char *pattern)
{
    uint64_t before = sum_of(tags);

    cache_tags_end_like(cache, pattern);
    return sum_of(tags) != before;
}

static struct cache_tagged simple(const char *tag, const char *sql)
{
    return tags_of(tag, sql, NULL, 0, "UTF8");
}

#define CLIENT "client:{client_id}"

static void literals(void)
{
    struct cache_tagged t = simple(CLIENT, "SELECT * FROM doc WHERE client_id = 42");

    CU_ASSERT(feels(&t, "client:42"));
    CU_ASSERT(!feels(&t, "client:43"));
    CU_ASSERT(!feels(&t, "client:"));
    CU_ASSERT(!feels(&t, "42"));
    t = simple(CLIENT, "SELECT * FROM doc WHERE client_id IN (1, 2) AND id = 7");
    CU_ASSERT(feels(&t, "client:1") && feels(&t, "client:2") && !feels(&t, "client:7"));
    t = simple(CLIENT, "SELECT * FROM doc WHERE client_id = -5 OR client_id = '008'");
    CU_ASSERT(feels(&t, "client:-5") && feels(&t, "client:008") && feels(&t, "client:8"));
    t = simple(CLIENT, "SELECT * FROM doc d JOIN owner o ON o.id = d.id WHERE o.client_id = 'it''s'");
    CU_ASSERT(feels(&t, "client:it's"));
    t = simple("u:{id}", "SELECT * FROM t WHERE id = '{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}'");
    CU_ASSERT(feels(&t, "u:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
    t = simple("plain", "SELECT * FROM t");
    CU_ASSERT(feels(&t, "plain") && !feels(&t, "plai"));
    t = simple("{a}:{b}", "SELECT * FROM t WHERE a = 'x' AND b IN (1, 2)");
    CU_ASSERT(feels(&t, "x:1") && feels(&t, "x:2") && !feels(&t, "x:3") && !feels(&t, "x:"));
    t = simple("a{b}c{b}", "SELECT * FROM t WHERE b = 1");
    CU_ASSERT(feels(&t, "a1c1") && !feels(&t, "a1c"));
}

static void without_constants(void)
{
    CU_ASSERT_EQUAL(simple(CLIENT, "SELECT * FROM doc WHERE id = 1").count, 0);
    CU_ASSERT_EQUAL(simple(CLIENT, "SELECT * FROM doc WHERE client_id > 42").count, 0);
    CU_ASSERT_EQUAL(simple(CLIENT, "SELECT * FROM doc WHERE client_id = id").count, 0);
    CU_ASSERT_EQUAL(simple("{a}:{b}", "SELECT * FROM t WHERE a = 1").count, 0);
    CU_ASSERT_EQUAL(simple("{b}:{a}", "SELECT * FROM t WHERE a = 1").count, 0);
    CU_ASSERT_EQUAL(simple("", "SELECT * FROM t").count, 0);
}

static void parameters(void)
{
    static const char sql[] = "SELECT * FROM doc WHERE client_id = $1";
    static const uint8_t four[] = {0, 0, 0, 42}, two[] = {0xff, 0xfe};
    const struct hd_param text = {(const uint8_t *)"42", 2, 0, 0, 0}, null = {NULL, 0, 23, 0, 0},
                          binary = {four, 4, 23, 1, 0}, small = {two, 2, 21, 1, 0},
                          undeclared = {four, 4, 0, 1, 0}, latin = {(const uint8_t *)"\xe9", 1, 0, 0, 0};
    struct cache_tagged t = tags_of(CLIENT, sql, &text, 1, "UTF8");

    CU_ASSERT(feels(&t, "client:42") && !feels(&t, "client:43"));
    t = tags_of(CLIENT, sql, &binary, 1, "UTF8");
    CU_ASSERT(feels(&t, "client:42") && !feels(&t, "client:43"));
    t = tags_of(CLIENT, sql, &small, 1, "UTF8");
    CU_ASSERT(feels(&t, "client:-2"));
    CU_ASSERT_EQUAL(tags_of(CLIENT, sql, &null, 1, "UTF8").count, 0);
    /* What cannot be told is any of its group. */
    t = tags_of(CLIENT, sql, &undeclared, 1, "UTF8");
    CU_ASSERT(feels(&t, "client:1") && !feels(&t, "other:1") && !feels(&t, "client"));
    t = tags_of(CLIENT, sql, &latin, 1, "LATIN1");
    CU_ASSERT(feels(&t, "client:\xc3\xa9"));
    t = tags_of("{client_id}", sql, &undeclared, 1, "UTF8");
    CU_ASSERT(feels(&t, "whatever") && feels_like(&t, "a:*"));
}

static void patterns(void)
{
    struct cache_tagged t = simple(CLIENT, "SELECT * FROM doc WHERE client_id = 42");

    CU_ASSERT(feels_like(&t, "client:42"));
    CU_ASSERT(feels_like(&t, "client:*"));
    CU_ASSERT(feels_like(&t, "client:4?"));
    CU_ASSERT(feels_like(&t, "cli*"));
    CU_ASSERT(feels_like(&t, "*:42"));
    CU_ASSERT(feels_like(&t, "[c]*"));
    CU_ASSERT(feels_like(&t, "*"));
    CU_ASSERT(!feels_like(&t, "document:*"));
    CU_ASSERT(!feels_like(&t, "client_:*"));
    t = simple("", "SELECT * FROM doc");
    CU_ASSERT(!feels_like(&t, "*"));
}

static void hints(void)
{
    struct cache_tagged t =
        simple("", "/* howdah: tag=client:7 cache=5m tag=b */ SELECT * FROM doc WHERE client_id = 42");

    CU_ASSERT(feels(&t, "client:7") && feels(&t, "b") && !feels(&t, "client:42"));
    CU_ASSERT(feels_like(&t, "client:*"));
    CU_ASSERT_EQUAL(simple("", "/* howdah: tag= tag */ SELECT 1").count, 0);
    CU_ASSERT_EQUAL(simple("", "SELECT '/* howdah: tag=a */'").count, 0);
}

/* More names than an answer may have: it is as if they could not be told. */
static void bounds(void)
{
    char sql[2000] = "SELECT * FROM doc WHERE client_id IN (1000";
    struct cache_tagged t;

    for (int i = 1; i < 200; i++)
        snprintf(sql + strlen(sql), sizeof(sql) - strlen(sql), ", %d", 1000 + i);
    strcat(sql, ")");
    t = simple(CLIENT, sql);
    CU_ASSERT(t.count <= CACHE_TAG_MARKS);
    CU_ASSERT(feels(&t, "client:1000") && feels(&t, "client:1199"));
    CU_ASSERT(feels_like(&t, "client:*"));
    strcpy(sql, "/* howdah:");
    for (int i = 0; i < 150; i++)
        snprintf(sql + strlen(sql), sizeof(sql) - strlen(sql), " tag=t%d:x", i);
    strcat(sql, " */ SELECT 1");
    t = simple("", sql);
    CU_ASSERT(t.count <= CACHE_TAG_MARKS);
    CU_ASSERT(feels(&t, "t0:x") && feels(&t, "t149:x") && feels_like(&t, "t149:*"));
}

static int32_t check(const char *tag)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = cache_tag_check(hd_str_of(tag), &err);

    CU_ASSERT_EQUAL(code != HD_OK, err.text[0] != 0);
    return code;
}

static void checks(void)
{
    char longest[CACHE_TAG_BYTES + 2];

    memset(longest, 'a', sizeof(longest));
    longest[CACHE_TAG_BYTES + 1] = 0;
    CU_ASSERT_EQUAL(check("a"), HD_OK);
    CU_ASSERT_EQUAL(check("client:{client_id}:{b}"), HD_OK);
    CU_ASSERT_EQUAL(check("a{}"), HD_EINVAL);
    CU_ASSERT_EQUAL(check("a{b"), HD_EINVAL);
    CU_ASSERT_EQUAL(check("a}b"), HD_EINVAL);
    CU_ASSERT_EQUAL(check("a{{b}}"), HD_EINVAL);
    CU_ASSERT_EQUAL(check("a b"), HD_EINVAL);
    CU_ASSERT_EQUAL(check(""), HD_EINVAL);
    CU_ASSERT_EQUAL(check(longest), HD_EINVAL);
    longest[CACHE_TAG_BYTES] = 0;
    CU_ASSERT_EQUAL(check(longest), HD_OK);
    /* The last case: nothing is left. */
    hd_values_free(&values);
    hd_scan_free(&scan);
    hd_templates_free(table);
    cache_epochs_free(&cache->epochs);
    free(cache);
    cache = NULL;
}

UNIT_MAIN("cache tags", {"literals", literals}, {"without constants", without_constants},
          {"parameters", parameters}, {"patterns", patterns}, {"hints", hints}, {"bounds", bounds},
          {"checks", checks})
