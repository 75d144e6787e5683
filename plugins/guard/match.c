/*
 * Does a rule apply? First to a template, once, by what the host proved about it; then to an execution, by
 * what only that has: who sends it, in what state, how long it is.
 */
#include "rules.h"
#include "kinds.h"

static int names_mean(const struct guard_names *names, struct hd_str value)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (guard_wildcard(names->items[i], value))
            return 1;
    return 0;
}

static int patterns_mean(const struct guard_patterns *patterns, struct hd_str schema, struct hd_str name,
                         const struct hd_str *path, uint32_t path_count)
{
    for (uint32_t i = 0; i < patterns->count; i++)
        if (guard_pattern_means(&patterns->items[i], schema, name, path, path_count))
            return 1;
    return 0;
}

static int any_table(const struct guard_rules *rules, const struct guard_rule *rule,
                     const struct hd_template_v1 *service, const hd_template *t)
{
    struct hd_template_table table = {.size = sizeof(table)};

    for (uint32_t i = 0; service->table(t, i, &table) == HD_OK; i++)
        if (patterns_mean(&rule->tables, table.schema, table.name, rules->search_path.items,
                          rules->search_path.count))
            return 1;
    return 0;
}

/* Functions without a schema are looked for in pg_catalog too, before anything else. */
static int any_function(const struct guard_rules *rules, const struct guard_rule *rule,
                        const struct hd_template_v1 *service, const hd_template *t)
{
    static const struct hd_str catalog = {"pg_catalog", 10};
    struct hd_template_function f = {.size = sizeof(f)};

    for (uint32_t i = 0; service->function(t, i, &f) == HD_OK; i++)
        if (patterns_mean(&rule->functions, f.schema, f.name, &catalog, 1) ||
            patterns_mean(&rule->functions, f.schema, f.name, rules->search_path.items,
                          rules->search_path.count))
            return 1;
    return 0;
}

static int past(int64_t limit, uint32_t count)
{
    return limit >= 0 && (int64_t)count > limit;
}

/* A SELECT that may give any number of rows. */
static int unlimited(const struct hd_template_info *info)
{
    int one_row = (info->facts & HD_FACT_AGGREGATE) && !(info->facts & HD_FACT_GROUP_BY);

    return (info->kinds & HD_KIND_BIT(SELECT)) && info->tables > 0 && !(info->facts & HD_FACT_LIMIT) &&
           !one_row;
}

enum guard_match guard_rule_template(const struct guard_rules *rules, const struct guard_rule *rule,
                                     const struct hd_template_v1 *service, const hd_template *t,
                                     const struct hd_template_info *info)
{
    if (info->facts & HD_FACT_UNSURE)
        return rule->needs_facts ? GUARD_UNSURE : GUARD_YES;
    if (rule->unsure)
        return GUARD_NO;
    if ((rule->kinds && !(rule->kinds & info->kinds)) ||
        (rule->no_where && !(info->facts & HD_FACT_NO_WHERE)) || (rule->no_limit && !unlimited(info)))
        return GUARD_NO;
    if ((rule->max_joins >= 0 && !past(rule->max_joins, info->joins)) ||
        (rule->max_tables >= 0 && !past(rule->max_tables, info->tables)) ||
        (rule->max_subselects >= 0 && !past(rule->max_subselects, info->subselects)))
        return GUARD_NO;
    if ((rule->tables.count && !any_table(rules, rule, service, t)) ||
        (rule->functions.count && !any_function(rules, rule, service, t)))
        return GUARD_NO;
    return GUARD_YES;
}

int guard_rule_statement(const struct guard_rule *rule, const struct hd_statement *st)
{
    int inside = st->txn != HD_TX_IDLE;

    if (rule->in_transaction != GUARD_TXN_ANY && inside != (rule->in_transaction == GUARD_TXN_YES))
        return 0;
    /* What was too long to be gathered is longer than any limit that makes sense. */
    if (rule->max_length >= 0 && !(st->flags & HD_STMT_NO_TEXT) && st->sql.len <= (uint64_t)rule->max_length)
        return 0;
    return (!rule->users.count || names_mean(&rule->users, st->user)) &&
           !names_mean(&rule->not_users, st->user) &&
           (!rule->databases.count || names_mean(&rule->databases, st->database)) &&
           (!rule->applications.count || names_mean(&rule->applications, st->application_name));
}
