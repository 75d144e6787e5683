/*
 * Rules: the sections [guard NAME], checked and made ready. A set of rules is immutable and counted;
 * templates' plans hold the set that they were made from, so that a reload never takes a rule from under a
 * statement. What a rule has counted, and its token bucket, live in its tally, which stays with the rule's
 * name over reloads.
 */
#ifndef GUARD_RULES_H
#define GUARD_RULES_H

#include <howdah/howdah.h>
#include <stdatomic.h>

#include "pattern.h"
#include "throttle.h"

/* Sections at most. */
#define GUARD_RULES_MAX 1000

enum guard_action { GUARD_WARN, GUARD_REFUSE, GUARD_THROTTLE };
enum guard_unsure { GUARD_UNSURE_REFUSE, GUARD_UNSURE_WARN, GUARD_UNSURE_ALLOW };
enum guard_in_transaction { GUARD_TXN_ANY, GUARD_TXN_YES, GUARD_TXN_NO };

/* What a template is to a rule, and an execution too. */
enum guard_match { GUARD_NO, GUARD_YES, GUARD_UNSURE };

/* The options of [plugin guard]. */
struct guard_conf {
    int32_t unsure; /* enum guard_unsure */
    int32_t reserved;
    struct hd_str_list search_path;
};

/* The options of [guard NAME]. */
struct guard_rule_conf {
    struct hd_str_list kinds, functions, tables;
    struct hd_str_list users, not_users, databases, applications;
    int64_t max_length, max_joins, max_tables, max_subselects; /* below 0: not looked at */
    int32_t no_where, no_limit, unsure;
    int32_t in_transaction; /* enum guard_in_transaction */
    int32_t action;         /* enum guard_action */
    int32_t reserved;
    struct hd_str sqlstate, message, hint;
    double rate; /* statements a second */
    int64_t burst, max_waiting, max_wait;
};

/* What a rule has done since the host started; every thread adds to it. */
struct guard_tally {
    struct guard_tally *next; /* in the instance */
    char name[HD_EVENT_NAME];
    _Atomic uint64_t matched, refused, warned, throttled;
    _Atomic uint32_t waiting;
    _Atomic uint32_t quiet;   /* log lines that were left out since the last one */
    _Atomic int64_t last_us;  /* of the last match that had consequences, since 1970; 0: never */
    _Atomic int64_t last_log; /* second of the monotonic clock */
    struct guard_bucket bucket;
    int64_t refused_metric, warned_metric, throttled_metric;
};

struct guard_names {
    uint32_t count;
    struct hd_str *items; /* with wildcards */
};

struct guard_patterns {
    uint32_t count;
    struct guard_pattern *items;
};

struct guard_rule {
    struct guard_tally *tally; /* NULL in a set that is only being checked */
    const char *name, *origin;
    enum guard_action action;
    int32_t in_transaction;
    int32_t no_where, no_limit, unsure;
    int32_t needs_facts; /* some condition asks what the statement does */
    uint64_t kinds;      /* HD_KIND_BIT; 0: any */
    struct guard_patterns functions, tables;
    struct guard_names users, not_users, databases, applications;
    int64_t max_length, max_joins, max_tables, max_subselects;
    char sqlstate[8];
    struct hd_str message, unsure_message, hint;
    int64_t interval_ns; /* throttle: between two statements */
    int64_t burst;
    int64_t max_waiting, max_wait;
};

struct guard_rules {
    atomic_uint refs;
    uint32_t count;
    enum guard_unsure unsure;
    uint32_t reserved;
    struct guard_names search_path;
    struct guard_block *memory; /* all that the rules point to */
    struct guard_rule *items;
};

extern const struct hd_section_kind guard_sections[1];

/* Makes a set with one reference, or says in err what is wrong with the configuration. Tallies are not set.
 */
int32_t guard_rules_new(const struct hd_conf *conf, struct guard_rules **out, struct hd_error *err);
struct guard_rules *guard_rules_ref(struct guard_rules *rules);
void guard_rules_unref(struct guard_rules *rules); /* NULL is allowed; [any] */

/* May executions of this template match the rule? */
enum guard_match guard_rule_template(const struct guard_rules *rules, const struct guard_rule *rule,
                                     const struct hd_template_v1 *service, const hd_template *t,
                                     const struct hd_template_info *info);
/* Does this execution, of a template that may? */
int guard_rule_statement(const struct guard_rule *rule, const struct hd_statement *st);

const char *guard_action_name(enum guard_action action);

#endif
