/*
 * A plugin with pages over HTTP: answered at once, later from another thread, never, twice, with an error; a
 * stream; and a part whose health is what a page says.
 */
#include "skeleton.h"

#include <stdint.h>
#include <stdio.h>

struct pages {
    struct base base;
    const struct hd_http_v1 *http;
    const struct hd_health_v1 *health;
    const struct hd_jobs_v1 *jobs;
    hd_http_stream *stream;
    uint64_t opened, closed, sent, full;
};

static void answer_text(struct pages *p, hd_http_request *rq, const char *text)
{
    struct hd_http_answer a = {
        .size = sizeof(a), .type = "text/plain; charset=utf-8", .body = {text, strlen(text)}};

    p->http->answer(rq, &a);
}

/* --- later ---------------------------------------------------------------------------------------------- */

struct later {
    struct pages *p;
    hd_http_request *rq;
};

static int32_t answer_later(void *arg)
{
    struct later *l = arg;

    answer_text(l->p, l->rq, "later\n");
    return HD_OK;
}

static void done(void *arg, int32_t code)
{
    (void)code;
    free(arg);
}

static int32_t begin_later(struct pages *p, hd_http_request *rq)
{
    struct later *l = malloc(sizeof(*l));

    if (!l)
        return HD_ENOMEM;
    *l = (struct later){p, rq};
    if (p->jobs->run(p->base.host, "page", answer_later, done, l) > 0)
        return HD_PENDING;
    free(l);
    return HD_EFULL;
}

/* --- streams -------------------------------------------------------------------------------------------- */

static void on_closed(void *arg)
{
    struct pages *p = arg;

    p->closed++;
    p->stream = NULL;
}

static int32_t open_stream(struct pages *p, hd_http_request *rq)
{
    hd_http_stream *s = p->http->stream(rq, on_closed, p);

    if (s) {
        p->opened++;
        p->stream = s;
        p->http->send(s, "hello", (struct hd_str){"one\ntwo", 7});
    }
    return HD_OK;
}

/* Sends as many kilobytes as the page was asked for. */
static int32_t send_much(struct pages *p, const struct hd_http_call *call)
{
    static const char kilobyte[1024] = {'x'};
    char text[100];
    long n = call->parameter_count ? atol(call->parameters[0].value.ptr) : 1;

    for (long i = 0; i < n && p->stream; i++) {
        if (p->http->send(p->stream, NULL, (struct hd_str){kilobyte, sizeof(kilobyte)}))
            p->full++;
        else
            p->sent++;
    }
    snprintf(text, sizeof(text), "opened %llu closed %llu sent %llu full %llu\n",
             (unsigned long long)p->opened, (unsigned long long)p->closed, (unsigned long long)p->sent,
             (unsigned long long)p->full);
    answer_text(p, call->request, text);
    return HD_OK;
}

static int32_t answer_large(struct pages *p, const struct hd_http_call *call)
{
    size_t len = call->parameter_count ? (size_t)atol(call->parameters[0].value.ptr) : 0;
    struct hd_http_answer a = {.size = sizeof(a), .type = "text/plain", .body = {calloc(1, len + 1), len}};

    if (!a.body.ptr)
        return HD_ENOMEM;
    p->http->answer(call->request, &a);
    free((void *)(uintptr_t)a.body.ptr);
    return HD_OK;
}

/* --- pages ---------------------------------------------------------------------------------------------- */

static int32_t index_page(struct pages *p, hd_http_request *rq)
{
    static const char html[] = "<!doctype html><title>pages</title>\n";
    struct hd_http_answer a = {.size = sizeof(a),
                               .flags = HD_HTTP_STATIC,
                               .type = "text/html; charset=utf-8",
                               .etag = "v1",
                               .body = {html, sizeof(html) - 1}};

    p->http->answer(rq, &a);
    return HD_OK;
}

static int32_t set_health(struct pages *p, const struct hd_http_call *call)
{
    uint32_t well = call->parameter_count && call->parameters[0].value.ptr[0] == 'w';

    p->health->set(p->base.host, "heart", well ? "beating" : "still", well, well ? NULL : "it was asked to");
    answer_text(p, call->request, "ok\n");
    return HD_OK;
}

static int32_t on_page(void *arg, const struct hd_http_call *call, struct hd_error *err)
{
    struct pages *p = arg;
    const char *path = call->path.ptr;

    if (call->is_post) {
        answer_text(p, call->request, call->body.ptr);
        return HD_OK;
    }
    if (!*path)
        return index_page(p, call->request);
    if (!strcmp(path, "later"))
        return begin_later(p, call->request);
    if (!strcmp(path, "never"))
        return HD_PENDING;
    if (!strcmp(path, "twice"))
        answer_text(p, call->request, "once\n");
    if (!strcmp(path, "twice")) {
        answer_text(p, call->request, "twice\n");
        return HD_OK;
    }
    if (!strcmp(path, "nothing"))
        return HD_OK;
    if (!strcmp(path, "stream"))
        return open_stream(p, call->request);
    if (!strcmp(path, "send"))
        return send_much(p, call);
    if (!strcmp(path, "end") && p->stream)
        p->http->end(p->stream);
    if (!strcmp(path, "end"))
        return send_much(p, call);
    if (!strcmp(path, "large"))
        return answer_large(p, call);
    if (!strcmp(path, "health"))
        return set_health(p, call);
    snprintf(err->text, sizeof(err->text), "there is no page %.100s", path);
    return err->code = HD_ENOENT;
}

/* --- life ----------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct pages), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct pages *p = self;
    const struct hd_host_v1 *api = hd_host_api(p->base.host);
    int32_t code = get_services(&p->base);

    (void)conf;
    p->http = api->service(p->base.host, HD_SERVICE_HTTP);
    p->health = api->service(p->base.host, HD_SERVICE_HEALTH);
    p->jobs = api->service(p->base.host, HD_SERVICE_JOBS);
    if (code || !p->http || !p->health || !p->jobs)
        return HD_EVERSION;
    code = p->http->serve(p->base.host, "/pages/", 0, on_page, p, err);
    if (!code)
        code = p->http->serve(p->base.host, "/pages/echo", HD_HTTP_POST, on_page, p, err);
    if (!code)
        code = p->http->serve(p->base.host, "/", HD_HTTP_OPEN, on_page, p, err);
    if (!code)
        code = p->http->serve(p->base.host, "/pages/public/", HD_HTTP_OPEN | HD_HTTP_POST, on_page, p, err);
    if (!code && p->http->serve(p->base.host, "/pages/", 0, on_page, p, err) != HD_EEXIST)
        code = HD_EFAIL;
    if (!code && p->http->serve(p->base.host, "/api/v1/pools", 0, on_page, p, err) != HD_EINVAL)
        code = HD_EFAIL;
    return code;
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    TEST_PLUGIN_QUIET,
    .id = "pages",
    .summary = "answers over HTTP",
    .create = create,
    .start = start,
    .capability = no_capability,
};
