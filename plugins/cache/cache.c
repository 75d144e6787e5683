/*
 * The plugin "cache": answers repeated reads without PostgreSQL.
 *
 * How its parts hang together:
 *
 *   plan.c     what the cache does with the executions of a template: it is a read that may be kept, may
 *              write, or is nothing to it; and, in each scope, on which tables it hangs and which rule is for
 * it
 *   context.c  what of a session an answer hangs on
 *   filter.c, read.c   what happens to a statement on its way
 *   answer.c   the server's answer, caught and kept together with the epochs of what it hangs on
 *   flight.c, park.c   of equal reads that miss at the same time one is sent, the others wait
 *   writes.c   what transactions have touched; their ends bump epochs
 *   prepared.c, two_phase.c   … until those are committed that were prepared
 *   follow.c, strict.c  what is written around the host, and reads that wait until it is known
 *   shared.c, fetch.c, lineage.c, tell.c   values and writes of other hosts
 *   epochs.c   the counters that say whether something has changed
 *   rules.c, hint.c    what is kept, how long, and where
 *   warm.c, warm_read.c, warm_file.c   reads that the host itself runs again, after a restart
 *   refresh.c  answers that are asked for anew while they may still be given
 *   commands.c, explain.c   what people ask for
 *   plain.c    bytes under keys, for commands and other plugins ("howdah.cache/1")
 *
 * Stores are other plugins ("howdah.cache-store/1"): this one knows none by name.
 */
#include "cache.h"
#include "explain.h"
#include "follow.h"
#include "tell.h"
#include "warm.h"
#include "writes.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    struct cache *c = calloc(1, sizeof(*c));

    if (!c)
        return hd_error_set(err, HD_ENOMEM, "no memory");
    c->host = host;
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->left_lock, NULL);
    cache_flights_init(&c->flights);
    cache_prepared_init(&c->prepared);
    cache_epochs_init(&c->epochs);
    cache_shared_init(&c->shared);
    *self = c;
    return HD_OK;
}

static int32_t find_services(struct cache *self, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(self->host);

    self->template = api->service(self->host, HD_SERVICE_TEMPLATE);
    self->catalog = api->service(self->host, HD_SERVICE_CATALOG);
    self->statement = api->service(self->host, HD_SERVICE_STATEMENT);
    self->metrics = api->service(self->host, HD_SERVICE_METRICS);
    self->commands = api->service(self->host, HD_SERVICE_COMMANDS);
    self->loop = api->service(self->host, HD_SERVICE_LOOP);
    self->nodes = api->service(self->host, HD_SERVICE_NODES);
    self->bus = api->service(self->host, HD_SERVICE_BUS);
    self->jobs = api->service(self->host, HD_SERVICE_JOBS);
    if (self->template && self->catalog && self->statement && self->metrics && self->commands && self->loop &&
        self->nodes && self->bus && self->jobs)
        return HD_OK;
    return hd_error_set(err, HD_EVERSION, "this host lacks a service that the plugin needs");
}

/* The plugins that are named as stores. */
static int32_t find_stores(struct cache *self, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(self->host);

    for (uint32_t i = 0; i < self->rules->store_count; i++) {
        struct cache_tier *t = &self->tiers[i];
        const void *vtable;
        char id[HD_EVENT_NAME];
        int32_t code;

        snprintf(id, sizeof(id), "cache-%s", self->rules->stores[i].ptr);
        code = api->capability(self->host, HD_CAP_CACHE_STORE, id, &vtable, &t->self, err);
        if (code != HD_OK)
            return code;
        t->store = vtable;
        snprintf(t->name, sizeof(t->name), "%s", self->rules->stores[i].ptr);
        self->tier_count++;
    }
    return HD_OK;
}

/* One clock for all of them, so there is one of them. */
static int32_t share(struct cache *self, struct hd_error *err)
{
    const struct cache_tier *shared = NULL;

    for (uint32_t i = 0; i < self->tier_count; i++) {
        const struct cache_tier *t = &self->tiers[i];

        if (!(t->store->traits & HD_STORE_SHARED))
            continue;
        if (shared)
            return hd_error_set(err, HD_EUNSUPP,
                                "stores: %s and %s are both shared with other hosts; name one of them",
                                shared->name, t->name);
        if (!HD_HAS(t->store, tick) || !t->store->tick)
            return hd_error_set(err, HD_EVERSION,
                                "stores: %s is shared with other hosts, but has no clock for them", t->name);
        shared = t;
    }
    return shared ? cache_shared_start(self, shared, err) : HD_OK;
}

/* Whether some rule needs to know what is written around the host. */
static int needs_stream(const struct cache_rules *rules)
{
    int needs = rules->defaults.mode != CACHE_TTL;

    for (uint32_t i = 0; i < rules->count; i++)
        needs |= rules->items[i].policy.mode != CACHE_TTL;
    return needs;
}

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    const struct cache *self = arg;
    struct cache_rules *rules;
    int32_t code = cache_rules_new(conf, &rules, err);

    if (code == HD_OK && self->rules && !self->stream && needs_stream(rules))
        code = hd_error_set(
            err, HD_EBUSY,
            "%s: a mode other than ttl needs the change stream, which the cache has not been started "
            "with: switch the plugin off and on again",
            conf->origin);
    cache_rules_unref(rules);
    return code;
}

static int32_t find_stream(struct cache *self, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(self->host);
    struct hd_error why = HD_ERROR_INIT;
    const void *vtable;

    if (!needs_stream(self->rules))
        return HD_OK;
    if (api->capability(self->host, HD_CAP_CHANGE_STREAM, NULL, &vtable, &self->stream_self, &why) != HD_OK)
        return hd_error_set(
            err, HD_ENOENT,
            "mode = strict and mode = bounded need the plugin change-stream (%s): enable it, or "
            "say mode = ttl in [plugin cache] and its rules",
            why.text);
    self->stream = vtable;
    return HD_OK;
}

/* Unlike that of any instance before, whose values may still be in the stores. */
static uint64_t make_nonce(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) ^ (uint64_t)getpid() << 48;
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    const struct cache_conf *c = conf->conf;
    struct cache *self = arg;
    int32_t code = find_services(self, err);

    if (code == HD_OK)
        code = cache_rules_new(conf, &self->rules, err);
    if (code == HD_OK)
        code = cache_rule_stats_attach(self, self->rules, err);
    if (code == HD_OK)
        code = find_stores(self, err);
    if (code == HD_OK)
        code = find_stream(self, err);
    if (code == HD_OK && cache_stats_init(&self->stats, self->host, self->metrics))
        code = hd_error_set(err, HD_EFULL, "no room for the cache's metrics: see [host] max_metrics");
    if (code == HD_OK)
        code = cache_tell_start(self, err);
    if (code == HD_OK)
        code = share(self, err);
    if (code != HD_OK)
        return code;
    self->nonce = make_nonce();
    self->epochs.max_databases = (uint32_t)c->max_databases;
    self->prepared.max = (uint32_t)c->max_prepared;
    self->epochs.max_tables = (uint32_t)c->max_tables;
    code = cache_plain_start(self, c, err);
    if (code == HD_OK)
        code = cache_warm_start(self, c, err);
    return code == HD_OK ? cache_commands_add(self, err) : code;
}

/* A reload also ends a quarantine, in which writes went by unseen. */
static void reload(void *arg, const struct hd_conf *conf)
{
    struct cache *self = arg;
    struct cache_rules *rules, *old = self->rules;
    struct hd_error err = HD_ERROR_INIT;

    cache_plain_reload(self, conf->conf);
    cache_shared_lose(self);
    cache_bump(&self->epochs.everything);
    cache_tell_everywhere(self);
    if (cache_rules_new(conf, &rules, &err) != HD_OK || cache_rule_stats_attach(self, rules, &err) != HD_OK) {
        cache_rules_unref(rules);
        hd_host_api(self->host)->failed(self->host, err.text);
        return; /* the old rules stay in force */
    }
    pthread_mutex_lock(&self->lock);
    self->rules = rules;
    pthread_mutex_unlock(&self->lock);
    cache_rules_unref(old);
    cache_warm_reload(self, conf->conf);
}

void cache_part_ended(struct cache *self)
{
    if (atomic_fetch_sub(&self->ending, 1) == 1)
        hd_host_api(self->host)->stopped(self->host);
}

/* Workers are out of the filter by now. What is in this process' stores is worth nothing any more. */
static int32_t stop(void *arg)
{
    struct cache *self = arg;

    atomic_store(&self->ending, 3); /* plain keys, what is shared, and this */
    if (cache_plain_stop(self) == HD_OK)
        atomic_fetch_sub(&self->ending, 1);
    cache_warm_stop(self);
    cache_explain_stop(self);
    cache_follow_stop(self);
    for (uint32_t i = 0; i < self->tier_count; i++)
        if (!(self->tiers[i].store->traits & HD_STORE_SHARED))
            self->tiers[i].store->flush(self->tiers[i].self, NULL, NULL);
    if (cache_shared_stop(self) == HD_OK)
        atomic_fetch_sub(&self->ending, 1);
    return atomic_fetch_sub(&self->ending, 1) == 1 ? HD_OK : HD_PENDING;
}

static void destroy(void *arg)
{
    struct cache *self = arg;

    cache_rules_unref(self->rules);
    cache_plain_free(self);
    cache_writes_forget_left(self);
    pthread_mutex_destroy(&self->left_lock);
    cache_shared_free(&self->shared);
    cache_epochs_free(&self->epochs);
    cache_rule_stats_free(self);
    cache_warm_free(self);
    cache_flights_free(&self->flights);
    cache_prepared_free(&self->prepared);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static const void *capability(const char *name)
{
    if (strcmp(name, HD_CAP_CACHE) == 0)
        return &cache_service;
    return strcmp(name, HD_CAP_FILTER) == 0 ? &cache_filter : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .section_count = 1,
    .id = "cache",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Answers repeated reads without PostgreSQL",
    .options = CACHE_OPTIONS,
    .sections = cache_sections,
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
