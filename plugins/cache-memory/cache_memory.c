/*
 * The plugin "cache-memory": a cache store in the host's own memory. The store is cut into shards (shard.h);
 * here is what makes a plugin of them: options, the capability, metrics and SHOW CACHE MEMORY.
 */
#include "shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHARDS_MAX 256
/* A shard has at least room for as many of the largest values; so one of them never takes more. */
#define VALUES_A_SHARD 8
/* Below this a shard is mostly bookkeeping. */
#define SHARD_BYTES_MIN (128 << 10)
/* Shards for each worker: two workers of eight are in the same one at a time in one look-up of several
 * hundred. */
#define SHARDS_A_WORKER 8
#define PUBLISH_MS      1000

enum algorithm { S3_FIFO, LRU };

struct conf {
    int64_t max_bytes;
    int64_t max_value_bytes;
    int64_t shards; /* 0: by the workers */
    int32_t algorithm;
    int32_t admission;
};

/* What is published. */
enum metric { ENTRIES, BYTES, HITS, MISSES, EVICTIONS, REJECTED, METRICS };

struct store {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    int64_t metric[METRICS];
    uint64_t published[METRICS];
    _Atomic uint64_t max_value_bytes;
    uint32_t count; /* shards, a power of two; 0: not started */
    uint32_t shift; /* of a hash, to the number of its shard */
    struct cm_shard *shards[SHARDS_MAX];
};

static const struct hd_option options[] = {
    {"max_bytes", "256M", NULL, "Memory for values, their keys and all bookkeeping", 1 << 20, 1099511627776.0,
     HD_OPT_SIZE, HD_OPTF_RELOADABLE, offsetof(struct conf, max_bytes), 0},
    {"max_value_bytes", "1M", NULL,
     "The longest value with its key; an eighth of a shard's memory where that is less", 1024, 1 << 30,
     HD_OPT_SIZE, HD_OPTF_RELOADABLE, offsetof(struct conf, max_value_bytes), 0},
    {"algorithm", "s3-fifo", "s3-fifo|lru",
     "What goes when memory is full: what was not asked for again, also during scans, or what was asked for "
     "longest ago",
     0, 0, HD_OPT_ENUM, 0, offsetof(struct conf, algorithm), 0},
    {"shards", "0", NULL,
     "Parts with a lock of their own, rounded up to a power of two; 0: by the number of workers and "
     "max_bytes",
     0, SHARDS_MAX, HD_OPT_INT, 0, offsetof(struct conf, shards), 0},
    {"admission", "on", NULL,
     "Keep out what is worth far less, by how often it is asked for, the time it cost and its length, than "
     "what would have to go for it",
     0, 0, HD_OPT_BOOL, HD_OPTF_RELOADABLE, offsetof(struct conf, admission), 0},
};

/* --- the store
 * ---------------------------------------------------------------------------------------------- */

/* The coarse clock costs a quarter of the exact one, and is late by one tick of the kernel at most. */
static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct cm_shard *shard_of(const struct store *self, const struct hd_cache_key *key)
{
    return self->shards[self->count > 1 ? key->hash >> self->shift : 0];
}

static int32_t store_get(void *arg, const struct hd_cache_key *key, struct hd_cache_value *value,
                         void (*done)(void *, int32_t, const struct hd_cache_value *), void *done_arg)
{
    (void)done;
    (void)done_arg;
    return cm_shard_get(shard_of(arg, key), key, now_ms(), value);
}

static void store_release(void *arg, struct hd_cache_value *value)
{
    (void)arg;
    cm_shard_release(value->ref);
    value->ref = NULL;
}

static void store_erase(void *arg, const struct hd_cache_key *key)
{
    cm_shard_erase(shard_of(arg, key), key);
}

static int32_t store_put(void *arg, const struct hd_cache_key *key, const struct hd_cache_value *value)
{
    struct store *self = arg;

    if (cm_item_charge(key, value) > atomic_load_explicit(&self->max_value_bytes, memory_order_relaxed)) {
        store_erase(self, key); /* of which this would have taken the place */
        return HD_EINVAL;
    }
    return cm_shard_put(shard_of(self, key), key, now_ms(), value);
}

static void store_flush(void *arg, void (*done)(void *, int32_t), void *done_arg)
{
    struct store *self = arg;

    for (uint32_t i = 0; i < self->count; i++)
        cm_shard_flush(self->shards[i]);
    if (done)
        done(done_arg, HD_OK);
}

static void add_stats(struct cm_shard_stats *to, const struct cm_shard_stats *from)
{
    to->entries += from->entries;
    to->bytes += from->bytes;
    to->max_bytes += from->max_bytes;
    to->hits += from->hits;
    to->misses += from->misses;
    to->puts += from->puts;
    to->rejected += from->rejected;
    to->evictions += from->evictions;
}

static struct cm_shard_stats sum_stats(const struct store *self)
{
    struct cm_shard_stats all = {0}, one;

    for (uint32_t i = 0; i < self->count; i++) {
        cm_shard_stats(self->shards[i], &one);
        add_stats(&all, &one);
    }
    return all;
}

static int32_t store_stats(void *arg, struct hd_cache_store_stats *out)
{
    struct cm_shard_stats all = sum_stats(arg);
    struct hd_cache_store_stats s = {
        .up = 1,
        .entries = all.entries,
        .bytes = all.bytes,
        .max_bytes = all.max_bytes,
        .hits = all.hits,
        .misses = all.misses,
        .puts = all.puts,
        .rejected = all.rejected,
        .evictions = all.evictions,
    };

    s.size = out->size;
    memcpy(out, &s, out->size < sizeof(s) ? out->size : sizeof(s));
    return HD_OK;
}

static const struct hd_cache_store_v1 store = {
    .size = sizeof(struct hd_cache_store_v1),
    .get = store_get,
    .release = store_release,
    .put = store_put,
    .erase = store_erase,
    .flush = store_flush,
    .stats = store_stats,
};

/* --- metrics and the command
 * ---------------------------------------------------------------------------------- */

static void find_metrics(struct store *self)
{
    static const struct {
        uint32_t type;
        const char *name, *help;
    } known[METRICS] = {
        [ENTRIES] = {HD_METRIC_GAUGE, "howdah_cache_memory_entries", "Values in the memory store"},
        [BYTES] = {HD_METRIC_GAUGE, "howdah_cache_memory_bytes",
                   "Memory of the memory store, keys and bookkeeping included"},
        [HITS] = {HD_METRIC_COUNTER, "howdah_cache_memory_hits_total", "Look-ups that found a value"},
        [MISSES] = {HD_METRIC_COUNTER, "howdah_cache_memory_misses_total", "Look-ups that found none"},
        [EVICTIONS] = {HD_METRIC_COUNTER, "howdah_cache_memory_evictions_total",
                       "Values that went to make room"},
        [REJECTED] = {HD_METRIC_COUNTER, "howdah_cache_memory_rejected_total",
                      "Values that were not admitted"},
    };

    for (unsigned i = 0; i < METRICS; i++)
        self->metric[i] =
            self->metrics->get(self->host, known[i].type, known[i].name, known[i].help, NULL, 0);
}

/* The shards count under their locks as they go; every second it is told to the metrics. [control] */
static void publish(void *arg)
{
    struct store *self = arg;
    struct cm_shard_stats all = sum_stats(self);
    uint64_t now[METRICS] = {
        [ENTRIES] = all.entries, [BYTES] = all.bytes,         [HITS] = all.hits,
        [MISSES] = all.misses,   [EVICTIONS] = all.evictions, [REJECTED] = all.rejected,
    };

    for (unsigned i = 0; i < METRICS; i++)
        self->metrics->add(self->host, self->metric[i], (int64_t)(now[i] - self->published[i]));
    memcpy(self->published, now, sizeof(now));
}

static void show_head(const struct hd_commands_v1 *c, hd_result *out)
{
    static const struct {
        const char *name;
        uint32_t type;
    } columns[] = {
        {"shard", HD_COL_TEXT},       {"entries", HD_COL_INT}, {"bytes", HD_COL_INT},
        {"max_bytes", HD_COL_INT},    {"hits", HD_COL_INT},    {"misses", HD_COL_INT},
        {"hit_percent", HD_COL_REAL}, {"puts", HD_COL_INT},    {"rejected", HD_COL_INT},
        {"evictions", HD_COL_INT},    {"window", HD_COL_TEXT},
    };

    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        c->column(out, columns[i].name, columns[i].type);
}

static void show_text(const struct hd_commands_v1 *c, hd_result *out, const char *text)
{
    c->text(out, (struct hd_str){text, strlen(text)});
}

static void show_row(const struct hd_commands_v1 *c, hd_result *out, const char *name,
                     const struct cm_shard_stats *s)
{
    uint64_t asked = s->hits + s->misses;

    show_text(c, out, name);
    c->integer(out, (int64_t)s->entries);
    c->integer(out, (int64_t)s->bytes);
    c->integer(out, (int64_t)s->max_bytes);
    c->integer(out, (int64_t)s->hits);
    c->integer(out, (int64_t)s->misses);
    c->real(out, asked ? (double)(s->hits * 10000 / asked) / 100 : 0);
    c->integer(out, (int64_t)s->puts);
    c->integer(out, (int64_t)s->rejected);
    c->integer(out, (int64_t)s->evictions);
}

/* All shards together, then each. [control] */
static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct store *self = arg;
    const struct hd_commands_v1 *c = self->commands;
    struct cm_shard_stats s = sum_stats(self);
    char name[16];

    (void)err;
    show_head(c, call->result);
    show_row(c, call->result, "all", &s);
    c->null(call->result);
    for (uint32_t i = 0; i < self->count; i++) {
        snprintf(name, sizeof(name), "%u", i);
        cm_shard_stats(self->shards[i], &s);
        show_row(c, call->result, name, &s);
        if (s.lru)
            c->null(call->result);
        else
            show_text(c, call->result, s.wide ? "wide" : "small");
    }
    return HD_OK;
}

/* --- life
 * -------------------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct store *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->host = host;
    *out = self;
    return HD_OK;
}

/* As many as the workers want, as long as each has room for several of the largest values. */
static uint32_t shards_for(const struct store *self, const struct conf *c)
{
    uint64_t wanted = (uint64_t)c->shards, n = 1;

    if (self->count)
        return self->count;
    if (!wanted) {
        uint64_t fit = (uint64_t)(c->max_bytes / c->max_value_bytes) / VALUES_A_SHARD;

        wanted = (uint64_t)SHARDS_A_WORKER * hd_host_api(self->host)->workers;
        wanted = wanted < fit ? wanted : fit;
        while (2 * n <= wanted && 2 * n <= SHARDS_MAX)
            n *= 2;
    }
    while (n < wanted && n < SHARDS_MAX && c->shards)
        n *= 2;
    return (uint32_t)n;
}

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    const struct conf *c = conf->conf;
    uint32_t shards = shards_for(arg, c);

    if (c->max_bytes / shards < SHARD_BYTES_MIN)
        return hd_error_set(
            err, HD_EINVAL,
            "%s: max_bytes = %lld is too little for %u shards, which want %d K each; fewer shards "
            "need a restart",
            conf->origin, (long long)c->max_bytes, shards, SHARD_BYTES_MIN >> 10);
    return HD_OK;
}

static int32_t find_services(struct store *self, struct hd_error *err)
{
    const void *metrics, *commands, *loop;
    int32_t code;

    if ((code = hd_host_need(self->host, HD_SERVICE_METRICS, &metrics, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_COMMANDS, &commands, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_LOOP, &loop, err)))
        return code;
    self->metrics = metrics;
    self->commands = commands;
    self->loop = loop;
    return HD_OK;
}

static void free_shards(struct store *self)
{
    for (uint32_t i = 0; i < self->count; i++)
        cm_shard_free(self->shards[i]);
    self->count = 0;
}

static int32_t make_shards(struct store *self, const struct conf *c, struct hd_error *err)
{
    uint32_t n = shards_for(self, c);
    struct cm_shard_options o = {
        .max_bytes = (uint64_t)c->max_bytes / n, .lru = c->algorithm == LRU, .admission = c->admission};

    self->shift = 64 - (uint32_t)__builtin_ctz(n);
    for (self->count = 0; self->count < n; self->count++) {
        self->shards[self->count] = cm_shard_new(&o);
        if (!self->shards[self->count]) {
            free_shards(self);
            return hd_error_set(err, HD_ENOMEM, "no memory for %u shards", n);
        }
    }
    return HD_OK;
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct store *self = arg;
    const struct conf *c = conf->conf;
    int32_t code = find_services(self, err);

    if (code != HD_OK)
        return code;
    find_metrics(self);
    atomic_store(&self->max_value_bytes, (uint64_t)c->max_value_bytes);
    code = make_shards(self, c, err);
    if (code != HD_OK)
        return code;
    if (!self->loop->timer(self->host, PUBLISH_MS, 1, publish, self))
        return hd_error_set(err, HD_ENOMEM, "no memory for a timer");
    return self->commands->add(self->host, "SHOW CACHE MEMORY", "",
                               "The memory store of the result cache: what it holds, hits, evictions",
                               HD_CMDF_READ_ONLY, show, self, err);
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct store *self = arg;
    const struct conf *c = conf->conf;

    atomic_store(&self->max_value_bytes, (uint64_t)c->max_value_bytes);
    for (uint32_t i = 0; i < self->count; i++)
        cm_shard_set(self->shards[i], (uint64_t)c->max_bytes / self->count, c->admission);
}

/* Whoever used it has stopped, and the timer ends with the plugin. */
static int32_t stop(void *arg)
{
    (void)arg;
    return HD_OK;
}

static void destroy(void *arg)
{
    free_shards(arg);
    free(arg);
}

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_CACHE_STORE) == 0 ? &store : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "cache-memory",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Keeps cached results in the host's memory",
    .options = HD_OPTIONS(struct conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
