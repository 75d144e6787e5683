/*
 * The list of misses in flight; see flight.h.
 */
#include "flight.h"

#include <stdlib.h>
#include <string.h>

void cache_flights_init(struct cache_flights *f)
{
    memset(f, 0, sizeof(*f));
    for (size_t i = 0; i < CACHE_FLIGHT_SHARDS; i++)
        pthread_mutex_init(&f->shards[i].lock, NULL);
}

/* Nobody is in flight any more. */
void cache_flights_free(struct cache_flights *f)
{
    for (size_t i = 0; i < CACHE_FLIGHT_SHARDS; i++)
        pthread_mutex_destroy(&f->shards[i].lock);
}

static struct cache_flight *find(struct cache_flight *c, const struct hd_cache_key *key)
{
    while (c && !(c->hash == key->hash && c->key_len == key->bytes.len &&
                  !memcmp(c->key, key->bytes.ptr, c->key_len)))
        c = c->next;
    return c;
}

static struct cache_flight *make(const struct hd_cache_key *key)
{
    struct cache_flight *c = calloc(1, sizeof(*c) + key->bytes.len);

    if (!c)
        return NULL;
    c->hash = key->hash;
    c->key_len = key->bytes.len;
    memcpy(c->key, key->bytes.ptr, key->bytes.len);
    return c;
}

static int32_t join(struct cache_flight *c, uint64_t handle)
{
    if (!handle)
        return HD_EBUSY;
    if (c->count == c->cap) {
        uint32_t cap = c->cap ? c->cap * 2 : 8;
        uint64_t *grown = realloc(c->waiters, cap * sizeof(*grown));

        if (!grown)
            return HD_EBUSY;
        c->waiters = grown;
        c->cap = cap;
    }
    c->waiters[c->count++] = handle;
    return HD_PENDING;
}

int32_t cache_flight_start(struct cache_flights *f, const struct hd_cache_key *key, uint64_t handle,
                           struct cache_flight **mine)
{
    size_t shard = key->hash % CACHE_FLIGHT_SHARDS;
    struct cache_flight *c;
    int32_t code;

    *mine = NULL;
    pthread_mutex_lock(&f->shards[shard].lock);
    c = find(f->shards[shard].first, key);
    if (c) {
        code = join(c, handle);
    } else if ((c = make(key))) {
        c->next = f->shards[shard].first;
        f->shards[shard].first = c;
        *mine = c;
        code = HD_OK;
    } else {
        code = HD_ENOMEM;
    }
    pthread_mutex_unlock(&f->shards[shard].lock);
    return code;
}

void cache_flight_land(struct cache_flights *f, struct cache_flight *mine)
{
    size_t shard = mine->hash % CACHE_FLIGHT_SHARDS;
    struct cache_flight **at;

    pthread_mutex_lock(&f->shards[shard].lock);
    for (at = &f->shards[shard].first; *at != mine; at = &(*at)->next)
        ;
    *at = mine->next;
    pthread_mutex_unlock(&f->shards[shard].lock);
}
