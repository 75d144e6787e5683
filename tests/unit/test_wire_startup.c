/*
 * core/wire/startup: first packets, whole, byte by byte and broken; and the options in them.
 */
#include "unit.h"

#include "wire/build.h"
#include "wire/sqlstate.h"
#include "wire/peer.h"
#include "wire/startup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses `len` bytes that lie at the end of a block of exactly that size, so that sanitizers see a read past
 * them. The block is kept until the next call. */
static int parse(const void *bytes, size_t len, struct hd_startup *out, struct hd_error *err)
{
    static uint8_t *block;

    free(block);
    block = malloc(len ? len : 1);
    CU_ASSERT_FATAL(block != NULL);
    memcpy(block, bytes, len);
    return hd_startup_parse(block, len, out, err);
}

static struct hd_build startup_packet(uint8_t *buf, size_t cap, uint32_t version, const char *const *params)
{
    struct hd_build b = hd_build_into(buf, cap, 0);

    CU_ASSERT_EQUAL_FATAL(hd_build_startup(&b, version, params), HD_OK);
    return b;
}

static void test_session(void)
{
    static const char *const params[] = {
        "user",       "ann", "database",         "shop", "options",         "-c a=b", "DateStyle",   "ISO",
        "_pq_.later", "1",   "application_name", "x",    "client_encoding", "UTF8",   "replication", "off",
        NULL};
    struct hd_error err = HD_ERROR_INIT;
    struct hd_startup s;
    uint8_t buf[512];
    struct hd_build b = startup_packet(buf, sizeof(buf), HD_PROTO_3_2, params);

    CU_ASSERT_EQUAL(parse(buf, b.len, &s, &err), HD_OK);
    CU_ASSERT_EQUAL(s.kind, HD_STARTUP_SESSION);
    CU_ASSERT_EQUAL(s.length, b.len);
    CU_ASSERT_EQUAL(s.version, HD_PROTO_3_2);
    CU_ASSERT_STRING_EQUAL(s.user, "ann");
    CU_ASSERT_STRING_EQUAL(s.database, "shop");
    CU_ASSERT_STRING_EQUAL(s.options, "-c a=b");
    CU_ASSERT_STRING_EQUAL(s.application_name, "x");
    CU_ASSERT_STRING_EQUAL(s.client_encoding, "UTF8");
    CU_ASSERT_STRING_EQUAL(s.replication, "off");
    CU_ASSERT_EQUAL(s.param_count, 7);
    CU_ASSERT_STRING_EQUAL(s.params[3].name, "DateStyle");
    CU_ASSERT_STRING_EQUAL(s.params[3].value, "ISO");
    CU_ASSERT_EQUAL(s.protocol_option_count, 1);
    CU_ASSERT_STRING_EQUAL(s.protocol_options[0], "_pq_.later");
}

static void test_session_defaults(void)
{
    static const char *const twice[] = {"user", "a", "user", "b", NULL};
    static const char *const empty_database[] = {"database", "", "user", "b", NULL};
    struct hd_startup s;
    uint8_t buf[128];
    struct hd_build b = startup_packet(buf, sizeof(buf), HD_PROTO_3_0, twice);

    CU_ASSERT_EQUAL(parse(buf, b.len, &s, NULL), HD_OK);
    CU_ASSERT_STRING_EQUAL(s.user, "b");
    CU_ASSERT_STRING_EQUAL(s.database, "b");
    CU_ASSERT(!s.options && !s.application_name && !s.client_encoding && !s.replication);
    CU_ASSERT(s.sqlstate == NULL);
    b = startup_packet(buf, sizeof(buf), HD_PROTO_3_0, empty_database);
    CU_ASSERT_EQUAL(parse(buf, b.len, &s, NULL), HD_OK);
    CU_ASSERT_STRING_EQUAL(s.database, "b");
}

static void test_byte_at_a_time(void)
{
    static const char *const params[] = {"user", "ann", NULL};
    struct hd_startup s;
    uint8_t buf[128];
    struct hd_build b = startup_packet(buf, sizeof(buf), HD_PROTO_3_0, params);

    for (size_t n = 0; n < b.len; n++) {
        CU_ASSERT_EQUAL(parse(buf, n, &s, NULL), HD_PENDING);
        CU_ASSERT_EQUAL(s.length, n < 4 ? 0 : b.len);
    }
    CU_ASSERT_EQUAL(parse(buf, b.len, &s, NULL), HD_OK);
    /* What the client sent on is left alone. */
    memcpy(buf + b.len, "pxyz", 4);
    CU_ASSERT_EQUAL(parse(buf, b.len + 4, &s, NULL), HD_OK);
    CU_ASSERT_EQUAL(s.length, b.len);
}

static void test_lengths(void)
{
    static const uint32_t bad[] = {0, 3, 4, 7, 10005, 0x7fffffff, 0x80000000u, 0xffffffffu};
    static uint8_t packet[HD_STARTUP_LENGTH_MAX];
    struct hd_error err = HD_ERROR_INIT;
    struct hd_startup s;

    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_put_u32(packet, bad[i]);
        CU_ASSERT_EQUAL(parse(packet, 4, &s, &err), HD_EPROTO);
        CU_ASSERT_STRING_EQUAL(s.sqlstate, HD_SQLSTATE_PROTOCOL_VIOLATION);
        CU_ASSERT_STRING_EQUAL(err.text, "invalid length of startup packet");
    }
    /* The longest one that there is. */
    memset(packet, 'x', sizeof(packet));
    hd_put_u32(packet, sizeof(packet));
    hd_put_u32(packet + 4, HD_PROTO_3_0);
    memcpy(packet + 8, "user", 5);
    packet[sizeof(packet) - 2] = packet[sizeof(packet) - 1] = 0;
    CU_ASSERT_EQUAL(parse(packet, sizeof(packet) - 1, &s, &err), HD_PENDING);
    CU_ASSERT_EQUAL(parse(packet, sizeof(packet), &s, &err), HD_OK);
    CU_ASSERT_EQUAL(strlen(s.user), sizeof(packet) - 15);
}

static void check_refused(const char *bytes, size_t len, int rc, const char *sqlstate, const char *text)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_startup s;
    int got = parse(bytes, len, &s, &err);

    if (got != rc || !strstr(err.text, text))
        printf("# wanted %d %s, got %d %s\n", rc, text, got, err.text);
    CU_ASSERT_EQUAL(got, rc);
    CU_ASSERT_FATAL(s.sqlstate != NULL);
    CU_ASSERT_STRING_EQUAL(s.sqlstate, sqlstate);
    CU_ASSERT(strstr(err.text, text) != NULL);
}

#define LITERAL(s) (s), sizeof(s) - 1

static void test_refusals(void)
{
    check_refused(LITERAL("\0\0\0\x08\0\3\0\0"), HD_EPROTO, "08P01", "expected terminator");
    check_refused(LITERAL("\0\0\0\x09\0\3\0\0\0"), HD_EPERM, "28000",
                  "no PostgreSQL user name specified in startup packet");
    check_refused(LITERAL("\0\0\0\x0f\0\3\0\0user\0\0\0"), HD_EPERM, "28000", "no PostgreSQL user name");
    check_refused(LITERAL("\0\0\0\x0d\0\3\0\0user\0"), HD_EPROTO, "08P01", "expected terminator");
    check_refused(LITERAL("\0\0\0\x0c\0\3\0\0user"), HD_EPROTO, "08P01", "expected terminator");
    check_refused(LITERAL("\0\0\0\x0e\0\3\0\0user\0a"), HD_EPROTO, "08P01", "expected terminator");
    check_refused(LITERAL("\0\0\0\x0f\0\3\0\0user\0a\0"), HD_EPROTO, "08P01", "expected terminator");
    check_refused(LITERAL("\0\0\0\x11\0\3\0\0user\0a\0\0x"), HD_EPROTO, "08P01", "expected terminator");
    check_refused(LITERAL("\0\0\0\x10\0\2\0\0user\0a\0\0"), HD_EUNSUPP, "0A000", "protocol 2.0");
    check_refused(LITERAL("\0\0\0\x10\0\4\0\0user\0a\0\0"), HD_EUNSUPP, "0A000", "protocol 4.0");
    check_refused(LITERAL("\0\0\0\x08\0\0\0\0"), HD_EUNSUPP, "0A000", "protocol 0.0");
}

/* 64 parameters are taken, one more is refused, whatever they are called. */
static void test_many_params(void)
{
    const char *params[2 * (HD_STARTUP_PARAMS_MAX + 1) + 1];
    struct hd_startup s;
    uint8_t buf[2048];
    struct hd_build b;
    size_t n = 0;

    params[n++] = "user";
    params[n++] = "u";
    while (n < 2 * HD_STARTUP_PARAMS_MAX) {
        params[n] = n % 4 ? "_pq_.a" : "b";
        params[n + 1] = "";
        n += 2;
    }
    params[n] = NULL;
    b = startup_packet(buf, sizeof(buf), HD_PROTO_3_0, params);
    CU_ASSERT_EQUAL(parse(buf, b.len, &s, NULL), HD_OK);
    CU_ASSERT_EQUAL(s.param_count + s.protocol_option_count, HD_STARTUP_PARAMS_MAX);
    params[n] = "c";
    params[n + 1] = "d";
    params[n + 2] = NULL;
    b = startup_packet(buf, sizeof(buf), HD_PROTO_3_0, params);
    check_refused((const char *)buf, b.len, HD_EPROTO, "08P01", "too many parameters");
}

static void test_requests(void)
{
    static uint8_t packet[12 + HD_CANCEL_KEY_MAX + 1];
    struct hd_startup s;

    CU_ASSERT_EQUAL(parse("\0\0\0\x08\x04\xd2\x16\x2f", 8, &s, NULL), HD_OK);
    CU_ASSERT_EQUAL(s.kind, HD_STARTUP_SSL);
    CU_ASSERT_EQUAL(parse("\0\0\0\x08\x04\xd2\x16\x30", 8, &s, NULL), HD_OK);
    CU_ASSERT_EQUAL(s.kind, HD_STARTUP_GSSENC);
    check_refused(LITERAL("\0\0\0\x09\x04\xd2\x16\x2fx"), HD_EPROTO, "08P01", "invalid length");

    hd_put_u32(packet + 4, HD_CANCEL_REQUEST);
    hd_put_u32(packet + 8, 4711);
    memset(packet + 12, 'k', sizeof(packet) - 12);
    for (uint32_t len = 8; len <= sizeof(packet); len++) {
        int good = len > 12 && len <= 12 + HD_CANCEL_KEY_MAX;

        hd_put_u32(packet, len);
        CU_ASSERT_EQUAL(parse(packet, len, &s, NULL), good ? HD_OK : HD_EPROTO);
        CU_ASSERT(!good || (s.kind == HD_STARTUP_CANCEL && s.cancel_pid == 4711));
        CU_ASSERT(!good || (s.cancel_key_len == len - 12 && s.cancel_key[0] == 'k'));
    }
}

/* ---- options ---- */

/* Walks `options` and writes what comes out as "name=value;…", a refusal as "!SQLSTATE". */
static const char *walk(const char *options)
{
    static char out[512];
    struct hd_startup_options o = {.at = options};
    size_t cap = strlen(options) + 1, n = 0;
    char *scratch = malloc(cap);
    struct hd_error err = HD_ERROR_INIT;
    struct hd_setting set;
    int rc;

    CU_ASSERT_FATAL(scratch != NULL);
    out[0] = 0;
    while ((rc = hd_startup_options_next(&o, scratch, cap, &set, &err)) == HD_OK)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s=%s;", set.name, set.value);
    if (rc != HD_ENOENT) {
        CU_ASSERT(err.text[0] != 0);
        snprintf(out + n, sizeof(out) - n, "!%s", o.sqlstate);
    }
    free(scratch);
    return out;
}

static void test_options(void)
{
    static const struct {
        const char *options, *want;
    } cases[] = {
        {"", ""},
        {" \t\n ", ""},
        {"-c search_path=a,b", "search_path=a,b;"},
        {"-csearch_path=a", "search_path=a;"},
        {"  -c\ta=1  --b-c=2 ", "a=1;b_c=2;"},
        {"--work-mem=4 MB", "work_mem=4;!42601"},
        {"--a=x\\ y -c b=\\\\", "a=x y;b=\\;"},
        {"-c a=b=c", "a=b=c;"},
        {"-c a=", "a=;"},
        {"-c a=\\", "a=;"},
        {"-c", "!42601"},
        {"-c ", "!42601"},
        {"-c \\", "!42601"},
        {"-c a", "!42601"},
        {"-c =1", "!42704"},
        {"--", "!42601"},
        {"--=", "!42704"},
        {"--a", "!42601"},
        {"-", "!42601"},
        {"\\", "!42601"},
        {"plain", "!42601"},
        {"-c -c a=1", "!42601"},
        {"-e", "!0A000"},
        {"-c a=1 -S 64", "a=1;!0A000"},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        const char *got = walk(cases[i].options);

        if (strcmp(got, cases[i].want))
            printf("# options <%s>: %s, not %s\n", cases[i].options, got, cases[i].want);
        CU_ASSERT_STRING_EQUAL(got, cases[i].want);
    }
}

static void test_options_scratch(void)
{
    struct hd_startup_options o = {.at = "--name=value"};
    struct hd_setting set;
    char scratch[13];

    for (size_t cap = 0; cap < sizeof(scratch); cap++) {
        CU_ASSERT_EQUAL(hd_startup_options_next(&o, scratch, cap, &set, NULL), HD_EFULL);
        CU_ASSERT_STRING_EQUAL(o.sqlstate, HD_SQLSTATE_PROGRAM_LIMIT_EXCEEDED);
    }
    CU_ASSERT_EQUAL(hd_startup_options_next(&o, scratch, sizeof(scratch), &set, NULL), HD_OK);
    CU_ASSERT_STRING_EQUAL(set.value, "value");
    CU_ASSERT_EQUAL(hd_startup_options_next(&o, scratch, sizeof(scratch), &set, NULL), HD_ENOENT);
}

/* A relayed cancel comes out as it went in; with one byte changed, or another secret, it is nobody's. */
static void test_peer(void)
{
    static const uint8_t key[] = {1, 2, 3, 4, 5, 6, 7};
    uint8_t packet[HD_PEER_PACKET_MAX], long_key[HD_CANCEL_KEY_MAX + 1] = {0};
    struct hd_startup st;
    size_t len = hd_peer_build(packet, 5, "secret", 0x7f000001, key, sizeof(key));

    CU_ASSERT_EQUAL_FATAL(hd_startup_parse(packet, len, &st, NULL), HD_OK);
    CU_ASSERT_EQUAL(st.kind, HD_STARTUP_PEER);
    CU_ASSERT_EQUAL(st.length, len);
    CU_ASSERT_EQUAL(st.peer, 5);
    CU_ASSERT_EQUAL(st.cancel_pid, 0x7f000001);
    CU_ASSERT_EQUAL(st.cancel_key_len, sizeof(key));
    CU_ASSERT_EQUAL(memcmp(st.cancel_key, key, sizeof(key)), 0);
    CU_ASSERT(hd_peer_verify(&st, "secret"));
    CU_ASSERT(!hd_peer_verify(&st, "Secret"));
    CU_ASSERT(!hd_peer_verify(&st, ""));
    for (size_t i = 4; i < len; i++) {
        packet[i] ^= 0x10;
        if (hd_startup_parse(packet, len, &st, NULL) == HD_OK && st.kind == HD_STARTUP_PEER)
            CU_ASSERT(!hd_peer_verify(&st, "secret"));
        packet[i] ^= 0x10;
    }
    for (size_t n = 0; n < len; n++)
        CU_ASSERT_EQUAL(hd_startup_parse(packet, n, &st, NULL), HD_PENDING);
    CU_ASSERT_EQUAL(hd_peer_build(packet, 5, "secret", 1, long_key, sizeof(long_key)), 0);
    CU_ASSERT_NOT_EQUAL(hd_peer_build(packet, 5, "secret", 1, long_key, HD_CANCEL_KEY_MAX), 0);
}

UNIT_MAIN("startup", {"a session's parameters", test_session}, {"defaults", test_session_defaults},
          {"byte at a time", test_byte_at_a_time}, {"lengths", test_lengths}, {"refusals", test_refusals},
          {"the number of parameters", test_many_params}, {"requests", test_requests},
          {"relayed cancels", test_peer}, {"options", test_options},
          {"options: scratch", test_options_scratch})
