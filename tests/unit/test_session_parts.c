/*
 * The small parts of core/session: sets of settings, prepared contents and names, owed replies.
 */
#include <string.h>

#include "session/expect.h"
#include "session/params.h"
#include "session/prep.h"
#include "unit.h"

static struct hd_params *three(struct hd_params_table *t)
{
    const struct hd_param_entry e[] = {{"TimeZone", "UTC"}, {"DateStyle", "ISO, MDY"}, {"timezone", "GMT"}};

    return hd_params_make(t, e, 3);
}

static void params_are_interned(void)
{
    struct hd_params_table *t = hd_params_table_new();
    struct hd_params *a = three(t), *b = three(t), *c, *d;

    CU_ASSERT_PTR_EQUAL(a, b);
    CU_ASSERT_EQUAL(a->count, 2);
    CU_ASSERT_STRING_EQUAL(hd_params_get(a, "TIMEZONE"), "GMT");
    c = hd_params_with(a, "TimeZone", "UTC");
    CU_ASSERT_PTR_NOT_EQUAL(a, c);
    d = hd_params_with(c, "timezone", "GMT");
    CU_ASSERT_PTR_EQUAL(a, d);
    hd_params_drop(d);
    d = hd_params_with(a, "DateStyle", NULL);
    CU_ASSERT_PTR_NULL(hd_params_get(d, "DateStyle"));
    hd_params_drop(a);
    hd_params_drop(b);
    hd_params_drop(c);
    hd_params_drop(d);
    hd_params_table_free(t);
}

static void params_move_between_workers(void)
{
    struct hd_params_table *one = hd_params_table_new(), *two = hd_params_table_new();
    struct hd_params *a = three(one), *b = three(two), *c;
    struct hd_params_copy *copy = hd_params_copy(a);

    hd_params_drop(a);
    hd_params_table_free(one);
    c = hd_params_from_copy(two, copy);
    CU_ASSERT_PTR_EQUAL(b, c);
    hd_params_drop(b);
    hd_params_drop(c);
    hd_params_table_free(two);
}

static void params_sync_says_what_differs(void)
{
    struct hd_params_table *t = hd_params_table_new();
    const struct hd_param_entry have_e[] = {
        {"TimeZone", "UTC"}, {"server_version", "15"}, {"statement_timeout", "5s"}, {"my.x", "1"}};
    const struct hd_param_entry want_e[] = {
        {"TimeZone", "it's\\here"}, {"server_version", "16"}, {"statement_timeout", "5s"}};
    struct hd_params *have = hd_params_make(t, have_e, 4), *want = hd_params_make(t, want_e, 3);
    struct hd_strbuf sql = HD_STRBUF_INIT;

    CU_ASSERT_EQUAL(hd_params_sync_sql(have, want, &sql), 2);
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&sql), "SELECT pg_catalog.set_config(E'TimeZone', E'it''s\\\\here', "
                                                "false); RESET \"my\".\"x\"");
    hd_strbuf_reset(&sql);
    CU_ASSERT_EQUAL(hd_params_sync_sql(want, want, &sql), 0);
    CU_ASSERT_EQUAL(sql.len, 0);
    hd_strbuf_free(&sql);
    hd_params_drop(have);
    hd_params_drop(want);
    hd_params_table_free(t);
}

static struct hd_prep *content(struct hd_prep_table *t, const char *sql)
{
    uint8_t body[256];
    size_t n = strlen(sql) + 1;

    memcpy(body, sql, n);
    body[n] = body[n + 1] = 0;
    return hd_prep_get(t, body, (uint32_t)n + 2, (uint32_t)n - 1);
}

static void contents_have_one_name_for_ever(void)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_prep *a = content(t, "select 1"), *b = content(t, "select 1"), *c = content(t, "select 2");
    char first[HD_PREP_NAME], second[HD_PREP_NAME];

    CU_ASSERT_PTR_EQUAL(a, b);
    CU_ASSERT_PTR_NOT_EQUAL(a, c);
    hd_prep_name(a, first);
    hd_prep_name(c, second);
    CU_ASSERT_STRING_NOT_EQUAL(first, second);
    hd_prep_drop(t, a);
    hd_prep_drop(t, b);
    CU_ASSERT_EQUAL(hd_prep_count(t), 1);
    a = content(t, "select 3");
    hd_prep_name(a, second);
    CU_ASSERT_STRING_NOT_EQUAL(first, second);
    hd_prep_drop(t, a);
    hd_prep_drop(t, c);
    hd_prep_table_free(t);
}

static void names_come_and_go(void)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_names n = {0};
    char name[16];

    for (uint32_t i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        CU_ASSERT_EQUAL(hd_names_set(&n, t, name, content(t, name), i + 1), 0);
    }
    for (uint32_t i = 0; i < 100; i++) {
        struct hd_name *e;

        snprintf(name, sizeof(name), "s%u", i);
        e = hd_names_find(&n, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(e);
        CU_ASSERT_STRING_EQUAL((const char *)e->prep->body, name);
    }
    hd_names_undo(&n, t, 51);
    CU_ASSERT_PTR_NULL(hd_names_find(&n, "s50"));
    hd_names_remove(&n, t, "s51");
    hd_names_remove(&n, t, "nobody");
    CU_ASSERT_PTR_NULL(hd_names_find(&n, "s51"));
    CU_ASSERT_EQUAL(n.count, 98);
    hd_names_clear(&n, t);
    CU_ASSERT_EQUAL(hd_prep_count(t), 0);
    hd_prep_table_free(t);
}

static void server_keeps_the_most_recent(void)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_server_preps s;
    struct hd_prep *a = content(t, "a"), *b = content(t, "b");

    hd_server_preps_init(&s);
    CU_ASSERT_EQUAL(hd_server_preps_add(&s, a), 0);
    CU_ASSERT_EQUAL(hd_server_preps_add(&s, b), 0);
    CU_ASSERT_PTR_EQUAL(hd_server_preps_oldest(&s), a);
    CU_ASSERT_TRUE(hd_server_preps_use(&s, a));
    CU_ASSERT_PTR_EQUAL(hd_server_preps_oldest(&s), b);
    hd_server_preps_remove(&s, t, b);
    CU_ASSERT_FALSE(hd_server_preps_use(&s, b));
    hd_server_preps_clear(&s, t);
    CU_ASSERT_PTR_NULL(hd_server_preps_oldest(&s));
    hd_prep_drop(t, a);
    hd_prep_drop(t, b);
    hd_prep_table_free(t);
}

static void expects_keep_order_while_growing(void)
{
    struct hd_expects q;

    hd_expects_init(&q);
    for (uint32_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(hd_expects_push(&q, (struct hd_expect){.kind = HD_EXPECT_BIND, .seq = i}), 0);
    for (uint32_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(hd_expects_pop(&q).seq, i);
    for (uint32_t i = 5; i < 100; i++)
        CU_ASSERT_EQUAL(hd_expects_push(&q, (struct hd_expect){.kind = HD_EXPECT_BIND, .seq = i}), 0);
    for (uint32_t i = 3; i < 100; i++)
        CU_ASSERT_EQUAL(hd_expects_pop(&q).seq, i);
    CU_ASSERT_EQUAL(q.count, 0);
    hd_expects_free(&q);
}

static void expects_drop_ignored_syncs(void)
{
    static const uint8_t kinds[] = {HD_EXPECT_EXECUTE, HD_EXPECT_SYNC, HD_EXPECT_SYNC, HD_EXPECT_PARSE,
                                    HD_EXPECT_SYNC};
    struct hd_expects q;

    hd_expects_init(&q);
    for (size_t i = 0; i < sizeof(kinds); i++)
        CU_ASSERT_EQUAL(hd_expects_push(&q, (struct hd_expect){.kind = kinds[i], .seq = (uint32_t)i}), 0);
    hd_expects_drop_syncs(&q);
    CU_ASSERT_EQUAL(q.count, 3);
    CU_ASSERT_EQUAL(hd_expects_pop(&q).kind, HD_EXPECT_EXECUTE);
    CU_ASSERT_EQUAL(hd_expects_pop(&q).seq, 3);
    CU_ASSERT_EQUAL(hd_expects_pop(&q).seq, 4);
    hd_expects_free(&q);
}

UNIT_MAIN("session parts", {"params are interned", params_are_interned},
          {"params move between workers", params_move_between_workers},
          {"sync says what differs", params_sync_says_what_differs},
          {"contents have one name for ever", contents_have_one_name_for_ever},
          {"names come and go", names_come_and_go}, {"a server keeps the most recent", server_keeps_the_most_recent},
          {"owed replies keep their order", expects_keep_order_while_growing},
          {"ignored Syncs are not owed", expects_drop_ignored_syncs})
