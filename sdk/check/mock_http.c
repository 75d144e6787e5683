/*
 * The small host's HTTP and health: pages are taken and never asked for, health is heard and forgotten.
 */
#include "mock_parts.h"

static int32_t serve(hd_host *host, const char *path, uint32_t flags,
                     int32_t (*fn)(void *arg, const struct hd_http_call *call, struct hd_error *err),
                     void *arg, struct hd_error *err)
{
    (void)host;
    (void)flags;
    (void)arg;
    (void)err;
    return path && path[0] == '/' && fn ? HD_OK : HD_EINVAL;
}

static void answer(hd_http_request *request, const struct hd_http_answer *a)
{
    (void)request;
    (void)a;
}

static hd_http_stream *stream(hd_http_request *request, void (*closed)(void *arg), void *arg)
{
    (void)request;
    (void)closed;
    (void)arg;
    return NULL;
}

static int32_t send_event(hd_http_stream *s, const char *event, struct hd_str data)
{
    (void)s;
    (void)event;
    (void)data;
    return HD_ECANCELLED;
}

static void end_stream(hd_http_stream *s)
{
    (void)s;
}

static int32_t set(hd_host *host, const char *part, const char *state, uint32_t well, const char *reason)
{
    (void)host;
    (void)well;
    (void)reason;
    return part && state ? HD_OK : HD_EINVAL;
}

static void drop(hd_host *host, const char *part)
{
    (void)host;
    (void)part;
}

const struct hd_http_v1 mock_http = {.size = sizeof(mock_http),
                                     .serve = serve,
                                     .answer = answer,
                                     .stream = stream,
                                     .send = send_event,
                                     .end = end_stream};

const struct hd_health_v1 mock_health = {.size = sizeof(mock_health), .set = set, .drop = drop};
