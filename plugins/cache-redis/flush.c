/*
 * Drops all values of the namespace: SCAN for their names, UNLINK of what it finds, server after server, on
 * the control thread, so that nothing of Redis is blocked and no other key of it is touched.
 *
 * A number of the namespace in all names, raised by a flush, would be quicker; but every host would have to
 * learn of it, and one that is late goes on with what was flushed, whereas what is gone is gone for all of
 * them at once, and its memory is free. What is put while it runs may stay.
 */
#include "cache-redis/cache-redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS     10
#define CONNECT_MS  5000 /* for the first connection that a flush needs */
#define REPLY_MS    5000
#define BATCH       "500" /* names to look at in one step */
#define PENDING_MAX 8192  /* names that one step may bring */

/* Somebody who waits for the end of a flush. */
struct waiter {
    struct waiter *next;
    void (*done)(void *arg, int32_t code);
    void *arg;
};

struct cr_flush {
    struct cr *self;
    struct rds_link_conf conf; /* as the workers', with more patience */
    struct rds_servers *servers;
    hd_timer *tick;
    struct waiter *now, *later; /* of the flush that runs, and of the next */
    struct rds_link *link;      /* that is being scanned */
    uint32_t server;            /* its number */
    uint64_t began_ms;
    int running, stopped;
    char cursor[24];
    char pattern[2 * CR_HEAD_MAX + 2];
};

static void begin(struct cr_flush *f);
static void scan(struct cr_flush *f);

static void tell(struct waiter *list, int32_t code)
{
    while (list) {
        struct waiter *w = list;

        list = w->next;
        if (w->done)
            w->done(w->arg, code);
        free(w);
    }
}

static void finish(struct cr_flush *f, int32_t code)
{
    struct waiter *list = f->now;

    f->now = NULL;
    f->running = 0;
    tell(list, code);
    if (f->later && !f->stopped)
        begin(f);
}

/* --- the servers, one after the other --------------------------------------------------------------------
 */

/* Behind the last one it is done. */
static void next_server(struct cr_flush *f)
{
    snprintf(f->cursor, sizeof(f->cursor), "0");
    f->link = rds_servers_nth(f->servers, f->server++);
    if (f->link)
        scan(f);
    else
        finish(f, HD_OK);
}

static void on_unlinked(void *arg, int32_t code, const redisReply *r)
{
    struct cr_flush *f = arg;

    if (code != HD_OK || r->type != REDIS_REPLY_INTEGER)
        finish(f, HD_EIO);
    else if (strcmp(f->cursor, "0") != 0)
        scan(f);
    else
        next_server(f);
}

/* A cluster takes only keys of one slot in a command, so each has its own; the last one's reply says it. */
static int32_t unlink_keys(struct cr_flush *f, const redisReply *keys)
{
    for (size_t i = 0; i < keys->elements; i++) {
        struct hd_str words[] = {RDS_WORD("UNLINK"),
                                 {keys->element[i]->str, (uint64_t)keys->element[i]->len}};

        if (keys->element[i]->type != REDIS_REPLY_STRING ||
            rds_conn_send(f->link->conn, 2, words, i + 1 == keys->elements ? on_unlinked : NULL, f))
            return HD_EIO;
    }
    return HD_OK;
}

/* [cursor, [name, …]] */
static void on_scanned(void *arg, int32_t code, const redisReply *r)
{
    struct cr_flush *f = arg;

    if (code != HD_OK || r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        r->element[0]->type != REDIS_REPLY_STRING || strlen(r->element[0]->str) >= sizeof(f->cursor) ||
        r->element[1]->type != REDIS_REPLY_ARRAY) {
        finish(f, HD_EIO);
        return;
    }
    snprintf(f->cursor, sizeof(f->cursor), "%s", r->element[0]->str);
    if (r->element[1]->elements) {
        if (unlink_keys(f, r->element[1]))
            finish(f, HD_EIO);
    } else if (strcmp(f->cursor, "0") != 0) {
        scan(f);
    } else {
        next_server(f);
    }
}

static void scan(struct cr_flush *f)
{
    const struct hd_str words[] = {RDS_WORD("SCAN"),  {f->cursor, strlen(f->cursor)},
                                   RDS_WORD("MATCH"), {f->pattern, strlen(f->pattern)},
                                   RDS_WORD("COUNT"), RDS_WORD(BATCH)};

    if (rds_conn_send(f->link->conn, 6, words, on_scanned, f))
        finish(f, HD_EIO);
}

/* Waits until there is a connection. */
static void on_tick(void *arg)
{
    struct cr_flush *f = arg;

    if (!f->running || f->server)
        return;
    if (rds_servers_ready(f->servers))
        next_server(f);
    else if (rds_now_ms() - f->began_ms > CONNECT_MS)
        finish(f, HD_EIO);
    else
        f->self->env.loop->retime(f->tick, TICK_MS);
}

static void begin(struct cr_flush *f)
{
    f->now = f->later;
    f->later = NULL;
    f->running = 1;
    f->server = 0;
    f->began_ms = rds_now_ms();
    f->self->env.loop->retime(f->tick, 0);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

/* Names of the namespace, none of whose characters is a wildcard. */
static void make_pattern(struct cr_flush *f)
{
    char *at = f->pattern;

    for (const char *p = f->self->head; *p; p++) {
        if (strchr("*?[]\\^-", *p))
            *at++ = '\\';
        *at++ = *p;
    }
    *at++ = '*';
    *at = '\0';
}

static void free_flush(struct cr_flush *f)
{
    if (f->servers)
        rds_servers_free(f->servers);
    if (f->tick)
        f->self->env.loop->untimer(f->tick);
    free(f);
}

/* Its connection is kept from the first flush on. */
static struct cr_flush *new_flush(struct cr *self)
{
    struct cr_flush *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->self = self;
    f->conf = self->link;
    f->conf.limits.timeout_ms = REPLY_MS;
    f->conf.limits.silent_ms = REPLY_MS * 2;
    f->conf.limits.max_pending = PENDING_MAX;
    make_pattern(f);
    f->servers = rds_servers_new(&f->conf, HD_LOOP_CONTROL);
    f->tick = self->env.loop->timer(self->env.host, CONNECT_MS, 0, on_tick, f);
    if (f->servers && f->tick)
        return f;
    free_flush(f);
    return NULL;
}

void cr_flush(void *self, void (*done)(void *arg, int32_t code), void *arg)
{
    struct cr *cr = self;
    struct waiter *w = calloc(1, sizeof(*w));

    if (!cr->flush)
        cr->flush = new_flush(cr);
    if (!w || !cr->flush) {
        free(w);
        if (done)
            done(arg, HD_ENOMEM);
        return;
    }
    *w = (struct waiter){cr->flush->later, done, arg};
    cr->flush->later = w;
    if (!cr->flush->running)
        begin(cr->flush);
}

/* Those who wait are told that it was not done. */
void cr_flush_stop(struct cr *self)
{
    struct cr_flush *f = self->flush;

    if (!f)
        return;
    self->flush = NULL;
    f->stopped = 1;
    tell(f->now, HD_ECANCELLED);
    tell(f->later, HD_ECANCELLED);
    f->now = f->later = NULL;
    free_flush(f);
}
