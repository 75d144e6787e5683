/*
 * Requests: gathered, let in or refused, routed, suspended while somebody works on them, answered.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "host/http_api.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/commands.h"

#include <string.h>

static const struct {
    const char *path;
    http_work *work;
} routes[] = {
    {"/livez", hd_http_livez},
    {"/readyz", hd_http_readyz},
    {"/health", hd_http_health},
    {"/metrics", hd_http_metrics},
    {HD_HTTP_API "openapi.json", hd_http_openapi},
};

const char *hd_http_header(const struct http_request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->connection, MHD_HEADER_KIND, name);
}

/* Bytes that are taken from a client whose body is too long before it is cut off. */
static int gather(struct http_request *rq, const char *data, size_t len)
{
    size_t most = (size_t)rq->engine->conf->max_request_size;

    if (rq->body.len + len > most || rq->body.failed)
        rq->too_large = 1;
    else
        hd_strbuf_add(&rq->body, data, len);
    return rq->too_large ? -1 : 0;
}

/* The head is there. */
static struct http_request *begin(struct http_engine *e, struct MHD_Connection *c, const char *url,
                                  const char *method)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_request *rq = hd_calloc(1, sizeof(*rq));

    if (!rq)
        return NULL;
    hd_list_init(&rq->node);
    rq->engine = e;
    rq->conn = info ? info->socket_context : NULL;
    rq->connection = c;
    rq->path = url;
    rq->method = method;
    rq->is_post = !strcmp(method, MHD_HTTP_METHOD_POST);
    return rq;
}

/* Nobody else may be asked inside of libmicrohttpd. */
static void suspend(struct http_request *rq, http_work *work)
{
    struct hd_http *h = rq->engine->http;

    rq->work = work;
    rq->state = HTTP_QUEUED;
    hd_list_push_back(&h->queue, &rq->node);
    MHD_suspend_connection(rq->connection);
    hd_http_turn(h);
}

static void refuse_post(struct http_request *rq)
{
    hd_http_problem(rq, MHD_HTTP_METHOD_NOT_ALLOWED, "%.200s can only be read", rq->path);
    hd_http_set_header(rq, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
}

const char *hd_http_methods(const struct http_request *rq)
{
    const struct http_page *page;

    for (size_t i = 0; i < HD_ARRAY_LEN(routes); i++)
        if (!strcmp(routes[i].path, rq->path))
            return "GET, HEAD";
    if (!strncmp(rq->path, HD_HTTP_API, strlen(HD_HTTP_API)))
        return "GET, HEAD, POST";
    page = hd_http_page_find(rq->engine->http, rq->path);
    return page && hd_http_page_posts(page) ? "GET, HEAD, POST" : "GET, HEAD";
}

static void route(struct http_request *rq)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(routes); i++) {
        if (strcmp(routes[i].path, rq->path))
            continue;
        if (rq->is_post)
            refuse_post(rq);
        else
            routes[i].work(rq);
        return;
    }
    if (!strncmp(rq->path, HD_HTTP_API, strlen(HD_HTTP_API))) {
        suspend(rq, hd_http_api);
        return;
    }
    rq->page = hd_http_page_find(rq->engine->http, rq->path);
    if (rq->page && rq->is_post && !hd_http_page_posts(rq->page)) {
        refuse_post(rq);
        return;
    }
    if (rq->page) {
        suspend(rq, hd_http_page);
        return;
    }
    hd_http_problem(rq, MHD_HTTP_NOT_FOUND, "there is nothing at %.200s", rq->path);
}

static enum MHD_Result pass_on(struct http_request *rq)
{
    enum MHD_Result done = MHD_NO;

    rq->state = HTTP_SENT;
    if (rq->response) {
        done = MHD_queue_response(rq->connection, rq->status, rq->response);
        MHD_destroy_response(rq->response);
        rq->response = NULL;
    }
    return done;
}

/* All of it has arrived. */
static enum MHD_Result complete(struct http_request *rq)
{
    if (rq->state == HTTP_ARRIVING) {
        rq->conn->deadline_ns = 0;
        if (rq->too_large)
            hd_http_problem(rq, MHD_HTTP_CONTENT_TOO_LARGE, "the body is longer than %lld bytes",
                            (long long)rq->engine->conf->max_request_size);
        else
            route(rq);
    }
    return rq->state == HTTP_ANSWERED ? pass_on(rq) : MHD_YES;
}

enum MHD_Result hd_http_on_request(void *engine, struct MHD_Connection *c, const char *url,
                                   const char *method, const char *version, const char *data, size_t *size,
                                   void **request)
{
    struct http_request *rq = *request;

    (void)version;
    if (!rq) {
        *request = rq = begin(engine, c, url, method);
        if (!rq || !rq->conn)
            return MHD_NO;
        return hd_http_admit(rq) ? MHD_YES : pass_on(rq);
    }
    if (!*size)
        return complete(rq);
    if (gather(rq, data, *size))
        rq->conn->deadline_ns = 1; /* whoever sends on is cut off with the next sweep */
    *size = 0;
    return MHD_YES;
}

/* The next request may take its time to begin, and then to arrive. */
static void expect_next(struct http_conn *conn, const struct hd_http_conf *conf)
{
    conn->deadline_ns = hd_now_ns() + (uint64_t)(conf->idle_timeout + conf->request_timeout) * 1000000u;
}

void hd_http_on_completed(void *engine, struct MHD_Connection *c, void **request,
                          enum MHD_RequestTerminationCode why)
{
    struct http_request *rq = *request;
    struct http_engine *e = engine;

    (void)c;
    (void)why;
    if (!rq)
        return;
    hd_list_remove(&rq->node);
    if (rq->call)
        hd_command_forget(rq->call);
    hd_http_page_forget(rq);
    if (rq->response)
        MHD_destroy_response(rq->response);
    if (rq->conn)
        expect_next(rq->conn, e->conf);
    hd_strbuf_free(&rq->body);
    hd_free(rq);
    *request = NULL;
}

static void cancel_list(struct hd_list *list, struct http_engine *e)
{
    HD_LIST_EACH(n, list)
    {
        struct http_request *rq = HD_LIST_ITEM(n, struct http_request, node);

        if (rq->engine != e)
            continue;
        if (rq->call)
            hd_command_forget(rq->call);
        rq->call = NULL;
        hd_http_page_forget(rq);
        rq->state = HTTP_BEGUN;
        hd_http_problem(rq, MHD_HTTP_SERVICE_UNAVAILABLE, "the host stops");
    }
}

void hd_http_cancel(struct http_engine *e)
{
    cancel_list(&e->http->queue, e);
    cancel_list(&e->http->begun, e);
}
