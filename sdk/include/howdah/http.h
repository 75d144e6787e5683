/*
 * Pages over HTTP: what a plugin answers for at the host's own HTTP server, at once or later, and streams of
 * events for pages that show what happens. Who may ask is the host's affair: a request that arrives here has
 * been let in. Service "howdah.http/1".
 */
#ifndef HOWDAH_HTTP_H
#define HOWDAH_HTTP_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_HTTP "howdah.http/1"

/* Objects of the host. */
typedef struct hd_http_request hd_http_request; /* a request that waits for its answer */
typedef struct hd_http_stream hd_http_stream;   /* an answer that goes on */

/* Flags of a page. Since ABI 0.1. */
#define HD_HTTP_POST 1u /* takes POST as well, with a body of type application/json */
/* Everybody who reaches the server may read it, without the host's token: files that tell nothing of this
 * host, such as those of a page that asks for the token. */
#define HD_HTTP_OPEN 2u

/* One parameter of a query; `?live` has an empty value. Since ABI 0.1. */
struct hd_http_parameter {
    struct hd_str name, value;
};

/* A request, all of it there; borrowed for the call. Since ABI 0.1. */
struct hd_http_call {
    uint32_t size;
    uint32_t is_post;   /* else it is a GET or HEAD */
    struct hd_str path; /* behind the page's own path, decoded: "app.js" */
    struct hd_str body; /* of a POST */
    uint32_t parameter_count;
    uint32_t reserved;
    const struct hd_http_parameter *parameters;
    hd_http_request *request;
};

/* The body stays where it is as long as the library is mapped, which is for ever; else it is copied. Since
 * ABI 0.1. */
#define HD_HTTP_STATIC 1u
/* A document that stands alone: styles and pictures are within it, scripts do not run. A page without this
 * flag loads everything from files of its own and has neither scripts nor styles in its HTML. */
#define HD_HTTP_DOCUMENT 2u

/* An answer. The caller zeroes it and sets `size`. Since ABI 0.1. */
struct hd_http_answer {
    uint32_t size;
    uint32_t status;  /* 200 … 599; 0: 200 */
    uint32_t flags;   /* HD_HTTP_STATIC, HD_HTTP_DOCUMENT */
    uint32_t max_age; /* seconds that a browser may keep it; 0: it asks each time */
    const char *type; /* NUL-terminated: "text/html; charset=utf-8" */
    const char
        *etag; /* NUL-terminated, without quotes, or NULL: who has this version gets 304 without a body */
    struct hd_str body;
};

/* Service "howdah.http/1". Since ABI 0.1. */
struct hd_http_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Answers for `path`: "/" and "/charts/" stand for all that is below them and has no longer page of its
     * own,
     * "/report.html" for itself alone. /livez, /readyz, /health, /metrics and all of /api/ are the host's. fn
     * answers the request and returns HD_OK; or returns an error, which becomes the answer; or HD_PENDING,
     * and the answer comes within a minute. Requests come one at a time [control]. Removed when the plugin
     * stops. HD_EEXIST: the path is taken; HD_EFULL: there are too many. [control] */
    int32_t (*serve)(hd_host *host, const char *path, uint32_t flags,
                     int32_t (*fn)(void *arg, const struct hd_http_call *call, struct hd_error *err),
                     void *arg, struct hd_error *err);
    /* Answers a request, exactly once; everything is copied, but a static body. [any] */
    void (*answer)(hd_http_request *request, const struct hd_http_answer *answer);
    /* Answers a request with a stream of server-sent events instead, from within fn, which then returns
     * HD_OK. closed(arg) says that it has ended, whoever ended it, exactly once; the stream is gone then.
     * NULL: there are too many already, which has been answered. [control] */
    hd_http_stream *(*stream)(hd_http_request *request, void (*closed)(void *arg), void *arg);
    /* Sends one event; `event` may be NULL. Line feeds in `data` are fine. HD_EFULL: the reader is slow and
     * 256 KiB wait already; this event is dropped. [control] */
    int32_t (*send)(hd_http_stream *stream, const char *event, struct hd_str data);
    /* Ends it when what waits has been sent. [control] */
    void (*end)(hd_http_stream *stream);
};

#ifdef __cplusplus
}
#endif
#endif
