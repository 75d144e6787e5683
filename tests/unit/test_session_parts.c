/*
 * The small parts of core/session: sets of settings, prepared contents and names, owed replies.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/expect.h"
#include "session/params.h"
#include "session/prep.h"
#include "session/stock.h"
#include "session/reply.h"
#include "session/session.h"
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
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&sql),
                           "RESET \"my\".\"x\"; SELECT pg_catalog.set_config(E'TimeZone', "
                           "E'it''s\\\\here', false)");
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

static void contents_are_shared_and_numbers_are_not(void)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_prep *a = content(t, "select 1"), *b = content(t, "select 1"), *c = content(t, "select 2");
    char first[HD_PREP_NAME], second[HD_PREP_NAME];

    CU_ASSERT_PTR_EQUAL(a, b);
    CU_ASSERT_PTR_NOT_EQUAL(a, c);
    CU_ASSERT_EQUAL(hd_prep_name(hd_prep_new_id(t), first), strlen(first));
    hd_prep_name(hd_prep_new_id(t), second);
    CU_ASSERT_STRING_NOT_EQUAL(first, second);
    hd_prep_name(UINT64_MAX, first);
    CU_ASSERT_STRING_EQUAL(first, HD_PREP_PREFIX "ffffffffffffffff");
    hd_prep_drop(t, a);
    hd_prep_drop(t, b);
    CU_ASSERT_EQUAL(hd_prep_count(t), 1);
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
        CU_ASSERT_PTR_NOT_NULL(hd_names_set(&n, t, name, content(t, name), i + 1));
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

static void stock_keeps_the_most_recent(void)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_prep *a = content(t, "a"), *b = content(t, "b");
    struct hd_stock s;

    hd_stock_init(&s);
    CU_ASSERT_PTR_NULL(hd_stock_find(&s, a, 1, HD_ROWS_UNKNOWN));
    CU_ASSERT_EQUAL(hd_stock_add(&s, a, 1, HD_ROWS_NONE), 0);
    CU_ASSERT_EQUAL(hd_stock_add(&s, b, 2, HD_ROWS_NONE), 0);
    CU_ASSERT_EQUAL(hd_stock_oldest(&s)->id, 1);
    hd_stock_touch(&s, hd_stock_find(&s, a, 1, HD_ROWS_UNKNOWN));
    CU_ASSERT_EQUAL(hd_stock_oldest(&s)->id, 2);
    hd_stock_remove(&s, t, hd_stock_of_id(&s, 2));
    CU_ASSERT_PTR_NULL(hd_stock_find(&s, b, 2, HD_ROWS_NONE));
    hd_stock_clear(&s, t);
    CU_ASSERT_PTR_NULL(hd_stock_oldest(&s));
    hd_prep_drop(t, a);
    hd_prep_drop(t, b);
    hd_prep_table_free(t);
}

static void stock_shares_what_gives_the_same_rows(void)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_prep *p = content(t, "select $1"), *typed = content(t, "select $1, typed");
    struct hd_stock s;
    struct hd_stocked *e;

    hd_stock_init(&s);
    CU_ASSERT_EQUAL(hd_stock_add(&s, typed, 1, 77), 0);
    CU_ASSERT_EQUAL(hd_stock_add(&s, typed, 2, 78), 0);
    CU_ASSERT_EQUAL(hd_stock_find(&s, typed, 0, 78)->id, 2);
    CU_ASSERT_EQUAL(hd_stock_find(&s, typed, 1, 78)->id, 1); /* the number goes first */
    CU_ASSERT_PTR_NULL(hd_stock_find(&s, typed, 0, 79));
    CU_ASSERT_PTR_NULL(hd_stock_find(&s, typed, 0, HD_ROWS_UNKNOWN));
    CU_ASSERT_EQUAL(hd_stock_add(&s, p, 3, HD_ROWS_UNKNOWN), 0);
    e = hd_stock_find(&s, p, 3, HD_ROWS_UNKNOWN);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_PTR_NULL(hd_stock_twin(&s, e));
    hd_stock_resolve(&s, t, e, typed, 77);
    CU_ASSERT_PTR_NOT_NULL_FATAL(hd_stock_twin(&s, e));
    CU_ASSERT_EQUAL(hd_stock_twin(&s, e)->id, 1);
    CU_ASSERT_EQUAL(hd_stock_retire_all(&s, t, 0), 0);
    CU_ASSERT_EQUAL(s.count, 3); /* their rows are known */
    CU_ASSERT_EQUAL(hd_stock_retire_all(&s, t, 1), 0);
    CU_ASSERT_EQUAL(s.count, 0);
    CU_ASSERT_EQUAL(s.retired_count, 3);
    hd_stock_clear(&s, t);
    hd_prep_drop(t, p);
    hd_prep_drop(t, typed);
    CU_ASSERT_EQUAL(hd_prep_count(t), 0);
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

/* --- without memory
 * ------------------------------------------------------------------------------------------- */

static void prep_failure(void *arg)
{
    struct hd_prep_table *t = hd_prep_table_new();
    struct hd_stock on_server;
    struct hd_names names = {0};
    struct hd_prep *p;

    (void)arg;
    if (!t)
        return;
    hd_stock_init(&on_server);
    for (uint32_t i = 0; i < 5; i++) {
        char name[16];
        uint32_t had = names.count;

        snprintf(name, sizeof(name), "s%u", i);
        p = content(t, name);
        if (!p)
            continue;
        if (!hd_names_set(&names, t, name, hd_prep_hold(p), i + 1)) {
            hd_prep_drop(t, p); /* the reference is still ours, and nothing was named */
            CU_ASSERT_EQUAL(names.count, had);
        }
        if (hd_stock_add(&on_server, p, i + 1, HD_ROWS_NONE))
            CU_ASSERT_PTR_NULL(hd_stock_find(&on_server, p, i + 1, HD_ROWS_NONE));
        hd_prep_drop(t, p);
    }
    hd_names_clear(&names, t);
    hd_stock_clear(&on_server, t);
    CU_ASSERT_EQUAL(hd_prep_count(t), 0);
    hd_prep_table_free(t);
}

static void preps_without_memory(void)
{
    int n = unit_each_alloc_failure(prep_failure, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || n > 10);
}

static size_t take_all(struct hd_link *l, const uint8_t *data, size_t len)
{
    (void)l;
    (void)data;
    return len;
}

static const struct hd_link_ops ops = {.on_data = take_all};

/* As much of a worker, a session and its server as replies need. */
struct stage {
    struct hd_worker w;
    struct hd_session s;
    struct hd_server v;
    int peer;
};

static int set_stage(struct stage *t)
{
    int fd[2];

    memset(t, 0, sizeof(*t));
    if (hd_loop_init(&t->w.loop))
        return -1;
    if (hd_io_init(&t->w.io, &t->w.loop, 1u << 20)) {
        hd_loop_close(&t->w.loop);
        hd_bufs_close(&t->w.io.bufs);
        return -1;
    }
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    CU_ASSERT_EQUAL_FATAL(hd_link_init(&t->s.link, &t->w.io, fd[0], &ops), 0);
    t->peer = fd[1];
    t->s.w = t->v.w = &t->w;
    hd_expects_init(&t->v.expects);
    return 0;
}

static void clear_stage(struct stage *t)
{
    while (t->v.expects.count) {
        struct hd_expect e = hd_expects_pop(&t->v.expects);

        if (e.flags & HD_EXPECT_BYTES)
            hd_buf_drop(e.ref);
    }
    hd_expects_free(&t->v.expects);
    hd_link_close(&t->s.link, NULL);
    hd_loop_close(&t->w.loop);
    hd_io_close(&t->w.io);
    close(t->peer);
}

static void replies_wait_for_their_turn(void)
{
    struct stage t;
    char got[64];

    CU_ASSERT_EQUAL_FATAL(set_stage(&t), 0);
    CU_ASSERT_EQUAL(hd_reply_bare(&t.s, HD_MSG_PARSE_COMPLETE, 1), 0);
    t.s.server = &t.v; /* it owes nothing */
    CU_ASSERT_EQUAL(hd_reply_bytes(&t.s, "now", 3), 0);
    CU_ASSERT_EQUAL(hd_expects_push(&t.v.expects, (struct hd_expect){.kind = HD_EXPECT_SYNC}), 0);
    CU_ASSERT_EQUAL(hd_reply_bytes(&t.s, "later", 5), 0);
    CU_ASSERT_EQUAL(hd_reply_bare(&t.s, HD_MSG_CLOSE_COMPLETE, 0), 0);
    hd_link_flush(&t.s.link);
    CU_ASSERT_EQUAL(read(t.peer, got, sizeof(got)), 8);
    CU_ASSERT(!memcmp(got, "1\0\0\0\4now", 8));
    CU_ASSERT_EQUAL(t.v.expects.count, 3);
    CU_ASSERT_EQUAL(hd_expects_at(&t.v.expects, 1)->flags, HD_EXPECT_BYTES);
    CU_ASSERT_EQUAL(hd_expects_at(&t.v.expects, 2)->type, HD_MSG_CLOSE_COMPLETE);
    clear_stage(&t);
}

static void reply_failure(void *arg)
{
    struct stage t;
    struct hd_buf *b;
    int codes = 0;

    (void)arg;
    if (set_stage(&t))
        return;
    b = hd_reply_error_buf(&t.s, "ERROR", "53200", "out of memory", NULL, "hint");
    if (b && hd_reply_buf(&t.s, b))
        codes++;
    hd_buf_drop(b);
    t.s.server = &t.v;
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t had = t.v.expects.count;

        if (hd_expects_push(&t.v.expects, (struct hd_expect){.kind = HD_EXPECT_SYNC}))
            CU_ASSERT_EQUAL(t.v.expects.count, had);
        codes += hd_reply_bytes(&t.s, "later", 5) != 0;
        codes += hd_reply_bare(&t.s, HD_MSG_CLOSE_COMPLETE, 0) != 0;
    }
    CU_ASSERT(codes <= 1); /* one allocation fails, and one call says so */
    clear_stage(&t);
}

static void replies_without_memory(void)
{
    int n = unit_each_alloc_failure(reply_failure, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || n > 5);
}

UNIT_MAIN("session parts", {"params are interned", params_are_interned},
          {"params move between workers", params_move_between_workers},
          {"sync says what differs", params_sync_says_what_differs},
          {"contents are shared, and numbers are not", contents_are_shared_and_numbers_are_not},
          {"names come and go", names_come_and_go},
          {"a server keeps the most recent", stock_keeps_the_most_recent},
          {"a server shares what gives the same rows", stock_shares_what_gives_the_same_rows},
          {"owed replies keep their order", expects_keep_order_while_growing},
          {"ignored Syncs are not owed", expects_drop_ignored_syncs},
          {"prepared statements without memory", preps_without_memory},
          {"replies wait for their turn", replies_wait_for_their_turn},
          {"replies without memory", replies_without_memory})
