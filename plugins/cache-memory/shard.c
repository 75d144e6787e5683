/*
 * A part of the store; see shard.h.
 *
 * `bytes` counts what is allocated and what has been promised to a put() on its way. It is atomic since the
 * last release of a value that has gone comes without the lock.
 */
#include "shard.h"
#include "duel.h"
#include "sketch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Evictions between two looks at who else wants the lock. */
#define SLICE 32
/* A value may have this part of a shard at most: a larger one would empty the small queue and more. */
#define VALUE_PART 8
/* How much less than what has to go a new value may be worth. The times that statements take scatter widely
 * on a busy server, and keeping things out by mere chance costs hits: at 4, up to 1.2 in 100 on traces with
 * such times, at 16 not more than 0.3. */
#define PATIENCE 16.0
/* Of a value that nobody timed, all that can be said is that it is worth the same as others. */
#define NO_COST 0
/* What malloc takes beside what it gives. */
#define MALLOC_HEAD 8u
#define MALLOC_UNIT 16u

struct cm_shard {
    pthread_mutex_t lock;
    struct cm_index index;
    struct cm_policy policy;
    uint64_t max_bytes;
    int32_t admission;
    int32_t reserved;
    uint64_t hits, misses, puts, rejected, evictions;
    struct cm_sketch *sketch;
    struct cm_duel *duel; /* NULL with plain LRU */
    /* On a line of its own: release() writes it from anywhere. */
    _Alignas(64) _Atomic uint64_t bytes;
};

static struct cm_item *item_of(struct cm_node *n)
{
    return (struct cm_item *)(void *)((char *)n - offsetof(struct cm_item, node));
}

static uint64_t bytes_of(const struct cm_shard *s)
{
    return atomic_load_explicit(&s->bytes, memory_order_relaxed);
}

static void take_bytes(struct cm_shard *s, uint64_t n)
{
    atomic_fetch_add_explicit(&s->bytes, n, memory_order_relaxed);
}

static void give_bytes(struct cm_shard *s, uint64_t n)
{
    atomic_fetch_sub_explicit(&s->bytes, n, memory_order_relaxed);
}

/* --- sizes
 * -------------------------------------------------------------------------------------------------- */

uint64_t cm_item_charge(const struct hd_cache_key *key, const struct hd_cache_value *value)
{
    uint64_t n = sizeof(struct cm_item) + MALLOC_HEAD + key->bytes.len + value->head.len +
                 value->describe.len + value->bytes.len;

    return (n + MALLOC_UNIT - 1) / MALLOC_UNIT * MALLOC_UNIT;
}

static uint64_t fixed_bytes(int lru)
{
    return sizeof(struct cm_shard) + sizeof(struct cm_sketch) + (lru ? 0 : cm_duel_bytes());
}

uint64_t cm_shard_overhead(uint64_t entries, int lru)
{
    return fixed_bytes(lru) + cm_index_bytes_for(entries) + (lru ? 0 : cm_ghosts_bytes(entries));
}

static uint64_t ghost_bytes(const struct cm_shard *s)
{
    return s->policy.ghosts.count * sizeof(struct cm_ghost_slot);
}

/* Bytes that the tables will want for one more item. */
static uint64_t growth(const struct cm_shard *s)
{
    uint64_t n = cm_index_growth(&s->index), entries = s->index.count + 1;

    if (s->duel && cm_ghosts_small(&s->policy.ghosts, entries))
        n += cm_ghosts_bytes(entries);
    return n;
}

/* The policy reckons with what is left for values. */
static void set_capacity(struct cm_shard *s)
{
    uint64_t own = fixed_bytes(!s->duel) + cm_index_bytes(&s->index) + ghost_bytes(s);

    s->policy.capacity = s->max_bytes > own ? s->max_bytes - own : 0;
}

/* --- the end of items
 * --------------------------------------------------------------------------------------- */

/* Items that are to be freed when the lock is no longer held; their bytes are given back already. */
static void bury(struct cm_item *dead)
{
    while (dead) {
        struct cm_item *next = dead->chain;

        free(dead);
        dead = next;
    }
}

/* Takes the index's reference away: what nobody else holds joins the dead. */
static void drop(struct cm_item *item, struct cm_item **dead)
{
    if (atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) != 1)
        return;
    give_bytes(item->shard, item->node.bytes);
    item->chain = *dead;
    *dead = item;
}

void cm_shard_release(struct cm_item *item)
{
    struct cm_item *dead = NULL;

    drop(item, &dead);
    bury(dead);
}

static void index_remove(struct cm_shard *s, struct cm_item *item)
{
    uint64_t before = cm_index_bytes(&s->index);

    cm_index_remove(&s->index, item);
    if (cm_index_bytes(&s->index) != before) {
        give_bytes(s, before - cm_index_bytes(&s->index));
        set_capacity(s);
    }
}

static void forget(struct cm_shard *s, struct cm_item *item, struct cm_item **dead)
{
    index_remove(s, item);
    cm_policy_remove(&s->policy, &item->node);
    drop(item, dead);
}

static void evict(struct cm_shard *s, struct cm_item *item, struct cm_item **dead)
{
    index_remove(s, item);
    cm_policy_evict(&s->policy, &item->node);
    s->evictions++;
    drop(item, dead);
}

/* --- life
 * ----------------------------------------------------------------------------------------------------- */

struct cm_shard *cm_shard_new(const struct cm_shard_options *o)
{
    struct cm_shard *s = aligned_alloc(_Alignof(struct cm_shard), sizeof(*s));

    if (!s)
        return NULL;
    memset(s, 0, sizeof(*s));
    s->max_bytes = o->max_bytes;
    s->admission = o->admission;
    s->policy.lru = o->lru;
    s->sketch = calloc(1, sizeof(*s->sketch));
    s->duel = o->lru ? NULL : cm_duel_new();
    if (!s->sketch || (!s->duel && !o->lru) || pthread_mutex_init(&s->lock, NULL)) {
        cm_duel_free(s->duel);
        free(s->sketch);
        free(s);
        return NULL;
    }
    atomic_init(&s->bytes, fixed_bytes(o->lru));
    set_capacity(s);
    return s;
}

void cm_shard_free(struct cm_shard *s)
{
    if (!s)
        return;
    cm_shard_flush(s);
    pthread_mutex_destroy(&s->lock);
    cm_duel_free(s->duel);
    free(s->sketch);
    free(s);
}

/* Frees all items of a queue that has been taken off its shard. */
static void end_queue(struct cm_queue *q)
{
    struct cm_item *dead = NULL;

    for (struct cm_node *n = q->newest, *older; n; n = older) {
        older = n->older;
        drop(item_of(n), &dead);
        bury(dead);
        dead = NULL;
    }
}

void cm_shard_flush(struct cm_shard *s)
{
    struct cm_queue queues[CM_QUEUES];
    struct cm_index index;

    pthread_mutex_lock(&s->lock);
    memcpy(queues, s->policy.queue, sizeof(queues));
    index = s->index;
    memset(&s->index, 0, sizeof(s->index));
    give_bytes(s, ghost_bytes(s));
    cm_policy_clear(&s->policy);
    set_capacity(s);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < CM_QUEUES; i++)
        end_queue(&queues[i]);
    give_bytes(s, cm_index_bytes(&index));
    cm_index_free(&index);
}

/* Evicts a slice of what is over the bound; returns whether there is more to do. */
static int shrink(struct cm_shard *s)
{
    struct cm_item *dead = NULL;
    struct cm_node *n = NULL;
    int more;

    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < SLICE && bytes_of(s) > s->max_bytes; i++) {
        n = cm_policy_victim(&s->policy);
        if (!n)
            break;
        evict(s, item_of(n), &dead);
    }
    more = n && bytes_of(s) > s->max_bytes;
    pthread_mutex_unlock(&s->lock);
    bury(dead);
    return more;
}

void cm_shard_set(struct cm_shard *s, uint64_t max_bytes, int32_t admission)
{
    pthread_mutex_lock(&s->lock);
    s->admission = admission;
    if (max_bytes < s->max_bytes) {
        /* The ghosts' table has the size that so many values wanted. */
        give_bytes(s, ghost_bytes(s));
        cm_ghosts_clear(&s->policy.ghosts);
    }
    s->max_bytes = max_bytes;
    set_capacity(s);
    pthread_mutex_unlock(&s->lock);
    while (shrink(s))
        ;
}

/* --- get --------------------------------------------------------------------------------------------------
 */

static void consult_duel(struct cm_shard *s, const struct cm_node *n)
{
    if (s->duel)
        s->policy.wide = cm_duel_access(s->duel, n->hash, n->bytes, s->index.count, s->policy.capacity);
}

/* The item if it may still be used, with a reference for the caller; an expired one is dropped. */
static struct cm_item *look_up(struct cm_shard *s, const struct hd_cache_key *key, uint64_t now,
                               struct cm_item **dead)
{
    struct cm_item *item = cm_index_find(&s->index, key->hash, key->bytes.ptr, key->bytes.len);

    if (item && item->expires_ms <= now) {
        forget(s, item, dead);
        item = NULL;
    }
    if (!item) {
        s->misses++;
        cm_sketch_add(s->sketch, key->hash);
        return NULL;
    }
    s->hits++;
    cm_policy_hit(&s->policy, &item->node);
    consult_duel(s, &item->node);
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
    return item;
}

static void fill(struct hd_cache_value *value, struct cm_item *item, uint64_t now)
{
    const char *p = item->data;

    value->head = (struct hd_str){p, item->head_len};
    p += item->head_len + (uint64_t)item->key_len;
    value->describe = (struct hd_str){p, item->describe_len};
    value->bytes = (struct hd_str){p + item->describe_len, item->bytes_len};
    value->left_ms = item->expires_ms == UINT64_MAX ? UINT64_MAX : item->expires_ms - now;
    value->cost_ns = item->cost_ns;
    value->ref = item;
}

int32_t cm_shard_get(struct cm_shard *s, const struct hd_cache_key *key, uint64_t now,
                     struct hd_cache_value *value)
{
    struct cm_item *item, *dead = NULL;

    pthread_mutex_lock(&s->lock);
    item = look_up(s, key, now, &dead);
    pthread_mutex_unlock(&s->lock);
    bury(dead);
    if (!item)
        return HD_ENOENT;
    fill(value, item, now);
    return HD_OK;
}

void cm_shard_erase(struct cm_shard *s, const struct hd_cache_key *key)
{
    struct cm_item *item, *dead = NULL;

    pthread_mutex_lock(&s->lock);
    item = cm_index_find(&s->index, key->hash, key->bytes.ptr, key->bytes.len);
    if (item)
        forget(s, item, &dead);
    pthread_mutex_unlock(&s->lock);
    bury(dead);
}

/* --- put --------------------------------------------------------------------------------------------------
 */

/* A put on its way. */
struct put {
    struct cm_shard *s;
    const struct hd_cache_key *key;
    const struct hd_cache_value *value;
    uint64_t now;
    uint64_t charge;   /* of the item */
    uint64_t promised; /* bytes that `bytes` has for it */
    int replaces;      /* a value of this key was there, of which these are left: */
    uint8_t queue, freq;
};

static double worth(double frequency, uint64_t cost_ns, uint64_t bytes)
{
    return frequency * (double)cost_ns / (double)bytes;
}

/* Is what comes worth so much less than what would have to go that it is better not kept? What stays thereby
 * is worth half of it the next time, so that it does not stay for ever once nobody wants it. */
static int refuses(struct put *p, struct cm_item *victim)
{
    struct cm_shard *s = p->s;
    double comes, goes;
    unsigned asked;

    if (!s->admission || p->replaces || p->value->cost_ns == NO_COST || victim->cost_ns == NO_COST)
        return 0;
    asked = cm_sketch_count(s->sketch, p->key->hash);
    comes = worth(asked ? asked : 1, p->value->cost_ns, p->charge);
    goes = worth(1.0 + victim->node.freq, victim->cost_ns, victim->node.bytes);
    if (victim->node.spared < 63)
        goes /= (double)((uint64_t)1 << victim->node.spared);
    if (comes * PATIENCE >= goes)
        return 0;
    victim->node.spared++;
    return 1;
}

/* Makes room for the item and for what tables will want: a slice of it. HD_OK: done, and promised.
 * HD_PENDING: more to do. HD_EFULL: it is not admitted, or all that is left is held by others. [under the
 * lock] */
static int32_t make_room(struct put *p, struct cm_item **dead)
{
    struct cm_shard *s = p->s;
    uint64_t need = p->charge + growth(s);

    for (unsigned i = 0; bytes_of(s) + need > s->max_bytes; i++) {
        struct cm_node *n = cm_policy_victim(&s->policy);

        if (i == SLICE)
            return HD_PENDING;
        if (!n || (item_of(n)->expires_ms > p->now && refuses(p, item_of(n))))
            return HD_EFULL;
        evict(s, item_of(n), dead);
    }
    take_bytes(s, need);
    p->promised = need;
    return HD_OK;
}

/* Would it have more than its part of the shard, or be past what an item's lengths can say? [under the lock]
 */
static int too_long(const struct put *p)
{
    return p->charge > p->s->max_bytes / VALUE_PART || p->charge > UINT32_MAX;
}

/* Whatever becomes of the new value, the old one of the key is no longer the last. [under the lock] */
static void drop_old(struct put *p, struct cm_item **dead)
{
    struct cm_item *old = cm_index_find(&p->s->index, p->key->hash, p->key->bytes.ptr, p->key->bytes.len);

    if (!old)
        return;
    p->replaces = 1;
    p->queue = old->node.queue;
    p->freq = old->node.freq;
    forget(p->s, old, dead);
}

static int32_t reserve(struct put *p)
{
    struct cm_shard *s = p->s;
    struct cm_item *dead = NULL;
    int32_t code;

    do {
        pthread_mutex_lock(&s->lock);
        drop_old(p, &dead);
        code = too_long(p) ? HD_EINVAL : make_room(p, &dead);
        s->rejected += code == HD_EFULL;
        pthread_mutex_unlock(&s->lock);
        bury(dead);
        dead = NULL;
    } while (code == HD_PENDING);
    return code;
}

static char *append(char *to, struct hd_str from)
{
    if (from.len)
        memcpy(to, from.ptr, from.len);
    return to + from.len;
}

static struct cm_item *make_item(const struct put *p)
{
    struct cm_item *item = malloc(p->charge - MALLOC_HEAD);
    char *to;

    if (!item)
        return NULL;
    memset(item, 0, sizeof(*item));
    item->shard = p->s;
    item->node.hash = p->key->hash;
    item->node.bytes = (uint32_t)p->charge;
    item->expires_ms = p->value->left_ms > UINT64_MAX - p->now ? UINT64_MAX : p->now + p->value->left_ms;
    item->cost_ns = p->value->cost_ns;
    item->head_len = (uint32_t)p->value->head.len;
    item->key_len = (uint32_t)p->key->bytes.len;
    item->describe_len = (uint32_t)p->value->describe.len;
    item->bytes_len = (uint32_t)p->value->bytes.len;
    atomic_init(&item->refs, 1);
    to = append(item->data, p->value->head);
    to = append(to, p->key->bytes);
    to = append(to, p->value->describe);
    append(to, p->value->bytes);
    return item;
}

/* Lets the tables grow, as far as bytes were promised for it. Returns whether they can take an item: without
 * memory, or after a flush that came between, an empty index may have no bucket. [under the lock] */
static int grow_tables(struct put *p)
{
    struct cm_shard *s = p->s;
    uint64_t before = cm_index_bytes(&s->index) + ghost_bytes(s), after;
    uint64_t spare = p->promised - p->charge;

    if (growth(s) <= spare) {
        (void)cm_index_grow(&s->index);
        if (s->duel && cm_ghosts_small(&s->policy.ghosts, s->index.count + 1))
            (void)cm_ghosts_grow(&s->policy.ghosts, s->index.count + 1);
    }
    after = cm_index_bytes(&s->index) + ghost_bytes(s);
    give_bytes(s, spare);
    take_bytes(s, after - before);
    if (after != before)
        set_capacity(s);
    return s->index.buckets > 0;
}

/* `item` is NULL when there was no memory for it. */
static int32_t insert(struct put *p, struct cm_item *item)
{
    struct cm_shard *s = p->s;
    struct cm_item *dead = NULL;
    int ready;

    pthread_mutex_lock(&s->lock);
    drop_old(p, &dead);
    ready = grow_tables(p) && item;
    if (ready) {
        cm_index_add(&s->index, item);
        if (p->replaces)
            cm_policy_replace(&s->policy, &item->node, p->queue, p->freq);
        else
            cm_policy_add(&s->policy, &item->node);
        consult_duel(s, &item->node);
        s->puts++;
    } else {
        give_bytes(s, p->charge);
        s->rejected++;
    }
    pthread_mutex_unlock(&s->lock);
    bury(dead);
    if (!ready)
        free(item);
    return ready ? HD_OK : HD_EFULL;
}

int32_t cm_shard_put(struct cm_shard *s, const struct hd_cache_key *key, uint64_t now,
                     const struct hd_cache_value *value)
{
    struct put p = {.s = s, .key = key, .value = value, .now = now};
    struct cm_item *item;
    int32_t code;

    p.charge = cm_item_charge(key, value);
    if (!value->left_ms) {
        cm_shard_erase(s, key);
        return HD_EFULL;
    }
    code = reserve(&p);
    if (code != HD_OK)
        return code;
    item = make_item(&p);
    return insert(&p, item);
}

void cm_shard_stats(struct cm_shard *s, struct cm_shard_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = (struct cm_shard_stats){
        .entries = s->index.count,
        .bytes = bytes_of(s),
        .max_bytes = s->max_bytes,
        .hits = s->hits,
        .misses = s->misses,
        .puts = s->puts,
        .rejected = s->rejected,
        .evictions = s->evictions,
        .wide = s->policy.wide,
        .lru = s->policy.lru,
    };
    pthread_mutex_unlock(&s->lock);
}
