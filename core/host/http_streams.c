/*
 * Server-sent events: answers that go on. What a plugin sends waits in a bounded buffer until libmicrohttpd
 * can write it; while nothing waits the connection is suspended. Whoever has gone shows when something is
 * written, so that something is, from time to time.
 */
#include <howdah/http.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/units.h"
#include "host/http_parts.h"
#include "host/runtime.h"

#include <string.h>

#define WAITING_BYTES (256 * 1024)
#define BLOCK_BYTES   8192
#define BEAT_NS       15000000000u

struct hd_http_stream {
    struct hd_list node; /* in hd_http.streams; in hd_http.ended once the connection is done with it */
    struct http_engine *engine;
    struct MHD_Connection *connection;
    hd_host *owner;
    void (*closed)(void *arg);
    void *arg;
    struct hd_strbuf waiting;
    uint64_t sent_ns; /* when something was sent last */
    int suspended;
    int ending; /* nothing more will be sent */
};

/* --- libmicrohttpd's side -------------------------------------------------------------------------------
 */

static ssize_t on_read(void *arg, uint64_t position, char *out, size_t most)
{
    struct hd_http_stream *s = arg;
    size_t n = s->waiting.len < most ? s->waiting.len : most;

    (void)position;
    if (!n && s->ending)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!n) {
        s->suspended = 1;
        MHD_suspend_connection(s->connection);
        return 0;
    }
    memcpy(out, s->waiting.data, n);
    memmove(s->waiting.data, s->waiting.data + n, s->waiting.len - n);
    s->waiting.len -= n;
    return (ssize_t)n;
}

/* The connection is done with it. The plugin is told outside of libmicrohttpd. */
static void on_freed(void *arg)
{
    struct hd_http_stream *s = arg;
    struct hd_http *h = s->engine->http;

    hd_list_remove(&s->node);
    hd_list_push_back(&h->ended, &s->node);
    s->ending = 1;
    s->suspended = 0;
    s->connection = NULL;
    h->stream_count--;
    hd_http_turn(h);
}

static void wake(struct hd_http_stream *s)
{
    if (!s->suspended)
        return;
    s->suspended = 0;
    MHD_resume_connection(s->connection);
    hd_http_turn(s->engine->http);
}

/* --- the plugin's side ----------------------------------------------------------------------------------
 */

static struct MHD_Response *make_response(struct hd_http_stream *s)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_read, s, on_freed);

    if (!r)
        return NULL;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(r, "X-Accel-Buffering", "no"); /* for proxies that would gather it */
    return r;
}

struct hd_http_stream *hd_http_stream_open(struct hd_http_request *request, void (*closed)(void *arg),
                                           void *arg)
{
    hd_host *owner;
    struct http_request *rq = hd_http_request_take(request, &owner);
    struct hd_http *h = rq ? rq->engine->http : NULL;
    struct hd_http_stream *s;
    struct MHD_Response *r;

    if (!rq)
        return NULL;
    /* Half of the connections are left for everybody else. */
    if ((int64_t)h->stream_count * 2 >= rq->engine->conf->max_connections || rq->engine->retired) {
        hd_http_problem(rq, MHD_HTTP_SERVICE_UNAVAILABLE, "too many streams are open");
        return NULL;
    }
    s = hd_calloc(1, sizeof(*s));
    r = s ? make_response(s) : NULL;
    if (!r) {
        hd_free(s);
        hd_http_problem(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory");
        return NULL;
    }
    s->engine = rq->engine;
    s->connection = rq->connection;
    s->owner = owner;
    s->closed = closed;
    s->arg = arg;
    s->sent_ns = hd_now_ns();
    hd_strbuf_puts(&s->waiting, ": howdah\n\n"); /* the head goes out with it */
    hd_list_push_back(&h->streams, &s->node);
    h->stream_count++;
    hd_http_send(rq, MHD_HTTP_OK, r);
    return s;
}

/* Each line of the data is a field of its own. */
static void put_event(struct hd_strbuf *out, const char *event, struct hd_str data)
{
    const char *at = data.ptr, *end = data.ptr + data.len;

    if (event)
        hd_strbuf_printf(out, "event: %s\n", event);
    do {
        const char *line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;

        if (!line)
            line = end;
        hd_strbuf_puts(out, "data: ");
        if (line > at)
            hd_strbuf_add(out, at, (size_t)(line - at));
        hd_strbuf_putc(out, '\n');
        at = line + 1;
    } while (at <= end && data.len);
    hd_strbuf_putc(out, '\n');
}

int32_t hd_http_stream_send(struct hd_http_stream *s, const char *event, struct hd_str data)
{
    size_t before = s->waiting.len;

    if (s->ending)
        return HD_ECANCELLED;
    if (before + data.len > WAITING_BYTES)
        return HD_EFULL;
    put_event(&s->waiting, event, data);
    if (s->waiting.failed) {
        hd_strbuf_free(&s->waiting);
        s->ending = 1; /* what is on its way may be half an event */
    }
    s->sent_ns = hd_now_ns();
    wake(s);
    return s->ending ? HD_ENOMEM : HD_OK;
}

void hd_http_stream_end(struct hd_http_stream *s)
{
    s->ending = 1;
    wake(s);
}

/* --- the host's side ------------------------------------------------------------------------------------
 */

void hd_http_streams_end(struct hd_http *h, const hd_host *owner, const struct http_engine *e)
{
    HD_LIST_EACH(n, &h->streams)
    {
        struct hd_http_stream *s = HD_LIST_ITEM(n, struct hd_http_stream, node);

        if ((owner && s->owner != owner) || (e && s->engine != e))
            continue;
        hd_http_stream_end(s);
        if (!owner)
            continue;
        if (s->closed)
            s->closed(s->arg); /* the plugin goes before the connection does */
        s->closed = NULL;
    }
}

void hd_http_streams_tell(struct hd_http *h)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&h->ended))) {
        struct hd_http_stream *s = HD_LIST_ITEM(n, struct hd_http_stream, node);

        if (s->closed)
            s->closed(s->arg);
        hd_strbuf_free(&s->waiting);
        hd_free(s);
    }
}

void hd_http_streams_sweep(struct hd_http *h, uint64_t now)
{
    HD_LIST_EACH(n, &h->streams)
    {
        struct hd_http_stream *s = HD_LIST_ITEM(n, struct hd_http_stream, node);

        if (now - s->sent_ns < BEAT_NS || !s->suspended)
            continue;
        hd_strbuf_puts(&s->waiting, ":\n\n");
        s->sent_ns = now;
        wake(s);
    }
}
