/*
 * The worker's list of who waits, and letting them go; see park.h.
 */
#include "park.h"

#include <stdlib.h>

#define SWEEP_MS 50 /* how often the list is looked at while somebody is on it */

int cache_park_possible(const struct cache_worker *w, const struct cache_rules *rules)
{
    return w->parked_count < rules->max_waiting;
}

static void go_on(struct cache *self, uint64_t handle)
{
    const struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE};

    (void)self->statement->resume(self->host, handle, &v);
}

static struct cache_parked *at(struct cache_worker *w, uint32_t i)
{
    return &w->parked[(w->parked_first + i) % w->parked_cap];
}

static void drop_first(struct cache_worker *w)
{
    w->parked_first = (w->parked_first + 1) % w->parked_cap;
    w->parked_count--;
}

/* [worker] Those who have waited long enough. Most have been answered by now, and resume() finds nobody. */
static void sweep(void *arg)
{
    struct cache_worker *w = arg;
    uint64_t now = cache_now_ns();

    while (w->parked_count && at(w, 0)->until_ns <= now) {
        go_on(w->cache, at(w, 0)->handle);
        drop_first(w);
    }
    if (w->parked_count)
        return;
    w->cache->loop->untimer(w->timer);
    w->timer = NULL;
}

static int grow(struct cache_worker *w)
{
    uint32_t cap = w->parked_cap ? w->parked_cap * 2 : 64;
    struct cache_parked *all = malloc(cap * sizeof(*all));

    if (!all)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < w->parked_count; i++)
        all[i] = *at(w, i);
    free(w->parked);
    w->parked = all;
    w->parked_first = 0;
    w->parked_cap = cap;
    return HD_OK;
}

void cache_park(struct cache_worker *w, const struct cache_rules *rules, uint64_t handle,
                struct hd_verdict *v)
{
    v->kind = HD_VERDICT_PARK;
    if (!w->timer)
        w->timer = w->cache->loop->timer(w->cache->host, SWEEP_MS, 1, sweep, w);
    if (!w->timer || (w->parked_count == w->parked_cap && grow(w))) {
        v->kind = HD_VERDICT_CONTINUE;
        return;
    }
    *at(w, w->parked_count++) =
        (struct cache_parked){handle, cache_now_ns() + rules->wait_ms * UINT64_C(1000000)};
}

void cache_resume_all(struct cache *self, struct cache_flight *flight, const struct hd_cache_value *value)
{
    struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE};

    if (value) {
        v.kind = HD_VERDICT_ANSWER;
        v.describe = value->describe;
        v.bytes = value->bytes;
    }
    for (uint32_t i = 0; i < flight->count; i++)
        if (self->statement->resume(self->host, flight->waiters[i], &v) == HD_OK && value)
            self->metrics->add(self->host, self->stats.waited, 1);
    free(flight->waiters);
    free(flight);
}

void cache_park_stop(struct cache_worker *w)
{
    if (w->timer)
        w->cache->loop->untimer(w->timer);
    free(w->parked);
}
