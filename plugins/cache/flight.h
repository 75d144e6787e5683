/*
 * Misses in flight: of equal reads that miss at the same time one goes to the server, the others wait for its
 * answer.
 */
#ifndef CACHE_FLIGHT_H
#define CACHE_FLIGHT_H

#include <howdah/howdah.h>
#include <pthread.h>

#define CACHE_FLIGHT_SHARDS 64

struct cache_flight {
    struct cache_flight *next; /* in its shard */
    uint64_t hash;
    uint64_t key_len;
    uint64_t *waiters; /* handles of parked statements */
    uint32_t count, cap;
    uint8_t key[];
};

struct cache_flights {
    struct {
        pthread_mutex_t lock;
        struct cache_flight *first; /* guarded by lock, and so are the flights' waiters */
    } shards[CACHE_FLIGHT_SHARDS];
};

/* Its key; borrowed from it. */
static inline struct hd_cache_key cache_flight_key(const struct cache_flight *f)
{
    return (struct hd_cache_key){
        .size = sizeof(struct hd_cache_key), .hash = f->hash, .bytes = {(const char *)f->key, f->key_len}};
}

void cache_flights_init(struct cache_flights *f);
void cache_flights_free(struct cache_flights *f);

/* Takes off, or joins. HD_OK and *mine: the caller asks the server, and lands it. HD_EBUSY: an equal one is
 * on its way; with `handle` (else 0) it is now among its waiters, and it is HD_PENDING. HD_ENOMEM. [any] */
int32_t cache_flight_start(struct cache_flights *f, const struct hd_cache_key *key, uint64_t handle,
                           struct cache_flight **mine);

/* Takes it off the list, so that nobody joins any more; then its waiters are the caller's to resume, and it
 * is freed by free(waiters), free(flight). [any] */
void cache_flight_land(struct cache_flights *f, struct cache_flight *mine);

#endif
