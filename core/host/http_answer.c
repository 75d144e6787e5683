/*
 * Answers: bytes with a type, problem details, and the headers that all of them have.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "host/http_parts.h"
#include "host/render.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DETAIL_BYTES 1024
#define SMALL        4096 /* bytes of an answer that always may be given */

/* Pages load from here alone and stand in no frame; no type is guessed; nobody learns where a link was. */
static const char *const headers[][2] = {
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Content-Security-Policy",
     "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
     "form-action 'self'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

static void count(struct http_request *rq)
{
    struct hd_http *h = rq->engine->http;
    unsigned digit = rq->status / 100;

    if (digit >= 1 && digit <= 5)
        hd_metrics_add(h->rt->parts.metrics, h->counts.answers[digit], 1);
}

/* An answer that has a policy of its own keeps it: of two a browser would enforce both. */
static void add_headers(struct http_request *rq)
{
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        if (!MHD_get_response_header(rq->response, headers[i][0]))
            MHD_add_response_header(rq->response, headers[i][0], headers[i][1]);
    if (!MHD_get_response_header(rq->response, MHD_HTTP_HEADER_CACHE_CONTROL))
        MHD_add_response_header(rq->response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (rq->engine->retired)
        MHD_add_response_header(rq->response, MHD_HTTP_HEADER_CONNECTION, "close");
}

void hd_http_send(struct http_request *rq, unsigned status, struct MHD_Response *r)
{
    int suspended = rq->state == HTTP_BEGUN;

    rq->status = status;
    rq->response = r;
    rq->state = HTTP_ANSWERED;
    if (r)
        add_headers(rq);
    count(rq);
    if (!suspended)
        return; /* the callback that is on the stack sends it */
    hd_list_remove(&rq->node);
    MHD_resume_connection(rq->connection);
    hd_http_turn(rq->engine->http);
}

static struct MHD_Response *with_type(struct MHD_Response *r, const char *type)
{
    if (r)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    return r;
}

void hd_http_answer_static(struct http_request *rq, unsigned status, const char *type, const char *text)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

    hd_http_send(rq, status, with_type(r, type));
}

/* The bytes of an answer until the client has read them. */
struct held {
    struct hd_http *http;
    size_t len;
    char *bytes;
};

static void hold(struct hd_http *h, size_t len, int sign)
{
    h->answer_bytes += sign > 0 ? len : -len;
    hd_metrics_set(h->rt->parts.metrics, h->counts.answer_bytes, (int64_t)h->answer_bytes);
}

static void on_read(void *arg)
{
    struct held *k = arg;

    hold(k->http, k->len, -1);
    hd_free(k->bytes);
    hd_free(k);
}

struct MHD_Response *hd_http_response(struct hd_http *h, struct hd_strbuf *body)
{
    struct held *k = body->failed ? NULL : hd_calloc(1, sizeof(*k));
    struct MHD_Response *r = NULL;

    if (k) {
        k->http = h;
        k->len = body->len;
        k->bytes = hd_strbuf_take(body);
    }
    if (k && k->bytes)
        r = MHD_create_response_from_buffer_with_free_callback_cls(k->len, k->bytes, on_read, k);
    if (r)
        hold(h, k->len, 1);
    else if (k)
        hd_free(k->bytes);
    if (!r)
        hd_free(k);
    hd_strbuf_free(body);
    return r;
}

int hd_http_is_full(struct http_request *rq, size_t len)
{
    const struct hd_http *h = rq->engine->http;

    if (len <= SMALL || !h->answer_bytes || h->answer_bytes + len <= (size_t)rq->engine->conf->answer_memory)
        return 0;
    hd_http_problem(rq, MHD_HTTP_SERVICE_UNAVAILABLE, "too many answers have not been read yet");
    return 1;
}

void hd_http_tell_packed(struct MHD_Response *r, int may, int packed)
{
    if (r && may)
        MHD_add_response_header(r, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    if (r && packed)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
}

void hd_http_answer(struct http_request *rq, unsigned status, const char *type, struct hd_strbuf *body)
{
    int may = !body->failed && hd_http_may_pack(rq, type, body->len);
    struct hd_strbuf packed = HD_STRBUF_INIT;
    struct MHD_Response *r;
    int packs;

    if (hd_http_is_full(rq, body->len)) {
        hd_strbuf_free(body);
        return;
    }
    packs = may && hd_http_packs(rq, type, body->len) && !hd_http_pack(rq, body->data, body->len, &packed);
    r = with_type(hd_http_response(rq->engine->http, packs ? &packed : body), type);
    hd_http_tell_packed(r, may, packs);
    if (packs)
        hd_strbuf_free(body);
    hd_http_send(rq, status, r);
}

static const char *title_of(unsigned status)
{
    const char *text = MHD_get_reason_phrase_for(status);

    return text ? text : "Error";
}

/* A person, before a browser that shows JSON badly? */
static int is_for_people(const struct http_request *rq)
{
    static const char *const text[] = {"text/html", "text/plain", "text/*", NULL};
    static const char *const none[] = {NULL};
    static const char *const json[] = {"application/json", "application/problem+json", NULL};

    return hd_http_prefers(rq, text, none) && !hd_http_prefers(rq, json, none);
}

static void put_problem(struct hd_strbuf *body, unsigned status, const char *detail)
{
    json_t *j = json_pack("{s:s, s:s, s:i, s:o}", "type", "about:blank", "title", title_of(status), "status",
                          (int)status, "detail", hd_render_text(detail, strlen(detail)));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    json_decref(j);
    hd_strbuf_puts(body, text ? text : "{}");
    hd_strbuf_putc(body, '\n');
    free(text); /* jansson's */
}

void hd_http_problem(struct http_request *rq, unsigned status, const char *fmt, ...)
{
    char detail[DETAIL_BYTES];
    struct hd_strbuf body = HD_STRBUF_INIT;
    int plain = is_for_people(rq);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    if (plain)
        hd_strbuf_printf(&body, "%u %s\n\n%s\n", status, title_of(status), detail);
    else
        put_problem(&body, status, detail);
    hd_http_answer(rq, status, plain ? "text/plain; charset=utf-8" : "application/problem+json", &body);
}

void hd_http_json(struct http_request *rq, unsigned status, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    struct hd_strbuf body = HD_STRBUF_INIT;

    json_decref(j);
    if (!text) {
        hd_http_problem(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory");
        return;
    }
    hd_strbuf_puts(&body, text);
    hd_strbuf_putc(&body, '\n');
    free(text); /* jansson's */
    hd_http_answer(rq, status, "application/json", &body);
}

void hd_http_set_header(struct http_request *rq, const char *name, const char *value)
{
    if (rq->response)
        MHD_add_response_header(rq->response, name, value);
}
