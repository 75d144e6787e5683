/*
 * A connection's insides, for the files that it is made of: conn.c (life and replies), conn_open.c (name,
 * socket, login), conn_send.c (commands on their way out).
 */
#ifndef HD_PLUGINS_REDIS_CONN_PARTS_H
#define HD_PLUGINS_REDIS_CONN_PARTS_H

#include "redis/conn.h"

/* A command that was sent and has no reply yet. */
struct rds_wait {
    rds_reply_fn fn; /* NULL: nobody waits, or was told already */
    void *arg;
    uint64_t sent_ms;
};

/* A name that a job is resolving; what is left of it when the connection goes. */
struct rds_lookup;

enum rds_conn_state { RDS_CLOSED, RDS_RESOLVING, RDS_CONNECTING, RDS_SHAKING, RDS_LOGIN, RDS_READY };

struct rds_conn {
    struct rds_env *env;
    struct rds_limits limits;
    struct rds_login login;
    struct rds_conn_events events;
    struct rds_address where;
    struct rds_lookup *lookup;
    struct rds_wait *waits; /* a ring */
    uint32_t wait_mask, first, count;
    uint32_t told; /* of the first ones it was said that they are late */
    uint32_t late; /* how often that was so, since one came in time */
    int32_t thread;
    int fd;
    struct rds_tls_session *tls; /* NULL: without */
    enum rds_conn_state state;
    int busy;  /* callbacks are running: freeing waits */
    int freed; /* by its owner, meanwhile */
    int dropping;
    uint64_t opened_ms;
    uint32_t life;     /* counts closes: whoever has called back sees by it that all is new */
    uint32_t attempts; /* to connect */
    hd_watch *watch;
    hd_timer *clock;    /* deadlines */
    hd_timer *flush;    /* the end of this turn */
    uint64_t clock_due; /* 0: it does not run */
    uint32_t watched;   /* events */
    redisReader *reader;
    char *out;
    size_t out_len, out_at, out_cap;
    char why[200]; /* of the drop to come */
};

/* conn.c */
void rds_conn_close(struct rds_conn *c, const char *why);
void rds_conn_clock(struct rds_conn *c);
void rds_conn_ready_for(struct rds_conn *c, uint32_t events);
const char *rds_conn_error(const struct rds_conn *c);

/* conn_open.c: the socket is connected, or not; the handshake goes on. */
void rds_conn_connected(struct rds_conn *c);
void rds_conn_shake(struct rds_conn *c);
void rds_conn_forget_lookup(struct rds_conn *c);

/* conn_send.c */
void rds_conn_write(struct rds_conn *c);
int32_t rds_conn_queue(struct rds_conn *c, uint32_t argc, const struct hd_str *argv, rds_reply_fn fn,
                       void *arg);

#endif
