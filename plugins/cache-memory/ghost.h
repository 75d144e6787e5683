/*
 * Ghosts: keys that were evicted a short while ago, by a fingerprint of their hash and the time when they
 * went, in a table of small buckets where the oldest of a bucket makes room. "Time" is the bytes of values
 * that have gone, so "a short while" is a number of bytes, too. A ghost may be lost early, and one in some
 * ten thousand look-ups finds a ghost that never was: both cost a little of the hit ratio and nothing else.
 *
 * Belongs to whoever holds the shard's lock.
 */
#ifndef CACHE_MEMORY_GHOST_H
#define CACHE_MEMORY_GHOST_H

#include <stddef.h>
#include <stdint.h>

struct cm_ghost_slot {
    uint32_t tag; /* 0: free */
    uint32_t at;  /* the clock, in units of 16 bytes */
};

struct cm_ghosts {
    struct cm_ghost_slot *slots; /* NULL: no ghost is kept */
    uint32_t count;              /* slots, a power of two */
    uint32_t reserved;
    uint64_t clock; /* bytes that have gone */
};

/* Bytes that a table has which is large enough beside so many values. */
size_t cm_ghosts_bytes(uint64_t entries);
/* Is the table too small beside so many values? */
int cm_ghosts_small(const struct cm_ghosts *g, uint64_t entries);
/* Takes a larger table, keeping the ghosts. HD_ENOMEM changes nothing. */
int32_t cm_ghosts_grow(struct cm_ghosts *g, uint64_t entries);
/* Forgets all, and gives the table back. */
void cm_ghosts_clear(struct cm_ghosts *g);

/* A value of that size has gone. */
void cm_ghosts_add(struct cm_ghosts *g, uint64_t hash, uint32_t bytes);
/* Was it here within the last `span` bytes? If so it is forgotten. */
int cm_ghosts_take(struct cm_ghosts *g, uint64_t hash, uint64_t span);

#endif
