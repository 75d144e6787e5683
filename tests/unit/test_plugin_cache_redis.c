/*
 * The parts of cache-redis that need no Redis: URLs, and values to bytes and back.
 */
#include "unit.h"
#include "cache-redis/value.h"
#include "redis/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- URLs ------------------------------------------------------------------------------------------------
 */

static int32_t parse(const char *text, struct rds_url *u)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = rds_url_parse((struct hd_str){text, strlen(text)}, u, &err);

    CU_ASSERT(code == HD_OK || (code == HD_EINVAL && err.text[0]));
    return code;
}

static void urls(void)
{
    static const struct {
        const char *text;
        uint32_t kind, hosts, db;
        const char *first, *last; /* printed */
        const char *user, *password, *master;
    } good[] = {
        {"redis://a", RDS_SINGLE, 1, 0, "a:6379", "a:6379", "", "", ""},
        {"REDIS://a:1/", RDS_SINGLE, 1, 0, "a:1", "a:1", "", "", ""},
        {"redis://u:p@a:65535/15", RDS_SINGLE, 1, 15, "a:65535", "a:65535", "u", "p", ""},
        {"redis://:p%40%2F%3a@[::1]:7/2", RDS_SINGLE, 1, 2, "[::1]:7", "[::1]:7", "", "p@/:", ""},
        {"redis://:a/b@c@[fe80::1]", RDS_SINGLE, 1, 0, "[fe80::1]:6379", "[fe80::1]:6379", "", "a/b@c", ""},
        {"redis://u@h", RDS_SINGLE, 1, 0, "h:6379", "h:6379", "u", "", ""},
        {"unix:/run/redis.sock", RDS_SINGLE, 1, 0, "/run/redis.sock", "/run/redis.sock", "", "", ""},
        {"redis+sentinel://a,b:1,[::2]/my%20master/3", RDS_SENTINEL, 3, 3, "a:26379", "[::2]:26379", "", "",
         "my master"},
        {"redis+cluster://:x@a:1,b:2/", RDS_CLUSTER, 2, 0, "a:1", "b:2", "", "x", ""},
        {"rediss://u:p@a", RDS_SINGLE, 1, 0, "a:6379", "a:6379", "u", "p", ""},
        {"Rediss+Sentinel://a/m", RDS_SENTINEL, 1, 0, "a:26379", "a:26379", "", "", "m"},
        {"rediss+cluster://a,b", RDS_CLUSTER, 2, 0, "a:6379", "b:6379", "", "", ""},
    };
    static const char *const bad[] = {
        "",
        "redis:/",
        "redis://",
        "redis:///1",
        "redis://a:",
        "redis://a:0",
        "redis://a:65536",
        "redis://a:x",
        "redis://a:1:2",
        "redis://[::1",
        "redis://[]",
        "redis://[::1]x",
        "redis://a b",
        "redis://a/1x",
        "redis://a/-1",
        "redis://a/1/2",
        "redis://a/99999999",
        "redis://a,b",
        "redis://:%@a",
        "redis://:%4@a",
        "redis://:%4x@a",
        "redis://:%00@a",
        "redisss://a",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel://a//1",
        "redis+sentinel://a/m/x",
        "redis+cluster://a/1",
        "redis+cluster://a,,b",
        "redis+cluster://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a",
        "unix:relative",
        "unix:",
    };
    char label[RDS_LABEL_SIZE];
    struct rds_url u;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CU_ASSERT_EQUAL_FATAL(parse(good[i].text, &u), HD_OK);
        CU_ASSERT_EQUAL(u.kind, good[i].kind);
        CU_ASSERT_EQUAL_FATAL(u.hosts, good[i].hosts);
        CU_ASSERT_EQUAL(u.db, good[i].db);
        CU_ASSERT_EQUAL(u.tls, (good[i].text[5] | 32) == 's' && (good[i].text[0] | 32) == 'r');
        rds_address_print(&u.host[0], label);
        CU_ASSERT_STRING_EQUAL(label, good[i].first);
        rds_address_print(&u.host[u.hosts - 1], label);
        CU_ASSERT_STRING_EQUAL(label, good[i].last);
        CU_ASSERT_STRING_EQUAL(u.user, good[i].user);
        CU_ASSERT_STRING_EQUAL(u.password, good[i].password);
        CU_ASSERT_STRING_EQUAL(u.master, good[i].master);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(bad[i], &u) == HD_OK)
            printf("# taken: %s\n", bad[i]);
        CU_ASSERT_EQUAL(parse(bad[i], &u), HD_EINVAL);
    }
}

static void long_urls(void)
{
    char text[1024] = "redis://:", *at = text + strlen(text);
    struct rds_url u;

    memset(at, 'p', 127);
    strcpy(at + 127, "@a");
    CU_ASSERT_EQUAL(parse(text, &u), HD_OK);
    memset(at, 'p', 128);
    strcpy(at + 128, "@a");
    CU_ASSERT_EQUAL(parse(text, &u), HD_EINVAL);
    strcpy(text, "redis://");
    memset(text + 8, 'h', 255);
    text[8 + 255] = '\0';
    CU_ASSERT_EQUAL(parse(text, &u), HD_OK);
    strcpy(text + 8 + 255, "h");
    CU_ASSERT_EQUAL(parse(text, &u), HD_EINVAL);
}

/* --- clusters --------------------------------------------------------------------------------------------
 */

static uint32_t slot(const char *key)
{
    return rds_slot((struct hd_str){key, strlen(key)});
}

/* The first is CRC16's own test; the others are what servers say to CLUSTER KEYSLOT. */
static void slots(void)
{
    CU_ASSERT_EQUAL(slot("123456789"), 0x31c3);
    CU_ASSERT_EQUAL(slot("foo"), 12182);
    CU_ASSERT_EQUAL(slot(""), 0);
    CU_ASSERT_EQUAL(slot("{user1000}.following"), slot("user1000"));
    CU_ASSERT_EQUAL(slot("a{user1000}.followers"), slot("user1000"));
    CU_ASSERT_EQUAL(slot("foo{{bar}}zap"), slot("{bar"));
    CU_ASSERT_EQUAL(slot("foo{bar}{zap}"), slot("bar"));
    CU_ASSERT_EQUAL(slot("foo{}{bar}"), 8363);
    CU_ASSERT_NOT_EQUAL(slot("foo{}{bar}"), slot("bar"));
    CU_ASSERT_NOT_EQUAL(slot("foo}bar{"), slot("foo"));
}

static const struct rds_address asked = {"10.0.0.1", 7000};

static int32_t redirect(const char *error, uint32_t *to, int *asking, struct rds_address *where)
{
    return rds_redirect_read((struct hd_str){error, strlen(error)}, &asked, to, asking, where);
}

static void redirections(void)
{
    static const char *const bad[] = {"",
                                      "ASK",
                                      "ASK ",
                                      "MOVED ",
                                      "MOVED 1",
                                      "MOVED 1 ",
                                      "MOVED 1 a",
                                      "MOVED 1 a:",
                                      "MOVED 1 a:0",
                                      "MOVED 1 a:65536",
                                      "MOVED 1 a:1x",
                                      "MOVED 16384 a:1",
                                      "MOVED -1 a:1",
                                      "MOVED x a:1",
                                      "MOVED 1:2",
                                      "moved 1 a:1",
                                      "ERR MOVED 1 a:1"};
    struct rds_address where;
    uint32_t to;
    int asking;

    CU_ASSERT_EQUAL(redirect("MOVED 3999 127.0.0.1:6381", &to, &asking, &where), HD_OK);
    CU_ASSERT(to == 3999 && !asking && where.port == 6381 && !strcmp(where.host, "127.0.0.1"));
    CU_ASSERT_EQUAL(redirect("ASK 16383 ::1:65535", &to, &asking, &where), HD_OK);
    CU_ASSERT(to == 16383 && asking && where.port == 65535 && !strcmp(where.host, "::1"));
    CU_ASSERT_EQUAL(redirect("MOVED 0 :6381", &to, &asking, &where), HD_OK);
    CU_ASSERT(to == 0 && where.port == 6381 && !strcmp(where.host, "10.0.0.1"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(redirect(bad[i], &to, &asking, &where), HD_ENOENT);
}

static void note_range(void *arg, uint32_t from, uint32_t to, const struct rds_address *master)
{
    char label[RDS_LABEL_SIZE], *out = arg;

    rds_address_print(master, label);
    sprintf(out + strlen(out), "%u-%u %s;", from, to, label);
}

static int32_t read_map(const char *text, char *out)
{
    redisReader *r = redisReaderCreate();
    void *reply = NULL;
    int32_t code;

    out[0] = '\0';
    CU_ASSERT_EQUAL_FATAL(redisReaderFeed(r, text, strlen(text)), REDIS_OK);
    CU_ASSERT_EQUAL_FATAL(redisReaderGetReply(r, &reply), REDIS_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
    code = rds_slots_read(reply, &asked, note_range, out);
    freeReplyObject(reply);
    redisReaderFree(r);
    return code;
}

#define NODE(host, port) "*3\r\n" host ":" port "\r\n$2\r\nid\r\n"

static void maps(void)
{
    static const char *const bad[] = {
        "*0\r\n",
        "+OK\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("$1\r\na\r\n", "1"),
        "*1\r\n*3\r\n:5\r\n:4\r\n" NODE("$1\r\na\r\n", "1"),
        "*1\r\n*3\r\n:-1\r\n:4\r\n" NODE("$1\r\na\r\n", "1"),
        "*1\r\n*3\r\n:0\r\n:4\r\n" NODE("$1\r\na\r\n", "0"),
        "*1\r\n*3\r\n:0\r\n:4\r\n" NODE("$1\r\na\r\n", "-1"),
        "*1\r\n*3\r\n:0\r\n:4\r\n" NODE(":1\r\n", "1"),
        "*1\r\n*3\r\n:0\r\n:4\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:4\r\n*0\r\n",
    };
    char out[400];

    CU_ASSERT_EQUAL(
        read_map("*2\r\n*3\r\n:0\r\n:5460\r\n" NODE(
                     "$9\r\n127.0.0.1\r\n", "7001") "*4\r\n:5461\r\n:16383\r\n" NODE("$0\r\n\r\n", "7002")
                     NODE("$1\r\nb\r\n", "7003"),
                 out),
        HD_OK);
    CU_ASSERT_STRING_EQUAL(out, "0-5460 127.0.0.1:7001;5461-16383 10.0.0.1:7002;");
    CU_ASSERT_EQUAL(read_map("*1\r\n*3\r\n:7\r\n:7\r\n" NODE("$-1\r\n", "7002"), out), HD_OK);
    CU_ASSERT_STRING_EQUAL(out, "7-7 10.0.0.1:7002;");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(read_map(bad[i], out), HD_EPROTO);
}

/* --- values ----------------------------------------------------------------------------------------------
 */

static struct hd_cache_key key_of(const char *text)
{
    return (struct hd_cache_key){.size = sizeof(struct hd_cache_key), .bytes = {text, strlen(text)}};
}

static int same(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static struct hd_cache_value value_of(const char *head, const char *describe, const char *bytes, size_t len)
{
    return (struct hd_cache_value){.size = sizeof(struct hd_cache_value),
                                   .head = {head, strlen(head)},
                                   .describe = {describe, strlen(describe)},
                                   .bytes = {bytes, len},
                                   .cost_ns = 0x1122334455667788u};
}

static void round_trip(const struct hd_cache_value *v, uint64_t above, int shorter)
{
    struct cr_buffer out = {0}, room = {0};
    struct hd_cache_key key = key_of("the key");
    struct hd_cache_value got;

    CU_ASSERT_EQUAL_FATAL(cr_value_encode(&key, v, above, &out), HD_OK);
    CU_ASSERT_EQUAL(out.len < CR_HEADER + key.bytes.len + cr_value_size(v), shorter);
    CU_ASSERT_EQUAL_FATAL(cr_value_decode((struct hd_str){out.ptr, out.len}, &key, 1 << 20, &room, &got),
                          HD_OK);
    CU_ASSERT(same(got.head, v->head) && same(got.describe, v->describe) && same(got.bytes, v->bytes));
    CU_ASSERT_EQUAL(got.cost_ns, v->cost_ns);
    cr_buffer_free(&out);
    cr_buffer_free(&room);
}

static void round_trips(void)
{
    static char zeros[100000], noise[100000];
    struct hd_cache_value v;

    srandom(1);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random();
    v = value_of("", "", "", 0);
    round_trip(&v, 0, 0);
    v = value_of("head", "describe", "x", 1);
    round_trip(&v, 0, 0);
    round_trip(&v, 1 << 20, 0);
    v = value_of("head", "", zeros, sizeof(zeros));
    round_trip(&v, 1000, 1);
    round_trip(&v, 1 << 20, 0);
    v = value_of("", "describe", noise, sizeof(noise));
    round_trip(&v, 1000, 0);
}

static int32_t decode(const char *p, uint64_t len, const char *key, uint64_t max)
{
    struct hd_cache_key k = key_of(key);
    struct cr_buffer room = {0};
    struct hd_cache_value got;
    char *exact = malloc(len + !len); /* so that a sanitizer sees a read past the end */
    int32_t code;

    if (len)
        memcpy(exact, p, len);
    code = cr_value_decode((struct hd_str){exact, len}, &k, max, &room, &got);
    cr_buffer_free(&room);
    free(exact);
    return code;
}

/* Whatever one bit, byte or length more or less makes of an entry: it is not taken. */
static void damage(uint64_t above)
{
    char bytes[200] = {0};
    struct hd_cache_key key = key_of("key");
    struct hd_cache_value v = value_of("head", "describe", bytes, sizeof(bytes));
    struct cr_buffer out = {0};
    char *longer;

    CU_ASSERT_EQUAL_FATAL(cr_value_encode(&key, &v, above, &out), HD_OK);
    CU_ASSERT_EQUAL(decode(out.ptr, out.len, "key", 1000), HD_OK);
    CU_ASSERT_EQUAL(decode(out.ptr, out.len, "kex", 1000), HD_ENOENT);
    CU_ASSERT_EQUAL(decode(out.ptr, out.len, "ke", 1000), HD_ENOENT);
    CU_ASSERT_EQUAL(decode(out.ptr, out.len, "", 1000), HD_ENOENT);
    CU_ASSERT_EQUAL(decode(out.ptr, out.len, "key", 211), HD_EPROTO);
    CU_ASSERT_EQUAL(decode(out.ptr, out.len, "key", 212), HD_OK);
    for (uint64_t n = 0; n < out.len; n++)
        CU_ASSERT_EQUAL(decode(out.ptr, n, "key", 1000), HD_EPROTO);
    for (uint64_t bit = 0; bit < out.len * 8; bit++) {
        int32_t wanted = bit / 8 == 4 || bit / 8 == 5 ? HD_EVERSION : HD_EPROTO;

        out.ptr[bit / 8] ^= (char)(1 << bit % 8);
        CU_ASSERT_EQUAL(decode(out.ptr, out.len, "key", 1000), wanted);
        out.ptr[bit / 8] ^= (char)(1 << bit % 8);
    }
    longer = calloc(1, out.len + 1);
    memcpy(longer, out.ptr, out.len);
    CU_ASSERT_EQUAL(decode(longer, out.len + 1, "key", 1000), HD_EPROTO);
    free(longer);
    cr_buffer_free(&out);
}

static void damaged(void)
{
    damage(0);
    damage(1 << 20);
}

UNIT_MAIN("plugin_cache_redis", {"what URLs say, and which are none", urls},
          {"parts of a URL have bounds", long_urls}, {"slots of keys", slots},
          {"MOVED and ASK, and what is neither", redirections}, {"the map of slots", maps},
          {"a value is read as it was written", round_trips},
          {"a value that is cut, changed or longer is not taken", damaged})
