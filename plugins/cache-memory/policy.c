/*
 * S3-FIFO and LRU on queues of nodes; see policy.h.
 */
#include "policy.h"

#include <string.h>

#define FREQ_MAX 3
/* Asked for more than once while in the small queue: worth the main queue. */
#define FREQ_MAIN 2
/* Nodes that are moved on in the search for a victim; then the next one goes, however often it was asked for.
 * It bounds how long the lock is held when everything is hot. */
#define STEPS_MAX 256

static void push(struct cm_policy *p, struct cm_node *n, enum cm_queue_id id)
{
    struct cm_queue *q = &p->queue[id];

    n->queue = (uint8_t)id;
    n->newer = NULL;
    n->older = q->newest;
    if (q->newest)
        q->newest->newer = n;
    else
        q->oldest = n;
    q->newest = n;
    q->bytes += n->bytes;
}

void cm_policy_remove(struct cm_policy *p, struct cm_node *n)
{
    struct cm_queue *q = &p->queue[n->queue];

    if (n->newer)
        n->newer->older = n->older;
    else
        q->newest = n->older;
    if (n->older)
        n->older->newer = n->newer;
    else
        q->oldest = n->newer;
    q->bytes -= n->bytes;
}

static void move(struct cm_policy *p, struct cm_node *n, enum cm_queue_id id)
{
    cm_policy_remove(p, n);
    push(p, n, id);
}

void cm_policy_hit(struct cm_policy *p, struct cm_node *n)
{
    if (n->freq < FREQ_MAX)
        n->freq++;
    if (n->spared)
        n->spared = 0;
    if (n->queue == CM_SMALL && n->newer && (p->lru || p->wide))
        move(p, n, CM_SMALL);
}

/* Bytes of values that have gone within which a key that comes back was a ghost: as many as the main queue
 * has, as in the paper. */
static uint64_t ghost_span(const struct cm_policy *p)
{
    return p->capacity - p->capacity / 10;
}

void cm_policy_add(struct cm_policy *p, struct cm_node *n)
{
    int known = !p->lru && cm_ghosts_take(&p->ghosts, n->hash, ghost_span(p));

    n->freq = 0;
    n->spared = 0;
    push(p, n, known ? CM_MAIN : CM_SMALL);
}

void cm_policy_replace(struct cm_policy *p, struct cm_node *n, uint8_t queue, uint8_t freq)
{
    n->freq = freq;
    n->spared = 0;
    push(p, n, queue);
}

static uint64_t small_part(const struct cm_policy *p)
{
    return p->wide ? p->capacity - p->capacity / 10 : p->capacity / 10;
}

/* The oldest of the queue that has to give; NULL when both are empty. */
static struct cm_node *candidate(const struct cm_policy *p)
{
    const struct cm_queue *small = &p->queue[CM_SMALL], *main = &p->queue[CM_MAIN];

    return small->oldest && (small->bytes >= small_part(p) || !main->oldest) ? small->oldest : main->oldest;
}

struct cm_node *cm_policy_victim(struct cm_policy *p)
{
    struct cm_node *n;

    if (p->lru)
        return p->queue[CM_SMALL].oldest;
    for (unsigned step = 0; (n = candidate(p)) && step < STEPS_MAX; step++) {
        if (n->queue == CM_SMALL && n->freq >= FREQ_MAIN)
            n->freq = 0;
        else if (n->queue == CM_MAIN && n->freq)
            n->freq--;
        else
            break;
        move(p, n, CM_MAIN);
    }
    return n;
}

void cm_policy_evict(struct cm_policy *p, struct cm_node *n)
{
    cm_policy_remove(p, n);
    if (!p->lru && n->queue == CM_SMALL)
        cm_ghosts_add(&p->ghosts, n->hash, n->bytes);
}

void cm_policy_clear(struct cm_policy *p)
{
    memset(p->queue, 0, sizeof(p->queue));
    cm_ghosts_clear(&p->ghosts);
}
