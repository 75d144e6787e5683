/*
 * Answers: bytes with a type, problem details, and the headers that all of them have.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DETAIL_BYTES 1024

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

static void add_headers(struct http_request *rq)
{
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
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

void hd_http_answer(struct http_request *rq, unsigned status, const char *type, struct hd_strbuf *body)
{
    size_t len = body->len;
    char *bytes = body->failed ? NULL : hd_strbuf_take(body);
    struct MHD_Response *r =
        bytes ? MHD_create_response_from_buffer_with_free_callback(len, bytes, hd_free) : NULL;

    if (!r)
        hd_free(bytes);
    hd_strbuf_free(body);
    hd_http_send(rq, status, with_type(r, type));
}

static const char *title_of(unsigned status)
{
    const char *text = MHD_get_reason_phrase_for(status);

    return text ? text : "Error";
}

void hd_http_problem(struct http_request *rq, unsigned status, const char *fmt, ...)
{
    char detail[DETAIL_BYTES];
    struct hd_strbuf body = HD_STRBUF_INIT;
    json_t *j;
    char *text;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    j = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", title_of(status), "status",
                  (int)status, "detail", detail);
    if (!j) /* what the detail quotes is no UTF-8 */
        j = json_pack("{s:s, s:s, s:i}", "type", "about:blank", "title", title_of(status), "status",
                      (int)status);
    text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    hd_strbuf_puts(&body, text ? text : "{}");
    hd_strbuf_putc(&body, '\n');
    free(text); /* jansson's */
    hd_http_answer(rq, status, "application/problem+json", &body);
}

void hd_http_set_header(struct http_request *rq, const char *name, const char *value)
{
    if (rq->response)
        MHD_add_response_header(rq->response, name, value);
}
