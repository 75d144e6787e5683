/*
 * The inside of the HTTP server, which the http*.c files share. [control]
 *
 * A request comes in pieces through libmicrohttpd's callbacks (http_engine.c), is let in or refused when its
 * head is there (http_auth.c) and routed when all of it is (http_request.c). Probes and metrics are answered
 * in the callback; everything else is suspended and begun when the loop comes round, outside of
 * libmicrohttpd, so that a command may do what it likes to the server itself.
 */
#ifndef HD_HOST_HTTP_PARTS_H
#define HD_HOST_HTTP_PARTS_H

#include <jansson.h>
#include <microhttpd.h>
#include <sys/socket.h>

#include <howdah/types.h>

#include "base/list.h"
#include "base/strbuf.h"
#include "host/http.h"
#include "io/loop.h"
#include "session/settings.h"

struct hd_command_call;
struct hd_http_request; /* what a plugin has of a request */
struct hd_http_stream;
struct http_request;

/* An address that is listened on. */
struct http_socket {
    struct hd_list node;
    struct hd_http *http;
    struct hd_address address;
    char *text; /* the address as written; owned */
    struct hd_loop_watch watch;
    int fd;
    int watched;
};

/* libmicrohttpd with one set of options, and the connections that began under it. */
struct http_engine {
    struct hd_list node; /* in hd_http.engines */
    struct hd_http *http;
    struct MHD_Daemon *daemon;
    struct hd_settings *settings; /* held; http points into it */
    const struct hd_http_conf *conf;
    struct hd_loop_watch watch;
    struct hd_loop_timer timer;
    struct hd_list conns;
    int handles; /* of the loop, not closed yet */
    int running; /* MHD_run is on the stack */
    int retired; /* another engine takes new connections */
};

/* One connection. */
struct http_conn {
    struct hd_list node;
    struct http_engine *engine;
    int fd;
    uint64_t deadline_ns; /* for the request that arrives; 0: none does */
};

enum http_state {
    HTTP_ARRIVING, /* its body is read */
    HTTP_QUEUED,   /* suspended, to be begun */
    HTTP_BEGUN,    /* suspended, whoever works on it will answer */
    HTTP_ANSWERED, /* the answer is there */
    HTTP_SENT      /* libmicrohttpd has the answer */
};

/* Works on a request that is whole; ends by calling hd_http_answer…, now or later. */
typedef void http_work(struct http_request *rq);

struct http_request {
    struct hd_list node; /* in hd_http.queue or hd_http.begun */
    struct http_engine *engine;
    struct http_conn *conn;
    struct MHD_Connection *connection;
    const char *path; /* decoded; of the connection */
    const char *method;
    enum http_state state;
    int is_post;
    int too_large;
    struct hd_strbuf body;
    http_work *work;
    struct hd_command_call *call; /* under way */
    const struct http_page *page;
    struct hd_http_request *given; /* to a plugin, which works on it */
    unsigned status;
    struct MHD_Response *response; /* made, not sent */
};

/* Requests per second. */
struct http_bucket {
    uint64_t last_ns;
    double tokens;
};

struct http_counts {
    int64_t answers[6]; /* metric ids, by the first digit of the status */
    int64_t connections, refused, failures, answer_bytes, packed, saved;
};

struct hd_http {
    struct hd_runtime *rt;
    struct hd_loop *loop;
    const struct hd_keeper *keeper;
    struct hd_list sockets, prepared_sockets;
    struct http_engine *engine, *prepared; /* the one that takes new connections; and the next */
    struct hd_settings *prepared_settings; /* held; NULL: nothing is prepared */
    struct hd_list engines;                /* all */
    struct hd_list queue, begun;           /* requests */
    struct hd_deferred turn;
    struct hd_loop_timer sweep;
    int sweeping;
    struct http_bucket bucket;
    struct http_counts counts;
    struct hd_list pages;   /* of plugins */
    struct hd_list streams; /* open ones; then those of which the plugin is to be told */
    struct hd_list ended;
    unsigned stream_count;
    uint64_t told_ns; /* when a failed login was logged last */
    unsigned connections;
    size_t answer_bytes; /* of answers that have not been read yet */
    int left, stopped;
    int handles; /* of the loop; the memory goes with the last */
};

/* --- http.c --- */

/* A handle of the loop that belongs to `h` has been closed. */
void hd_http_release(struct hd_http *h);
/* There are connections: ends those whose requests do not arrive. */
void hd_http_watch_over(struct hd_http *h);

/* --- http_listen.c --- */

/* Opens the sockets of `conf` that are not open yet into `out`. */
int hd_http_open(struct hd_http *h, const struct hd_http_conf *conf, struct hd_list *out,
                 struct hd_error *err);
/* Begins to accept. */
int hd_http_watch(struct http_socket *s, struct hd_error *err);
/* Closes it; with `forget` the keeper does as well. */
void hd_http_close_socket(struct http_socket *s, int forget);
/* Is it one of those that conf (may be NULL) asks for? */
int hd_http_wants(const struct hd_http_conf *conf, const struct hd_address *a);

/* --- http_engine.c --- */

int hd_http_engine_new(struct hd_http *h, struct hd_settings *s, struct http_engine **out,
                       struct hd_error *err);
/* Can it go on under these settings? */
int hd_http_engine_fits(const struct http_engine *e, const struct hd_http_conf *conf);
void hd_http_engine_settings(struct http_engine *e, struct hd_settings *s);
/* Takes a connection that was accepted. */
void hd_http_engine_add(struct http_engine *e, int fd, const struct sockaddr *peer, socklen_t len);
/* Ends with its last connection. */
void hd_http_engine_retire(struct http_engine *e);
/* Ends it now; outside of libmicrohttpd. */
void hd_http_engine_end(struct http_engine *e);
/* Soon, outside of libmicrohttpd: begins what is queued, and lets all engines go on. */
void hd_http_turn(struct hd_http *h);

/* --- http_request.c --- */

enum MHD_Result hd_http_on_request(void *engine, struct MHD_Connection *c, const char *url,
                                   const char *method, const char *version, const char *data, size_t *size,
                                   void **rq);
void hd_http_on_completed(void *engine, struct MHD_Connection *c, void **rq,
                          enum MHD_RequestTerminationCode why);
/* The value of a header, or NULL. */
const char *hd_http_header(const struct http_request *rq, const char *name);
/* What may be done at its path, for Allow. */
const char *hd_http_methods(const struct http_request *rq);
/* Ends what still works on any request of an engine, so that libmicrohttpd can go. */
void hd_http_cancel(struct http_engine *e);

/* --- http_answer.c --- */

/* Answers with bytes of static storage or with what `body` holds, which is taken. `type` has static storage.
 */
void hd_http_answer_static(struct http_request *rq, unsigned status, const char *type, const char *text);
void hd_http_answer(struct http_request *rq, unsigned status, const char *type, struct hd_strbuf *body);
/* That its bytes depend on what encodings the client takes; and whether they are gzip. `r` may be NULL. */
void hd_http_tell_packed(struct MHD_Response *r, int may, int packed);
/* What `body` holds as a response, counted until it has been read; takes it. NULL: no memory. */
struct MHD_Response *hd_http_response(struct hd_http *h, struct hd_strbuf *body);
/* Do too many answers wait to be read for one of so many bytes? Then that has been answered. */
int hd_http_is_full(struct http_request *rq, size_t len);
/* RFC 9457's problem details; lines of text for whoever accepts text and not JSON. */
void hd_http_problem(struct http_request *rq, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Answers with the JSON; takes it. NULL: there was no memory. */
void hd_http_json(struct http_request *rq, unsigned status, json_t *j);
/* Answers with what was made; takes it. NULL: there was no memory. */
void hd_http_send(struct http_request *rq, unsigned status, struct MHD_Response *r);
void hd_http_set_header(struct http_request *rq, const char *name, const char *value);

/* --- http_down.c --- */

/* Does the plugin not run, or is it quarantined? Then that has been answered. NULL: no. */
int hd_http_is_down(struct http_request *rq, const char *plugin, int may_say_why);

/* --- http_accept.c --- */

/* The weight, in thousandths, of what is named in a list such as "br;q=1.0, gzip;q=0.5"; -1: it is not. */
int hd_http_weight(const char *list, const char *name);
/* Does an Accept-Encoding take gzip, and is the plain text not preferred? */
int hd_http_accepts_gzip(const char *accepted);
int hd_http_takes_gzip(const struct http_request *rq);
/* Does its Accept name one of these types (up to NULL), and none of the others with more weight? */
int hd_http_prefers(const struct http_request *rq, const char *const *types, const char *const *others);
/* Is that version, in its quotes, in an If-None-Match; and in the request's? */
int hd_http_names_version(const char *list, const char *quoted);
int hd_http_has_version(const struct http_request *rq, const char *quoted);

/* --- http_gzip.c --- */

/* Would so many bytes of that type go out as gzip to whoever takes that; and do they to this client? */
int hd_http_may_pack(const struct http_request *rq, const char *type, size_t len);
int hd_http_packs(const struct http_request *rq, const char *type, size_t len);
/* Appends the bytes as a gzip file. HD_OK or HD_ENOMEM, with `out` freed. */
int hd_http_pack(struct http_request *rq, const void *bytes, size_t len, struct hd_strbuf *out);

/* --- http_auth.c --- */

/* May this request, of which the head is there, go on? Else it has been answered. */
int hd_http_admit(struct http_request *rq);

/* --- http_pages.c --- */

/* Offers pages to plugins. */
int hd_http_pages_serve(struct hd_http *h);
void hd_http_pages_end(void);
/* The page that stands for a path, or NULL. */
const struct http_page *hd_http_page_find(const struct hd_http *h, const char *path);
int hd_http_page_posts(const struct http_page *p);
/* Is what a plugin has at the path for everybody? */
int hd_http_page_is_open(const struct hd_http *h, const char *path);
/* The request is over before the plugin has answered. */
void hd_http_page_forget(struct http_request *rq);
/* Answers for plugins that take too long. */
void hd_http_pages_sweep(struct hd_http *h, uint64_t now);

/* --- http_streams.c --- */

/* The functions of the service. */
struct hd_http_stream *hd_http_stream_open(struct hd_http_request *request, void (*closed)(void *arg),
                                           void *arg);
int32_t hd_http_stream_send(struct hd_http_stream *s, const char *event, struct hd_str data);
void hd_http_stream_end(struct hd_http_stream *s);
/* Ends those of one plugin, of one engine, or (both NULL) all. */
void hd_http_streams_end(struct hd_http *h, const hd_host *owner, const struct http_engine *e);
/* Tells plugins of the streams that have ended. Outside of libmicrohttpd. */
void hd_http_streams_tell(struct hd_http *h);
/* Sends something where nothing has gone for long, to find out who is gone. */
void hd_http_streams_sweep(struct hd_http *h, uint64_t now);

/* --- http_pages.c, for streams --- */

/* The request behind it, which is answered from now on: NULL where it is over. */
struct http_request *hd_http_request_take(struct hd_http_request *request, hd_host **owner);

/* --- what is served --- */

http_work hd_http_page;
http_work hd_http_livez, hd_http_readyz, hd_http_health, hd_http_metrics, hd_http_openapi, hd_http_api;

#endif
