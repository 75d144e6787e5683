/*
 * What plugins did in the spans of a report: what they have counted, what the bus has told of them, the cache
 * and the alerts apart.
 */
#include "report_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX  100   /* listed */
#define EVENTS_READ 20000 /* looked at */

static const struct {
    const char *plugin, *series, *what;
} deeds[] = {
    {"statements", "howdah_statements_untracked_total", "statements past its bound"},
    {"monitor", "howdah_slow_statements_total", "slow statements"},
    {"monitor", "howdah_history_lost_samples_total", "samples lost"},
    {"guard", "howdah_guard_refused_total", "statements refused"},
    {"guard", "howdah_guard_warned_total", "statements warned of"},
    {"guard", "howdah_guard_throttled_total", "statements throttled"},
    {"cache", "howdah_cache_hits_total", "answers from the cache"},
    {"cache", "howdah_cache_stored_total", "answers kept"},
    {"cache", "howdah_cache_invalidations_total", "invalidations"},
    {"cache-memory", "howdah_cache_memory_evictions_total", "values evicted"},
    {"cache-redis", "howdah_cache_redis_puts_total", "values sent to Redis"},
    {"cache-redis", "howdah_cache_redis_errors_total", "commands failed"},
    {"change-stream", "howdah_stream_commits_total", "transactions told"},
    {"change-stream", "howdah_stream_changes_total", "changed rows told"},
    {"change-stream", "howdah_stream_restarts_total", "gaps"},
    {"bus-redis", "howdah_bus_redis_sent_total", "events sent to other hosts"},
    {"bus-redis", "howdah_bus_redis_received_total", "events from other hosts"},
    {"bus-redis", "howdah_bus_redis_gaps_total", "gaps"},
    {"alerts", "howdah_alert_messages_sent_total", "messages delivered"},
    {"alerts", "howdah_alert_messages_dead_total", "messages given up"},
};

struct count {
    double sum[2];
    int any;
};

static void take(void *arg, const struct mon_sample *s, int now, double seconds)
{
    struct count *c = arg;

    c->sum[now] += s->mean * seconds;
    c->any = 1;
}

/* The object of the array whose `key` is that, made where there is none. */
static json_t *object_of(json_t *array, const char *key, const char *is)
{
    json_t *o;
    size_t i;

    json_array_foreach(array, i, o)
    {
        if (!strcmp(mon_str(o, key), is))
            return o;
    }
    o = json_pack("{s:s}", key, is);
    json_array_append_new(array, o);
    return o;
}

static void add(json_t *o, const char *key)
{
    json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + 1));
}

static int32_t counts(const struct mon_frame *f, json_t *plugins)
{
    int32_t code = HD_OK;

    for (unsigned i = 0; !code && i < sizeof(deeds) / sizeof(deeds[0]); i++) {
        struct count c = {.any = 0};
        json_t *plugin, *did;

        code = mon_frame_read(f, deeds[i].series, take, &c);
        if (c.sum[0] < 0.5 && c.sum[1] < 0.5)
            continue;
        plugin = object_of(plugins, "plugin", deeds[i].plugin);
        if (!(did = json_object_get(plugin, "did")))
            json_object_set_new(plugin, "did", did = json_array());
        json_array_append_new(did, json_pack("{s:s, s:I, s:I}", "what", deeds[i].what, "count",
                                             (json_int_t)llround(c.sum[1]), "before",
                                             (json_int_t)llround(c.sum[0])));
    }
    return code;
}

/* --- the cache
 * --------------------------------------------------------------------------------------------------- */

static double percent(const struct count *part, const struct count *rest, int now)
{
    double all = part->sum[now] + rest->sum[now];

    return all > 0 ? 100 * part->sum[now] / all : NAN;
}

static int32_t cache(const struct mon_frame *f, json_t *report)
{
    static const char *const names[] = {"howdah_cache_hits_total", "howdah_cache_misses_total",
                                        "howdah_cache_stored_total", "howdah_cache_invalidations_total",
                                        "howdah_cache_saved_nanoseconds_total"};
    struct count c[5] = {{.any = 0}};
    int32_t code = HD_OK;
    json_t *o;

    for (int i = 0; !code && i < 5; i++)
        code = mon_frame_read(f, names[i], take, &c[i]);
    if (code || !c[0].any)
        return code;
    o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "hits", (json_int_t)llround(c[0].sum[1]), "hits_before",
                  (json_int_t)llround(c[0].sum[0]), "misses", (json_int_t)llround(c[1].sum[1]),
                  "misses_before", (json_int_t)llround(c[1].sum[0]), "stored",
                  (json_int_t)llround(c[2].sum[1]), "invalidations", (json_int_t)llround(c[3].sum[1]));
    json_object_set_new(o, "hit_percent", mon_rounded(percent(&c[0], &c[1], 1)));
    json_object_set_new(o, "hit_percent_before", mon_rounded(percent(&c[0], &c[1], 0)));
    json_object_set_new(o, "saved_seconds", mon_rounded(c[4].sum[1] / 1e9));
    json_object_set_new(report, "cache", o);
    return HD_OK;
}

/* --- events
 * ------------------------------------------------------------------------------------------------------ */

struct telling {
    json_t *events, *plugins, *nodes, *alerts;
};

static void plugin_event(const struct telling *t, const struct mon_event *e)
{
    json_t *o = object_of(t->plugins, "plugin", e->subject);

    add(o, "changes");
    if (!json_object_get(o, "state")) /* the last comes first */
        json_object_set_new(o, "state", json_string(e->text));
}

static void alert_event(const struct telling *t, const struct mon_event *e, const char *key)
{
    json_t *o = object_of(t->alerts, "rule", e->subject);

    if (!json_object_get(o, "raised")) {
        json_object_set_new(o, "raised", json_integer(0));
        json_object_set_new(o, "cleared", json_integer(0));
    }
    add(o, key);
    if (json_object_get(o, "last"))
        return;
    json_object_set_new(o, "last", json_integer((json_int_t)e->time));
    json_object_set_new(o, "text", json_string(e->text));
}

static int32_t take_event(void *arg, const struct mon_event *e)
{
    const struct telling *t = arg;

    if (!strcmp(e->topic, "plugin.state"))
        plugin_event(t, e);
    else if (!strcmp(e->topic, "alert.raised"))
        alert_event(t, e, "raised");
    else if (!strcmp(e->topic, "alert.cleared"))
        alert_event(t, e, "cleared");
    else if (!strcmp(e->topic, "node.health") && !strncmp(e->text, "down", 4))
        add(object_of(t->nodes, "node", e->subject), "downs");
    if (json_array_size(t->events) < EVENTS_MAX)
        json_array_append_new(t->events,
                              json_pack("{s:I, s:s, s:s, s:s}", "time", (json_int_t)e->time, "topic",
                                        e->topic, "subject", e->subject, "text", e->text));
    return HD_OK;
}

int32_t mon_report_plugins(const struct mon_frame *f, json_t *report)
{
    struct telling t = {json_array(), json_array(), json_object_get(report, "nodes"), json_array()};
    int32_t code = cache(f, report);

    if (!code)
        code = counts(f, t.plugins);
    if (!code)
        code = mon_store_read_events(f->store, f->from, f->to + 1, EVENTS_READ, take_event, &t);
    json_object_set_new(report, "alerts", t.alerts);
    json_object_set_new(report, "plugins", t.plugins);
    json_object_set_new(report, "events", t.events);
    return code;
}
