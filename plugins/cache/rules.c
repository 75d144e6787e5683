/*
 * From sections of the INI to rules, and which one fits a read; see rules.h. Hints in comments stand in
 * hint.c.
 */
#include "rules.h"
#include "tags.h"

#include "refresh.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Memory of a set, freed as a whole. */
struct cache_block {
    struct cache_block *next;
    max_align_t bytes[];
};

#define CONF(member) offsetof(struct cache_conf, member)
#define RULE(member) offsetof(struct cache_rule_conf, member)
#define RELOAD       HD_OPTF_RELOADABLE

const struct hd_option cache_options[CACHE_OPTION_COUNT] = {
    {"default", "on", NULL, "Keep whatever is provably safe; off: only what a rule or a hint names", 0, 0,
     HD_OPT_BOOL, RELOAD, CONF(on), 0},
    {"hints", "yes", NULL, "Obey comments in statements, such as /* howdah: cache=5m */", 0, 0, HD_OPT_BOOL,
     RELOAD, CONF(hints), 0},
    {"mode", "strict", "strict|bounded|ttl",
     "How old an answer may be: strict, a read never gets one from before what was acknowledged to anyone "
     "when it "
     "came; bounded, by `bound`; ttl, what is written around the host may be missed for the ttl. The first "
     "two "
     "need the plugin change-stream",
     0, 0, HD_OPT_ENUM, RELOAD, CONF(mode), 0},
    {"bound", "200ms", NULL, "How old an answer may be in mode bounded", 2, 3.6e6, HD_OPT_DURATION, RELOAD,
     CONF(bound_ms), 0},
    {"strict_wait", "50ms", NULL,
     "The longest that a read in mode strict waits for the check, then it goes to the server", 1, 60000,
     HD_OPT_DURATION, RELOAD, CONF(strict_wait_ms), 0},
    {"ttl", "30m", NULL, "How long an answer is kept at most", 1, 31536000000.0, HD_OPT_DURATION, RELOAD,
     CONF(ttl_ms), 0},
    {"stores", "memory", NULL, "Where answers are kept, nearest first: NAME is the plugin cache-NAME", 0, 0,
     HD_OPT_LIST, 0, CONF(stores), 0},
    {"max_value_bytes", "1M", NULL, "Longest answer that is kept, or value of a plain key", 64, 1073741824,
     HD_OPT_SIZE, RELOAD, CONF(max_value_bytes), 0},
    {"max_databases", "1000", NULL, "Databases whose answers are kept", 1, 1e6, HD_OPT_INT, 0,
     CONF(max_databases), 0},
    {"max_tables", "10000", NULL, "Tables of a database whose answers are kept", 1, 1e7, HD_OPT_INT, 0,
     CONF(max_tables), 0},
    {"max_prepared", "1000", NULL,
     "Prepared transactions of which it is noted what they have written; the commit of another ends all "
     "answers of its database",
     0, 100000, HD_OPT_INT, 0, CONF(max_prepared), 0},
    {"max_waiting", "10000", NULL,
     "Statements of a worker that may wait for the answer to an equal one; further ones do not wait", 0, 1e6,
     HD_OPT_INT, RELOAD, CONF(max_waiting), 0},
    {"warm_file", NULL, NULL,
     "Where the reads are kept that are answered most often, to be run again at start; it holds values of "
     "statements, for the host's user alone. Empty: nowhere, and nothing is noted",
     0, 0, HD_OPT_STRING, 0, CONF(warm_file), 0},
    {"warm_entries", "1000", NULL, "Reads in that file; memory for twice as many, of 16 KiB at most", 1,
     100000, HD_OPT_INT, 0, CONF(warm_entries), 0},
    {"warm_rate", "50", NULL, "Reads that are run again in a second, at most", 1, 10000, HD_OPT_INT, RELOAD,
     CONF(warm_rate), 0},
    {"warm_interval", "0", NULL, "Run them again at this interval, such as 1h; 0: at start and by CACHE WARM",
     0, 31536000000.0, HD_OPT_DURATION, 0, CONF(warm_interval_ms), 0},
    {"warm_save", "5m", NULL, "How often the file is written, beside at stop", 1000, 86400000.0,
     HD_OPT_DURATION, 0, CONF(warm_save_ms), 0},
    {"wait", "5s", NULL, "The longest that a statement waits so, then it goes to the server by itself", 1,
     3.6e6, HD_OPT_DURATION, RELOAD, CONF(wait_ms), 0},
    {"max_key_bytes", "1K", NULL, "Longest plain key (CACHE SET, howdah.cache/1)", 1, 65536, HD_OPT_SIZE,
     RELOAD, CONF(max_key_bytes), 0},
    {"max_calls", "10000", NULL,
     "Calls for plain keys under way, those that wait for a load included; further ones are refused", 1, 1e6,
     HD_OPT_INT, RELOAD, CONF(max_calls), 0},
    {"load_timeout", "30s", NULL, "The longest that the loading of a plain key by a plugin is waited for", 1,
     3.6e6, HD_OPT_DURATION, RELOAD, CONF(load_timeout_ms), 0},
};

static const struct hd_option rule_table[] = {
    {"table", NULL, NULL, "Reads of this table: NAME or SCHEMA.NAME", 0, 0, HD_OPT_STRING, RELOAD,
     RULE(table), 0},
    {"fingerprint", NULL, NULL, "The statement with this fingerprint, 16 hexadecimal digits", 0, 0,
     HD_OPT_STRING, RELOAD, RULE(fingerprint), 0},
    {"user", NULL, NULL, "What this user reads", 0, 0, HD_OPT_STRING, RELOAD, RULE(user), 0},
    {"database", NULL, NULL, "What is read in this database, by the name that clients ask for", 0, 0,
     HD_OPT_STRING, RELOAD, RULE(database), 0},
    {"cache", "on", NULL, "Keep it, or never", 0, 0, HD_OPT_BOOL, RELOAD, RULE(on), 0},
    {"mode", "default", "default|strict|bounded|ttl", "How old an answer may be; default: as the plugin says",
     0, 0, HD_OPT_ENUM, RELOAD, RULE(mode), 0},
    {"ttl", "0", NULL, "How long an answer is kept at most; 0: as the plugin says", 0, 31536000000.0,
     HD_OPT_DURATION, RELOAD, RULE(ttl_ms), 0},
    {"stores", NULL, NULL, "Which of the plugin's stores; all when empty", 0, 0, HD_OPT_LIST, RELOAD,
     RULE(stores), 0},
    {"tags", NULL, NULL,
     "Names for CACHE INVALIDATE TAG; {COLUMN} is the value that the statement compares that column with", 0,
     0, HD_OPT_LIST, RELOAD, RULE(tags), 0},
    {"early_refresh", "no", NULL,
     "Before an answer's ttl is over one of its readers asks anew, the others get it meanwhile: yes, no, or "
     "how "
     "eager, 1 being yes",
     0, 0, HD_OPT_STRING, RELOAD, RULE(early_refresh), 0},
    {"stale_while_revalidate", "0", NULL,
     "For so long past its ttl an answer is given while one of its readers asks anew; with mode = ttl alone",
     0, 31536000000.0, HD_OPT_DURATION, RELOAD, RULE(stale_ms), 0},
};

const struct hd_section_kind cache_sections[1] = {
    {"cache", "A rule: which reads it is for, and how their answers are kept",
     HD_OPTIONS(struct cache_rule_conf, rule_table)},
};

static int32_t no_memory(struct hd_error *err)
{
    return hd_error_set(err, HD_ENOMEM, "no memory for the rules");
}

/* --- memory -------------------------------------------------------------------------------------------- */

static void *give(struct cache_rules *rules, size_t len)
{
    struct cache_block *b = calloc(1, sizeof(*b) + len);

    if (!b)
        return NULL;
    b->next = rules->memory;
    rules->memory = b;
    return b->bytes;
}

/* NUL-terminated. */
static int32_t copy(struct cache_rules *rules, struct hd_str s, struct hd_str *out)
{
    char *p = give(rules, s.len + 1);

    if (!p)
        return HD_ENOMEM;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    *out = (struct hd_str){p, s.len};
    return HD_OK;
}

/* --- sections ------------------------------------------------------------------------------------------ */

static int same(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static int32_t read_fingerprint(const struct hd_section *s, struct hd_str text, struct cache_rule *rule,
                                struct hd_error *err)
{
    char *end;

    if (!text.len)
        return HD_OK;
    rule->fingerprint = strtoull(text.ptr, &end, 16);
    rule->by_fingerprint = 1;
    if (text.len != 16 || *end || strspn(text.ptr, "0123456789abcdefABCDEF") != 16)
        return hd_error_set(err, HD_EINVAL, "%s: [cache %s] fingerprint: \"%s\" is not 16 hexadecimal digits",
                            s->origin, s->name, text.ptr);
    return HD_OK;
}

/* Bits of the plugin's stores that are named; all if none is. */
static int32_t read_stores(const struct cache_rules *rules, const struct hd_section *s,
                           const struct hd_str_list *names, uint32_t *tiers, struct hd_error *err)
{
    *tiers = names->count ? 0 : (1u << rules->store_count) - 1;
    for (uint64_t i = 0; i < names->count; i++) {
        uint32_t k = 0;

        while (k < rules->store_count && !same(rules->stores[k], names->items[i]))
            k++;
        if (k == rules->store_count)
            return hd_error_set(err, HD_EINVAL,
                                "%s: [cache %s] stores: \"%s\" is not among the stores of [plugin cache]",
                                s->origin, s->name, names->items[i].ptr);
        *tiers |= 1u << k;
    }
    return HD_OK;
}

static int32_t read_table(struct cache_rules *rules, struct hd_str name, struct cache_rule *rule)
{
    const char *dot = name.len ? memchr(name.ptr, '.', name.len) : NULL;

    if (!dot)
        return copy(rules, name, &rule->table);
    if (copy(rules, (struct hd_str){name.ptr, (uint64_t)(dot - name.ptr)}, &rule->table_schema))
        return HD_ENOMEM;
    return copy(rules, (struct hd_str){dot + 1, name.len - (uint64_t)(dot + 1 - name.ptr)}, &rule->table);
}

static int32_t read_tags(struct cache_rules *rules, const struct hd_section *s,
                         const struct hd_str_list *tags, struct cache_policy *policy, struct hd_error *err)
{
    struct hd_str *all = give(rules, tags->count * sizeof(*all));
    struct hd_error why = HD_ERROR_INIT;

    if (!all)
        return no_memory(err);
    if (tags->count > CACHE_TAG_NAMES)
        return hd_error_set(err, HD_EINVAL, "%s: [cache %s] tags: more than %d", s->origin, s->name,
                            CACHE_TAG_NAMES);
    for (uint64_t i = 0; i < tags->count; i++) {
        if (cache_tag_check(tags->items[i], &why) != HD_OK)
            return hd_error_set(err, HD_EINVAL, "%s: [cache %s] tags: %s", s->origin, s->name, why.text);
        if (copy(rules, tags->items[i], &all[i]))
            return no_memory(err);
    }
    policy->tags = all;
    policy->tag_count = (uint32_t)tags->count;
    return HD_OK;
}

static int32_t read_refresh(const struct hd_section *s, const struct cache_rule_conf *c,
                            struct cache_policy *policy, struct hd_error *err)
{
    if (!cache_read_beta(c->early_refresh, &policy->beta))
        return hd_error_set(
            err, HD_EINVAL,
            "%s: [cache %s] early_refresh: \"%s\" is neither yes, no, nor a number up to 1000", s->origin,
            s->name, c->early_refresh.ptr);
    policy->stale_ms = (uint64_t)c->stale_ms;
    if (policy->stale_ms && policy->mode != CACHE_TTL)
        return hd_error_set(
            err, HD_EINVAL,
            "%s: [cache %s] stale_while_revalidate: an answer past its ttl is older than mode = "
            "%s allows; say mode = ttl in this rule, or leave it out",
            s->origin, s->name, policy->mode == CACHE_STRICT ? "strict" : "bounded");
    return HD_OK;
}

static int32_t read_section(struct cache_rules *rules, const struct hd_section *s, struct cache_rule *rule,
                            struct hd_error *err)
{
    const struct cache_rule_conf *c = s->conf;
    struct hd_str name;
    int32_t code;

    if (!c->table.len && !c->fingerprint.len && !c->user.len && !c->database.len)
        return hd_error_set(err, HD_EINVAL,
                            "%s: [cache %s] names no reads: it needs a table, fingerprint, user or database",
                            s->origin, s->name);
    if ((code = read_fingerprint(s, c->fingerprint, rule, err)) ||
        (code = read_stores(rules, s, &c->stores, &rule->policy.tiers, err)))
        return code;
    if (read_table(rules, c->table, rule) || copy(rules, c->user, &rule->user) ||
        copy(rules, c->database, &rule->database) ||
        copy(rules, (struct hd_str){s->name, strlen(s->name)}, &name))
        return no_memory(err);
    {
        uint32_t tiers = rule->policy.tiers;

        rule->policy = rules->defaults;
        rule->policy.tiers = tiers;
    }
    rule->policy.rule = name.ptr;
    if (c->mode)
        rule->policy.mode = (enum cache_mode)(c->mode - 1);
    rule->policy.on = c->on;
    if (c->ttl_ms)
        rule->policy.ttl_ms = (uint64_t)c->ttl_ms;
    code = read_tags(rules, s, &c->tags, &rule->policy, err);
    return code == HD_OK ? read_refresh(s, c, &rule->policy, err) : code;
}

/* --- the set ------------------------------------------------------------------------------------------- */

static int32_t read_plugin(struct cache_rules *rules, const struct hd_conf *conf, struct hd_error *err)
{
    const struct cache_conf *c = conf->conf;

    if (!c->stores.count || c->stores.count > CACHE_TIERS_MAX)
        return hd_error_set(err, HD_EINVAL, "%s: stores: give one to %d, such as memory", conf->origin,
                            CACHE_TIERS_MAX);
    for (uint64_t i = 0; i < c->stores.count; i++) {
        for (uint32_t k = 0; k < rules->store_count; k++)
            if (same(rules->stores[k], c->stores.items[i]))
                return hd_error_set(err, HD_EINVAL, "%s: stores: \"%s\" stands there twice", conf->origin,
                                    c->stores.items[i].ptr);
        if (copy(rules, c->stores.items[i], &rules->stores[rules->store_count++]))
            return no_memory(err);
    }
    if (c->warm_file.len && c->warm_file.ptr[0] != '/')
        return hd_error_set(err, HD_EINVAL, "%s: warm_file: \"%s\" is no absolute path", conf->origin,
                            c->warm_file.ptr);
    if (conf->section_count > CACHE_RULES_MAX)
        return hd_error_set(err, HD_EINVAL, "%s: more than %d rules", conf->origin, CACHE_RULES_MAX);
    rules->items = give(rules, conf->section_count * sizeof(struct cache_rule));
    if (!rules->items)
        return no_memory(err);
    rules->hints = c->hints;
    rules->max_value_bytes = (uint64_t)c->max_value_bytes;
    rules->max_waiting = (uint32_t)c->max_waiting;
    rules->wait_ms = (uint64_t)c->wait_ms;
    rules->defaults.on = c->on;
    rules->defaults.mode = (enum cache_mode)c->mode;
    rules->defaults.bound_ms = (uint64_t)c->bound_ms;
    rules->defaults.strict_wait_ms = (uint64_t)c->strict_wait_ms;
    rules->defaults.ttl_ms = (uint64_t)c->ttl_ms;
    rules->defaults.tiers = (1u << rules->store_count) - 1;
    return HD_OK;
}

int32_t cache_rules_new(const struct hd_conf *conf, struct cache_rules **out, struct hd_error *err)
{
    struct cache_rules *rules = calloc(1, sizeof(*rules));
    int32_t code;

    *out = NULL;
    if (!rules)
        return no_memory(err);
    atomic_init(&rules->refs, 1);
    code = read_plugin(rules, conf, err);
    for (uint32_t i = 0; code == HD_OK && i < conf->section_count; i++) {
        code = read_section(rules, &conf->sections[i], &rules->items[i], err);
        rules->count++;
    }
    if (code != HD_OK) {
        cache_rules_unref(rules);
        return code;
    }
    *out = rules;
    return HD_OK;
}

struct cache_rules *cache_rules_ref(struct cache_rules *rules)
{
    atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
    return rules;
}

void cache_rules_unref(struct cache_rules *rules)
{
    if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (rules->memory) {
        struct cache_block *b = rules->memory;

        rules->memory = b->next;
        free(b);
    }
    free(rules);
}

/* --- matching ------------------------------------------------------------------------------------------ */

static int reads_table(const struct cache_rule *rule, const struct cache_subject *what)
{
    struct hd_dependency d = {.size = sizeof(d)};

    for (uint32_t i = 0; what->catalog->table(what->deps, i, &d) == HD_OK; i++)
        if (same(rule->table, d.name) && (!rule->table_schema.len || same(rule->table_schema, d.schema)))
            return 1;
    return 0;
}

static int fits(const struct cache_rule *rule, const struct cache_subject *what)
{
    return (!rule->by_fingerprint || rule->fingerprint == what->fingerprint) &&
           (!rule->user.len || same(rule->user, what->user)) &&
           (!rule->database.len || same(rule->database, what->database)) &&
           (!rule->table.len || reads_table(rule, what));
}

struct cache_policy cache_rules_find(const struct cache_rules *rules, const struct cache_subject *what)
{
    for (uint32_t i = 0; i < rules->count; i++)
        if (fits(&rules->items[i], what))
            return rules->items[i].policy;
    return rules->defaults;
}
