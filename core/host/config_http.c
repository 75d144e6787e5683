/*
 * [http]: the section becomes settings, and is held against what would let strangers in.
 */
#include "base/check.h"
#include "host/address.h"
#include "host/config_build.h"

#include <string.h>
#include <sys/stat.h>

#define TOKEN_LEAST 16   /* characters */
#define TOKEN_MOST  1024 /* so that it fits into the least head of a request */

static const struct hd_config_section *section_of(const struct hd_build *b)
{
    HD_EACH_SECTION(s, b->config, HD_KIND_HTTP)
    return s;
    return NULL;
}

static void build_listener(struct hd_build *b, const struct hd_config_section *s, struct hd_listener_conf *l)
{
    const struct hd_http_keys *k = s->keys;

    l->name = "";
    l->origin = hd_build_strdup(b, s->raw->origin);
    l->tls_cert = hd_build_file(b, s->raw, &k->tls_cert);
    l->tls_key = hd_build_file(b, s->raw, &k->tls_key);
    l->tls = l->tls_cert || l->tls_key ? HD_TLS_REQUIRE : HD_TLS_OFF;
    hd_build_addresses(b, s->raw, &k->listen, l);
    hd_build_networks(b, s->raw, &k->allow, l);
}

void hd_build_http(struct hd_build *b)
{
    const struct hd_config_section *s = section_of(b);
    const struct hd_http_keys *k = s ? s->keys : NULL;
    struct hd_http_conf *h = s ? hd_build_alloc(b, sizeof(*h)) : NULL;

    if (!h)
        return;
    h->token = hd_build_text(&k->token);
    h->max_connections = k->max_connections;
    h->max_connections_per_address = k->max_connections_per_address;
    h->max_request_size = k->max_request_size;
    h->max_header_size = k->max_header_size;
    h->answer_memory = k->answer_memory;
    h->compress_from = k->compress_from;
    h->compress_most = k->compress_most;
    h->request_timeout = k->request_timeout;
    h->idle_timeout = k->idle_timeout;
    h->rate = k->rate;
    build_listener(b, s, &h->listener);
    b->settings->http = h;
}

/* --- checks ----------------------------------------------------------------------------------------------
 */

/* A token that everybody on this machine can read or replace keeps nobody out. */
static void check_token_file(struct hd_build *b, const struct hd_raw_section *raw)
{
    const struct hd_raw_key *key = hd_raw_find(raw, "token_file");
    const char *path = key ? hd_path_from(b->arena, raw->dir, key->value) : NULL;
    struct stat st;

    if (path && !stat(path, &st) && st.st_mode & (S_IROTH | S_IWOTH | S_IWGRP))
        hd_problem(b->problems, hd_raw_origin(raw, "token_file"),
                   "token_file %s: others may read or write it: chmod 0600 it", path);
}

/* A token that is asked for and empty would let everybody in. */
static void check_empty(struct hd_build *b, const struct hd_raw_section *raw)
{
    const char *key = hd_raw_find(raw, "token_file") ? "token_file" : "token";

    if (hd_raw_find(raw, key))
        hd_problem(b->problems, hd_raw_origin(raw, key), "%s gives no token: leave it out, or give one", key);
}

/* It goes through headers, where only these are safe. */
static void check_token(struct hd_build *b, const struct hd_raw_section *raw, const char *token)
{
    const char *origin = hd_raw_origin(raw, hd_raw_find(raw, "token_file") ? "token_file" : "token");
    size_t len = strlen(token);

    if (len < TOKEN_LEAST || len > TOKEN_MOST)
        hd_problem(b->problems, origin,
                   "token must have %d to %d characters, such as openssl rand -hex 32 gives", TOKEN_LEAST,
                   TOKEN_MOST);
    for (size_t i = 0; i < len; i++)
        if (token[i] <= ' ' || token[i] > '~') {
            hd_problem(b->problems, origin, "token must be of printable ASCII characters without blanks");
            return;
        }
}

static void check_address(struct hd_build *b, const struct hd_raw_section *raw, uint32_t i)
{
    const struct hd_http_conf *h = b->settings->http;
    const struct hd_address *a = &h->listener.addresses[i];
    const char *origin = hd_raw_origin(raw, "listen");
    int found;

    if (a->sa.ss_family == AF_UNIX) {
        hd_problem(b->problems, origin,
                   "listen must be an address and a port, such as 127.0.0.1:9632, not %s", a->text);
        return;
    }
    if (!h->token && !hd_address_is_local(a))
        hd_problem(b->problems, origin,
                   "%s can be reached from other machines: that needs a token; set token_file in [http], or "
                   "listen on 127.0.0.1",
                   a->text);
    found = hd_check_address(b, raw, a, &h->listener, i);
    for (uint32_t l = 0; l < b->settings->listener_count && !found; l++)
        found =
            hd_check_address(b, raw, a, &b->settings->listeners[l], b->settings->listeners[l].address_count);
}

void hd_check_http(struct hd_build *b)
{
    const struct hd_config_section *s = section_of(b);
    const struct hd_http_conf *h = b->settings->http;

    if (!s || !h)
        return;
    check_token_file(b, s->raw);
    if (h->token)
        check_token(b, s->raw, h->token);
    else
        check_empty(b, s->raw);
    for (uint32_t i = 0; i < h->listener.address_count; i++)
        check_address(b, s->raw, i);
    if (h->listener.tls != HD_TLS_OFF)
        hd_check_certificate(b, &h->listener, s->raw);
    else if (h->token)
        for (uint32_t i = 0; i < h->listener.address_count; i++)
            if (!hd_address_is_local(&h->listener.addresses[i]))
                hd_problem_warning(b->problems, hd_raw_origin(s->raw, "listen"),
                                   "the token goes in the clear at %s: set tls_cert and tls_key",
                                   h->listener.addresses[i].text);
}
