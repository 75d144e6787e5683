/*
 * Reads a URL from left to right, a part at a time; see url.h.
 */
#include "redis/url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PORT          6379
#define SENTINEL_PORT 26379
#define DB_MAX        1000000

static int32_t wrong(struct hd_error *err, const char *why)
{
    return hd_error_set(err, HD_EINVAL, "%s", why);
}

static int starts(struct hd_str s, const char *word)
{
    size_t n = strlen(word);

    return s.len >= n && !strncasecmp(s.ptr, word, n);
}

static struct hd_str from(struct hd_str s, uint64_t at)
{
    return (struct hd_str){s.ptr + at, s.len - at};
}

/* Where c stands first, or the length. */
static uint64_t find(struct hd_str s, char c)
{
    const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;

    return at ? (uint64_t)(at - s.ptr) : s.len;
}

/* Where c stands last, or the length. */
static uint64_t find_last(struct hd_str s, char c)
{
    const char *at = s.len ? memrchr(s.ptr, c, s.len) : NULL;

    return at ? (uint64_t)(at - s.ptr) : s.len;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte that the %XX at i stands for, or -1. */
static int escaped(struct hd_str s, uint64_t i)
{
    int high, low;

    if (i + 2 >= s.len)
        return -1;
    high = digit(s.ptr[i + 1]);
    low = digit(s.ptr[i + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Copies without %XX; 0 where that is broken, too long, or has a NUL. */
static int decode(struct hd_str s, char *out, size_t size)
{
    size_t n = 0;

    for (uint64_t i = 0; i < s.len; i++) {
        int c = s.ptr[i] == '%' ? escaped(s, i) : (unsigned char)s.ptr[i];

        if (c <= 0 || n + 1 >= size)
            return 0;
        i += s.ptr[i] == '%' ? 2 : 0;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return 1;
}

static int number(struct hd_str s, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;

    if (!s.len || s.len > 9)
        return 0;
    for (uint64_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return 0;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *out = n;
    return n <= max;
}

int32_t rds_address_set(struct rds_address *a, struct hd_str host, uint64_t port)
{
    if (!host.len || host.len >= sizeof(a->host) || !port || port > 65535)
        return HD_EINVAL;
    for (uint64_t i = 0; i < host.len; i++)
        if (host.ptr[i] <= ' ' || host.ptr[i] > '~')
            return HD_EINVAL;
    memcpy(a->host, host.ptr, host.len);
    a->host[host.len] = '\0';
    a->port = (uint32_t)port;
    return HD_OK;
}

void rds_address_print(const struct rds_address *a, char out[RDS_LABEL_SIZE])
{
    if (!a->port)
        snprintf(out, RDS_LABEL_SIZE, "%s", a->host);
    else if (strchr(a->host, ':'))
        snprintf(out, RDS_LABEL_SIZE, "[%.*s]:%u", RDS_HOST_SIZE - 1, a->host, a->port);
    else
        snprintf(out, RDS_LABEL_SIZE, "%.*s:%u", RDS_HOST_SIZE - 1, a->host, a->port);
}

int rds_address_same(const struct rds_address *a, const struct rds_address *b)
{
    return a->port == b->port && !strcasecmp(a->host, b->host);
}

/* host, host:port, [v6], [v6]:port */
static int32_t read_host(struct hd_str s, uint64_t port, struct rds_address *out)
{
    struct hd_str host = s, rest = {NULL, 0};

    if (s.len && s.ptr[0] == '[') {
        uint64_t close = find(s, ']');

        if (close == s.len)
            return HD_EINVAL;
        host = (struct hd_str){s.ptr + 1, close - 1};
        rest = from(s, close + 1);
    } else if (find(s, ':') < s.len) {
        host.len = find(s, ':');
        rest = from(s, host.len);
    }
    if (rest.len && (rest.ptr[0] != ':' || !number(from(rest, 1), 65535, &port)))
        return HD_EINVAL;
    return rds_address_set(out, host, port);
}

static int32_t read_hosts(struct hd_str s, struct rds_url *out, struct hd_error *err)
{
    uint64_t port = out->kind == RDS_SENTINEL ? SENTINEL_PORT : PORT;

    for (;;) {
        uint64_t comma = find(s, ',');

        if (out->hosts == RDS_HOSTS_MAX)
            return wrong(err, "url: at most 16 hosts may be named");
        if (read_host((struct hd_str){s.ptr, comma}, port, &out->host[out->hosts++]))
            return wrong(err, "url: expected host:port, or [address]:port, between the user and the path");
        if (comma == s.len)
            return HD_OK;
        if (out->kind == RDS_SINGLE)
            return wrong(err, "url: several hosts need redis+sentinel:// or redis+cluster://");
        s = from(s, comma + 1);
    }
}

static int32_t read_user(struct hd_str s, struct rds_url *out, struct hd_error *err)
{
    uint64_t colon = find(s, ':');
    struct hd_str password = colon < s.len ? from(s, colon + 1) : (struct hd_str){"", 0};

    if (!decode((struct hd_str){s.ptr, colon}, out->user, sizeof(out->user)) ||
        !decode(password, out->password, sizeof(out->password)))
        return wrong(err, "url: user or password is longer than 127 bytes or has a broken %XX");
    return HD_OK;
}

static int32_t read_db(struct hd_str s, struct rds_url *out, struct hd_error *err)
{
    uint64_t db = 0;

    if (s.len && !number(s, DB_MAX, &db))
        return wrong(err, "url: the database is a number, as in redis://host:6379/0");
    if (db && out->kind == RDS_CLUSTER)
        return wrong(err, "url: a cluster has no database but 0");
    out->db = (uint32_t)db;
    return HD_OK;
}

/* What follows the hosts, without its first slash. */
static int32_t read_path(struct hd_str s, struct rds_url *out, struct hd_error *err)
{
    uint64_t slash = find(s, '/');

    if (out->kind != RDS_SENTINEL)
        return read_db(s, out, err);
    if (!slash || !decode((struct hd_str){s.ptr, slash}, out->master, sizeof(out->master)))
        return wrong(err, "url: redis+sentinel:// needs the master's name behind its hosts: /NAME");
    return read_db(slash < s.len ? from(s, slash + 1) : (struct hd_str){"", 0}, out, err);
}

static int32_t read_unix(struct hd_str s, struct rds_url *out, struct hd_error *err)
{
    struct rds_address *a = &out->host[0];

    if (!s.len || s.ptr[0] != '/' || s.len > 107 || find(s, '\0') < s.len)
        return wrong(err, "url: unix: takes an absolute path of at most 107 bytes");
    memcpy(a->host, s.ptr, s.len);
    out->hosts = 1;
    return HD_OK;
}

static int32_t read_scheme(struct hd_str *s, struct rds_url *out, struct hd_error *err)
{
    static const struct {
        const char *scheme;
        uint32_t kind, tls;
    } known[] = {{"redis://", RDS_SINGLE, 0},
                 {"redis+sentinel://", RDS_SENTINEL, 0},
                 {"redis+cluster://", RDS_CLUSTER, 0},
                 {"rediss://", RDS_SINGLE, 1},
                 {"rediss+sentinel://", RDS_SENTINEL, 1},
                 {"rediss+cluster://", RDS_CLUSTER, 1}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (starts(*s, known[i].scheme)) {
            out->kind = known[i].kind;
            out->tls = known[i].tls;
            *s = from(*s, strlen(known[i].scheme));
            return HD_OK;
        }
    }
    return wrong(err, "url: expected redis://, redis+sentinel://, redis+cluster://, one of them with rediss "
                      "for TLS, or unix:PATH");
}

int32_t rds_url_parse(struct hd_str text, struct rds_url *out, struct hd_error *err)
{
    struct hd_str hosts;
    uint64_t at, slash;
    int32_t code;

    memset(out, 0, sizeof(*out));
    if (starts(text, "unix:"))
        return read_unix(from(text, 5), out, err);
    if ((code = read_scheme(&text, out, err)))
        return code;
    /* A password may have a slash in it, if there is an @ behind it. */
    at = find_last(text, '@');
    if (at < text.len) {
        if ((code = read_user((struct hd_str){text.ptr, at}, out, err)))
            return code;
        text = from(text, at + 1);
    }
    slash = find(text, '/');
    hosts = (struct hd_str){text.ptr, slash};
    if ((code = read_hosts(hosts, out, err)))
        return code;
    return read_path(slash < text.len ? from(text, slash + 1) : (struct hd_str){"", 0}, out, err);
}
