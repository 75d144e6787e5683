/*
 * Which value goes next: S3-FIFO or LRU, by bytes.
 *
 * S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023): new
 * values enter a small queue; those that are asked for there more than once move to the main queue, the
 * others leave soon and become ghosts; a key that comes back while it is a ghost goes to the main queue at
 * once. In the main queue a value that has been asked for goes round again. So one scan of many values
 * displaces little but the small queue.
 *
 * The paper's small queue has a tenth of the bytes. Where the same values are asked for in bursts and then no
 * more, that is too little, and plain LRU beats it. Hence `wide`: the small queue has nine tenths of the
 * bytes and its order is that of the last use, which comes close to LRU. duel.h finds out which is better.
 *
 * A policy knows nodes, not values; whoever owns them allocates and frees. Nothing here allocates but the
 * ghosts' table.
 */
#ifndef CACHE_MEMORY_POLICY_H
#define CACHE_MEMORY_POLICY_H

#include "ghost.h"

enum cm_queue_id { CM_SMALL, CM_MAIN, CM_QUEUES };

struct cm_node {
    struct cm_node *newer, *older;
    uint64_t hash;
    uint32_t bytes;
    uint8_t queue;  /* enum cm_queue_id */
    uint8_t freq;   /* times that it was asked for, up to 3 */
    uint8_t spared; /* times that it stayed since what came was worth less */
    uint8_t reserved;
};

struct cm_queue {
    struct cm_node *newest, *oldest;
    uint64_t bytes;
};

struct cm_policy {
    struct cm_queue queue[CM_QUEUES];
    struct cm_ghosts ghosts;
    uint64_t capacity; /* bytes that nodes may have, by which the small queue's part is reckoned */
    int32_t lru;       /* plain LRU: all is in the small queue, and there are no ghosts */
    int32_t wide;
};

/* The node was asked for. */
void cm_policy_hit(struct cm_policy *p, struct cm_node *n);
/* A new node; hash and bytes are filled. */
void cm_policy_add(struct cm_policy *p, struct cm_node *n);
/* A node in the place of one that has just been removed: in its queue, as often asked for. */
void cm_policy_replace(struct cm_policy *p, struct cm_node *n, uint8_t queue, uint8_t freq);
/* The node that has to go next, which stays where it is; NULL when there is none. */
struct cm_node *cm_policy_victim(struct cm_policy *p);
/* Takes a node out. */
void cm_policy_remove(struct cm_policy *p, struct cm_node *n);
/* Takes the victim out and remembers it as a ghost, if it comes from the small queue. */
void cm_policy_evict(struct cm_policy *p, struct cm_node *n);
/* All nodes are gone, and the ghosts. */
void cm_policy_clear(struct cm_policy *p);

static inline uint64_t cm_policy_bytes(const struct cm_policy *p)
{
    return p->queue[CM_SMALL].bytes + p->queue[CM_MAIN].bytes;
}

#endif
