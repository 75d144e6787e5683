/*
 * SHOW STATEMENTS and STATEMENTS RESET: what all workers have counted, merged, sorted and cut.
 */
#include "gather.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum order { BY_TOTAL, BY_CALLS, BY_MEAN, BY_P95 };

/* One call of a command. */
struct show {
    hd_result *result;
    enum order order;
    uint64_t top; /* rows to show; 0: all */
};

/* --- sorting ------------------------------------------------------------------------------------------ */

static double mean_ns(const struct stmts_row *r)
{
    return r->sums.calls ? (double)r->sums.total_ns / (double)r->sums.calls : 0;
}

static int descending(double x, double y)
{
    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_total(const void *a, const void *b)
{
    const struct stmts_row *x = *(struct stmts_row *const *)a, *y = *(struct stmts_row *const *)b;

    return descending((double)x->sums.total_ns, (double)y->sums.total_ns);
}

static int by_calls(const void *a, const void *b)
{
    const struct stmts_row *x = *(struct stmts_row *const *)a, *y = *(struct stmts_row *const *)b;

    return descending((double)x->sums.calls, (double)y->sums.calls);
}

static int by_mean(const void *a, const void *b)
{
    return descending(mean_ns(*(struct stmts_row *const *)a), mean_ns(*(struct stmts_row *const *)b));
}

static int by_p95(const void *a, const void *b)
{
    return descending((*(struct stmts_row *const *)a)->p95_ns, (*(struct stmts_row *const *)b)->p95_ns);
}

/* The sketch knows a value within 0.8 %; the extremes are known exactly. */
static double p95_of(const struct stmts_row *r)
{
    double p95 = stmts_sketch_quantile(&r->sketch, 0.95);

    if (p95 < (double)r->sums.min_ns)
        p95 = (double)r->sums.min_ns;
    return p95 > (double)r->sums.max_ns ? (double)r->sums.max_ns : p95;
}

/* Nanoseconds as milliseconds with three decimals. */
static double ms(double ns)
{
    return (double)(int64_t)(ns / 1e3 + 0.5) / 1e3;
}

static void show_head(const struct hd_commands_v1 *c, hd_result *out)
{
    static const struct {
        const char *name;
        uint32_t type;
    } columns[] = {
        {"fingerprint", HD_COL_TEXT}, {"database", HD_COL_TEXT}, {"calls", HD_COL_INT},
        {"errors", HD_COL_INT},       {"rows", HD_COL_INT},      {"bytes", HD_COL_INT},
        {"mean_ms", HD_COL_REAL},     {"p95_ms", HD_COL_REAL},   {"min_ms", HD_COL_REAL},
        {"max_ms", HD_COL_REAL},      {"queue_ms", HD_COL_REAL}, {"share_percent", HD_COL_REAL},
        {"statement", HD_COL_TEXT},
    };

    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        c->column(out, columns[i].name, columns[i].type);
}

static void show_text(const struct hd_commands_v1 *c, hd_result *out, const char *text, size_t len)
{
    struct hd_str s = {text, len};

    c->text(out, s);
}

/* Who it is: the fingerprint and the database, or neither in the row of what was past the bound. */
static void show_key(const struct hd_commands_v1 *c, hd_result *out, const struct stmts_row *r)
{
    static const char digits[] = "0123456789abcdef";
    char hex[16];

    if (!r->database[0]) {
        c->null(out);
        c->null(out);
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        hex[i] = digits[(r->fingerprint >> (60 - 4 * i)) & 15];
    show_text(c, out, hex, sizeof(hex));
    show_text(c, out, r->database, strlen(r->database));
}

static void show_row(const struct hd_commands_v1 *c, hd_result *out, const struct stmts_row *r,
                     double total_ns)
{
    static const char other[] = "(templates past max_templates)";
    double calls = r->sums.calls ? (double)r->sums.calls : 1;
    double share = total_ns > 0 ? (double)r->sums.total_ns / total_ns : 0;

    show_key(c, out, r);
    c->integer(out, (int64_t)r->sums.calls);
    c->integer(out, (int64_t)r->sums.errors);
    c->integer(out, (int64_t)r->sums.rows);
    c->integer(out, (int64_t)r->sums.bytes);
    c->real(out, ms(mean_ns(r)));
    c->real(out, ms(r->p95_ns));
    c->real(out, ms((double)r->sums.min_ns));
    c->real(out, ms((double)r->sums.max_ns));
    c->real(out, ms((double)r->sums.queue_ns / calls));
    c->real(out, (double)(int64_t)(share * 1e4 + 0.5) / 1e2);
    if (r->text)
        show_text(c, out, r->text->bytes, r->text->len);
    else if (!r->database[0])
        show_text(c, out, other, sizeof(other) - 1);
    else
        c->null(out);
}

/* Sorts, cuts and writes the answer. */
static void show_rows(struct stmts *self, const struct show *s, struct stmts_row **rows, size_t n)
{
    static int (*const order[])(const void *, const void *) = {by_total, by_calls, by_mean, by_p95};
    double total_ns = 0;

    for (size_t i = 0; i < n; i++) {
        rows[i]->p95_ns = p95_of(rows[i]);
        total_ns += (double)rows[i]->sums.total_ns;
    }
    qsort(rows, n, sizeof(struct stmts_row *), order[s->order]);
    show_head(self->commands, s->result);
    for (size_t i = 0; i < n && (!s->top || i < s->top); i++)
        show_row(self->commands, s->result, rows[i], total_ns);
}

/* The rows that a gather has brought. */
static int32_t answer(struct stmts_gather *g, struct hd_error *err)
{
    const struct show *s = g->arg;
    struct stmts_row **rows;
    size_t n = 0;

    if (g->reset) {
        g->self->commands->message(s->result, "STATEMENTS RESET");
        return HD_OK;
    }
    rows = stmts_gather_merge(g, 0, &n);
    if (!rows)
        return hd_error_set(err, HD_ENOMEM, "no memory to merge the workers' numbers");
    show_rows(g->self, s, rows, n);
    free(rows);
    return HD_OK;
}

static void done(struct stmts_gather *g, int32_t code)
{
    struct show *s = g->arg;
    struct hd_error err = HD_ERROR_INIT;

    if (code != HD_OK)
        hd_error_set(&err, code,
                     "the workers could not give their numbers: no memory, or a queue is full; ask again");
    else
        code = answer(g, &err);
    g->self->commands->finish(s->result, code, &err);
    free(s);
}

/* --- from the command to the workers ------------------------------------------------------------------ */

static int is(struct hd_str word, const char *text)
{
    return word.len == strlen(text) && strncasecmp(word.ptr, text, word.len) == 0;
}

static int32_t parse_order(struct hd_str word, enum order *order)
{
    static const char *const names[] = {"total", "calls", "mean", "p95"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (is(word, names[i])) {
            *order = (enum order)i;
            return HD_OK;
        }
    return HD_EINVAL;
}

static int32_t parse_args(struct show *g, const struct hd_call *call)
{
    const struct hd_str *a = call->args;
    uint32_t n = call->arg_count;

    for (uint32_t i = 0; i < n;) {
        if (i + 1 < n && is(a[i], "TOP") && (g->top = hd_str_number(a[i + 1])) > 0)
            i += 2;
        else if (i + 2 < n && is(a[i], "ORDER") && is(a[i + 1], "BY") && !parse_order(a[i + 2], &g->order))
            i += 3;
        else
            return HD_EINVAL;
    }
    return HD_OK;
}

/* Takes `s` over, whatever happens. */
static int32_t send(struct stmts *self, struct show *s, int reset, struct hd_error *err)
{
    struct stmts_gather *g = stmts_gather_new(self, done, s);

    if (!g) {
        free(s);
        return hd_error_set(err, HD_ENOMEM, "no memory to ask the workers");
    }
    g->reset = reset;
    stmts_gather_send(g);
    return HD_PENDING;
}

static struct show *show_new(const struct hd_call *call)
{
    struct show *s = calloc(1, sizeof(*s));

    if (s)
        s->result = call->result;
    return s;
}

int32_t stmts_show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct show *s = show_new(call);

    if (!s)
        return hd_error_set(err, HD_ENOMEM, "no memory to gather the workers' numbers");
    if (parse_args(s, call) != HD_OK) {
        free(s);
        return hd_error_set(err, HD_EINVAL, "usage: SHOW STATEMENTS %s", STMTS_SHOW_USAGE);
    }
    return send(arg, s, 0, err);
}

int32_t stmts_reset(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct show *s;

    if (call->arg_count)
        return hd_error_set(err, HD_EINVAL, "usage: STATEMENTS RESET");
    s = show_new(call);
    return s ? send(arg, s, 1, err) : hd_error_set(err, HD_ENOMEM, "no memory to ask the workers");
}
