/*
 * The parser of expressions; see expr.h. It descends by precedence: or, + and -, * and /, unary -, operands.
 */
#include "alerts/expr.h"

#include <stdlib.h>
#include <string.h>

#include "alerts/labels.h"
#include "alerts/series.h"

#define MAX_DEPTH 24
#define MAX_NODES 100

struct parser {
    const char *text, *at;
    struct hd_error *err;
    int depth, nodes;
    int failed;
};

static struct al_node *expression(struct parser *p);

static void *fail(struct parser *p, const char *what)
{
    if (!p->failed)
        hd_error_set(p->err, HD_EINVAL, "%s at \"%.30s\"", what, *p->at ? p->at : "the end");
    p->failed = 1;
    return NULL;
}

static void skip(struct parser *p)
{
    p->at += strspn(p->at, " \t");
}

static int accept(struct parser *p, char c)
{
    skip(p);
    if (*p->at != c)
        return 0;
    p->at++;
    return 1;
}

static int expect(struct parser *p, char c)
{
    static const char *const wanted[] = {['('] = "( is expected",
                                         [')'] = ") is expected",
                                         [','] = ", is expected",
                                         [']'] = "] is expected",
                                         ['"'] = "\" is expected"};

    if (accept(p, c))
        return 1;
    fail(p, wanted[(unsigned char)c]);
    return 0;
}

static struct al_node *node(struct parser *p, enum al_op op)
{
    struct al_node *n;

    if (++p->nodes > MAX_NODES)
        return fail(p, "the expression is too long");
    n = calloc(1, sizeof(*n));
    if (!n)
        return fail(p, "no memory");
    n->op = op;
    return n;
}

/* Length of a name that begins here; 0: none does. */
static size_t name_length(struct parser *p)
{
    size_t n;

    skip(p);
    n = strspn(p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return *p->at >= '0' && *p->at <= '9' ? 0 : n;
}

/* --- numbers ---------------------------------------------------------------------------------------------
 */

static int read_number(struct parser *p, double *out)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"%", 0.01}};
    char *end;

    skip(p);
    if (!strchr("0123456789.", *p->at) || !*p->at || (p->at[0] == '0' && (p->at[1] | 32) == 'x'))
        return fail(p, "a number is expected"), 0;
    *out = strtod(p->at, &end);
    if (end == p->at)
        return fail(p, "a number is expected"), 0;
    p->at = end;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i].unit);

        if (strncmp(p->at, units[i].unit, n) == 0) {
            p->at += n;
            *out *= units[i].factor;
            break;
        }
    }
    if (name_length(p) && p->at == end)
        return fail(p, "a unit of ms, s, m, h, d or % is expected"), 0;
    return 1;
}

/* --- metrics ---------------------------------------------------------------------------------------------
 */

static void free_selector(struct al_selector *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->matcher_count; i++) {
        free(s->matchers[i].label);
        free(s->matchers[i].value);
    }
    al_series_free(s);
    free(s);
}

/* label="value" or label!="value" */
static int matcher(struct parser *p, struct al_selector *s)
{
    struct al_matcher *m = &s->matchers[s->matcher_count];
    size_t n = name_length(p);
    const char *end;

    if (s->matcher_count == AL_MATCHERS_MAX)
        return fail(p, "too many conditions"), 0;
    if (!n)
        return fail(p, "a label's name is expected"), 0;
    m->label = hd_str_dup((struct hd_str){p->at, n});
    m->value = NULL;
    s->matcher_count++;
    p->at += n;
    m->negate = accept(p, '!');
    if (!accept(p, '='))
        return fail(p, "= or != is expected"), 0;
    if (!expect(p, '"'))
        return 0;
    end = strchr(p->at, '"');
    if (!end)
        return fail(p, "\" is missing"), 0;
    m->value = hd_str_dup((struct hd_str){p->at, (size_t)(end - p->at)});
    p->at = end + 1;
    return m->label && m->value ? 1 : (fail(p, "no memory"), 0);
}

static int matchers(struct parser *p, struct al_selector *s)
{
    if (!accept(p, '{') || accept(p, '}'))
        return 1;
    do {
        if (!matcher(p, s))
            return 0;
    } while (accept(p, ','));
    return accept(p, '}') ? 1 : (fail(p, "} is expected"), 0);
}

static int range(struct parser *p, struct al_selector *s)
{
    double seconds;

    if (!accept(p, '['))
        return 1;
    if (s->window == AL_NOW)
        return fail(p, "a window [..] belongs to rate, increase, quantile, below, mean or slope"), 0;
    if (!read_number(p, &seconds))
        return 0;
    if (seconds < 0.1 || seconds > 32 * 86400.0)
        return fail(p, "a window has 100 ms to 32 days"), 0;
    s->range_ms = (uint64_t)(seconds * 1000 + 0.5);
    return expect(p, ']');
}

static struct al_node *metric(struct parser *p, enum al_window window, double argument)
{
    struct al_node *n = node(p, AL_METRIC);
    struct al_selector *s = n ? calloc(1, sizeof(*s)) : NULL;
    size_t len = name_length(p);

    if (!s) {
        free(n);
        return fail(p, "no memory");
    }
    n->selector = s;
    s->window = window;
    s->argument = argument;
    if (!len || len >= AL_NAME_MAX) {
        fail(p, "a metric's name is expected");
    } else {
        memcpy(s->name, p->at, len);
        p->at += len;
        if (matchers(p, s))
            range(p, s);
    }
    return n;
}

/* --- functions -------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    enum al_window window;
} windows[] = {{"rate", AL_RATE},   {"increase", AL_INCREASE}, {"quantile", AL_QUANTILE},
               {"below", AL_BELOW}, {"mean", AL_MEAN},         {"slope", AL_SLOPE}};

static const struct {
    const char *name;
    enum al_fold fold;
} folds[] = {{"sum", AL_SUM}, {"max", AL_MAX}, {"min", AL_MIN}, {"avg", AL_AVG}, {"count", AL_COUNT}};

static struct al_node *window_call(struct parser *p, enum al_window window)
{
    double argument = 0;
    struct al_node *n;

    if (!expect(p, '('))
        return NULL;
    if (window == AL_QUANTILE || window == AL_BELOW) {
        if (!read_number(p, &argument) || !expect(p, ','))
            return NULL;
        if (window == AL_QUANTILE && argument > 1)
            return fail(p, "a quantile is 0 to 1");
    }
    n = metric(p, window, argument);
    expect(p, ')');
    return n;
}

/* by (label, …) */
static int by_labels(struct parser *p, struct al_node *n)
{
    if (name_length(p) != 2 || strncmp(p->at, "by", 2) != 0)
        return 1;
    p->at += 2;
    if (!expect(p, '('))
        return 0;
    do {
        size_t len = name_length(p);

        if (!len || n->by_count == AL_BY_MAX)
            return fail(p, "a label's name is expected"), 0;
        n->by[n->by_count++] = hd_str_dup((struct hd_str){p->at, len});
        p->at += len;
    } while (accept(p, ','));
    return expect(p, ')');
}

static struct al_node *fold_call(struct parser *p, enum al_fold fold)
{
    struct al_node *n = node(p, AL_AGGREGATE);

    if (!n)
        return NULL;
    n->fold = fold;
    if (by_labels(p, n) && expect(p, '(')) {
        n->left = expression(p);
        expect(p, ')');
    }
    return n;
}

/* Is the name here that of a function? One of that name with no parenthesis or "by" behind it is a metric. */
static int is_call(struct parser *p, size_t len, const char *name)
{
    const char *after = p->at + len;

    after += strspn(after, " \t");
    return strlen(name) == len && strncmp(p->at, name, len) == 0 &&
           (*after == '(' || (strncmp(after, "by", 2) == 0 && strchr(" \t(", after[2])));
}

static struct al_node *operand(struct parser *p)
{
    size_t len = name_length(p);
    struct al_node *n;
    double number;

    if (!len) {
        if (accept(p, '(')) {
            n = expression(p);
            expect(p, ')');
            return n;
        }
        if (!read_number(p, &number) || !(n = node(p, AL_NUMBER)))
            return NULL;
        n->number = number;
        return n;
    }
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++)
        if (is_call(p, len, windows[i].name)) {
            p->at += len;
            return window_call(p, windows[i].window);
        }
    for (size_t i = 0; i < sizeof(folds) / sizeof(folds[0]); i++)
        if (is_call(p, len, folds[i].name)) {
            p->at += len;
            return fold_call(p, folds[i].fold);
        }
    return metric(p, AL_NOW, 0);
}

/* --- operators -------------------------------------------------------------------------------------------
 */

static struct al_node *unary(struct parser *p)
{
    struct al_node *n;

    if (p->depth > MAX_DEPTH)
        return fail(p, "the expression is nested too deeply");
    if (!accept(p, '-'))
        return operand(p);
    n = node(p, AL_NEGATE);
    p->depth++;
    if (n)
        n->left = unary(p);
    p->depth--;
    return n;
}

static struct al_node *join(struct parser *p, enum al_op op, struct al_node *left, struct al_node *right)
{
    struct al_node *n = node(p, op);

    if (!n) {
        al_expr_free(left);
        al_expr_free(right);
        return NULL;
    }
    n->left = left;
    n->right = right;
    return n;
}

static struct al_node *product(struct parser *p)
{
    struct al_node *n = unary(p);

    while (!p->failed) {
        if (accept(p, '*'))
            n = join(p, AL_MULTIPLY, n, unary(p));
        else if (accept(p, '/'))
            n = join(p, AL_DIVIDE, n, unary(p));
        else
            break;
    }
    return n;
}

static struct al_node *sum(struct parser *p)
{
    struct al_node *n = product(p);

    while (!p->failed) {
        if (accept(p, '+'))
            n = join(p, AL_ADD, n, product(p));
        else if (accept(p, '-'))
            n = join(p, AL_SUBTRACT, n, product(p));
        else
            break;
    }
    return n;
}

static int accept_or(struct parser *p)
{
    if (name_length(p) != 2 || strncmp(p->at, "or", 2) != 0)
        return 0;
    p->at += 2;
    return 1;
}

static struct al_node *expression(struct parser *p)
{
    struct al_node *n;

    if (p->depth++ > MAX_DEPTH)
        return fail(p, "the expression is nested too deeply");
    n = sum(p);
    while (!p->failed && accept_or(p))
        n = join(p, AL_OR, n, sum(p));
    p->depth--;
    return n;
}

int32_t al_expr_parse(const char *text, struct al_node **out, struct hd_error *err)
{
    struct parser p = {.text = text, .at = text, .err = err};
    struct al_node *n = expression(&p);

    skip(&p);
    if (!p.failed && *p.at)
        fail(&p, strchr("<>=!", *p.at) ? "above and below compare, an expression does not:"
                                       : "nothing more is expected");
    if (p.failed) {
        al_expr_free(n);
        return HD_EINVAL;
    }
    *out = n;
    return HD_OK;
}

void al_expr_free(struct al_node *n)
{
    if (!n)
        return;
    al_expr_free(n->left);
    al_expr_free(n->right);
    free_selector(n->selector);
    for (uint32_t i = 0; i < n->by_count; i++)
        free(n->by[i]);
    free(n);
}

void al_expr_each(struct al_node *n, void (*fn)(void *arg, struct al_selector *s), void *arg)
{
    if (!n)
        return;
    if (n->selector)
        fn(arg, n->selector);
    al_expr_each(n->left, fn, arg);
    al_expr_each(n->right, fn, arg);
}
