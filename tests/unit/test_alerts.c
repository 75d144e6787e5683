/*
 * The engine of the plugin alerts, with readings, clocks and hooks of the test: hours pass in milliseconds.
 */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alerts/engine.h"
#include "check/conf.h"

extern const struct hd_plugin howdah_plugin;

#define MINUTE 60000u
#define HOUR   3600000u
#define DAY    86400000u
#define START  (400ull * DAY)
#define WALL   1768780800000000ll /* a Monday, 00:00 UTC */

/* --- a world ---------------------------------------------------------------------------------------------
 */

enum { SERIES = 60 };

struct series {
    const char *name;
    char value[16]; /* of its label; "": it has none */
    const char *label;
    double number;
    uint32_t type;
    struct hd_metric_bins *bins;
    int gone;
};

struct world {
    struct al_engine e;
    struct check_conf conf;
    struct series series[SERIES];
    uint32_t count;
    uint64_t ms; /* since START */
    int64_t wall_jump_us;
    /* What was told. */
    uint32_t messages, repeats, raised, cleared, last_firing, last_resolved;
    uint32_t last_open;
    char last_group[256], last_summary[256], last_sinks[64];
};

static int32_t read_series(void *arg, const char *name, int with_bins,
                           void (*fn)(void *fn_arg, const struct al_reading *r), void *fn_arg)
{
    struct world *w = arg;

    (void)with_bins;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct series *s = &w->series[i];
        const struct hd_label label = {s->label, s->value};
        const struct al_reading r = {.type = s->type,
                                     .label_count = s->value[0] != 0,
                                     .labels = &label,
                                     .number = s->number,
                                     .unit = s->bins ? 1e-9 : 1,
                                     .bins = s->bins};

        if (!s->gone && strcmp(s->name, name) == 0)
            fn(fn_arg, &r);
    }
    return HD_OK;
}

static void on_change(void *arg, const struct al_alert *a)
{
    struct world *w = arg;

    w->raised += a->state == AL_FIRING;
    w->cleared += a->state == AL_RESOLVED;
}

static void on_message(void *arg, const struct al_group *g, struct al_alert *const *alerts, uint32_t count,
                       int repeat)
{
    struct world *w = arg;

    w->messages++;
    w->repeats += (uint32_t)repeat;
    w->last_firing = w->last_resolved = 0;
    for (uint32_t i = 0; i < count; i++) {
        w->last_firing += alerts[i]->state == AL_FIRING;
        w->last_resolved += alerts[i]->state == AL_RESOLVED;
    }
    w->last_open = g->open;
    snprintf(w->last_group, sizeof(w->last_group), "%s", g->title);
    snprintf(w->last_sinks, sizeof(w->last_sinks), "%s", g->sinks);
    snprintf(w->last_summary, sizeof(w->last_summary), "%s", count ? alerts[0]->summary : "");
}

static struct hd_str sink_names[] = {{"log", 3}, {"webhook", 7}};
static const struct hd_str_list sinks = {sink_names, 2};

static void read_conf(struct check_conf *c, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;

    if (check_conf_read(c, &howdah_plugin, ini, &err) || al_rules_check(&c->conf, &sinks, &err))
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(err.code, HD_OK);
}

static void begin(struct world *w, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;

    memset(w, 0, sizeof(*w));
    read_conf(&w->conf, ini);
    CU_ASSERT_EQUAL_FATAL(al_engine_init(&w->e), HD_OK);
    w->e.source = (struct al_source){read_series, w};
    w->e.hooks = (struct al_hooks){on_change, on_message, w};
    w->e.policy = (struct al_policy){.group_wait = 10000,
                                     .group_interval = 5 * MINUTE,
                                     .flap_window = HOUR,
                                     .flap_hold = 10 * MINUTE,
                                     .absent_for = DAY,
                                     .max_alerts = 1000,
                                     .max_silences = 200};
    w->e.budget.max_series = 1000;
    w->e.budget.max_baselines = 64;
    CU_ASSERT_EQUAL_FATAL(al_engine_rules(&w->e, &w->conf.conf, &err), HD_OK);
}

static void end(struct world *w)
{
    al_engine_free(&w->e);
    check_conf_free(&w->conf);
    for (uint32_t i = 0; i < w->count; i++)
        free(w->series[i].bins);
}

static struct series *add(struct world *w, uint32_t type, const char *name, const char *label,
                          const char *value)
{
    struct series *s = &w->series[w->count++];

    *s = (struct series){.name = name, .label = label, .type = type};
    snprintf(s->value, sizeof(s->value), "%s", value);
    if (type == HD_METRIC_SKETCH)
        s->bins = calloc(1, sizeof(*s->bins));
    return s;
}

static struct series *gauge(struct world *w, const char *name)
{
    return add(w, HD_METRIC_GAUGE, name, NULL, "");
}

static void record(struct series *s, double seconds, uint64_t times)
{
    double ns = seconds * 1e9;

    s->bins->bin[(size_t)ceil(log(ns) * 49.998333288886556)] += times;
    s->bins->count += times;
    s->bins->sum += (uint64_t)ns * times;
}

static void step(struct world *w, uint64_t ms)
{
    w->ms += ms;
    al_engine_tick(&w->e, START + w->ms, WALL + (int64_t)w->ms * 1000 + w->wall_jump_us);
}

static void run(struct world *w, uint64_t for_ms, uint64_t each_ms)
{
    for (uint64_t t = 0; t < for_ms; t += each_ms)
        step(w, each_ms);
}

static enum al_state state(const struct world *w)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->e.alerts);
    return w->e.alerts->state;
}

/* --- expressions -----------------------------------------------------------------------------------------
 */

static const char *problem_of(const char *text)
{
    static struct hd_error err;
    struct al_node *n = NULL;

    err = (struct hd_error)HD_ERROR_INIT;
    if (al_expr_parse(text, &n, &err) == HD_OK)
        al_expr_free(n);
    return err.text;
}

static void test_parser(void)
{
    static const char *const good[] = {"1",
                                       "a_total",
                                       "-a * (b + 2) / 3 - 4",
                                       "rate(a_total{x=\"1\", y!=\"b*\"}[5m])",
                                       "sum by (node, db) (rate(a[1h]))",
                                       "sum(a) / count(b)",
                                       "quantile(0.95, s_seconds[1m])",
                                       "1 - below(50ms, s_seconds)",
                                       "90% * max by(x)(a{})",
                                       "rate + sum - by"};
    static const char *const bad[][2] = {
        {"", "the end"},
        {"a +", "the end"},
        {"(a", ") is expected"},
        {"a b", "nothing more"},
        {"a{x}", "= or != is expected"},
        {"a{x=\"1}", "\" is missing"},
        {"a{x=\"1\"", "} is expected"},
        {"a[5m]", "a window"},
        {"rate(a[5x])", "a unit"},
        {"rate(a[0s])", "100 ms"},
        {"rate(a + b)", ") is expected"},
        {"quantile(2, a)", "0 to 1"},
        {"quantile(a)", "a number"},
        {"sum by a (b)", "( is expected"},
        {"0x10", "a number"},
        {"a{a=\"1\",b=\"1\",c=\"1\",d=\"1\",e=\"1\",f=\"1\",g=\"1\",h=\"1\",i=\"1\"}", "too many"}};
    char deep[400];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CU_ASSERT_STRING_EQUAL(problem_of(good[i]), "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (!strstr(problem_of(bad[i][0]), bad[i][1]))
            printf("# %s: %s\n", bad[i][0], problem_of(bad[i][0]));
        CU_ASSERT_PTR_NOT_NULL(strstr(problem_of(bad[i][0]), bad[i][1]));
    }
    memset(deep, '(', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    CU_ASSERT_PTR_NOT_NULL(strstr(problem_of(deep), "too deeply"));
    memset(deep, '-', sizeof(deep) - 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem_of(deep), "too deeply"));
    for (size_t i = 0; i + 1 < sizeof(deep); i++)
        deep[i] = i % 2 ? '+' : '1';
    CU_ASSERT_PTR_NOT_NULL(strstr(problem_of(deep), "too long"));
}

/* The value of one expression without labels after two readings a minute apart. */
static double value_of(const char *expr, double before, double after)
{
    char ini[400];
    struct world w;
    struct series *s;
    double value;

    snprintf(ini, sizeof(ini), "[plugin alerts]\n[alert a]\nexpr = %s\nabove = 1e9\n", expr);
    begin(&w, ini);
    s = add(&w, HD_METRIC_COUNTER, "c_total", NULL, "");
    s->number = before;
    step(&w, MINUTE);
    s->number = after;
    step(&w, MINUTE);
    value = w.e.rules[0].values ? w.e.rules[0].worst : NAN;
    end(&w);
    return value;
}

static void test_values(void)
{
    CU_ASSERT_DOUBLE_EQUAL(value_of("c_total", 5, 65), 65, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("rate(c_total[5m])", 5, 65), 1, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("increase(c_total[5m])", 5, 65), 60, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("slope(c_total[5m])", 65, 5), -1, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("increase(c_total[5m])", 65, 5), 5, 1e-9); /* it began anew */
    CU_ASSERT_DOUBLE_EQUAL(value_of("10 - 2 * (c_total + 1) / 4", 0, 3), 8, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("-c_total", 0, 3), -3, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("50% + 100ms + 2m", 0, 0), 120.6, 1e-9);
    CU_ASSERT(isnan(value_of("c_total / 0", 1, 1)));
    CU_ASSERT(isnan(value_of("nothing_total", 1, 1)));
    CU_ASSERT_DOUBLE_EQUAL(value_of("(nothing_total or 0) + 2", 1, 1), 2, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(value_of("c_total or 0", 1, 3), 3, 1e-9);
}

static const struct al_sample *sample(const struct al_vector *v, const char *label, const char *value)
{
    for (uint32_t i = 0; i < v->count; i++) {
        const char *found = al_labels_get(v->samples[i].labels, label);

        if (found && strcmp(found, value) == 0)
            return &v->samples[i];
    }
    return NULL;
}

static void test_labels(void)
{
    struct world w;
    struct al_vector v;
    const struct al_node *n;

    begin(&w, "[plugin alerts]\n"
              "[alert a]\nexpr = used{node!=\"c*\"} / size\nabove = 0.9\nfor = 0s\n"
              "[alert b]\nexpr = sum(used) + 0 * max(size)\nabove = 1e9\n"
              "[alert c]\nexpr = avg by (node) (used) - used\nabove = 1e9\n");
    add(&w, HD_METRIC_GAUGE, "used", "node", "a")->number = 95;
    add(&w, HD_METRIC_GAUGE, "used", "node", "b")->number = 50;
    add(&w, HD_METRIC_GAUGE, "used", "node", "c1")->number = 99;
    add(&w, HD_METRIC_GAUGE, "size", "node", "a")->number = 100;
    add(&w, HD_METRIC_GAUGE, "size", "node", "b")->number = 100;
    add(&w, HD_METRIC_GAUGE, "size", "node", "d")->number = 100;
    step(&w, MINUTE);
    n = w.e.rules[0].expr;
    CU_ASSERT_EQUAL(al_eval(n, w.e.memory, &v), HD_OK);
    CU_ASSERT_EQUAL(v.count, 2);
    CU_ASSERT_DOUBLE_EQUAL(sample(&v, "node", "b")->value, 0.5, 1e-9);
    CU_ASSERT_EQUAL(w.e.alert_count, 1);
    CU_ASSERT_STRING_EQUAL(al_labels_get(w.e.alerts->labels, "node"), "a");
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[1].worst, 244, 1e-9);
    CU_ASSERT_EQUAL(w.e.rules[2].values, 3);
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[2].worst, 0, 1e-9);
    end(&w);
}

/* A window's quantile and share are those of what came within it, not of all that was ever seen. */
/* As SHOW METRICS writes them, so that receivers and the state file can take them. */
static void test_label_bytes(void)
{
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xff\xc3", "a\\xff\\xc3"},
        {"\xc0\xaf", "\\xc0\\xaf"},
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
        {"\xf4\x90\x80\x80z", "\\xf4\\x90\\x80\\x80z"},
        {"\xe2\x82", "\\xe2\\x82"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct hd_label given[] = {{"v", cases[i][0]}, {"w", "end"}};
        struct al_labels *l = al_labels_new(given, 2), *again = l ? al_labels_copy(l) : NULL;

        CU_ASSERT_PTR_NOT_NULL_FATAL(again);
        CU_ASSERT_STRING_EQUAL(al_labels_get(l, "v"), cases[i][1]);
        CU_ASSERT_STRING_EQUAL(al_labels_get(l, "w"), "end");
        CU_ASSERT(al_labels_equal(l, again));
        free(l);
        free(again);
    }
}

static void test_windows(void)
{
    struct world w;
    struct series *s;

    begin(&w, "[plugin alerts]\n"
              "[alert p95]\nexpr = quantile(0.95, s_seconds[1m])\nabove = 1e9\n"
              "[alert below]\nexpr = below(50ms, s_seconds[1m])\nabove = 1e9\n"
              "[alert mean]\nexpr = mean(s_seconds[1m])\nabove = 1e9\n");
    s = add(&w, HD_METRIC_SKETCH, "s_seconds", NULL, "");
    record(s, 0.001, 1000000);
    run(&w, 2 * MINUTE, 5000);
    for (int i = 0; i < 24; i++) {
        record(s, 0.010, 90);
        record(s, 0.200, 10);
        step(&w, 5000);
    }
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[0].worst, 0.2, 0.002);
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[1].worst, 0.9, 0.001);
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[2].worst, 0.029, 0.001);
    memset(s->bins, 0, sizeof(*s->bins)); /* made anew */
    record(s, 0.020, 100);
    run(&w, 2 * MINUTE, 5000);
    CU_ASSERT_EQUAL(w.e.rules[0].values, 0);
    record(s, 0.030, 100);
    step(&w, 5000);
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[0].worst, 0.03, 0.0003);
    end(&w);
}

static void test_late_series(void)
{
    struct world w;

    begin(&w, "[plugin alerts]\n[alert a]\nexpr = increase(errors_total[5m])\nabove = 1e9\n");
    add(&w, HD_METRIC_COUNTER, "errors_total", "code", "1")->number = 1000;
    step(&w, 10000);
    CU_ASSERT_EQUAL(w.e.rules[0].values, 0);
    add(&w, HD_METRIC_COUNTER, "errors_total", "code", "2")->number =
        7; /* all of them since the last reading */
    step(&w, 10000);
    CU_ASSERT_EQUAL(w.e.rules[0].values, 2);
    CU_ASSERT_DOUBLE_EQUAL(w.e.rules[0].worst, 7, 1e-9);
    w.series[1].gone = 1;
    step(&w, 10000);
    CU_ASSERT_EQUAL(w.e.rules[0].values, 1);
    CU_ASSERT_EQUAL(w.e.budget.series, 2);
    run(&w, HOUR, MINUTE);
    CU_ASSERT_EQUAL(w.e.budget.series, 1);
    end(&w);
}

/* --- states ----------------------------------------------------------------------------------------------
 */

#define ONE                                                                                                  \
    "[plugin alerts]\n[alert a]\nexpr = g\nabove = 10\nclear = 5\nfor = 1m\nclear_for = 1m\nsummary = g is " \
    "{value}\n"

static void test_states(void)
{
    struct world w;
    struct series *g;

    begin(&w, ONE);
    g = gauge(&w, "g");
    g->number = 10;
    run(&w, 5 * MINUTE, 10000);
    CU_ASSERT_PTR_NULL(w.e.alerts);
    g->number = 11;
    step(&w, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_PENDING);
    g->number = 9;
    step(&w, 10000);
    CU_ASSERT_PTR_NULL(w.e.alerts);
    g->number = 12;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_PENDING);
    step(&w, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    CU_ASSERT_EQUAL(w.raised, 1);
    CU_ASSERT_EQUAL(w.messages, 0); /* group_wait */
    step(&w, 10000);
    CU_ASSERT_EQUAL(w.messages, 1);
    CU_ASSERT_STRING_EQUAL(w.last_summary, "g is 12");
    g->number = 7; /* not above any more, and not clear either */
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    g->number = 5;
    run(&w, 50000, 10000);
    g->number = 6;
    step(&w, 10000);
    g->number = 4;
    run(&w, 60000, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    step(&w, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_RESOLVED);
    CU_ASSERT_EQUAL(w.cleared, 1);
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_EQUAL(w.last_resolved, 1);
    run(&w, 2 * HOUR, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_PTR_NULL(w.e.alerts);
    CU_ASSERT_PTR_NULL(w.e.groups);
    end(&w);
}

/* Without data nothing fires and nothing is over. */
static void test_no_data(void)
{
    struct world w;
    struct series *g;

    begin(&w, ONE);
    run(&w, HOUR, 10000);
    CU_ASSERT_PTR_NULL(w.e.alerts);
    CU_ASSERT_EQUAL(w.e.rules[0].values, 0);
    CU_ASSERT_EQUAL(w.e.rules[0].found, 0);
    g = gauge(&w, "g");
    g->number = 20;
    run(&w, 50000, 10000);
    g->gone = 1;
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_PENDING);
    g->gone = 0;
    run(&w, 50000, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_PENDING); /* the minute began anew */
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    g->gone = 1;
    run(&w, 23 * HOUR, MINUTE);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    CU_ASSERT_EQUAL(w.e.alerts->no_data, 1);
    CU_ASSERT_EQUAL(w.cleared, 0);
    run(&w, 2 * HOUR, MINUTE); /* absent_for */
    CU_ASSERT_EQUAL(w.cleared, 1);
    end(&w);
}

static void test_repeat(void)
{
    struct world w;

    begin(&w, ONE);
    gauge(&w, "g")->number = 20;
    run(&w, 13 * HOUR, MINUTE);
    CU_ASSERT_EQUAL(w.messages, 4); /* at once, and after 4, 8 and 12 hours */
    CU_ASSERT_EQUAL(w.repeats, 3);
    end(&w);
}

/* However an alert flaps, it is told at most twice; and what lasts is told. */
static void test_flaps(void)
{
    static const uint64_t periods[] = {20000, MINUTE, 3 * MINUTE, 5 * MINUTE, 10 * MINUTE, 18 * MINUTE};

    for (size_t p = 0; p < sizeof(periods) / sizeof(periods[0]); p++) {
        struct world w;
        struct series *g;

        begin(&w, "[plugin alerts]\n[alert a]\nexpr = g\nabove = 10\nfor = 0s\nclear_for = 0s\n");
        g = gauge(&w, "g");
        for (int i = 0; i < 1000; i++) {
            g->number = 20;
            run(&w, periods[p] / 2, 10000);
            g->number = 0;
            run(&w, periods[p] / 2, 10000);
        }
        CU_ASSERT(w.messages <= 2);
        CU_ASSERT_EQUAL(w.raised, 1000); /* the bus hears of all of them */
        g->number = 20;
        run(&w, HOUR, 10000);
        CU_ASSERT_EQUAL(w.last_firing, 1);
        CU_ASSERT(w.messages <= 3);
        end(&w);
    }
}

static void test_groups(void)
{
    struct world w;
    char name[16];

    begin(&w, "[plugin alerts]\n[alert down]\nexpr = up\nbelow = 1\nfor = 30s\nclear_for = 0s\n"
              "[alert each]\nexpr = up\nbelow = 1\nfor = 30s\ngroup_by = node\nenabled = no\n");
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        add(&w, HD_METRIC_GAUGE, "up", "node", name);
    }
    run(&w, 5 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.raised, 50);
    CU_ASSERT_EQUAL(w.messages, 1);
    CU_ASSERT_EQUAL(w.last_firing, 50);
    CU_ASSERT_STRING_EQUAL(w.last_group, "down");
    for (int i = 0; i < 10; i++)
        w.series[i].number = 1;
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_EQUAL(w.last_firing, 40);
    CU_ASSERT_EQUAL(w.last_resolved, 10);
    end(&w);

    begin(&w, "[plugin alerts]\n[alert each]\nexpr = up\nbelow = 1\nfor = 0s\ngroup_by = node\n");
    add(&w, HD_METRIC_GAUGE, "up", "node", "a");
    add(&w, HD_METRIC_GAUGE, "up", "node", "b");
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    end(&w);
}

static void test_inhibition(void)
{
    struct world w;
    struct series *up, *lag;

    begin(
        &w,
        "[plugin alerts]\n[alert down]\nexpr = up\nbelow = 1\nfor = 0s\nclear_for = 0s\n"
        "[alert lag]\nexpr = lag\nabove = 5\nfor = 0s\nclear_for = 0s\ninhibited_by = down\nequal = node\n");
    up = add(&w, HD_METRIC_GAUGE, "up", "node", "a");
    lag = add(&w, HD_METRIC_GAUGE, "lag", "node", "a");
    add(&w, HD_METRIC_GAUGE, "lag", "node", "b")->number = 9;
    lag->number = 9;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2); /* down of a, lag of b */
    CU_ASSERT_EQUAL(w.raised, 3);
    CU_ASSERT_EQUAL(w.last_firing, 1);
    up->number = 1;
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 4); /* a is back, and still lags */
    end(&w);
}

static void test_silences(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_str nobody = {NULL, 0};
    struct world w;
    struct series *g;
    char id[17];

    begin(&w, ONE);
    g = gauge(&w, "g");
    step(&w, 1000);
    CU_ASSERT_PTR_NULL(al_silence_add(&w.e, "", "", nobody, START + w.ms + HOUR, WALL, &err));
    CU_ASSERT_PTR_NULL(al_silence_add(&w.e, "rule", "", nobody, START + w.ms + HOUR, WALL, &err));
    CU_ASSERT_PTR_NOT_NULL_FATAL(
        al_silence_add(&w.e, "rule=b*", "", nobody, START + w.ms + HOUR, WALL, &err));
    snprintf(id, sizeof(id), "%s",
             al_silence_add(&w.e, "rule=a*", "work", nobody, START + w.ms + HOUR, WALL, &err));
    g->number = 20;
    run(&w, 30 * MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    CU_ASSERT_EQUAL(w.e.alerts->mute, AL_SILENCED);
    CU_ASSERT_EQUAL(w.messages, 0);
    run(&w, 31 * MINUTE, 10000); /* it is over, and the alert is not */
    CU_ASSERT_EQUAL(w.messages, 1);
    CU_ASSERT_EQUAL(w.e.silence_count, 0);
    /* The end of what was told is told in any case. */
    snprintf(id, sizeof(id), "%s",
             al_silence_add(&w.e, "rule=a", "", nobody, START + w.ms + HOUR, WALL, &err));
    g->number = 0;
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_EQUAL(al_silence_end(&w.e, id), HD_OK);
    CU_ASSERT_EQUAL(al_silence_end(&w.e, id), HD_ENOENT);
    for (int i = 0; i < 200; i++)
        CU_ASSERT_PTR_NOT_NULL(al_silence_add(&w.e, "rule=x", "", nobody, START + w.ms + HOUR, i, &err));
    CU_ASSERT_PTR_NULL(al_silence_add(&w.e, "rule=x", "", nobody, START + w.ms + HOUR, WALL, &err));
    CU_ASSERT_EQUAL(err.code, HD_EFULL);
    end(&w);
}

/* How matchers are written again; "! " and the error where they cannot be read. */
static const char *rewritten(const char *text, int word)
{
    static char out[AL_MATCHERS_TEXT + 4];
    struct hd_error err = HD_ERROR_INIT;
    struct al_matchers *m = al_matchers_new();

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    if (al_matchers_add(m, text, word, &err) || al_matchers_check(m, &err))
        snprintf(out, sizeof(out), "! %.900s", err.text);
    else
        CU_ASSERT_EQUAL(al_matchers_print(m, out), HD_OK);
    al_matchers_free(m);
    return out;
}

static void test_matchers_written(void)
{
    static const char *const texts[][2] = {
        {"rule=bu*", "rule=bu*"},
        {"  rule=a   node=b ", "rule=a node=b"},
        {"a=\"b c\"", "a=\"b c\""},
        {"a=\"bc\"", "a=bc"},
        {"a=\"b*\"", "a=\"b*\""},
        {"a=\"x\",b=~\"y|z\",c!=d", "a=x b=~\"y|z\" c!=d"},
        {"a=b=c", "a=b=c"},
        {"a=\"\\\"\\\\\\n.\\d\"", "a=\"\\\"\\\\\\n.\\\\d\""},
        {"a=\"\" b=c", "a=\"\" b=c"},
        {"a=\"~x\"", "a=\"~x\""},
        {"a!~\"x.*\" b!=\"\"", "a!~\"x.*\" b!=\"\""},
        {"", "! what is to be silenced: rule=NAME or LABEL=VALUE"},
        {"rule", "! matcher 1: =, !=, =~ or !~ is missing behind \"rule\""},
        {"a=b c!d", "! matcher 2: =, !=, =~ or !~ is missing behind \"c\""},
        {"a=b =c", "! matcher 2: a label's name, or rule, is missing before \"=c\""},
        {"a= b=c", "! matcher 1: the value of \"a\" is missing; the empty one is \"\""},
        {"a=\"b c=d", "! matcher 1: the closing \" is missing behind \"b c=d"},
        {"a=\"b\\\"", "! matcher 1: the closing \" is missing behind \"b\\\""},
        {"a=\"b\"c=d", "! matcher 1: \"c=d\" stands behind the closing \""},
        {"a=\"b\",", "! matcher 1: \",\" stands behind the closing \""},
        {"a=~\"(\"", "! matcher 1: the expression \"(\" is none: Unmatched ( or \\("},
        {"a=~\"\\d\"", "! matcher 1: the expression \"\\d\" is none: of \\ and a letter or digit it knows "
                       "\\w, \\W, \\s and \\S alone"},
        {"a=~\"(b)\\1\"",
         "! matcher 1: the expression \"(b)\\1\" is none: of \\ and a letter or digit it knows "
         "\\w, \\W, \\s and \\S alone"},
        {"a=~\"((x{100}){10}){2}\"",
         "! matcher 1: the expression \"((x{100}){10}){2}\" is none: it repeats too much"},
        {"a=~\"x{1,99999999999999999999}\"",
         "! matcher 1: the expression \"x{1,99999999999999999999}\" is none: it repeats too much"},
        {"a!=b", "! that holds for alerts without such labels, too: ask for a rule or a label besides"},
        {"a=~\".*\"", "! that holds for alerts without such labels, too: ask for a rule or a label besides"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        CU_ASSERT_STRING_EQUAL(rewritten(texts[i][0], 0), texts[i][1]);
    /* Words of their own may have blanks in a value without quotes. */
    CU_ASSERT_STRING_EQUAL(rewritten("a=b c", 1), "a=\"b c\"");
    CU_ASSERT_STRING_EQUAL(rewritten("a=b (c)* d.", 1), "a=~\"b \\\\(c\\\\).* d\\\\.\"");
    CU_ASSERT_STRING_EQUAL(rewritten("a=\"b c\"", 1), "a=\"b c\"");
}

static int meet(const char *matchers, const char *rule, const char *name, const char *value)
{
    const struct hd_label label = {name, value};
    struct al_labels *labels = al_labels_new(&label, 1);
    struct al_matchers *m = al_matchers_new();
    struct hd_error err = HD_ERROR_INIT;
    int met;

    CU_ASSERT_EQUAL(al_matchers_add(m, matchers, 0, &err), HD_OK);
    met = al_matchers_meet(m, rule, labels);
    al_matchers_free(m);
    free(labels);
    return met;
}

static void test_matchers_met(void)
{
    CU_ASSERT(meet("rule=r node=\"a b\"", "r", "node", "a b"));
    CU_ASSERT(!meet("rule=s node=\"a b\"", "r", "node", "a b"));
    CU_ASSERT(meet("node=a*", "r", "node", "a b"));
    CU_ASSERT(!meet("node=\"a*\"", "r", "node", "a b"));
    CU_ASSERT(meet("node=\"a*\"", "r", "node", "a*"));
    CU_ASSERT(meet("node=~\"a|b\"", "r", "node", "b"));
    CU_ASSERT(!meet("node=~\"a|b\"", "r", "node", "ab")); /* the whole value */
    CU_ASSERT(meet("node=~\"db[0-9]{2}\"", "r", "node", "db12"));
    CU_ASSERT(meet("node=~\"a.b\"", "r", "node", "a\nb"));
    CU_ASSERT(meet("node!=x", "r", "node", "y"));
    CU_ASSERT(!meet("node!=x", "r", "node", "x"));
    CU_ASSERT(!meet("node!~\"x.*\"", "r", "node", "xy"));
    /* A label that is not there is as an empty one; a pattern asks for one. */
    CU_ASSERT(meet("other=\"\"", "r", "node", "x"));
    CU_ASSERT(meet("other!=x", "r", "node", "x"));
    CU_ASSERT(!meet("other!=\"\"", "r", "node", "x"));
    CU_ASSERT(!meet("other=*", "r", "node", "x"));
    CU_ASSERT(meet("rule=*", "r", "node", "x"));
}

static void test_wall_clock_jumps(void)
{
    struct world w;
    struct series *g;

    begin(&w, ONE);
    g = gauge(&w, "g");
    run(&w, MINUTE, 10000);
    w.wall_jump_us = 86400000000ll * 3;
    g->number = 20;
    run(&w, 50000, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_PENDING);
    w.wall_jump_us = -86400000000ll * 3;
    run(&w, 40000, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    CU_ASSERT_EQUAL(w.messages, 1);
    w.wall_jump_us = 86400000000ll * 300;
    run(&w, HOUR, 10000);
    CU_ASSERT_EQUAL(w.messages, 1);
    end(&w);
}

static void test_bounds(void)
{
    struct world w;
    char name[16];

    begin(&w, "[plugin alerts]\n[alert a]\nexpr = rate(c_total[1m])\nabove = 1\nfor = 0s\n");
    w.e.policy.max_alerts = 5;
    w.e.budget.max_series = 20;
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        add(&w, HD_METRIC_COUNTER, "c_total", "node", name);
    }
    step(&w, 1000);
    for (uint32_t i = 0; i < w.count; i++)
        w.series[i].number = 1000;
    step(&w, 1000);
    CU_ASSERT_EQUAL(w.e.budget.series, 20);
    CU_ASSERT_EQUAL(w.e.budget.refused, 40);
    CU_ASSERT_EQUAL(w.e.alert_count, 5);
    CU_ASSERT_EQUAL(w.e.refused, 15);
    end(&w);
}

/* --- reload ----------------------------------------------------------------------------------------------
 */

static void reload(struct world *w, struct check_conf *c, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;

    read_conf(c, ini);
    CU_ASSERT_EQUAL_FATAL(al_engine_rules(&w->e, &c->conf, &err), HD_OK);
    check_conf_free(&w->conf);
    w->conf = *c;
}

static void test_reload(void)
{
    struct check_conf c;
    struct world w;

    begin(&w, "[plugin alerts]\n[alert a]\nexpr = increase(c_total[10m])\nabove = 10\nfor = 0s\n");
    add(&w, HD_METRIC_COUNTER, "c_total", NULL, "");
    step(&w, 10000);
    w.series[0].number = 100;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    CU_ASSERT_EQUAL(w.messages, 1);
    /* Another rule beside it, another threshold: the window goes on, and so does the alert. */
    reload(&w, &c,
           "[plugin alerts]\n[alert b]\nexpr = g\nabove = 1\n"
           "[alert a]\nexpr = increase(c_total[10m])\nabove = 50\nfor = 0s\n");
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_FIRING);
    CU_ASSERT_DOUBLE_EQUAL(w.e.alerts->value, 100, 1e-6);
    CU_ASSERT_EQUAL(w.messages, 1);
    /* Without its rule an alert is over. */
    reload(&w, &c, "[plugin alerts]\n[alert b]\nexpr = g\nabove = 1\n");
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.cleared, 1);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_EQUAL(w.last_resolved, 1);
    CU_ASSERT_EQUAL(w.e.budget.series, 0);
    end(&w);
}

/* Whom the next one is told to is what the rule says then; an end goes where its beginning went. */
static void test_reload_sinks(void)
{
    static const char *const rule[] = {
        "[plugin alerts]\n[alert a]\nexpr = g\nabove = 1\nfor = 0s\nclear_for = 0s\nsinks = log\n",
        "[plugin alerts]\n[alert a]\nexpr = g\nabove = 1\nfor = 0s\nclear_for = 0s\nsinks = webhook\n"};
    struct check_conf c;
    struct world w;

    begin(&w, rule[0]);
    gauge(&w, "g")->number = 2;
    run(&w, MINUTE, 10000);
    CU_ASSERT_STRING_EQUAL(w.last_sinks, "log");
    reload(&w, &c, rule[1]);
    w.series[0].number = 0;
    run(&w, 10 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_STRING_EQUAL(w.last_sinks, "log");
    w.series[0].number = 2;
    run(&w, 20 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 3);
    CU_ASSERT_STRING_EQUAL(w.last_sinks, "webhook");
    end(&w);
}

/* What fires silently, or is about to fire again, keeps an incident open until its own end. */
static void test_open(void)
{
    struct world w;

    begin(&w, "[plugin alerts]\n[alert a]\nexpr = g\nabove = 1\nfor = 0s\nclear_for = 0s\n");
    w.e.policy.group_interval = 0;
    add(&w, HD_METRIC_GAUGE, "g", "n", "x")->number = 2;
    add(&w, HD_METRIC_GAUGE, "g", "n", "y")->number = 2;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.last_open, 2);
    al_silence_add(&w.e, "n=x", "", (struct hd_str){"", 0}, START + w.ms + HOUR, 0, NULL);
    w.series[1].number = 0;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_EQUAL(w.last_firing, 0);
    CU_ASSERT_EQUAL(w.last_resolved, 1);
    CU_ASSERT_EQUAL(w.last_open, 1);
    w.series[0].number = 0;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 3);
    CU_ASSERT_EQUAL(w.last_open, 0);
    end(&w);
}

/* An end that waits for its turn is told, though the metric goes while the alert is pending again. */
static void test_end_of_gone(void)
{
    struct world w;

    begin(&w, "[plugin alerts]\n[alert a]\nexpr = g\nabove = 1\nfor = 1m\nclear_for = 0s\n");
    w.e.policy.group_interval = 20 * MINUTE;
    gauge(&w, "g")->number = 2;
    run(&w, 2 * MINUTE, 10000);
    CU_ASSERT_EQUAL(w.messages, 1);
    w.series[0].number = 0;
    run(&w, MINUTE, 10000);
    CU_ASSERT_EQUAL(w.cleared, 1);
    w.series[0].number = 2;
    step(&w, 10000);
    CU_ASSERT_EQUAL(state(&w), AL_PENDING);
    w.series[0].gone = 1;
    run(&w, 2 * HOUR, MINUTE);
    CU_ASSERT_EQUAL(w.messages, 2);
    CU_ASSERT_EQUAL(w.last_resolved, 1);
    CU_ASSERT_EQUAL(w.e.alert_count, 0);
    end(&w);
}

static const char *refused(const char *rule)
{
    static struct hd_error err;
    struct check_conf c;
    char ini[1000];

    err = (struct hd_error)HD_ERROR_INIT;
    snprintf(ini, sizeof(ini), "[plugin alerts]\n[alert a]\n%s", rule);
    if (!check_conf_read(&c, &howdah_plugin, ini, &err))
        al_rules_check(&c.conf, &sinks, &err);
    check_conf_free(&c);
    return err.text;
}

static void test_checks(void)
{
    static const char *const all[][2] = {
        {"above = 1\n", "expr is missing"},
        {"expr = g\n", "either above or below"},
        {"expr = g\nabove = 1\nbelow = 2\n", "either above or below"},
        {"expr = g\nabove = x\n", "is no number"},
        {"expr = g\nabove = 1\nclear = 2\n", "wrong side"},
        {"expr = g\nbelow = 1\nclear = 0\n", "wrong side"},
        {"expr = g +\nabove = 1\n", "the end"},
        {"expr = g\ntype = anomaly\nseverity = page\n", "never pages"},
        {"expr = g\ntype = burn\nlong_window = 1m\n", "longer than window"},
        {"expr = g\ntype = burn\nabove = 1\n", "are for type = threshold"},
        {"expr = g\nabove = 1\ninhibited_by = b\n", "there is no [alert b]"},
        {"expr = g\nabove = 1\nsinks = log, webook:team\n", "\"webook:team\" is none of the sinks"},
        {"expr = g\nabove = 1\ninhibited_by = a\n", "[alert a]: inhibited_by leads back to it"},
        {"expr = g\nabove = 1\ninhibited_by = b\n[alert b]\nexpr = g\nabove = 1\ninhibited_by = c\n"
         "[alert c]\nexpr = g\nabove = 1\ninhibited_by = b, a\n",
         "[alert a]: inhibited_by leads back to it"},
        {"expr = g > 1\nabove = 1\n", "an expression does not: at \"> 1\""},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!strstr(refused(all[i][0]), all[i][1]))
            printf("# %s: %s\n", all[i][0], refused(all[i][0]));
        CU_ASSERT_PTR_NOT_NULL(strstr(refused(all[i][0]), all[i][1]));
    }
    CU_ASSERT_STRING_EQUAL(refused("expr = g\nabove = 1\n"), "");
    CU_ASSERT_STRING_EQUAL(refused("expr = g\nabove = 1\nsinks = log, webhook:team\n"), "");
    CU_ASSERT_STRING_EQUAL(
        refused("expr = g\nabove = 1\ninhibited_by = b, c\n[alert b]\nexpr = g\nabove = 1\n"
                "inhibited_by = c\n[alert c]\nexpr = g\nabove = 1\n"),
        "");
}

/* --- burn rates ------------------------------------------------------------------------------------------
 */

/* 1 % may be slow. A short burst burns the short window alone; what lasts burns both. */
static void test_burn(void)
{
    struct world w;
    struct series *s;

    begin(&w, "[plugin alerts]\n[alert slo]\ntype = burn\nexpr = 1 - below(50ms, s_seconds)\nobjective = 99\n"
              "window = 5m\nlong_window = 1h\nburn = 14.4\nfor = 0s\nclear_for = 2m\nseverity = page\n");
    s = add(&w, HD_METRIC_SKETCH, "s_seconds", NULL, "");
    for (int i = 0; i < 360; i++) {
        record(s, 0.005, 1000);
        step(&w, 10000);
    }
    CU_ASSERT_EQUAL(w.raised, 0);
    for (int i = 0; i < 12;
         i++) { /* two minutes in which half is slow: 50 times the budget for five minutes */
        record(s, 0.005, 500);
        record(s, 0.500, 500);
        step(&w, 10000);
    }
    CU_ASSERT_EQUAL(w.raised, 0);
    for (int i = 0; i < 120 && !w.raised; i++) {
        record(s, 0.005, 500);
        record(s, 0.500, 500);
        step(&w, 10000);
    }
    CU_ASSERT_EQUAL(w.raised, 1); /* an hour's share is above 14.4 % after 17 minutes and before 22 */
    for (int i = 0; i < 60; i++) {
        record(s, 0.005, 1000);
        step(&w, 10000);
    }
    CU_ASSERT_EQUAL(w.cleared, 1); /* the short window is good again */
    end(&w);
}

/* --- anomalies -------------------------------------------------------------------------------------------
 */

static uint64_t seed;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / (double)(1ull << 53);
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

/* A day with a quiet night and a busy afternoon, a quieter weekend, and noise. */
static double seasonal(uint64_t ms, double noise)
{
    double day = (double)(ms % DAY) / DAY;
    double weekend = ms / DAY % 7 >= 5 ? 0.6 : 1;

    return 1000 * weekend * (1 - 0.6 * cos(2 * M_PI * (day - 0.1))) * exp(noise * normal());
}

struct found {
    int injected, detected, false_alarms;
};

/* Runs `hours` of data; a doubling of ten minutes every three hours from the sixth on, after `quiet` hours.
 */
static struct found seek(uint64_t quiet, uint64_t hours, double noise, uint64_t each_ms, int doublings)
{
    struct found f = {0};
    struct world w;
    struct series *g;
    uint64_t begun = 0;
    uint32_t raised = 0;

    begin(&w, "[plugin alerts]\n[alert odd]\ntype = anomaly\nexpr = g\n");
    g = gauge(&w, "g");
    while (w.ms < hours * HOUR) {
        uint64_t in = w.ms % (3 * HOUR);
        int doubled = doublings && w.ms >= quiet * HOUR && in >= HOUR && in < HOUR + 10 * MINUTE;

        if (doubled && !begun) {
            begun = w.ms;
            f.injected++;
            raised = w.raised;
        }
        if (!doubled && begun && in > HOUR + 20 * MINUTE)
            begun = 0;
        g->number = seasonal(w.ms, noise) * (doubled ? 2 : 1);
        step(&w, each_ms);
        if (begun && w.raised > raised && w.ms - begun <= 3 * MINUTE) {
            f.detected++;
            raised = UINT32_MAX;
        }
        if (begun && w.raised > raised && raised != UINT32_MAX)
            raised = UINT32_MAX; /* found too late */
    }
    f.false_alarms = (int)w.raised - f.detected;
    end(&w);
    return f;
}

static void test_anomaly(void)
{
    static const uint64_t intervals[] = {10000, 15000, 30000, 60000};
    static const double noises[] = {0.02, 0.05, 0.1};
    struct found all = {0};

    for (seed = 1; seed < 4; seed++)
        for (size_t i = 0; i < 4; i++)
            for (size_t n = 0; n < 3; n++) {
                struct found f = seek(0, 72, noises[n], intervals[i], 0);

                if (f.false_alarms > 1)
                    printf("# %d false alarms at noise %g every %d ms\n", f.false_alarms, noises[n],
                           (int)intervals[i]);
                CU_ASSERT(f.false_alarms <= 1);
                f = seek(6, 72, noises[n], intervals[i], 1);
                if (f.detected < 0.95 * f.injected || f.false_alarms > 1)
                    printf("# %d of %d found, %d false at noise %g every %d ms\n", f.detected, f.injected,
                           f.false_alarms, noises[n], (int)intervals[i]);
                CU_ASSERT(f.injected >= 20);
                CU_ASSERT(f.detected >= 0.95 * f.injected);
                CU_ASSERT(f.false_alarms <= 1);
                all.injected += f.injected;
                all.detected += f.detected;
                all.false_alarms += f.false_alarms;
            }
    printf("# doublings: %d of %d found, %d false alarms in %d series of 72 hours\n", all.detected,
           all.injected, all.false_alarms, 36);
}

/* After two weeks the same hour of past weeks is known: a step every Monday at nine is usual. */
static void test_past_weeks(void)
{
    struct world w;
    struct series *g;
    uint32_t raised_before = 0;

    seed = 7;
    begin(&w, "[plugin alerts]\n[alert odd]\ntype = anomaly\nexpr = g\n");
    g = gauge(&w, "g");
    while (w.ms < 21 * (uint64_t)DAY) {
        uint64_t in_week = w.ms % (7 * (uint64_t)DAY);
        int batch = in_week >= 9 * HOUR && in_week < 10 * HOUR;

        g->number = (batch ? 5000 : 1000) * exp(0.05 * normal());
        step(&w, 30000);
        if (w.ms == 14 * (uint64_t)DAY + 8 * HOUR)
            raised_before = w.raised;
    }
    CU_ASSERT(raised_before >= 2);            /* of the first weeks it was not known */
    CU_ASSERT_EQUAL(w.raised, raised_before); /* the third time it was */
    while (w.ms % (7 * (uint64_t)DAY) < 9 * HOUR + 30 * MINUTE) {
        g->number = 1000;
        step(&w, 30000);
    }
    CU_ASSERT_EQUAL(w.raised, raised_before + 1); /* and now it is missed */
    end(&w);
}

UNIT_MAIN("alerts", {"expressions", test_parser}, {"values", test_values}, {"labels", test_labels},
          {"windows", test_windows}, {"series that come later", test_late_series}, {"states", test_states},
          {"no data", test_no_data}, {"repeat", test_repeat}, {"flaps", test_flaps}, {"groups", test_groups},
          {"inhibition", test_inhibition}, {"silences", test_silences},
          {"matchers are written as they are read", test_matchers_written},
          {"what matchers ask for", test_matchers_met}, {"wall clock jumps", test_wall_clock_jumps},
          {"bounds", test_bounds}, {"reload", test_reload}, {"other sinks", test_reload_sinks},
          {"open incidents", test_open}, {"an end of what is gone", test_end_of_gone},
          {"labels that are no UTF-8", test_label_bytes}, {"checks", test_checks}, {"burn rates", test_burn},
          {"anomalies", test_anomaly}, {"past weeks", test_past_weeks})
