/*
 * libmicrohttpd on the control loop: its epoll descriptor is watched, its timeouts are a timer's, and it runs
 * only from here. Its options cannot change while it runs, so that a reload may start a second one; the first
 * then ends with its last connection.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PEM_BYTES (256 * 1024)

/* --- running --------------------------------------------------------------------------------------------
 */

static void arm(struct http_engine *e)
{
    MHD_UNSIGNED_LONG_LONG ms;

    if (MHD_get_timeout(e->daemon, &ms) == MHD_YES)
        hd_loop_timer_start(&e->timer, ms, 0);
    else
        hd_loop_timer_stop(&e->timer);
}

/* The engine may be gone afterwards. */
static void run(struct http_engine *e)
{
    if (!e->daemon || e->running)
        return;
    e->running = 1;
    MHD_run(e->daemon);
    e->running = 0;
    if (e->retired && hd_list_empty(&e->conns))
        hd_http_engine_end(e);
    else
        arm(e);
}

static void on_event(struct hd_loop_watch *w, int status, int events)
{
    (void)status;
    (void)events;
    run(HD_CONTAINER_OF(w, struct http_engine, watch));
}

static void on_timer(struct hd_loop_timer *t)
{
    run(HD_CONTAINER_OF(t, struct http_engine, timer));
}

/* Works on what is queued; each of it is suspended and may be answered at once. */
static void begin_queued(struct hd_http *h)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&h->queue))) {
        struct http_request *rq = HD_LIST_ITEM(n, struct http_request, node);

        hd_list_push_back(&h->begun, &rq->node);
        rq->state = HTTP_BEGUN;
        rq->work(rq);
    }
}

static void on_turn(struct hd_deferred *d)
{
    struct hd_http *h = HD_CONTAINER_OF(d, struct hd_http, turn);

    begin_queued(h);
    hd_http_streams_tell(h);
    HD_LIST_EACH(n, &h->engines)
    run(HD_LIST_ITEM(n, struct http_engine, node));
}

void hd_http_turn(struct hd_http *h)
{
    h->turn.fn = on_turn;
    hd_loop_defer(h->loop, &h->turn);
}

/* --- connections ----------------------------------------------------------------------------------------
 */

static void begin_connection(struct http_engine *e, struct MHD_Connection *c, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_conn *conn = hd_calloc(1, sizeof(*conn));

    *context = conn;
    if (!conn)
        return; /* requests on it are refused */
    conn->engine = e;
    conn->fd = info ? info->connect_fd : -1;
    conn->deadline_ns = hd_now_ns() + (uint64_t)e->conf->request_timeout * 1000000u;
    hd_list_push_back(&e->conns, &conn->node);
    e->http->connections++;
    hd_metrics_add(e->http->rt->parts.metrics, e->http->counts.connections, 1);
    hd_http_watch_over(e->http);
}

static void end_connection(struct http_engine *e, void **context)
{
    struct http_conn *conn = *context;

    if (!conn)
        return;
    hd_list_remove(&conn->node);
    hd_free(conn);
    *context = NULL;
    e->http->connections--;
    hd_metrics_add(e->http->rt->parts.metrics, e->http->counts.connections, -1);
}

static void on_connection(void *engine, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        begin_connection(engine, c, context);
    else
        end_connection(engine, context);
}

void hd_http_engine_add(struct http_engine *e, int fd, const struct sockaddr *peer, socklen_t len)
{
    if (MHD_add_connection(e->daemon, fd, peer, len) != MHD_YES)
        hd_metrics_add(e->http->rt->parts.metrics, e->http->counts.refused, 1); /* which has closed it */
}

/* --- start and end --------------------------------------------------------------------------------------
 */

/* What libmicrohttpd has to say quotes clients: it is for whoever looks for a fault. */
static void on_log(void *arg, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));

static void on_log(void *arg, const char *format, va_list ap)
{
    char text[300];

    (void)arg;
    vsnprintf(text, sizeof(text), format, ap);
    text[strcspn(text, "\r\n")] = 0;
    hd_log(HD_LOG_DEBUG, "http", HD_KV("libmicrohttpd", text));
}

/* The bytes of a file, with a NUL behind them; NULL and why. */
static char *read_file(const char *path, struct hd_error *err)
{
    char *text = hd_malloc(PEM_BYTES + 1);
    int fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, text, PEM_BYTES) : -1;

    if (n < 0)
        hd_fail(err, HD_EIO, "[http] cannot read %s: %s", path, text ? strerror(errno) : "no memory");
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        hd_free(text);
        return NULL;
    }
    text[n] = 0;
    return text;
}

/* What is encoded is decoded, but a zero byte, which would end the text: it becomes U+FFFD, which takes as
 * many bytes as the code of a zero byte does. */
static size_t decode(void *arg, struct MHD_Connection *c, char *text)
{
    (void)arg;
    (void)c;
    for (char *at = text; (at = strstr(at, "%00")); at += 3)
        memcpy(at, "\xef\xbf\xbd", 3);
    return MHD_http_unescape(text);
}

static struct MHD_Daemon *start_daemon(struct http_engine *e, const char *cert, char *key)
{
    const struct hd_http_conf *conf = e->conf;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

    return MHD_start_daemon(flags | (cert ? MHD_USE_TLS : 0), 0, NULL, NULL, hd_http_on_request, e,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)conf->max_connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                            (unsigned)conf->max_connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT,
                            (unsigned)((conf->idle_timeout + 999) / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)conf->max_header_size, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                            MHD_OPTION_UNESCAPE_CALLBACK, decode, NULL, MHD_OPTION_NOTIFY_COMPLETED,
                            hd_http_on_completed, e, MHD_OPTION_NOTIFY_CONNECTION, on_connection, e,
                            MHD_OPTION_ARRAY, cert ? tls : tls + HD_ARRAY_LEN(tls) - 1, MHD_OPTION_END);
}

static int start(struct http_engine *e, struct hd_error *err)
{
    const struct hd_listener_conf *l = &e->conf->listener;
    char *cert = NULL, *key = NULL;
    int code = HD_OK;

    if (l->tls != HD_TLS_OFF) {
        cert = read_file(l->tls_cert, err);
        key = cert ? read_file(l->tls_key, err) : NULL;
        code = key ? HD_OK : HD_EIO;
    }
    if (!code)
        e->daemon = start_daemon(e, cert, key);
    if (!code && !e->daemon)
        code = hd_fail(err, HD_EIO, "[http] libmicrohttpd does not start%s",
                       cert ? ": are tls_cert and tls_key what it can use?" : "");
    if (key)
        explicit_bzero(key, strlen(key)); /* GnuTLS has its own */
    hd_free(key);
    hd_free(cert);
    return code;
}

static void drop_handle(struct http_engine *e)
{
    struct hd_http *h = e->http;

    if (--e->handles)
        return;
    hd_settings_release(e->settings);
    hd_free(e);
    hd_http_release(h);
}

static void on_watch_closed(struct hd_loop_watch *w)
{
    drop_handle(HD_CONTAINER_OF(w, struct http_engine, watch));
}

static void on_timer_closed(struct hd_loop_timer *t)
{
    drop_handle(HD_CONTAINER_OF(t, struct http_engine, timer));
}

int hd_http_engine_new(struct hd_http *h, struct hd_settings *s, struct http_engine **out,
                       struct hd_error *err)
{
    struct http_engine *e = hd_calloc(1, sizeof(*e));
    const union MHD_DaemonInfo *info;
    int code;

    if (!e)
        return hd_fail(err, HD_ENOMEM, "no memory for HTTP");
    e->http = h;
    e->settings = hd_settings_hold(s);
    e->conf = s->http;
    hd_list_init(&e->conns);
    code = start(e, err);
    info = code ? NULL : MHD_get_daemon_info(e->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!code && (!info || hd_loop_watch_init(h->loop, &e->watch, info->epoll_fd, on_event)))
        code = hd_fail(err, HD_EIO, "[http] libmicrohttpd cannot be watched");
    if (code) {
        if (e->daemon)
            MHD_stop_daemon(e->daemon);
        hd_settings_release(e->settings);
        hd_free(e);
        return code;
    }
    hd_loop_timer_init(h->loop, &e->timer, on_timer);
    e->handles = 2;
    h->handles++;
    hd_loop_watch_set(&e->watch, UV_READABLE);
    hd_list_push_back(&h->engines, &e->node);
    *out = e;
    return HD_OK;
}

int hd_http_engine_fits(const struct http_engine *e, const struct hd_http_conf *conf)
{
    const struct hd_http_conf *was = e->conf;

    /* A certificate is read anew, for its file may be. */
    return was->listener.tls == HD_TLS_OFF && conf->listener.tls == HD_TLS_OFF &&
           was->max_connections == conf->max_connections &&
           was->max_connections_per_address == conf->max_connections_per_address &&
           was->max_header_size == conf->max_header_size && was->idle_timeout == conf->idle_timeout;
}

void hd_http_engine_settings(struct http_engine *e, struct hd_settings *s)
{
    hd_settings_release(e->settings);
    e->settings = hd_settings_hold(s);
    e->conf = s->http;
}

void hd_http_engine_retire(struct http_engine *e)
{
    e->retired = 1;
    hd_http_streams_end(e->http, NULL, e);
    hd_http_turn(e->http);
}

void hd_http_engine_end(struct http_engine *e)
{
    HD_ASSERT(!e->running);
    hd_http_cancel(e);
    hd_http_streams_end(e->http, NULL, e);
    hd_list_remove(&e->node);
    hd_loop_watch_close(&e->watch, on_watch_closed);
    hd_loop_timer_close(&e->timer, on_timer_closed);
    MHD_stop_daemon(e->daemon);
    e->daemon = NULL;
}
