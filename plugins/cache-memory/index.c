/*
 * Linear hashing; see index.h. Bucket b was split off from bucket b - low: both together had the items whose
 * hashes end in the same bits.
 */
#include "index.h"

#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT       512u /* buckets */
#define SEGMENT_BYTES (SEGMENT * sizeof(struct cm_item *))
#define ROOM_MIN      16u
/* Buckets for each item at which the table shrinks, and buckets that are taken back then with each removal.
 */
#define SPARSE  4u
#define SHRINKS 4u

static uint32_t segments_of(uint32_t buckets)
{
    return (buckets + SEGMENT - 1) / SEGMENT;
}

size_t cm_index_bytes(const struct cm_index *ix)
{
    return ix->room * sizeof(*ix->segments) + segments_of(ix->buckets) * SEGMENT_BYTES;
}

size_t cm_index_bytes_for(uint64_t count)
{
    uint32_t segments = segments_of(count < SEGMENT ? SEGMENT : (uint32_t)count), room = ROOM_MIN;

    while (room < segments)
        room *= 2;
    return room * sizeof(struct cm_item **) + segments * SEGMENT_BYTES;
}

static uint32_t room_after(const struct cm_index *ix)
{
    if (segments_of(ix->buckets) < ix->room)
        return ix->room;
    return ix->room ? 2 * ix->room : ROOM_MIN;
}

/* Is it time for another bucket? */
static int crowded(const struct cm_index *ix)
{
    return ix->count >= ix->buckets && ix->buckets < UINT32_MAX / 2;
}

size_t cm_index_growth(const struct cm_index *ix)
{
    if (!crowded(ix) || ix->buckets % SEGMENT)
        return 0;
    return SEGMENT_BYTES + (room_after(ix) - ix->room) * sizeof(*ix->segments);
}

static struct cm_item **bucket(const struct cm_index *ix, uint32_t number)
{
    return &ix->segments[number / SEGMENT][number % SEGMENT];
}

static struct cm_item **bucket_of(const struct cm_index *ix, uint64_t hash)
{
    uint32_t number = (uint32_t)hash & (2 * ix->low - 1);

    return bucket(ix, number < ix->buckets ? number : number - ix->low);
}

static int32_t add_segment(struct cm_index *ix)
{
    uint32_t room = room_after(ix);
    struct cm_item **segment, ***segments;

    if (room > ix->room) {
        segments = realloc(ix->segments, room * sizeof(*segments));
        if (!segments)
            return HD_ENOMEM;
        ix->segments = segments;
        ix->room = room;
    }
    segment = calloc(SEGMENT, sizeof(*segment));
    if (!segment)
        return HD_ENOMEM;
    ix->segments[segments_of(ix->buckets)] = segment;
    return HD_OK;
}

/* Moves to the newest bucket what belongs there. */
static void split(struct cm_index *ix)
{
    uint32_t number = ix->buckets, bit = ix->low;
    struct cm_item **from, **to, *item;

    ix->buckets++;
    if (ix->buckets == 2 * bit)
        ix->low = ix->buckets;
    from = bucket(ix, number - bit);
    to = bucket(ix, number);
    while ((item = *from)) {
        if (item->node.hash & bit) {
            *from = item->chain;
            item->chain = *to;
            *to = item;
        } else {
            from = &item->chain;
        }
    }
}

int32_t cm_index_grow(struct cm_index *ix)
{
    if (!crowded(ix))
        return HD_OK;
    if (ix->buckets % SEGMENT == 0 && add_segment(ix) != HD_OK)
        return HD_ENOMEM;
    if (ix->buckets) {
        split(ix);
    } else {
        ix->buckets = SEGMENT;
        ix->low = SEGMENT;
    }
    return HD_OK;
}

/* Puts the newest bucket's items back where they were before its split. */
static void merge(struct cm_index *ix)
{
    uint32_t number = ix->buckets - 1;
    struct cm_item **to, **from = bucket(ix, number);

    if (number < ix->low)
        ix->low /= 2;
    to = bucket(ix, number - ix->low);
    while (*to)
        to = &(*to)->chain;
    *to = *from;
    *from = NULL;
    ix->buckets--;
    if (ix->buckets % SEGMENT == 0) {
        free(ix->segments[ix->buckets / SEGMENT]);
        ix->segments[ix->buckets / SEGMENT] = NULL;
    }
}

void cm_index_add(struct cm_index *ix, struct cm_item *item)
{
    struct cm_item **head = bucket_of(ix, item->node.hash);

    item->chain = *head;
    *head = item;
    ix->count++;
}

struct cm_item *cm_index_find(const struct cm_index *ix, uint64_t hash, const char *key, uint64_t len)
{
    struct cm_item *item;

    if (!ix->buckets)
        return NULL;
    for (item = *bucket_of(ix, hash); item; item = item->chain)
        if (item->node.hash == hash && item->key_len == len &&
            (!len || memcmp(cm_item_key(item), key, len) == 0))
            return item;
    return NULL;
}

void cm_index_remove(struct cm_index *ix, struct cm_item *item)
{
    struct cm_item **link = bucket_of(ix, item->node.hash);

    while (*link != item)
        link = &(*link)->chain;
    *link = item->chain;
    item->chain = NULL;
    ix->count--;
    for (unsigned i = 0; i < SHRINKS && ix->buckets > SEGMENT && ix->count < ix->buckets / SPARSE; i++)
        merge(ix);
}

void cm_index_free(struct cm_index *ix)
{
    for (uint32_t i = 0; i < segments_of(ix->buckets); i++)
        free(ix->segments[i]);
    free(ix->segments);
    memset(ix, 0, sizeof(*ix));
}
