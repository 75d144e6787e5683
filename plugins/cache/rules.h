/*
 * Rules: what is kept, how long and in which stores, as the sections [cache NAME] and the defaults of
 * [plugin cache] say. A set of them is immutable and counted; templates' plans hold the set that they were
 * made from, so that a reload never takes a rule from under a statement.
 */
#ifndef CACHE_RULES_H
#define CACHE_RULES_H

#include <howdah/howdah.h>
#include <stdatomic.h>

#define CACHE_RULES_MAX 1000
#define CACHE_TIERS_MAX 8

/* How old an answer may be. The order is that of the options' choices. */
enum cache_mode {
    CACHE_STRICT,  /* never older than what was acknowledged to anyone before the read came */
    CACHE_BOUNDED, /* not older than the bound */
    CACHE_TTL      /* not older than its ttl, for what was written around the host */
};

/* The options of [plugin cache]. */
struct cache_conf {
    int32_t on; /* the option `default` */
    int32_t hints;
    int64_t ttl_ms;
    struct hd_str_list stores;
    int64_t max_value_bytes;
    int64_t max_databases, max_tables;
    int64_t max_prepared;
    int64_t max_waiting, wait_ms;
    int32_t mode; /* enum cache_mode */
    int32_t reserved;
    int64_t bound_ms, strict_wait_ms;
    int64_t max_key_bytes, max_calls, load_timeout_ms;
    struct hd_str warm_file;
    int64_t warm_entries, warm_rate, warm_interval_ms, warm_save_ms;
};

/* The options of [cache NAME]. */
struct cache_rule_conf {
    struct hd_str table, fingerprint, user, database;
    int32_t on;
    int32_t mode;   /* 0: the plugin's; else enum cache_mode + 1 */
    int64_t ttl_ms; /* 0: the plugin's */
    struct hd_str_list stores;
    struct hd_str_list tags;
    struct hd_str early_refresh;
    int64_t stale_ms;
};

/* What is to be done with the answers of a read. */
struct cache_policy {
    int32_t on;
    uint32_t tiers; /* bits by their order in `stores` of the plugin */
    enum cache_mode mode;
    uint32_t reserved;
    uint64_t ttl_ms, bound_ms, strict_wait_ms;
    const char *rule;          /* NUL-terminated name; NULL: the defaults, or a hint */
    const struct hd_str *tags; /* NUL-terminated; see tags.h */
    uint32_t tag_count;
    uint32_t reserved2;
    struct hd_str hint;                   /* what stands in the statement's comment behind "howdah:" */
    uint64_t stale_ms;                    /* past the ttl, while a new answer is on its way; mode ttl alone */
    double beta;                          /* of early refresh; 0: none */
    const struct cache_rule_stats *stats; /* see rule_stats.h; NULL in a set that is only checked */
};

struct cache_rule {
    struct hd_str table_schema, table; /* empty: any, these four */
    struct hd_str user, database;
    uint64_t fingerprint;
    int32_t by_fingerprint;
    struct cache_policy policy;
};

struct cache_rules {
    atomic_uint refs;
    uint32_t count;
    int32_t hints;
    uint64_t max_value_bytes;
    uint32_t max_waiting;
    uint64_t wait_ms;
    struct cache_policy defaults;
    struct hd_str stores[CACHE_TIERS_MAX]; /* names, NUL-terminated */
    uint32_t store_count;
    struct cache_block *memory; /* all that the rules point to */
    struct cache_rule *items;
};

/* What a rule may ask of a read. */
struct cache_subject {
    uint64_t fingerprint;
    struct hd_str user, database;
    const struct hd_catalog_v1 *catalog;
    const hd_dependencies *deps;
};

#define CACHE_OPTION_COUNT 21
extern const struct hd_option cache_options[CACHE_OPTION_COUNT];
extern const struct hd_section_kind cache_sections[1];

#define CACHE_OPTIONS                                                                                        \
    {                                                                                                        \
        (uint32_t)sizeof(struct hd_options), (uint32_t)sizeof(struct hd_option), CACHE_OPTION_COUNT,         \
            (uint32_t)sizeof(struct cache_conf), cache_options                                               \
    }

/* Makes a set with one reference, or says in err what is wrong with the configuration. */
int32_t cache_rules_new(const struct hd_conf *conf, struct cache_rules **out, struct hd_error *err);
struct cache_rules *cache_rules_ref(struct cache_rules *rules);
void cache_rules_unref(struct cache_rules *rules); /* NULL is allowed; [any] */

/* The first rule that fits, in the order of the files, else the defaults. */
struct cache_policy cache_rules_find(const struct cache_rules *rules, const struct cache_subject *what);

/* What the comment that the text begins or ends with says, if it is a hint and hints are allowed:
 * howdah: cache=5m, cache=off, tag=client:42. What cannot be read is no hint. */
void cache_rules_hint(const struct cache_rules *rules, struct hd_str sql, struct cache_policy *policy);

/* A number with a unit of time: 200ms, 30s, 5m, 2h, 1d; in milliseconds. 0: it is none. */
uint64_t cache_read_duration(struct hd_str s);

#endif
