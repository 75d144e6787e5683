/* What a report says, as JSON; see report.h. */
#include "report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define LISTED     10  /* templates in each list */
#define EVENTS_MAX 100 /* told */
#define POINTS     120 /* of a plot */
#define LEAST      20  /* executions that a comparison needs */

const struct mon_report_span mon_report_spans[MON_REPORTS] = {
    {"realtime", 300, MON_MINUTE},
    {"hourly", 3600, MON_MINUTE},
    {"daily", 86400, MON_HOUR},
    {"weekly", 7 * 86400, MON_HOUR},
};

/* The series that a report compares and plots, where they are there. */
static const struct {
    const char *name, *title;
} plots[] = {
    {"howdah_statements_total", "Statements"},
    {"howdah_statement_seconds_p95", "95th percentile of a statement's time"},
    {"howdah_statement_errors_total", "Failed statements"},
    {"howdah_clients", "Clients"},
    {"howdah_clients_waiting", "Clients that wait for a server connection"},
    {"howdah_servers_busy", "Server connections at work"},
    {"howdah_cache_hits_total", "Cache hits"},
    {"howdah_cache_misses_total", "Cache misses"},
    {"howdah_machine_cpu_percent", "The machine's processors"},
    {"howdah_process_resident_bytes", "Memory of the host"},
    {"howdah_pg_sessions", "Sessions of the servers"},
    {"howdah_pg_cache_hit_percent", "Blocks that servers found in memory"},
    {"howdah_pg_replication_lag_bytes", "Replication lag"},
};

/* A span's counts of one template, or of all. */
struct sums {
    struct mon_template t; /* its bins are this one's */
};

struct entry {
    char *key;
    char *text, *database, *user;
    uint64_t fingerprint;
    struct sums now, before;
    UT_hash_handle hh;
};

struct build {
    const struct hd_statement_stats_v1 *stats;
    struct entry *all;
    struct sums now, before; /* of everything */
    int in_before;
    int failed;
};

/* --- templates
 * ---------------------------------------------------------------------------------------------------- */

static void add(struct build *b, struct sums *to, const struct mon_template *t)
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

static int32_t take(void *arg, const struct mon_template *t)
{
    struct build *b = arg;
    struct entry *e;

    add(b, b->in_before ? &b->before : &b->now, t);
    if (!t->fingerprint)
        return HD_OK;
    e = entry_of(b, t);
    if (e)
        add(b, b->in_before ? &e->before : &e->now, t);
    return b->failed ? HD_ENOMEM : HD_OK;
}

/* Three decimals. */
static json_t *rounded(double v)
{
    return isfinite(v) ? json_real(round(v * 1e3) / 1e3) : json_null();
}

static double p_ms(const struct build *b, const struct sums *s, double q)
{
    return b->stats ? b->stats->quantile(s->t.bins, s->t.bin_count, q) / 1e6 : 0;
}

static json_t *sums_json(const struct build *b, const struct sums *s)
{
    json_t *o = json_object();

    json_object_set_new(o, "calls", json_integer((json_int_t)s->t.calls));
    json_object_set_new(o, "errors", json_integer((json_int_t)s->t.errors));
    json_object_set_new(o, "answered", json_integer((json_int_t)s->t.answered));
    json_object_set_new(o, "rows", json_integer((json_int_t)s->t.rows));
    json_object_set_new(o, "bytes", json_integer((json_int_t)s->t.bytes));
    json_object_set_new(o, "total_ms", rounded((double)s->t.total_ns / 1e6));
    json_object_set_new(o, "mean_ms",
                        rounded(s->t.calls ? (double)s->t.total_ns / 1e6 / (double)s->t.calls : 0));
    json_object_set_new(o, "p50_ms", rounded(p_ms(b, s, 0.5)));
    json_object_set_new(o, "p95_ms", rounded(p_ms(b, s, 0.95)));
    json_object_set_new(o, "p99_ms", rounded(p_ms(b, s, 0.99)));
    return o;
}

/* Percent of what was before; null where there was nothing. */
static json_t *change(double now, double before)
{
    return before != 0 ? rounded(100 * (now - before) / before) : json_null();
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
    json_object_set_new(o, "total_change_percent",
                        change((double)e->now.t.total_ns, (double)e->before.t.total_ns));
    json_object_set_new(o, "p95_change_percent", change(p_ms(b, &e->now, 0.95), p_ms(b, &e->before, 0.95)));
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
    free(b->now.t.bins);
    free(b->before.t.bins);
}

/* --- series
 * ------------------------------------------------------------------------------------------------------------
 */

/* One series of a name, both spans. */
struct line {
    char *key, *unit;
    double sum[2];
    uint64_t n[2];
    double point[POINTS];
    uint32_t points[POINTS];
};

struct lines {
    json_t *array;
    const char *title;
    int64_t from, middle, to;
    struct line line;
};

static void end_line(struct lines *l)
{
    struct line *line = &l->line;
    json_t *o, *points;
    double now = line->n[1] ? line->sum[1] / (double)line->n[1] : NAN;
    double before = line->n[0] ? line->sum[0] / (double)line->n[0] : NAN;

    if (line->key && line->n[1] && json_array_size(l->array) < 60) {
        o = json_object();
        points = json_array();
        for (int i = 0; i < POINTS; i++)
            json_array_append_new(points, line->points[i] ? json_real(line->point[i] / line->points[i])
                                                          : json_null());
        json_object_set_new(o, "series", json_string(line->key));
        json_object_set_new(o, "title", json_string(l->title));
        json_object_set_new(o, "unit", json_string(line->unit));
        json_object_set_new(o, "mean", json_real(now));
        json_object_set_new(o, "mean_before", line->n[0] ? json_real(before) : json_null());
        json_object_set_new(o, "change_percent", line->n[0] ? change(now, before) : json_null());
        json_object_set_new(o, "points", points);
        json_array_append_new(l->array, o);
    }
    free(line->key);
    free(line->unit);
    memset(line, 0, sizeof(*line));
}

static int32_t take_sample(void *arg, const struct mon_sample *s)
{
    struct lines *l = arg;
    int now = s->time >= l->middle;

    if (l->line.key && strcmp(l->line.key, s->key) != 0)
        end_line(l);
    if (!l->line.key) {
        l->line.key = strdup(s->key);
        l->line.unit = strdup(s->unit);
        if (!l->line.key || !l->line.unit)
            return HD_ENOMEM;
    }
    l->line.sum[now] += s->mean;
    l->line.n[now]++;
    if (now) {
        int64_t i = (s->time - l->middle) * POINTS / (l->to - l->middle);

        l->line.point[i < POINTS ? i : POINTS - 1] += s->mean;
        l->line.points[i < POINTS ? i : POINTS - 1]++;
    }
    return HD_OK;
}

/* Realtime and hourly from seconds and minutes, the longer ones from minutes: hours would be too coarse to
 * plot. */
static int32_t list_series(struct mon_store *store, const struct mon_report_span *span, int64_t to,
                           json_t *report)
{
    struct lines l = {
        .array = json_array(), .from = to - 2 * span->seconds, .middle = to - span->seconds, .to = to};
    int grain = span->seconds <= 300 ? MON_SECOND : 2 * span->seconds <= 7 * 86400 ? MON_MINUTE : MON_HOUR;
    int32_t code = HD_OK;

    for (unsigned i = 0; !code && i < sizeof(plots) / sizeof(plots[0]); i++) {
        l.title = plots[i].title;
        code = mon_store_read(store, plots[i].name, grain, l.from, to, take_sample, &l);
        end_line(&l);
    }
    json_object_set_new(report, "series", l.array);
    return code;
}

/* --- all of it
 * ----------------------------------------------------------------------------------------------------------
 */

static int32_t take_event(void *arg, const struct mon_event *e)
{
    json_t *o = json_object();

    json_object_set_new(o, "time", json_integer((json_int_t)e->time));
    json_object_set_new(o, "topic", json_string(e->topic));
    json_object_set_new(o, "subject", json_string(e->subject));
    json_object_set_new(o, "text", json_string(e->text));
    return json_array_append_new(arg, o) ? HD_ENOMEM : HD_OK;
}

static void set_totals(struct build *b, json_t *report)
{
    json_t *o = json_object();

    json_object_set_new(report, "now", sums_json(b, &b->now));
    json_object_set_new(report, "before", sums_json(b, &b->before));
    json_object_set_new(o, "calls_percent", change((double)b->now.t.calls, (double)b->before.t.calls));
    json_object_set_new(o, "errors_percent", change((double)b->now.t.errors, (double)b->before.t.errors));
    json_object_set_new(o, "total_percent", change((double)b->now.t.total_ns, (double)b->before.t.total_ns));
    json_object_set_new(o, "p95_percent", change(p_ms(b, &b->now, 0.95), p_ms(b, &b->before, 0.95)));
    json_object_set_new(report, "change", o);
}

json_t *mon_report_build(struct mon_store *store, const struct hd_statement_stats_v1 *stats,
                         enum mon_report_kind kind, int64_t to)
{
    const struct mon_report_span *span = &mon_report_spans[kind];
    int64_t step = mon_grains[span->grain].step, end = to - to % step + step, middle = end - span->seconds;
    struct build b = {.stats = stats};
    json_t *report = json_object(), *events = json_array();
    int32_t code;

    json_object_set_new(report, "report", json_string(span->name));
    json_object_set_new(report, "from", json_integer((json_int_t)(to - span->seconds)));
    json_object_set_new(report, "to", json_integer((json_int_t)to));
    code = mon_store_read_templates(store, span->grain, middle, end, take, &b);
    b.in_before = 1;
    if (!code)
        code = mon_store_read_templates(store, span->grain, middle - span->seconds, middle, take, &b);
    set_totals(&b, report);
    list_templates(&b, report);
    if (!code)
        code = list_series(store, span, to, report);
    if (!code)
        code = mon_report_plans(store, span, to, report);
    if (!code)
        code = mon_report_pools(store, span, to, report);
    if (!code)
        code = mon_store_read_events(store, to - span->seconds, to + 1, EVENTS_MAX, take_event, events);
    json_object_set_new(report, "events", events);
    free_build(&b);
    if (!code)
        return report;
    json_decref(report);
    return NULL;
}
