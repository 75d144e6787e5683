/*
 * Calls and what they do to the stores; see plain.h.
 */
#define XXH_INLINE_ALL
#include "plain.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache.h"
#include "tags.h"

#define MAGIC UINT64_C(0x31636c7068646877)

/* Before each key: no answer's key begins so, which begins with a digest. */
static const char space[] = "howdah.cache/1 plain key without a digest:";
#define SPACE_LEN (sizeof(space) - 1)

/* --- coming and going ---------------------------------------------------------------------------------- */

static int32_t enter(struct cache *self)
{
    struct cache_plain *p = &self->plain;

    if (atomic_load(&p->stopping))
        return HD_EBUSY;
    if (atomic_fetch_add(&p->calls, 1) <= atomic_load(&p->max_calls)) {
        self->metrics->add(self->host, p->under_way, 1);
        return HD_OK;
    }
    atomic_fetch_sub(&p->calls, 1);
    self->metrics->add(self->host, p->refused, 1);
    return HD_EFULL;
}

void cache_plain_leave(struct cache *self)
{
    self->metrics->add(self->host, self->plain.under_way, -1);
    if (atomic_fetch_sub(&self->plain.calls, 1) == 1)
        cache_part_ended(self);
}

void cache_plain_hold(struct cache *self)
{
    atomic_fetch_add(&self->plain.calls, 1);
    self->metrics->add(self->host, self->plain.under_way, 1);
}

static void tell(const struct cache_plain_call *call, int32_t code, struct hd_str value)
{
    if (call->got)
        call->got(call->arg, code, value);
    else if (call->done)
        call->done(call->arg, code);
}

/* The plugin may be gone when this returns. */
static void forget(struct cache_plain_call *call)
{
    struct cache *self = call->cache;

    free(call);
    cache_plain_leave(self);
}

void cache_plain_finish(struct cache_plain_call *call, int32_t code, struct hd_str value)
{
    tell(call, code, value);
    forget(call);
}

struct cache_plain_worker *cache_plain_worker_of(const struct cache_plain_call *call)
{
    const struct cache_plain *p = &call->cache->plain;

    return &p->workers[call->hash % p->worker_count];
}

/* --- keys and heads ------------------------------------------------------------------------------------ */

struct hd_cache_key cache_plain_key(const struct cache_plain_call *call)
{
    return (struct hd_cache_key){
        .size = sizeof(struct hd_cache_key), .hash = call->hash, .bytes = {call->bytes, call->key_len}};
}

static int uses(const struct cache *self, uint32_t tier)
{
    return !self->plain.shared || (self->plain.shared & (1u << tier));
}

struct hd_str cache_plain_name(const struct cache_plain_call *call)
{
    return (struct hd_str){call->bytes + SPACE_LEN, call->key_len - SPACE_LEN};
}

struct cache_plain_head cache_plain_head(struct cache *self, const struct cache_plain_call *call)
{
    struct cache_plain_head head = {.magic = MAGIC};
    struct cache_cell *cells[2];
    uint32_t n;

    if (self->plain.shared) {
        memcpy(head.epochs, call->generations, sizeof(head.epochs));
        return head;
    }
    head.nonce = self->nonce;
    n = cache_tag_groups(&self->epochs, cache_plain_name(call), cells);
    for (uint32_t i = 0; i < n; i++)
        head.epochs[i] = cache_epoch(cells[i]);
    return head;
}

/* --- stores -------------------------------------------------------------------------------------------- */

int32_t cache_plain_put(const struct cache_plain_call *call, const struct cache_plain_head *head,
                        struct hd_str value, uint64_t cost_ns)
{
    const struct hd_cache_key key = cache_plain_key(call);
    const struct hd_cache_value v = {.size = sizeof(v),
                                     .head = {(const char *)head, sizeof(*head)},
                                     .bytes = value,
                                     .left_ms = call->ttl_ms,
                                     .cost_ns = cost_ns};
    struct cache *self = call->cache;
    int32_t kept = HD_EBUSY;

    for (uint32_t i = 0; i < self->tier_count; i++) {
        const struct cache_tier *t = &self->tiers[i];
        int32_t code;

        if (!uses(self, i))
            continue;
        code = !self->plain.shared || call->known ? t->store->put(t->self, &key, &v) : HD_EBUSY;
        if (code != HD_OK)
            t->store->erase(t->self, &key);
        if (kept != HD_OK)
            kept = code == HD_EINVAL ? HD_EFULL : code;
    }
    return kept;
}

static void erase(const struct cache_plain_call *call)
{
    const struct hd_cache_key key = cache_plain_key(call);
    struct cache *self = call->cache;

    for (uint32_t i = 0; i < self->tier_count; i++)
        if (uses(self, i))
            self->tiers[i].store->erase(self->tiers[i].self, &key);
}

/* Is what a store gave still worth something? It need not be aligned. */
static int holds(const struct cache_plain_call *call, const struct hd_cache_value *value)
{
    const struct cache_plain_head now = cache_plain_head(call->cache, call);

    return value->head.len == sizeof(now) && memcmp(value->head.ptr, &now, sizeof(now)) == 0;
}

static void hit(const struct cache_plain_call *call, struct hd_str value)
{
    call->cache->metrics->add(call->cache->host, call->cache->plain.hits, 1);
    tell(call, HD_OK, value);
}

static void ask(struct cache_plain_call *call);

static void on_tier(void *arg, int32_t code, const struct hd_cache_value *value)
{
    struct cache_plain_call *call = arg;

    if (code == HD_OK && holds(call, value)) {
        hit(call, value->bytes);
        forget(call);
        return;
    }
    call->tier++;
    ask(call);
}

static void miss(struct cache_plain_call *call)
{
    struct cache *self = call->cache;

    self->metrics->add(self->host, self->plain.misses, 1);
    if (call->kind == CACHE_PLAIN_LOAD)
        cache_plain_miss(cache_plain_worker_of(call), call);
    else
        cache_plain_finish(call, HD_ENOENT, (struct hd_str){NULL, 0});
}

/* The tiers from call->tier on. */
static void ask(struct cache_plain_call *call)
{
    const struct hd_cache_key key = cache_plain_key(call);
    struct cache *self = call->cache;

    for (; call->tier < self->tier_count; call->tier++) {
        const struct cache_tier *t = &self->tiers[call->tier];
        struct hd_cache_value value = {.size = sizeof(value)};
        int32_t code =
            uses(self, call->tier) ? t->store->get(t->self, &key, &value, on_tier, call) : HD_ENOENT;

        if (code == HD_PENDING)
            return;
        if (code != HD_OK)
            continue;
        if (holds(call, &value)) {
            hit(call, value.bytes);
            t->store->release(t->self, &value);
            forget(call);
            return;
        }
        t->store->release(t->self, &value);
    }
    miss(call);
}

/* --- calls --------------------------------------------------------------------------------------------- */

void cache_plain_go_on(struct cache_plain_call *call)
{
    const struct hd_str nothing = {NULL, 0}, value = {call->bytes + call->key_len, call->value_len};
    struct cache_plain_head head;

    switch (call->kind) {
    case CACHE_PLAIN_SET:
        cache_plain_supersede(cache_plain_worker_of(call), call);
        head = cache_plain_head(call->cache, call);
        cache_plain_finish(call, cache_plain_put(call, &head, value, 0), nothing);
        break;
    case CACHE_PLAIN_ERASE:
        cache_plain_supersede(cache_plain_worker_of(call), call);
        erase(call);
        cache_plain_finish(call, HD_OK, nothing);
        break;
    default:
        ask(call);
    }
}

/* [worker] */
static void run(void *arg)
{
    struct cache_plain_call *call = arg;

    if (call->cache->plain.shared && call->kind != CACHE_PLAIN_ERASE)
        cache_plain_generations(call);
    else
        cache_plain_go_on(call);
}

static int32_t check(const struct cache *self, struct hd_str key, struct hd_str value)
{
    return !key.len || key.len > atomic_load(&self->plain.max_key_bytes) ||
                   value.len > atomic_load(&self->plain.max_value_bytes)
               ? HD_EINVAL
               : HD_OK;
}

/* A copy of what was said of the call, with room for key and value. */
static struct cache_plain_call *make(struct cache *self, const struct cache_plain_call *what,
                                     struct hd_str key, struct hd_str value)
{
    uint64_t room = self->plain.shared ? cache_plain_room(key) : 0;
    struct cache_plain_call *call = malloc(sizeof(*call) + SPACE_LEN + key.len + value.len + room);

    if (!call)
        return NULL;
    *call = *what;
    call->cache = self;
    call->key_len = SPACE_LEN + key.len;
    call->value_len = value.len;
    if (!call->ttl_ms)
        call->ttl_ms = atomic_load(&self->plain.ttl_ms);
    memcpy(call->bytes, space, SPACE_LEN);
    memcpy(call->bytes + SPACE_LEN, key.ptr, key.len);
    if (value.len)
        memcpy(call->bytes + call->key_len, value.ptr, value.len);
    call->hash = XXH3_64bits(call->bytes, call->key_len);
    return call;
}

static int32_t begin(struct cache *self, const struct cache_plain_call *what, struct hd_str key,
                     struct hd_str value)
{
    struct cache_plain_call *call;
    int32_t code = check(self, key, value);

    if (code == HD_OK)
        code = enter(self);
    if (code != HD_OK)
        return code;
    call = make(self, what, key, value);
    code = call ? self->loop->post(self->host, (int32_t)(call->hash % self->plain.worker_count), run, call)
                : HD_ENOMEM;
    if (code == HD_OK)
        return HD_PENDING;
    free(call);
    cache_plain_leave(self);
    return code == HD_ENOENT ? HD_EBUSY : code;
}

/* --- the capability: [any] ----------------------------------------------------------------------------- */

static int32_t get(void *self, struct hd_str key, void (*done)(void *arg, int32_t code, struct hd_str value),
                   void *arg)
{
    const struct cache_plain_call what = {.kind = CACHE_PLAIN_GET, .got = done, .arg = arg};

    return done ? begin(self, &what, key, (struct hd_str){NULL, 0}) : HD_EINVAL;
}

static int32_t set(void *self, struct hd_str key, struct hd_str value, uint64_t ttl_ms,
                   void (*done)(void *arg, int32_t code), void *arg)
{
    const struct cache_plain_call what = {
        .kind = CACHE_PLAIN_SET, .ttl_ms = ttl_ms, .done = done, .arg = arg};

    return begin(self, &what, key, value);
}

static int32_t drop(void *self, struct hd_str key, void (*done)(void *arg, int32_t code), void *arg)
{
    const struct cache_plain_call what = {.kind = CACHE_PLAIN_ERASE, .done = done, .arg = arg};

    return begin(self, &what, key, (struct hd_str){NULL, 0});
}

static int32_t load(void *self, struct hd_str key, uint64_t ttl_ms,
                    void (*loader)(void *loader_arg, struct hd_str key, uint64_t handle), void *loader_arg,
                    void (*done)(void *arg, int32_t code, struct hd_str value), void *arg)
{
    const struct cache_plain_call what = {.kind = CACHE_PLAIN_LOAD,
                                          .ttl_ms = ttl_ms,
                                          .got = done,
                                          .arg = arg,
                                          .loader = loader,
                                          .loader_arg = loader_arg};

    return done && loader ? begin(self, &what, key, (struct hd_str){NULL, 0}) : HD_EINVAL;
}

const struct hd_cache_v1 cache_service = {
    .size = sizeof(struct hd_cache_v1),
    .get = get,
    .set = set,
    .erase = drop,
    .load = load,
    .loaded = cache_plain_loaded,
};

/* --- life ---------------------------------------------------------------------------------------------- */

void cache_plain_reload(struct cache *self, const struct cache_conf *conf)
{
    struct cache_plain *p = &self->plain;

    atomic_store(&p->max_calls, (uint64_t)conf->max_calls);
    atomic_store(&p->max_key_bytes, (uint64_t)conf->max_key_bytes);
    atomic_store(&p->max_value_bytes, (uint64_t)conf->max_value_bytes);
    atomic_store(&p->load_timeout_ms, (uint64_t)conf->load_timeout_ms);
    atomic_store(&p->ttl_ms, (uint64_t)conf->ttl_ms);
}

static int32_t find_metrics(struct cache *self)
{
    struct cache_plain *p = &self->plain;
    const struct {
        int64_t *id;
        uint32_t type;
        const char *name, *help;
    } all[] = {
        {&p->hits, HD_METRIC_COUNTER, "howdah_cache_plain_hits_total", "Plain keys that were found"},
        {&p->misses, HD_METRIC_COUNTER, "howdah_cache_plain_misses_total", "Plain keys that were not found"},
        {&p->loads, HD_METRIC_COUNTER, "howdah_cache_plain_loads_total",
         "Loads of plain keys that were begun"},
        {&p->refused, HD_METRIC_COUNTER, "howdah_cache_plain_refused_total",
         "Calls for plain keys that were refused at max_calls"},
        {&p->under_way, HD_METRIC_GAUGE, "howdah_cache_plain_calls", "Calls for plain keys under way"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        *all[i].id = self->metrics->get(self->host, all[i].type, all[i].name, all[i].help, NULL, 0);
        if (*all[i].id <= 0)
            return HD_EFULL;
    }
    return HD_OK;
}

int32_t cache_plain_start(struct cache *self, const struct cache_conf *conf, struct hd_error *err)
{
    struct cache_plain *p = &self->plain;

    p->worker_count = hd_host_api(self->host)->workers;
    p->workers = calloc(p->worker_count ? p->worker_count : 1, sizeof(*p->workers));
    if (!p->workers || !p->worker_count)
        return hd_error_set(err, HD_ENOMEM, "no memory for plain keys, or no workers");
    for (uint32_t i = 0; i < p->worker_count; i++) {
        p->workers[i].cache = self;
        p->workers[i].index = i;
    }
    for (uint32_t i = 0; i < self->tier_count; i++)
        if (self->tiers[i].store->traits & HD_STORE_SHARED)
            p->shared |= 1u << i;
    cache_plain_reload(self, conf);
    atomic_store(&p->calls, 1);
    if (find_metrics(self))
        return hd_error_set(err, HD_EFULL, "no room for the cache's metrics: see [host] max_metrics");
    return cache_plain_commands(self, err);
}

/* [worker] Or [control], where that worker has gone. */
static void close_worker(void *arg)
{
    struct cache_plain_worker *w = arg;
    struct cache *self = w->cache;

    cache_plain_drop_loads(w);
    cache_plain_leave(self);
}

/* Whoever has asked for the capability has stopped; calls of commands may be under way. */
int32_t cache_plain_stop(struct cache *self)
{
    struct cache_plain *p = &self->plain;

    if (!p->workers || !atomic_load(&p->calls))
        return HD_OK;
    atomic_store(&p->stopping, 1);
    for (uint32_t i = 0; i < p->worker_count; i++) {
        cache_plain_hold(self);
        if (self->loop->post(self->host, (int32_t)i, close_worker, &p->workers[i]) != HD_OK)
            close_worker(&p->workers[i]);
    }
    if (atomic_fetch_sub(&p->calls, 1) == 1)
        return HD_OK;
    return HD_PENDING;
}

void cache_plain_free(struct cache *self)
{
    free(self->plain.workers);
}
