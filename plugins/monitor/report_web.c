/* Reports as pages: /reports/daily.html and the like, made when they are asked for; see web.h. */
#include "web.h"

#include "report_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The service; the same for all instances of this process. */
static const struct hd_http_v1 *http;

struct page {
    struct mon *self;
    hd_http_request *request;
    enum mon_report_kind kind;
    int is_html;
    char *text;
};

/* [job] */
static int32_t build(struct mon_store *store, const struct mon_report_want *want, void *arg,
                     struct hd_error *err)
{
    struct page *p = arg;
    json_t *report = mon_report_build(store, want);

    if (!report)
        return hd_error_set(err, HD_EIO,
                            "the history could not be read, or there was no memory for the report");
    p->text = p->is_html ? mon_report_html(report) : mon_report_text(report);
    json_decref(report);
    return p->text ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for the report");
}

static void done(void *arg, int32_t code, const struct hd_error *err)
{
    struct page *p = arg;
    struct hd_http_answer a = {.size = sizeof(a)};

    a.status = code ? 503 : 200;
    a.flags = code || !p->is_html ? 0 : HD_HTTP_DOCUMENT;
    a.type = code || !p->is_html ? "text/plain; charset=utf-8" : "text/html; charset=utf-8";
    a.body.ptr = code ? err->text : p->text;
    a.body.len = strlen(a.body.ptr);
    http->answer(p->request, &a);
    free(p->text);
    free(p);
}

/* "daily.html" */
static int32_t parse(struct hd_str path, struct page *p, struct hd_error *err)
{
    for (int kind = 0; kind < MON_REPORTS; kind++) {
        const char *name = mon_report_spans[kind].name;
        size_t len = strlen(name);

        if (path.len <= len || strncasecmp(path.ptr, name, len) != 0)
            continue;
        p->kind = (enum mon_report_kind)kind;
        p->is_html = path.len == len + 5 && !memcmp(path.ptr + len, ".html", 5);
        if (p->is_html || (path.len == len + 4 && !memcmp(path.ptr + len, ".txt", 4)))
            return HD_OK;
    }
    return hd_error_set(err, HD_ENOENT,
                        "there is no such report: realtime, hourly, daily or weekly, with .html or .txt");
}

static int32_t on_request(void *arg, const struct hd_http_call *call, struct hd_error *err)
{
    struct page *p = calloc(1, sizeof(*p));
    int32_t code;

    if (!p)
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    p->self = arg;
    p->request = call->request;
    code = parse(call->path, p, err);
    if (!code)
        code = mon_report_ask(p->self, p->kind, build, done, p, err);
    if (!code)
        return HD_PENDING;
    free(p);
    return code;
}

int32_t mon_report_web_start(struct mon *self, struct hd_error *err)
{
    http = hd_host_api(self->host)->service(self->host, HD_SERVICE_HTTP);
    return http ? http->serve(self->host, "/reports/", 0, on_request, self, err) : HD_OK;
}
