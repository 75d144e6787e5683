/*
 * The plugin's insides, shared by its files: cache-redis.c (options and life), store.c (the capability),
 * tick.c (its clock), flush.c, show.c; value.h says what an entry looks like.
 */
#ifndef HD_PLUGINS_CACHE_REDIS_H
#define HD_PLUGINS_CACHE_REDIS_H

#include <howdah/howdah.h>

#include "cache-redis/value.h"
#include "redis/servers.h"

#define CR_WORKERS_MAX 256
#define CR_HEAD_MAX    140 /* prefix and namespace, with their colons */
#define CR_NAME_MAX    (CR_HEAD_MAX + 33)

struct cr_conf {
    struct hd_str url, password, sentinel_password, prefix, name_space;
    struct rds_tls_conf tls;
    int64_t ttl, max_value_bytes, compress_above;
    int64_t timeout, connect_timeout, retry, max_retry;
    int64_t max_pending, max_buffer;
};

/* What is counted, by each worker for itself. */
enum cr_count {
    CR_HITS,
    CR_MISSES,
    CR_PUTS,
    CR_REJECTED, /* too long, or without any time left */
    CR_TIMEOUTS,
    CR_WRONG, /* values that were not what they should be */
    CR_ERRORS,
    CR_BYPASSED, /* not tried */
    CR_FULL,     /* refused by Redis for want of room */
    CR_COUNTS
};

struct cr;
struct cr_call;

/* What one worker has. */
struct cr_worker {
    struct cr *self;
    struct rds_servers *servers;
    struct cr_call *free_calls;
    struct cr_buffer entry; /* on its way to Redis */
    struct cr_buffer room;  /* for one that is unpacked */
    uint64_t full_until_ms;
    int32_t number;
    int full; /* Redis has said so, and has taken nothing since */
    _Atomic uint64_t count[CR_COUNTS];
};

struct cr {
    struct rds_env env;
    const struct hd_metrics_v1 *metrics;
    const struct hd_commands_v1 *commands;
    struct rds_url url;
    struct rds_tls *tls; /* NULL: without */
    struct rds_link_conf link;
    char password[RDS_NAME_SIZE], sentinel_password[RDS_NAME_SIZE];
    char head[CR_HEAD_MAX]; /* of all names */
    size_t head_len;
    uint64_t max_value;
    _Atomic uint64_t ttl_ms, compress_above;
    int64_t metric[CR_COUNTS];
    int64_t seconds;
    hd_timer *wake; /* [control] until each worker has been told to begin */
    struct cr_flush *flush;
    pthread_mutex_t lock; /* guards `worker` */
    struct cr_worker *worker[CR_WORKERS_MAX];
    uint8_t told[CR_WORKERS_MAX]; /* [control] */
};

/* cache-redis.c: this thread's, or NULL. */
struct cr_worker *cr_here(struct cr *self);

/* store.c */
extern const struct hd_cache_store_v1 cr_store;
void cr_free_calls(struct cr_worker *w);
uint64_t cr_counted(struct cr *self, enum cr_count which);
void cr_count(struct cr_worker *w, enum cr_count which);

/* tick.c */
int32_t cr_tick(void *self, void (*done)(void *arg, int32_t code, uint64_t tick), void *arg);

/* flush.c */
struct cr_flush;
void cr_flush(void *self, void (*done)(void *arg, int32_t code), void *arg);
void cr_flush_stop(struct cr *self);

/* show.c */
int32_t cr_show_start(struct cr *self, struct hd_error *err);

#endif
