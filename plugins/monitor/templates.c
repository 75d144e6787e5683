/* What templates do; see templates.h. */
#include "templates_parts.h"

#include "history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDING  2.0 /* so many times as costly is who takes another's place among the costliest */
#define WAITERS   32  /* who may wait for a gathering */
#define DATABASES 256 /* whose names are remembered */
#define KEPT      100 /* templates of one gathering that go into the history by themselves */

#define KEY_BYTES offsetof(struct mon_known, text)

/* --- what came -------------------------------------------------------------------------------------------
 */

static void copy_name(char *to, struct hd_str from)
{
    size_t n = from.len < HD_EVENT_NAME - 1 ? (size_t)from.len : HD_EVENT_NAME - 1;

    if (n)
        memcpy(to, from.ptr, n);
}

/* Also of templates that have gone since. */
static void see_database(struct mon_templates *t, const char *database)
{
    uint32_t i = 0;

    if (!t->databases)
        t->databases = calloc(DATABASES, sizeof(*t->databases));
    while (t->databases && i < t->database_count && strcmp(t->databases[i], database) != 0)
        i++;
    if (t->databases && i == t->database_count && i < DATABASES)
        memcpy(t->databases[t->database_count++], database, HD_EVENT_NAME);
}

void mon_templates_databases(struct mon *self, void (*fn)(void *arg, const char *database), void *arg)
{
    const struct mon_templates *t = self->templates;

    for (uint32_t i = 0; i < t->database_count; i++)
        fn(arg, t->databases[i]);
}

static struct mon_known *known_of(struct mon_templates *t, const struct hd_stats_template *row)
{
    struct mon_known *k, *found;

    k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->fingerprint = row->fingerprint;
    copy_name(k->database, row->database);
    copy_name(k->user, row->user);
    HASH_FIND(hh, t->all, k, KEY_BYTES, found);
    if (found) {
        free(k);
        return found;
    }
    k->text = hd_str_dup(row->text);
    if (!k->text) {
        free(k);
        return NULL;
    }
    k->generation = row->generation;
    see_database(t, k->database);
    HASH_ADD_KEYPTR(hh, t->all, k, KEY_BYTES, k);
    if (k->hh.tbl)
        return k;
    free(k->text);
    free(k);
    return NULL;
}

/* Bins of `row` less those of `was`; the result is the caller's. */
static struct hd_stats_bin *less(const struct hd_stats_template *row, const struct mon_template *was,
                                 uint32_t *n)
{
    struct hd_stats_bin *bins = malloc((row->bin_count + 1) * sizeof(*bins));
    uint32_t k = 0;

    *n = 0;
    for (uint32_t i = 0; bins && i < row->bin_count; i++) {
        uint64_t count = row->bins[i].count;

        while (k < was->bin_count && was->bins[k].bin < row->bins[i].bin)
            k++;
        if (k < was->bin_count && was->bins[k].bin == row->bins[i].bin)
            count -= was->bins[k].count;
        if (count)
            bins[(*n)++] = (struct hd_stats_bin){row->bins[i].bin, 0, count};
    }
    return bins;
}

static void set_counts(struct mon_template *to, const struct hd_stats_template *row)
{
    to->calls = row->calls;
    to->errors = row->errors;
    to->answered = row->answered;
    to->rows = row->rows;
    to->bytes = row->bytes;
    to->total_ns = row->total_ns;
    to->queue_ns = row->queue_ns;
    to->server_ns = row->server_ns;
}

/* What came since the gathering before; after a reset all that is there. */
static void take_row(struct mon_known *k, const struct hd_stats_template *row)
{
    struct mon_template *c = &k->came, *w = &k->was;
    struct hd_stats_bin *now = malloc((row->bin_count + 1) * sizeof(*now));

    if (row->generation != k->generation || row->calls < w->calls) {
        free(w->bins);
        memset(w, 0, sizeof(*w));
        k->generation = row->generation;
    }
    free(c->bins);
    set_counts(c, row);
    c->bins = less(row, w, &c->bin_count);
    c->max_ns = 0;
    c->calls -= w->calls;
    c->errors -= w->errors;
    c->answered -= w->answered;
    c->rows -= w->rows;
    c->bytes -= w->bytes;
    c->total_ns -= w->total_ns;
    c->queue_ns -= w->queue_ns;
    c->server_ns -= w->server_ns;
    set_counts(w, row);
    free(w->bins);
    w->bins = now;
    w->bin_count = now ? row->bin_count : 0;
    if (w->bin_count)
        memcpy(now, row->bins, row->bin_count * sizeof(*now));
}

/* --- metrics of the costliest -----------------------------------------------------------------------------
 */

static const struct {
    const char *name, *help;
} counters[COUNTERS] = {
    [CALLS] = {"howdah_template_calls_total", "Executions of the costliest templates, and of all others"},
    [ERRORS] = {"howdah_template_errors_total", "Of them, those that failed"},
    [ROWS] = {"howdah_template_rows_total", "Rows that they have given"},
    [SECONDS] = {"howdah_template_seconds_total", "Time that they took in all"},
};

/* From then on they are read now and then. */
static void follow(const struct mon_templates *t, const int64_t ids[COUNTERS], const struct mon_moment *from)
{
    for (int i = 0; i < COUNTERS; i++)
        mon_series_read(t->self->series, ids[i], 0, from->wall, from->mono_ns);
}

static void join(struct mon_templates *t, struct mon_known *k)
{
    const struct hd_metrics_v1 *m = t->self->metrics;
    char hex[20];
    struct hd_label labels[] = {{"fingerprint", hex}, {"database", k->database}, {"user", k->user}};

    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)k->fingerprint);
    for (int i = 0; i < COUNTERS; i++)
        k->counters[i] =
            m->get(t->self->host, HD_METRIC_COUNTER, counters[i].name, counters[i].help, labels, 3);
    follow(t, k->counters, &t->before);
    k->p95 = m->get(t->self->host, HD_METRIC_GAUGE, "howdah_template_p95_seconds",
                    "95th percentile of their times at the last gathering", labels, 3);
    k->member = 1;
    t->members++;
}

static void leave(struct mon_templates *t, struct mon_known *k)
{
    const struct hd_metrics_v1 *m = t->self->metrics;

    for (int i = 0; i < COUNTERS; i++)
        m->drop(t->self->host, k->counters[i]);
    m->drop(t->self->host, k->p95);
    k->member = 0;
    t->members--;
}

static void count(struct mon_templates *t, const int64_t ids[COUNTERS], const struct mon_template *c)
{
    const struct mon *self = t->self;
    const int64_t grown[COUNTERS] = {[CALLS] = (int64_t)c->calls,
                                     [ERRORS] = (int64_t)c->errors,
                                     [ROWS] = (int64_t)c->rows,
                                     [SECONDS] = (int64_t)c->total_ns};

    for (int i = 0; i < COUNTERS; i++) {
        self->metrics->add(self->host, ids[i], grown[i]);
        mon_series_read(self->series, ids[i], grown[i], t->now.wall, t->now.mono_ns);
    }
}

/* The least of the members goes. `end` is where the search from the end of the order has come to. Returns 0
 * where it is not worth it: the newcomer is not so much costlier. */
static int make_room(struct mon_templates *t, struct mon_known **order, size_t *end, double score)
{
    while (*end && !order[*end - 1]->member)
        --*end;
    if (!*end || score < STANDING * order[*end - 1]->score)
        return 0;
    leave(t, order[--*end]);
    return 1;
}

/* Who is in: see templates.h. `order` is by score. */
static void choose(struct mon_templates *t, struct mon_known **order, size_t n)
{
    size_t top = (size_t)t->self->conf->top, end = n;

    for (size_t i = 2 * top; i < n; i++)
        if (order[i]->member)
            leave(t, order[i]);
    while (t->members > top && make_room(t, order, &end, INFINITY)) /* `top` was made less */
        ;
    for (size_t i = 0; i < n && i < top; i++) {
        if (order[i]->member || !order[i]->fingerprint || order[i]->score < 1)
            continue;
        if (t->members >= top && !make_room(t, order, &end, order[i]->score))
            break;
        join(t, order[i]);
    }
}

static void count_all(struct mon_templates *t, struct mon_known **order, size_t n)
{
    const struct hd_statement_stats_v1 *stats = t->self->stats;

    for (size_t i = 0; i < n; i++) {
        struct mon_template *c = &order[i]->came;

        count(t, order[i]->member ? order[i]->counters : t->other, c);
        if (order[i]->member && c->calls)
            t->self->metrics->set(t->self->host, order[i]->p95,
                                  (int64_t)stats->quantile(c->bins, c->bin_count, 0.95));
    }
}

/* --- the history ------------------------------------------------------------------------------------------
 */

static void name(struct mon_template *c, struct mon_known *k)
{
    c->fingerprint = k->fingerprint;
    c->database = k->database;
    c->user = k->user;
    c->text = k->text;
}

void mon_template_add(struct mon_template *sum, const struct mon_template *c)
{
    sum->calls += c->calls;
    sum->errors += c->errors;
    sum->answered += c->answered;
    sum->rows += c->rows;
    sum->bytes += c->bytes;
    sum->total_ns += c->total_ns;
    sum->queue_ns += c->queue_ns;
    sum->server_ns += c->server_ns;
}

/* `order` is by what came. */
static void keep(struct mon_templates *t, struct mon_known **order, size_t n)
{
    struct mon_batch *b = mon_history_batch(t->self);
    struct mon_template rest = {.database = "", .user = "", .text = ""};

    if (!b)
        return;
    b->template_time = mon_wall_seconds();
    for (size_t i = 0; i < n && order[i]->came.calls; i++) {
        name(&order[i]->came, order[i]);
        if (i >= KEPT || !order[i]->fingerprint || mon_batch_template(b, &order[i]->came) != HD_OK)
            mon_template_add(&rest, &order[i]->came);
    }
    if (rest.calls)
        mon_batch_template(b, &rest);
}

static int by_came(const void *a, const void *b)
{
    uint64_t x = (*(struct mon_known *const *)a)->came.total_ns,
             y = (*(struct mon_known *const *)b)->came.total_ns;

    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_score(const void *a, const void *b)
{
    double x = (*(struct mon_known *const *)a)->score, y = (*(struct mon_known *const *)b)->score;

    return x < y ? 1 : x > y ? -1 : 0;
}

void mon_known_drop(struct mon_templates *t, struct mon_known *k)
{
    if (k->member)
        leave(t, k);
    HASH_DEL(t->all, k);
    free(k->text);
    free(k->was.bins);
    free(k->came.bins);
    free(k);
}

/* Those that were not among the rows are gone from there: a reset. */
static struct mon_known **list(struct mon_templates *t, size_t *count_out)
{
    struct mon_known **order = malloc((HASH_COUNT(t->all) + 1) * sizeof(struct mon_known *)), *k, *next;
    size_t n = 0;

    HASH_ITER(hh, t->all, k, next)
    {
        if (k->seen != t->round) {
            mon_known_drop(t, k);
        } else if (order) {
            order[n++] = k;
        }
    }
    *count_out = n;
    return order;
}

/* What is counted from now on has come since. */
static void prime(struct mon_templates *t)
{
    t->before = t->now;
    follow(t, t->other, &t->now);
    t->primed = 1;
}

static void digest(struct mon_templates *t)
{
    size_t n = 0;
    struct mon_known **order = list(t, &n);
    int primed = t->primed;

    if (!order)
        return;
    if (!primed)
        prime(t);
    for (size_t i = 0; i < n; i++)
        order[i]->score = 0.7 * order[i]->score + 0.3 * (double)order[i]->came.total_ns;
    qsort(order, n, sizeof(struct mon_known *), by_score);
    choose(t, order, n);
    if (primed) {
        count_all(t, order, n);
        qsort(order, n, sizeof(struct mon_known *), by_came);
        keep(t, order, n);
    }
    t->self->metrics->set(t->self->host, t->gauge, t->members);
    free(order);
}

static void serve(struct mon_templates *t)
{
    while (t->served) {
        struct waiter *w = t->served;

        t->served = w->next;
        t->waiters--;
        w->fn(w->arg);
        free(w);
    }
}

/* All who wait are served by the gathering that begins. */
static void take_waiters(struct mon_templates *t)
{
    t->served = t->waiting;
    t->waiting = NULL;
}

/* A gathering is over. [control] */
static void end(void *arg)
{
    struct mon_templates *t = arg;
    struct mon *self = t->self;

    t->busy = 0;
    serve(t);
    if (t->last)
        mon_history_flush(self, 1);
    else if (t->waiting)
        mon_templates_tick(self);
    mon_errand_end(self);
}

/* [control], but for a failure */
void mon_templates_over(void *arg, int32_t code)
{
    struct mon_templates *t = arg;

    if (code == HD_OK) {
        end(t);
    } else if (t->self->loop->post(t->self->host, HD_LOOP_CONTROL, end, t) != HD_OK) {
        t->busy = 0; /* who waits is served by the next tick */
        mon_errand_end(t->self);
    }
}

/* [control], but for a failure */
static void gathered(void *arg, int32_t code, const hd_stats *stats, uint64_t rows)
{
    struct mon_templates *t = arg;
    struct mon *self = t->self;
    struct hd_stats_template row = {.size = sizeof(row)};

    if (code == HD_OK || code == HD_ENOENT) {
        t->before = t->now;
        t->now = (struct mon_moment){mon_wall(), mon_now_ns()};
    }
    if (code == HD_OK && (!self->stopping || t->last)) {
        t->round++;
        for (uint64_t i = 0; i < rows; i++) {
            struct mon_known *k;

            row.size = sizeof(row);
            if (self->stats->row(stats, i, &row) != HD_OK || !(k = known_of(t, &row)))
                continue;
            take_row(k, &row);
            k->seen = t->round;
            k->quiet = k->came.calls ? 0 : k->quiet + 1;
        }
        digest(t);
    }
    if (code == HD_ENOENT && !t->primed) /* no worker runs yet */
        prime(t);
    if (code != HD_OK && !t->primed)
        t->at_ns = 0; /* again at the next tick */
    if (code != HD_OK || self->stopping || !mon_templates_room(t))
        mon_templates_over(t, code);
}

/* 0: it could not be begun. */
static int begin(struct mon_templates *t)
{
    struct mon *self = t->self;
    struct hd_error err = HD_ERROR_INIT;

    t->busy = 1;
    mon_errand_begin(self);
    if (self->stats->gather(self->stats_self, gathered, t, &err) == HD_OK)
        return 1;
    t->busy = 0;
    mon_errand_end(self);
    return 0;
}

void mon_templates_tick(struct mon *self)
{
    struct mon_templates *t = self->templates;
    uint64_t now = mon_now_ns();

    if (!self->stats || t->busy)
        return;
    serve(t); /* whom a failure has left */
    if (!t->waiting && t->at_ns && now - t->at_ns < (uint64_t)self->conf->template_interval * 1000000)
        return;
    take_waiters(t);
    t->at_ns = now;
    if (!begin(t))
        serve(t);
}

int32_t mon_templates_fresh(struct mon *self, void (*fn)(void *arg), void *arg)
{
    struct mon_templates *t = self->templates;
    struct waiter *w;

    if (!self->stats || self->stopping) {
        fn(arg);
        return HD_OK;
    }
    if (t->waiters == WAITERS)
        return HD_EFULL;
    w = malloc(sizeof(*w));
    if (!w)
        return HD_ENOMEM;
    *w = (struct waiter){t->waiting, fn, arg};
    t->waiting = w;
    t->waiters++;
    mon_templates_tick(self);
    return HD_OK;
}

void mon_templates_stop(struct mon *self)
{
    struct mon_templates *t = self->templates;
    struct waiter **end = &t->served;

    if (!t->busy) {
        take_waiters(t);
        serve(t);
    }
    while (*end)
        end = &(*end)->next;
    *end = t->waiting; /* the gathering that is under way ends soon, and serves all */
    t->waiting = NULL;
    t->last = self->stats != NULL;
    if (!t->last || (!t->busy && !begin(t)))
        mon_history_flush(self, 1);
}

int32_t mon_templates_start(struct mon *self, struct hd_error *err)
{
    struct mon_templates *t = calloc(1, sizeof(*t));
    struct hd_label labels[] = {{"fingerprint", "other"}, {"database", ""}, {"user", ""}};

    if (!t)
        return hd_error_set(err, HD_ENOMEM, "no memory for the templates");
    t->self = self;
    self->templates = t;
    if (!self->stats)
        return HD_OK;
    for (int i = 0; i < COUNTERS; i++)
        t->other[i] =
            self->metrics->get(self->host, HD_METRIC_COUNTER, counters[i].name, counters[i].help, labels, 3);
    t->forgotten = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_templates_forgotten_total",
                                      "Templates that have not run for five gatherings, and made room for "
                                      "others past max_templates",
                                      NULL, 0);
    t->gauge = self->metrics->get(self->host, HD_METRIC_GAUGE, "howdah_top_templates",
                                  "Templates that are metrics of their own; bound: top", NULL, 0);
    return HD_OK;
}

void mon_templates_free(struct mon_templates *t)
{
    struct mon_known *k, *next;

    if (!t)
        return;
    HASH_ITER(hh, t->all, k, next)
    {
        k->member = 0; /* the plugin's metrics end with it */
        mon_known_drop(t, k);
    }
    free(t->databases);
    free(t);
}
