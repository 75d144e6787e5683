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
#define SERVER_BUCKETS  64

/* --- contents ----------------------------------------------------------------------------------------------
 */

struct hd_prep_table {
    pthread_mutex_t lock;
    uint64_t next_id;
    size_t count;
    struct hd_prep *buckets[CONTENT_BUCKETS];
};

struct hd_prep_table *hd_prep_table_new(void)
{
    struct hd_prep_table *t = hd_calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->next_id = 1;
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
    atomic_init(&p->proven, NULL);
    p->len = len;
    p->sql_len = sql_len;
    p->id = t->next_id++;
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

size_t hd_prep_name(const struct hd_prep *p, char *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = sizeof(HD_PREP_PREFIX) - 1, len;
    uint64_t id = p->id;
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

int hd_names_set(struct hd_names *n, struct hd_prep_table *t, const char *name, struct hd_prep *p,
                 uint32_t seq)
{
    uint32_t hash = name_hash(name);
    int found;
    uint32_t at = seek(n, hash, name, &found);
    char *copy;

    if (found) {
        n->bytes -= weight(&n->items[at]);
        hd_prep_drop(t, n->items[at].prep);
        n->items[at].prep = p;
        n->items[at].seq = seq;
        n->bytes += weight(&n->items[at]);
        return HD_OK;
    }
    if (n->count == n->cap && grow(n))
        return HD_ENOMEM;
    copy = hd_strdup(name);
    if (!copy)
        return HD_ENOMEM;
    memmove(&n->items[at + 1], &n->items[at], (n->count - at) * sizeof(*n->items));
    n->items[at] = (struct hd_name){hash, seq, copy, p};
    n->bytes += weight(&n->items[at]);
    n->count++;
    return HD_OK;
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
    for (uint32_t i = 0; i < n->count; i++)
        if (n->items[i].seq == seq) {
            remove_at(n, t, i);
            return;
        }
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

/* --- what a server has -------------------------------------------------------------------------------------
 */

void hd_server_preps_init(struct hd_server_preps *s)
{
    *s = (struct hd_server_preps){0};
    hd_list_init(&s->lru);
}

static struct hd_server_prep **bucket(struct hd_server_preps *s, const struct hd_prep *p)
{
    return &s->buckets[p->id & (s->bucket_count - 1)];
}

static struct hd_server_prep *lookup(struct hd_server_preps *s, const struct hd_prep *p)
{
    struct hd_server_prep *e = s->count ? *bucket(s, p) : NULL;

    while (e && e->prep != p)
        e = e->next;
    return e;
}

int hd_server_preps_use(struct hd_server_preps *s, const struct hd_prep *p)
{
    struct hd_server_prep *e = lookup(s, p);

    if (!e || e->epoch != s->epoch)
        return 0;
    hd_list_remove(&e->lru);
    hd_list_push_back(&s->lru, &e->lru);
    return 1;
}

int hd_server_preps_add(struct hd_server_preps *s, struct hd_prep *p)
{
    struct hd_server_prep *e = hd_malloc(sizeof(*e));

    if (!s->buckets) {
        s->buckets = hd_calloc(SERVER_BUCKETS, sizeof(*s->buckets));
        s->bucket_count = SERVER_BUCKETS;
    }
    if (!e || !s->buckets) {
        hd_free(e);
        return HD_ENOMEM;
    }
    e->prep = hd_prep_hold(p);
    e->epoch = s->epoch;
    e->next = *bucket(s, p);
    *bucket(s, p) = e;
    hd_list_push_back(&s->lru, &e->lru);
    s->count++;
    return HD_OK;
}

void hd_server_preps_remove(struct hd_server_preps *s, struct hd_prep_table *t, const struct hd_prep *p)
{
    struct hd_server_prep *e = lookup(s, p), **at;

    if (!e)
        return;
    for (at = bucket(s, p); *at != e; at = &(*at)->next)
        ;
    *at = e->next;
    hd_list_remove(&e->lru);
    hd_prep_drop(t, e->prep);
    hd_free(e);
    s->count--;
}

void hd_server_preps_expire(struct hd_server_preps *s)
{
    s->epoch++;
}

int hd_server_preps_expired(struct hd_server_preps *s, const struct hd_prep *p)
{
    struct hd_server_prep *e = lookup(s, p);

    return e && e->epoch != s->epoch;
}

struct hd_prep *hd_server_preps_oldest(struct hd_server_preps *s)
{
    struct hd_list *n = hd_list_first(&s->lru);

    return n ? HD_LIST_ITEM(n, struct hd_server_prep, lru)->prep : NULL;
}

void hd_server_preps_clear(struct hd_server_preps *s, struct hd_prep_table *t)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&s->lru))) {
        struct hd_server_prep *e = HD_LIST_ITEM(n, struct hd_server_prep, lru);

        hd_prep_drop(t, e->prep);
        hd_free(e);
    }
    hd_free(s->buckets);
    s->buckets = NULL;
    s->count = s->bucket_count = 0;
}
