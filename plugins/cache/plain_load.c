/*
 * Loads of plain keys: one at a time for each; see plain.h. All but the end of a load runs on the worker of
 * its key. A handle says which worker, and which bucket of its, a load is in, and is never used twice.
 */
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "plain.h"

#define SWEEP_MS 100 /* how often deadlines are looked at */

static struct cache_plain_load **bucket_of(struct cache_plain_worker *w, uint64_t hash)
{
    return &w->buckets[(hash >> 32) % CACHE_LOAD_BUCKETS];
}

static int is_key(const struct cache_plain_load *l, const struct cache_plain_call *call)
{
    return l->first->hash == call->hash && l->first->key_len == call->key_len &&
           memcmp(l->first->bytes, call->bytes, call->key_len) == 0;
}

static struct cache_plain_load *find(struct cache_plain_worker *w, const struct cache_plain_call *call)
{
    struct cache_plain_load *l = *bucket_of(w, call->hash);

    while (l && !is_key(l, call))
        l = l->next;
    return l;
}

void cache_plain_supersede(struct cache_plain_worker *w, const struct cache_plain_call *call)
{
    struct cache_plain_load *l = find(w, call);

    if (l)
        l->superseded = 1;
}

/* --- ends ---------------------------------------------------------------------------------------------- */

static void unlist(struct cache_plain_worker *w, struct cache_plain_load *l)
{
    struct cache_plain_load **at = bucket_of(w, l->first->hash);

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    w->loads--;
}

/* It is in no list any more; callbacks may begin another for the key. */
static void end(struct cache_plain_load *l, int32_t code, struct hd_str value)
{
    struct cache_plain_call *call;

    while ((call = l->first)) {
        l->first = call->next;
        cache_plain_finish(call, code, value);
    }
    free(l);
}

static void land(struct cache_plain_worker *w, struct cache_plain_load *l, int32_t code, struct hd_str value)
{
    struct cache *self = w->cache;

    unlist(w, l);
    if (code == HD_OK && !l->superseded && value.len <= atomic_load(&self->plain.max_value_bytes))
        cache_plain_put(l->first, &l->head, value, cache_now_ns() - l->began_ns);
    end(l, code, value);
}

/* --- deadlines ----------------------------------------------------------------------------------------- */

static struct cache_plain_load *find_late(struct cache_plain_load *l, uint64_t now)
{
    while (l && l->until_ns > now)
        l = l->next;
    return l;
}

static void sweep(void *arg)
{
    struct cache_plain_worker *w = arg;
    uint64_t now = cache_now_ns();

    for (uint32_t i = 0; i < CACHE_LOAD_BUCKETS; i++) {
        struct cache_plain_load *l;

        while ((l = find_late(w->buckets[i], now)))
            land(w, l, HD_ETIMEOUT, (struct hd_str){NULL, 0});
    }
    if (w->loads)
        return;
    w->cache->loop->untimer(w->timer);
    w->timer = NULL;
}

void cache_plain_drop_loads(struct cache_plain_worker *w)
{
    for (uint32_t i = 0; i < CACHE_LOAD_BUCKETS; i++) {
        while (w->buckets[i]) {
            struct cache_plain_load *l = w->buckets[i];
            struct cache_plain_call *call;

            unlist(w, l);
            while ((call = l->first)) {
                l->first = call->next;
                free(call);
                cache_plain_leave(w->cache);
            }
            free(l);
        }
    }
}

/* --- beginnings ---------------------------------------------------------------------------------------- */

static struct cache_plain_load *make(struct cache_plain_worker *w, struct cache_plain_call *call)
{
    struct cache *self = w->cache;
    struct cache_plain_load *l = malloc(sizeof(*l)), **bucket = bucket_of(w, call->hash);
    uint64_t now = cache_now_ns();

    if (l && !w->timer)
        w->timer = self->loop->timer(self->host, SWEEP_MS, 1, sweep, w);
    if (!l || !w->timer) {
        free(l);
        return NULL;
    }
    *l = (struct cache_plain_load){
        .next = *bucket,
        .handle =
            (++w->begun * CACHE_LOAD_BUCKETS + (uint64_t)(bucket - w->buckets)) * self->plain.worker_count +
            w->index,
        .began_ns = now,
        .until_ns = now + atomic_load(&self->plain.load_timeout_ms) * UINT64_C(1000000),
        .head = cache_plain_head(self, call),
        .first = call};
    l->last = &call->next;
    call->next = NULL;
    *bucket = l;
    w->loads++;
    return l;
}

void cache_plain_miss(struct cache_plain_worker *w, struct cache_plain_call *call)
{
    struct cache *self = w->cache;
    struct cache_plain_load *l = find(w, call);

    if (l) {
        call->next = NULL;
        *l->last = call;
        l->last = &call->next;
        return;
    }
    l = make(w, call);
    if (!l) {
        cache_plain_finish(call, HD_ENOMEM, (struct hd_str){NULL, 0});
        return;
    }
    self->metrics->add(self->host, self->plain.loads, 1);
    call->loader(call->loader_arg, cache_plain_name(call), l->handle);
}

/* --- what was loaded ----------------------------------------------------------------------------------- */

struct loaded {
    struct cache *cache;
    uint64_t handle;
    int32_t code;
    uint32_t reserved;
    uint64_t len;
    char bytes[];
};

/* [worker] The load's own. */
static void on_loaded(void *arg)
{
    struct loaded *m = arg;
    struct cache_plain *p = &m->cache->plain;
    struct cache_plain_worker *w = &p->workers[m->handle % p->worker_count];
    struct cache_plain_load *l = w->buckets[m->handle / p->worker_count % CACHE_LOAD_BUCKETS];
    struct cache *self = m->cache;

    while (l && l->handle != m->handle)
        l = l->next;
    if (l)
        land(w, l, m->code, (struct hd_str){m->bytes, m->len});
    free(m);
    cache_plain_leave(self);
}

int32_t cache_plain_loaded(void *arg, uint64_t handle, int32_t code, struct hd_str value)
{
    struct cache *self = arg;
    uint64_t len = code == HD_OK ? value.len : 0;
    struct loaded *m;
    int32_t posted;

    if (code > HD_OK)
        return HD_EINVAL;
    m = malloc(sizeof(*m) + len);
    if (!m)
        return HD_ENOMEM;
    *m = (struct loaded){.cache = self, .handle = handle, .code = code, .len = len};
    if (len)
        memcpy(m->bytes, value.ptr, len);
    cache_plain_hold(self);
    posted = self->loop->post(self->host, (int32_t)(handle % self->plain.worker_count), on_loaded, m);
    if (posted == HD_OK)
        return HD_OK;
    free(m);
    cache_plain_leave(self);
    return posted == HD_ENOENT ? HD_OK : posted; /* its worker has gone, and the load with it */
}
