/*
 * The HTTP server as a whole: made, changed in two steps, left to another host, stopped; see http.h.
 */
#include "host/http.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_MS 500

void hd_http_release(struct hd_http *h)
{
    if (--h->handles || !h->stopped)
        return;
    hd_settings_release(h->prepared_settings);
    hd_free(h);
}

/* --- requests that do not arrive ------------------------------------------------------------------------
 */

/* libmicrohttpd only watches for silence; who sends a byte now and then is ended here. */
static void sweep_engine(struct http_engine *e, uint64_t now)
{
    HD_LIST_EACH(n, &e->conns)
    {
        struct http_conn *c = HD_LIST_ITEM(n, struct http_conn, node);

        if (c->deadline_ns && now > c->deadline_ns)
            shutdown(c->fd, SHUT_RDWR);
    }
}

static void on_sweep(struct hd_loop_timer *t)
{
    struct hd_http *h = HD_CONTAINER_OF(t, struct hd_http, sweep);
    uint64_t now = hd_now_ns();

    HD_LIST_EACH(n, &h->engines)
    sweep_engine(HD_LIST_ITEM(n, struct http_engine, node), now);
    hd_http_pages_sweep(h, now);
    hd_http_streams_sweep(h, now);
    if (h->connections)
        return;
    h->sweeping = 0;
    hd_loop_timer_stop(&h->sweep);
}

void hd_http_watch_over(struct hd_http *h)
{
    if (h->sweeping)
        return;
    h->sweeping = 1;
    hd_loop_timer_start(&h->sweep, SWEEP_MS, SWEEP_MS);
}

/* --- metrics --------------------------------------------------------------------------------------------
 */

static void make_metrics(struct hd_http *h)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct hd_metrics *m = h->rt->parts.metrics;

    for (int i = 1; i < 6; i++) {
        struct hd_label label = {"code", classes[i]};

        h->counts.answers[i] = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_http_requests_total",
                                              "Answers over HTTP, by the class of their status", &label, 1);
    }
    h->counts.connections = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_http_connections",
                                           "Connections over HTTP that are open", NULL, 0);
    h->counts.packed = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_http_compressed_total",
                                      "Answers over HTTP that went out as gzip", NULL, 0);
    h->counts.saved = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_http_compressed_saved_bytes_total",
                                     "Bytes that this has saved", NULL, 0);
    h->counts.answer_bytes =
        hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_http_answer_bytes",
                       "Bytes of answers over HTTP that clients have not read yet", NULL, 0);
    h->counts.refused =
        hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_http_refused_connections_total",
                       "Connections over HTTP that were closed at once: too many, or not allowed", NULL, 0);
    h->counts.failures = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_http_auth_failures_total",
                                        "Requests over HTTP with a wrong token or with none", NULL, 0);
}

/* --- start and change -----------------------------------------------------------------------------------
 */

int hd_http_new(struct hd_runtime *rt, struct hd_http **out, struct hd_error *err)
{
    struct hd_http *h = hd_calloc(1, sizeof(*h));

    if (!h)
        return hd_fail(err, HD_ENOMEM, "no memory for HTTP");
    h->rt = rt;
    h->loop = &rt->parts.loop;
    hd_list_init(&h->sockets);
    hd_list_init(&h->prepared_sockets);
    hd_list_init(&h->engines);
    hd_list_init(&h->queue);
    hd_list_init(&h->begun);
    hd_list_init(&h->pages);
    hd_list_init(&h->streams);
    hd_list_init(&h->ended);
    hd_list_init(&h->turn.node);
    hd_loop_timer_init(h->loop, &h->sweep, on_sweep);
    h->handles = 1;
    make_metrics(h);
    *out = h;
    return hd_http_pages_serve(h) ? hd_fail(err, HD_EFULL, "the services for pages could not be registered")
                                  : HD_OK;
}

void hd_http_abort(struct hd_http *h)
{
    struct hd_list *n;

    if (!h)
        return;
    while ((n = hd_list_first(&h->prepared_sockets)))
        hd_http_close_socket(HD_LIST_ITEM(n, struct http_socket, node), 0);
    if (h->prepared)
        hd_http_engine_end(h->prepared);
    h->prepared = NULL;
    hd_settings_release(h->prepared_settings);
    h->prepared_settings = NULL;
}

int hd_http_prepare(struct hd_http *h, struct hd_settings *s, const struct hd_keeper *keeper,
                    struct hd_error *err)
{
    const struct hd_http_conf *conf = s->http;
    int serve = conf && conf->listener.address_count, code = HD_OK;

    hd_http_abort(h);
    h->keeper = keeper;
    h->prepared_settings = hd_settings_hold(s);
    if (serve)
        code = hd_http_open(h, conf, &h->prepared_sockets, err);
    if (!code && serve && !(h->engine && hd_http_engine_fits(h->engine, conf)))
        code = hd_http_engine_new(h, s, &h->prepared, err);
    if (code)
        hd_http_abort(h);
    return code;
}

/* What is not asked for any more goes. */
static void drop_sockets(struct hd_http *h, const struct hd_http_conf *conf)
{
    HD_LIST_EACH(n, &h->sockets)
    {
        struct http_socket *s = HD_LIST_ITEM(n, struct http_socket, node);

        if (!hd_http_wants(conf, &s->address))
            hd_http_close_socket(s, 1);
    }
}

static void add_sockets(struct hd_http *h)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&h->prepared_sockets))) {
        struct http_socket *s = HD_LIST_ITEM(n, struct http_socket, node);
        struct hd_error err = HD_ERROR_INIT;

        hd_list_push_back(&h->sockets, &s->node);
        if (hd_http_watch(s, &err)) {
            hd_log(HD_LOG_ERROR, "http", HD_KV("reason", err.text));
            hd_http_close_socket(s, 1);
        } else {
            hd_log(HD_LOG_INFO, "listening", HD_KV("listener", "http"), HD_KV("address", s->text));
        }
    }
}

void hd_http_commit(struct hd_http *h)
{
    struct hd_settings *s = h->prepared_settings;
    const struct hd_http_conf *conf = s ? s->http : NULL;

    if (!s)
        return;
    drop_sockets(h, conf);
    if (h->prepared || !conf || !conf->listener.address_count) {
        if (h->engine)
            hd_http_engine_retire(h->engine);
        h->engine = h->prepared;
        h->prepared = NULL;
    } else if (h->engine) {
        hd_http_engine_settings(h->engine, s);
    }
    add_sockets(h);
    hd_settings_release(s);
    h->prepared_settings = NULL;
}

/* --- end ------------------------------------------------------------------------------------------------
 */

void hd_http_leave(struct hd_http *h)
{
    struct hd_list *n;

    if (!h)
        return;
    h->left = 1;
    while ((n = hd_list_first(&h->sockets)))
        hd_http_close_socket(HD_LIST_ITEM(n, struct http_socket, node), 0);
    if (h->engine)
        hd_http_engine_retire(h->engine);
    h->engine = NULL;
}

static void on_closed(struct hd_loop_timer *t)
{
    hd_http_release(HD_CONTAINER_OF(t, struct hd_http, sweep));
}

void hd_http_stop(struct hd_http *h)
{
    struct hd_list *n;

    if (!h)
        return;
    hd_http_abort(h);
    while ((n = hd_list_first(&h->sockets)))
        hd_http_close_socket(HD_LIST_ITEM(n, struct http_socket, node), !h->left);
    h->engine = NULL;
    while ((n = hd_list_first(&h->engines)))
        hd_http_engine_end(HD_LIST_ITEM(n, struct http_engine, node));
    hd_http_streams_tell(h);
    hd_http_pages_end();
    hd_list_remove(&h->turn.node);
    h->stopped = 1;
    hd_loop_timer_close(&h->sweep, on_closed);
}
