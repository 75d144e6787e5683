/*
 * What is counted rule by rule: as metrics labelled with the rule's name, "default" where none is for a read,
 * and by CACHE RULES. A rule that a reload takes away keeps its counts, and the place that it has here.
 */
#ifndef CACHE_RULE_STATS_H
#define CACHE_RULE_STATS_H

#include "stats.h"

struct cache;
struct cache_rules;

/* Metrics' ids; 0: there was no room for them. Lives as long as the cache. */
struct cache_rule_stats {
    struct cache_rule_stats *next; /* in the order in which they were first there */
    char *name;
    int64_t hits, misses, stale, refreshed, saved;
    int64_t bypass[CACHE_BYPASS_COUNT];
};

/* Gives each rule of the set its place. HD_ENOMEM. [control] */
int32_t cache_rule_stats_attach(struct cache *self, struct cache_rules *rules, struct hd_error *err);
void cache_rule_stats_free(struct cache *self);

/* The command CACHE RULES. [control] */
int32_t cache_rule_stats_show(void *arg, const struct hd_call *call, struct hd_error *err);

/* What has become of a read; the rule's place may be NULL: it is not known. [any] */
void cache_count_hit(struct cache *self, const struct cache_rule_stats *rule, uint64_t cost_ns);
void cache_count_miss(struct cache *self, const struct cache_rule_stats *rule);
void cache_count_bypass(struct cache *self, const struct cache_rule_stats *rule, enum cache_bypass why);
/* An answer past its ttl was given. */
void cache_count_stale(struct cache *self, const struct cache_rule_stats *rule);
/* One was asked for anew while the old one is given. */
void cache_count_refreshed(struct cache *self, const struct cache_rule_stats *rule);

#endif
