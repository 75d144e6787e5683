/*
 * The plugin's insides, shared by its files: bus-redis.c (options and life), carry.c (events out and in),
 * show.c; message.h says what goes over the wire, peers.h who is there.
 */
#ifndef HD_PLUGINS_BUS_REDIS_H
#define HD_PLUGINS_BUS_REDIS_H

#include <howdah/howdah.h>

#include "bus-redis/peers.h"
#include "redis/link.h"

#define BR_TOPICS_MAX 32
#define BR_LABEL_MAX  64

#define BR_SILENT_BEATS 4 /* without any message, and the way or a host counts as lost */

struct br_conf {
    struct hd_str url, password, sentinel_password, prefix, name_space;
    struct rds_tls_conf tls;
    struct hd_str_list topics;
    int64_t heartbeat, connect_timeout, retry, max_retry, max_pending;
};

enum br_count { BR_SENT, BR_RECEIVED, BR_DROPPED, BR_GAPS, BR_WRONG, BR_COUNTS };

struct br;

/* A topic that is carried. */
struct br_topic {
    struct br *self;
    char name[HD_EVENT_NAME];
    int32_t number; /* on the bus; 0: nobody has declared it yet */
    int64_t subscription;
};

/* All of it is the control thread's. */
struct br {
    struct rds_env env;
    const struct hd_metrics_v1 *metrics;
    const struct hd_commands_v1 *commands;
    const struct hd_bus_v1 *bus;
    struct rds_url url;
    struct rds_tls *tls; /* NULL: without */
    struct rds_link_conf link, subscriber;
    char password[RDS_NAME_SIZE], sentinel_password[RDS_NAME_SIZE];
    char channel[2 * BR_LABEL_MAX + 8];
    struct rds_link *out, *in; /* to publish, to subscribe */
    hd_timer *timer;
    uint64_t heartbeat_ms;
    uint32_t silent; /* heartbeats since anything came in, our own messages included */
    int joined;      /* subscribed: what others publish is heard */
    struct br_host_id host;
    uint64_t number; /* of our last message */
    struct br_topic topic[BR_TOPICS_MAX];
    uint32_t topics;
    int32_t link_topic; /* bus.link */
    struct br_peers peers;
    uint64_t count[BR_COUNTS];
    int64_t metric[BR_COUNTS], metric_up;
};

/* carry.c */
int32_t br_carry_start(struct br *self, struct hd_error *err);
void br_carry_stop(struct br *self);

/* show.c */
int32_t br_show_start(struct br *self, struct hd_error *err);

#endif
