/*
 * The errand of a command through the workers and back; see gather.h. A gather belongs to one worker's part
 * at a time for each part, and to the control thread before the first and after the last.
 */
#include "gather.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Entries that a worker copies before it turns to its sessions again. */
#define SLICE 256

enum order { BY_TOTAL, BY_CALLS, BY_MEAN, BY_P95 };

/* A copy of an entry; later the merged entry. */
struct row {
    uint64_t fingerprint;
    char database[HD_EVENT_NAME];
    struct stmts_text *text;
    struct stmts_sums sums;
    struct stmts_sketch sketch;
    double p95_ns;
};

struct gather;

/* What one worker gives. */
struct part {
    struct gather *gather;
    uint32_t worker;
    uint32_t next; /* entry to be copied next */
    uint64_t generation;
    uint32_t count, room;
    struct row *rows;
    int32_t code;
};

struct gather {
    struct stmts *self;
    hd_result *result;
    int reset; /* forget instead of copy */
    enum order order;
    uint64_t top; /* rows to show; 0: all */
    _Atomic uint32_t left;
    uint32_t count;
    struct part parts[];
};

static void finish(void *arg);

static void gather_free(struct gather *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        for (uint32_t r = 0; r < g->parts[i].count; r++) {
            stmts_text_unref(g->parts[i].rows[r].text);
            stmts_sketch_clear(&g->parts[i].rows[r].sketch);
        }
        free(g->parts[i].rows);
    }
    free(g);
}

/* Answers with an error, from whatever thread. */
static void give_up(struct gather *g, int32_t code, const char *why)
{
    struct stmts *self = g->self;
    struct hd_error err = HD_ERROR_INIT;

    hd_error_set(&err, code, "%s", why);
    self->commands->finish(g->result, code, &err);
    gather_free(g);
    stmts_errand_end(self);
}

/* One part less; whoever ends the last one sends the gather home. */
static void part_done(struct part *p, int32_t code)
{
    struct gather *g = p->gather;

    p->code = code;
    if (atomic_fetch_sub_explicit(&g->left, 1, memory_order_acq_rel) != 1)
        return;
    if (g->self->loop->post(g->self->host, HD_LOOP_CONTROL, finish, g) != HD_OK)
        give_up(g, HD_EFULL, "the control thread takes no more work now; ask again");
}

static int32_t copy_entry(struct part *p, const struct stmts_entry *e)
{
    struct row *r;

    if (p->count == p->room) {
        uint32_t room = p->room ? 2 * p->room : SLICE;
        struct row *rows = realloc(p->rows, room * sizeof(*rows));

        if (!rows)
            return HD_ENOMEM;
        p->rows = rows;
        p->room = room;
    }
    r = &p->rows[p->count++];
    memset(r, 0, sizeof(*r));
    r->fingerprint = e->fingerprint;
    if (e->db)
        memcpy(r->database, e->db->name, sizeof(r->database));
    r->text = stmts_text_ref(e->text);
    r->sums = e->all;
    stmts_sketch_merge(&r->sketch, &e->sketch);
    return HD_OK;
}

/* Copies the next slice. HD_PENDING: there is more. [worker] */
static int32_t copy_slice(struct part *p, struct stmts_table *t)
{
    if (p->next == 0) {
        p->generation = t->generation;
        if (t->other.all.calls && copy_entry(p, &t->other) != HD_OK)
            return HD_ENOMEM;
    }
    if (p->generation != t->generation)
        return HD_OK; /* a reset came between: what it left was copied */
    for (uint32_t end = p->next + SLICE; p->next < t->count; p->next++) {
        if (p->next == end)
            return HD_PENDING;
        if (copy_entry(p, t->entries[p->next]) != HD_OK)
            return HD_ENOMEM;
    }
    return HD_OK;
}

/* One worker's turn. A worker that runs no part of the plugin (any more) has nothing to give. [worker] */
static void visit(void *arg)
{
    struct part *p = arg;
    struct stmts *self = p->gather->self;
    struct stmts_worker *w = self->workers[p->worker];
    int32_t code = HD_OK;

    if (w && p->gather->reset) {
        self->metrics->add(self->host, self->templates, -(int64_t)w->table.count);
        stmts_table_reset(&w->table);
    } else if (w) {
        code = copy_slice(p, &w->table);
    }
    if (code == HD_PENDING) {
        code = self->loop->post(self->host, (int32_t)p->worker, visit, p);
        if (code == HD_OK)
            return;
    }
    part_done(p, code);
}

/* --- on the control thread again ---------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;

    if (x->fingerprint != y->fingerprint)
        return x->fingerprint < y->fingerprint ? -1 : 1;
    return strcmp(x->database, y->database);
}

static double mean_ns(const struct row *r)
{
    return r->sums.calls ? (double)r->sums.total_ns / (double)r->sums.calls : 0;
}

static int descending(double x, double y)
{
    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_total(const void *a, const void *b)
{
    const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;

    return descending((double)x->sums.total_ns, (double)y->sums.total_ns);
}

static int by_calls(const void *a, const void *b)
{
    const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;

    return descending((double)x->sums.calls, (double)y->sums.calls);
}

static int by_mean(const void *a, const void *b)
{
    return descending(mean_ns(*(struct row *const *)a), mean_ns(*(struct row *const *)b));
}

static int by_p95(const void *a, const void *b)
{
    return descending((*(struct row *const *)a)->p95_ns, (*(struct row *const *)b)->p95_ns);
}

/* All parts' rows, those of one template and database folded into one; NULL without memory. */
static struct row **merged(struct gather *g, size_t *count)
{
    size_t n = 0, kept = 0;
    struct row **rows;

    for (uint32_t i = 0; i < g->count; i++)
        n += g->parts[i].count;
    rows = malloc((n ? n : 1) * sizeof(struct row *));
    if (!rows)
        return NULL;
    n = 0;
    for (uint32_t i = 0; i < g->count; i++)
        for (uint32_t r = 0; r < g->parts[i].count; r++)
            rows[n++] = &g->parts[i].rows[r];
    qsort(rows, n, sizeof(struct row *), by_key);
    for (size_t i = 0; i < n; i++) {
        if (kept && by_key(&rows[kept - 1], &rows[i]) == 0) {
            stmts_sums_add(&rows[kept - 1]->sums, &rows[i]->sums);
            stmts_sketch_merge(&rows[kept - 1]->sketch, &rows[i]->sketch);
        } else {
            rows[kept++] = rows[i];
        }
    }
    *count = kept;
    return rows;
}

/* The sketch knows a value within 1.6 %; the extremes are known exactly. */
static double p95_of(const struct row *r)
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
static void show_key(const struct hd_commands_v1 *c, hd_result *out, const struct row *r)
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

static void show_row(const struct hd_commands_v1 *c, hd_result *out, const struct row *r, double total_ns)
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
static void show_rows(struct gather *g, struct row **rows, size_t n)
{
    static int (*const order[])(const void *, const void *) = {by_total, by_calls, by_mean, by_p95};
    double total_ns = 0;

    for (size_t i = 0; i < n; i++) {
        rows[i]->p95_ns = p95_of(rows[i]);
        total_ns += (double)rows[i]->sums.total_ns;
    }
    qsort(rows, n, sizeof(struct row *), order[g->order]);
    show_head(g->self->commands, g->result);
    for (size_t i = 0; i < n && (!g->top || i < g->top); i++)
        show_row(g->self->commands, g->result, rows[i], total_ns);
}

/* Every worker has answered. [control] */
static void finish(void *arg)
{
    struct gather *g = arg;
    struct stmts *self = g->self;
    struct row **rows;
    size_t n = 0;

    for (uint32_t i = 0; i < g->count; i++)
        if (g->parts[i].code != HD_OK) {
            give_up(g, g->parts[i].code,
                    "a worker could not give its numbers: no memory, or its queue is full");
            return;
        }
    if (g->reset) {
        self->commands->message(g->result, "STATEMENTS RESET");
    } else {
        rows = merged(g, &n);
        if (!rows) {
            give_up(g, HD_ENOMEM, "no memory to merge the workers' numbers");
            return;
        }
        show_rows(g, rows, n);
        free(rows);
    }
    self->commands->finish(g->result, HD_OK, NULL);
    gather_free(g);
    stmts_errand_end(self);
}

/* --- from the command to the workers ------------------------------------------------------------------ */

static struct gather *gather_new(struct stmts *self, hd_result *result)
{
    uint32_t workers = hd_host_api(self->host)->workers;
    struct gather *g = calloc(1, sizeof(*g) + workers * sizeof(struct part));

    if (!g)
        return NULL;
    g->self = self;
    g->result = result;
    g->count = workers;
    atomic_init(&g->left, workers);
    for (uint32_t i = 0; i < workers; i++) {
        g->parts[i].gather = g;
        g->parts[i].worker = i;
    }
    return g;
}

static int32_t gather_send(struct gather *g)
{
    struct stmts *self = g->self;
    uint32_t count = g->count;

    stmts_errand_begin(self);
    for (uint32_t i = 0; i < count; i++) {
        struct part *p = &g->parts[i];
        int32_t code = self->loop->post(self->host, (int32_t)i, visit, p);

        /* The last part to end frees the gather, so this is the last look at it. */
        if (code != HD_OK)
            part_done(p, code);
    }
    return HD_PENDING;
}

static int is(struct hd_str word, const char *text)
{
    return word.len == strlen(text) && strncasecmp(word.ptr, text, word.len) == 0;
}

/* A decimal number from 1 on; 0 when it is none. */
static uint64_t number(struct hd_str word)
{
    uint64_t n = 0;

    if (word.len == 0 || word.len > 9)
        return 0;
    for (uint64_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return 0;
        n = 10 * n + (uint64_t)(word.ptr[i] - '0');
    }
    return n;
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

static int32_t parse_args(struct gather *g, const struct hd_call *call)
{
    const struct hd_str *a = call->args;
    uint32_t n = call->arg_count;

    for (uint32_t i = 0; i < n;) {
        if (i + 1 < n && is(a[i], "TOP") && (g->top = number(a[i + 1])) > 0)
            i += 2;
        else if (i + 2 < n && is(a[i], "ORDER") && is(a[i + 1], "BY") && !parse_order(a[i + 2], &g->order))
            i += 3;
        else
            return HD_EINVAL;
    }
    return HD_OK;
}

int32_t stmts_show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct gather *g = gather_new(arg, call->result);

    if (!g)
        return hd_error_set(err, HD_ENOMEM, "no memory to gather the workers' numbers");
    if (parse_args(g, call) != HD_OK) {
        gather_free(g);
        return hd_error_set(err, HD_EINVAL, "usage: SHOW STATEMENTS %s", STMTS_SHOW_USAGE);
    }
    return gather_send(g);
}

int32_t stmts_reset(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct gather *g = gather_new(arg, call->result);

    if (!g)
        return hd_error_set(err, HD_ENOMEM, "no memory to ask the workers");
    if (call->arg_count) {
        gather_free(g);
        return hd_error_set(err, HD_EINVAL, "usage: STATEMENTS RESET");
    }
    g->reset = 1;
    return gather_send(g);
}
