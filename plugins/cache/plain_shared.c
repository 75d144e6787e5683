/*
 * Plain keys in a shared store: what ends them by a pattern. Nobody knows all of such a store's keys, so each
 * group of keys (plain.h) has a generation there, a number by chance, and there is one for all. A value holds
 * while the generations that it was kept with are those that stand there. To end a group is to exchange its
 * generation; one that the store has lost is made anew, and its values with it are none any more.
 *
 * A worker believes for a second what it was told of a generation.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cache.h"
#include "plain.h"
#include "tags.h"

#define MAGIC      UINT64_C(0x31676c7068646877)
#define BELIEVE_NS UINT64_C(1000000000)
#define KEEP_MS    UINT64_C(31536000000) /* as long as the store will */

static const char space[] = "howdah.cache/1 generation, without a digest:";
#define SPACE_LEN (sizeof(space) - 1)

static const struct cache_tier *tier_of(const struct cache *self)
{
    uint32_t i = 0;

    while (!(self->plain.shared & (1u << i)))
        i++;
    return &self->tiers[i];
}

static struct hd_cache_key key_of(const char *bytes, uint64_t len)
{
    return (struct hd_cache_key){
        .size = sizeof(struct hd_cache_key), .hash = XXH3_64bits(bytes, len), .bytes = {bytes, len}};
}

/* Never 0. */
static uint64_t by_chance(void)
{
    uint64_t n = 0;

    if (getrandom(&n, sizeof(n), 0) != sizeof(n))
        n = cache_now_ns() * UINT64_C(0x9E3779B97F4A7C15);
    return n | 1;
}

static int32_t put(const struct cache *self, const struct hd_cache_key *key, uint64_t generation)
{
    const struct cache_tier *t = tier_of(self);
    const uint64_t magic = MAGIC;
    const struct hd_cache_value v = {.size = sizeof(v),
                                     .head = {(const char *)&magic, sizeof(magic)},
                                     .bytes = {(const char *)&generation, sizeof(generation)},
                                     .left_ms = KEEP_MS};

    return t->store->put(t->self, key, &v);
}

/* 0: it is none. */
static uint64_t read_generation(const struct hd_cache_value *value)
{
    const uint64_t magic = MAGIC;
    uint64_t generation;

    if (value->head.len != sizeof(magic) || memcmp(value->head.ptr, &magic, sizeof(magic)) != 0 ||
        value->bytes.len != sizeof(generation))
        return 0;
    memcpy(&generation, value->bytes.ptr, sizeof(generation));
    return generation;
}

/* --- of a call ----------------------------------------------------------------------------------------- */

uint64_t cache_plain_room(struct hd_str key)
{
    return SPACE_LEN + cache_tag_group(key).len;
}

/* Its name stays in the call while the store is asked: the first is that of all, the second its group's. */
static struct hd_cache_key key_in(struct cache_plain_call *call)
{
    const struct hd_str group = cache_tag_group(cache_plain_name(call));
    char *bytes = call->bytes + call->key_len + call->value_len;

    memcpy(bytes, space, SPACE_LEN);
    if (call->asked && group.len)
        memcpy(bytes + SPACE_LEN, group.ptr, group.len);
    return key_of(bytes, SPACE_LEN + (call->asked ? group.len : 0));
}

static struct cache_plain_known *place_of(struct cache_plain_worker *w, uint64_t hash)
{
    return &w->known[hash % CACHE_PLAIN_KNOWN];
}

static void take(struct cache_plain_worker *w, struct cache_plain_call *call, int32_t code,
                 const struct hd_cache_value *value)
{
    const struct hd_cache_key key = key_in(call);
    uint64_t generation = code == HD_OK ? read_generation(value) : 0;

    if (!generation && (code == HD_OK || code == HD_ENOENT) && call->kind != CACHE_PLAIN_GET) {
        generation = by_chance();
        if (put(call->cache, &key, generation) != HD_OK)
            generation = 0;
    }
    if (generation && call->round == w->round)
        *place_of(w, key.hash) =
            (struct cache_plain_known){key.hash, generation, cache_now_ns() + BELIEVE_NS};
    call->generations[call->asked++] = generation;
}

static void ask(struct cache_plain_call *call);

static void on_generation(void *arg, int32_t code, const struct hd_cache_value *value)
{
    struct cache_plain_call *call = arg;

    take(cache_plain_worker_of(call), call, code, value);
    ask(call);
}

static void ask(struct cache_plain_call *call)
{
    const struct cache_tier *t = tier_of(call->cache);
    uint32_t count = cache_tag_group(cache_plain_name(call)).len ? 2 : 1;

    while (call->asked < count) {
        struct cache_plain_worker *w = cache_plain_worker_of(call);
        const struct hd_cache_key key = key_in(call);
        const struct cache_plain_known *known = place_of(w, key.hash);
        struct hd_cache_value value = {.size = sizeof(value)};
        int32_t code;

        if (known->hash == key.hash && known->until_ns > cache_now_ns()) {
            call->generations[call->asked++] = known->generation;
            continue;
        }
        call->round = w->round;
        code = t->store->get(t->self, &key, &value, on_generation, call);
        if (code == HD_PENDING)
            return;
        take(w, call, code, &value);
        if (code == HD_OK)
            t->store->release(t->self, &value);
    }
    call->known = call->generations[0] && (count == 1 || call->generations[1]);
    cache_plain_go_on(call);
}

void cache_plain_generations(struct cache_plain_call *call)
{
    ask(call);
}

/* --- ending a group ------------------------------------------------------------------------------------ */

/* Behind the generation's exchange all workers forget what they believe; then it is over. */
struct end {
    struct cache *cache;
    void (*done)(void *arg, int32_t code);
    void *arg;
    _Atomic uint32_t workers; /* that have not forgotten yet, and one for who tells them */
    int32_t code;
    uint64_t key_len;
    char bytes[];
};

static void one_less(struct end *e)
{
    struct cache *self = e->cache;

    if (atomic_fetch_sub(&e->workers, 1) == 1) {
        e->done(e->arg, e->code);
        free(e);
    }
    cache_plain_leave(self);
}

struct forget {
    struct end *end;
    struct cache_plain_worker *worker;
};

static void forget(void *arg)
{
    struct forget *f = arg;
    struct end *e = f->end;

    f->worker->round++;
    memset(f->worker->known, 0, sizeof(f->worker->known));
    free(f);
    one_less(e);
}

static void forget_all(struct end *e)
{
    struct cache *self = e->cache;

    for (uint32_t i = 0; i < self->plain.worker_count; i++) {
        struct forget *f = malloc(sizeof(*f));

        atomic_fetch_add(&e->workers, 1);
        cache_plain_hold(self);
        if (f)
            *f = (struct forget){e, &self->plain.workers[i]};
        if (f && self->loop->post(self->host, (int32_t)i, forget, f) == HD_OK)
            continue;
        free(f);
        e->code = HD_ENOMEM;
        one_less(e);
    }
    one_less(e);
}

/* The new one has been stored by now, whichever it is: what is asked on one connection comes in order. */
static void on_stored(void *arg, int32_t code, const struct hd_cache_value *value)
{
    struct end *e = arg;

    (void)value;
    if (code != HD_OK)
        e->code = HD_EBUSY;
    forget_all(e);
}

static void exchange(void *arg)
{
    struct end *e = arg;
    const struct cache_tier *t = tier_of(e->cache);
    const struct hd_cache_key key = key_of(e->bytes, e->key_len);
    struct hd_cache_value value = {.size = sizeof(value)};
    int32_t code = put(e->cache, &key, by_chance());

    if (code == HD_OK)
        code = t->store->get(t->self, &key, &value, on_stored, e);
    if (code == HD_PENDING)
        return;
    if (code == HD_OK)
        t->store->release(t->self, &value);
    on_stored(e, code, NULL);
}

int32_t cache_plain_end_like(struct cache *self, const char *pattern, void (*done)(void *arg, int32_t code),
                             void *arg)
{
    const struct hd_str group = cache_tag_group((struct hd_str){pattern, strcspn(pattern, CACHE_TAG_SIGNS)});
    struct end *e;

    if (!self->plain.shared)
        return HD_OK;
    e = malloc(sizeof(*e) + SPACE_LEN + group.len);
    if (!e)
        return HD_ENOMEM;
    *e = (struct end){.cache = self, .done = done, .arg = arg, .key_len = SPACE_LEN + group.len};
    atomic_init(&e->workers, 1);
    memcpy(e->bytes, space, SPACE_LEN);
    if (group.len)
        memcpy(e->bytes + SPACE_LEN, group.ptr, group.len);
    cache_plain_hold(self);
    if (self->loop->post(self->host, 0, exchange, e) == HD_OK)
        return HD_PENDING;
    free(e);
    cache_plain_leave(self);
    return HD_EBUSY;
}
