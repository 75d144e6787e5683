/*
 * A connection's life, its deadlines, and the replies that come in; see conn.h.
 */
#include "redis/conn_parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ELEMENTS 1000000 /* of one array in a reply */
#define READ_SIZE    65536
#define READ_ROUNDS  16 /* then others have their turn */
#define LOGIN_WAITS  8  /* room for the login beside max_pending */
#define LATE_MAX     5  /* times in a row that a reply was due and not there */

/* --- the reader: hiredis', with a bound ------------------------------------------------------------------
 */

#if HIREDIS_MAJOR >= 1
typedef size_t array_count;
#else
typedef int array_count;
#endif

static pthread_once_t reader_once = PTHREAD_ONCE_INIT;
static redisReplyObjectFunctions reader_functions;
static void *(*create_array)(const redisReadTask *, array_count);

static void *create_bounded_array(const redisReadTask *task, array_count n)
{
    return n > MAX_ELEMENTS ? NULL : create_array(task, n);
}

static void copy_functions(void)
{
    redisReader *r = redisReaderCreate();

    if (!r)
        return;
    create_array = r->fn->createArray;
    reader_functions = *r->fn;
    reader_functions.createArray = create_bounded_array;
    redisReaderFree(r);
}

static redisReader *new_reader(void)
{
    redisReader *r;

    pthread_once(&reader_once, copy_functions);
    r = create_array ? redisReaderCreate() : NULL;
    if (r)
        r->fn = &reader_functions;
    return r;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static void on_clock(void *arg);
static void on_flush(void *arg);

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 16;

    while (p < n)
        p *= 2;
    return p;
}

struct rds_conn *rds_conn_new(struct rds_env *env, int32_t thread, const struct rds_limits *limits,
                              const struct rds_login *login, const struct rds_conn_events *events)
{
    uint32_t waits = power_of_two(limits->max_pending + LOGIN_WAITS);
    struct rds_conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->env = env;
    c->thread = thread;
    c->limits = *limits;
    c->login = *login;
    c->events = *events;
    c->fd = -1;
    c->wait_mask = waits - 1;
    c->waits = calloc(waits, sizeof(c->waits[0]));
    c->clock = env->loop->timer(env->host, limits->connect_ms, 0, on_clock, c);
    c->flush = env->loop->timer(env->host, 0, 0, on_flush, c);
    if (!c->waits || !c->clock || !c->flush) {
        rds_conn_free(c);
        return NULL;
    }
    return c;
}

static void destroy(struct rds_conn *c)
{
    const struct hd_loop_v1 *loop = c->env->loop;

    if (c->clock)
        loop->untimer(c->clock);
    if (c->flush)
        loop->untimer(c->flush);
    free(c->waits);
    free(c);
}

/* Callbacks run between these two, and may free the connection. */
static void enter(struct rds_conn *c)
{
    c->busy++;
}

static void leave(struct rds_conn *c)
{
    if (--c->busy == 0 && c->freed)
        destroy(c);
}

void rds_conn_free(struct rds_conn *c)
{
    enter(c);
    c->freed = 1;
    rds_conn_close(c, "no longer wanted");
    leave(c);
}

static void tell_all(struct rds_conn *c)
{
    while (c->count) {
        struct rds_wait w = c->waits[c->first++ & c->wait_mask];

        c->count--;
        if (w.fn)
            w.fn(w.arg, HD_EIO, NULL);
    }
    c->told = 0;
}

void rds_conn_close(struct rds_conn *c, const char *why)
{
    char text[sizeof(c->why)];

    if (c->state == RDS_CLOSED)
        return;
    snprintf(text, sizeof(text), "%s", why);
    c->state = RDS_CLOSED;
    c->life++;
    c->late = 0;
    c->dropping = 0;
    rds_conn_forget_lookup(c);
    if (c->watch)
        c->env->loop->unwatch(c->watch);
    c->watch = NULL;
    rds_tls_end(c->tls);
    c->tls = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (c->reader)
        redisReaderFree(c->reader);
    c->reader = NULL;
    free(c->out);
    c->out = NULL;
    c->out_len = c->out_at = c->out_cap = 0;
    enter(c);
    tell_all(c);
    if (!c->freed)
        c->events.down(c->events.arg, text);
    leave(c);
}

void rds_conn_drop(struct rds_conn *c, const char *why)
{
    if (c->state == RDS_CLOSED || c->dropping)
        return;
    snprintf(c->why, sizeof(c->why), "%s", why);
    c->dropping = 1;
    c->env->loop->retime(c->flush, 0);
}

static void on_flush(void *arg)
{
    struct rds_conn *c = arg;

    enter(c);
    if (c->dropping)
        rds_conn_close(c, c->why);
    else if (c->state == RDS_LOGIN || c->state == RDS_READY)
        rds_conn_write(c);
    leave(c);
}

int rds_conn_ready(const struct rds_conn *c)
{
    return c->state == RDS_READY && !c->told && !c->dropping;
}

uint32_t rds_conn_pending(const struct rds_conn *c)
{
    return c->count;
}

/* --- deadlines -------------------------------------------------------------------------------------------
 */

static uint64_t sent_at(const struct rds_conn *c, uint32_t i)
{
    return c->waits[(c->first + i) & c->wait_mask].sent_ms;
}

/* When the clock has to look again; 0: there is nothing to wait for. */
static uint64_t next_deadline(const struct rds_conn *c)
{
    uint64_t silent;

    if (c->state == RDS_CLOSED || (c->state == RDS_READY && !c->count))
        return 0;
    if (c->state != RDS_READY)
        return c->opened_ms + c->limits.connect_ms;
    silent = sent_at(c, 0) + c->limits.silent_ms;
    if (c->told < c->count && sent_at(c, c->told) + c->limits.timeout_ms < silent)
        return sent_at(c, c->told) + c->limits.timeout_ms;
    return silent;
}

/* Lets the clock run if there is a deadline. It is not set back when replies come: then it only looks. */
void rds_conn_clock(struct rds_conn *c)
{
    uint64_t due = next_deadline(c), now;

    if (!due || (c->clock_due && c->clock_due <= due))
        return;
    now = rds_now_ms();
    c->clock_due = due;
    c->env->loop->retime(c->clock, due > now ? due - now : 1);
}

/* Tells those whose time is up. */
static void tell_late(struct rds_conn *c, uint64_t now)
{
    while (c->state == RDS_READY && c->told < c->count && sent_at(c, c->told) + c->limits.timeout_ms <= now) {
        struct rds_wait *w = &c->waits[(c->first + c->told++) & c->wait_mask];
        rds_reply_fn fn = w->fn;

        w->fn = NULL;
        if (fn)
            fn(w->arg, HD_ETIMEOUT, NULL);
    }
}

/* A server that is too slow again and again is no better than one that is silent. */
static void check_replies(struct rds_conn *c, uint64_t now)
{
    uint32_t told = c->told;
    char why[80];

    tell_late(c, now);
    if (c->state != RDS_READY)
        return;
    c->late += c->told > told;
    if (c->late >= LATE_MAX) {
        rds_conn_close(c, "its replies come too late");
    } else if (c->count && sent_at(c, 0) + c->limits.silent_ms <= now) {
        snprintf(why, sizeof(why), "no reply within %llu ms", (unsigned long long)c->limits.silent_ms);
        rds_conn_close(c, why);
    }
}

static void on_clock(void *arg)
{
    struct rds_conn *c = arg;
    uint64_t now = rds_now_ms();
    char why[80];

    enter(c);
    c->clock_due = 0;
    if (c->state == RDS_READY) {
        check_replies(c, now);
    } else if (c->state != RDS_CLOSED && c->opened_ms + c->limits.connect_ms <= now) {
        snprintf(why, sizeof(why), "not connected within %llu ms%s", (unsigned long long)c->limits.connect_ms,
                 c->state == RDS_SHAKING ? "; does the server speak TLS?" : "");
        rds_conn_close(c, why);
    }
    rds_conn_clock(c);
    leave(c);
}

/* --- replies ---------------------------------------------------------------------------------------------
 */

int rds_says(const redisReply *r, int type, const char *start)
{
    return r && r->type == type && r->str && !strncmp(r->str, start, strlen(start));
}

static void deliver(struct rds_conn *c, const redisReply *reply)
{
    struct rds_wait w;

    if (c->events.push && c->state == RDS_READY) {
        c->events.push(c->events.arg, reply);
        return;
    }
    if (!c->count) {
        rds_conn_close(c,
                       reply->type == REDIS_REPLY_ERROR ? reply->str : "a reply that nobody has asked for");
        return;
    }
    w = c->waits[c->first++ & c->wait_mask];
    c->count--;
    c->late = c->told ? c->late : 0;
    c->told -= c->told > 0;
    if (w.fn)
        w.fn(w.arg, HD_OK, reply);
}

static void take_replies(struct rds_conn *c)
{
    uint32_t life = c->life;

    while (c->life == life) {
        void *reply = NULL;
        char why[180];

        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
            snprintf(why, sizeof(why), "it does not speak as Redis does: %s", c->reader->errstr);
            rds_conn_close(c, why);
            return;
        }
        if (!reply)
            break;
        deliver(c, reply);
        freeReplyObject(reply);
    }
    if (c->life == life && c->reader->len - c->reader->pos > c->limits.max_input)
        rds_conn_close(c, "a reply that is too long");
}

static ssize_t receive(struct rds_conn *c, void *bytes, size_t room)
{
    return c->tls ? rds_tls_receive(c->tls, bytes, room) : recv(c->fd, bytes, room, 0);
}

/* What errno, or TLS, says of the connection's end. */
const char *rds_conn_error(const struct rds_conn *c)
{
    return c->tls && errno == EPROTO ? rds_tls_why(c->tls) : strerror(errno);
}

static void take_bytes(struct rds_conn *c)
{
    char bytes[READ_SIZE];
    uint32_t life = c->life;

    for (int i = 0; i < READ_ROUNDS && c->life == life; i++) {
        ssize_t n = receive(c, bytes, sizeof(bytes));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            rds_conn_close(c, n ? rds_conn_error(c) : "the server has closed the connection");
            return;
        }
        if (redisReaderFeed(c->reader, bytes, (size_t)n) != REDIS_OK) {
            rds_conn_close(c, "no memory for a reply");
            return;
        }
        take_replies(c);
        if ((size_t)n < sizeof(bytes))
            return;
    }
}

static void on_event(void *arg, uint32_t events)
{
    struct rds_conn *c = arg;
    uint32_t life = c->life;

    enter(c);
    if (c->state == RDS_CONNECTING) {
        c->reader = c->reader ? c->reader : new_reader();
        rds_conn_connected(c);
    } else if (c->state == RDS_SHAKING) {
        rds_conn_shake(c);
    } else {
        /* TLS may have to read before it can write. */
        if (events & HD_WRITABLE || (c->tls && c->out_at < c->out_len))
            rds_conn_write(c);
        if (events & (HD_READABLE | HD_HANGUP) && c->life == life)
            take_bytes(c);
    }
    rds_conn_clock(c);
    leave(c);
}

/* Watches the socket for these events; where that cannot be the connection is dropped. */
void rds_conn_ready_for(struct rds_conn *c, uint32_t events)
{
    const struct hd_loop_v1 *loop = c->env->loop;

    if (c->watch && c->watched != events)
        loop->rewatch(c->watch, events);
    else if (!c->watch)
        c->watch = loop->watch(c->env->host, c->fd, events, on_event, c);
    c->watched = events;
    if (!c->watch)
        rds_conn_drop(c, "the socket cannot be watched");
}
