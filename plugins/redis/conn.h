/*
 * One connection to a Redis server, on the loop of the thread that made it: RESP2, pipelined, never blocking.
 *
 * Replies are parsed by hiredis' reader. Its asynchronous contexts are not used: they resolve names on the
 * calling thread, and abort the process when a server sends a reply that nobody has asked for.
 *
 * Commands of one turn of the loop leave in one write at its end. Every command has its answer within
 * `timeout_ms`: a reply, or HD_ETIMEOUT; a reply that comes later is dropped, and until it has come the
 * connection counts as late and takes nothing. A server that stays silent for `silent_ms`, or is late several
 * times in a row, is given up.
 */
#ifndef HD_PLUGINS_REDIS_CONN_H
#define HD_PLUGINS_REDIS_CONN_H

#include "redis/env.h"
#include "redis/tls.h"
#include "redis/url.h"

#include <hiredis/hiredis.h>

struct rds_conn;

/* Limits; copied. */
struct rds_limits {
    uint64_t timeout_ms;  /* for a reply */
    uint64_t silent_ms;   /* without the reply that is due; then the connection is closed */
    uint64_t connect_ms;  /* for name, connection and login together */
    uint32_t max_pending; /* commands without a reply */
    uint64_t max_output;  /* bytes that wait to be sent */
    uint64_t max_input;   /* bytes of one reply */
};

/* Who logs in, and what the server must be. Strings stay the caller's, as long as the connection. */
struct rds_login {
    const char *user;
    const char *password;
    uint32_t db;
    uint32_t master;           /* 1: refuse a server that is none */
    const struct rds_tls *tls; /* NULL: without */
};

/* What the owner is told; never from within a call of its own. */
struct rds_conn_events {
    void (*up)(void *arg);                            /* logged in */
    void (*down)(void *arg, const char *why);         /* could not connect, or lost; closed now */
    void (*push)(void *arg, const redisReply *reply); /* NULL; or it gets every reply after the login */
    void *arg;
};

/* What became of a command. HD_OK and a reply, valid during the call, which may be an error's; HD_ETIMEOUT;
 * HD_EIO: the connection was lost. */
typedef void (*rds_reply_fn)(void *arg, int32_t code, const redisReply *reply);

/* A closed connection; NULL: no memory. `thread` is the worker's number or HD_LOOP_CONTROL. */
struct rds_conn *rds_conn_new(struct rds_env *env, int32_t thread, const struct rds_limits *limits,
                              const struct rds_login *login, const struct rds_conn_events *events);
/* Closes and frees it, also from within its callbacks. Commands without a reply are told HD_EIO first. */
void rds_conn_free(struct rds_conn *c);

/* Begins to connect; up() or down() follows. Only while closed; also from within down(). */
void rds_conn_open(struct rds_conn *c, const struct rds_address *where);
/* Gives the connection up soon: down() follows, in a later turn of the loop. */
void rds_conn_drop(struct rds_conn *c, const char *why);

/* Logged in, and no reply is overdue. */
int rds_conn_ready(const struct rds_conn *c);
/* Ready, and room for so many more commands with so many bytes in all. */
int rds_conn_room(const struct rds_conn *c, uint32_t commands, uint64_t bytes);
uint32_t rds_conn_pending(const struct rds_conn *c);

/* Sends a command. HD_OK: fn follows (NULL: nobody waits). HD_EBUSY: not ready or no room. */
int32_t rds_conn_send(struct rds_conn *c, uint32_t argc, const struct hd_str *argv, rds_reply_fn fn,
                      void *arg);

/* For arguments that are constant texts. */
#define RDS_WORD(text) ((struct hd_str){text, sizeof(text) - 1})

/* Is it a status, string or error that begins with these characters? */
int rds_says(const redisReply *reply, int type, const char *start);

#endif
