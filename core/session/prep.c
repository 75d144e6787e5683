/*
 * Prepared statements in pooling; see prep.h.
 */
#include "session/prep.h"

#include <howdah/error.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

#define CONTENT_BUCKETS 4096

/* --- contents ----------------------------------------------------------------------------------------------
 */

struct hd_prep_table {
    pthread_mutex_t lock;
    _Atomic uint64_t next_id;
    size_t count;
    struct hd_prep *buckets[CONTENT_BUCKETS];
};

struct hd_prep_table *hd_prep_table_new(void)
{
    struct hd_prep_table *t = hd_calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    atomic_init(&t->next_id, 1);
    return t;
}

void hd_prep_table_free(struct hd_prep_table *t)
{
    if (!t)
        return;
    HD_CHECK(t->count == 0);
    pthread_mutex_destroy(&t->lock);
    hd_free(t);
}

static struct hd_prep *find(struct hd_prep_table *t, struct hd_hash128 key, const uint8_t *body, uint32_t len)
{
    struct hd_prep *p = t->buckets[key.lo % CONTENT_BUCKETS];

    while (p && !(hd_hash128_eq(p->key, key) && p->len == len && !memcmp(p->body, body, len)))
        p = p->next;
    return p;
}

static struct hd_prep *make(struct hd_prep_table *t, struct hd_hash128 key, const uint8_t *body, uint32_t len,
                            uint32_t sql_len)
{
    struct hd_prep *p = hd_malloc(sizeof(*p) + len);

    if (!p)
        return NULL;
    atomic_init(&p->refs, 0);
    p->len = len;
    p->sql_len = sql_len;
    p->key = key;
    memcpy(p->body, body, len);
    p->next = t->buckets[key.lo % CONTENT_BUCKETS];
    t->buckets[key.lo % CONTENT_BUCKETS] = p;
    t->count++;
    return p;
}

struct hd_prep *hd_prep_get(struct hd_prep_table *t, const uint8_t *body, uint32_t len, uint32_t sql_len)
{
    struct hd_hash128 key = hd_hash128(body, len);
    struct hd_prep *p;

    pthread_mutex_lock(&t->lock);
    p = find(t, key, body, len);
    if (!p)
        p = make(t, key, body, len, sql_len);
    if (p)
        hd_prep_hold(p);
    pthread_mutex_unlock(&t->lock);
    return p;
}

void hd_prep_drop(struct hd_prep_table *t, struct hd_prep *p)
{
    struct hd_prep **at;

    if (!p)
        return;
    /* Under the lock, so that nobody finds it again between the count's fall and its end. */
    pthread_mutex_lock(&t->lock);
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) {
        for (at = &t->buckets[p->key.lo % CONTENT_BUCKETS]; *at != p; at = &(*at)->next)
            ;
        *at = p->next;
        t->count--;
        hd_free(p);
    }
    pthread_mutex_unlock(&t->lock);
}

size_t hd_prep_count(struct hd_prep_table *t)
{
    size_t n;

    pthread_mutex_lock(&t->lock);
    n = t->count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

uint64_t hd_prep_new_id(struct hd_prep_table *t)
{
    return atomic_fetch_add_explicit(&t->next_id, 1, memory_order_relaxed);
}

size_t hd_prep_name(uint64_t id, char *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = sizeof(HD_PREP_PREFIX) - 1, len;
    char rev[16];
    size_t r = 0;

    memcpy(out, HD_PREP_PREFIX, n);
    do
        rev[r++] = digits[id & 15];
    while (id >>= 4);
    for (len = n; r; len++)
        out[len] = rev[--r];
    out[len] = 0;
    return len;
}

/* --- a client's names --------------------------------------------------------------------------------------
 */

static uint32_t name_hash(const char *name)
{
    return (uint32_t)hd_hash64(name, strlen(name));
}

/* Where the name is, or where it would go; *found says which. */
static uint32_t seek(const struct hd_names *n, uint32_t hash, const char *name, int *found)
{
    uint32_t lo = 0, hi = n->count;

    *found = 0;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        const struct hd_name *e = &n->items[mid];
        int cmp = e->hash < hash ? -1 : e->hash > hash ? 1 : strcmp(e->name, name);

        if (cmp == 0) {
            *found = 1;
            return mid;
        }
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct hd_name *hd_names_find(struct hd_names *n, const char *name)
{
    int found;
    uint32_t at;

    if (!n->count)
        return NULL;
    at = seek(n, name_hash(name), name, &found);
    return found ? &n->items[at] : NULL;
}

static int grow(struct hd_names *n)
{
    uint32_t cap = n->cap ? n->cap * 2 : 2;
    void *p = hd_realloc(n->items, cap * sizeof(*n->items));

    if (!p)
        return HD_ENOMEM;
    n->items = p;
    n->cap = cap;
    return HD_OK;
}

/* What an entry takes, as if nobody shared its content. */
static size_t weight(const struct hd_name *e)
{
    return sizeof(*e) + strlen(e->name) + sizeof(*e->prep) + e->prep->len;
}

struct hd_name *hd_names_set(struct hd_names *n, struct hd_prep_table *t, const char *name, struct hd_prep *p,
                             uint32_t seq)
{
    uint32_t hash = name_hash(name);
    int found;
    uint32_t at = seek(n, hash, name, &found);
    char *copy;

    if (found) {
        copy = n->items[at].name;
        n->bytes -= weight(&n->items[at]);
        hd_prep_drop(t, n->items[at].prep);
    } else {
        if (n->count == n->cap && grow(n))
            return NULL;
        copy = hd_strdup(name);
        if (!copy)
            return NULL;
        memmove(&n->items[at + 1], &n->items[at], (n->count - at) * sizeof(*n->items));
        n->count++;
    }
    n->items[at] = (struct hd_name){.hash = hash, .seq = seq, .name = copy, .prep = p};
    n->bytes += weight(&n->items[at]);
    return &n->items[at];
}

void hd_names_resolve(struct hd_names *n, struct hd_prep_table *t, struct hd_name *e, struct hd_prep *p)
{
    struct hd_prep *old = e->prep;

    n->bytes -= weight(e);
    e->prep = hd_prep_hold(p);
    n->bytes += weight(e);
    hd_prep_drop(t, old);
}

struct hd_name *hd_names_of_seq(struct hd_names *n, uint32_t seq)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (n->items[i].seq == seq)
            return &n->items[i];
    return NULL;
}

static void remove_at(struct hd_names *n, struct hd_prep_table *t, uint32_t at)
{
    n->bytes -= weight(&n->items[at]);
    hd_prep_drop(t, n->items[at].prep);
    hd_free(n->items[at].name);
    memmove(&n->items[at], &n->items[at + 1], (n->count - at - 1) * sizeof(*n->items));
    n->count--;
}

void hd_names_remove(struct hd_names *n, struct hd_prep_table *t, const char *name)
{
    int found;
    uint32_t at = seek(n, name_hash(name), name, &found);

    if (found)
        remove_at(n, t, at);
}

void hd_names_undo(struct hd_names *n, struct hd_prep_table *t, uint32_t seq)
{
    struct hd_name *e = hd_names_of_seq(n, seq);

    if (e)
        remove_at(n, t, (uint32_t)(e - n->items));
}

void hd_names_clear(struct hd_names *n, struct hd_prep_table *t)
{
    for (uint32_t i = 0; i < n->count; i++) {
        hd_prep_drop(t, n->items[i].prep);
        hd_free(n->items[i].name);
    }
    hd_free(n->items);
    *n = (struct hd_names){0};
}
