/*
 * From key to item: chained hashing whose table grows and shrinks by one bucket at a time (linear hashing:
 * Litwin, VLDB 1980), so that no call takes long. Buckets lie in segments, which are allocated and given back
 * as they are needed.
 *
 * Belongs to whoever holds the shard's lock.
 */
#ifndef CACHE_MEMORY_INDEX_H
#define CACHE_MEMORY_INDEX_H

#include <stdatomic.h>

#include "policy.h"

/* A value with its key. */
struct cm_item {
    struct cm_item *chain; /* the next in its bucket; the next of the dead */
    struct cm_node node;
    struct cm_shard *shard;
    uint64_t expires_ms; /* on the monotonic clock */
    uint64_t cost_ns;
    atomic_uint refs; /* one by the index, and one for each get() without its release() */
    uint32_t head_len, key_len, describe_len, bytes_len;
    uint32_t reserved;
    _Alignas(8) char data[]; /* head, key, describe, bytes; the head first, so that it is aligned */
};

static inline const char *cm_item_key(const struct cm_item *item)
{
    return item->data + item->head_len;
}

struct cm_index {
    struct cm_item ***segments;
    uint32_t room; /* segments that the directory has room for */
    uint32_t buckets;
    uint32_t low; /* the largest power of two that is not more than `buckets` */
    uint32_t reserved;
    uint64_t count; /* items */
};

/* Bytes that tables take now; those that cm_index_grow() would take beside them (0: it has nothing to do, or
 * needs none); and those of an index that has so many items. */
size_t cm_index_bytes(const struct cm_index *ix);
size_t cm_index_growth(const struct cm_index *ix);
size_t cm_index_bytes_for(uint64_t count);

/* Makes room for one more item, where it is time to; HD_ENOMEM leaves longer chains, but an index without any
 * bucket takes no item. */
int32_t cm_index_grow(struct cm_index *ix);
void cm_index_add(struct cm_index *ix, struct cm_item *item);
struct cm_item *cm_index_find(const struct cm_index *ix, uint64_t hash, const char *key, uint64_t len);
/* Takes an item out that is in it, and shrinks. */
void cm_index_remove(struct cm_index *ix, struct cm_item *item);
/* Gives the tables back; the items are not touched. */
void cm_index_free(struct cm_index *ix);

#endif
