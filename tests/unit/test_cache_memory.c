/*
 * The memory store's shards: against a plain map, at their bound, over time, with values that are held, with
 * several threads, without memory, with hashes that collide; and the parts that they are made of.
 */
#include "unit.h"
#include "cache-memory/duel.h"
#include "cache-memory/shard.h"
#include "cache-memory/sketch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- allocations that fail
 * ---------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

/* 0: none fails; n: the nth from now on, on this thread. */
static _Thread_local long fail_at;
static _Thread_local int failed;

static int refuse(void)
{
    if (!fail_at || --fail_at)
        return 0;
    failed = 1;
    return 1;
}

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return refuse() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return refuse() ? NULL : __real_aligned_alloc(align, size);
}

/* --- helpers
 * -------------------------------------------------------------------------------------------------- */

#define MAX_BYTES (1 << 20)
#define NOW       1000
#define LONG      1000000

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static uint64_t random_state;

static uint64_t random_next(void)
{
    return mix(random_state++);
}

/* A key made of a number, in a buffer of the caller's. */
struct key {
    struct hd_cache_key key;
    char text[24];
};

static void key_make(struct key *k, uint64_t number, uint64_t hash)
{
    int len = snprintf(k->text, sizeof(k->text), "key %llu", (unsigned long long)number);

    k->key = (struct hd_cache_key){.size = sizeof(k->key), .hash = hash, .bytes = {k->text, (uint64_t)len}};
}

static struct cm_shard *shard(uint64_t max_bytes, int lru)
{
    struct cm_shard_options o = {.max_bytes = max_bytes, .lru = lru, .admission = 1};
    struct cm_shard *s = cm_shard_new(&o);

    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    return s;
}

static int32_t put(struct cm_shard *s, uint64_t number, struct hd_str bytes, uint64_t cost_ns)
{
    struct key k;
    struct hd_cache_value v = {
        .size = sizeof(v), .bytes = bytes, .left_ms = LONG, .cost_ns = cost_ns, .head = hd_str_of("head")};

    key_make(&k, number, mix(number));
    return cm_shard_put(s, &k.key, NOW, &v);
}

static int32_t get(struct cm_shard *s, uint64_t number, struct hd_cache_value *v)
{
    struct key k;

    key_make(&k, number, mix(number));
    memset(v, 0, sizeof(*v));
    v->size = sizeof(*v);
    return cm_shard_get(s, &k.key, NOW, v);
}

/* Is it there? Counts as being asked for. */
static int has(struct cm_shard *s, uint64_t number)
{
    struct hd_cache_value v;
    int32_t code = get(s, number, &v);

    if (code == HD_OK)
        cm_shard_release(v.ref);
    return code == HD_OK;
}

static int same(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && (!a.len || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static struct cm_shard_stats stats(struct cm_shard *s)
{
    struct cm_shard_stats out;

    cm_shard_stats(s, &out);
    return out;
}

/* --- as a map
 * --------------------------------------------------------------------------------------------------- */

static void gives_back(void)
{
    struct cm_shard *s = shard(MAX_BYTES, 0);
    struct hd_cache_value in = {.size = sizeof(in),
                                .head = hd_str_of("the head"),
                                .describe = hd_str_of("described"),
                                .bytes = hd_str_of("some bytes"),
                                .left_ms = 500,
                                .cost_ns = 77},
                          out = {.size = sizeof(out)};
    struct key k;

    key_make(&k, 1, mix(1));
    CU_ASSERT_EQUAL(cm_shard_get(s, &k.key, NOW, &out), HD_ENOENT);
    CU_ASSERT_EQUAL(cm_shard_put(s, &k.key, NOW, &in), HD_OK);
    CU_ASSERT_EQUAL_FATAL(cm_shard_get(s, &k.key, NOW + 100, &out), HD_OK);
    CU_ASSERT(same(out.head, in.head));
    CU_ASSERT(same(out.describe, in.describe));
    CU_ASSERT(same(out.bytes, in.bytes));
    CU_ASSERT_EQUAL(out.left_ms, 400);
    CU_ASSERT_EQUAL(out.cost_ns, 77);
    CU_ASSERT_EQUAL((uintptr_t)out.head.ptr % 8, 0);
    cm_shard_release(out.ref);
    cm_shard_erase(s, &k.key);
    cm_shard_erase(s, &k.key);
    CU_ASSERT_EQUAL(cm_shard_get(s, &k.key, NOW, &out), HD_ENOENT);
    CU_ASSERT_EQUAL(stats(s).hits, 1);
    CU_ASSERT_EQUAL(stats(s).misses, 2);
    cm_shard_free(s);
}

#define MODEL_KEYS  3000
#define MODEL_STEPS 200000

/* What was put last under each key: 0 nothing, else the seed of its bytes. */
struct model {
    struct cm_shard *s;
    uint32_t last[MODEL_KEYS];
    uint32_t seeds;
    uint64_t found;
};

/* The bytes of a seed; short ones mostly. */
static struct hd_str model_bytes(uint32_t seed, char *room)
{
    uint64_t r = mix(seed), len = r % 13 ? r % 700 : r % 20000;

    for (uint64_t i = 0; i < len; i += 8) {
        uint64_t word = mix(seed + i);

        memcpy(room + i, &word, sizeof(word));
    }
    return (struct hd_str){room, len};
}

static void model_put(struct model *m, uint64_t k)
{
    static char room[20008];
    int32_t code = put(m->s, k, model_bytes(++m->seeds, room), 1 + random_next() % 100000);

    CU_ASSERT(code == HD_OK || code == HD_EFULL);
    m->last[k] = code == HD_OK ? m->seeds : 0;
}

static void model_get(struct model *m, uint64_t k)
{
    static char room[20008];
    struct hd_cache_value v;

    if (get(m->s, k, &v) != HD_OK)
        return;
    m->found++;
    CU_ASSERT_NOT_EQUAL(m->last[k], 0);
    CU_ASSERT(same(v.bytes, model_bytes(m->last[k], room)));
    CU_ASSERT(same(v.head, hd_str_of("head")));
    cm_shard_release(v.ref);
}

static void model_step(struct model *m)
{
    uint64_t r = random_next(), k = r % MODEL_KEYS;
    struct key key;

    k = k * k / MODEL_KEYS;
    switch ((r >> 32) % 16) {
    case 0:
        key_make(&key, k, mix(k));
        cm_shard_erase(m->s, &key.key);
        m->last[k] = 0;
        break;
    case 1:
    case 2:
    case 3:
    case 4:
        model_put(m, k);
        break;
    default:
        model_get(m, k);
    }
    if ((r >> 40) % 20000 == 0) {
        cm_shard_flush(m->s);
        memset(m->last, 0, sizeof(m->last));
    }
}

static void model_run(int lru)
{
    struct model *m = calloc(1, sizeof(*m));
    struct cm_shard_stats st;
    uint64_t over = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    random_state = 42;
    m->s = shard(MAX_BYTES / 2, lru);
    for (unsigned i = 0; i < MODEL_STEPS; i++) {
        model_step(m);
        st = stats(m->s);
        over += st.bytes > st.max_bytes;
        if (i == MODEL_STEPS / 2)
            cm_shard_set(m->s, MAX_BYTES / 4, 1);
    }
    CU_ASSERT_EQUAL(over, 0);
    CU_ASSERT(m->found > MODEL_STEPS / 10);
    CU_ASSERT(st.evictions > 100);
    CU_ASSERT_EQUAL(st.hits, m->found);
    cm_shard_free(m->s);
    free(m);
}

static void is_a_map(void)
{
    model_run(0);
    model_run(1);
}

static void tells_collisions_apart(void)
{
    struct cm_shard *s = shard(MAX_BYTES, 0);
    struct hd_cache_value v = {.size = sizeof(v), .left_ms = LONG}, out = {.size = sizeof(out)};
    struct key k;
    char text[24];

    for (unsigned i = 0; i < 100; i++) {
        key_make(&k, i, 4711);
        snprintf(text, sizeof(text), "value %u", i);
        v.bytes = hd_str_of(text);
        CU_ASSERT_EQUAL(cm_shard_put(s, &k.key, NOW, &v), HD_OK);
    }
    for (unsigned i = 0; i < 100; i += 2) {
        key_make(&k, i, 4711);
        cm_shard_erase(s, &k.key);
    }
    for (unsigned i = 0; i < 101; i++) {
        key_make(&k, i, 4711);
        snprintf(text, sizeof(text), "value %u", i);
        CU_ASSERT_EQUAL_FATAL(cm_shard_get(s, &k.key, NOW, &out), i % 2 && i < 100 ? HD_OK : HD_ENOENT);
        if (i % 2 && i < 100) {
            CU_ASSERT(same(out.bytes, hd_str_of(text)));
            cm_shard_release(out.ref);
        }
    }
    cm_shard_free(s);
}

/* --- bound, time, references
 * ------------------------------------------------------------------------------------ */

static void refuses_what_is_too_long(void)
{
    struct cm_shard *s = shard(MAX_BYTES, 0);
    char *big = calloc(1, MAX_BYTES);

    CU_ASSERT_PTR_NOT_NULL_FATAL(big);
    CU_ASSERT_EQUAL(put(s, 1, hd_str_of("old"), 1), HD_OK);
    CU_ASSERT_EQUAL(put(s, 1, (struct hd_str){big, MAX_BYTES / 8}, 1), HD_EINVAL);
    CU_ASSERT_FALSE(has(s, 1)); /* the old one was not the last any more */
    CU_ASSERT_EQUAL(put(s, 1, (struct hd_str){big, MAX_BYTES / 8 - 200}, 1), HD_OK);
    CU_ASSERT_TRUE(has(s, 1));
    cm_shard_free(s);
    free(big);
}

static void expires(void)
{
    struct cm_shard *s = shard(MAX_BYTES, 0);
    struct hd_cache_value v = {.size = sizeof(v), .left_ms = 10, .bytes = hd_str_of("x")},
                          out = {.size = sizeof(out)};
    struct key k;

    key_make(&k, 1, mix(1));
    CU_ASSERT_EQUAL(cm_shard_put(s, &k.key, NOW, &v), HD_OK);
    CU_ASSERT_EQUAL_FATAL(cm_shard_get(s, &k.key, NOW + 9, &out), HD_OK);
    CU_ASSERT_EQUAL(out.left_ms, 1);
    cm_shard_release(out.ref);
    CU_ASSERT_EQUAL(cm_shard_get(s, &k.key, NOW + 10, &out), HD_ENOENT);
    CU_ASSERT_EQUAL(stats(s).entries, 0);
    v.left_ms = UINT64_MAX;
    CU_ASSERT_EQUAL(cm_shard_put(s, &k.key, NOW, &v), HD_OK);
    CU_ASSERT_EQUAL_FATAL(cm_shard_get(s, &k.key, UINT64_MAX - 1, &out), HD_OK);
    CU_ASSERT_EQUAL(out.left_ms, UINT64_MAX);
    cm_shard_release(out.ref);
    v.left_ms = 0;
    CU_ASSERT_EQUAL(cm_shard_put(s, &k.key, NOW, &v), HD_EFULL);
    CU_ASSERT_EQUAL(cm_shard_get(s, &k.key, NOW, &out), HD_ENOENT);
    cm_shard_free(s);
}

static void keeps_what_is_held(void)
{
    struct cm_shard *s = shard(MAX_BYTES / 4, 0);
    struct hd_cache_value held[2];
    static char filling[5000];
    uint64_t before, after;

    CU_ASSERT_EQUAL(put(s, 1, hd_str_of("first"), 1), HD_OK);
    CU_ASSERT_EQUAL_FATAL(get(s, 1, &held[0]), HD_OK);
    CU_ASSERT_EQUAL_FATAL(get(s, 1, &held[1]), HD_OK);
    CU_ASSERT_EQUAL(put(s, 1, hd_str_of("second"), 1), HD_OK);
    CU_ASSERT(same(held[0].bytes, hd_str_of("first")));
    cm_shard_release(held[0].ref);
    for (unsigned i = 2; i < 500; i++)
        (void)put(s, i, (struct hd_str){filling, sizeof(filling)}, 1);
    cm_shard_flush(s);
    CU_ASSERT_EQUAL(stats(s).entries, 0);
    CU_ASSERT(same(held[1].bytes, hd_str_of("first")));
    before = stats(s).bytes;
    cm_shard_release(held[1].ref);
    after = stats(s).bytes;
    CU_ASSERT(after < before);
    cm_shard_flush(s);
    CU_ASSERT_EQUAL(stats(s).bytes, after);
    cm_shard_free(s);
}

/* What is held counts: when it fills the shard, nothing is taken in, and nothing breaks. */
static void counts_what_is_held(void)
{
    struct cm_shard *s = shard(MAX_BYTES / 4, 0);
    struct hd_cache_value held[64];
    static char filling[20000];
    unsigned n = 0;

    while (n < 64 && put(s, n, (struct hd_str){filling, sizeof(filling)}, 1) == HD_OK) {
        CU_ASSERT_EQUAL_FATAL(get(s, n, &held[n]), HD_OK);
        n++;
        CU_ASSERT(stats(s).bytes <= stats(s).max_bytes);
    }
    CU_ASSERT(n > 5 && n < 15);
    CU_ASSERT(stats(s).bytes <= stats(s).max_bytes);
    CU_ASSERT(stats(s).rejected > 0);
    for (unsigned i = 0; i < n; i++)
        cm_shard_release(held[i].ref);
    CU_ASSERT_EQUAL(put(s, 100, (struct hd_str){filling, sizeof(filling)}, 1), HD_OK);
    cm_shard_free(s);
}

static void follows_a_new_bound(void)
{
    struct cm_shard *s = shard(4 * MAX_BYTES, 0);

    for (unsigned i = 0; i < 20000; i++)
        CU_ASSERT_EQUAL(put(s, i, hd_str_of("0123456789012345678901234567890123456789"), 1), HD_OK);
    CU_ASSERT(stats(s).bytes > MAX_BYTES);
    cm_shard_set(s, MAX_BYTES / 4, 1);
    CU_ASSERT(stats(s).bytes <= MAX_BYTES / 4);
    CU_ASSERT(stats(s).entries > 500);
    cm_shard_set(s, MAX_BYTES, 1);
    for (unsigned i = 0; i < 20000; i++)
        (void)put(s, i, hd_str_of("0123456789"), 1);
    CU_ASSERT(stats(s).bytes > MAX_BYTES / 2 && stats(s).bytes <= MAX_BYTES);
    cm_shard_flush(s);
    CU_ASSERT_EQUAL(stats(s).entries, 0);
    cm_shard_free(s);
}

/* --- what stays
 * --------------------------------------------------------------------------------------------------- */

/* Values that are asked for again and again outlive a scan of others, with S3-FIFO. */
static unsigned survivors_of_scan(int lru)
{
    struct cm_shard *s = shard(MAX_BYTES, lru);
    static char filling[1000];
    struct hd_str v = {filling, sizeof(filling)};
    unsigned left = 0;

    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < 300; i++)
            if (!has(s, i))
                CU_ASSERT_EQUAL(put(s, i, v, 1000), HD_OK);
    for (unsigned i = 1000; i < 4000; i++)
        if (!has(s, i))
            (void)put(s, i, v, 1000);
    for (unsigned i = 0; i < 300; i++)
        left += (unsigned)has(s, i);
    cm_shard_free(s);
    return left;
}

static void survives_scans(void)
{
    CU_ASSERT(survivors_of_scan(0) > 290);
    CU_ASSERT_EQUAL(survivors_of_scan(1), 0);
}

static void lru_is_lru(void)
{
    struct cm_shard *s = shard(MAX_BYTES, 1);
    static char filling[10000];
    struct hd_str v = {filling, sizeof(filling)};
    unsigned n = 0;

    while (!stats(s).evictions)
        CU_ASSERT_EQUAL(put(s, n++, v, 1), HD_OK);
    CU_ASSERT_FALSE(has(s, 0));
    CU_ASSERT_TRUE(has(s, 1));
    CU_ASSERT_EQUAL(put(s, n++, v, 1), HD_OK);
    CU_ASSERT_TRUE(has(s, 1));
    CU_ASSERT_FALSE(has(s, 2));
    cm_shard_free(s);
}

/* Cheap values for which dear ones would have to go are kept out, but not for ever. */
static void admits_by_worth(void)
{
    struct cm_shard *s = shard(MAX_BYTES, 0);
    static char filling[1000];
    struct hd_str v = {filling, sizeof(filling)};
    unsigned n = 0, tries = 0;

    while (!stats(s).evictions)
        CU_ASSERT_EQUAL(put(s, n++, v, 1000000), HD_OK);
    CU_ASSERT_FALSE(has(s, 100000));
    CU_ASSERT_EQUAL(put(s, 100000, v, 1000), HD_EFULL);
    CU_ASSERT_EQUAL(stats(s).rejected, 1);
    CU_ASSERT_EQUAL(put(s, 100001, v, 1000000), HD_OK);
    while (put(s, 100002, v, 1000) == HD_EFULL && tries < 100) {
        (void)has(s, 100002);
        tries++;
    }
    CU_ASSERT(tries > 0 && tries < 100);
    cm_shard_set(s, MAX_BYTES, 0);
    CU_ASSERT_EQUAL(put(s, 100003, v, 1), HD_OK);
    cm_shard_free(s);
}

/* Bursts, each of a few values that never come back, want a wide small queue; the duel finds out. */
static void widens_for_bursts(void)
{
    struct cm_shard *s = shard(MAX_BYTES / 4, 0);
    static char filling[1000];
    struct hd_str v = {filling, sizeof(filling)};

    random_state = 1;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t k = i / 10 + random_next() % 120;

        if (!has(s, k))
            (void)put(s, k, v, 1);
    }
    CU_ASSERT_TRUE(stats(s).wide);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t r = random_next() % 1000, k = i % 3 ? 1000000 + r * r / 2000 : 2000000 + i;

        if (!has(s, k))
            (void)put(s, k, v, 1);
    }
    CU_ASSERT_FALSE(stats(s).wide);
    cm_shard_free(s);
}

/* --- parts
 * ------------------------------------------------------------------------------------------------------------
 */

static void index_grows_and_shrinks(void)
{
    enum { N = 20000 };
    struct cm_index ix = {0};
    struct cm_item *items = calloc(N, sizeof(*items));
    size_t empty;

    CU_ASSERT_PTR_NOT_NULL_FATAL(items);
    CU_ASSERT_PTR_NULL(cm_index_find(&ix, 1, NULL, 0));
    CU_ASSERT_EQUAL(cm_index_grow(&ix), HD_OK);
    empty = cm_index_bytes(&ix);
    for (unsigned i = 0; i < N; i++) {
        size_t before = cm_index_bytes(&ix), growth = cm_index_growth(&ix);

        items[i].node.hash = mix(i);
        CU_ASSERT_EQUAL(cm_index_grow(&ix), HD_OK);
        CU_ASSERT_EQUAL(cm_index_bytes(&ix), before + growth);
        cm_index_add(&ix, &items[i]);
    }
    CU_ASSERT_EQUAL(ix.buckets, N);
    CU_ASSERT_EQUAL(cm_index_bytes(&ix), cm_index_bytes_for(N));
    for (unsigned i = 0; i < N; i += 1 + i % 2)
        CU_ASSERT_PTR_EQUAL(cm_index_find(&ix, mix(i), NULL, 0), &items[i]);
    for (unsigned i = 0; i < N; i++) {
        cm_index_remove(&ix, &items[i]);
        if (i % 100 == 0)
            for (unsigned j = i + 1; j < N; j += 97)
                CU_ASSERT_PTR_EQUAL(cm_index_find(&ix, mix(j), NULL, 0), &items[j]);
    }
    CU_ASSERT_EQUAL(ix.count, 0);
    CU_ASSERT_EQUAL(ix.buckets * sizeof(void *), 4096);
    CU_ASSERT(cm_index_bytes(&ix) < empty + 1024);
    cm_index_free(&ix);
    free(items);
}

static void ghosts_fade(void)
{
    struct cm_ghosts g = {0};
    unsigned lost = 0;

    cm_ghosts_add(&g, mix(1), 100);
    CU_ASSERT_FALSE(cm_ghosts_take(&g, mix(1), 1000)); /* no table, no ghost */
    CU_ASSERT_EQUAL(cm_ghosts_grow(&g, 100), HD_OK);
    cm_ghosts_add(&g, mix(1), 100);
    CU_ASSERT_TRUE(cm_ghosts_take(&g, mix(1), 1000));
    CU_ASSERT_FALSE(cm_ghosts_take(&g, mix(1), 1000));
    cm_ghosts_add(&g, mix(1), 100);
    cm_ghosts_add(&g, mix(2), 2000);
    CU_ASSERT_FALSE(cm_ghosts_take(&g, mix(1), 1000));
    for (unsigned i = 0; i < 50; i++)
        cm_ghosts_add(&g, mix(i), 16);
    CU_ASSERT_TRUE(cm_ghosts_small(&g, 1000));
    CU_ASSERT_EQUAL(cm_ghosts_grow(&g, 1000), HD_OK);
    CU_ASSERT_FALSE(cm_ghosts_small(&g, 1000));
    for (unsigned i = 0; i < 50; i++)
        lost += !cm_ghosts_take(&g, mix(i), 1000);
    CU_ASSERT(lost < 5);
    cm_ghosts_clear(&g);
}

static void sketch_counts(void)
{
    struct cm_sketch *s = calloc(1, sizeof(*s));
    unsigned least = 0, more = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    for (unsigned i = 0; i < 1000; i++)
        for (unsigned n = 0; n < i % 10; n++)
            cm_sketch_add(s, mix(i));
    for (unsigned i = 0; i < 1000; i++) {
        least += cm_sketch_count(s, mix(i)) < i % 10;
        more += cm_sketch_count(s, mix(i)) > i % 10;
    }
    CU_ASSERT_EQUAL(least, 0);
    CU_ASSERT(more < 100);
    for (unsigned i = 0; i < 100; i++)
        cm_sketch_add(s, mix(5000));
    CU_ASSERT_EQUAL(cm_sketch_count(s, mix(5000)), 15);
    for (unsigned i = 0; i < 82000; i++)
        cm_sketch_add(s, mix(5001));
    CU_ASSERT(cm_sketch_count(s, mix(5000)) < 15);
    free(s);
}

/* --- threads and memory
 * --------------------------------------------------------------------------------------------------- */

#define THREADS 4

struct crowd {
    struct cm_shard *s;
    unsigned number;
    unsigned wrong;
    unsigned found;
};

/* The bytes begin with the key's number, so that a mix-up shows. */
static void *crowd_member(void *arg)
{
    struct crowd *c = arg;
    struct hd_cache_value v;
    char bytes[600] = {0};

    for (unsigned i = 0; i < 20000; i++) {
        uint64_t r = mix(((uint64_t)c->number << 32) + i), k = r % 500;
        struct key key;

        memcpy(bytes, &k, sizeof(k));
        if (r >> 60 == 0) {
            (void)put(c->s, k, (struct hd_str){bytes, 8 + (r >> 20) % 500}, 1);
        } else if (r >> 58 == 5) {
            key_make(&key, k, mix(k));
            cm_shard_erase(c->s, &key.key);
        } else if (i % 5000 == 4999) {
            cm_shard_set(c->s, MAX_BYTES / (8 + r % 3), 1);
            cm_shard_flush(c->s);
        } else if (get(c->s, k, &v) == HD_OK) {
            c->wrong += memcmp(v.bytes.ptr, &k, sizeof(k)) != 0;
            c->found++;
            cm_shard_release(v.ref);
        } else {
            (void)put(c->s, k, (struct hd_str){bytes, 8 + (r >> 20) % 500}, 1);
        }
    }
    return NULL;
}

static void stands_a_crowd(void)
{
    struct cm_shard *s = shard(MAX_BYTES / 8, 0);
    struct crowd crowd[THREADS] = {{0}};
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){.s = s, .number = i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, crowd_member, &crowd[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
        CU_ASSERT_EQUAL(crowd[i].wrong, 0);
        CU_ASSERT(crowd[i].found > 1000);
    }
    CU_ASSERT(stats(s).bytes <= MAX_BYTES / 8);
    cm_shard_flush(s);
    cm_shard_flush(s);
    CU_ASSERT_EQUAL(stats(s).entries, 0);
    cm_shard_free(s);
}

/* One life of a shard, which must end well wherever memory is missing. */
static void live(void)
{
    struct cm_shard_options o = {.max_bytes = MAX_BYTES / 8, .admission = 1};
    struct cm_shard *s = cm_shard_new(&o);
    uint64_t empty;

    if (!s)
        return;
    empty = stats(s).bytes;
    for (unsigned i = 0; i < 700; i++) {
        int32_t code = put(s, i, hd_str_of("bytes"), 1);

        CU_ASSERT(code == HD_OK || (code == HD_EFULL && failed));
        CU_ASSERT_EQUAL(has(s, i), code == HD_OK);
    }
    CU_ASSERT(stats(s).bytes <= stats(s).max_bytes);
    cm_shard_flush(s);
    CU_ASSERT_EQUAL(stats(s).bytes, empty);
    cm_shard_free(s);
}

static void does_without_memory(void)
{
    long n = 0;

    do {
        failed = 0;
        fail_at = ++n;
        live();
        fail_at = 0;
    } while (failed);
    CU_ASSERT(n > 700);
}

UNIT_MAIN("cache_memory", {"gives back what was put", gives_back}, {"is a map", is_a_map},
          {"tells collisions apart", tells_collisions_apart},
          {"refuses what is too long", refuses_what_is_too_long}, {"expires", expires},
          {"keeps what is held", keeps_what_is_held}, {"counts what is held", counts_what_is_held},
          {"follows a new bound", follows_a_new_bound}, {"survives scans", survives_scans},
          {"lru is lru", lru_is_lru}, {"admits by worth", admits_by_worth},
          {"widens for bursts", widens_for_bursts}, {"index grows and shrinks", index_grows_and_shrinks},
          {"ghosts fade", ghosts_fade}, {"sketch counts", sketch_counts}, {"stands a crowd", stands_a_crowd},
          {"does without memory", does_without_memory})
