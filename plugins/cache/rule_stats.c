/*
 * Counts by rule; see rule_stats.h.
 */
#include "rule_stats.h"

#include <stdlib.h>
#include <string.h>

#include "cache.h"

/* What a rule has beside its bypasses. */
#define PLAIN_COUNT 5

struct plain {
    const char *shown, *metric, *help;
    size_t at;
};

static const struct plain plain[PLAIN_COUNT] = {
    {"hits", "howdah_cache_rule_hits_total", "Reads of a rule that were answered from the cache",
     offsetof(struct cache_rule_stats, hits)},
    {"misses", "howdah_cache_rule_misses_total", "Reads of a rule that were looked up and not found",
     offsetof(struct cache_rule_stats, misses)},
    {"stale", "howdah_cache_rule_stale_total", "Hits of a rule past the ttl, while an answer was on its way",
     offsetof(struct cache_rule_stats, stale)},
    {"refreshed", "howdah_cache_rule_refreshed_total",
     "Reads of a rule that were sent though an answer was there: it was about to be, or was, past its ttl",
     offsetof(struct cache_rule_stats, refreshed)},
    {"saved_ns", "howdah_cache_rule_saved_nanoseconds_total",
     "Time of servers that hits of a rule have saved", offsetof(struct cache_rule_stats, saved)},
};

static int64_t *id_at(struct cache_rule_stats *s, size_t at)
{
    return (int64_t *)(void *)((char *)s + at);
}

/* 0: no room. */
static int64_t make_metric(const struct cache *self, const char *name, const char *help,
                           const struct hd_label *labels, uint32_t count)
{
    int64_t id = self->metrics->get(self->host, HD_METRIC_COUNTER, name, help, labels, count);

    return id > 0 ? id : 0;
}

/* 0: not all of them have found room. */
static int make_metrics(const struct cache *self, struct cache_rule_stats *s)
{
    struct hd_label labels[] = {{"rule", s->name}, {"reason", NULL}};
    int all = 1;

    for (size_t i = 0; i < PLAIN_COUNT; i++)
        all &= (*id_at(s, plain[i].at) = make_metric(self, plain[i].metric, plain[i].help, labels, 1)) != 0;
    for (int i = 0; i < CACHE_BYPASS_COUNT; i++) {
        labels[1].value = cache_bypass_name((enum cache_bypass)i);
        s->bypass[i] = make_metric(self, "howdah_cache_rule_bypassed_total",
                                   "Reads of a rule that were not looked up, by reason", labels, 2);
        all &= s->bypass[i] != 0;
    }
    return all;
}

static struct cache_rule_stats *find(struct cache *self, const char *name, int *all)
{
    struct cache_rule_stats **at = &self->rule_stats, *s;

    for (; (s = *at); at = &s->next)
        if (!strcmp(s->name, name))
            return s;
    s = calloc(1, sizeof(*s));
    if (!s || !(s->name = strdup(name))) {
        free(s);
        return NULL;
    }
    *all &= make_metrics(self, s);
    *at = s;
    return s;
}

int32_t cache_rule_stats_attach(struct cache *self, struct cache_rules *rules, struct hd_error *err)
{
    int all = 1;

    rules->defaults.stats = find(self, "default", &all);
    if (!rules->defaults.stats)
        return hd_error_set(err, HD_ENOMEM, "no memory for the rules");
    for (uint32_t i = 0; i < rules->count; i++) {
        rules->items[i].policy.stats = find(self, rules->items[i].policy.rule, &all);
        if (!rules->items[i].policy.stats)
            return hd_error_set(err, HD_ENOMEM, "no memory for the rules");
    }
    if (!all)
        hd_host_api(self->host)
            ->log(self->host, HD_LEVEL_WARNING, "not all rules of the cache are counted",
                  (const char *const[]){"reason", "no room for their metrics: see [host] max_metrics", NULL});
    return HD_OK;
}

void cache_rule_stats_free(struct cache *self)
{
    while (self->rule_stats) {
        struct cache_rule_stats *s = self->rule_stats;

        self->rule_stats = s->next;
        free(s->name);
        free(s);
    }
}

/* --- counting ------------------------------------------------------------------------------------------ */

static void add(struct cache *self, int64_t all, int64_t of_rule, int64_t n)
{
    if (all)
        self->metrics->add(self->host, all, n);
    if (of_rule)
        self->metrics->add(self->host, of_rule, n);
}

void cache_count_hit(struct cache *self, const struct cache_rule_stats *rule, uint64_t cost_ns)
{
    add(self, self->stats.hits, rule ? rule->hits : 0, 1);
    add(self, self->stats.saved, rule ? rule->saved : 0, (int64_t)cost_ns);
}

void cache_count_miss(struct cache *self, const struct cache_rule_stats *rule)
{
    add(self, self->stats.misses, rule ? rule->misses : 0, 1);
}

void cache_count_bypass(struct cache *self, const struct cache_rule_stats *rule, enum cache_bypass why)
{
    add(self, self->stats.bypass[why], rule ? rule->bypass[why] : 0, 1);
}

void cache_count_stale(struct cache *self, const struct cache_rule_stats *rule)
{
    add(self, self->stats.stale, rule ? rule->stale : 0, 1);
}

void cache_count_refreshed(struct cache *self, const struct cache_rule_stats *rule)
{
    add(self, self->stats.refreshed, rule ? rule->refreshed : 0, 1);
}

/* --- CACHE RULES --------------------------------------------------------------------------------------- */

static void put_row(const struct cache *self, hd_result *out, const char *rule, const char *name,
                    const char *reason, int64_t id)
{
    const struct hd_commands_v1 *c = self->commands;

    c->text(out, (struct hd_str){rule, strlen(rule)});
    c->text(out, (struct hd_str){name, strlen(name)});
    c->text(out, (struct hd_str){reason, strlen(reason)});
    c->integer(out, id ? self->metrics->value(self->host, id) : 0);
}

int32_t cache_rule_stats_show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cache *self = arg;

    (void)err;
    self->commands->column(call->result, "rule", HD_COL_TEXT);
    self->commands->column(call->result, "name", HD_COL_TEXT);
    self->commands->column(call->result, "reason", HD_COL_TEXT);
    self->commands->column(call->result, "value", HD_COL_INT);
    for (struct cache_rule_stats *s = self->rule_stats; s; s = s->next) {
        for (size_t i = 0; i < PLAIN_COUNT; i++)
            put_row(self, call->result, s->name, plain[i].shown, "", *id_at(s, plain[i].at));
        for (int i = 0; i < CACHE_BYPASS_COUNT; i++)
            put_row(self, call->result, s->name, "bypassed", cache_bypass_name((enum cache_bypass)i),
                    s->bypass[i]);
    }
    return HD_OK;
}
