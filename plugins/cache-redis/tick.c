/*
 * The clock that hosts share: one key of the namespace, that a script in Redis makes greater each time. It is
 * never less than the server's own clock, in microseconds: so it goes on from where it was when the key is
 * lost, with all values of the namespace or when a replica takes over that was behind. The two together
 * only fail a failover to a server whose clock is further behind than the failover has taken.
 *
 * The key's name is no value's, so that a flush leaves it alone.
 */
#include "cache-redis/cache-redis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REDIRECTS_MAX 4
#define COMMAND_BYTES 1024 /* more than one takes */

/* Numbers of Redis' Lua are exact up to 2^53, which is the year 2255. The first line is for those older than
 * 5, which else take no time of day into account. */
static const char script[] = "if redis.replicate_commands then redis.replicate_commands() end "
                             "local t = redis.call('TIME') "
                             "local n = t[1] * 1000000 + t[2] "
                             "local before = tonumber(redis.call('GET', KEYS[1])) or 0 "
                             "if n <= before then n = before + 1 end "
                             "local text = string.format('%.0f', n) "
                             "redis.call('SET', KEYS[1], text) "
                             "return text";

struct asked {
    struct cr_worker *worker;
    struct rds_link *link;
    void (*done)(void *arg, int32_t code, uint64_t tick);
    void *arg;
    uint32_t redirects;
    uint32_t name_len;
    char name[CR_NAME_MAX];
};

static void on_tick(void *arg, int32_t code, const redisReply *r);

/* The namespace's head without the colon that stands before values' names. */
static void make_name(struct asked *a)
{
    static const char tail[] = "#tick";
    const struct cr *self = a->worker->self;

    memcpy(a->name, self->head, self->head_len - 1);
    memcpy(a->name + self->head_len - 1, tail, sizeof(tail) - 1);
    a->name_len = (uint32_t)(self->head_len - 1 + sizeof(tail) - 1);
}

static int32_t send(struct asked *a, int asking)
{
    const struct hd_str words[] = {RDS_WORD("EVAL"), RDS_WORD(script), RDS_WORD("1"), {a->name, a->name_len}};
    const struct hd_str ask = RDS_WORD("ASKING");
    struct rds_conn *conn = a->link->conn;

    if (!rds_conn_room(conn, 2, COMMAND_BYTES))
        return HD_EBUSY;
    if (asking)
        rds_conn_send(conn, 1, &ask, NULL, NULL);
    return rds_conn_send(conn, 4, words, on_tick, a);
}

static void finish(struct asked *a, int32_t code, uint64_t tick)
{
    if (code)
        cr_count(a->worker, CR_ERRORS);
    a->done(a->arg, code, tick);
    free(a);
}

/* Another server has the key. 1: it was sent there. */
static int follow(struct asked *a, const redisReply *r)
{
    struct rds_link *other;
    int asking = 0;

    if (a->redirects++ >= REDIRECTS_MAX)
        return 0;
    other = rds_servers_follow(a->worker->servers, a->link, r, &asking);
    if (!other)
        return 0;
    a->link = other;
    return send(a, asking) == HD_OK;
}

static uint64_t number_of(const redisReply *r)
{
    char *end;
    uint64_t n;

    if (r->type != REDIS_REPLY_STRING || !r->len || r->len > 17 || r->str[0] < '1' || r->str[0] > '9')
        return 0;
    errno = 0;
    n = strtoull(r->str, &end, 10);
    return errno || *end ? 0 : n;
}

static void on_tick(void *arg, int32_t code, const redisReply *r)
{
    struct asked *a = arg;
    uint64_t n = code == HD_OK ? number_of(r) : 0;

    if (n) {
        rds_link_good(a->link);
        finish(a, HD_OK, n);
    } else if (code == HD_OK && r->type == REDIS_REPLY_ERROR) {
        if (!follow(a, r)) /* or it has no room, or no scripts: nothing that another connection would cure */
            finish(a, HD_EBUSY, 0);
    } else {
        if (code == HD_OK)
            rds_link_fault(a->link, r);
        finish(a, HD_EBUSY, 0);
    }
}

int32_t cr_tick(void *self, void (*done)(void *arg, int32_t code, uint64_t tick), void *arg)
{
    struct cr_worker *w = cr_here(self);
    struct asked *a = w && done ? calloc(1, sizeof(*a)) : NULL;

    if (!a)
        return HD_EBUSY;
    a->worker = w;
    a->done = done;
    a->arg = arg;
    make_name(a);
    a->link = rds_servers_for(w->servers, (struct hd_str){a->name, a->name_len});
    if (a->link && send(a, 0) == HD_OK)
        return HD_PENDING;
    free(a);
    cr_count(w, CR_BYPASSED);
    return HD_EBUSY;
}
