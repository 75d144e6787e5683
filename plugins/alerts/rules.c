/*
 * Rules from the configuration, and their judgement; see rules.h.
 */
#include "alerts/rules.h"

#include <howdah/alert_sink.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(key, fallback, choices, doc, min, max, type, member)                                             \
    {                                                                                                        \
        key, fallback, choices, doc, min, max, type, HD_OPTF_RELOADABLE,                                     \
            offsetof(struct al_rule_conf, member), 0                                                         \
    }

#define DAY_MS 86400000.0

static const struct hd_option options[] = {
    KEY("enabled", "yes", NULL, "Whether the rule is looked at", 0, 0, HD_OPT_BOOL, enabled),
    KEY("expr", NULL, NULL,
        "What is looked at: metrics, as SHOW METRICS names them, with {label=\"value\"}, + - * /, sum, max, "
        "min, "
        "avg, count [by (label)], or, rate, increase, mean, slope, quantile and below of a window [5m]",
        0, 0, HD_OPT_STRING, expr),
    KEY("type", "threshold", "threshold|burn|anomaly",
        "Compares the value with above or below; or the share of bad things in it with an error budget, over "
        "two "
        "windows; or the value with what it was in past weeks",
        0, 0, HD_OPT_ENUM, type),
    KEY("above", NULL, NULL, "threshold: fires for values above this number", 0, 0, HD_OPT_STRING, above),
    KEY("below", NULL, NULL, "threshold: fires for values below this number", 0, 0, HD_OPT_STRING, below),
    KEY("clear", NULL, NULL,
        "threshold: over when the value is back at this number; that of above or below when "
        "empty",
        0, 0, HD_OPT_STRING, clear),
    KEY("for", "1m", NULL, "How long the value must be beyond before the alert fires", 0, 32 * DAY_MS,
        HD_OPT_DURATION, hold),
    KEY("clear_for", "1m", NULL, "How long it must be clear before the alert is over", 0, 32 * DAY_MS,
        HD_OPT_DURATION, clear_for),
    KEY("absent_for", "0", NULL,
        "An alert that fires is over when there was no data for so long; 0: as [plugin alerts] says", 0,
        400 * DAY_MS, HD_OPT_DURATION, absent_for),
    KEY("window", "5m", NULL, "Window of functions that name none; burn: the short window", 100, 32 * DAY_MS,
        HD_OPT_DURATION, window),
    KEY("long_window", "1h", NULL, "burn: the long window; both must burn too fast", 100, 32 * DAY_MS,
        HD_OPT_DURATION, long_window),
    KEY("objective", "99", NULL, "burn: how much is to be good, in percent; expr gives the share that is bad",
        0, 99.9999, HD_OPT_REAL, objective),
    KEY("burn", "14.4", NULL,
        "burn: fires when the error budget is used up so many times as fast as it may be", 0.001, 1e6,
        HD_OPT_REAL, burn),
    KEY("sensitivity", "4", NULL, "anomaly: deviations from what is usual that are too many", 1, 1000,
        HD_OPT_REAL, sensitivity),
    KEY("min_change", "0.5", NULL, "anomaly: less than this share of what is usual is never unusual", 0, 1000,
        HD_OPT_REAL, min_change),
    KEY("side", "both", "both|up|down", "anomaly: which changes are looked at", 0, 0, HD_OPT_ENUM, side),
    KEY("memory", "20m", NULL,
        "anomaly: how far back a weighted mean reaches while there are no past weeks yet", 60000, 7 * DAY_MS,
        HD_OPT_DURATION, memory),
    KEY("severity", "warning", "info|warning|page", "How bad it is; an anomaly never pages", 0, 0,
        HD_OPT_ENUM, severity),
    KEY("summary", NULL, NULL,
        "The line for people; {value}, {threshold}, {labels} and {a label's name} are put in", 0, 0,
        HD_OPT_STRING, summary),
    KEY("group_by", "rule", NULL,
        "Alerts that have these labels in common come in one message; rule is its name", 0, 0, HD_OPT_LIST,
        group_by),
    KEY("sinks", NULL, NULL, "Where messages go to: SINK or SINK:TARGET; all when empty", 0, 0, HD_OPT_LIST,
        sinks),
    KEY("repeat", "4h", NULL, "How often is said again what still fires; 0: never", 0, 32 * DAY_MS,
        HD_OPT_DURATION, repeat),
    KEY("inhibited_by", NULL, NULL,
        "Rules that make this one unnecessary: while one fires nothing is said of this", 0, 0, HD_OPT_LIST,
        inhibited_by),
    KEY("equal", NULL, NULL, "Labels that must be equal for that, where both have them", 0, 0, HD_OPT_LIST,
        equal),
};

const struct hd_section_kind al_rule_kind = {"alert", "A rule: what is looked at, and when it is said",
                                             HD_OPTIONS(struct al_rule_conf, options)};

/* --- checks ----------------------------------------------------------------------------------------------
 */

static int32_t number_of(struct hd_str s, const char *key, double *out, struct hd_error *err)
{
    char *end;

    *out = strtod(s.ptr, &end);
    if (end == s.ptr || *end || !isfinite(*out))
        return hd_error_set(err, HD_EINVAL, "%s: \"%.40s\" is no number", key, s.ptr);
    return HD_OK;
}

static int32_t read_threshold(struct al_rule *r, struct hd_error *err)
{
    const struct al_rule_conf *c = r->conf;
    int32_t code;

    if (!c->above.len == !c->below.len)
        return hd_error_set(err, HD_EINVAL, "either above or below is needed");
    r->is_below = c->below.len > 0;
    code = number_of(r->is_below ? c->below : c->above, r->is_below ? "below" : "above", &r->threshold, err);
    r->clear = r->threshold;
    if (!code && c->clear.len)
        code = number_of(c->clear, "clear", &r->clear, err);
    if (code)
        return code;
    if (r->is_below ? r->clear < r->threshold : r->clear > r->threshold)
        return hd_error_set(err, HD_EINVAL, "clear is on the wrong side of %s",
                            r->is_below ? "below" : "above");
    return HD_OK;
}

static int32_t read_type(struct al_rule *r, struct hd_error *err)
{
    const struct al_rule_conf *c = r->conf;

    if (c->type == AL_THRESHOLD)
        return read_threshold(r, err);
    if (c->above.len || c->below.len || c->clear.len)
        return hd_error_set(err, HD_EINVAL, "above, below and clear are for type = threshold");
    if (c->type == AL_ANOMALY && c->severity == HD_ALERT_PAGE)
        return hd_error_set(err, HD_EINVAL, "an anomaly never pages: severity is info or warning");
    if (c->type == AL_BURN && c->long_window <= c->window)
        return hd_error_set(err, HD_EINVAL, "long_window is to be longer than window");
    r->threshold = r->clear = c->burn;
    return HD_OK;
}

/* Its place among the sections; the count of them where there is none. */
static uint32_t find_rule(const struct hd_conf *conf, struct hd_str name)
{
    uint32_t i = 0;

    while (i < conf->section_count &&
           (strcmp(conf->sections[i].kind, "alert") != 0 || strlen(conf->sections[i].name) != name.len ||
            memcmp(conf->sections[i].name, name.ptr, name.len) != 0))
        i++;
    return i;
}

/* Marks all rules that make this one unnecessary, and those that make them. */
static void mark_inhibitors(const struct hd_conf *conf, uint32_t rule, char *marks)
{
    const struct al_rule_conf *c = conf->sections[rule].conf;

    for (uint64_t i = 0; i < c->inhibited_by.count; i++) {
        uint32_t other = find_rule(conf, c->inhibited_by.items[i]);

        if (other == conf->section_count || marks[other])
            continue;
        marks[other] = 1;
        mark_inhibitors(conf, other, marks);
    }
}

/* Rules that keep each other quiet: nobody would hear of either. */
static int32_t check_circle(const struct hd_conf *conf, uint32_t rule, struct hd_error *err)
{
    char *marks = calloc(conf->section_count, 1);
    int circle;

    if (!marks)
        return hd_error_set(err, HD_ENOMEM, "no memory for the rules");
    mark_inhibitors(conf, rule, marks);
    circle = marks[rule];
    free(marks);
    if (!circle)
        return HD_OK;
    return hd_error_set(err, HD_EINVAL,
                        "%s: [alert %s]: inhibited_by leads back to it: nothing would ever be said",
                        conf->sections[rule].origin, conf->sections[rule].name);
}

/* SINK or SINK:TARGET: is the sink one of those that the plugin has? Its targets are the sink's own. */
static int is_sink(const struct hd_str_list *sinks, struct hd_str name)
{
    const char *colon = memchr(name.ptr, ':', name.len);
    size_t len = colon ? (size_t)(colon - name.ptr) : name.len;

    for (uint64_t i = 0; i < sinks->count; i++)
        if (sinks->items[i].len == len && !memcmp(sinks->items[i].ptr, name.ptr, len))
            return 1;
    return 0;
}

static int32_t check_names(const struct hd_conf *conf, const struct hd_section *s,
                           const struct hd_str_list *sinks, struct hd_error *err)
{
    const struct al_rule_conf *c = s->conf;

    for (uint64_t i = 0; i < c->inhibited_by.count; i++)
        if (find_rule(conf, c->inhibited_by.items[i]) == conf->section_count)
            return hd_error_set(err, HD_EINVAL, "%s: [alert %s]: inhibited_by: there is no [alert %.*s]",
                                s->origin, s->name, (int)c->inhibited_by.items[i].len,
                                c->inhibited_by.items[i].ptr);
    for (uint64_t i = 0; i < c->sinks.count; i++)
        if (!is_sink(sinks, c->sinks.items[i]))
            return hd_error_set(err, HD_EINVAL,
                                "%s: [alert %s]: sinks: \"%.*s\" is none of the sinks of [plugin alerts]",
                                s->origin, s->name, (int)c->sinks.items[i].len, c->sinks.items[i].ptr);
    return HD_OK;
}

static int32_t check_one(const struct hd_conf *conf, const struct hd_section *s,
                         const struct hd_str_list *sinks, struct hd_error *err)
{
    struct hd_error inner = HD_ERROR_INIT;
    struct al_budget none = {0};
    struct al_rule r;
    int32_t code = al_rule_init(&r, s, &inner);

    al_rule_free(&r, &none);
    if (code)
        return hd_error_set(err, code, "%s: [alert %s]: %s", s->origin, s->name, inner.text);
    if (strlen(s->name) >= HD_EVENT_NAME)
        return hd_error_set(err, HD_EINVAL, "%s: the rule's name is longer than %d bytes", s->origin,
                            HD_EVENT_NAME - 1);
    return check_names(conf, s, sinks, err);
}

int32_t al_rules_check(const struct hd_conf *conf, const struct hd_str_list *sinks, struct hd_error *err)
{
    uint32_t count = 0;
    int32_t code = HD_OK;

    for (uint32_t i = 0; i < conf->section_count && !code; i++) {
        if (strcmp(conf->sections[i].kind, "alert") != 0)
            continue;
        code = check_one(conf, &conf->sections[i], sinks, err);
        if (!code && ((const struct al_rule_conf *)conf->sections[i].conf)->inhibited_by.count)
            code = check_circle(conf, i, err);
        if (!code && ++count > AL_RULES_MAX)
            code = hd_error_set(err, HD_EINVAL, "%s: more than %d rules", conf->sections[i].origin,
                                AL_RULES_MAX);
    }
    return code;
}

/* --- making ----------------------------------------------------------------------------------------------
 */

int32_t al_rule_init(struct al_rule *r, const struct hd_section *s, struct hd_error *err)
{
    int32_t code;

    memset(r, 0, sizeof(*r));
    r->name = s->name;
    r->conf = s->conf;
    if (!r->conf->expr.len)
        return hd_error_set(err, HD_EINVAL, "expr is missing");
    code = read_type(r, err);
    if (!code)
        code = al_expr_parse(r->conf->expr.ptr, &r->expr, err);
    if (!code && r->conf->type == AL_BURN)
        code = al_expr_parse(r->conf->expr.ptr, &r->expr_long, err);
    return code;
}

void al_rule_free(struct al_rule *r, struct al_budget *budget)
{
    al_series_give_back(r->expr, budget);
    al_series_give_back(r->expr_long, budget);
    al_expr_free(r->expr);
    al_expr_free(r->expr_long);
    while (r->known) {
        struct al_known *k = r->known;

        r->known = k->next;
        budget->baselines--;
        free(k);
    }
    memset(r, 0, sizeof(*r));
}

static int same_text(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && !memcmp(a.ptr, b.ptr, a.len);
}

void al_rule_inherit(struct al_rule *r, struct al_rule *old)
{
    const struct al_rule_conf *a = r->conf, *b = old->conf;
    struct al_node *expr = r->expr, *expr_long = r->expr_long;

    if (a->type != b->type || !same_text(a->expr, b->expr))
        return;
    r->known = old->known;
    r->known_count = old->known_count;
    old->known = NULL;
    r->values = old->values;
    r->found = old->found;
    if (a->window != b->window || a->long_window != b->long_window)
        return;
    r->expr = old->expr;
    r->expr_long = old->expr_long;
    old->expr = expr;
    old->expr_long = expr_long;
}

/* --- judgement -------------------------------------------------------------------------------------------
 */

void al_rule_read(struct al_rule *r, const struct al_source *source, uint64_t now_ms,
                  struct al_budget *budget)
{
    al_series_read(r->expr, source, (uint64_t)r->conf->window, now_ms, budget);
    if (r->expr_long)
        al_series_read(r->expr_long, source, (uint64_t)r->conf->long_window, now_ms, budget);
    r->found = al_series_found(r->expr);
}

/* How fast the error budget burns: the slower of both windows counts. */
static int32_t burn_rates(struct al_rule *r, struct al_memory *m, struct al_vector *v)
{
    double budget = 1 - r->conf->objective / 100;
    struct al_vector slow;
    int32_t code = al_eval(r->expr_long, m, &slow);

    for (uint32_t i = 0; i < v->count && !code; i++) {
        struct al_sample *s = &v->samples[i];
        double long_value = 0;

        for (uint32_t k = 0; k < slow.count; k++)
            if (al_labels_equal(slow.samples[k].labels, s->labels))
                long_value = slow.samples[k].value;
        s->value = fmin(s->value, long_value) / budget;
    }
    return code;
}

static struct al_baseline *baseline_of(struct al_rule *r, const struct al_labels *l, struct al_budget *budget)
{
    struct al_known *k = r->known;
    char id[17];

    al_id(r->name, l, id);
    while (k && strcmp(k->id, id) != 0)
        k = k->next;
    return k ? &k->baseline : al_rule_baseline(r, id, budget);
}

struct al_baseline *al_rule_baseline(struct al_rule *r, const char *id, struct al_budget *budget)
{
    struct al_known *k;

    if (budget->baselines >= budget->max_baselines || !(k = calloc(1, sizeof(*k)))) {
        budget->refused++;
        return NULL;
    }
    snprintf(k->id, sizeof(k->id), "%s", id);
    k->next = r->known;
    r->known = k;
    r->known_count++;
    budget->baselines++;
    return &k->baseline;
}

static int judge_anomaly(struct al_rule *r, struct al_finding *f, uint64_t now_ms, int64_t wall_us,
                         struct al_budget *budget)
{
    const struct al_rule_conf *c = r->conf;
    const struct al_judge j = {.sensitivity = c->sensitivity,
                               .min_change = c->min_change,
                               .memory_ms = (uint64_t)c->memory,
                               .up = c->side != AL_DOWN,
                               .down = c->side != AL_UP};
    struct al_baseline *b = baseline_of(r, f->labels, budget);
    enum al_verdict v;
    double usual;

    if (!b)
        return 0;
    v = al_baseline_feed(b, &j, f->value, now_ms, wall_us, &usual, &f->threshold);
    f->beyond = v == AL_UNUSUAL;
    f->clear = v == AL_USUAL;
    return 1;
}

static void judge_threshold(const struct al_rule *r, struct al_finding *f)
{
    f->threshold = r->threshold;
    f->beyond = r->is_below ? f->value < r->threshold : f->value > r->threshold;
    f->clear = r->is_below ? f->value >= r->clear : f->value <= r->clear;
}

static void note_worst(struct al_rule *r, double value)
{
    if (!r->values || (r->is_below ? value < r->worst : value > r->worst))
        r->worst = value;
    r->values++;
}

int32_t al_rule_judge(struct al_rule *r, uint64_t now_ms, int64_t wall_us, struct al_memory *m,
                      struct al_budget *budget, void (*fn)(void *arg, const struct al_finding *f), void *arg)
{
    struct al_vector v;
    int32_t code = al_eval(r->expr, m, &v);

    if (!code && r->conf->type == AL_BURN)
        code = burn_rates(r, m, &v);
    r->values = 0;
    for (uint32_t i = 0; i < v.count && !code; i++) {
        struct al_finding f = {.labels = v.samples[i].labels, .value = v.samples[i].value};

        if (!isfinite(f.value))
            continue;
        note_worst(r, f.value);
        if (r->conf->type != AL_ANOMALY)
            judge_threshold(r, &f);
        else if (!judge_anomaly(r, &f, now_ms, wall_us, budget))
            continue;
        fn(arg, &f);
    }
    return code;
}

/* --- texts -----------------------------------------------------------------------------------------------
 */

/* Puts the value of {…} at out; 0: there is none of that name. */
static int put_in(const struct al_finding *f, const char *name, size_t len, char *out, size_t room)
{
    if (len == 5 && !memcmp(name, "value", 5)) {
        snprintf(out, room, "%.4g", f->value);
    } else if (len == 9 && !memcmp(name, "threshold", 9)) {
        snprintf(out, room, "%.4g", f->threshold);
    } else if (len == 6 && !memcmp(name, "labels", 6)) {
        al_labels_print(f->labels, out, room);
    } else {
        for (uint32_t i = 0; i < f->labels->count; i++)
            if (strlen(f->labels->at[i].name) == len && !memcmp(f->labels->at[i].name, name, len)) {
                snprintf(out, room, "%s", f->labels->at[i].value);
                return 1;
            }
        return 0;
    }
    return 1;
}

/* Without a summary of its own. */
static const char *usual_summary(const struct al_rule *r)
{
    if (r->conf->type == AL_BURN)
        return "the error budget burns {value} times as fast as it may";
    if (r->conf->type == AL_ANOMALY)
        return "{value} is unusual, the bound is {threshold}";
    return r->is_below ? "{value} is below {threshold}" : "{value} is above {threshold}";
}

void al_rule_summary(const struct al_rule *r, const struct al_finding *f, char *out, size_t room)
{
    const char *at = r->conf->summary.len ? r->conf->summary.ptr : usual_summary(r);
    size_t len = 0;

    out[0] = '\0';
    while (*at && len + 1 < room) {
        const char *end = *at == '{' ? strchr(at, '}') : NULL;

        if (end && put_in(f, at + 1, (size_t)(end - at - 1), out + len, room - len)) {
            len += strlen(out + len);
            at = end + 1;
            continue;
        }
        out[len++] = *at++;
        out[len] = '\0';
    }
}
