/* What a report says, as JSON; see report.h. */
#include "report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define LISTED 10 /* templates in each list */
#define LEAST  20 /* executions that a comparison needs */

struct entry {
    char *key;
    char *text, *database, *user;
    uint64_t fingerprint;
    struct mon_sums now, before;
    UT_hash_handle hh;
};

struct build {
    const struct mon_report_want *want;
    struct mon_frame frame;
    struct mon_by_node *nodes;
    struct entry *all;
    struct mon_sums now, before; /* of everything */
    int in_before;
    int failed;
};

/* --- templates
 * ---------------------------------------------------------------------------------------------------- */

static void add(struct build *b, struct mon_sums *to, const struct mon_template *t)
{
    to->t.calls += t->calls;
    to->t.errors += t->errors;
    to->t.answered += t->answered;
    to->t.rows += t->rows;
    to->t.bytes += t->bytes;
    to->t.total_ns += t->total_ns;
    to->t.queue_ns += t->queue_ns;
    to->t.server_ns += t->server_ns;
    if (mon_bins_merge(&to->t.bins, &to->t.bin_count, t->bins, t->bin_count) != HD_OK)
        b->failed = 1;
}

static struct entry *entry_of(struct build *b, const struct mon_template *t)
{
    char key[2 * HD_EVENT_NAME + 32];
    struct entry *e;

    snprintf(key, sizeof(key), "%llx\n%s\n%s", (unsigned long long)t->fingerprint, t->database, t->user);
    HASH_FIND_STR(b->all, key, e);
    if (e || !(e = calloc(1, sizeof(*e))))
        return e;
    e->key = strdup(key);
    e->text = strdup(t->text);
    e->database = strdup(t->database);
    e->user = strdup(t->user);
    e->fingerprint = t->fingerprint;
    if (e->key)
        HASH_ADD_KEYPTR(hh, b->all, e->key, strlen(e->key), e);
    if (e->text && e->database && e->user && e->hh.tbl)
        return e;
    b->failed = 1;
    if (e->hh.tbl)
        HASH_DEL(b->all, e);
    free(e->key);
    free(e->text);
    free(e->database);
    free(e->user);
    free(e);
    return NULL;
}

/* The node that serves the database; NULL: nobody knows. */
static const char *node_of(const struct mon_report_want *want, const char *database)
{
    for (uint32_t i = 0; i < want->served_count; i++)
        if (!strcmp(want->served[i].database, database))
            return want->served[i].node;
    return *want->only ? want->only : NULL;
}

static void add_to_node(struct build *b, const struct mon_template *t)
{
    const char *node = node_of(b->want, t->database);
    struct mon_by_node *n = b->nodes;

    while (node && n && strcmp(n->node, node) != 0)
        n = n->next;
    if (!node)
        return;
    if (!n && (n = calloc(1, sizeof(*n)))) {
        snprintf(n->node, sizeof(n->node), "%s", node);
        n->next = b->nodes;
        b->nodes = n;
    }
    if (n)
        add(b, b->in_before ? &n->before : &n->now, t);
    else
        b->failed = 1;
}

static int32_t take(void *arg, const struct mon_template *t)
{
    struct build *b = arg;
    struct entry *e;

    add(b, b->in_before ? &b->before : &b->now, t);
    add_to_node(b, t);
    if (!t->fingerprint)
        return HD_OK;
    e = entry_of(b, t);
    if (e)
        add(b, b->in_before ? &e->before : &e->now, t);
    return b->failed ? HD_ENOMEM : HD_OK;
}

static double p_ms(const struct build *b, const struct mon_sums *s, double q)
{
    return b->want->stats ? b->want->stats->quantile(s->t.bins, s->t.bin_count, q) / 1e6 : 0;
}

static json_t *sums_json(const struct build *b, const struct mon_sums *s)
{
    json_t *o = json_object();

    json_object_set_new(o, "calls", json_integer((json_int_t)s->t.calls));
    json_object_set_new(o, "errors", json_integer((json_int_t)s->t.errors));
    json_object_set_new(o, "answered", json_integer((json_int_t)s->t.answered));
    json_object_set_new(o, "rows", json_integer((json_int_t)s->t.rows));
    json_object_set_new(o, "bytes", json_integer((json_int_t)s->t.bytes));
    json_object_set_new(o, "total_ms", mon_rounded((double)s->t.total_ns / 1e6));
    json_object_set_new(o, "mean_ms",
                        mon_rounded(s->t.calls ? (double)s->t.total_ns / 1e6 / (double)s->t.calls : 0));
    json_object_set_new(o, "p50_ms", mon_rounded(p_ms(b, s, 0.5)));
    json_object_set_new(o, "p95_ms", mon_rounded(p_ms(b, s, 0.95)));
    json_object_set_new(o, "p99_ms", mon_rounded(p_ms(b, s, 0.99)));
    return o;
}

static json_t *entry_json(const struct build *b, const struct entry *e)
{
    json_t *o = json_object();
    char hex[20];

    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)e->fingerprint);
    json_object_set_new(o, "fingerprint", json_string(hex));
    json_object_set_new(o, "database", json_string(e->database));
    json_object_set_new(o, "user", json_string(e->user));
    json_object_set_new(o, "statement", json_string(e->text));
    json_object_set_new(o, "now", sums_json(b, &e->now));
    json_object_set_new(o, "before", sums_json(b, &e->before));
    json_object_set_new(
        o, "total_change_percent",
        mon_change((double)e->now.t.total_ns * mon_frame_scale(&b->frame), (double)e->before.t.total_ns));
    json_object_set_new(o, "p95_change_percent",
                        mon_change(p_ms(b, &e->now, 0.95), p_ms(b, &e->before, 0.95)));
    return o;
}

static double moved(const struct entry *e)
{
    return fabs((double)e->now.t.total_ns - (double)e->before.t.total_ns);
}

static int by_total(const void *a, const void *b)
{
    uint64_t x = (*(struct entry *const *)a)->now.t.total_ns, y = (*(struct entry *const *)b)->now.t.total_ns;

    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_moved(const void *a, const void *b)
{
    double x = moved(*(struct entry *const *)a), y = moved(*(struct entry *const *)b);

    return x < y ? 1 : x > y ? -1 : 0;
}

/* Half as slow again at its 95th percentile, with enough executions on both sides, and of some weight. */
static int is_regression(const struct build *b, const struct entry *e)
{
    return e->now.t.calls >= LEAST && e->before.t.calls >= LEAST &&
           (double)e->now.t.total_ns >= 0.01 * (double)b->now.t.total_ns &&
           p_ms(b, &e->now, 0.95) > 1.5 * p_ms(b, &e->before, 0.95);
}

static void list_templates(struct build *b, json_t *report)
{
    json_t *slowest = json_array(), *changed = json_array(), *regressions = json_array();
    size_t n = 0, count = HASH_COUNT(b->all);
    struct entry **order = calloc(count + 1, sizeof(struct entry *)), *e, *next;

    HASH_ITER(hh, b->all, e, next)
    {
        if (order)
            order[n++] = e;
    }
    if (n)
        qsort(order, n, sizeof(struct entry *), by_total);
    for (size_t i = 0; i < n && i < LISTED && order[i]->now.t.calls; i++)
        json_array_append_new(slowest, entry_json(b, order[i]));
    if (n)
        qsort(order, n, sizeof(struct entry *), by_moved);
    for (size_t i = 0; i < n && i < LISTED && moved(order[i]) > 0; i++)
        json_array_append_new(changed, entry_json(b, order[i]));
    for (size_t i = 0; i < n && json_array_size(regressions) < LISTED; i++)
        if (is_regression(b, order[i]))
            json_array_append_new(regressions, entry_json(b, order[i]));
    free(order);
    json_object_set_new(report, "slowest", slowest);
    json_object_set_new(report, "changed", changed);
    json_object_set_new(report, "regressions", regressions);
}

static void free_build(struct build *b)
{
    struct entry *e, *next;

    HASH_ITER(hh, b->all, e, next)
    {
        HASH_DEL(b->all, e);
        free(e->now.t.bins);
        free(e->before.t.bins);
        free(e->key);
        free(e->text);
        free(e->database);
        free(e->user);
        free(e);
    }
    while (b->nodes) {
        struct mon_by_node *n = b->nodes;

        b->nodes = n->next;
        free(n->now.t.bins);
        free(n->before.t.bins);
        free(n);
    }
    free(b->now.t.bins);
    free(b->before.t.bins);
    mon_frame_close(&b->frame);
}

/* --- all of it
 * ----------------------------------------------------------------------------------------------------------
 */

/* Rows of minutes, and in long spans of the whole hours within. */
static int32_t read_templates(struct build *b, int64_t from, int64_t to)
{
    struct mon_store *store = b->frame.store;
    int64_t first = from + (3600 - from % 3600) % 3600, last = to - to % 3600;
    int32_t code;

    if (b->want->kind < MON_DAILY || last <= first)
        return mon_store_read_templates(store, MON_MINUTE, from, to, take, b);
    code = mon_store_read_templates(store, MON_MINUTE, from, first, take, b);
    if (!code)
        code = mon_store_read_templates(store, MON_HOUR, first, last, take, b);
    return code ? code : mon_store_read_templates(store, MON_MINUTE, last, to, take, b);
}

static void set_totals(struct build *b, json_t *report)
{
    double scale = mon_frame_scale(&b->frame);
    const struct mon_template *now = &b->now.t, *before = &b->before.t;
    json_t *o = json_object();

    json_object_set_new(report, "now", sums_json(b, &b->now));
    json_object_set_new(report, "before", sums_json(b, &b->before));
    json_object_set_new(o, "calls_percent", mon_change(scale * (double)now->calls, (double)before->calls));
    json_object_set_new(o, "errors_percent", mon_change(scale * (double)now->errors, (double)before->errors));
    json_object_set_new(o, "total_percent",
                        mon_change(scale * (double)now->total_ns, (double)before->total_ns));
    json_object_set_new(o, "p95_percent", mon_change(p_ms(b, &b->now, 0.95), p_ms(b, &b->before, 0.95)));
    json_object_set_new(report, "change", o);
    json_object_set_new(report, "observed",
                        json_pack("{s:f, s:f}", "now_percent", mon_frame_observed(&b->frame, 1),
                                  "before_percent", mon_frame_observed(&b->frame, 0)));
}

static int32_t fill(struct build *b, json_t *report)
{
    const struct mon_frame *f = &b->frame;
    int32_t code = read_templates(b, f->from, f->to - f->to % 60 + 60);

    b->in_before = 1;
    if (!code)
        code = read_templates(b, f->before, f->from);
    if (code)
        return code;
    set_totals(b, report);
    list_templates(b, report);
    for (struct mon_by_node *n = b->nodes; n; n = n->next) {
        n->p95 = p_ms(b, &n->now, 0.95);
        n->p95_before = p_ms(b, &n->before, 0.95);
    }
    if ((code = mon_report_series(f, report)) || (code = mon_report_plans(f, report)) ||
        (code = mon_report_pools(f, report)) || (code = mon_report_nodes(f, b->nodes, report)))
        return code;
    return mon_report_plugins(f, report);
}

json_t *mon_report_build(struct mon_store *store, const struct mon_report_want *want)
{
    struct build b = {.want = want};
    json_t *report = json_object();
    int32_t code = mon_frame_open(&b.frame, store, want->kind, want->to);

    json_object_set_new(report, "report", json_string(mon_report_spans[want->kind].name));
    json_object_set_new(report, "from", json_integer((json_int_t)b.frame.from));
    json_object_set_new(report, "to", json_integer((json_int_t)want->to));
    if (!code)
        code = fill(&b, report);
    free_build(&b);
    if (!code)
        return report;
    json_decref(report);
    return NULL;
}
