/*
 * Pages of plugins: "howdah.http/1". Those of a plugin that has stopped are remembered, so that whoever asks
 * for one hears that.
 *
 * What a plugin has of a request is an object of its own, which lives until the plugin has answered or has
 * stopped, whatever becomes of the request. All that a plugin may still answer stand in one process-wide
 * list, so that an answer that comes twice or too late is recognised by the list and dropped.
 */
#include <howdah/http.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/http_api.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/owners.h"
#include "plug/services.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define PAGES_MAX      256
#define PLUGIN_MOST    63
#define PATH_MOST      200
#define PARAMETERS_MAX 64
#define ANSWER_NS      60000000000u
#define TYPE_BYTES     120
#define ETAG_BYTES     80

#define DOCUMENT_POLICY                                                                                      \
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "    \
    "frame-ancestors 'none'; sandbox"

struct http_page {
    struct hd_list node;
    hd_host *owner;               /* NULL: the plugin has stopped */
    char plugin[PLUGIN_MOST + 1]; /* its id */
    char path[PATH_MOST + 1];
    size_t len;
    uint32_t flags;
    int32_t (*fn)(void *arg, const struct hd_http_call *call, struct hd_error *err);
    void *arg;
};

struct hd_http_request {
    struct hd_list live;
    struct hd_post post;
    hd_host *owner;
    struct http_request *rq; /* NULL: it is over. [control] */
    uint64_t deadline_ns;
    unsigned status;
    uint32_t flags, max_age;
    char type[TYPE_BYTES], etag[ETAG_BYTES];
    struct hd_strbuf body;
    struct hd_str stays; /* a static body */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards `live` */
static struct hd_list live = {&live, &live};
static struct hd_http *served;

/* --- the list -------------------------------------------------------------------------------------------
 */

/* Takes it out of the list; 0: it is not there (any more), and the pointer may be wild. */
static int take(const struct hd_http_request *r)
{
    int found = 0;

    pthread_mutex_lock(&lock);
    HD_LIST_EACH(n, &live)
    {
        if (n != &r->live)
            continue;
        hd_list_remove(n);
        found = 1;
        break;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void add(struct hd_http_request *r)
{
    pthread_mutex_lock(&lock);
    hd_list_push_back(&live, &r->live);
    pthread_mutex_unlock(&lock);
}

static void free_request(struct hd_http_request *r)
{
    if (r->rq)
        r->rq->given = NULL;
    hd_strbuf_free(&r->body);
    hd_free(r);
}

void hd_http_page_forget(struct http_request *rq)
{
    if (rq->given)
        rq->given->rq = NULL;
    rq->given = NULL;
}

struct http_request *hd_http_request_take(struct hd_http_request *r, hd_host **owner)
{
    struct http_request *rq;

    if (!take(r))
        return NULL;
    rq = r->rq;
    *owner = r->owner;
    free_request(r);
    return rq;
}

/* --- answering ------------------------------------------------------------------------------------------
 */

static void keep_text(char *out, size_t cap, const char *text)
{
    size_t n = 0;

    /* Header values: nothing that could begin another header. */
    for (; text && text[n] >= ' ' && text[n] <= '~' && n + 1 < cap; n++)
        out[n] = text[n];
    out[n] = 0;
}

/* The version of what the client gets, quoted: the same page compressed is another one. */
static void quote_version(const struct hd_http_request *given, int packed, char out[ETAG_BYTES + 16])
{
    snprintf(out, ETAG_BYTES + 16, "\"%s%s\"", given->etag, packed ? "-gzip" : "");
}

/* Does the client have it? What was posted, and what is no page, it is told in any case. */
static int has_version(const struct hd_http_request *given, int packed)
{
    char quoted[ETAG_BYTES + 16];

    if (!given->etag[0] || given->rq->is_post || given->status / 100 != 2)
        return 0;
    quote_version(given, packed, quoted);
    return hd_http_has_version(given->rq, quoted);
}

static void add_headers(struct MHD_Response *r, const struct hd_http_request *given, int packed)
{
    char text[ETAG_BYTES + 48];

    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, given->type);
    if (given->flags & HD_HTTP_DOCUMENT)
        MHD_add_response_header(r, "Content-Security-Policy", DOCUMENT_POLICY);
    if (given->etag[0]) {
        quote_version(given, packed, text);
        MHD_add_response_header(r, MHD_HTTP_HEADER_ETAG, text);
    }
    snprintf(text, sizeof(text), "private, max-age=%u", given->max_age);
    if (given->max_age || given->etag[0])
        MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, given->max_age ? text : "no-cache");
}

/* The body, compressed where `packs` asks for that; it says whether it is. */
static struct MHD_Response *body_of(struct hd_http_request *given, int *packs)
{
    struct hd_http *h = given->rq->engine->http;
    struct hd_strbuf packed = HD_STRBUF_INIT;
    int stays = given->flags & HD_HTTP_STATIC;

    *packs = *packs && !hd_http_pack(given->rq, stays ? given->stays.ptr : given->body.data,
                                     stays ? given->stays.len : given->body.len, &packed);
    if (*packs)
        return hd_http_response(h, &packed);
    if (!stays)
        return hd_http_response(h, &given->body);
    return MHD_create_response_from_buffer(given->stays.len, (void *)(uintptr_t)given->stays.ptr,
                                           MHD_RESPMEM_PERSISTENT);
}

static void answer_request(struct hd_http_request *given)
{
    struct http_request *rq = given->rq;
    size_t len = given->flags & HD_HTTP_STATIC ? given->stays.len : given->body.len;
    int may = hd_http_may_pack(rq, given->type, len);
    int packs = may && hd_http_packs(rq, given->type, len);
    int same = has_version(given, packs);
    struct MHD_Response *r;

    if (given->body.failed) {
        hd_http_problem(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory for the answer");
        return;
    }
    if (!same && hd_http_is_full(rq, given->body.len))
        return;
    r = same ? MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT)
             : body_of(given, &packs);
    hd_http_tell_packed(r, may, packs && !same);
    if (r)
        add_headers(r, given, packs);
    hd_http_send(rq, same ? MHD_HTTP_NOT_MODIFIED : given->status, r);
}

static void on_answered(struct hd_post *post)
{
    struct hd_http_request *given = HD_CONTAINER_OF(post, struct hd_http_request, post);

    if (given->rq)
        answer_request(given);
    free_request(given);
}

static void service_answer(hd_http_request *request, const struct hd_http_answer *answer)
{
    struct hd_http_answer a = {.size = sizeof(a)};

    memcpy(&a, answer, answer->size < sizeof(a) ? answer->size : sizeof(a));
    if (!take(request)) {
        hd_log(HD_LOG_WARNING, "a request over HTTP was answered twice or too late");
        return;
    }
    request->status = a.status >= 200 && a.status <= 599 ? a.status : MHD_HTTP_OK;
    request->flags = a.flags;
    request->max_age = a.max_age;
    keep_text(request->type, sizeof(request->type), a.type ? a.type : "application/octet-stream");
    keep_text(request->etag, sizeof(request->etag), a.etag);
    if (a.flags & HD_HTTP_STATIC)
        request->stays = a.body;
    else
        hd_strbuf_add(&request->body, a.body.len ? a.body.ptr : "", a.body.len);
    request->post.fn = on_answered;
    hd_loop_post(served->loop, &request->post);
}

/* What the host says in the plugin's stead. */
static void refuse(struct hd_http_request *given, int code, const char *why)
{
    if (given->rq)
        hd_http_problem(given->rq, hd_http_status_of(code), "%s", why);
    free_request(given);
}

void hd_http_pages_sweep(struct hd_http *h, uint64_t now)
{
    HD_LIST_EACH(n, &h->begun)
    {
        struct http_request *rq = HD_LIST_ITEM(n, struct http_request, node);
        struct hd_http_request *given = rq->given;

        if (!given || now < given->deadline_ns)
            continue;
        hd_host_api(given->owner)
            ->failed(given->owner, "a request over HTTP was not answered within a minute");
        hd_http_page_forget(rq); /* the plugin still has its object */
        hd_http_problem(rq, MHD_HTTP_GATEWAY_TIMEOUT, "the plugin %s did not answer",
                        hd_host_id(given->owner));
    }
}

/* --- asking ---------------------------------------------------------------------------------------------
 */

struct gathered {
    struct hd_http_parameter list[PARAMETERS_MAX];
    uint32_t count;
};

static enum MHD_Result on_parameter(void *arg, enum MHD_ValueKind kind, const char *key, size_t key_len,
                                    const char *value, size_t len)
{
    struct gathered *g = arg;

    (void)kind;
    if (g->count == PARAMETERS_MAX)
        return MHD_NO;
    g->list[g->count++] = (struct hd_http_parameter){{key, key_len}, {value ? value : "", value ? len : 0}};
    return MHD_YES;
}

static void ask(struct hd_http_request *given, const struct http_page *page)
{
    struct http_request *rq = given->rq;
    struct gathered g = {.count = 0};
    const char *rest = rq->path + page->len;
    struct hd_http_call call = {.size = sizeof(call),
                                .is_post = (uint32_t)rq->is_post,
                                .path = {rest, strlen(rest)},
                                .body = {hd_strbuf_str(&rq->body), rq->body.len},
                                .parameters = g.list,
                                .request = given};
    struct hd_error err = HD_ERROR_INIT;
    int32_t code;

    MHD_get_connection_values_n(rq->connection, MHD_GET_ARGUMENT_KIND, on_parameter, &g);
    call.parameter_count = g.count;
    code = page->fn(page->arg, &call, &err);
    if (code == HD_PENDING || !take(given))
        return; /* it has been answered, or will be */
    if (code == HD_OK) {
        hd_host_api(given->owner)->failed(given->owner, "a request over HTTP was not answered");
        code = HD_EFAIL;
    }
    refuse(given, code, err.text[0] ? err.text : hd_code_name(code));
}

/* What everybody may read says nothing of the host, where others need a token. */
static int may_say_why(const struct http_request *rq, const struct http_page *page)
{
    return !(page->flags & HD_HTTP_OPEN) || !rq->engine->conf->token;
}

void hd_http_page(struct http_request *rq)
{
    /* The page may have gone since. */
    const struct http_page *page = hd_http_page_find(rq->engine->http, rq->path);
    struct hd_http_request *given;

    if (page && hd_http_is_down(rq, page->plugin, may_say_why(rq, page)))
        return;
    if (page && !page->owner)
        page = NULL;
    given = page ? hd_calloc(1, sizeof(*given)) : NULL;
    if (!given) {
        hd_http_problem(rq, page ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_NOT_FOUND,
                        page ? "no memory" : "there is nothing here any more");
        return;
    }
    given->owner = page->owner;
    given->rq = rq;
    given->deadline_ns = hd_now_ns() + ANSWER_NS;
    rq->given = given;
    add(given);
    ask(given, page);
}

/* --- pages ----------------------------------------------------------------------------------------------
 */

const struct http_page *hd_http_page_find(const struct hd_http *h, const char *path)
{
    const struct http_page *best = NULL;

    HD_LIST_EACH(n, &h->pages)
    {
        const struct http_page *p = HD_LIST_ITEM(n, struct http_page, node);
        int folder = p->path[p->len - 1] == '/';

        if (folder ? strncmp(path, p->path, p->len) : strcmp(path, p->path))
            continue;
        if (!best || p->len > best->len)
            best = p;
    }
    return best;
}

int hd_http_page_posts(const struct http_page *p)
{
    return !!(p->flags & HD_HTTP_POST);
}

static int is_ours(const char *path)
{
    static const char *const own[] = {"/livez", "/readyz", "/health", "/metrics"};

    for (size_t i = 0; i < HD_ARRAY_LEN(own); i++)
        if (!strcmp(path, own[i]))
            return 1;
    return !strncmp(path, "/api/", 5) || !strcmp(path, "/api");
}

/* "/" stands for all that has no page of its own, but never for what is the host's. */
int hd_http_page_is_open(const struct hd_http *h, const char *path)
{
    const struct http_page *p = is_ours(path) ? NULL : hd_http_page_find(h, path);

    return p && p->flags & HD_HTTP_OPEN;
}

static void drop_page(struct http_page *p)
{
    hd_list_remove(&p->node);
    hd_free(p);
}

/* Makes room for a page at the path, where one was that is gone; or where too many are. */
static void forget_gone(struct hd_http *h, const char *path)
{
    struct http_page *oldest = NULL;
    uint32_t n = 0;

    HD_LIST_EACH(at, &h->pages)
    {
        struct http_page *p = HD_LIST_ITEM(at, struct http_page, node);

        n += !p->owner;
        if (!p->owner && !strcmp(p->path, path)) {
            drop_page(p);
            return;
        }
        if (!p->owner && !oldest)
            oldest = p;
    }
    if (n >= PAGES_MAX)
        drop_page(oldest);
}

static int check_path(const struct hd_http *h, const char *path, struct hd_error *err)
{
    uint32_t n = 0;

    if (!path || path[0] != '/' || strlen(path) > PATH_MOST || is_ours(path))
        return hd_fail(err, HD_EINVAL, "a page needs a path of its own, such as /charts/, not \"%.80s\"",
                       path ? path : "");
    HD_LIST_EACH(at, &h->pages)
    {
        const struct http_page *p = HD_LIST_ITEM(at, struct http_page, node);

        n += !!p->owner;
        if (p->owner && !strcmp(p->path, path))
            return hd_fail(err, HD_EEXIST, "%s is answered by plugin %s already", path, p->plugin);
    }
    return n < PAGES_MAX ? HD_OK : hd_fail(err, HD_EFULL, "there are %d pages already", PAGES_MAX);
}

static void on_gone(hd_host *host);
static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

/* Requests that the plugin has not answered will not be. */
static void give_up(hd_host *host)
{
    struct hd_list theirs;

    hd_list_init(&theirs);
    pthread_mutex_lock(&lock);
    HD_LIST_EACH(n, &live)
    {
        if (HD_LIST_ITEM(n, struct hd_http_request, live)->owner != host)
            continue;
        hd_list_remove(n);
        hd_list_push_back(&theirs, n);
    }
    pthread_mutex_unlock(&lock);
    HD_LIST_EACH(n, &theirs)
    {
        hd_list_remove(n);
        refuse(HD_LIST_ITEM(n, struct hd_http_request, live), HD_ECANCELLED, "the plugin stopped");
    }
}

static void on_gone(hd_host *host)
{
    if (!served)
        return;
    HD_LIST_EACH(n, &served->pages)
    {
        struct http_page *p = HD_LIST_ITEM(n, struct http_page, node);

        if (p->owner != host)
            continue;
        p->owner = NULL;
        p->fn = NULL;
    }
    give_up(host);
    hd_http_streams_end(served, host, NULL);
    hd_http_streams_tell(served);
}

static int32_t service_serve(hd_host *host, const char *path, uint32_t flags,
                             int32_t (*fn)(void *arg, const struct hd_http_call *call, struct hd_error *err),
                             void *arg, struct hd_error *err)
{
    struct http_page *p;
    int code = check_path(served, path, err);

    if (code)
        return code;
    p = hd_calloc(1, sizeof(*p));
    if (!p || hd_owners_add(&owners, host)) {
        hd_free(p);
        return hd_fail(err, HD_ENOMEM, "no memory for the page %s", path);
    }
    forget_gone(served, path);
    p->owner = host;
    snprintf(p->plugin, sizeof(p->plugin), "%s", hd_host_id(host));
    p->len = strlen(path);
    memcpy(p->path, path, p->len);
    p->flags = flags;
    p->fn = fn;
    p->arg = arg;
    hd_list_push_back(&served->pages, &p->node);
    return HD_OK;
}

static const struct hd_http_v1 vtable = {
    .size = sizeof(vtable),
    .serve = service_serve,
    .answer = service_answer,
    .stream = hd_http_stream_open,
    .send = hd_http_stream_send,
    .end = hd_http_stream_end,
};

void hd_http_pages_end(void)
{
    HD_LIST_EACH(n, &served->pages)
    {
        drop_page(HD_LIST_ITEM(n, struct http_page, node));
    }
    served = NULL;
}

int hd_http_pages_serve(struct hd_http *h)
{
    served = h;
    return hd_service_add(HD_SERVICE_HTTP, &vtable);
}
