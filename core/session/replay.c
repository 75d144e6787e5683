/*
 * The client of a replay: it logs in, sends one statement, reads to its end, and leaves. See replay.h.
 */
#include "session/replay.h"

#include <errno.h>
#include <howdah/replay.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"
#include "base/thread.h"
#include "plug/services.h"
#include "session/client.h"
#include "wire/build.h"

#define REPLAYS_MAX  64
#define TIMEOUT_MS   10000
#define TEXT_MAX     65536 /* of all messages of one; well below what a socket's buffer takes at once */
#define ERROR_MAX    512   /* of an ErrorResponse that is looked at */
#define SETTINGS_MAX 64

enum state { LOGGING_IN, RUNNING, OVER };

struct replay {
    struct hd_loop_watch watch;
    struct hd_loop_timer timer;
    struct hd_on_stop on_stop;
    struct hd_list list;
    hd_host *host;
    void (*done)(void *arg, const struct hd_replayed *how);
    void *arg;
    int fd;
    enum state state;
    int handles;                /* of the loop's that are not closed yet */
    struct hd_strbuf statement; /* sent after the login */
    struct hd_replayed how;
    uint8_t head[5]; /* of the message that is being read */
    uint32_t head_len, body_left, error_len;
    uint8_t error[ERROR_MAX];
};

/* A connection on its way to its worker. */
struct trip {
    struct hd_post post;
    struct hd_worker *w;
    int fd;
};

/* Of the control thread. */
static struct {
    struct hd_loop *loop;
    struct hd_workers *workers;
    struct hd_list running;
    int count, next;
} replays;

/* --- messages ------------------------------------------------------------------------------------------ */

static void put16(struct hd_strbuf *b, uint32_t n)
{
    hd_strbuf_putc(b, (char)(n >> 8));
    hd_strbuf_putc(b, (char)n);
}

static void put32(struct hd_strbuf *b, uint32_t n)
{
    put16(b, n >> 16);
    put16(b, n);
}

static void build_bind(struct hd_strbuf *b, const struct hd_replay *r)
{
    size_t at = b->len + 1;
    uint32_t len;

    hd_strbuf_putc(b, 'B');
    put32(b, 0);
    put16(b, 0); /* both names are empty: two NULs */
    put16(b, r->param_count);
    for (uint32_t i = 0; i < r->param_count; i++)
        put16(b, r->params[i].format);
    put16(b, r->param_count);
    for (uint32_t i = 0; i < r->param_count; i++) {
        put32(b, r->params[i].data ? r->params[i].len : UINT32_MAX);
        if (r->params[i].data)
            hd_strbuf_add(b, r->params[i].data, r->params[i].len);
    }
    put16(b, r->result_format_count);
    for (uint32_t i = 0; i < r->result_format_count; i++)
        put16(b, r->result_formats[i]);
    if (b->failed)
        return;
    len = (uint32_t)(b->len - at);
    for (int i = 0; i < 4; i++)
        b->data[at + (size_t)i] = (char)(len >> (24 - 8 * i));
}

static int build_extended(struct hd_strbuf *sb, const struct hd_replay *r)
{
    static const uint8_t run[] = {'E', 0, 0, 0, 9, 0, 0, 0, 0, 0, 'S', 0, 0, 0, 4};
    struct hd_build b = hd_build_onto(sb);
    uint32_t *types = hd_calloc(r->param_count + 1, sizeof(*types));
    int code;

    if (!types)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < r->param_count; i++)
        types[i] = r->params[i].type;
    code = hd_build_parse(&b, "", r->sql.ptr, r->sql.len, types, (uint16_t)r->param_count);
    hd_free(types);
    if (code)
        return code;
    build_bind(sb, r);
    if (r->flags & HD_STMT_DESCRIBED) {
        b = hd_build_onto(sb);
        code = hd_build_describe(&b, 'P', "");
    }
    hd_strbuf_add(sb, run, sizeof(run));
    return code;
}

static int build_statement(struct hd_strbuf *sb, const struct hd_replay *r)
{
    struct hd_build b = hd_build_onto(sb);
    int code =
        r->flags & HD_STMT_EXTENDED ? build_extended(sb, r) : hd_build_query(&b, r->sql.ptr, r->sql.len);

    if (!code && sb->failed)
        code = HD_ENOMEM;
    return code ? code : sb->len > TEXT_MAX ? HD_EFULL : HD_OK;
}

/* Reported, or the session's own, and set by no client. */
static int is_settable(const char *name)
{
    static const char *const fixed[] = {"server_version", "server_encoding",       "integer_datetimes",
                                        "is_superuser",   "session_authorization", "in_hot_standby"};

    for (size_t i = 0; i < HD_ARRAY_LEN(fixed); i++)
        if (!strcasecmp(name, fixed[i]))
            return 0;
    return 1;
}

static int build_startup(struct hd_strbuf *sb, const struct hd_replay *r)
{
    const char *params[2 * SETTINGS_MAX + 5] = {"user", NULL, "database"};
    char *user = hd_strndup(r->user.ptr, r->user.len),
         *database = hd_strndup(r->database.ptr, r->database.len);
    struct hd_build b = hd_build_onto(sb);
    size_t n = 4;
    int code = user && database ? HD_OK : HD_ENOMEM;

    params[1] = user;
    params[3] = database;
    for (uint32_t i = 0; i < r->setting_count; i++) {
        if (!is_settable(r->settings[i].name))
            continue;
        params[n++] = r->settings[i].name;
        params[n++] = r->settings[i].value;
    }
    params[n] = NULL;
    if (!code)
        code = hd_build_startup(&b, HD_PROTO_3_0, params);
    hd_free(user);
    hd_free(database);
    return !code && sb->len > TEXT_MAX ? HD_EFULL : code;
}

/* --- its end ------------------------------------------------------------------------------------------- */

static void free_closed(struct replay *r)
{
    if (--r->handles)
        return;
    hd_strbuf_free(&r->statement);
    hd_free(r);
}

static void watch_closed(struct hd_loop_watch *w)
{
    free_closed(HD_CONTAINER_OF(w, struct replay, watch));
}

static void timer_closed(struct hd_loop_timer *t)
{
    free_closed(HD_CONTAINER_OF(t, struct replay, timer));
}

static void end(struct replay *r)
{
    r->state = OVER;
    hd_list_remove(&r->list);
    replays.count--;
    hd_loop_watch_close(&r->watch, watch_closed);
    hd_loop_timer_close(&r->timer, timer_closed);
    close(r->fd);
}

static void finish(struct replay *r, int code)
{
    struct hd_replayed how = r->how;
    void (*done)(void *arg, const struct hd_replayed *how) = r->done;
    void *arg = r->arg;
    int stopping = hd_host_off_stop(r->host, &r->on_stop) != HD_OK;

    how.size = sizeof(how);
    how.code = code;
    end(r);
    if (!stopping)
        done(arg, &how);
}

/* The plugin has stopped: it hears no more. */
static void on_stop(struct hd_on_stop *n)
{
    end(HD_CONTAINER_OF(n, struct replay, on_stop));
}

/* --- what the session says ----------------------------------------------------------------------------- */

static void read_sqlstate(struct replay *r)
{
    uint32_t at = 0;

    while (at < r->error_len && r->error[at]) {
        const uint8_t *end_of = memchr(r->error + at, 0, r->error_len - at);

        if (!end_of)
            return;
        if (r->error[at] == 'C' && !r->how.sqlstate[0] && end_of - (r->error + at) == 6)
            memcpy(r->how.sqlstate, r->error + at + 1, 5);
        at = (uint32_t)(end_of - r->error) + 1;
    }
}

/* 0: it is over. */
static int on_message(struct replay *r, uint8_t type)
{
    if (type == 'E')
        read_sqlstate(r);
    if (type != 'Z')
        return 1;
    if (r->state == RUNNING) {
        static const uint8_t terminate[] = {'X', 0, 0, 0, 4};

        (void)!send(r->fd, terminate, sizeof(terminate), MSG_DONTWAIT | MSG_NOSIGNAL);
        finish(r, r->how.sqlstate[0] ? HD_EFAIL : HD_OK);
        return 0;
    }
    r->state = RUNNING;
    if (send(r->fd, r->statement.data, r->statement.len, MSG_DONTWAIT | MSG_NOSIGNAL) ==
        (ssize_t)r->statement.len)
        return 1;
    finish(r, HD_EIO);
    return 0;
}

/* Bytes of one message, at most; how many, or 0: it is over. */
static size_t take(struct replay *r, const uint8_t *p, size_t n)
{
    size_t used = 0;

    while (r->head_len < sizeof(r->head) && used < n) {
        r->head[r->head_len++] = p[used++];
        if (r->head_len == sizeof(r->head)) {
            uint32_t len = (uint32_t)r->head[1] << 24 | (uint32_t)r->head[2] << 16 |
                           (uint32_t)r->head[3] << 8 | r->head[4];

            r->body_left = len < 4 ? 0 : len - 4;
            r->error_len = 0;
        }
    }
    if (r->head_len < sizeof(r->head))
        return used;
    if (n - used > r->body_left)
        n = used + r->body_left;
    for (size_t i = used; i < n && r->head[0] == 'E' && r->error_len < ERROR_MAX; i++)
        r->error[r->error_len++] = p[i];
    r->body_left -= (uint32_t)(n - used);
    if (r->body_left)
        return n;
    r->head_len = 0;
    return on_message(r, r->head[0]) ? n : 0;
}

static void on_readable(struct hd_loop_watch *w, int status, int events)
{
    struct replay *r = HD_CONTAINER_OF(w, struct replay, watch);
    uint8_t bytes[16384];
    ssize_t n = status < 0 ? 0 : recv(r->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        finish(r, r->state == LOGGING_IN && r->how.sqlstate[0] ? HD_EPERM : HD_EIO);
        return;
    }
    for (size_t at = 0, used; at < (size_t)n; at += used)
        if (!(used = take(r, bytes + at, (size_t)n - at)))
            return;
}

static void on_timeout(struct hd_loop_timer *t)
{
    finish(HD_CONTAINER_OF(t, struct replay, timer), HD_ETIMEOUT);
}

/* --- its beginning ------------------------------------------------------------------------------------- */

static void arrive(struct hd_post *p)
{
    struct trip *t = HD_CONTAINER_OF(p, struct trip, post);

    hd_session_accept_own(t->w, t->fd);
    hd_free(t);
}

/* Sends one end to the next worker. */
static int connect_pair(int *mine)
{
    struct trip *t = hd_malloc(sizeof(*t));
    int pair[2];

    if (!t)
        return HD_ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        hd_free(t);
        return HD_EFULL;
    }
    *mine = pair[0];
    *t = (struct trip){
        {NULL, arrive}, &replays.workers->worker[replays.next++ % replays.workers->count], pair[1]};
    hd_loop_post(&t->w->loop, &t->post);
    return HD_OK;
}

static int begin(struct replay *r, const struct hd_replay *what)
{
    struct hd_strbuf startup = HD_STRBUF_INIT;
    int code = build_startup(&startup, what);

    if (!code)
        code = connect_pair(&r->fd);
    if (!code &&
        send(r->fd, startup.data, startup.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)startup.len) {
        close(r->fd);
        code = HD_EIO;
    }
    hd_strbuf_free(&startup);
    if (!code && hd_loop_watch_init(replays.loop, &r->watch, r->fd, on_readable)) {
        close(r->fd);
        code = HD_ENOMEM;
    }
    return code;
}

static int is_valid(const struct hd_replay *r)
{
    return r->size >= sizeof(*r) && r->database.len && r->user.len && r->sql.len &&
           r->param_count <= UINT16_MAX && r->result_format_count <= UINT16_MAX &&
           !memchr(r->sql.ptr, 0, r->sql.len);
}

static int32_t run(hd_host *host, const struct hd_replay *what,
                   void (*done)(void *arg, const struct hd_replayed *how), void *arg)
{
    struct replay *r;
    int code;

    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (!is_valid(what))
        return HD_EINVAL;
    if (!replays.workers)
        return HD_EBUSY;
    if (replays.count >= REPLAYS_MAX || what->setting_count > SETTINGS_MAX)
        return HD_EFULL;
    r = hd_calloc(1, sizeof(*r));
    if (!r)
        return HD_ENOMEM;
    code = build_statement(&r->statement, what);
    if (!code)
        code = begin(r, what);
    if (code) {
        hd_strbuf_free(&r->statement);
        hd_free(r);
        return code;
    }
    r->host = host;
    r->done = done;
    r->arg = arg;
    r->handles = 2;
    hd_list_push_back(&replays.running, &r->list);
    replays.count++;
    hd_host_on_stop(host, &r->on_stop, on_stop);
    hd_loop_timer_init(replays.loop, &r->timer, on_timeout);
    hd_loop_timer_start(&r->timer, what->timeout_ms ? what->timeout_ms : TIMEOUT_MS, 0);
    hd_loop_watch_set(&r->watch, UV_READABLE);
    return HD_PENDING;
}

static const struct hd_replay_v1 vtable = {.size = sizeof(vtable), .run = run};

int hd_replay_serve(struct hd_loop *control)
{
    replays.loop = control;
    hd_list_init(&replays.running);
    return hd_service_add(HD_SERVICE_REPLAY, &vtable);
}

void hd_replay_use(struct hd_workers *w)
{
    replays.workers = w;
    while (!w && !hd_list_empty(&replays.running))
        finish(HD_LIST_ITEM(replays.running.next, struct replay, list), HD_EIO);
}
