/*
 * core/wire: reading, framing, building and describing messages, and base64.
 */
#include "unit.h"

#include "wire/base64.h"
#include "wire/build.h"
#include "wire/describe.h"
#include "wire/frame.h"
#include "wire/read.h"
#include "wire/sqlstate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_endian(void)
{
    uint8_t raw[4];

    hd_put_u32(raw, 0x01020304u);
    CU_ASSERT(raw[0] == 1 && raw[1] == 2 && raw[2] == 3 && raw[3] == 4);
    CU_ASSERT_EQUAL(hd_get_u32(raw), 0x01020304u);
    hd_put_u16(raw, 0xfffe);
    CU_ASSERT(raw[0] == 0xff && raw[1] == 0xfe);
    CU_ASSERT_EQUAL(hd_get_u16(raw), 0xfffe);
    CU_ASSERT_EQUAL(HD_PROTO_3_0, 196608);
    CU_ASSERT_EQUAL(HD_PROTO_3_2, 196610);
    CU_ASSERT_EQUAL(HD_PROTO_MAJOR(HD_PROTO_3_2), 3);
    CU_ASSERT_EQUAL(HD_PROTO_MINOR(HD_PROTO_3_2), 2);
}

/* ---- reading ---- */

static void test_read_fields(void)
{
    static const uint8_t body[] = {7, 0, 8, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 'h', 'i', 0, 0, 1, 2};
    struct hd_reader r = hd_reader_on(body, sizeof(body));
    const uint8_t *rest;
    size_t len;

    CU_ASSERT_EQUAL(hd_read_u8(&r), 7);
    CU_ASSERT_EQUAL(hd_read_u16(&r), 8);
    CU_ASSERT_EQUAL(hd_read_u32(&r), 9);
    CU_ASSERT_EQUAL(hd_read_i32(&r), -1);
    CU_ASSERT_STRING_EQUAL(hd_read_cstr(&r, &len), "hi");
    CU_ASSERT_EQUAL(len, 2);
    CU_ASSERT_STRING_EQUAL(hd_read_cstr(&r, &len), "");
    CU_ASSERT_EQUAL(hd_reader_left(&r), 2);
    CU_ASSERT_FALSE(hd_reader_done(&r));
    rest = hd_read_bytes(&r, 2);
    CU_ASSERT(rest == body + sizeof(body) - 2);
    CU_ASSERT(hd_reader_done(&r));
}

/* Once a field is missing all that follow are, even those that would have fitted. */
static void test_read_past_end(void)
{
    uint8_t *body = malloc(3);
    struct hd_reader r;

    CU_ASSERT_FATAL(body != NULL);
    memcpy(body, "abc", 3);
    r = hd_reader_on(body, 3);
    CU_ASSERT_EQUAL(hd_read_u32(&r), 0);
    CU_ASSERT(r.failed);
    CU_ASSERT_EQUAL(hd_read_u8(&r), 0);
    CU_ASSERT_STRING_EQUAL(hd_read_cstr(&r, NULL), "");
    CU_ASSERT(hd_read_bytes(&r, 0) == NULL);
    CU_ASSERT_FALSE(hd_reader_done(&r));

    r = hd_reader_on(body, 3); /* no NUL anywhere */
    CU_ASSERT_STRING_EQUAL(hd_read_cstr(&r, NULL), "");
    CU_ASSERT(r.failed);
    r = hd_reader_on(body, 3);
    CU_ASSERT(hd_read_bytes(&r, SIZE_MAX) == NULL);
    CU_ASSERT(r.failed);
    r = hd_reader_on(NULL, 0);
    CU_ASSERT(hd_reader_done(&r));
    CU_ASSERT_EQUAL(hd_read_u8(&r), 0);
    CU_ASSERT(r.failed);
    free(body);
}

/* ---- framing ---- */

static int next_of(const struct hd_frame_rule *rules, const char *bytes, size_t len, struct hd_frame *f)
{
    struct hd_frame_scan s;

    hd_frame_scan_init(&s, rules);
    return hd_frame_next(&s, (const uint8_t *)bytes, len, f);
}

static void test_frame_lengths(void)
{
    static const struct {
        const char *what;
        const char *head;
        int want;
    } cases[] = {
        {"0", "Q\0\0\0\0", HD_EPROTO},
        {"3", "Q\0\0\0\3", HD_EPROTO},
        {"4", "Q\0\0\0\4", HD_OK},
        {"-1", "Q\xff\xff\xff\xff", HD_EPROTO},
        {"-2^31", "Q\x80\0\0\0", HD_EPROTO},
        {"2^31-1", "Q\x7f\xff\xff\xff", HD_EPROTO},
        {"the server's limit", "Q\x3f\xff\xff\xfe", HD_OK},
        {"one above", "Q\x3f\xff\xff\xff", HD_EPROTO},
        {"Sync at its limit", "S\0\0\x27\x10", HD_OK},
        {"Sync above", "S\0\0\x27\x11", HD_EPROTO},
        {"not a type", "z\0\0\0\4", HD_EPROTO},
        {"NUL as a type", "\0\0\0\0\4", HD_EPROTO},
        {"a password after login", "p\0\0\0\5", HD_EPROTO},
        {"a backend's type", "Z\0\0\0\5", HD_EPROTO},
    };
    struct hd_frame f;

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        int rc = next_of(hd_frame_frontend, cases[i].head, 5, &f);

        if (rc != cases[i].want)
            printf("# length %s: %d\n", cases[i].what, rc);
        CU_ASSERT_EQUAL(rc, cases[i].want);
    }
    CU_ASSERT_EQUAL(next_of(hd_frame_backend, "Z\0\0\0\6", 5, &f), HD_EPROTO);
    CU_ASSERT_EQUAL(next_of(hd_frame_backend, "Z\0\0\0\5", 5, &f), HD_OK);
    CU_ASSERT_EQUAL(next_of(hd_frame_backend, "D\x40\0\0\2", 5, &f), HD_OK);
    CU_ASSERT_EQUAL(next_of(hd_frame_backend, "D\x40\0\0\3", 5, &f), HD_EPROTO);
    CU_ASSERT_EQUAL(next_of(hd_frame_login, "p\0\0\x10\0", 5, &f), HD_OK);
    CU_ASSERT_EQUAL(next_of(hd_frame_login, "p\0\0\x10\1", 5, &f), HD_EPROTO);
    CU_ASSERT_EQUAL(next_of(hd_frame_login, "Q\0\0\0\5", 5, &f), HD_EPROTO);
}

static void test_frame_types(void)
{
    static const char frontend[] = "BCDEFHPQSXcdf";
    static const char backend[] = "123ACDEGHIKNRSTVWZcdnstv";

    for (int t = 0; t < 256; t++) {
        CU_ASSERT_EQUAL(hd_frame_frontend[t].max != 0, t && strchr(frontend, t) != NULL);
        CU_ASSERT_EQUAL(hd_frame_backend[t].max != 0, t && strchr(backend, t) != NULL);
        CU_ASSERT_EQUAL(hd_frame_login[t].max != 0, t == 'p');
        CU_ASSERT(hd_frame_frontend[t].max <= HD_MSG_LENGTH_MAX);
        CU_ASSERT(hd_frame_backend[t].max <= HD_MSG_LENGTH_MAX);
    }
}

static void test_frame_fail_text(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_frame_scan s;

    hd_frame_scan_init(&s, hd_frame_frontend);
    CU_ASSERT_EQUAL(hd_frame_fail(&s, (const uint8_t *)"Q\xff\xff\xff\xff", 5, &err), HD_EPROTO);
    CU_ASSERT(strstr(err.text, "length -1 ") && strstr(err.text, "\"Q\""));
    CU_ASSERT_EQUAL(hd_frame_fail(&s, (const uint8_t *)"\1", 1, &err), HD_EPROTO);
    CU_ASSERT(strstr(err.text, "0x01") != NULL);
}

/* A split head is pending; a wrong type is refused at its first byte. */
static void test_frame_split_head(void)
{
    struct hd_frame f;

    for (size_t n = 0; n < 5; n++)
        CU_ASSERT_EQUAL(next_of(hd_frame_frontend, "Q\0\0\0\5", n, &f), HD_PENDING);
    CU_ASSERT_EQUAL(next_of(hd_frame_frontend, "z", 1, &f), HD_EPROTO);
}

/* Three messages, given in chunks: the bytes and borders that come out. */
static void frame_in_chunks(size_t chunk)
{
    static const uint8_t run[] = "Q\0\0\0\x0bselect\0S\0\0\0\4d\0\0\0\x09hello";
    const size_t len = sizeof(run) - 1;
    struct hd_frame_scan s;
    struct hd_frame f;
    size_t at = 0, here = 0;
    char types[8] = {0};
    int messages = 0;

    hd_frame_scan_init(&s, hd_frame_frontend);
    while (at < len) {
        int rc;

        CU_ASSERT_FATAL(here < len);
        here = here + chunk < len ? here + chunk : len;
        while ((rc = hd_frame_next(&s, run + at, here - at, &f)) == HD_OK) {
            if (f.offset == 0)
                types[messages] = (char)f.type;
            CU_ASSERT(f.data == run + at);
            if (hd_frame_last(&f))
                messages++;
            hd_frame_take(&s, &f, f.here);
            at += f.here;
        }
        CU_ASSERT_EQUAL(rc, HD_PENDING);
    }
    CU_ASSERT_EQUAL(messages, 3);
    CU_ASSERT_STRING_EQUAL(types, "QSd");
    CU_ASSERT(hd_frame_between(&s));
}

static void test_frame_chunks(void)
{
    for (size_t chunk = 1; chunk < 40; chunk++)
        frame_in_chunks(chunk);
}

/* Looking does not move: a message can be gathered by not taking it. */
static void test_frame_gather(void)
{
    static const uint8_t run[] = "Q\0\0\0\x0bselect\0";
    struct hd_frame_scan s;
    struct hd_frame f;

    hd_frame_scan_init(&s, hd_frame_frontend);
    for (size_t n = 5; n < 12; n++) {
        CU_ASSERT_EQUAL(hd_frame_next(&s, run, n, &f), HD_OK);
        CU_ASSERT_FALSE(hd_frame_whole(&f));
        CU_ASSERT_EQUAL(f.here, n);
    }
    CU_ASSERT_EQUAL(hd_frame_next(&s, run, 12, &f), HD_OK);
    CU_ASSERT(hd_frame_whole(&f));
    CU_ASSERT_STRING_EQUAL((const char *)hd_frame_body(&f), "select");
    CU_ASSERT_EQUAL(hd_frame_body_len(&f), 7);
    hd_frame_take(&s, &f, 5);
    CU_ASSERT_FALSE(hd_frame_between(&s));
    CU_ASSERT_EQUAL(hd_frame_next(&s, run + 5, 100, &f), HD_OK);
    CU_ASSERT(f.offset == 5 && f.here == 7 && f.total == 12 && f.type == 'Q');
    CU_ASSERT(hd_frame_last(&f) && !hd_frame_whole(&f));
}

/* A gigabyte passes by in pieces without anyone holding it. */
static void test_frame_huge(void)
{
    static uint8_t piece[65536];
    struct hd_frame_scan s;
    struct hd_frame f;
    uint64_t seen = 0;

    hd_frame_scan_init(&s, hd_frame_backend);
    memcpy(piece, "D\x40\0\0\2", 5);
    do {
        CU_ASSERT_EQUAL_FATAL(hd_frame_next(&s, piece, sizeof(piece), &f), HD_OK);
        seen += f.here;
        hd_frame_take(&s, &f, f.here);
    } while (!hd_frame_between(&s));
    CU_ASSERT_EQUAL(seen, 0x40000003u);
}

/* ---- building ---- */

/* Does `b` hold exactly these bytes? */
static int holds(const struct hd_build *b, const char *bytes, size_t len)
{
    return b->len == len && !memcmp(b->buf, bytes, len);
}

#define CHECK_BYTES(call, bytes)                                                                             \
    do {                                                                                                     \
        b = hd_build_into(buf, sizeof(buf), 0);                                                              \
        CU_ASSERT_EQUAL(call, HD_OK);                                                                        \
        CU_ASSERT(holds(&b, bytes, sizeof(bytes) - 1));                                                      \
    } while (0)

static void test_build_backend(void)
{
    static const char *const mechanisms[] = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"};
    static const char *const options[] = {"_pq_.x"};
    static const char *const values[] = {"a", NULL, ""};
    static const struct hd_column columns[] = {{"n", 20, 8}, {"t", 0, 0}};
    static const uint32_t types[] = {23, 25};
    struct hd_build b;
    uint8_t buf[256];

    CHECK_BYTES(hd_build_authentication_ok(&b), "R\0\0\0\x08\0\0\0\0");
    CHECK_BYTES(hd_build_authentication_cleartext(&b), "R\0\0\0\x08\0\0\0\3");
    CHECK_BYTES(hd_build_authentication_sasl(&b, mechanisms, 2),
                "R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    CHECK_BYTES(hd_build_authentication_sasl_continue(&b, "r=x", 3), "R\0\0\0\x0b\0\0\0\x0br=x");
    CHECK_BYTES(hd_build_authentication_sasl_final(&b, "v=y", 3), "R\0\0\0\x0b\0\0\0\x0cv=y");
    CHECK_BYTES(hd_build_parameter_status(&b, "is_superuser", "off"), "S\0\0\0\x15is_superuser\0off\0");
    CHECK_BYTES(hd_build_backend_key_data(&b, 258, (const uint8_t *)"abcde", 5), "K\0\0\0\x0d\0\0\1\2"
                                                                                 "abcde");
    CHECK_BYTES(hd_build_ready_for_query(&b, HD_TXN_FAILED), "Z\0\0\0\5E");
    CHECK_BYTES(hd_build_negotiate_protocol_version(&b, HD_PROTO_3_2, options, 1),
                "v\0\0\0\x13\0\3\0\2\0\0\0\1_pq_.x\0");
    CHECK_BYTES(hd_build_row_description(&b, columns, 2),
                "T\0\0\0\x2e\0\2"
                "n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0"
                "t\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
    CHECK_BYTES(hd_build_data_row(&b, values, 3), "D\0\0\0\x13\0\3\0\0\0\1a\xff\xff\xff\xff\0\0\0\0");
    CHECK_BYTES(hd_build_command_complete(&b, "SELECT 1"), "C\0\0\0\x0dSELECT 1\0");
    CHECK_BYTES(hd_build_empty_query_response(&b), "I\0\0\0\4");
    CHECK_BYTES(hd_build_parse_complete(&b), "1\0\0\0\4");
    CHECK_BYTES(hd_build_bind_complete(&b), "2\0\0\0\4");
    CHECK_BYTES(hd_build_close_complete(&b), "3\0\0\0\4");
    CHECK_BYTES(hd_build_no_data(&b), "n\0\0\0\4");
    CHECK_BYTES(hd_build_parameter_description(&b, types, 2), "t\0\0\0\x0e\0\2\0\0\0\x17\0\0\0\x19");
}

static void test_build_frontend(void)
{
    static const char *const params[] = {"user", "app", NULL};
    static const uint32_t types[] = {23};
    struct hd_build b;
    uint8_t buf[256];

    CHECK_BYTES(hd_build_query(&b, "select 1; rest", 8), "Q\0\0\0\x0dselect 1\0");
    CHECK_BYTES(hd_build_parse(&b, "s1", "select $1", 9, types, 1),
                "P\0\0\0\x17s1\0select $1\0\0\1\0\0\0\x17");
    CHECK_BYTES(hd_build_close(&b, HD_TARGET_STATEMENT, "s1"), "C\0\0\0\x08Ss1\0");
    CHECK_BYTES(hd_build_describe(&b, HD_TARGET_PORTAL, ""), "D\0\0\0\6P\0");
    CHECK_BYTES(hd_build_sync(&b), "S\0\0\0\4");
    CHECK_BYTES(hd_build_terminate(&b), "X\0\0\0\4");
    CHECK_BYTES(hd_build_sasl_initial_response(&b, "M", "abc", 3), "p\0\0\0\x0dM\0\0\0\0\3abc");
    CHECK_BYTES(hd_build_sasl_initial_response(&b, "M", NULL, 0), "p\0\0\0\x0aM\0\xff\xff\xff\xff");
    CHECK_BYTES(hd_build_sasl_response(&b, "abc", 3), "p\0\0\0\7abc");
    CHECK_BYTES(hd_build_startup(&b, HD_PROTO_3_0, params), "\0\0\0\x12\0\3\0\0user\0app\0\0");
    CHECK_BYTES(hd_build_cancel_request(&b, 1, (const uint8_t *)"abcd", 4),
                "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1abcd");
}

static void test_build_reports(void)
{
    struct hd_report r = {.severity = "FATAL", .code = "57P03", .message = "later", .hint = "wait"};
    struct hd_build b;
    uint8_t buf[256];

    CHECK_BYTES(hd_build_error(&b, &r), "E\0\0\0\x27SFATAL\0VFATAL\0C57P03\0Mlater\0Hwait\0\0");
    r = (struct hd_report){.message = "so", .detail = "it is"};
    CHECK_BYTES(hd_build_notice(&b, &r), "N\0\0\0\x29SWARNING\0VWARNING\0C01000\0Mso\0Dit is\0\0");
    r = (struct hd_report){.code = ""};
    CHECK_BYTES(hd_build_error(&b, &r), "E\0\0\0\x29SERROR\0VERROR\0CXX000\0Munknown error\0\0");
}

/* What does not fit leaves no trace, at every size. */
static void test_build_full(void)
{
    struct hd_report r = {.severity = "ERROR", .code = "53200", .message = "no memory"};
    uint8_t buf[128];
    struct hd_build b = hd_build_into(buf, sizeof(buf), 0);
    size_t need, left;

    CU_ASSERT_EQUAL(hd_build_error(&b, &r), HD_OK);
    need = b.len;
    for (size_t cap = 0; cap <= need + 6; cap++) {
        memset(buf, 0x55, sizeof(buf));
        b = hd_build_into(buf, cap + 3, 3);
        CU_ASSERT_EQUAL(hd_build_error(&b, &r), cap < need ? HD_EFULL : HD_OK);
        CU_ASSERT_EQUAL(b.len, cap < need ? 3 : 3 + need);
        CU_ASSERT(buf[0] == 0x55 && buf[2] == 0x55 && buf[cap + 3] == 0x55);
        /* The next one is tried afresh. */
        left = cap + 3 - b.len;
        CU_ASSERT_EQUAL(hd_build_sync(&b), left < 5 ? HD_EFULL : HD_OK);
    }
}

static void grow_messages(void *arg)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b;
    size_t before;
    int *good = arg, rc;

    hd_strbuf_puts(&sb, "in front");
    before = sb.len;
    b = hd_build_onto(&sb);
    rc = hd_build_query(&b, "select a_long_enough_text_to_make_the_string_grow_past_its_first_block", 70);
    CU_ASSERT(rc == HD_OK || rc == HD_ENOMEM);
    CU_ASSERT_EQUAL(b.len, sb.len);
    CU_ASSERT_EQUAL(sb.len, rc ? before : before + 76);
    if (!rc && hd_build_sync(&b) == HD_OK) {
        CU_ASSERT(!memcmp(sb.data + before, "Q\0\0\0\x4bselect", 11));
        CU_ASSERT(!memcmp(sb.data + before + 76, "S\0\0\0\4", 6));
        ++*good;
    }
    hd_strbuf_free(&sb);
}

static void test_build_strbuf(void)
{
    int good = 0;

    grow_messages(&good);
    CU_ASSERT_EQUAL(good, 1);
    unit_each_alloc_failure(grow_messages, &good);
}

/* ---- describing ---- */

#define LITERAL(s) (s), sizeof(s) - 1

static void test_report(void)
{
    struct hd_report r;

    hd_report_parse(LITERAL("SFEHLER\0VERROR\0C42P01\0Mno table\0Ddetail\0Hhint\0P15\0Fx.c\0L1\0\0"), &r);
    CU_ASSERT_STRING_EQUAL(r.severity, "ERROR");
    CU_ASSERT_STRING_EQUAL(r.code, "42P01");
    CU_ASSERT_STRING_EQUAL(r.message, "no table");
    CU_ASSERT_STRING_EQUAL(r.detail, "detail");
    CU_ASSERT_STRING_EQUAL(r.hint, "hint");
    hd_report_parse(LITERAL("SFATAL\0Mno code\0\0"), &r);
    CU_ASSERT_STRING_EQUAL(r.severity, "FATAL");
    CU_ASSERT_STRING_EQUAL(r.code, "");
    CU_ASSERT_STRING_EQUAL(r.detail, "");
    hd_report_parse(LITERAL("C42\0\0"), &r);
    CU_ASSERT_STRING_EQUAL(r.code, "");
    hd_report_parse(LITERAL("C42p01\0\0"), &r);
    CU_ASSERT_STRING_EQUAL(r.code, "");
    hd_report_parse(LITERAL("Mwhole\0Cbroken"), &r);
    CU_ASSERT_STRING_EQUAL(r.message, "whole");
    CU_ASSERT_STRING_EQUAL(r.code, "");
    hd_report_parse(NULL, 0, &r);
    CU_ASSERT_STRING_EQUAL(r.message, "");
}

static void check_tag(const char *body, size_t len, const char *verb, int64_t rows)
{
    struct hd_command_tag t;

    hd_command_tag_parse(body, len, &t);
    if (t.verb_len != strlen(verb) || memcmp(t.verb, verb, t.verb_len) || t.rows != rows)
        printf("# tag %s: %.*s, %lld\n", body, (int)t.verb_len, t.verb, (long long)t.rows);
    CU_ASSERT(t.verb_len == strlen(verb) && !memcmp(t.verb, verb, t.verb_len));
    CU_ASSERT_EQUAL(t.rows, rows);
}

static void test_command_tag(void)
{
    check_tag(LITERAL("SELECT 5\0"), "SELECT", 5);
    check_tag(LITERAL("INSERT 0 12\0"), "INSERT", 12);
    check_tag(LITERAL("INSERT 16384 1\0"), "INSERT", 1);
    check_tag(LITERAL("CREATE TABLE\0"), "CREATE TABLE", -1);
    check_tag(LITERAL("CREATE TABLE AS\0"), "CREATE TABLE AS", -1);
    check_tag(LITERAL("COPY 7\0"), "COPY", 7);
    check_tag(LITERAL("BEGIN\0"), "BEGIN", -1);
    check_tag(LITERAL("SELECT 99999999999\0"), "SELECT", 99999999999);
    check_tag(LITERAL("SELECT 99999999999999999999\0"), "SELECT 99999999999999999999", -1);
    check_tag(LITERAL("SELECT -1\0"), "SELECT -1", -1);
    check_tag(LITERAL("SELECT \0"), "SELECT ", -1);
    check_tag(LITERAL("12\0"), "12", -1);
    check_tag(LITERAL("UPDATE 3"), "UPDATE", 3);
    check_tag(LITERAL("\0"), "", -1);
    check_tag(NULL, 0, "", -1);
}

static void test_parameter_status(void)
{
    const char *name, *value;

    CU_ASSERT_EQUAL(hd_parameter_status_parse(LITERAL("TimeZone\0UTC\0"), &name, &value), HD_OK);
    CU_ASSERT_STRING_EQUAL(name, "TimeZone");
    CU_ASSERT_STRING_EQUAL(value, "UTC");
    CU_ASSERT_EQUAL(hd_parameter_status_parse(LITERAL("TimeZone\0UTC"), &name, &value), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_parameter_status_parse(LITERAL("a\0b\0c"), &name, &value), HD_EPROTO);
    CU_ASSERT_EQUAL(hd_parameter_status_parse(NULL, 0, &name, &value), HD_EPROTO);
}

static void test_backend_key(void)
{
    static uint8_t body[4 + HD_CANCEL_KEY_MAX + 1] = {0, 0, 1, 0};
    struct hd_backend_key k;

    for (size_t len = 0; len <= sizeof(body); len++) {
        int good = len > 4 && len <= 4 + HD_CANCEL_KEY_MAX;

        CU_ASSERT_EQUAL(hd_backend_key_parse(body, len, &k), good ? HD_OK : HD_EPROTO);
        CU_ASSERT(!good || (k.pid == 256 && k.key == body + 4 && k.key_len == len - 4));
    }
}

/* ---- base64 ---- */

static void check_base64(const char *bytes, size_t len, const char *text)
{
    uint8_t back[16];
    char out[32];

    CU_ASSERT_EQUAL(hd_base64_encode((const uint8_t *)bytes, len, out), strlen(text));
    CU_ASSERT_STRING_EQUAL(out, text);
    CU_ASSERT_EQUAL(hd_base64_decode(text, strlen(text), back, len), (long)len);
    CU_ASSERT(!memcmp(back, bytes, len));
    if (len)
        CU_ASSERT_EQUAL(hd_base64_decode(text, strlen(text), back, len - 1), -1);
}

static void test_base64(void)
{
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "=m9v", "Zm 9", "Zm9\n", "Zg==Zg==", "Z===", "Zm9-"};
    uint8_t out[16];

    check_base64("", 0, "");
    check_base64("f", 1, "Zg==");
    check_base64("fo", 2, "Zm8=");
    check_base64("foo", 3, "Zm9v");
    check_base64("foobar", 6, "Zm9vYmFy");
    check_base64("\xff\xfe\xfb", 3, "//77");
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(hd_base64_decode(bad[i], strlen(bad[i]), out, sizeof(out)), -1);
}

UNIT_MAIN("wire", {"numbers in network order", test_endian}, {"reader: fields", test_read_fields},
          {"reader: past the end", test_read_past_end}, {"frame: lengths", test_frame_lengths},
          {"frame: legal types", test_frame_types}, {"frame: words for a refusal", test_frame_fail_text},
          {"frame: split head", test_frame_split_head}, {"frame: chunks of every size", test_frame_chunks},
          {"frame: gather", test_frame_gather}, {"frame: a gigabyte in pieces", test_frame_huge},
          {"build: backend messages", test_build_backend}, {"build: frontend messages", test_build_frontend},
          {"build: reports", test_build_reports}, {"build: a full buffer", test_build_full},
          {"build: a growing string", test_build_strbuf}, {"describe: reports", test_report},
          {"describe: command tags", test_command_tag}, {"describe: parameter status", test_parameter_status},
          {"describe: cancel keys", test_backend_key}, {"base64", test_base64})
