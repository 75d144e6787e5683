/*
 * Commands on their way out: put into one buffer as they come, written at the end of the loop's turn.
 */
#include "redis/conn_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define KEEP_OUTPUT 262144 /* a larger buffer is given back when it is empty */
#define WORD_FRAME  24     /* "$LENGTH\r\n" and "\r\n" around an argument */

/* Room for so many more bytes; 0: no memory. */
static int reserve(struct rds_conn *c, size_t more)
{
    size_t cap = c->out_cap ? c->out_cap : 4096;
    char *grown;

    if (c->out_at && c->out_len + more > c->out_cap) {
        memmove(c->out, c->out + c->out_at, c->out_len - c->out_at);
        c->out_len -= c->out_at;
        c->out_at = 0;
    }
    if (c->out_len + more <= c->out_cap)
        return 1;
    while (cap < c->out_len + more)
        cap *= 2;
    grown = realloc(c->out, cap);
    if (!grown)
        return 0;
    c->out = grown;
    c->out_cap = cap;
    return 1;
}

static void add(struct rds_conn *c, const char *p, size_t n)
{
    if (n)
        memcpy(c->out + c->out_len, p, n);
    c->out_len += n;
}

/* "*3\r\n" or "$11\r\n" */
static void add_count(struct rds_conn *c, char kind, uint64_t n)
{
    char text[WORD_FRAME], *at = text + sizeof(text);

    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    *--at = kind;
    add(c, at, (size_t)(text + sizeof(text) - at));
}

int32_t rds_conn_queue(struct rds_conn *c, uint32_t argc, const struct hd_str *argv, rds_reply_fn fn,
                       void *arg)
{
    size_t size = WORD_FRAME;
    int idle = c->out_len == c->out_at;

    for (uint32_t i = 0; i < argc; i++)
        size += WORD_FRAME + argv[i].len;
    if (c->count > c->wait_mask || !reserve(c, size))
        return HD_EBUSY;
    add_count(c, '*', argc);
    for (uint32_t i = 0; i < argc; i++) {
        add_count(c, '$', argv[i].len);
        add(c, argv[i].ptr, argv[i].len);
        add(c, "\r\n", 2);
    }
    /* Of one that gets all replies as pushes none is waited for. */
    if (!c->events.push || c->state != RDS_READY)
        c->waits[(c->first + c->count++) & c->wait_mask] = (struct rds_wait){fn, arg, rds_now_ms()};
    if (idle)
        c->env->loop->retime(c->flush, 0);
    rds_conn_clock(c);
    return HD_OK;
}

int rds_conn_room(const struct rds_conn *c, uint32_t commands, uint64_t bytes)
{
    return rds_conn_ready(c) && c->count + commands <= c->limits.max_pending &&
           c->out_len - c->out_at + bytes <= c->limits.max_output;
}

int32_t rds_conn_send(struct rds_conn *c, uint32_t argc, const struct hd_str *argv, rds_reply_fn fn,
                      void *arg)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < argc; i++)
        bytes += argv[i].len;
    return rds_conn_room(c, 1, bytes) ? rds_conn_queue(c, argc, argv, fn, arg) : HD_EBUSY;
}

/* What is sent leaves no trace of a password. */
static void sent_all(struct rds_conn *c)
{
    if (c->state == RDS_LOGIN)
        explicit_bzero(c->out, c->out_len);
    c->out_len = c->out_at = 0;
    if (c->out_cap > KEEP_OUTPUT) {
        free(c->out);
        c->out = NULL;
        c->out_cap = 0;
    }
    rds_conn_ready_for(c, HD_READABLE);
}

static ssize_t transmit(struct rds_conn *c, const void *bytes, size_t len)
{
    return c->tls ? rds_tls_send(c->tls, bytes, len) : send(c->fd, bytes, len, MSG_NOSIGNAL);
}

void rds_conn_write(struct rds_conn *c)
{
    while (c->out_at < c->out_len) {
        ssize_t n = transmit(c, c->out + c->out_at, c->out_len - c->out_at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            rds_conn_ready_for(c, HD_READABLE | HD_WRITABLE);
            return;
        }
        if (n < 0) {
            rds_conn_close(c, rds_conn_error(c));
            return;
        }
        c->out_at += (size_t)n;
    }
    sent_all(c);
}
