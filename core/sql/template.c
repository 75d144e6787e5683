/*
 * Templates and the process's table of them; see template.h.
 *
 * The table is chained buckets and a ring of all templates with a clock's hand. A template that is new counts
 * as unused, so a flood of texts that never come again pushes out itself first.
 */
#include "sql/template.h"
#include "base/alloc.h"
#include "sql/template_key.h"

#include <howdah/error.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SWEEP 64 /* places that the hand passes at most, with the lock held */

struct hd_templates {
    pthread_mutex_t lock;
    struct hd_template **buckets; /* mask + 1 */
    size_t mask;
    struct hd_template **ring; /* max; the first n are in use */
    size_t max, n, hand;
    uint64_t bytes, hits, misses, evictions;
    _Atomic size_t text_limit;
};

size_t hd_template_trim(const char *sql, size_t len)
{
    while (len && (sql[len - 1] == ';' || sql[len - 1] == ' ' || sql[len - 1] == '\n'))
        len--;
    return len;
}

/* --- one template --- */

struct hd_template *hd_template_hold(const struct hd_template *t)
{
    struct hd_template *mine = (struct hd_template *)(uintptr_t)t;

    atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
    return mine;
}

void hd_template_release(const struct hd_template *t)
{
    struct hd_template *mine = (struct hd_template *)(uintptr_t)t;

    if (!t || atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) != 1)
        return;
    hd_facts_free((struct hd_facts *)(uintptr_t)mine->facts);
    hd_free(mine);
}

static size_t bytes_of(const struct hd_template *t)
{
    return sizeof(*t) + t->len + 1 + t->facts->arena.bytes;
}

static struct hd_template *new_template(struct hd_hash128 key, const char *text, size_t len,
                                        struct hd_facts *facts)
{
    struct hd_template *t = hd_calloc(1, sizeof(*t) + len + 1);

    if (!t)
        return NULL;
    t->key = key;
    t->facts = facts;
    t->len = (uint32_t)len;
    memcpy(t->text, text, len);
    t->fingerprint = hd_fingerprint64(text, len);
    atomic_init(&t->refs, 1);
    return t;
}

/* A template that says nothing of its texts. The hash is the process's own: it tells nothing of the content.
 */
static struct hd_template *make_unsure(struct hd_hash128 key, const char *sql, size_t len)
{
    struct hd_facts *facts = hd_facts_unsure();
    struct hd_template *t;
    char text[40];

    if (!facts)
        return NULL;
    if (sql)
        snprintf(text, sizeof(text), "<unsure> %016" PRIx64, hd_hash64(sql, len));
    else
        snprintf(text, sizeof(text), "<unsure> too long");
    t = new_template(key, text, strlen(text), facts);
    if (!t)
        hd_facts_free(facts);
    return t;
}

static struct hd_template *make_sure(struct hd_hash128 key, const char *sql, size_t len,
                                     const struct hd_scan *scan)
{
    struct hd_facts *facts;
    struct hd_template *t;

    if (hd_facts_parse(sql, len, scan, &facts) != HD_OK)
        return NULL;
    t = new_template(key, scan->text, scan->len, facts);
    if (!t) {
        hd_facts_free(facts);
        return NULL;
    }
    t->n_params = scan->n_params;
    t->n_literals = scan->n_literals;
    return t;
}

static struct hd_template *make(struct hd_hash128 key, const char *sql, size_t len,
                                const struct hd_scan *scan, uint32_t flags)
{
    struct hd_template *t;

    if (!sql || (flags & HD_TEMPLATE_NONSTANDARD) || scan->flags)
        t = make_unsure(key, sql, len);
    else
        t = make_sure(key, sql, len, scan);
    if (t)
        t->flags = flags;
    return t;
}

/* --- the table --- */

struct hd_templates *hd_templates_new(size_t max)
{
    struct hd_templates *ts = hd_calloc(1, sizeof(*ts));
    size_t buckets = 16;

    if (!ts)
        return NULL;
    ts->max = max ? max : 1;
    while (buckets < ts->max)
        buckets *= 2;
    ts->mask = buckets - 1;
    ts->buckets = hd_calloc(buckets, sizeof(struct hd_template *));
    ts->ring = hd_calloc(ts->max, sizeof(struct hd_template *));
    if (!ts->buckets || !ts->ring) {
        hd_free(ts->buckets);
        hd_free(ts->ring);
        hd_free(ts);
        return NULL;
    }
    pthread_mutex_init(&ts->lock, NULL);
    atomic_init(&ts->text_limit, HD_TEMPLATE_TEXT_LIMIT);
    return ts;
}

void hd_templates_free(struct hd_templates *ts)
{
    if (!ts)
        return;
    for (size_t i = 0; i < ts->n; i++)
        hd_template_release(ts->ring[i]);
    pthread_mutex_destroy(&ts->lock);
    hd_free(ts->buckets);
    hd_free(ts->ring);
    hd_free(ts);
}

void hd_templates_set_text_limit(struct hd_templates *ts, size_t bytes)
{
    atomic_store(&ts->text_limit, bytes);
}

size_t hd_templates_text_limit(const struct hd_templates *ts)
{
    return atomic_load_explicit(&ts->text_limit, memory_order_relaxed);
}

void hd_templates_stats(struct hd_templates *ts, struct hd_templates_stats *out)
{
    pthread_mutex_lock(&ts->lock);
    *out = (struct hd_templates_stats){.entries = ts->n,
                                       .max = ts->max,
                                       .bytes = ts->bytes,
                                       .hits = ts->hits,
                                       .misses = ts->misses,
                                       .evictions = ts->evictions};
    pthread_mutex_unlock(&ts->lock);
}

/* With the lock: the template of that key, held; or NULL. */
static struct hd_template *find(struct hd_templates *ts, struct hd_hash128 key)
{
    for (struct hd_template *t = ts->buckets[key.lo & ts->mask]; t; t = t->next) {
        if (hd_hash128_eq(t->key, key)) {
            t->used = 1;
            return hd_template_hold(t);
        }
    }
    return NULL;
}

/* With the lock: takes the template out of the table; its place in the ring is free then. */
static void take_out(struct hd_templates *ts, struct hd_template *t)
{
    struct hd_template **at = &ts->buckets[t->key.lo & ts->mask];

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    ts->bytes -= bytes_of(t);
    ts->evictions++;
    hd_template_release(t);
}

/* With the lock: a place in the ring. The hand looks a few places on for one that nobody used lately and
 * nobody holds; else one that is held may go, which its holders do not notice. */
static size_t make_room(struct hd_templates *ts)
{
    size_t second = SIZE_MAX;

    if (ts->n < ts->max)
        return ts->n++;
    for (int i = 0; i < SWEEP; i++) {
        struct hd_template *t = ts->ring[ts->hand];

        if (!t->used && atomic_load_explicit(&t->refs, memory_order_relaxed) == 1) {
            second = ts->hand;
            break;
        }
        if (!t->used && second == SIZE_MAX)
            second = ts->hand;
        t->used = 0;
        ts->hand = (ts->hand + 1) % ts->max;
    }
    if (second == SIZE_MAX)
        second = ts->hand;
    take_out(ts, ts->ring[second]);
    return second;
}

/* With the lock. */
static void put_in(struct hd_templates *ts, struct hd_template *t)
{
    size_t place = make_room(ts);
    struct hd_template **bucket = &ts->buckets[t->key.lo & ts->mask];

    ts->ring[place] = hd_template_hold(t);
    ts->hand = (place + 1) % ts->max;
    t->place = (uint32_t)place;
    t->next = *bucket;
    *bucket = t;
    ts->bytes += bytes_of(t);
}

/* Parsing is done without the lock: two threads may do it for one text, and the first in wins. */
struct hd_template *hd_template_get_keyed(struct hd_templates *ts, struct hd_hash128 key, const char *sql,
                                          size_t len, const struct hd_scan *scan, uint32_t flags)
{
    struct hd_template *t, *other;

    pthread_mutex_lock(&ts->lock);
    t = find(ts, key);
    *(t ? &ts->hits : &ts->misses) += 1;
    pthread_mutex_unlock(&ts->lock);
    if (t)
        return t;
    t = make(key, sql, len, scan, flags);
    if (!t)
        return NULL;
    pthread_mutex_lock(&ts->lock);
    other = find(ts, key);
    if (!other)
        put_in(ts, t);
    pthread_mutex_unlock(&ts->lock);
    if (!other)
        return t;
    hd_template_release(t);
    return other;
}

struct hd_template *hd_template_get(struct hd_templates *ts, const char *sql, size_t len,
                                    const struct hd_scan *scan, uint32_t flags)
{
    if (!sql || len > hd_templates_text_limit(ts))
        return hd_template_get_keyed(ts, hd_key_too_long(), NULL, 0, scan, 0);
    return hd_template_get_keyed(ts, hd_key_template(sql, len, scan, flags), sql, len, scan, flags);
}
