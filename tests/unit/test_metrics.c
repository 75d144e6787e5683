/*
 * Metrics: sketches against exact quantiles, the registry and its bound, ids of dropped metrics, and threads
 * that write at once.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "io/loop.h"
#include "plug/commands.h"
#include "plug/metrics.h"
#include "plug/sketch.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sketches ---------------------------------------------------------------------------------------------
 */

enum { SAMPLES = 50000 };

static double uniform(unsigned short *seed)
{
    return erand48(seed);
}

static uint64_t from_uniform(unsigned short *seed)
{
    return (uint64_t)(1e6 * uniform(seed)) + 1000;
}

static uint64_t from_exponential(unsigned short *seed)
{
    return (uint64_t)(-5e6 * log(1 - uniform(seed)));
}

static uint64_t from_pareto(unsigned short *seed)
{
    return (uint64_t)(1000 / pow(1 - uniform(seed), 1.0));
}

static uint64_t from_lognormal(unsigned short *seed)
{
    double n = sqrt(-2 * log(1 - uniform(seed))) * cos(2 * M_PI * uniform(seed));

    return (uint64_t)exp(14 + 2 * n);
}

static uint64_t from_small(unsigned short *seed)
{
    return (uint64_t)(uniform(seed) * 20);
}

static uint64_t from_two_peaks(unsigned short *seed)
{
    return uniform(seed) < 0.9 ? 100000 + (uint64_t)(1000 * uniform(seed))
                               : 3000000000u + (uint64_t)(1e6 * uniform(seed));
}

static uint64_t from_constant(unsigned short *seed)
{
    (void)seed;
    return 123456789;
}

static uint64_t from_huge(unsigned short *seed)
{
    return UINT64_MAX - (uint64_t)(uniform(seed) * 9e18);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void check_distribution(uint64_t (*draw)(unsigned short *))
{
    static const double qs[] = {0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    static struct hd_sketch_total total;
    unsigned short seed[3] = {1, 2, 3};
    struct hd_sketch parts[2] = {};
    uint64_t *all = malloc(SAMPLES * sizeof(*all)), sum = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(all);
    for (int i = 0; i < SAMPLES; i++) {
        all[i] = draw(seed);
        sum += all[i];
        CU_ASSERT_EQUAL(i % 2 ? hd_sketch_add(&parts[0], all[i]) : hd_sketch_add_shared(&parts[1], all[i]),
                        0);
    }
    qsort(all, SAMPLES, sizeof(*all), by_value);
    hd_sketch_total_init(&total);
    hd_sketch_total_add(&total, &parts[0]);
    hd_sketch_total_add(&total, &parts[1]);
    CU_ASSERT_EQUAL(total.count, SAMPLES);
    CU_ASSERT_EQUAL(total.sum, sum);
    CU_ASSERT_EQUAL(total.min, all[0]);
    CU_ASSERT_EQUAL(total.max, all[SAMPLES - 1]);
    for (size_t i = 0; i < HD_ARRAY_LEN(qs); i++) {
        double exact = (double)all[(size_t)(qs[i] * (SAMPLES - 1))];

        CU_ASSERT(fabs(hd_sketch_quantile(&total, qs[i]) - exact) <= exact * 0.010001);
    }
    hd_sketch_reset(&parts[0]);
    hd_sketch_total_init(&total);
    hd_sketch_total_add(&total, &parts[0]);
    CU_ASSERT_EQUAL(total.count, 0);
    CU_ASSERT_EQUAL(hd_sketch_quantile(&total, 0.5), 0);
    hd_sketch_free(&parts[0]);
    hd_sketch_free(&parts[1]);
    free(all);
}

static void test_quantiles(void)
{
    static uint64_t (*const draws[])(unsigned short *) = {from_uniform,   from_exponential, from_pareto,
                                                          from_lognormal, from_small,       from_two_peaks,
                                                          from_constant,  from_huge};

    for (size_t i = 0; i < HD_ARRAY_LEN(draws); i++)
        check_distribution(draws[i]);
}

/* The bin that a value falls into is that of its logarithm, but where it lies on the very edge of two. */
static void test_bins_of_logarithms(void)
{
    const double per_log = 1 / log(1.01 / 0.99);
    unsigned wrong = 0;

    for (uint64_t value = 1; value < UINT64_C(1) << 63; value += 1 + value / 1009) {
        double place = log((double)value) * per_log;
        size_t bin = (size_t)ceil(place);
        struct hd_sketch s = {};
        struct hd_sketch_page *page;

        CU_ASSERT_EQUAL_FATAL(hd_sketch_add(&s, value), HD_OK);
        page = s.pages[bin / HD_SKETCH_PAGE];
        wrong += fabs(place - nearbyint(place)) > 1e-5 && !(page && page->bin[bin % HD_SKETCH_PAGE]);
        hd_sketch_free(&s);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void test_every_magnitude(void)
{
    static struct hd_sketch_total total;

    for (int bit = 0; bit < 64; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)off;
            struct hd_sketch s = {};

            /* Between two others, so that the ends do not help. */
            hd_sketch_add(&s, 0);
            hd_sketch_add(&s, value);
            hd_sketch_add(&s, UINT64_MAX);
            hd_sketch_total_init(&total);
            hd_sketch_total_add(&total, &s);
            CU_ASSERT(fabs(hd_sketch_quantile(&total, 0.5) - (double)value) <= (double)value * 0.010001);
            hd_sketch_free(&s);
        }
    }
    CU_ASSERT_EQUAL(hd_sketch_quantile(&total, -1), 0);
    CU_ASSERT_EQUAL(hd_sketch_quantile(&total, 2), 0);
    CU_ASSERT_EQUAL(hd_sketch_quantile(&total, NAN), 0);
}

static void sketch_without_memory(void *arg)
{
    struct hd_sketch s = {};

    (void)arg;
    for (uint64_t v = 1; v < 100000; v *= 10)
        (void)hd_sketch_add(&s, v);
    hd_sketch_free(&s);
}

/* --- the registry -----------------------------------------------------------------------------------------
 */

static int64_t counter(struct hd_metrics *m, const char *name)
{
    return hd_metrics_get(m, NULL, HD_METRIC_COUNTER, name, "help", NULL, 0);
}

static void test_get(void)
{
    struct hd_label ab[] = {{"a", "1"}, {"b", "2"}}, ba[] = {{"b", "2"}, {"a", "1"}}, other[] = {{"a", "2"}};
    struct hd_label twice[] = {{"a", "1"}, {"a", "2"}}, tricky[] = {{"a", "1\nb\n1\n2"}};
    struct hd_metrics *m = hd_metrics_new(100);
    int64_t id, labelled;

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    id = counter(m, "x_total");
    CU_ASSERT(id > 0);
    CU_ASSERT_EQUAL(counter(m, "x_total"), id);
    labelled = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "x_total", NULL, ab, 2);
    CU_ASSERT(labelled > 0 && labelled != id);
    CU_ASSERT_EQUAL(hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "x_total", NULL, ba, 2), labelled);
    CU_ASSERT_NOT_EQUAL(hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "x_total", NULL, other, 1), labelled);
    CU_ASSERT_NOT_EQUAL(hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "x_total", NULL, tricky, 1), labelled);
    CU_ASSERT_EQUAL(hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "x_total", NULL, NULL, 0), HD_EEXIST);
    CU_ASSERT_EQUAL(hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "x_total", NULL, twice, 2), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "x_total", NULL, NULL, 1), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_metrics_get(m, NULL, 0, "y", NULL, NULL, 0), HD_EINVAL);
    CU_ASSERT_EQUAL(counter(m, ""), HD_EINVAL);
    CU_ASSERT_EQUAL(counter(m, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(counter(m, "1x"), HD_EINVAL);
    CU_ASSERT_EQUAL(counter(m, "X"), HD_EINVAL);
    hd_metrics_free(m);
}

static void test_values(void)
{
    struct hd_metrics *m = hd_metrics_new(100);
    int64_t c = counter(m, "c_total"), g = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "g", NULL, NULL, 0);
    int64_t s = hd_metrics_get(m, NULL, HD_METRIC_SKETCH, "s_seconds", NULL, NULL, 0);

    hd_metrics_add(m, c, 5);
    hd_metrics_add(m, c, 7);
    hd_metrics_set(m, c, 1); /* a counter is not set */
    CU_ASSERT_EQUAL(hd_metrics_value(m, c), 12);
    hd_metrics_add(m, g, 5);
    hd_metrics_add(m, g, -8);
    CU_ASSERT_EQUAL(hd_metrics_value(m, g), -3);
    hd_metrics_set(m, g, 40);
    hd_metrics_add(m, g, 2);
    CU_ASSERT_EQUAL(hd_metrics_value(m, g), 42);
    hd_metrics_observe(m, s, 1000);
    hd_metrics_observe(m, s, 1000);
    hd_metrics_add(m, s, 1);
    hd_metrics_observe(m, c, 1);
    CU_ASSERT_DOUBLE_EQUAL(hd_metrics_quantile(m, s, 0.5), 1000, 10);
    CU_ASSERT_EQUAL(hd_metrics_value(m, s), 0);
    CU_ASSERT_EQUAL(hd_metrics_value(m, -1), 0);
    CU_ASSERT_EQUAL(hd_metrics_value(m, INT64_MAX), 0);
    hd_metrics_add(m, 0, 1);
    hd_metrics_add(m, 4711, 1);
    hd_metrics_free(m);
}

static void test_bound_and_drop(void)
{
    struct hd_metrics *m = hd_metrics_new(300); /* more than a chunk */
    char name[32];
    int64_t ids[300], sketch, again;
    size_t n = 0;
    int owner;

    hd_metrics_drop_owner(m, NULL); /* the host's own: makes the count exact */
    for (int i = 0; i < 301; i++) {
        int64_t id;

        snprintf(name, sizeof(name), "n_%d", i);
        id = hd_metrics_get(m, &owner, HD_METRIC_COUNTER, name, NULL, NULL, 0);
        CU_ASSERT(i < 300 ? id > 0 : id == HD_EFULL);
        if (id <= 0)
            continue;
        hd_metrics_add(m, id, i + 1);
        ids[n++] = id;
    }
    CU_ASSERT_EQUAL_FATAL(n, 300);
    for (size_t i = 0; i < n; i++)
        CU_ASSERT_EQUAL(hd_metrics_value(m, ids[i]), (int64_t)i + 1);
    hd_metrics_drop(m, ids[7]);
    hd_metrics_drop(m, ids[7]);
    CU_ASSERT_EQUAL(hd_metrics_value(m, ids[7]), 0);
    again = counter(m, "again");
    CU_ASSERT(again > 0 && again != ids[7]);
    hd_metrics_add(m, ids[7], 99); /* a late write */
    CU_ASSERT_EQUAL(hd_metrics_value(m, again), 0);
    hd_metrics_add(m, again, 3);
    CU_ASSERT_EQUAL(hd_metrics_value(m, again), 3);
    hd_metrics_drop_owner(m, &owner);
    CU_ASSERT_EQUAL(hd_metrics_value(m, ids[8]), 0);
    CU_ASSERT_EQUAL(hd_metrics_value(m, again), 3);

    /* A sketch in a place where another one stood starts empty. */
    for (int i = 0; i < 3; i++) {
        sketch = hd_metrics_get(m, NULL, HD_METRIC_SKETCH, "s", NULL, NULL, 0);
        CU_ASSERT_EQUAL(hd_metrics_quantile(m, sketch, 1), 0);
        hd_metrics_observe(m, sketch, 5000);
        CU_ASSERT_EQUAL(hd_metrics_quantile(m, sketch, 1), 5000);
        hd_metrics_drop(m, sketch);
        hd_metrics_observe(m, sketch, 1);
    }
    hd_metrics_free(m);
}

static void use_without_memory(void *arg)
{
    struct hd_label l[] = {{"a", "1"}};
    struct hd_metrics *m = hd_metrics_new(300);
    struct hd_metrics_snapshot snap;
    int64_t id;

    (void)arg;
    if (!m)
        return;
    id = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "a_total", "h", l, 1);
    hd_metrics_add(m, id, 1);
    id = hd_metrics_get(m, NULL, HD_METRIC_SKETCH, "b_seconds", "h", l, 1);
    hd_metrics_observe(m, id, 1);
    if (hd_metrics_snapshot(m, "a", &snap) == HD_OK)
        hd_metrics_snapshot_free(&snap);
    hd_metrics_free(m);
}

static void test_no_memory(void)
{
    int runs = unit_each_alloc_failure(sketch_without_memory, NULL);

    runs += unit_each_alloc_failure(use_without_memory, NULL);
    CU_ASSERT(runs > 20 || !unit_can_fail_alloc());
}

/* --- snapshots --------------------------------------------------------------------------------------------
 */

static void count_rows(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    (void)name;
    (void)err;
    CU_ASSERT_EQUAL_FATAL(code, HD_OK);
    *(size_t *)arg = hd_result_row_count(r);
}

static void test_snapshot(void)
{
    struct hd_label a[] = {{"database", "a"}}, b[] = {{"database", "b"}};
    struct hd_metrics *m = hd_metrics_new(100);
    struct hd_metrics_snapshot s;
    struct hd_commands *commands;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_loop loop;
    size_t rows = 0;

    hd_metrics_add(m, hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "z_total", "zs", b, 1), 2);
    hd_metrics_add(m, hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "z_total", "zs", a, 1), 1);
    hd_metrics_observe(m, hd_metrics_get(m, NULL, HD_METRIC_SKETCH, "z_seconds", "", NULL, 0), 2000000000);
    CU_ASSERT_EQUAL_FATAL(hd_metrics_snapshot(m, "z_", &s), HD_OK);
    CU_ASSERT_EQUAL_FATAL(s.count, 3);
    CU_ASSERT_STRING_EQUAL(s.views[0].name, "z_seconds");
    CU_ASSERT_EQUAL(s.views[0].count, 1);
    CU_ASSERT_DOUBLE_EQUAL(s.views[0].p99, 2, 0.02);
    CU_ASSERT_EQUAL(s.views[0].max, 2);
    CU_ASSERT_STRING_EQUAL(s.views[1].labels[0].value, "a");
    CU_ASSERT_EQUAL(s.views[1].value, 1);
    CU_ASSERT_EQUAL(s.views[2].value, 2);
    CU_ASSERT_STRING_EQUAL(s.views[2].help, "zs");
    hd_metrics_snapshot_free(&s);

    CU_ASSERT_EQUAL_FATAL(hd_metrics_snapshot(m, "howdah_process_resident", &s), HD_OK);
    CU_ASSERT_EQUAL_FATAL(s.count, 1);
    CU_ASSERT(s.views[0].value > 1000000);
    hd_metrics_snapshot_free(&s);

    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    commands = hd_commands_new(&loop);
    CU_ASSERT_EQUAL(hd_metrics_add_commands(m, commands, &err), HD_OK);
    hd_commands_call(commands, "show metrics z_", 15, "", count_rows, &rows);
    CU_ASSERT_EQUAL(rows, 3);
    hd_commands_free(commands);
    hd_loop_close(&loop);
    hd_metrics_free(m);
}

/* --- threads ----------------------------------------------------------------------------------------------
 */

enum { WRITERS = 4, EACH = 30000 };

struct writer {
    pthread_t thread;
    struct hd_metrics *m;
    int number;
    int64_t counter, gauge, sketch;
};

static void *write_metrics(void *arg)
{
    struct writer *w = arg;

    if (w->number < 2)
        hd_thread_name(HD_THREAD_WORKER, w->number); /* the others share a shard */
    for (int i = 1; i <= EACH; i++) {
        hd_metrics_add(w->m, w->counter, 1);
        hd_metrics_add(w->m, w->gauge, i % 2 ? 3 : -3);
        hd_metrics_observe(w->m, w->sketch, (uint64_t)i);
    }
    return NULL;
}

static void test_threads(void)
{
    struct writer w[WRITERS] = {0};
    struct hd_metrics *m = hd_metrics_new(1000);
    int64_t c = counter(m, "c_total"), g = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "g", NULL, NULL, 0);
    int64_t s = hd_metrics_get(m, NULL, HD_METRIC_SKETCH, "s", NULL, NULL, 0), last = 0;
    struct hd_metrics_snapshot snap;
    char name[32];

    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){.m = m, .number = i, .counter = c, .gauge = g, .sketch = s};
        CU_ASSERT_EQUAL(pthread_create(&w[i].thread, NULL, write_metrics, &w[i]), 0);
    }
    for (int i = 0; i < 200; i++) { /* reading, making and dropping go on meanwhile */
        int64_t v = hd_metrics_value(m, c);

        CU_ASSERT(v >= last);
        last = v;
        snprintf(name, sizeof(name), "other_%d", i);
        hd_metrics_drop(m, counter(m, name));
        CU_ASSERT_EQUAL(hd_metrics_snapshot(m, NULL, &snap), HD_OK);
        hd_metrics_snapshot_free(&snap);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(w[i].thread, NULL);
    CU_ASSERT_EQUAL(hd_metrics_value(m, c), WRITERS * EACH);
    CU_ASSERT_EQUAL(hd_metrics_value(m, g), 0);
    CU_ASSERT_DOUBLE_EQUAL(hd_metrics_quantile(m, s, 0.5), EACH / 2.0, EACH * 0.0051);
    CU_ASSERT_EQUAL(hd_metrics_snapshot(m, "s", &snap), HD_OK);
    CU_ASSERT_EQUAL(snap.views[snap.count - 1].count, WRITERS * EACH);
    hd_metrics_snapshot_free(&snap);
    hd_metrics_free(m);
}

/* Counts what each() shows, and keeps the last. */
struct seen {
    int count;
    char label[32];
    int64_t value;
};

static int32_t see(void *arg, const struct hd_metric_seen *m)
{
    struct seen *s = arg;

    s->count++;
    s->value = m->value;
    snprintf(s->label, sizeof(s->label), "%s", m->label_count ? m->labels[0].value : "");
    return s->count == 3 ? HD_EFULL : HD_OK;
}

static void test_each_and_bins(void)
{
    struct hd_metrics *m = hd_metrics_new(100);
    struct hd_label label = {"node", "a"};
    int64_t g = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "each_one", NULL, &label, 1);
    int64_t k = hd_metrics_get(m, NULL, HD_METRIC_SKETCH, "each_seconds", NULL, NULL, 0);
    struct hd_metric_bins before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
    struct seen s = {0};

    hd_metrics_set(m, g, 42);
    CU_ASSERT_EQUAL(hd_metrics_each(m, "each_o", see, &s), HD_OK);
    CU_ASSERT_EQUAL(s.count, 1);
    CU_ASSERT_EQUAL(s.value, 42);
    CU_ASSERT_STRING_EQUAL(s.label, "a");
    CU_ASSERT_EQUAL(hd_metrics_each(m, NULL, see, &s), HD_EFULL);
    CU_ASSERT_EQUAL(hd_metrics_bins(m, g, &before), HD_ENOENT);
    for (uint64_t i = 1; i <= 1000; i++)
        hd_metrics_observe(m, k, i * 1000);
    CU_ASSERT_EQUAL(hd_metrics_bins(m, k, &before), HD_OK);
    for (uint64_t i = 1; i <= 1000; i++)
        hd_metrics_observe(m, k, i * 1000000);
    CU_ASSERT_EQUAL(hd_metrics_bins(m, k, &after), HD_OK);
    CU_ASSERT_EQUAL(after.count, 2000);
    after.count -= before.count;
    for (int i = 0; i < HD_METRIC_BINS; i++)
        after.bin[i] -= before.bin[i];
    CU_ASSERT(fabs(hd_metrics_bins_quantile(&after, 0.5) / 500e6 - 1) < 0.011);
    CU_ASSERT(fabs(hd_metrics_bins_quantile(&before, 0.95) / 950e3 - 1) < 0.011);
    hd_metrics_free(m);
}

UNIT_MAIN("metrics", {"quantiles within 1 %", test_quantiles}, {"every magnitude", test_every_magnitude},
          {"the bins of logarithms", test_bins_of_logarithms}, {"get", test_get}, {"values", test_values},
          {"bound and drop", test_bound_and_drop}, {"no memory", test_no_memory}, {"snapshot", test_snapshot},
          {"threads", test_threads}, {"each metric, and the bins of sketches", test_each_and_bins})
