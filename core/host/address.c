/*
 * Parsing listen addresses and networks; see address.h.
 */
#include "host/address.h"
#include "base/error.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_BYTES 256

const char *hd_unix_path(const char *text)
{
    struct sockaddr_un sa;

    if (strncmp(text, "unix:/", 6) || strlen(text + 5) >= sizeof(sa.sun_path))
        return NULL;
    return text + 5;
}

static int parse_unix(const char *text, struct hd_address *out, struct hd_error *err)
{
    struct sockaddr_un *sa = (struct sockaddr_un *)&out->sa;
    const char *path = hd_unix_path(text);

    if (!path)
        return hd_fail(err, HD_EINVAL,
                       "must be unix: and an absolute path of at most %zu bytes, not \"%.120s\"",
                       sizeof(sa->sun_path) - 1, text);
    memset(out, 0, sizeof(*out));
    sa->sun_family = AF_UNIX;
    snprintf(sa->sun_path, sizeof(sa->sun_path), "%s", path);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    out->text = text;
    return 1;
}

/* Splits "host:port" and "[v6]:port". */
static int split(const char *text, char *host, const char **port)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char *end;
    long n;

    if (!len || len >= HOST_BYTES)
        return 0;
    if (text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return 0; /* an IPv6 address without brackets */
    }
    memcpy(host, text, len);
    host[len] = 0;
    *port = colon + 1;
    n = strtol(*port, &end, 10);
    return len && **port >= '0' && **port <= '9' && !*end && n >= 1 && n <= 65535;
}

int hd_address_parse(const char *text, struct hd_address *out, int cap, struct hd_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    char host[HOST_BYTES];
    const char *port;
    int n = 0, rc;

    if (!strncmp(text, "unix:", 5))
        return parse_unix(text, out, err);
    if (!split(text, host, &port))
        return hd_fail(
            err, HD_EINVAL,
            "must be such as 127.0.0.1:6432, [::]:6432 or unix:/run/howdah/.s.PGSQL.6432, not \"%.120s\"",
            text);
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc)
        return hd_fail(err, HD_ENOENT,
                       "must name an address of this machine, but \"%.120s\" cannot be resolved: %s", host,
                       gai_strerror(rc));
    for (struct addrinfo *a = found; a && n < cap; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        memset(&out[n], 0, sizeof(out[n]));
        memcpy(&out[n].sa, a->ai_addr, a->ai_addrlen);
        out[n].len = a->ai_addrlen;
        out[n].text = text;
        n++;
    }
    freeaddrinfo(found);
    if (!n)
        return hd_fail(err, HD_ENOENT, "must name an address of this machine, but \"%.120s\" has none", host);
    return n;
}

int hd_address_is_local(const struct hd_address *a)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->sa;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->sa;
    const struct in6_addr *i = &v6->sin6_addr;

    if (a->sa.ss_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    if (a->sa.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(i) || (IN6_IS_ADDR_V4MAPPED(i) && i->s6_addr[12] == 127);
    return a->sa.ss_family == AF_UNIX;
}

int hd_address_equal(const struct hd_address *a, const struct hd_address *b)
{
    return a->len == b->len && !memcmp(&a->sa, &b->sa, a->len);
}

/* No bit may be set past the prefix: 10.1.0.0/8 is more likely a slip than meant. */
static int has_bits_past(const struct hd_network *n, unsigned bytes)
{
    for (unsigned bit = n->bits; bit < bytes * 8; bit++)
        if (n->address[bit / 8] & (0x80u >> bit % 8))
            return 1;
    return 0;
}

int hd_network_parse(const char *text, struct hd_network *out, struct hd_error *err)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    char address[INET6_ADDRSTRLEN];
    unsigned bytes;
    char *end;

    memset(out, 0, sizeof(*out));
    if (len >= sizeof(address))
        goto bad;
    memcpy(address, text, len);
    address[len] = 0;
    out->family = memchr(text, ':', len) ? AF_INET6 : AF_INET;
    bytes = out->family == AF_INET6 ? 16 : 4;
    if (inet_pton(out->family, address, out->address) != 1)
        goto bad;
    out->bits = bytes * 8;
    if (slash) {
        unsigned long bits = strtoul(slash + 1, &end, 10);

        if (slash[1] < '0' || slash[1] > '9' || *end || bits > bytes * 8)
            goto bad;
        out->bits = (unsigned)bits;
    }
    if (has_bits_past(out, bytes))
        return hd_fail(err, HD_EINVAL, "has \"%.60s\", whose address reaches past its %u bits of network",
                       text, out->bits);
    return HD_OK;
bad:
    return hd_fail(err, HD_EINVAL, "must be networks such as 127.0.0.0/8 or ::1/128, not \"%.60s\"", text);
}
