/*
 * Expressions of alert rules, parsed: arithmetic on metrics, by name and labels.
 *
 *     howdah_clients / 1000
 *     sum by (node) (rate(howdah_statements_total{database!="test*"}[5m]))
 *     quantile(0.95, howdah_statement_seconds[1m])
 *
 *     sum(rate(howdah_statement_errors_total{class="53"}[5m])) or 0
 *
 * A metric stands for all its series that meet the conditions, so an expression has a value for each set of
 * labels. Numbers may have a unit: ms, s, m, h, d are seconds, % is a hundredth.
 */
#ifndef ALERTS_EXPR_H
#define ALERTS_EXPR_H

#include <howdah/howdah.h>

#define AL_MATCHERS_MAX 8
#define AL_BY_MAX       8
#define AL_NAME_MAX     128

enum al_op {
    AL_NUMBER,
    AL_METRIC,
    AL_NEGATE,
    AL_ADD,
    AL_SUBTRACT,
    AL_MULTIPLY,
    AL_DIVIDE,
    AL_OR,
    AL_AGGREGATE
};

/* What is made of a metric's series; all but the first look at a window of time. */
enum al_window { AL_NOW, AL_RATE, AL_INCREASE, AL_QUANTILE, AL_BELOW, AL_MEAN, AL_SLOPE };

enum al_fold { AL_SUM, AL_MAX, AL_MIN, AL_AVG, AL_COUNT };

/* A condition on a label; * in `value` stands for anything. */
struct al_matcher {
    char *label, *value;
    int negate;
};

struct al_series;

/* A metric with its conditions, and what is made of it. Its series are series.c's. */
struct al_selector {
    char name[AL_NAME_MAX];
    struct al_matcher matchers[AL_MATCHERS_MAX];
    uint32_t matcher_count;
    enum al_window window;
    double argument;   /* of AL_QUANTILE and AL_BELOW */
    uint64_t range_ms; /* 0: the rule's window */
    struct al_series *series;
    uint64_t read_ms; /* when it was last read; 0: never */
    uint32_t found;   /* series that the last reading gave */
};

struct al_node {
    enum al_op op;
    enum al_fold fold;
    double number;
    struct al_node *left, *right;
    struct al_selector *selector;
    char *by[AL_BY_MAX];
    uint32_t by_count;
};

/* Parses an expression. HD_OK, or what is wrong and where. */
int32_t al_expr_parse(const char *text, struct al_node **out, struct hd_error *err);
void al_expr_free(struct al_node *n);
/* Calls fn for each selector. */
void al_expr_each(struct al_node *n, void (*fn)(void *arg, struct al_selector *s), void *arg);

#endif
