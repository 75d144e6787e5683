/*
 * core/base: units, strbuf, arena, list, hash, error, the log's quoting, and what happens without memory.
 */
#include "unit.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/random.h"
#include "base/strbuf.h"
#include "base/thread.h"
#include "base/units.h"

/* --- units --- */

static void durations_parse(void)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},       {"5", 5000},      {"200ms", 200},   {"30s", 30000},
                {"5m", 300000}, {"5min", 300000}, {"2h", 7200000},  {"1d", 86400000},
                {"7 s", 7000},  {"0ms", 0},       {"15  m", 900000}};
    static const char *const bad[] = {"",
                                      "s",
                                      "-1s",
                                      "+1s",
                                      " 1s",
                                      "1 s ",
                                      "1S",
                                      "1.5s",
                                      "1x",
                                      "1ss",
                                      "99999999999999999999",
                                      "9223372036854775807d",
                                      "0x10",
                                      "one"};
    int64_t ms;

    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++) {
        ms = -1;
        CU_ASSERT_EQUAL(hd_parse_duration(good[i].text, &ms), 0);
        CU_ASSERT_EQUAL(ms, good[i].ms);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(hd_parse_duration(bad[i], &ms), -1);
}

static void sizes_parse(void)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},        {"17", 17},          {"17B", 17},     {"64K", 65536},
                {"64KB", 65536}, {"256M", 256 << 20}, {"1G", 1 << 30}, {"8GB", INT64_C(8) << 30}};
    static const char *const bad[] = {"", "K", "-1K", "1k", "1T", "1.5G", "9223372036854775807K", "64 K B"};
    int64_t bytes;

    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++) {
        bytes = -1;
        CU_ASSERT_EQUAL(hd_parse_size(good[i].text, &bytes), 0);
        CU_ASSERT_EQUAL(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(hd_parse_size(bad[i], &bytes), -1);
}

/* What is written parses back to the same number. */
static void units_round_trip(void)
{
    static const int64_t numbers[] = {0,
                                      1,
                                      999,
                                      1000,
                                      1001,
                                      1500,
                                      59000,
                                      60000,
                                      61000,
                                      3600000,
                                      86400000,
                                      90000000,
                                      1024,
                                      1536,
                                      65536,
                                      1 << 20,
                                      (1 << 20) + 1,
                                      1 << 30,
                                      INT64_C(5) << 30,
                                      INT64_MAX};
    char text[24];
    int64_t back;

    for (size_t i = 0; i < HD_ARRAY_LEN(numbers); i++) {
        CU_ASSERT_EQUAL(hd_parse_duration(hd_format_duration(numbers[i], text), &back), 0);
        CU_ASSERT_EQUAL(back, numbers[i]);
        CU_ASSERT_EQUAL(hd_parse_size(hd_format_size(numbers[i], text), &back), 0);
        CU_ASSERT_EQUAL(back, numbers[i]);
    }
    CU_ASSERT_STRING_EQUAL(hd_format_duration(1500, text), "1500ms");
    CU_ASSERT_STRING_EQUAL(hd_format_duration(30000, text), "30s");
    CU_ASSERT_STRING_EQUAL(hd_format_duration(300000, text), "5m");
    CU_ASSERT_STRING_EQUAL(hd_format_duration(0, text), "0");
    CU_ASSERT_STRING_EQUAL(hd_format_size(64 << 10, text), "64K");
    CU_ASSERT_STRING_EQUAL(hd_format_size(1 << 30, text), "1G");
    CU_ASSERT_STRING_EQUAL(hd_format_size(1000, text), "1000");
}

static void clocks_go_on(void)
{
    uint64_t a = hd_now_ns();

    CU_ASSERT(hd_now_ns() >= a);
    CU_ASSERT(hd_wall_us() > INT64_C(1600000000) * 1000000);
}

/* --- strbuf --- */

static void strbuf_builds(void)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    char *s;

    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&b), "");
    hd_strbuf_puts(&b, "a");
    hd_strbuf_putc(&b, '=');
    hd_strbuf_printf(&b, "%d,%s", 42, "x");
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&b), "a=42,x");
    CU_ASSERT_EQUAL(b.len, 6);
    hd_strbuf_add(&b, "\0z", 2);
    CU_ASSERT_EQUAL(b.len, 8);
    hd_strbuf_reset(&b);
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&b), "");
    for (int i = 0; i < 1000; i++)
        hd_strbuf_printf(&b, "%03d", i);
    CU_ASSERT_EQUAL(b.len, 3000);
    CU_ASSERT_NSTRING_EQUAL(b.data + 2997, "999", 3);
    s = hd_strbuf_take(&b);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_EQUAL(strlen(s), 3000);
    CU_ASSERT_EQUAL(b.len, 0);
    hd_free(s);
    hd_strbuf_free(&b);
}

static void strbuf_take_of_nothing(void)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    char *s = hd_strbuf_take(&b);

    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_STRING_EQUAL(s, "");
    hd_free(s);
}

static void strbuf_body(void *arg)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    char *s;

    (void)arg;
    for (int i = 0; i < 100; i++)
        hd_strbuf_printf(&b, "number %d;", i);
    CU_ASSERT_EQUAL(b.failed, hd_alloc_failed());
    s = hd_strbuf_take(&b);
    CU_ASSERT_EQUAL(s == NULL, hd_alloc_failed());
    hd_free(s);
    hd_strbuf_free(&b);
}

static void strbuf_without_memory(void)
{
    int runs = unit_each_alloc_failure(strbuf_body, NULL);

    CU_ASSERT_EQUAL(runs > 1, unit_can_fail_alloc());
}

/* --- arena --- */

static void arena_gives(void)
{
    struct hd_arena a = HD_ARENA_INIT;
    unsigned char *p;
    char *s;

    for (size_t size = 0; size < 3000; size += 7) {
        p = hd_arena_alloc(&a, size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        CU_ASSERT_EQUAL((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < size; i++)
            CU_ASSERT_EQUAL_FATAL(p[i], 0);
        memset(p, 0xff, size);
    }
    p = hd_arena_alloc(&a, 200000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    memset(p, 0xff, 200000);
    CU_ASSERT(a.bytes > 200000);
    s = hd_arena_strndup(&a, "abcdef", 3);
    CU_ASSERT_STRING_EQUAL(s, "abc");
    s = hd_arena_strdup(&a, "");
    CU_ASSERT_STRING_EQUAL(s, "");
    s = hd_arena_printf(&a, "%s-%d", "n", 7);
    CU_ASSERT_STRING_EQUAL(s, "n-7");
    hd_arena_free(&a);
    CU_ASSERT_EQUAL(a.bytes, 0);
    CU_ASSERT_PTR_NULL(a.head);
}

static void arena_body(void *arg)
{
    struct hd_arena a = HD_ARENA_INIT;
    int missing = 0;

    (void)arg;
    for (int i = 0; i < 300; i++)
        missing += !hd_arena_printf(&a, "%d", i);
    CU_ASSERT_EQUAL(missing > 0, hd_alloc_failed());
    hd_arena_free(&a);
}

static void arena_without_memory(void)
{
    int runs = unit_each_alloc_failure(arena_body, NULL);

    CU_ASSERT_EQUAL(runs > 1, unit_can_fail_alloc());
}

/* --- list --- */

struct item {
    int n;
    struct hd_list node;
};

static void list_keeps_order(void)
{
    struct hd_list head;
    struct item items[5] = {{.n = 0}};
    int seen = 0;

    hd_list_init(&head);
    CU_ASSERT(hd_list_empty(&head));
    CU_ASSERT_PTR_NULL(hd_list_first(&head));
    CU_ASSERT_PTR_NULL(hd_list_pop_front(&head));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        hd_list_push_back(&head, &items[i].node);
    }
    HD_LIST_EACH(n, &head)
    {
        CU_ASSERT_EQUAL(HD_LIST_ITEM(n, struct item, node)->n, seen);
        if (seen % 2)
            hd_list_remove(n);
        seen++;
    }
    CU_ASSERT_EQUAL(seen, 5);
    hd_list_remove(&items[1].node); /* a second time: harmless */
    hd_list_push_front(&head, &items[3].node);
    CU_ASSERT_PTR_EQUAL(hd_list_pop_front(&head), &items[3].node);
    CU_ASSERT_PTR_EQUAL(hd_list_pop_front(&head), &items[0].node);
    CU_ASSERT_PTR_EQUAL(hd_list_pop_front(&head), &items[2].node);
    CU_ASSERT_PTR_EQUAL(hd_list_pop_front(&head), &items[4].node);
    CU_ASSERT(hd_list_empty(&head));
}

/* --- hash and random --- */

static void hashes_tell_apart(void)
{
    struct hd_hash128 a = hd_hash128("abc", 3), b = hd_hash128("abd", 3), c = hd_hash128("abc", 3);

    CU_ASSERT(hd_hash128_eq(a, c));
    CU_ASSERT(!hd_hash128_eq(a, b));
    CU_ASSERT(!hd_hash128_eq(hd_hash128_more(a, "x", 1), hd_hash128_more(a, "y", 1)));
    CU_ASSERT(!hd_hash128_eq(hd_hash128_more(hd_hash128_more(a, "x", 1), "y", 1),
                             hd_hash128_more(hd_hash128_more(a, "y", 1), "x", 1)));
    CU_ASSERT_EQUAL(hd_hash64("abc", 3), hd_hash64("abc", 3));
    CU_ASSERT_EQUAL(hd_hash128("", 0).lo, hd_hash128("", 0).lo);
}

static void seed_changes_keys_but_not_fingerprints(void)
{
    struct hd_hash128 before = hd_hash128("abc", 3);

    CU_ASSERT_EQUAL(hd_fingerprint64("", 0), UINT64_C(0x2d06800538d394c2));
    hd_hash_seed();
    CU_ASSERT(!hd_hash128_eq(before, hd_hash128("abc", 3)));
    CU_ASSERT_EQUAL(hd_fingerprint64("", 0), UINT64_C(0x2d06800538d394c2));
}

static void random_is_not_constant(void)
{
    unsigned char a[64] = {0}, b[64] = {0};

    hd_random_bytes(a, sizeof(a));
    hd_random_bytes(b, sizeof(b));
    CU_ASSERT(memcmp(a, b, sizeof(a)) != 0);
    CU_ASSERT(hd_random_u64() != hd_random_u64());
}

/* --- errors --- */

static void errors_are_filled(void)
{
    struct hd_error e = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(hd_fail(&e, HD_EINVAL, "line %d: %s", 7, "bad"), HD_EINVAL);
    CU_ASSERT_EQUAL(e.code, HD_EINVAL);
    CU_ASSERT_STRING_EQUAL(e.text, "line 7: bad");
    CU_ASSERT_EQUAL(hd_fail_prefix(&e, "file %s", "x.ini"), HD_EINVAL);
    CU_ASSERT_STRING_EQUAL(e.text, "file x.ini: line 7: bad");
    CU_ASSERT_EQUAL(hd_fail(NULL, HD_EIO, "nobody reads"), HD_EIO);
    CU_ASSERT_EQUAL(hd_fail_prefix(NULL, "nobody"), HD_EFAIL);
}

static void long_errors_are_cut(void)
{
    struct hd_error e = HD_ERROR_INIT;
    char text[2 * HD_ERROR_TEXT];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    hd_fail(&e, HD_EFAIL, "%s", text);
    CU_ASSERT_EQUAL(strlen(e.text), HD_ERROR_TEXT - 1);
    hd_fail_prefix(&e, "here");
    CU_ASSERT_EQUAL(strlen(e.text), HD_ERROR_TEXT - 1);
    CU_ASSERT_NSTRING_EQUAL(e.text, "here: xxx", 9);
    hd_fail_prefix(&e, "%s", text);
    CU_ASSERT_EQUAL(strlen(e.text), HD_ERROR_TEXT - 1);
}

static void codes_have_names(void)
{
    CU_ASSERT_STRING_EQUAL(hd_code_name(HD_OK), "ok");
    CU_ASSERT_STRING_EQUAL(hd_code_name(HD_PENDING), "pending");
    CU_ASSERT_STRING_EQUAL(hd_code_name(HD_ETIMEOUT), "timeout");
    CU_ASSERT_STRING_EQUAL(hd_code_name(HD_EFAIL), "failed");
    CU_ASSERT_STRING_EQUAL(hd_code_name(2), "unknown");
    CU_ASSERT_STRING_EQUAL(hd_code_name(-16), "unknown");
    for (int code = HD_EFAIL; code <= HD_OK; code++)
        CU_ASSERT_STRING_NOT_EQUAL(hd_code_name(code), "unknown");
}

/* --- log --- */

#define LOG_BYTES 8192

/* Reads what the log wrote into `path` and removes the file; the timestamp is cut off the first line. */
static void read_log(const char *path, char *out)
{
    FILE *f = fopen(path, "r");
    size_t n = 0;
    char *level;

    out[0] = 0;
    if (f) {
        n = fread(out, 1, LOG_BYTES - 1, f);
        out[n] = 0;
        fclose(f);
    }
    unlink(path);
    level = strstr(out, "level=");
    if (level)
        memmove(out, level, strlen(level) + 1);
}

static void log_path_of(char *path, size_t size)
{
    snprintf(path, size, "/tmp/howdah-test-log.%ld", (long)getpid());
}

static void log_quotes_what_needs_it(void)
{
    char path[64], text[LOG_BYTES];

    log_path_of(path, sizeof(path));
    CU_ASSERT_EQUAL_FATAL(hd_log_open(path), 0);
    hd_log(HD_LOG_INFO, "client said", HD_KV("plain", "abc"), HD_KV("blank", "a b"), HD_KV("empty", ""),
           HD_KV("null", (const char *)NULL), HD_KV("quote", "a\"b\\c"), HD_KV("equals", "a=b"),
           HD_KV("forged", "x\nts=2000 level=error msg=\"all lost\""), HD_KV("int", -5), HD_KV("uint", 7u),
           HD_KV("real", 0.5), HD_KV("utf8", "\xc3\xa4"));
    CU_ASSERT_EQUAL(hd_log_open(NULL), 0);
    read_log(path, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "level=info msg=\"client said\" plain=abc blank=\"a b\" empty=\"\" null=\"\" "
                           "quote=\"a\\\"b\\\\c\" equals=\"a=b\" "
                           "forged=\"x\\x0ats=2000 level=error msg=\\\"all lost\\\"\" int=-5 uint=7 "
                           "real=0.5 utf8=\xc3\xa4\n");
}

static void log_cuts_long_lines(void)
{
    char path[64], text[LOG_BYTES], value[5000];

    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    log_path_of(path, sizeof(path));
    CU_ASSERT_EQUAL_FATAL(hd_log_open(path), 0);
    hd_log(HD_LOG_WARNING, "long", HD_KV("value", value), HD_KV("after", 1));
    CU_ASSERT_EQUAL(hd_log_open(NULL), 0);
    read_log(path, text);
    CU_ASSERT(strlen(text) < 2049);
    CU_ASSERT_EQUAL(text[strlen(text) - 1], '\n');
    CU_ASSERT_PTR_EQUAL(strchr(text, '\n'), text + strlen(text) - 1);
}

static void log_reopens_after_rotation(void)
{
    char path[64], moved[80], text[LOG_BYTES];

    log_path_of(path, sizeof(path));
    snprintf(moved, sizeof(moved), "%s.1", path);
    CU_ASSERT_EQUAL_FATAL(hd_log_open(path), 0);
    hd_log(HD_LOG_ERROR, "one");
    CU_ASSERT_EQUAL(rename(path, moved), 0);
    hd_log(HD_LOG_ERROR, "two");
    CU_ASSERT_EQUAL(hd_log_reopen(), 0);
    hd_log(HD_LOG_ERROR, "three");
    CU_ASSERT_EQUAL(hd_log_open(NULL), 0);
    read_log(moved, text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "msg=two\n"));
    CU_ASSERT_PTR_NULL(strstr(text, "three"));
    read_log(path, text);
    CU_ASSERT_STRING_EQUAL(text, "level=error msg=three\n");
    CU_ASSERT_EQUAL(hd_log_lost(), 0);
}

static void log_levels(void)
{
    char path[64], text[LOG_BYTES];

    CU_ASSERT_EQUAL(hd_log_level_parse("warning"), HD_LOG_WARNING);
    CU_ASSERT_EQUAL(hd_log_level_parse("loud"), -1);
    CU_ASSERT_STRING_EQUAL(hd_log_level_name(HD_LOG_DEBUG), "debug");
    log_path_of(path, sizeof(path));
    CU_ASSERT_EQUAL_FATAL(hd_log_open(path), 0);
    hd_log(HD_LOG_DEBUG, "quiet");
    hd_log_set_level(HD_LOG_DEBUG);
    hd_log(HD_LOG_DEBUG, "spoken");
    hd_log_set_level(HD_LOG_INFO);
    CU_ASSERT_EQUAL(hd_log_open(NULL), 0);
    read_log(path, text);
    CU_ASSERT_STRING_EQUAL(text, "level=debug msg=spoken\n");
    CU_ASSERT_EQUAL(hd_log_open("/nonexistent/folder/log"), ENOENT);
}

/* --- alloc and thread --- */

static void the_nth_allocation_fails(void)
{
    void *a, *b, *c;

    if (!unit_can_fail_alloc())
        return;
    hd_alloc_fail_at(2);
    a = hd_malloc(1);
    b = hd_calloc(1, 1);
    c = hd_strdup("x");
    CU_ASSERT_PTR_NOT_NULL(a);
    CU_ASSERT_PTR_NULL(b);
    CU_ASSERT_PTR_NOT_NULL(c);
    CU_ASSERT(hd_alloc_failed());
    hd_alloc_fail_at(0);
    hd_free(a);
    hd_free(b);
    hd_free(c);
}

static void allocations_are_counted(void)
{
    size_t before = hd_alloc_total();
    char *p = hd_malloc(100000);

    CU_ASSERT(hd_alloc_total() >= before + 100000);
    CU_ASSERT(hd_alloc_total() < before + 110000);
    p = hd_realloc(p, 300000);
    CU_ASSERT(hd_alloc_total() >= before + 300000);
    p = hd_realloc(p, 10);
    CU_ASSERT(hd_alloc_total() < before + 10000);
    hd_free(p);
    hd_free(NULL);
    CU_ASSERT_EQUAL(hd_alloc_total(), before);
}

static void threads_know_their_role(void)
{
    CU_ASSERT_EQUAL(hd_thread_role(), HD_THREAD_OTHER);
    CU_ASSERT_EQUAL(hd_thread_worker(), -1);
    hd_thread_name(HD_THREAD_WORKER, 3);
    CU_ASSERT_EQUAL(hd_thread_role(), HD_THREAD_WORKER);
    CU_ASSERT_EQUAL(hd_thread_worker(), 3);
    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL(hd_thread_worker(), -1);
}

UNIT_MAIN("base", {"durations parse", durations_parse}, {"sizes parse", sizes_parse},
          {"units round trip", units_round_trip}, {"clocks go on", clocks_go_on},
          {"strbuf builds", strbuf_builds}, {"strbuf: take of nothing", strbuf_take_of_nothing},
          {"strbuf without memory", strbuf_without_memory}, {"arena gives", arena_gives},
          {"arena without memory", arena_without_memory}, {"list keeps order", list_keeps_order},
          {"hashes tell apart", hashes_tell_apart},
          {"seed changes keys but not fingerprints", seed_changes_keys_but_not_fingerprints},
          {"random is not constant", random_is_not_constant}, {"errors are filled", errors_are_filled},
          {"long errors are cut", long_errors_are_cut}, {"codes have names", codes_have_names},
          {"log quotes what needs it", log_quotes_what_needs_it},
          {"log cuts long lines", log_cuts_long_lines},
          {"log reopens after rotation", log_reopens_after_rotation}, {"log levels", log_levels},
          {"the nth allocation fails", the_nth_allocation_fails},
          {"allocations are counted", allocations_are_counted},
          {"threads know their role", threads_know_their_role})
