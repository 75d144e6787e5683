/*
 * The addresses of [http]: opened, taken over from an earlier host, accepted from. Connections are accepted
 * here and not by libmicrohttpd, so that several addresses share one bound and `allow` is asked first.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "host/address.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"
#include "session/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG       128
#define ACCEPT_A_TURN 32
#define NAME_BYTES    300

/* The name that the keeper knows a socket by. */
static void name_of(const struct http_socket *s, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%s#http", s->text);
}

static int take_kept(struct http_socket *s)
{
    char name[NAME_BYTES];

    if (!s->http->keeper)
        return 0;
    name_of(s, name);
    s->fd = s->http->keeper->take(s->http->keeper->arg, name);
    return s->fd >= 0;
}

static int bind_socket(struct http_socket *s, struct hd_error *err)
{
    const struct hd_address *a = &s->address;
    int on = 1, e = 0;

    s->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return hd_fail(err, HD_EIO, "[http] cannot listen on %s: %s", s->text, strerror(errno));
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->sa.ss_family == AF_INET6)
        setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(s->fd, (const struct sockaddr *)&a->sa, a->len) || listen(s->fd, BACKLOG))
        e = errno;
    return e ? hd_fail(err, HD_EIO, "[http] cannot listen on %s: %s", s->text, strerror(e)) : HD_OK;
}

static void free_socket(struct http_socket *s)
{
    if (s->fd >= 0)
        close(s->fd);
    hd_free(s->text);
    hd_free(s);
}

static int open_socket(struct hd_http *h, const struct hd_address *a, struct hd_list *out,
                       struct hd_error *err)
{
    struct http_socket *s = hd_calloc(1, sizeof(*s));
    int code = HD_OK;

    if (!s)
        return hd_fail(err, HD_ENOMEM, "no memory for HTTP");
    s->http = h;
    s->fd = -1;
    s->address = *a;
    s->text = hd_strdup(a->text);
    s->address.text = s->text;
    if (!s->text)
        code = hd_fail(err, HD_ENOMEM, "no memory for HTTP");
    else if (!take_kept(s))
        code = bind_socket(s, err);
    if (code)
        free_socket(s);
    else
        hd_list_push_back(out, &s->node);
    return code;
}

static int is_open(const struct hd_http *h, const struct hd_address *a)
{
    HD_LIST_EACH(n, &h->sockets)
    {
        if (hd_address_equal(&HD_LIST_ITEM(n, struct http_socket, node)->address, a))
            return 1;
    }
    return 0;
}

int hd_http_wants(const struct hd_http_conf *conf, const struct hd_address *a)
{
    for (uint32_t i = 0; conf && i < conf->listener.address_count; i++)
        if (hd_address_equal(&conf->listener.addresses[i], a))
            return 1;
    return 0;
}

int hd_http_open(struct hd_http *h, const struct hd_http_conf *conf, struct hd_list *out,
                 struct hd_error *err)
{
    int code = HD_OK;

    for (uint32_t i = 0; !code && i < conf->listener.address_count; i++)
        if (!is_open(h, &conf->listener.addresses[i]))
            code = open_socket(h, &conf->listener.addresses[i], out, err);
    return code;
}

/* --- accepting ------------------------------------------------------------------------------------------
 */

static void take_connection(struct hd_http *h, int fd, const struct sockaddr *peer, socklen_t len)
{
    const struct hd_http_conf *conf = h->engine->conf;

    if ((int64_t)h->connections < conf->max_connections && hd_listener_allows(&conf->listener, peer)) {
        hd_http_engine_add(h->engine, fd, peer, len);
        return;
    }
    hd_metrics_add(h->rt->parts.metrics, h->counts.refused, 1);
    close(fd);
}

static void on_readable(struct hd_loop_watch *w, int status, int events)
{
    struct http_socket *s = HD_CONTAINER_OF(w, struct http_socket, watch);
    struct hd_http *h = s->http;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_A_TURN && h->engine; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(s->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            break;
        take_connection(h, fd, (const struct sockaddr *)&peer, len);
    }
    hd_http_turn(h);
}

int hd_http_watch(struct http_socket *s, struct hd_error *err)
{
    struct hd_http *h = s->http;
    char name[NAME_BYTES];

    if (hd_loop_watch_init(h->loop, &s->watch, s->fd, on_readable))
        return hd_fail(err, HD_EIO, "%s cannot be watched", s->text);
    s->watched = 1;
    h->handles++;
    hd_loop_watch_set(&s->watch, UV_READABLE);
    name_of(s, name);
    if (h->keeper)
        h->keeper->keep(h->keeper->arg, name, s->fd);
    return HD_OK;
}

static void on_closed(struct hd_loop_watch *w)
{
    struct http_socket *s = HD_CONTAINER_OF(w, struct http_socket, watch);
    struct hd_http *h = s->http;

    free_socket(s);
    hd_http_release(h);
}

void hd_http_close_socket(struct http_socket *s, int forget)
{
    const struct hd_keeper *keeper = s->http->keeper;
    char name[NAME_BYTES];

    hd_list_remove(&s->node);
    name_of(s, name);
    if (forget && keeper)
        keeper->drop(keeper->arg, name);
    if (!s->watched) {
        free_socket(s);
        return;
    }
    hd_loop_watch_close(&s->watch, on_closed);
    close(s->fd);
    s->fd = -1;
}
