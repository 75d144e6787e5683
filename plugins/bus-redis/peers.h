/*
 * The other hosts, as far as they have been heard of: which of their messages came last, and when.
 */
#ifndef HD_PLUGINS_BUS_REDIS_PEERS_H
#define HD_PLUGINS_BUS_REDIS_PEERS_H

#include "bus-redis/message.h"

#define BR_PEERS_MAX 128

struct br_peer {
    struct br_host_id host;
    uint64_t next;     /* number that its next message should have; 0: this place is free */
    uint64_t heard_ms; /* when it was heard last, to be shown */
    uint64_t received, gaps;
    uint32_t silent; /* looks at it since then */
};

struct br_peers {
    struct br_peer peer[BR_PEERS_MAX];
};

/* Notes a message. Returns 1 if messages of that host are missing before it: also for one that is heard for
 * the first time and has sent others before. 0: none; or it is an old one, which *old says. */
int br_peers_note(struct br_peers *p, const struct br_message *m, uint64_t now_ms, int *old);

/* Looks at all, once a heartbeat. Returns how many hosts have fallen silent now: not heard for so many looks.
 * Those that stay so are forgotten after `forget` looks. Looks rather than a clock: if it is this host that
 * stood still, what the others have sent meanwhile has yet to be read. */
int br_peers_look(struct br_peers *p, uint32_t silent, uint32_t forget);

/* Nobody has been heard of. */
void br_peers_clear(struct br_peers *p);

#endif
