/*
 * What two hosts and their supervisor say to each other: its packets, the counts that both hosts share, and
 * sessions as bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "host/supervisor_wire.h"
#include "session/handover_wire.h"
#include "session/share.h"
#include "unit.h"

/* --- packets ---------------------------------------------------------------------------------------------
 */

static void packets_carry_text_and_descriptor(void)
{
    static struct hd_super_message m;
    int ends[2], pipes[2];
    char c = 'x';

    CU_ASSERT_EQUAL_FATAL(hd_super_pair(ends), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 0, &m), 0);
    CU_ASSERT_EQUAL(hd_super_send(ends[0], HD_SUPER_KEPT, 7, "127.0.0.1:6432#0", pipes[1]), 0);
    CU_ASSERT_EQUAL(hd_super_send(ends[0], 4711, 8, NULL, -1), 0); /* of some later version */
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 1, &m), 1);
    CU_ASSERT_EQUAL(m.type, HD_SUPER_KEPT);
    CU_ASSERT_EQUAL(m.value, 7);
    CU_ASSERT_STRING_EQUAL(m.text, "127.0.0.1:6432#0");
    CU_ASSERT_FATAL(m.fd >= 0);
    CU_ASSERT_EQUAL(write(m.fd, &c, 1), 1);
    c = 0;
    CU_ASSERT_EQUAL(read(pipes[0], &c, 1), 1);
    CU_ASSERT_EQUAL(c, 'x');
    close(m.fd);
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 1, &m), 1);
    CU_ASSERT_EQUAL(m.type, 4711);
    CU_ASSERT_EQUAL(m.fd, -1);
    CU_ASSERT_STRING_EQUAL(m.text, "");
    for (int i = 0; i < 2; i++) {
        close(pipes[i]);
        close(ends[i]);
    }
}

static void packets_that_are_too_long_or_short(void)
{
    static struct hd_super_message m;
    static char text[2 * HD_SUPER_TEXT];
    int ends[2];

    CU_ASSERT_EQUAL_FATAL(hd_super_pair(ends), 0);
    memset(text, 'a', sizeof(text) - 1);
    CU_ASSERT_EQUAL(hd_super_send(ends[0], HD_SUPER_NOTIFY, 0, text, -1), 0);
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 1, &m), 1);
    CU_ASSERT_EQUAL(strlen(m.text), HD_SUPER_TEXT - 1);
    CU_ASSERT_EQUAL(send(ends[0], text, sizeof(text), 0), (ssize_t)sizeof(text)); /* past any message */
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 1, &m), 1);
    CU_ASSERT_EQUAL(strlen(m.text), HD_SUPER_TEXT - 1);
    CU_ASSERT_EQUAL(send(ends[0], text, 7, 0), 7);
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 1, &m), -1);
    close(ends[0]);
    CU_ASSERT_EQUAL(hd_super_receive(ends[1], 1, &m), -1);
    CU_ASSERT_EQUAL(hd_super_send(ends[1], HD_SUPER_READY, 0, NULL, -1), EPIPE);
    close(ends[1]);
}

static void last_words_are_heard(void)
{
    static struct hd_super_message m;
    int ends[2];

    CU_ASSERT_EQUAL_FATAL(hd_super_pair(ends), 0);
    CU_ASSERT_EQUAL(hd_super_send(ends[0], HD_SUPER_BEGIN, 0, "never read", -1), 0);
    CU_ASSERT_EQUAL(hd_super_send(ends[1], HD_SUPER_FAILED, 0, "because", -1), 0);
    close(ends[1]);
    CU_ASSERT_EQUAL(hd_super_receive(ends[0], 0, &m), 1);
    CU_ASSERT_STRING_EQUAL(m.text, "because");
    CU_ASSERT_EQUAL(hd_super_receive(ends[0], 0, &m), -1);
    close(ends[0]);
}

/* --- counts that are shared ------------------------------------------------------------------------------
 */

static struct hd_share *as(int fd, unsigned side, const char *name)
{
    CU_ASSERT_EQUAL_FATAL(hd_share_use(fd, side), 0);
    return hd_share_of(name);
}

static void counts_without_a_page(void)
{
    CU_ASSERT_PTR_NULL(hd_share_of("pool"));
    CU_ASSERT_EQUAL(hd_share_enter(NULL, 1), 1);
    CU_ASSERT_EQUAL(hd_share_enter(NULL, 1), 1);
    hd_share_leave(NULL);
    hd_share_wait(NULL, 1);
    hd_share_yield(NULL);
    CU_ASSERT_FALSE(hd_share_other_waits(NULL));
    CU_ASSERT_FALSE(hd_share_others_wait());
}

static void a_limit_holds_over_both(void)
{
    struct hd_share_page *page;
    struct hd_share *pool;
    int fd;

    CU_ASSERT_EQUAL_FATAL(hd_share_page_make(&page, &fd), 0);
    pool = as(fd, 0, "pool");
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_PTR_EQUAL(hd_share_of("pool"), pool);
    CU_ASSERT_PTR_NOT_EQUAL(hd_share_of("another"), pool);
    CU_ASSERT(hd_share_enter(pool, 3));
    CU_ASSERT(hd_share_enter(pool, 3));
    pool = as(fd, 1, "pool");
    CU_ASSERT(hd_share_enter(pool, 3));
    CU_ASSERT_FALSE(hd_share_enter(pool, 3));
    CU_ASSERT(hd_share_enter(pool, 0)); /* no limit, but counted */
    CU_ASSERT_FALSE(hd_share_enter(pool, 4));
    hd_share_leave(pool);
    hd_share_page_clear(page, 0); /* that host is gone */
    CU_ASSERT(hd_share_enter(pool, 3));
    CU_ASSERT(hd_share_enter(pool, 3));
    CU_ASSERT_FALSE(hd_share_enter(pool, 3));
    hd_share_page_free(page);
    close(fd);
}

static void what_is_given_up_is_the_other_s(void)
{
    struct hd_share_page *page;
    struct hd_share *pool;
    int fd;

    CU_ASSERT_EQUAL_FATAL(hd_share_page_make(&page, &fd), 0);
    pool = as(fd, 1, "pool");
    hd_share_wait(pool, 1);
    CU_ASSERT_FALSE(hd_share_others_wait()); /* it is we who wait */
    pool = as(fd, 0, "pool");
    CU_ASSERT(hd_share_other_waits(pool));
    CU_ASSERT(hd_share_others_wait());
    CU_ASSERT_FALSE(hd_share_other_waits(hd_share_of("another")));
    CU_ASSERT(hd_share_enter(pool, 1));
    hd_share_yield(pool);
    hd_share_leave(pool);
    CU_ASSERT_FALSE(hd_share_enter(pool, 1)); /* it is free, and not ours */
    CU_ASSERT(hd_share_enter(pool, 2));       /* but one beside it is */
    hd_share_leave(pool);
    pool = as(fd, 1, "pool");
    CU_ASSERT(hd_share_enter(pool, 1));
    hd_share_leave(pool);
    pool = as(fd, 0, "pool");
    CU_ASSERT(hd_share_enter(pool, 1)); /* it had been collected */
    hd_share_yield(pool);
    hd_share_leave(pool);
    pool = as(fd, 1, "pool");
    hd_share_wait(pool, -1);
    pool = as(fd, 0, "pool");
    CU_ASSERT_FALSE(hd_share_others_wait());
    CU_ASSERT(hd_share_enter(pool, 1)); /* nobody waits for it any more */
    hd_share_page_free(page);
    close(fd);
}

static void one_that_crashed_waits_no_longer(void)
{
    struct hd_share_page *page;
    struct hd_share *pool;
    int fd;

    CU_ASSERT_EQUAL_FATAL(hd_share_page_make(&page, &fd), 0);
    pool = as(fd, 1, "pool");
    hd_share_wait(pool, 1);
    pool = as(fd, 0, "pool");
    hd_share_yield(pool);
    hd_share_page_clear(page, 1);
    CU_ASSERT_FALSE(hd_share_others_wait());
    CU_ASSERT_FALSE(hd_share_other_waits(pool));
    CU_ASSERT(hd_share_enter(pool, 1));
    hd_share_page_free(page);
    close(fd);
}

static void a_full_page_shares_nothing_more(void)
{
    struct hd_share_page *page;
    char name[32];
    int fd;

    CU_ASSERT_EQUAL_FATAL(hd_share_page_make(&page, &fd), 0);
    CU_ASSERT_EQUAL_FATAL(hd_share_use(fd, 0), 0);
    for (unsigned i = 0; i < HD_SHARE_ENTRIES; i++) {
        snprintf(name, sizeof(name), "pool %u", i);
        CU_ASSERT_PTR_NOT_NULL_FATAL(hd_share_of(name));
    }
    CU_ASSERT_PTR_NULL(hd_share_of("one more"));
    CU_ASSERT_PTR_NOT_NULL(hd_share_of("pool 17"));
    hd_share_page_free(page);
    close(fd);
}

/* --- sessions --------------------------------------------------------------------------------------------
 */

static const struct hd_param_entry settings[] = {{"TimeZone", "Europe/Zurich"}, {"application_name", ""}};
static const uint8_t select_one[] = "SELECT $1\0\0\1\0\0\0\027"; /* the array's own NUL is not of it */
static const uint8_t empty[] = "\0\0";

static const struct hd_moved_name names[] = {
    {"first", {select_one, sizeof(select_one) - 1, 9}, 0x1122334455667788},
    {"second", {empty, sizeof(empty), 0}, 0},
};

static const struct hd_moved whole = {
    .listener = "main",
    .database = "shop",
    .user = "app",
    .statements = 12,
    .transactions = UINT64_MAX,
    .params = {settings, 2},
    .startup = {settings, 1},
    .names = names,
    .name_count = 2,
    .has_unnamed = 1,
    .unnamed = {select_one, sizeof(select_one) - 1, 9},
};
static const struct hd_moved bare = {.listener = "", .database = "d", .user = "u"};

static int same_prep(const struct hd_moved_prep *a, const struct hd_moved_prep *b)
{
    return a->len == b->len && a->sql_len == b->sql_len && (!a->len || !memcmp(a->body, b->body, a->len));
}

static int same_params(const struct hd_moved_params *a, const struct hd_moved_params *b)
{
    int same = a->count == b->count;

    for (uint32_t i = 0; same && i < a->count; i++)
        same = !strcmp(a->entries[i].name, b->entries[i].name) &&
               !strcmp(a->entries[i].value, b->entries[i].value);
    return same;
}

static int same(const struct hd_moved *a, const struct hd_moved *b)
{
    int yes = !strcmp(a->listener, b->listener) && !strcmp(a->database, b->database) &&
              !strcmp(a->user, b->user) && a->statements == b->statements &&
              a->transactions == b->transactions && same_params(&a->params, &b->params) &&
              same_params(&a->startup, &b->startup) && a->name_count == b->name_count &&
              a->has_unnamed == b->has_unnamed && same_prep(&a->unnamed, &b->unnamed);

    for (uint32_t i = 0; yes && i < a->name_count; i++)
        yes = !strcmp(a->names[i].name, b->names[i].name) &&
              same_prep(&a->names[i].prep, &b->names[i].prep) && a->names[i].rows == b->names[i].rows;
    return yes;
}

/* Decodes a copy of the exact size, so that a sanitizer sees a read past its end; what is taken for good must
 * be what it is encoded to. */
static int decode(const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct hd_strbuf again = HD_STRBUF_INIT;
    struct hd_moved m;
    int code;

    memcpy(copy, bytes, len);
    code = hd_moved_decode(copy, len, &m);
    if (!code) {
        hd_moved_encode(&m, &again);
        CU_ASSERT_EQUAL(again.len, len);
        CU_ASSERT(!memcmp(again.data, bytes, len));
    }
    hd_moved_free(&m);
    hd_strbuf_free(&again);
    free(copy);
    return code;
}

static void sessions_come_out_as_they_went_in(void)
{
    const struct hd_moved *all[] = {&whole, &bare};

    for (size_t i = 0; i < HD_ARRAY_LEN(all); i++) {
        struct hd_strbuf out = HD_STRBUF_INIT;
        struct hd_moved m;

        hd_moved_encode(all[i], &out);
        CU_ASSERT_EQUAL_FATAL(hd_moved_decode((const uint8_t *)out.data, out.len, &m), HD_OK);
        CU_ASSERT(same(&m, all[i]));
        hd_moved_free(&m);
        CU_ASSERT_EQUAL(decode(out.data, out.len), HD_OK);
        hd_strbuf_free(&out);
    }
}

static void sessions_cut_anywhere_are_none(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT;

    hd_moved_encode(&whole, &out);
    for (size_t len = 0; len < out.len; len++)
        CU_ASSERT_EQUAL(decode(out.data, len), HD_EINVAL);
    hd_strbuf_putc(&out, 0);
    CU_ASSERT_EQUAL(decode(out.data, out.len), HD_EINVAL); /* nor is one with something behind it */
    hd_strbuf_free(&out);
}

static void every_byte_may_be_wrong(void)
{
    static const uint8_t wrong[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    struct hd_strbuf out = HD_STRBUF_INIT;

    hd_moved_encode(&whole, &out);
    for (size_t at = 0; at < out.len; at++) {
        char was = out.data[at];

        for (size_t i = 0; i < sizeof(wrong); i++) {
            out.data[at] = (char)wrong[i];
            decode(out.data, out.len);
        }
        out.data[at] = was;
    }
    CU_ASSERT_EQUAL(decode(out.data, out.len), HD_OK);
    hd_strbuf_free(&out);
}

/* Eight bytes anywhere as a length or a count that cannot be. */
static void no_length_is_believed(void)
{
    static const uint64_t numbers[] = {1ull << 16, INT32_MAX,      1ull << 31,       UINT32_MAX,
                                       1ull << 32, 1ull << 60,     (1ull << 61) + 1, 1ull << 63,
                                       INT64_MAX,  UINT64_MAX - 7, UINT64_MAX};
    struct hd_strbuf out = HD_STRBUF_INIT;
    int refused = 0;

    hd_moved_encode(&whole, &out);
    for (size_t at = 0; at + 8 <= out.len; at++) {
        char was[8];

        memcpy(was, out.data + at, 8);
        for (size_t i = 0; i < HD_ARRAY_LEN(numbers); i++) {
            memcpy(out.data + at, &numbers[i], 8);
            refused += decode(out.data, out.len) != HD_OK;
        }
        memcpy(out.data + at, was, 8);
    }
    CU_ASSERT(refused > 100);
    hd_strbuf_free(&out);
}

static void decode_once(void *bytes)
{
    const struct hd_strbuf *out = bytes;
    struct hd_moved m;
    int code = hd_moved_decode((const uint8_t *)out->data, out->len, &m);

    CU_ASSERT(code == HD_OK || code == HD_ENOMEM);
    hd_moved_free(&m);
}

static void no_memory_is_told(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT;

    hd_moved_encode(&whole, &out);
    CU_ASSERT(unit_each_alloc_failure(decode_once, &out) > 0 || !unit_can_fail_alloc());
    hd_strbuf_free(&out);
}

UNIT_MAIN("handover", {"packets carry text and descriptor", packets_carry_text_and_descriptor},
          {"packets that are too long or short", packets_that_are_too_long_or_short},
          {"last words are heard", last_words_are_heard}, {"counts without a page", counts_without_a_page},
          {"a limit holds over both hosts", a_limit_holds_over_both},
          {"what is given up is the other's", what_is_given_up_is_the_other_s},
          {"one that crashed waits no longer", one_that_crashed_waits_no_longer},
          {"a full page shares nothing more", a_full_page_shares_nothing_more},
          {"sessions come out as they went in", sessions_come_out_as_they_went_in},
          {"sessions cut anywhere are none", sessions_cut_anywhere_are_none},
          {"every byte may be wrong", every_byte_may_be_wrong},
          {"no length is believed", no_length_is_believed}, {"no memory is told", no_memory_is_told})
