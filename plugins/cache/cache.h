/*
 * The plugin "cache": what its parts share. How the parts hang together stands in cache.c.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <howdah/howdah.h>
#include <pthread.h>

#include "epochs.h"
#include "flight.h"
#include "plain.h"
#include "prepared.h"
#include "rule_stats.h"
#include "rules.h"
#include "shared.h"
#include "stats.h"

/* A store that answers are kept in. */
struct cache_tier {
    const struct hd_cache_store_v1 *store;
    void *self; /* the provider's instance */
    char name[HD_EVENT_NAME];
};

struct cache_left;

struct cache {
    hd_host *host;
    const struct hd_template_v1 *template;
    const struct hd_catalog_v1 *catalog;
    const struct hd_statement_v1 *statement;
    const struct hd_metrics_v1 *metrics;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    const struct hd_bus_v1 *bus;
    const struct hd_jobs_v1 *jobs;
    int64_t written_topic; /* what is told to other hosts, and heard of them */
    int32_t listens;       /* [control] it is heard */
    int32_t reserved3;
    const struct hd_nodes_v1 *nodes;
    const struct hd_change_stream_v1 *stream; /* NULL: no mode needs it */
    void *stream_self;
    struct cache_tier tiers[CACHE_TIERS_MAX];
    uint32_t tier_count;
    uint32_t reserved;
    uint64_t nonce; /* of this instance: heads of another's values point to nothing */
    struct cache_epochs epochs;
    struct cache_shared shared;
    struct cache_flights flights;
    struct cache_prepared_list prepared;
    pthread_mutex_t left_lock;
    struct cache_left *left; /* guarded by left_lock */
    struct cache_warm *warm; /* NULL: reads are not noted */
    struct cache_stats stats;
    struct cache_rule_stats *rule_stats; /* made on the control thread */
    struct cache_explain *explaining;    /* under way; the control thread's */
    struct cache_plain plain;
    _Atomic uint32_t ending; /* parts that have not come to their end, while the plugin stops */
    pthread_mutex_t lock;    /* guards `rules`: workers take a reference while a reload exchanges them */
    struct cache_rules *rules;
};

/* Bytes that grow; `failed` once there was no memory. */
struct cache_bytes {
    uint8_t *p;
    size_t len, cap;
    int failed;
};

void cache_put(struct cache_bytes *b, const void *bytes, size_t len);
void cache_put_number(struct cache_bytes *b, uint64_t n);
void cache_put_str(struct cache_bytes *b, struct hd_str s); /* with its length in front */

/* An answer on its way out, which its store has lent. */
struct cache_hit {
    struct cache_hit *next; /* among those not in use */
    struct cache_worker *worker;
    const struct cache_tier *tier;
    struct hd_cache_value value;
};

/* A statement that waits, until when. */
struct cache_parked {
    uint64_t handle;
    uint64_t until_ns;
};

/* One worker's part; only its thread touches it. */
struct cache_worker {
    struct cache *cache;
    struct cache_scope *scopes;
    uint32_t scope_count;
    uint32_t reserved;
    struct cache_bytes key; /* of the statement at hand */
    struct cache_drawing drawing;
    struct cache_hit *free_hits;
    struct cache_parked *parked; /* a ring, oldest first */
    uint32_t parked_first, parked_count, parked_cap;
    uint32_t sample; /* counts hits; see warm.c */
    uint32_t reserved2;
    uint64_t random; /* of early refresh; 0: not used yet */
    hd_timer *timer; /* made when the first statement waits */
};

extern const struct hd_filter_v1 cache_filter;

/* Registers the commands. [control] */
int32_t cache_commands_add(struct cache *self, struct hd_error *err);

/* One of the parts that stop() waits for has come to its end. [any] */
void cache_part_ended(struct cache *self);

uint64_t cache_now_ns(void);

#endif
