/*
 * Who may ask for what.
 *
 * With a token every request but the probes and open pages must bring it, as a bearer token or as the
 * password of basic authentication, which browsers know. Without one the server listens on loopback alone; a
 * page of the web could still make a browser on this machine send requests here, so that these must name a
 * host of this machine, and what changes anything must be JSON, which no page may send elsewhere without
 * being asked about it. With a token or without, what a browser says to come from a page of somebody else
 * changes nothing: browsers send along the password that they know.
 */
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TELL_NS      10000000000u /* between two lines about wrong tokens */
#define BASIC_BYTES  2048
#define REALM_BASIC  "Basic realm=\"howdah\", charset=\"UTF-8\""
#define REALM_BEARER "Bearer realm=\"howdah\""

/* --- the token ------------------------------------------------------------------------------------------
 */

/* In a time that says nothing about where they differ. */
static int is_token(const char *given, size_t len, const char *token)
{
    unsigned char a[SHA256_DIGEST_LENGTH], b[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)given, len, a);
    SHA256((const unsigned char *)token, strlen(token), b);
    return !CRYPTO_memcmp(a, b, sizeof(a));
}

static int is_password(const char *text, const char *token)
{
    unsigned char plain[BASIC_BYTES];
    size_t len = strlen(text);
    const char *colon;
    int n;

    if (!len || len % 4 || len > sizeof(plain))
        return 0;
    n = EVP_DecodeBlock(plain, (const unsigned char *)text, (int)len);
    if (n < 0)
        return 0;
    for (size_t i = len; i > len - 2 && text[i - 1] == '='; i--)
        n--; /* which it counts as bytes */
    colon = memchr(plain, ':', (size_t)n);
    return colon && is_token(colon + 1, (size_t)((char *)plain + n - colon - 1), token);
}

static int has_token(const struct http_request *rq, const char *token)
{
    const char *value = hd_http_header(rq, MHD_HTTP_HEADER_AUTHORIZATION);

    if (value && !strncasecmp(value, "Bearer ", 7))
        return is_token(value + 7, strlen(value + 7), token);
    return value && !strncasecmp(value, "Basic ", 6) && is_password(value + 6, token);
}

static void tell(struct http_request *rq)
{
    struct hd_http *h = rq->engine->http;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(rq->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = info ? info->client_addr : NULL;
    char address[INET6_ADDRSTRLEN] = "";
    uint64_t now = hd_now_ns();

    hd_metrics_add(h->rt->parts.metrics, h->counts.failures, 1);
    if (h->told_ns && now - h->told_ns < TELL_NS)
        return;
    h->told_ns = now;
    if (sa && sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, address,
                  sizeof(address));
    else if (sa && sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, address,
                  sizeof(address));
    hd_log(HD_LOG_WARNING, "a request over HTTP without the right token", HD_KV("address", address));
}

/* A browser that goes to a page asks for a password; a script of a page handles the refusal itself. */
static int is_navigation(const struct http_request *rq)
{
    const char *mode = hd_http_header(rq, "Sec-Fetch-Mode");

    return !mode || !strcmp(mode, "navigate");
}

static int check_token(struct http_request *rq, const char *token)
{
    if (has_token(rq, token))
        return 1;
    tell(rq);
    hd_http_problem(rq, MHD_HTTP_UNAUTHORIZED,
                    "this needs the token of [http], as \"Authorization: Bearer TOKEN\" "
                    "or as the password of basic authentication");
    hd_http_set_header(rq, MHD_HTTP_HEADER_WWW_AUTHENTICATE, REALM_BEARER);
    if (is_navigation(rq))
        hd_http_set_header(rq, MHD_HTTP_HEADER_WWW_AUTHENTICATE, REALM_BASIC);
    return 0;
}

/* --- without a token ------------------------------------------------------------------------------------
 */

/* Does the Host header, without its port, name this machine's loopback? */
static int is_loopback(const char *host)
{
    char name[64];
    size_t len = *host == '[' ? strcspn(host, "]") : strcspn(host, ":");
    struct in_addr v4;
    struct in6_addr v6;

    if (*host == '[' && host[len] == ']') {
        host++;
        len--;
    }
    if (len >= sizeof(name))
        return 0;
    memcpy(name, host, len);
    name[len] = 0;
    if (!strcasecmp(name, "localhost"))
        return 1;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static int check_host(struct http_request *rq)
{
    const char *host = hd_http_header(rq, MHD_HTTP_HEADER_HOST);

    if (!host || is_loopback(host))
        return 1;
    hd_http_problem(rq, MHD_HTTP_FORBIDDEN,
                    "without a token only requests to localhost, 127.0.0.1 or [::1] are answered");
    return 0;
}

/* --- all ------------------------------------------------------------------------------------------------
 */

static int check_rate(struct http_request *rq)
{
    struct http_bucket *b = &rq->engine->http->bucket;
    double rate = (double)rq->engine->conf->rate;
    uint64_t now = hd_now_ns();

    if (!rq->engine->conf->rate)
        return 1;
    b->tokens = b->last_ns ? b->tokens + (double)(now - b->last_ns) * 1e-9 * rate : rate;
    b->last_ns = now;
    if (b->tokens > rate)
        b->tokens = rate;
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return 1;
    }
    hd_http_problem(rq, MHD_HTTP_TOO_MANY_REQUESTS, "more than %lld requests a second",
                    (long long)rq->engine->conf->rate);
    hd_http_set_header(rq, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    return 0;
}

static int check_method(struct http_request *rq)
{
    if (rq->is_post || !strcmp(rq->method, MHD_HTTP_METHOD_GET) || !strcmp(rq->method, MHD_HTTP_METHOD_HEAD))
        return 1;
    hd_http_problem(rq, MHD_HTTP_METHOD_NOT_ALLOWED, "one of %s is expected", hd_http_methods(rq));
    hd_http_set_header(rq, MHD_HTTP_HEADER_ALLOW, hd_http_methods(rq));
    return 0;
}

struct framing {
    unsigned hosts, lengths, codings, blanks;
};

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct framing *f = arg;

    (void)kind;
    (void)value;
    f->hosts += !strcasecmp(name, MHD_HTTP_HEADER_HOST);
    f->lengths += !strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH);
    f->codings += !strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    f->blanks += strpbrk(name, " \t") != NULL;
    return MHD_YES;
}

/* What says in two ways for whom it is or where it ends is read otherwise by a proxy, perhaps. */
static int check_framing(struct http_request *rq)
{
    struct framing f = {0};

    MHD_get_connection_values(rq->connection, MHD_HEADER_KIND, count_header, &f);
    if (f.hosts <= 1 && f.lengths + f.codings <= 1 && !f.blanks)
        return 1;
    hd_http_problem(rq, MHD_HTTP_BAD_REQUEST,
                    "where the request ends or for whom it is can be read in two ways: Host, Content-Length "
                    "and Transfer-Encoding come once, not both of the latter, and names without blanks");
    hd_http_set_header(rq, MHD_HTTP_HEADER_CONNECTION, "close");
    return 0;
}

static int check_body(struct http_request *rq)
{
    const char *type = hd_http_header(rq, MHD_HTTP_HEADER_CONTENT_TYPE);
    const char *length = hd_http_header(rq, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t most = rq->engine->conf->max_request_size;

    if (length && strtoll(length, NULL, 10) > most) {
        hd_http_problem(rq, MHD_HTTP_CONTENT_TOO_LARGE, "the body is longer than %lld bytes",
                        (long long)most);
        return 0;
    }
    if (!rq->is_post)
        return 1;
    if (type && !strncasecmp(type, "application/json", 16) && (!type[16] || strchr("; \t", type[16])))
        return 1;
    hd_http_problem(rq, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "what is posted must be of type application/json");
    return 0;
}

/* Does a page of this server ask? Browsers say which page does; programs say nothing. */
static int is_own_page(const struct http_request *rq)
{
    const char *site = hd_http_header(rq, "Sec-Fetch-Site");
    const char *origin = hd_http_header(rq, MHD_HTTP_HEADER_ORIGIN);
    const char *host = hd_http_header(rq, MHD_HTTP_HEADER_HOST);
    const char *name = origin ? strstr(origin, "://") : NULL;

    if (site)
        return !strcmp(site, "same-origin") || !strcmp(site, "none");
    return !origin || (name && host && !strcasecmp(name + 3, host));
}

static int check_page(struct http_request *rq)
{
    if (!rq->is_post || is_own_page(rq))
        return 1;
    hd_http_problem(rq, MHD_HTTP_FORBIDDEN, "pages of other servers may not post here");
    return 0;
}

static int is_probe(const char *path)
{
    return !strcmp(path, "/livez") || !strcmp(path, "/readyz");
}

/* May whoever asks for this path? With a token, pages that are open to everybody need none. */
static int check_right(struct http_request *rq, const char *token)
{
    if (!token)
        return check_host(rq);
    if (!rq->is_post && hd_http_page_is_open(rq->engine->http, rq->path))
        return 1;
    return check_token(rq, token);
}

int hd_http_admit(struct http_request *rq)
{
    if (!check_framing(rq) || !check_method(rq))
        return 0;
    if (!is_probe(rq->path) && (!check_rate(rq) || !check_right(rq, rq->engine->conf->token)))
        return 0;
    return check_page(rq) && check_body(rq);
}
