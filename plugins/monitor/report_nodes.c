/*
 * The nodes of a report: whether they were up, what the statements of the databases that they serve did, how
 * their connections were used, and what their servers have counted.
 */
#include "report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 100

/* How samples become one number: the mean over time, that of all series together, what came (COUNT: whole
 * things), or the most. */
enum way { MEAN, LEVEL, TOTAL, COUNT, MOST };

static const struct source {
    const char *series, *key;
    enum way way;
    double scale;
} sources[] = {
    {"howdah_node_up", "up_percent", MEAN, 100},
    {"howdah_pool_busy", "busy", LEVEL, 1},
    {"howdah_pool_waits_total", "waits", COUNT, 1},
    {"howdah_pool_wait_seconds_total", "wait_seconds", TOTAL, 1},
    {"howdah_pg_sessions", "sessions", LEVEL, 1},
    {"howdah_pg_commits_total", "commits", COUNT, 1},
    {"howdah_pg_rollbacks_total", "rollbacks", COUNT, 1},
    {"howdah_pg_deadlocks_total", "deadlocks", COUNT, 1},
    {"howdah_pg_temporary_bytes_total", "temporary_bytes", COUNT, 1},
    {"howdah_pg_longest_transaction_seconds", "longest_transaction_seconds", MOST, 1},
    {"howdah_pg_replication_lag_bytes", "replication_lag_bytes", MOST, 1},
    {"howdah_pg_slot_lag_bytes", "slot_lag_bytes", MOST, 1},
    {"howdah_pg_wraparound_percent", "wraparound_percent", MOST, 1},
    {"howdah_pg_blocks_hit_total", NULL, TOTAL, 1},
    {"howdah_pg_blocks_read_total", NULL, TOTAL, 1},
};

#define SOURCES (sizeof(sources) / sizeof(sources[0]))
#define HIT     (SOURCES - 2)
#define READ    (SOURCES - 1)

struct number {
    double sum[2], seconds[2], most[2];
};

struct node {
    char name[64];
    struct number numbers[SOURCES];
};

struct nodes {
    struct node *all;
    uint32_t count;
    size_t source; /* that is being read */
};

/* The label of a key NAME{label=value,…}; 0: it has none. */
static int node_of(const char *key, char *to, size_t room)
{
    const char *at = strchr(key, '{');

    while (at && *at != '}' && strncmp(at + 1, "node=", 5) != 0)
        at = at[1] ? strpbrk(at + 1, ",}") : NULL;
    if (!at || *at == '}')
        return 0;
    snprintf(to, room, "%.*s", (int)strcspn(at + 6, ",}"), at + 6);
    return 1;
}

static struct node *find(struct nodes *n, const char *name)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (!strcmp(n->all[i].name, name))
            return &n->all[i];
    if (n->count == NODES_MAX)
        return NULL;
    snprintf(n->all[n->count].name, sizeof(n->all[0].name), "%s", name);
    return &n->all[n->count++];
}

static void take(void *arg, const struct mon_sample *s, int now, double seconds)
{
    struct nodes *n = arg;
    char name[64];
    struct node *node = node_of(s->key, name, sizeof(name)) ? find(n, name) : NULL;
    struct number *to = node ? &node->numbers[n->source] : NULL;

    if (!to)
        return;
    to->most[now] = to->seconds[now] > 0 ? fmax(to->most[now], s->max) : s->max;
    to->sum[now] += s->mean * seconds;
    to->seconds[now] += seconds;
}

/* NAN: there is nothing. */
static double value(const struct mon_frame *f, const struct number *n, enum way way, int now)
{
    if (!(n->seconds[now] > 0))
        return NAN;
    if (way == MOST)
        return n->most[now];
    if (way == TOTAL || way == COUNT)
        return way == COUNT ? round(n->sum[now]) : n->sum[now];
    return n->sum[now] / (way == MEAN ? n->seconds[now] : fmax(f->observed[now], 1));
}

static void set_values(const struct mon_frame *f, const struct node *n, int now, json_t *o)
{
    const struct number *hit = &n->numbers[HIT], *read = &n->numbers[READ];
    const char *tail = now ? "" : "_before";
    double looked = hit->sum[now] + read->sum[now];
    char key[64];

    for (size_t i = 0; i < HIT; i++) {
        snprintf(key, sizeof(key), "%s%s", sources[i].key, tail);
        json_object_set_new(o, key,
                            mon_rounded(sources[i].scale * value(f, &n->numbers[i], sources[i].way, now)));
    }
    snprintf(key, sizeof(key), "cache_hit_percent%s", tail);
    json_object_set_new(o, key, mon_rounded(looked > 0 ? 100 * hit->sum[now] / looked : NAN));
}

static void set_statements(const struct mon_frame *f, const struct mon_sums *now,
                           const struct mon_sums *before, double p95, double p95_before, json_t *o)
{
    json_object_set_new(o, "calls", json_integer((json_int_t)now->t.calls));
    json_object_set_new(o, "calls_before", json_integer((json_int_t)before->t.calls));
    json_object_set_new(o, "calls_change_percent",
                        mon_change((double)now->t.calls * mon_frame_scale(f), (double)before->t.calls));
    json_object_set_new(o, "errors", json_integer((json_int_t)now->t.errors));
    json_object_set_new(o, "errors_before", json_integer((json_int_t)before->t.errors));
    json_object_set_new(o, "p95_ms", mon_rounded(now->t.calls ? p95 : NAN));
    json_object_set_new(o, "p95_ms_before", mon_rounded(before->t.calls ? p95_before : NAN));
}

static json_t *node_json(const struct mon_frame *f, const struct node *n, const struct mon_by_node *by)
{
    json_t *o = json_object();

    json_object_set_new(o, "node", json_string(n->name));
    json_object_set_new(o, "downs", json_integer(0)); /* events tell */
    for (; by; by = by->next)
        if (!strcmp(by->node, n->name))
            set_statements(f, &by->now, &by->before, by->p95, by->p95_before, o);
    set_values(f, n, 1, o);
    set_values(f, n, 0, o);
    return o;
}

int32_t mon_report_nodes(const struct mon_frame *f, const struct mon_by_node *by, json_t *report)
{
    struct nodes n = {.all = calloc(NODES_MAX, sizeof(*n.all))};
    json_t *array = json_array();
    int32_t code = n.all ? HD_OK : HD_ENOMEM;

    for (n.source = 0; !code && n.source < SOURCES; n.source++)
        code = mon_frame_read(f, sources[n.source].series, take, &n);
    for (const struct mon_by_node *b = by; !code && b; b = b->next)
        find(&n, b->node);
    for (uint32_t i = 0; !code && i < n.count; i++)
        json_array_append_new(array, node_json(f, &n.all[i], by));
    free(n.all);
    json_object_set_new(report, "nodes", array);
    return code;
}
