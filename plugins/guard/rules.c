/*
 * From sections of the INI to rules, and what is wrong with them; see rules.h. Whether a statement matches
 * stands in match.c.
 */
#include "rules.h"
#include "kinds.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory of a set, freed as a whole. */
struct guard_block {
    struct guard_block *next;
    max_align_t bytes[];
};

#define RULE(member) offsetof(struct guard_rule_conf, member)
#define RELOAD       HD_OPTF_RELOADABLE

static const struct hd_option rule_table[] = {
    {"kinds", NULL, NULL,
     "Kinds of statement: select, insert, update, delete, merge, copy, copy_from, copy_to, truncate, writes, "
     "ddl, privilege, maintenance, do, call, lock, load, explain, set, reset, show, discard, prepare, "
     "execute, deallocate, cursor, listen, unlisten, notify, transaction, other",
     0, 0, HD_OPT_LIST, RELOAD, RULE(kinds), 0},
    {"functions", NULL, NULL, "Functions that the text calls: NAME or SCHEMA.NAME, * is a wildcard", 0, 0,
     HD_OPT_LIST, RELOAD, RULE(functions), 0},
    {"tables", NULL, NULL, "Tables that the text names: NAME or SCHEMA.NAME, * is a wildcard", 0, 0,
     HD_OPT_LIST, RELOAD, RULE(tables), 0},
    {"users", NULL, NULL, "Users that the rule is for; * is a wildcard", 0, 0, HD_OPT_LIST, RELOAD,
     RULE(users), 0},
    {"not_users", NULL, NULL, "Users that the rule is not for; * is a wildcard", 0, 0, HD_OPT_LIST, RELOAD,
     RULE(not_users), 0},
    {"databases", NULL, NULL, "Databases that the rule is for; * is a wildcard", 0, 0, HD_OPT_LIST, RELOAD,
     RULE(databases), 0},
    {"applications", NULL, NULL, "Application names that the rule is for; * is a wildcard", 0, 0, HD_OPT_LIST,
     RELOAD, RULE(applications), 0},
    {"no_where", "no", NULL, "An UPDATE or DELETE without WHERE", 0, 0, HD_OPT_BOOL, RELOAD, RULE(no_where),
     0},
    {"no_limit", "no", NULL, "A SELECT from tables that neither has a LIMIT nor gives one row of aggregates",
     0, 0, HD_OPT_BOOL, RELOAD, RULE(no_limit), 0},
    {"unsure", "no", NULL, "A text that could not be analysed", 0, 0, HD_OPT_BOOL, RELOAD, RULE(unsure), 0},
    {"max_length", "0", NULL, "A text longer than this; 0: any", 0, 1073741824, HD_OPT_SIZE, RELOAD,
     RULE(max_length), 0},
    {"max_joins", "-1", NULL, "More joins than this; -1: any", -1, 1e6, HD_OPT_INT, RELOAD, RULE(max_joins),
     0},
    {"max_tables", "-1", NULL, "More tables than this; -1: any", -1, 1e6, HD_OPT_INT, RELOAD,
     RULE(max_tables), 0},
    {"max_subselects", "-1", NULL, "More sub-selects than this; -1: any", -1, 1e6, HD_OPT_INT, RELOAD,
     RULE(max_subselects), 0},
    {"in_transaction", "any", "any|yes|no", "Only inside, or only outside, a transaction block", 0, 0,
     HD_OPT_ENUM, RELOAD, RULE(in_transaction), 0},
    {"action", "refuse", "warn|refuse|throttle", "What happens to a statement that meets all conditions", 0,
     0, HD_OPT_ENUM, RELOAD, RULE(action), 0},
    {"sqlstate", "42501", NULL, "SQLSTATE of the error", 0, 0, HD_OPT_STRING, RELOAD, RULE(sqlstate), 0},
    {"message", NULL, NULL, "Text of the error", 0, 0, HD_OPT_STRING, RELOAD, RULE(message), 0},
    {"hint", NULL, NULL, "Hint of the error", 0, 0, HD_OPT_STRING, RELOAD, RULE(hint), 0},
    {"rate", "0", NULL, "Throttle: statements a second, all workers together", 0, 1e6, HD_OPT_REAL, RELOAD,
     RULE(rate), 0},
    {"burst", "0", NULL, "Throttle: statements that may come at once; 0: what 50 ms allow", 0, 1e6,
     HD_OPT_INT, RELOAD, RULE(burst), 0},
    {"max_waiting", "100", NULL, "Throttle: statements that may wait; further ones are refused with 53400", 0,
     1e6, HD_OPT_INT, RELOAD, RULE(max_waiting), 0},
    {"max_wait", "30s", NULL, "Throttle: the longest that a statement waits, then it is refused with 57014",
     1, 3.6e6, HD_OPT_DURATION, RELOAD, RULE(max_wait), 0},
};

const struct hd_section_kind guard_sections[1] = {
    {"guard", "A rule: what statements it is for, and what happens to them",
     HD_OPTIONS(struct guard_rule_conf, rule_table)},
};

const char *guard_action_name(enum guard_action action)
{
    static const char *const names[] = {"warn", "refuse", "throttle"};

    return names[action];
}

/* --- memory -----------------------------------------------------------------------------------------------
 */

static void *give(struct guard_rules *rules, size_t bytes)
{
    struct guard_block *b = calloc(1, sizeof(*b) + bytes);

    if (!b)
        return NULL;
    b->next = rules->memory;
    rules->memory = b;
    return b->bytes;
}

/* A NUL-terminated copy; ptr NULL without memory. */
static struct hd_str copy(struct guard_rules *rules, struct hd_str s)
{
    struct hd_str out = {NULL, 0};
    char *p = give(rules, s.len + 1);

    if (!p)
        return out;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    out.ptr = p;
    out.len = s.len;
    return out;
}

static struct hd_str copy_text(struct guard_rules *rules, const char *text)
{
    struct hd_str s = {text, strlen(text)};

    return copy(rules, s);
}

/* --- one section ------------------------------------------------------------------------------------------
 */

/* A section while it is being read. */
struct reading {
    struct guard_rules *rules;
    struct guard_rule *rule;
    const struct hd_section *section;
    const struct guard_rule_conf *conf;
    struct hd_error *err;
};

static int32_t no_memory(struct hd_error *err)
{
    return hd_error_set(err, HD_ENOMEM, "no memory for the rules of guard");
}

/* "file.ini:12: [guard NAME] KEY: what is wrong" */
static int32_t wrong(struct reading *r, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int32_t wrong(struct reading *r, const char *key, const char *format, ...)
{
    char what[300];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return hd_error_set(r->err, HD_EINVAL, "%.100s: [guard %.60s]%s%s: %s", r->section->origin,
                        r->section->name, *key ? " " : "", key, what);
}

static int32_t read_kinds(struct reading *r)
{
    for (uint64_t i = 0; i < r->conf->kinds.count; i++) {
        struct hd_str name = r->conf->kinds.items[i];
        uint64_t kinds = guard_kinds_named(name);

        if (!kinds)
            return wrong(r, "kinds", "\"%.*s\" is no kind of statement; did you mean \"%s\"?",
                         (int)(name.len < 60 ? name.len : 60), name.ptr, guard_kinds_nearest(name));
        r->rule->kinds |= kinds;
    }
    return HD_OK;
}

static int32_t read_names(struct reading *r, const char *key, const struct hd_str_list *from,
                          struct guard_names *to)
{
    to->items = give(r->rules, from->count * sizeof(struct hd_str));
    if (!to->items)
        return no_memory(r->err);
    for (uint64_t i = 0; i < from->count; i++) {
        if (!from->items[i].len)
            return wrong(r, key, "there is an empty name in the list");
        to->items[i] = copy(r->rules, from->items[i]);
        if (!to->items[i].ptr)
            return no_memory(r->err);
    }
    to->count = (uint32_t)from->count;
    return HD_OK;
}

static int32_t read_patterns(struct reading *r, const char *key, const struct hd_str_list *from,
                             struct guard_patterns *to)
{
    to->items = give(r->rules, from->count * sizeof(struct guard_pattern));
    if (!to->items)
        return no_memory(r->err);
    for (uint64_t i = 0; i < from->count; i++) {
        struct hd_str text = copy(r->rules, from->items[i]);

        if (!text.ptr)
            return no_memory(r->err);
        if (guard_pattern_parse(text, &to->items[i]) != HD_OK)
            return wrong(r, key, "\"%.60s\" is neither NAME nor SCHEMA.NAME", text.ptr);
    }
    to->count = (uint32_t)from->count;
    return HD_OK;
}

static int32_t read_lists(struct reading *r)
{
    const struct guard_rule_conf *c = r->conf;
    int32_t code;

    if ((code = read_kinds(r)) ||
        (code = read_patterns(r, "functions", &c->functions, &r->rule->functions)) ||
        (code = read_patterns(r, "tables", &c->tables, &r->rule->tables)) ||
        (code = read_names(r, "users", &c->users, &r->rule->users)) ||
        (code = read_names(r, "not_users", &c->not_users, &r->rule->not_users)) ||
        (code = read_names(r, "databases", &c->databases, &r->rule->databases)))
        return code;
    return read_names(r, "applications", &c->applications, &r->rule->applications);
}

static int32_t read_conditions(struct reading *r)
{
    const struct guard_rule_conf *c = r->conf;
    struct guard_rule *rule = r->rule;
    int others;

    rule->no_where = c->no_where;
    rule->no_limit = c->no_limit;
    rule->unsure = c->unsure;
    rule->in_transaction = c->in_transaction;
    rule->max_length = c->max_length > 0 ? c->max_length : -1;
    rule->max_joins = c->max_joins;
    rule->max_tables = c->max_tables;
    rule->max_subselects = c->max_subselects;
    rule->needs_facts = rule->kinds || rule->functions.count || rule->tables.count || rule->no_where ||
                        rule->no_limit || rule->max_joins >= 0 || rule->max_tables >= 0 ||
                        rule->max_subselects >= 0;
    others = rule->users.count || rule->not_users.count || rule->databases.count ||
             rule->applications.count || rule->max_length >= 0 || rule->in_transaction != GUARD_TXN_ANY;
    if (!rule->needs_facts && !rule->unsure && !others)
        return wrong(r, "",
                     "there is no condition, so it would be for every statement; name one, such as kinds");
    if (rule->needs_facts && rule->unsure)
        return wrong(r, "unsure",
                     "a text that could not be analysed has none of the other properties asked for; use "
                     "two rules");
    return HD_OK;
}

/* Five characters of 0-9 and A-Z, of a class that means an error. */
static int is_error_state(struct hd_str s)
{
    if (s.len != 5)
        return 0;
    for (int i = 0; i < 5; i++)
        if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z')))
            return 0;
    return !(s.ptr[0] == '0' && s.ptr[1] >= '0' && s.ptr[1] <= '2');
}

static int32_t read_texts(struct reading *r)
{
    const struct guard_rule_conf *c = r->conf;
    struct guard_rule *rule = r->rule;
    char text[200];

    if (!is_error_state(c->sqlstate))
        return wrong(r, "sqlstate", "\"%.20s\" is no SQLSTATE of an error, such as 42501",
                     c->sqlstate.ptr ? c->sqlstate.ptr : "");
    memcpy(rule->sqlstate, c->sqlstate.ptr, 5);
    snprintf(text, sizeof(text), "statement refused by rule \"%s\"", rule->name);
    rule->message = c->message.len ? copy(r->rules, c->message) : copy_text(r->rules, text);
    snprintf(text, sizeof(text), "statement refused: rule \"%s\" cannot tell what it does", rule->name);
    rule->unsure_message = copy_text(r->rules, text);
    rule->hint = copy(r->rules, c->hint);
    return rule->message.ptr && rule->unsure_message.ptr && rule->hint.ptr ? HD_OK : no_memory(r->err);
}

/* A burst of less than 50 ms' worth would lose rate to the grain of timers. */
static int64_t burst_for(const struct guard_rule_conf *c)
{
    int64_t worth = (int64_t)(c->rate / 20);

    if (c->burst > 0)
        return c->burst;
    return worth > 1 ? worth : 1;
}

static int32_t read_action(struct reading *r)
{
    const struct guard_rule_conf *c = r->conf;

    r->rule->action = (enum guard_action)c->action;
    if (c->action != GUARD_THROTTLE)
        return c->rate > 0 ? wrong(r, "rate", "only action = throttle has a rate") : HD_OK;
    if (!(c->rate >= 0.001))
        return wrong(r, "rate", "action = throttle needs a rate of statements a second, from 0.001 on");
    r->rule->interval_ns = (int64_t)(1e9 / c->rate);
    r->rule->burst = burst_for(c);
    r->rule->max_waiting = c->max_waiting;
    r->rule->max_wait = c->max_wait;
    return HD_OK;
}

static int32_t read_section(struct guard_rules *rules, const struct hd_section *section,
                            struct guard_rule *rule, struct hd_error *err)
{
    struct reading r = {rules, rule, section, section->conf, err};
    int32_t code;

    if (strlen(section->name) >= HD_EVENT_NAME)
        return wrong(&r, "", "the name is longer than %d characters", HD_EVENT_NAME - 1);
    rule->name = copy_text(rules, section->name).ptr;
    rule->origin = copy_text(rules, section->origin).ptr;
    if (!rule->name || !rule->origin)
        return no_memory(err);
    if ((code = read_lists(&r)) || (code = read_conditions(&r)) || (code = read_texts(&r)))
        return code;
    return read_action(&r);
}

/* --- the set ----------------------------------------------------------------------------------------------
 */

static int32_t read_plugin(struct guard_rules *rules, const struct hd_conf *conf, struct hd_error *err)
{
    const struct guard_conf *c = conf->conf;
    struct guard_names *path = &rules->search_path;

    rules->unsure = (enum guard_unsure)c->unsure;
    path->items = give(rules, c->search_path.count * sizeof(struct hd_str));
    rules->items = give(rules, conf->section_count * sizeof(struct guard_rule));
    if (!path->items || !rules->items)
        return no_memory(err);
    for (; path->count < c->search_path.count; path->count++) {
        path->items[path->count] = copy(rules, c->search_path.items[path->count]);
        if (!path->items[path->count].ptr)
            return no_memory(err);
    }
    if (conf->section_count > GUARD_RULES_MAX)
        return hd_error_set(err, HD_EINVAL, "%s: more than %d rules", conf->origin, GUARD_RULES_MAX);
    return HD_OK;
}

int32_t guard_rules_new(const struct hd_conf *conf, struct guard_rules **out, struct hd_error *err)
{
    struct guard_rules *rules = calloc(1, sizeof(*rules));
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
        guard_rules_unref(rules);
        return code;
    }
    *out = rules;
    return HD_OK;
}

struct guard_rules *guard_rules_ref(struct guard_rules *rules)
{
    atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
    return rules;
}

void guard_rules_unref(struct guard_rules *rules)
{
    if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (rules->memory) {
        struct guard_block *b = rules->memory;

        rules->memory = b->next;
        free(b);
    }
    free(rules);
}
