/*
 * Keys that were evicted a short while ago; see ghost.h.
 */
#include "ghost.h"

#include <howdah/error.h>
#include <stdlib.h>

#define BUCKET    8 /* slots that a key may be in: one cache line */
#define SLOTS_MIN 64
#define SLOTS_MAX (1u << 26)
#define UNIT_BITS 4

static uint32_t slots_for(uint64_t entries)
{
    uint32_t n = SLOTS_MIN;

    while (n < entries && n < SLOTS_MAX)
        n *= 2;
    return n;
}

size_t cm_ghosts_bytes(uint64_t entries)
{
    return slots_for(entries) * sizeof(struct cm_ghost_slot);
}

int cm_ghosts_small(const struct cm_ghosts *g, uint64_t entries)
{
    return g->count < slots_for(entries);
}

/* The hash's middle: its top chooses the shard, its bottom the index's bucket. */
static uint32_t tag_of(uint64_t hash)
{
    uint32_t tag = (uint32_t)(hash >> 20);

    return tag ? tag : 1;
}

static struct cm_ghost_slot *bucket_of(const struct cm_ghosts *g, uint32_t tag)
{
    return &g->slots[(tag & (g->count / BUCKET - 1)) * BUCKET];
}

static uint32_t now(const struct cm_ghosts *g)
{
    return (uint32_t)(g->clock >> UNIT_BITS);
}

/* Where `tag` goes: its own slot, a free one, or the one whose ghost is oldest. */
static struct cm_ghost_slot *slot_for(const struct cm_ghosts *g, uint32_t tag)
{
    struct cm_ghost_slot *bucket = bucket_of(g, tag), *best = &bucket[0];

    for (unsigned i = 0; i < BUCKET; i++) {
        if (bucket[i].tag == tag)
            return &bucket[i];
        if (!best->tag)
            continue;
        if (!bucket[i].tag || now(g) - bucket[i].at > now(g) - best->at)
            best = &bucket[i];
    }
    return best;
}

int32_t cm_ghosts_grow(struct cm_ghosts *g, uint64_t entries)
{
    struct cm_ghosts old = *g;
    uint32_t n = slots_for(entries);
    struct cm_ghost_slot *slots = calloc(n, sizeof(*slots));

    if (!slots)
        return HD_ENOMEM;
    g->slots = slots;
    g->count = n;
    for (uint32_t i = 0; i < old.count; i++)
        if (old.slots[i].tag)
            *slot_for(g, old.slots[i].tag) = old.slots[i];
    free(old.slots);
    return HD_OK;
}

void cm_ghosts_clear(struct cm_ghosts *g)
{
    free(g->slots);
    g->slots = NULL;
    g->count = 0;
}

void cm_ghosts_add(struct cm_ghosts *g, uint64_t hash, uint32_t bytes)
{
    struct cm_ghost_slot *s;

    g->clock += bytes;
    if (!g->slots)
        return;
    s = slot_for(g, tag_of(hash));
    s->tag = tag_of(hash);
    s->at = now(g);
}

int cm_ghosts_take(struct cm_ghosts *g, uint64_t hash, uint64_t span)
{
    uint32_t tag = tag_of(hash);
    struct cm_ghost_slot *bucket;

    if (!g->slots)
        return 0;
    bucket = bucket_of(g, tag);
    for (unsigned i = 0; i < BUCKET; i++)
        if (bucket[i].tag == tag) {
            bucket[i].tag = 0;
            return (uint64_t)(now(g) - bucket[i].at) <= span >> UNIT_BITS;
        }
    return 0;
}
