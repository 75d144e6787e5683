/*
 * The pools of a report: how much of each was in use in the mean and at most, and who waited for it; from the
 * series that pools.c and the host make, so that what has ended since is told of, too.
 */
#include "report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LISTED    20  /* pools */
#define POOLS_MAX 200 /* looked at */

struct use {
    char *labels; /* "database=…,node=…,user=…" */
    double sum[2], most, limit, waits, waited, longest;
    double n[2]; /* seconds */
};

struct uses {
    struct use *all;
    uint32_t count;
    void (*take)(struct use *u, const struct mon_sample *s, int now, double seconds);
};

static void take_use(struct use *u, const struct mon_sample *s, int now, double seconds)
{
    u->sum[now] += s->mean * seconds;
    u->n[now] += seconds;
    if (now)
        u->most = fmax(u->most, s->max);
}

static void take_limit(struct use *u, const struct mon_sample *s, int now, double seconds)
{
    (void)now, (void)seconds;
    u->limit = s->mean; /* the last */
}

static void take_waits(struct use *u, const struct mon_sample *s, int now, double seconds)
{
    if (now)
        u->waits += s->mean * seconds;
}

static void take_waited(struct use *u, const struct mon_sample *s, int now, double seconds)
{
    if (now)
        u->waited += s->mean * seconds;
}

static void take_longest(struct use *u, const struct mon_sample *s, int now, double seconds)
{
    (void)seconds;
    if (now)
        u->longest = fmax(u->longest, s->max);
}

static const struct {
    const char *series;
    void (*take)(struct use *u, const struct mon_sample *s, int now, double seconds);
} sources[] = {
    {"howdah_pool_use_percent", take_use},
    {"howdah_pool_limit", take_limit},
    {"howdah_pool_waits_total", take_waits},
    {"howdah_pool_wait_seconds_total", take_waited},
    {"howdah_pool_longest_wait_seconds", take_longest},
};

/* What stands in the braces of a key; all of a series comes one after the other, but not that of a pool. */
static struct use *use_of(struct uses *all, const char *key)
{
    const char *from = strchr(key, '{');
    size_t len = from ? strcspn(++from, "}") : 0;

    for (uint32_t i = 0; i < all->count; i++)
        if (!strncmp(all->all[i].labels, from ? from : "", len) && !all->all[i].labels[len])
            return &all->all[i];
    if (!len || all->count == POOLS_MAX || !(all->all[all->count].labels = strndup(from, len)))
        return NULL;
    return &all->all[all->count++];
}

static void take(void *arg, const struct mon_sample *s, int now, double seconds)
{
    struct uses *all = arg;
    struct use *u = use_of(all, s->key);

    if (u)
        all->take(u, s, now, seconds);
}

static double mean(const struct use *u, int now)
{
    return u->n[now] > 0 ? u->sum[now] / u->n[now] : 0;
}

static int by_use(const void *a, const void *b)
{
    double x = mean(a, 1), y = mean(b, 1);

    return x < y ? 1 : x > y ? -1 : strcmp(((const struct use *)a)->labels, ((const struct use *)b)->labels);
}

static json_t *use_json(const struct use *u)
{
    json_t *o = json_object();

    json_object_set_new(o, "pool", json_string(u->labels));
    json_object_set_new(o, "limit", mon_rounded(u->limit));
    json_object_set_new(o, "use_percent", mon_rounded(mean(u, 1)));
    json_object_set_new(o, "use_percent_before", u->n[0] > 0 ? mon_rounded(mean(u, 0)) : json_null());
    json_object_set_new(o, "most_percent", mon_rounded(u->most));
    json_object_set_new(o, "waits", mon_rounded(round(u->waits)));
    json_object_set_new(o, "wait_seconds", mon_rounded(u->waited));
    json_object_set_new(o, "longest_wait", mon_rounded(u->longest));
    return o;
}

int32_t mon_report_pools(const struct mon_frame *f, json_t *report)
{
    struct uses all = {.all = calloc(POOLS_MAX, sizeof(*all.all))};
    json_t *array = json_array();
    int32_t code = all.all ? HD_OK : HD_ENOMEM;

    for (unsigned i = 0; !code && i < sizeof(sources) / sizeof(sources[0]); i++) {
        all.take = sources[i].take;
        code = mon_frame_read(f, sources[i].series, take, &all);
    }
    if (all.count)
        qsort(all.all, all.count, sizeof(*all.all), by_use);
    for (uint32_t i = 0; i < all.count; i++) {
        if (!code && all.all[i].n[1] > 0 && json_array_size(array) < LISTED)
            json_array_append_new(array, use_json(&all.all[i]));
        free(all.all[i].labels);
    }
    free(all.all);
    json_object_set_new(report, "pools", array);
    return code;
}
