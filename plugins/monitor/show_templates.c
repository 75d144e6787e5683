/*
 * SHOW TEMPLATES: all that is counted of each template, per database and user.
 */
#include "commands.h"
#include "plans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_ROWS 100

enum order { BY_TOTAL, BY_CALLS, BY_ERRORS, BY_MEAN, BY_P95 };

static const char *const orders[] = {"total", "calls", "errors", "mean", "p95"};

struct show {
    struct mon *self;
    hd_result *result;
    enum order order;
    uint64_t top;
};

struct place {
    uint64_t row;
    double weight;
};

static double ms(double ns)
{
    return (double)(int64_t)(ns / 1e3 + 0.5) / 1e3;
}

static double weight_of(const struct show *s, const struct hd_stats_template *t)
{
    switch (s->order) {
    case BY_CALLS:
        return (double)t->calls;
    case BY_ERRORS:
        return (double)t->errors;
    case BY_MEAN:
        return t->calls ? (double)t->total_ns / (double)t->calls : 0;
    case BY_P95:
        return s->self->stats->quantile(t->bins, t->bin_count, 0.95);
    default:
        return (double)t->total_ns;
    }
}

static int descending(const void *a, const void *b)
{
    double x = ((const struct place *)a)->weight, y = ((const struct place *)b)->weight;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* "23505=3,40001=1" */
static void show_states(const struct show *s, const struct hd_stats_template *t)
{
    char text[(HD_STATS_STATES + 1) * 30] = "";
    size_t len = 0;

    for (uint32_t i = 0; i < t->state_count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s=%llu", i ? "," : "",
                                t->states[i].sqlstate[0] ? t->states[i].sqlstate : "other",
                                (unsigned long long)t->states[i].count);
    mon_text(s->self, s->result, len ? text : NULL);
}

/* The sketch knows a value within 1 %, the extremes are known exactly. */
static double quantile(const struct show *s, const struct hd_stats_template *t, double q)
{
    double value = s->self->stats->quantile(t->bins, t->bin_count, q);

    if (value < (double)t->min_ns)
        return (double)t->min_ns;
    return value > (double)t->max_ns ? (double)t->max_ns : value;
}

static void show_times(const struct show *s, const struct hd_stats_template *t)
{
    const struct hd_commands_v1 *c = s->self->commands;
    double calls = t->calls ? (double)t->calls : 1, served = (double)(t->calls - t->answered);

    c->real(s->result, ms((double)t->total_ns / calls));
    c->real(s->result, ms((double)t->queue_ns / calls));
    c->real(s->result, ms(served > 0 ? (double)t->server_ns / served : 0));
    c->real(s->result, ms(t->firsts ? (double)t->first_ns / (double)t->firsts : 0));
    c->real(s->result, ms(quantile(s, t, 0.5)));
    c->real(s->result, ms(quantile(s, t, 0.95)));
    c->real(s->result, ms(quantile(s, t, 0.99)));
    c->real(s->result, ms((double)t->max_ns));
}

static void show_row(const struct show *s, const struct hd_stats_template *t)
{
    const struct hd_commands_v1 *c = s->self->commands;
    int64_t changed = mon_plans_changed(s->self->plans, t->fingerprint, t->database, t->user);
    char hex[20];

    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)t->fingerprint);
    mon_text(s->self, s->result, t->fingerprint ? hex : NULL);
    c->text(s->result, t->database);
    c->text(s->result, t->user);
    c->integer(s->result, (int64_t)t->calls);
    c->integer(s->result, (int64_t)t->errors);
    show_states(s, t);
    c->integer(s->result, (int64_t)t->answered);
    c->integer(s->result, (int64_t)t->rows);
    c->integer(s->result, (int64_t)t->bytes);
    show_times(s, t);
    c->text(s->result, t->text);
    if (changed)
        c->integer(s->result, changed);
    else
        c->null(s->result);
}

static void show_head(const struct show *s)
{
    mon_columns(s->self, s->result, "fingerprint", HD_COL_TEXT, "database", HD_COL_TEXT, "user", HD_COL_TEXT,
                "calls", HD_COL_INT, "errors", HD_COL_INT, "sqlstates", HD_COL_TEXT, "answered", HD_COL_INT,
                "rows", HD_COL_INT, "bytes", HD_COL_INT, "mean_ms", HD_COL_REAL, "queue_ms", HD_COL_REAL,
                "server_ms", HD_COL_REAL, "first_ms", HD_COL_REAL, "p50_ms", HD_COL_REAL, "p95_ms",
                HD_COL_REAL, "p99_ms", HD_COL_REAL, "max_ms", HD_COL_REAL, "statement", HD_COL_TEXT,
                "plan_changed", HD_COL_TIME, NULL);
}

static int32_t answer(const struct show *s, const hd_stats *stats, uint64_t rows)
{
    struct place *places = malloc((rows + 1) * sizeof(*places));
    struct hd_stats_template t = {.size = sizeof(t)};

    if (!places)
        return HD_ENOMEM;
    for (uint64_t i = 0; i < rows; i++) {
        t.size = sizeof(t);
        s->self->stats->row(stats, i, &t);
        places[i] = (struct place){i, weight_of(s, &t)};
    }
    qsort(places, rows, sizeof(*places), descending);
    show_head(s);
    for (uint64_t i = 0; i < rows && i < s->top; i++) {
        t.size = sizeof(t);
        if (s->self->stats->row(stats, places[i].row, &t) == HD_OK)
            show_row(s, &t);
    }
    free(places);
    return HD_OK;
}

static void gathered(void *arg, int32_t code, const hd_stats *stats, uint64_t rows)
{
    struct show *s = arg;
    struct mon *self = s->self;
    struct hd_error err = HD_ERROR_INIT;

    if (!code)
        code = answer(s, stats, rows);
    if (code)
        hd_error_set(&err, code,
                     "the numbers could not be gathered: no memory, or a queue is full; ask again");
    self->commands->finish(s->result, code, code ? &err : NULL);
    free(s);
    mon_errand_end(self);
}

static int parse(struct show *s, const struct hd_call *call)
{
    const struct hd_str *a = call->args;
    uint32_t i = 0, o;

    if (i + 1 < call->arg_count && mon_word_is(a[i], "TOP") && (s->top = hd_str_number(a[i + 1])))
        i += 2;
    if (i + 2 < call->arg_count && mon_word_is(a[i], "ORDER") && mon_word_is(a[i + 1], "BY")) {
        for (o = 0; o < sizeof(orders) / sizeof(orders[0]) && !mon_word_is(a[i + 2], orders[o]); o++)
            ;
        s->order = (enum order)o;
        i += o < sizeof(orders) / sizeof(orders[0]) ? 3 : 0;
    }
    return i == call->arg_count;
}

int32_t mon_show_templates(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    struct show *s;
    int32_t code;

    if (!self->stats)
        return hd_error_set(err, HD_ENOENT, "nothing is counted: the plugin statements does not run");
    s = calloc(1, sizeof(*s));
    if (!s)
        return hd_error_set(err, HD_ENOMEM, "no memory to gather the numbers");
    *s = (struct show){self, call->result, BY_TOTAL, DEFAULT_ROWS};
    code = parse(s, call) ? HD_OK
                          : hd_error_set(err, HD_EINVAL, "usage: SHOW TEMPLATES %s", MON_TEMPLATES_USAGE);
    mon_errand_begin(self);
    if (!code)
        code = self->stats->gather(self->stats_self, gathered, s, err);
    if (!code)
        return HD_PENDING;
    free(s);
    mon_errand_end(self);
    return code;
}
