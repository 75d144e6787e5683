/*
 * The memory store's hit ratio on a trace, beside textbook LRU and S3-FIFO with the same number of objects,
 * at 0.1 %, 1 % and 10 % of the trace's keys; and what look-ups cost. tests/bench/trace runs it.
 *
 *   bench_trace FILE       a file of 4-byte little-endian keys; "-" is the standard input
 *   bench_trace --zipf     a trace made up: Zipf's law, with scans
 *   bench_trace --speed    look-ups a second, on one thread and on two
 *
 * Exits with 1 where the store's S3-FIFO is more than half a point worse than the better of the two.
 */
#include "cache-memory/shard.h"
#include "trace_data.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POINTS     0.5
#define VALUE      200 /* bytes of each value */
#define NOW        1
#define FOR_EVER   UINT64_MAX
#define SPEED_KEYS 10000
#define SPEED_RUN  4000000
#define SHARDS     16
#define THREADS    2

static char filling[VALUE];

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static struct hd_cache_key key_of(const uint32_t *k)
{
    struct hd_cache_key key = {.size = sizeof(key), .hash = mix(*k), .bytes = {(const char *)k, sizeof(*k)}};

    return key;
}

static const struct hd_cache_value value = {
    .size = sizeof(value), .bytes = {filling, VALUE}, .left_ms = FOR_EVER, .cost_ns = 1000000};

static struct cm_shard *shard_of(uint64_t bytes, int lru)
{
    struct cm_shard_options o = {.max_bytes = bytes, .lru = lru, .admission = 1};
    struct cm_shard *s = cm_shard_new(&o);

    if (!s) {
        fprintf(stderr, "bench_trace: no memory\n");
        exit(1);
    }
    return s;
}

/* --- hit ratio
 * ------------------------------------------------------------------------------------------------ */

static double ours(const struct trace *t, uint32_t room, int lru)
{
    uint32_t zero = 0;
    struct hd_cache_key first = key_of(&zero);
    uint64_t bytes = cm_shard_overhead(room, lru) + room * cm_item_charge(&first, &value);
    struct cm_shard *s = shard_of(bytes, lru);
    struct cm_shard_stats st;

    for (size_t i = 0; i < t->count; i++) {
        struct hd_cache_key key = key_of(&t->keys[i]);
        struct hd_cache_value v = {.size = sizeof(v)};

        if (cm_shard_get(s, &key, NOW, &v) == HD_OK)
            cm_shard_release(v.ref);
        else
            (void)cm_shard_put(s, &key, NOW, &value);
    }
    cm_shard_stats(s, &st);
    if (st.entries > room || st.bytes > bytes) {
        fprintf(stderr, "bench_trace: %llu entries where %u were to fit\n", (unsigned long long)st.entries,
                room);
        exit(1);
    }
    cm_shard_free(s);
    return 100.0 * (double)st.hits / (double)(st.hits + st.misses);
}

/* Returns how many sizes missed the bar. */
static int compare(const struct trace *t)
{
    static const double parts[] = {0.001, 0.01, 0.1};
    int missed = 0;

    printf("%zu look-ups of %u keys; hits in 100:\n", t->count, t->distinct);
    printf("%8s %8s  %14s %18s  %8s %12s\n", "part", "values", "LRU, textbook", "S3-FIFO, textbook",
           "our LRU", "our S3-FIFO");
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        uint32_t room = (uint32_t)(parts[i] * t->distinct);
        double lru, s3, our_lru, our_s3, best;

        if (room < 10)
            continue;
        lru = textbook_lru(t, room);
        s3 = textbook_s3_fifo(t, room);
        our_lru = ours(t, room, 1);
        our_s3 = ours(t, room, 0);
        best = lru > s3 ? lru : s3;
        printf("%6.1f %% %8u  %14.2f %18.2f  %8.2f %12.2f  %+.2f of the better%s\n", 100 * parts[i], room,
               lru, s3, our_lru, our_s3, our_s3 - best, our_s3 < best - POINTS ? "  MISSES" : "");
        missed += our_s3 < best - POINTS;
    }
    return missed;
}

/* --- speed
 * ------------------------------------------------------------------------------------------------------ */

struct runner {
    struct cm_shard **shards;
    unsigned number;
    double seconds; /* of CPU */
};

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Hits, on keys in no order. */
static void *run(void *arg)
{
    struct runner *r = arg;
    uint64_t found = 0;
    double start = cpu_seconds();

    for (unsigned i = 0; i < SPEED_RUN; i++) {
        uint32_t k = (uint32_t)(mix(((uint64_t)r->number << 32) + i) % SPEED_KEYS);
        struct hd_cache_key key = key_of(&k);
        struct hd_cache_value v = {.size = sizeof(v)};

        if (cm_shard_get(r->shards[key.hash >> 60], &key, NOW, &v) == HD_OK) {
            found += v.bytes.len;
            cm_shard_release(v.ref);
        }
    }
    r->seconds = cpu_seconds() - start;
    if (found != (uint64_t)SPEED_RUN * VALUE) {
        fprintf(stderr, "bench_trace: not all were hits\n");
        exit(1);
    }
    return NULL;
}

static double wall_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(struct cm_shard **shards, unsigned threads, const char *name)
{
    struct runner runners[THREADS];
    pthread_t ids[THREADS];
    double start = wall_seconds(), cpu = 0, took;

    for (unsigned i = 0; i < threads; i++) {
        runners[i] = (struct runner){.shards = shards, .number = i};
        if (pthread_create(&ids[i], NULL, run, &runners[i]))
            exit(1);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        cpu += runners[i].seconds;
    }
    took = wall_seconds() - start;
    printf("%s, %u thread%s: %.1f million hits a second, %.0f ns of CPU each\n", name, threads,
           threads > 1 ? "s" : "", threads * (SPEED_RUN / 1e6) / took, cpu / threads / SPEED_RUN * 1e9);
}

static void speed(int lru)
{
    struct cm_shard *shards[SHARDS];

    for (unsigned i = 0; i < SHARDS; i++)
        shards[i] = shard_of(1 << 20, lru);
    for (uint32_t k = 0; k < SPEED_KEYS; k++) {
        struct hd_cache_key key = key_of(&k);

        if (cm_shard_put(shards[key.hash >> 60], &key, NOW, &value) != HD_OK)
            exit(1);
    }
    for (unsigned threads = 1; threads <= THREADS; threads++)
        measure(shards, threads, lru ? "lru" : "s3-fifo");
    for (unsigned i = 0; i < SHARDS; i++)
        cm_shard_free(shards[i]);
}

int main(int argc, char **argv)
{
    struct trace t;
    int missed;

    if (argc != 2) {
        fprintf(stderr, "usage: bench_trace FILE | --zipf | --speed\n");
        return 2;
    }
    if (strcmp(argv[1], "--speed") == 0) {
        speed(0);
        speed(1);
        return 0;
    }
    t = strcmp(argv[1], "--zipf") == 0 ? trace_zipf(100000, 0.9, 2000000, 20) : trace_read(argv[1]);
    missed = compare(&t);
    trace_free(&t);
    return missed > 0;
}
