/*
 * A connection that keeps itself up, and its circuit breaker.
 *
 * A server that refuses, goes away, stays silent or answers nonsense several times in a row is left alone for
 * a while, each time longer, up to `retry_max_ms`; then it is tried with a connection of its own (login and
 * PING), and only if that goes well do commands go there again. Meanwhile rds_link_ready() says no, at the
 * cost of one comparison.
 *
 * With sentinels the server is asked for anew before each attempt; so a link follows a failover, which ends
 * the connections to the old master or makes it refuse writes.
 */
#ifndef HD_PLUGINS_REDIS_LINK_H
#define HD_PLUGINS_REDIS_LINK_H

#include "redis/conn.h"

#include <pthread.h>

struct rds_link;
struct rds_sentinel;

/* Shared by all links of a plugin; strings in it stay as long as they do. */
struct rds_link_conf {
    struct rds_env *env;
    struct rds_limits limits;
    struct rds_login login;
    const struct rds_url *url; /* RDS_SENTINEL: whom to ask, and for which master */
    struct rds_login sentinel_login;
    uint64_t retry_ms, retry_max_ms;
};

struct rds_link_events {
    void (*up)(void *arg, struct rds_link *l);   /* NULL: not wanted */
    void (*down)(void *arg, struct rds_link *l); /* NULL: not wanted; told when it had been up */
    void (*push)(void *arg, const redisReply *reply);
    void *arg;
};

/* What is shown of a link; any thread may read it under the lock. */
struct rds_link_state {
    char server[RDS_LABEL_SIZE];
    char why[200]; /* of the last failure */
    int up;
    uint64_t connects, losses;
};

struct rds_link {
    struct rds_link *next; /* the owner's */
    const struct rds_link_conf *conf;
    struct rds_link_events events;
    struct rds_address address;
    struct rds_conn *conn;
    struct rds_sentinel *sentinel;
    hd_timer *retry;
    uint64_t wait_ms; /* until the next attempt, if this one fails */
    uint32_t faults;  /* in a row */
    int32_t thread;
    pthread_mutex_t lock;
    struct rds_link_state state;
};

/* Begins to connect, soon. `address` is not looked at with sentinels. NULL: no memory. */
struct rds_link *rds_link_new(const struct rds_link_conf *conf, int32_t thread,
                              const struct rds_address *address, const struct rds_link_events *events);
/* Not from within its callbacks. Commands without a reply are told HD_EIO first. */
void rds_link_free(struct rds_link *l);

static inline int rds_link_ready(const struct rds_link *l)
{
    return rds_conn_ready(l->conn);
}

/* A reply was what it should be; or was not, or an error: several of them in a row, and the link is dropped.
 */
void rds_link_good(struct rds_link *l);
void rds_link_fault(struct rds_link *l, const redisReply *reply);

void rds_link_show(struct rds_link *l, struct rds_link_state *out);

#endif
