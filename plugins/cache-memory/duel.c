/*
 * Two caches without values on a sample of the keys; see duel.h.
 */
#include "duel.h"

#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>

#define NODES     256 /* in each of the two */
#define HEADS     512
#define NONE      NODES
#define PERIOD    1024 /* accesses between two verdicts */
#define RATE_MAX  (1u << 20)
#define SIDES     2
#define SIDE_WIDE 1

struct mini_node {
    struct cm_node node;
    uint16_t chain; /* the next of the head, or of the free ones */
};

/* One of the two caches. */
struct mini {
    struct cm_policy policy;
    uint64_t hits;  /* in this period */
    uint64_t score; /* hits of earlier ones, each half as much as the one after it */
    uint16_t free;
    uint16_t heads[HEADS];
    struct mini_node nodes[NODES];
};

struct cm_duel {
    uint32_t rate; /* one key in so many is in the sample; a power of two */
    uint32_t accesses;
    int32_t wide;
    int32_t reserved;
    struct mini side[SIDES];
};

size_t cm_duel_bytes(void)
{
    return sizeof(struct cm_duel) + SIDES * cm_ghosts_bytes(NODES);
}

static void mini_reset(struct mini *m)
{
    memset(m->policy.queue, 0, sizeof(m->policy.queue));
    memset(m->policy.ghosts.slots, 0, m->policy.ghosts.count * sizeof(struct cm_ghost_slot));
    for (unsigned i = 0; i < HEADS; i++)
        m->heads[i] = NONE;
    for (unsigned i = 0; i < NODES; i++)
        m->nodes[i].chain = (uint16_t)(i + 1);
    m->free = 0;
}

struct cm_duel *cm_duel_new(void)
{
    struct cm_duel *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->rate = 1;
    d->side[SIDE_WIDE].policy.wide = 1;
    for (unsigned i = 0; i < SIDES; i++) {
        if (cm_ghosts_grow(&d->side[i].policy.ghosts, NODES) != HD_OK) {
            cm_duel_free(d);
            return NULL;
        }
        mini_reset(&d->side[i]);
    }
    return d;
}

void cm_duel_free(struct cm_duel *d)
{
    if (!d)
        return;
    for (unsigned i = 0; i < SIDES; i++)
        cm_ghosts_clear(&d->side[i].policy.ghosts);
    free(d);
}

/* --- one of the two ---------------------------------------------------------------------------------------
 */

static uint16_t *head_of(struct mini *m, uint64_t hash)
{
    return &m->heads[(hash >> 8) & (HEADS - 1)];
}

static struct mini_node *mini_find(struct mini *m, uint64_t hash)
{
    for (uint16_t i = *head_of(m, hash); i != NONE; i = m->nodes[i].chain)
        if (m->nodes[i].node.hash == hash)
            return &m->nodes[i];
    return NULL;
}

static void mini_evict(struct mini *m)
{
    struct cm_node *n = cm_policy_victim(&m->policy);
    struct mini_node *victim = (struct mini_node *)(void *)((char *)n - offsetof(struct mini_node, node));
    uint16_t number = (uint16_t)(victim - m->nodes), *link = head_of(m, n->hash);

    while (*link != number)
        link = &m->nodes[*link].chain;
    *link = victim->chain;
    victim->chain = m->free;
    m->free = number;
    cm_policy_evict(&m->policy, n);
}

static void mini_access(struct mini *m, uint64_t hash, uint32_t bytes)
{
    struct mini_node *n = mini_find(m, hash);
    uint16_t *head = head_of(m, hash), number;

    if (n) {
        m->hits++;
        cm_policy_hit(&m->policy, &n->node);
        return;
    }
    if (bytes > m->policy.capacity)
        return;
    while (m->free == NONE || cm_policy_bytes(&m->policy) + bytes > m->policy.capacity)
        mini_evict(m);
    number = m->free;
    n = &m->nodes[number];
    m->free = n->chain;
    n->chain = *head;
    *head = number;
    n->node.hash = hash;
    n->node.bytes = bytes;
    cm_policy_add(&m->policy, &n->node);
}

/* --- both
 * --------------------------------------------------------------------------------------------------- */

/* Takes a smaller or larger part of the keys, so that the nodes suffice and are used. */
static void sample_again(struct cm_duel *d, uint64_t entries)
{
    uint32_t rate = d->rate;

    while (entries / rate > NODES - NODES / 8 && rate < RATE_MAX)
        rate *= 2;
    while (entries / rate < NODES / 8 && rate > 1)
        rate /= 2;
    if (rate == d->rate)
        return;
    d->rate = rate;
    for (unsigned i = 0; i < SIDES; i++)
        mini_reset(&d->side[i]);
}

/* The other one has to be better by more than chance, so that the shard does not swing to and fro. */
static void judge(struct cm_duel *d)
{
    uint64_t here, there;

    d->accesses = 0;
    for (unsigned i = 0; i < SIDES; i++) {
        d->side[i].score = d->side[i].score / 2 + d->side[i].hits;
        d->side[i].hits = 0;
    }
    here = d->side[d->wide].score;
    there = d->side[!d->wide].score;
    if (there > here + here / 100 + PERIOD / 128)
        d->wide = !d->wide;
}

int cm_duel_access(struct cm_duel *d, uint64_t hash, uint32_t bytes, uint64_t entries, uint64_t capacity)
{
    /* Bits that neither the shard nor the index's bucket nor the ghosts' are chosen by. */
    if ((hash >> 36) & (d->rate - 1))
        return d->wide;
    sample_again(d, entries);
    for (unsigned i = 0; i < SIDES; i++) {
        d->side[i].policy.capacity = capacity / d->rate;
        mini_access(&d->side[i], hash, bytes);
    }
    if (++d->accesses >= PERIOD)
        judge(d);
    return d->wide;
}
