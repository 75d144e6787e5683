/*
 * Metrics; see metrics.h.
 *
 * A metric has a place in a table and, by the same number, a cell in each shard. Shards grow by chunks that
 * never move, so a writer needs no lock to reach its cell. An id carries the generation of its place: what
 * was written with the id of a dropped metric finds another generation and is ignored.
 */
#include "plug/metrics_parts.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/strbuf.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NAME  128
#define MAX_VALUE 256
#define MAX_HELP  512

static _Thread_local struct {
    uint64_t metrics;
    struct hd_metrics_shard *shard;
} mine;

/* --- shards -----------------------------------------------------------------------------------------------
 */

static struct hd_metrics_shard *make_shard(struct hd_metrics *m)
{
    struct hd_metrics_shard *s = hd_calloc(1, sizeof(*s) + m->chunk_count * sizeof(s->chunks[0]));

    if (!s)
        return NULL;
    s->next = atomic_load_explicit(&m->shards, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&m->shards, &s->next, s, memory_order_release,
                                                  memory_order_relaxed))
        ;
    return s;
}

/* The calling thread's shard; NULL: no memory. Only a thread of the host has one of its own. */
static struct hd_metrics_shard *my_shard(struct hd_metrics *m)
{
    if (HD_LIKELY(mine.metrics == m->id))
        return mine.shard;
    if (hd_thread_role() == HD_THREAD_OTHER)
        return m->shared;
    mine.shard = make_shard(m);
    mine.metrics = mine.shard ? m->id : 0;
    return mine.shard;
}

/* The chunk of a place in a shard, made where there is none; NULL: no memory. */
static struct hd_metrics_chunk *chunk_for(struct hd_metrics_shard *s, uint32_t number)
{
    _Atomic(struct hd_metrics_chunk *) *at = &s->chunks[number / HD_METRICS_CHUNK];
    struct hd_metrics_chunk *c = atomic_load_explicit(at, memory_order_acquire), *fresh;

    if (HD_LIKELY(c))
        return c;
    fresh = hd_calloc(1, sizeof(*fresh));
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong(at, &c, fresh))
        return fresh;
    hd_free(fresh);
    return c;
}

static int64_t sum_of(struct hd_metrics *m, uint32_t number)
{
    int64_t sum = 0;

    for (struct hd_metrics_shard *s = atomic_load_explicit(&m->shards, memory_order_acquire); s;
         s = s->next) {
        struct hd_metrics_chunk *c =
            atomic_load_explicit(&s->chunks[number / HD_METRICS_CHUNK], memory_order_acquire);

        if (c)
            sum += atomic_load_explicit(&c->number[number % HD_METRICS_CHUNK], memory_order_relaxed);
    }
    return sum;
}

void hd_metrics_total_of(struct hd_metrics *m, uint32_t number, uint32_t generation,
                         struct hd_sketch_total *t)
{
    hd_sketch_total_init(t);
    for (struct hd_metrics_shard *s = atomic_load_explicit(&m->shards, memory_order_acquire); s;
         s = s->next) {
        struct hd_metrics_chunk *c =
            atomic_load_explicit(&s->chunks[number / HD_METRICS_CHUNK], memory_order_acquire);
        struct hd_metric_cell *k =
            c ? atomic_load_explicit(&c->sketch[number % HD_METRICS_CHUNK], memory_order_acquire) : NULL;

        if (k && atomic_load_explicit(&k->generation, memory_order_acquire) == generation)
            hd_sketch_total_add(t, &k->sketch);
    }
}

static void free_shard(struct hd_metrics *m, struct hd_metrics_shard *s)
{
    for (size_t i = 0; i < m->chunk_count; i++) {
        struct hd_metrics_chunk *c = atomic_load(&s->chunks[i]);

        for (size_t k = 0; c && k < HD_METRICS_CHUNK; k++) {
            struct hd_metric_cell *sketch = atomic_load(&c->sketch[k]);

            if (sketch)
                hd_sketch_free(&sketch->sketch);
            hd_free(sketch);
        }
        hd_free(c);
    }
    hd_free(s);
}

/* --- ids --------------------------------------------------------------------------------------------------
 */

/* The place that an id names, if the metric is still the one it was given for; else NULL. */
struct hd_metric *hd_metric_of(struct hd_metrics *m, int64_t id, uint64_t *tag)
{
    uint64_t number = ((uint64_t)id & 0xffffffff) - 1;
    struct hd_metric *metric;

    if (id <= 0 || number >= m->max)
        return NULL;
    metric = &m->table[number];
    *tag = atomic_load_explicit(&metric->tag, memory_order_acquire);
    if (!hd_metric_type(*tag) || hd_metric_generation(*tag) != (uint64_t)id >> 32)
        return NULL;
    return metric;
}

int64_t hd_metric_id(const struct hd_metrics *m, struct hd_metric *metric)
{
    uint64_t tag = atomic_load_explicit(&metric->tag, memory_order_relaxed);

    return (int64_t)((uint64_t)hd_metric_generation(tag) << 32 | (hd_metric_number(m, metric) + 1));
}

/* --- writing ----------------------------------------------------------------------------------------------
 */

void hd_metrics_add(struct hd_metrics *m, int64_t id, int64_t delta)
{
    uint64_t tag;
    struct hd_metric *metric = hd_metric_of(m, id, &tag);
    struct hd_metrics_shard *s;
    struct hd_metrics_chunk *c;
    _Atomic int64_t *cell;
    uint32_t number;

    if (!metric || hd_metric_type(tag) == HD_METRIC_SKETCH)
        return;
    number = hd_metric_number(m, metric);
    s = my_shard(m);
    c = s ? chunk_for(s, number) : NULL;
    if (!c)
        return;
    cell = &c->number[number % HD_METRICS_CHUNK];
    if (s == m->shared)
        atomic_fetch_add_explicit(cell, delta, memory_order_relaxed);
    else
        atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + delta,
                              memory_order_relaxed);
}

void hd_metrics_set(struct hd_metrics *m, int64_t id, int64_t value)
{
    uint64_t tag;
    struct hd_metric *metric = hd_metric_of(m, id, &tag);

    if (!metric || hd_metric_type(tag) != HD_METRIC_GAUGE)
        return;
    pthread_mutex_lock(&m->lock); /* one setter at a time */
    atomic_store_explicit(&metric->base, value - sum_of(m, hd_metric_number(m, metric)),
                          memory_order_relaxed);
    pthread_mutex_unlock(&m->lock);
}

/* The sketch of a place in a chunk, for a generation; made or emptied where it must be. NULL: no memory. */
static struct hd_metric_cell *sketch_for(struct hd_metrics *m, struct hd_metrics_chunk *c, uint32_t number,
                                         uint32_t generation)
{
    _Atomic(struct hd_metric_cell *) *at = &c->sketch[number % HD_METRICS_CHUNK];
    struct hd_metric_cell *k = atomic_load_explicit(at, memory_order_acquire);

    if (HD_LIKELY(k && atomic_load_explicit(&k->generation, memory_order_acquire) == generation))
        return k;
    pthread_mutex_lock(&m->lock); /* several threads may meet in the shared shard */
    k = atomic_load_explicit(at, memory_order_acquire);
    if (!k)
        k = hd_calloc(1, sizeof(*k));
    if (k && atomic_load_explicit(&k->generation, memory_order_relaxed) != generation) {
        hd_sketch_reset(&k->sketch);
        atomic_store_explicit(&k->generation, generation, memory_order_release);
        atomic_store_explicit(at, k, memory_order_release);
    }
    pthread_mutex_unlock(&m->lock);
    return k;
}

void hd_metrics_observe(struct hd_metrics *m, int64_t id, uint64_t value)
{
    uint64_t tag;
    struct hd_metric *metric = hd_metric_of(m, id, &tag);
    struct hd_metrics_shard *s;
    struct hd_metrics_chunk *c;
    struct hd_metric_cell *k;

    if (!metric || hd_metric_type(tag) != HD_METRIC_SKETCH)
        return;
    s = my_shard(m);
    c = s ? chunk_for(s, hd_metric_number(m, metric)) : NULL;
    k = c ? sketch_for(m, c, hd_metric_number(m, metric), hd_metric_generation(tag)) : NULL;
    if (!k)
        return;
    if (s == m->shared)
        hd_sketch_add_shared(&k->sketch, value);
    else
        hd_sketch_add(&k->sketch, value);
}

/* --- reading ----------------------------------------------------------------------------------------------
 */

int64_t hd_metric_present(struct hd_metrics *m, struct hd_metric *metric)
{
    return sum_of(m, hd_metric_number(m, metric)) + atomic_load_explicit(&metric->base, memory_order_relaxed);
}

int64_t hd_metrics_value(struct hd_metrics *m, int64_t id)
{
    uint64_t tag;
    struct hd_metric *metric = hd_metric_of(m, id, &tag);

    return metric && hd_metric_type(tag) != HD_METRIC_SKETCH ? hd_metric_present(m, metric) : 0;
}

double hd_metrics_quantile(struct hd_metrics *m, int64_t id, double q)
{
    uint64_t tag;
    struct hd_metric *metric = hd_metric_of(m, id, &tag);
    struct hd_sketch_total t;

    if (!metric || hd_metric_type(tag) != HD_METRIC_SKETCH)
        return 0;
    hd_metrics_total_of(m, hd_metric_number(m, metric), hd_metric_generation(tag), &t);
    return hd_sketch_quantile(&t, q);
}

/* --- the registry -----------------------------------------------------------------------------------------
 */

static int is_name(const char *s, size_t max)
{
    size_t n = s ? strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;

    return n && !s[n] && n <= max && !(s[0] >= '0' && s[0] <= '9');
}

static int by_label(const void *a, const void *b)
{
    return strcmp(((const struct hd_label *)a)->name, ((const struct hd_label *)b)->name);
}

/* Copies the labels in the order of their names. */
static int sort_labels(const struct hd_label *labels, uint32_t count, struct hd_label *out)
{
    if (count > HD_METRICS_LABELS || (count && !labels))
        return HD_EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_name(labels[i].name, MAX_NAME) || !labels[i].value || strlen(labels[i].value) > MAX_VALUE)
            return HD_EINVAL;
        out[i] = labels[i];
    }
    qsort(out, count, sizeof(*out), by_label);
    for (uint32_t i = 1; i < count; i++) {
        if (strcmp(out[i - 1].name, out[i].name) == 0)
            return HD_EINVAL;
    }
    return HD_OK;
}

/* A text that is the same for the same name and labels. */
static char *make_key(const char *name, const struct hd_label *labels, uint32_t count)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    char *key;

    hd_strbuf_puts(&b, name);
    for (uint32_t i = 0; i < count; i++)
        hd_strbuf_printf(&b, "\n%s\n%zu\n%s", labels[i].name, strlen(labels[i].value), labels[i].value);
    key = b.failed ? NULL : hd_strbuf_take(&b);
    hd_strbuf_free(&b);
    return key;
}

static uint32_t *bucket_of(struct hd_metrics *m, const char *key)
{
    return &m->buckets[hd_hash64(key, strlen(key)) & m->bucket_mask];
}

static struct hd_metric *find(struct hd_metrics *m, const char *key)
{
    for (uint32_t i = *bucket_of(m, key); i; i = m->table[i - 1].bucket_next) {
        if (strcmp(m->table[i - 1].text, key) == 0)
            return &m->table[i - 1];
    }
    return NULL;
}

/* Is there a metric of that name and another type? A name has one type, whatever its labels. */
static int clashes(struct hd_metrics *m, const char *name, uint32_t type)
{
    for (uint32_t i = 0; i < m->used; i++) {
        uint32_t t = hd_metric_type(atomic_load_explicit(&m->table[i].tag, memory_order_relaxed));

        if (t && t != type && strcmp(m->table[i].name, name) == 0)
            return 1;
    }
    return 0;
}

static void free_texts(struct hd_metric *metric)
{
    hd_free(metric->text);
    hd_free(metric->help);
    hd_free(metric->name);
    hd_free(metric->strings);
    metric->text = metric->help = metric->name = metric->strings = NULL;
}

/* Copies all labels into one allocation. */
static int keep_labels(struct hd_metric *metric, const struct hd_label *labels, uint32_t count)
{
    size_t bytes = 1;
    char *at;

    for (uint32_t i = 0; i < count; i++)
        bytes += strlen(labels[i].name) + strlen(labels[i].value) + 2;
    metric->strings = at = hd_malloc(bytes);
    if (!at)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        metric->labels[i].name = at;
        at = stpcpy(at, labels[i].name) + 1;
        metric->labels[i].value = at;
        at = stpcpy(at, labels[i].value) + 1;
    }
    metric->label_count = count;
    return HD_OK;
}

/* Takes a free place; NULL at the bound. */
static struct hd_metric *take_place(struct hd_metrics *m)
{
    struct hd_metric *metric;

    if (m->free_first) {
        metric = &m->table[m->free_first - 1];
        m->free_first = metric->free_next;
        return metric;
    }
    return m->used < m->max ? &m->table[m->used++] : NULL;
}

static void give_place(struct hd_metrics *m, struct hd_metric *metric)
{
    metric->free_next = m->free_first;
    m->free_first = hd_metric_number(m, metric) + 1;
}

/* Makes a metric of a key, which it takes over whatever happens. */
static int64_t create(struct hd_metrics *m, const void *owner, uint32_t type, const char *name,
                      const char *help, char *key, const struct hd_label *labels, uint32_t count)
{
    struct hd_metric *metric = take_place(m);
    uint32_t generation;

    if (!metric) {
        hd_free(key);
        return HD_EFULL;
    }
    metric->text = key;
    metric->name = hd_strdup(name);
    metric->help = hd_strndup(help ? help : "", help ? strnlen(help, MAX_HELP) : 0);
    if (!metric->name || !metric->help || keep_labels(metric, labels, count)) {
        free_texts(metric);
        give_place(m, metric);
        return HD_ENOMEM;
    }
    metric->owner = owner;
    metric->bucket_next = *bucket_of(m, key);
    *bucket_of(m, key) = hd_metric_number(m, metric) + 1;
    atomic_store_explicit(&metric->base, -sum_of(m, hd_metric_number(m, metric)), memory_order_relaxed);
    generation = (hd_metric_generation(atomic_load(&metric->tag)) + 1) & 0x7fffffff;
    if (!generation)
        generation = 1;
    atomic_store_explicit(&metric->tag, (uint64_t)generation << 8 | type, memory_order_release);
    return hd_metric_id(m, metric);
}

int64_t hd_metrics_get(struct hd_metrics *m, const void *owner, uint32_t type, const char *name,
                       const char *help, const struct hd_label *labels, uint32_t label_count)
{
    struct hd_label sorted[HD_METRICS_LABELS];
    struct hd_metric *known;
    int64_t id;
    char *key;

    if (type < HD_METRIC_COUNTER || type > HD_METRIC_SKETCH || !is_name(name, MAX_NAME) ||
        sort_labels(labels, label_count, sorted))
        return HD_EINVAL;
    key = make_key(name, sorted, label_count);
    if (!key)
        return HD_ENOMEM;
    pthread_mutex_lock(&m->lock);
    known = find(m, key);
    if (clashes(m, name, type)) {
        id = HD_EEXIST;
        hd_free(key);
    } else if (known) {
        id = hd_metric_id(m, known);
        hd_free(key);
    } else {
        id = create(m, owner, type, name, help, key, sorted, label_count);
    }
    pthread_mutex_unlock(&m->lock);
    return id;
}

/* Takes a metric out of the registry. The generation stays, to tell the next one from it. */
static void drop(struct hd_metrics *m, struct hd_metric *metric)
{
    uint32_t *at = bucket_of(m, metric->text);
    uint64_t tag = atomic_load(&metric->tag);

    while (*at != hd_metric_number(m, metric) + 1)
        at = &m->table[*at - 1].bucket_next;
    *at = metric->bucket_next;
    atomic_store_explicit(&metric->tag, tag & ~(uint64_t)0xff, memory_order_release);
    free_texts(metric);
    give_place(m, metric);
}

void hd_metrics_drop(struct hd_metrics *m, int64_t id)
{
    uint64_t tag;
    struct hd_metric *metric;

    pthread_mutex_lock(&m->lock);
    metric = hd_metric_of(m, id, &tag);
    if (metric)
        drop(m, metric);
    pthread_mutex_unlock(&m->lock);
}

void hd_metrics_drop_owner(struct hd_metrics *m, const void *owner)
{
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < m->used; i++) {
        if (hd_metric_type(atomic_load(&m->table[i].tag)) && m->table[i].owner == owner)
            drop(m, &m->table[i]);
    }
    pthread_mutex_unlock(&m->lock);
}

/* --- start and end ----------------------------------------------------------------------------------------
 */

struct hd_metrics *hd_metrics_new(size_t max)
{
    static _Atomic uint64_t ids;
    struct hd_metrics *m = hd_calloc(1, sizeof(*m));
    size_t buckets = 64;

    if (!m)
        return NULL;
    while (buckets < max)
        buckets *= 2;
    pthread_mutex_init(&m->lock, NULL);
    m->id = atomic_fetch_add(&ids, 1) + 1;
    m->max = max;
    m->chunk_count = max / HD_METRICS_CHUNK + 1;
    m->bucket_mask = buckets - 1;
    m->buckets = hd_calloc(buckets, sizeof(*m->buckets));
    m->table = hd_calloc(max, sizeof(*m->table));
    m->shared = make_shard(m);
    if (!m->buckets || !m->table || !m->shared) {
        hd_metrics_free(m);
        return NULL;
    }
    hd_metrics_process_init(&m->process, m);
    return m;
}

void hd_metrics_free(struct hd_metrics *m)
{
    struct hd_metrics_shard *s;

    if (!m)
        return;
    s = atomic_load(&m->shards);
    while (s) {
        struct hd_metrics_shard *next = s->next;

        free_shard(m, s);
        s = next;
    }
    for (uint32_t i = 0; i < m->used; i++)
        free_texts(&m->table[i]);
    hd_free(m->buckets);
    hd_free(m->table);
    pthread_mutex_destroy(&m->lock);
    hd_free(m);
}
