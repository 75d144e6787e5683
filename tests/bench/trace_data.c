/*
 * Traces, and the textbooks' caches of them; see trace_data.h. The caches know keys by number, so they need
 * no hashing and are exact: S3-FIFO's ghosts are none too many and none too few.
 */
#include "trace_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what)
{
    fprintf(stderr, "bench_trace: %s\n", what);
    exit(1);
}

static void *room_for(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);

    if (!p)
        die("no memory");
    return p;
}

/* --- traces
 * ------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Puts numbers from 0 on in the place of the keys. */
static void number(struct trace *t)
{
    uint32_t *sorted = room_for(t->count, sizeof(*sorted));
    uint32_t n = 0;

    memcpy(sorted, t->keys, t->count * sizeof(*sorted));
    qsort(sorted, t->count, sizeof(*sorted), by_value);
    for (size_t i = 0; i < t->count; i++)
        if (!i || sorted[i] != sorted[n - 1])
            sorted[n++] = sorted[i];
    t->distinct = n;
    for (size_t i = 0; i < t->count; i++) {
        const uint32_t *at = bsearch(&t->keys[i], sorted, n, sizeof(*sorted), by_value);

        t->keys[i] = (uint32_t)(at - sorted);
    }
    free(sorted);
}

struct trace trace_read(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    size_t room = 1 << 20;
    struct trace t = {.keys = room_for(room, sizeof(uint32_t))};
    unsigned char b[4];

    if (!f)
        die("the trace cannot be opened");
    while (fread(b, 1, 4, f) == 4) {
        if (t.count == room) {
            room *= 2;
            t.keys = realloc(t.keys, room * sizeof(uint32_t));
            if (!t.keys)
                die("no memory");
        }
        t.keys[t.count++] =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    }
    if (f != stdin)
        fclose(f);
    if (!t.count)
        die("the trace is empty");
    number(&t);
    return t;
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;

    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Sums of 1 / rank^skew. */
static double *zipf_sums(uint32_t n, double skew)
{
    double *sums = room_for(n, sizeof(*sums)), sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sums[i] = sum += pow(i + 1.0, -skew);
    return sums;
}

static uint32_t zipf_draw(const double *sums, uint32_t n, uint64_t *state)
{
    double at = (double)(random_next(state) >> 11) / 9007199254740992.0 * sums[n - 1];
    uint32_t low = 0, high = n - 1;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (sums[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A scan is as long as a tenth of the keys; together they make up a fifth of the trace at most. */
struct trace trace_zipf(uint32_t n, double skew, size_t count, unsigned scans)
{
    struct trace t = {.keys = room_for(count, sizeof(uint32_t)), .count = count};
    double *sums = zipf_sums(n, skew);
    size_t every = scans ? count / scans : count + 1, length = n / 10 < every / 5 ? n / 10 : every / 5;
    uint64_t state = 1;
    uint32_t fresh = n;

    for (size_t i = 0; i < count; i++)
        t.keys[i] = i % every >= every - length ? fresh++ : zipf_draw(sums, n, &state);
    free(sums);
    number(&t);
    return t;
}

void trace_free(struct trace *t)
{
    free(t->keys);
}

/* --- the textbooks
 * ------------------------------------------------------------------------------------------- */

#define NOBODY UINT32_MAX

enum where { OUT, SMALL, MAIN };

struct object {
    uint32_t newer, older;
    uint8_t where, freq;
    uint64_t left; /* the number of its leaving the small queue, from 1 on: a ghost */
};

struct queue {
    uint32_t newest, oldest, count;
};

struct cache {
    struct object *o;
    struct queue q[3]; /* by enum where */
    uint64_t left;
};

static struct cache cache_new(const struct trace *t)
{
    struct cache c = {.o = room_for(t->distinct, sizeof(struct object))};

    for (unsigned i = 0; i < 3; i++)
        c.q[i].newest = c.q[i].oldest = NOBODY;
    return c;
}

static void enter(struct cache *c, uint32_t k, enum where w)
{
    struct queue *q = &c->q[w];

    c->o[k].where = (uint8_t)w;
    c->o[k].newer = NOBODY;
    c->o[k].older = q->newest;
    if (q->newest != NOBODY)
        c->o[q->newest].newer = k;
    else
        q->oldest = k;
    q->newest = k;
    q->count++;
}

static void leave(struct cache *c, uint32_t k)
{
    struct object *o = &c->o[k];
    struct queue *q = &c->q[o->where];

    if (o->newer != NOBODY)
        c->o[o->newer].older = o->older;
    else
        q->newest = o->older;
    if (o->older != NOBODY)
        c->o[o->older].newer = o->newer;
    else
        q->oldest = o->newer;
    q->count--;
    o->where = OUT;
}

double textbook_lru(const struct trace *t, uint32_t room)
{
    struct cache c = cache_new(t);
    size_t hits = 0;

    for (size_t i = 0; i < t->count; i++) {
        uint32_t k = t->keys[i];

        if (c.o[k].where) {
            hits++;
            leave(&c, k);
        } else if (c.q[MAIN].count == room) {
            leave(&c, c.q[MAIN].oldest);
        }
        enter(&c, k, MAIN);
    }
    free(c.o);
    return 100.0 * (double)hits / (double)t->count;
}

/* One object of the small queue leaves the cache, unless all of them have earned the main queue. */
static int evict_small(struct cache *c)
{
    while (c->q[SMALL].count) {
        uint32_t k = c->q[SMALL].oldest;

        leave(c, k);
        if (c->o[k].freq <= 1) {
            c->o[k].left = ++c->left;
            return 1;
        }
        c->o[k].freq = 0;
        enter(c, k, MAIN);
    }
    return 0;
}

static void evict_main(struct cache *c)
{
    uint32_t k;

    while (c->o[k = c->q[MAIN].oldest].freq) {
        c->o[k].freq--;
        leave(c, k);
        enter(c, k, MAIN);
    }
    leave(c, k);
}

double textbook_s3_fifo(const struct trace *t, uint32_t room)
{
    struct cache c = cache_new(t);
    uint32_t small = room / 10 ? room / 10 : 1;
    size_t hits = 0;

    for (size_t i = 0; i < t->count; i++) {
        uint32_t k = t->keys[i];
        struct object *o = &c.o[k];

        if (o->where) {
            hits++;
            o->freq += o->freq < 3;
            continue;
        }
        if (c.q[SMALL].count + c.q[MAIN].count == room &&
            !((c.q[SMALL].count >= small || !c.q[MAIN].count) && evict_small(&c)))
            evict_main(&c);
        o->freq = 0;
        enter(&c, k, o->left && c.left - o->left < room - small ? MAIN : SMALL);
        o->left = 0;
    }
    free(c.o);
    return 100.0 * (double)hits / (double)t->count;
}
