/*
 * Series of the monitor: counters that are read now and then have true rates, and the same sums by the
 * second, the minute and the hour; whatever clocks, servers and the disk do.
 */
#include "monitor_store.h"
#include "monitor/batch.h"
#include "monitor/series.h"

#include <math.h>
#include <string.h>

/* --- metrics that the test sets ---------------------------------------------------------------------------
 */

#define METRICS 3

static struct hd_metric_seen seen[METRICS];
static uint32_t seen_count;

static int32_t each(hd_host *host, const char *prefix,
                    int32_t (*fn)(void *arg, const struct hd_metric_seen *m), void *arg)
{
    int32_t code = HD_OK;

    (void)host;
    (void)prefix;
    for (uint32_t i = 0; !code && i < seen_count; i++)
        code = fn(arg, &seen[i]);
    return code;
}

static const struct hd_metrics_v1 metrics = {.size = sizeof(metrics), .each = each};

static void be(uint32_t i, uint32_t type, const char *name)
{
    seen[i] = (struct hd_metric_seen){.size = sizeof(seen[i]), .type = type, .id = i + 1, .name = name};
    seen_count = i + 1;
}

/* --- time passes ------------------------------------------------------------------------------------------
 */

/* A monitor that samples each second at .3, writes every ten seconds, and reads counter 1 when it is told to;
 * `ahead` is how far its clock on the wall is from the other one. */
struct world {
    struct mon_series_set *set;
    struct mon_store *store;
    struct mon_batch *batch;
    double at, ahead; /* seconds since the begin */
    int64_t ticked, flushed;
};

static void flush(struct world *w, int end)
{
    uint64_t lost = 0;

    mon_series_flush(w->set, end, w->batch);
    CU_ASSERT_EQUAL(mon_batch_write(w->batch, w->store, &lost), HD_OK);
    CU_ASSERT_EQUAL(mon_store_roll(w->store, HOUR + (int64_t)(w->at + w->ahead)), HD_OK);
    CU_ASSERT_EQUAL(lost, 0);
    mon_batch_free(w->batch);
    w->batch = mon_batch_new();
}

static void pass(struct world *w, double to)
{
    for (; (double)w->ticked + 0.3 <= to; w->ticked++) {
        w->at = (double)w->ticked + 0.3;
        mon_series_sample(w->set, HOUR + (int64_t)floor(w->at + w->ahead), (uint64_t)((w->at + 1) * 1e9),
                          w->batch);
        if (w->ticked % 10 == 9)
            flush(w, 0);
    }
    w->at = to;
}

/* Up to then counter 1 has grown by so much since it was read before. */
static void reading(struct world *w, double to, int64_t grown)
{
    pass(w, to);
    mon_series_read(w->set, 1, grown, (double)HOUR + to + w->ahead, (uint64_t)((to + 1) * 1e9));
}

static struct world begun(void)
{
    struct world w = {.batch = mon_batch_new()};

    make_folder();
    w.store = mon_store_new(path, 64 * MB);
    CU_ASSERT_EQUAL_FATAL(mon_store_open(w.store, &(struct hd_error)HD_ERROR_INIT), HD_OK);
    w.set = mon_series_new(NULL, &metrics, 100);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w.set);
    return w;
}

static void ended(struct world *w)
{
    mon_series_free(w->set);
    mon_batch_free(w->batch);
    mon_store_free(w->store);
    remove_folder();
}

/* What came from then to then, by the samples of one grain. */
static double came(const struct world *w, int grain, int64_t from, int64_t to)
{
    struct got g = got_of(w->store, "read_total", grain, HOUR + from, HOUR + to);

    CU_ASSERT(g.count == 0 || g.min >= 0);
    return g.sum * (double)mon_grains[grain].step;
}

static int is_near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b) + 1e-3;
}

#define SAME(a, b) CU_ASSERT(is_near(a, b))

/* --- cases ------------------------------------------------------------------------------------------------
 */

/* Read at odd times, about every `gap` seconds: what grows evenly has one rate everywhere. */
static void even(double gap)
{
    struct world w = begun();
    double at = 0;
    struct got g;

    be(0, HD_METRIC_COUNTER, "read_total");
    reading(&w, 0, 77); /* what was before that is nobody's */
    for (int i = 0; at < 10900; i++) {
        double next = at + gap + (i * 7 % 10 - 5) / 25.0;

        reading(&w, next, llround(next * 1000) - llround(at * 1000));
        at = next;
    }
    pass(&w, at + 20);
    for (int grain = MON_SECOND; grain <= MON_HOUR; grain++) {
        const struct mon_grain *k = &mon_grains[grain];

        g = got_of(w.store, "read_total", grain, HOUR, HOUR + 3 * 3600);
        CU_ASSERT_EQUAL(g.count, 3 * 3600 / k->step);
        CU_ASSERT(g.min > 997 && g.max < 1003);
        SAME(came(&w, grain, 0, 3 * 3600), 3 * 3600 * 1000.0);
    }
    ended(&w);
}

static void even_rates(void)
{
    even(5);
    even(0.4);
    even(61.7);
}

/* What comes by fits and starts: nothing is lost or doubled at any grain, nor in the hour that a reading ends
 * in, which is made before the reading. */
static void sums(void)
{
    struct world w = begun();
    int64_t grown[2] = {0, 0};

    be(0, HD_METRIC_COUNTER, "read_total");
    reading(&w, 0, 0);
    for (int hour = 0; hour < 2; hour++)
        for (int i = 1; i <= 144; i++) {
            int64_t n = i % 3 ? i * 7919 % 10007 : 0;

            reading(&w, 3600 * hour + i * 25, n);
            grown[hour] += n;
        }
    reading(&w, 7250, 50);
    pass(&w, 7270);
    for (int grain = MON_SECOND; grain <= MON_HOUR; grain++) {
        SAME(came(&w, grain, 0, 3600), (double)grown[0]);
        SAME(came(&w, grain, 3600, 7200), (double)grown[1]);
    }
    reading(&w, 9000, 9000 - 7250);
    reading(&w, 10890, 10890 - 9000);
    pass(&w, 10900);
    SAME(came(&w, MON_HOUR, 7200, 10800), 50 + 10800 - 7250);
    SAME(came(&w, MON_MINUTE, 7200, 10800), 50 + 10800 - 7250);
    ended(&w);
}

/* The clock is set an hour ahead and back, and by half a minute: what came is there, near where it came. */
static void clocks(void)
{
    static const double ahead[] = {0, 3600, 3630, 3600, 0, -7200, 0};
    struct world w = begun();
    double at = 0;

    be(0, HD_METRIC_COUNTER, "read_total");
    for (unsigned i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
        int64_t from, to;

        w.ahead = ahead[i];
        for (int n = 0; n < 12; n++, at += 10)
            reading(&w, at + 0.25, at > 0 ? 5000 : 0);
        pass(&w, at);
        flush(&w, 0);
        from = (int64_t)(at + w.ahead) - 100;
        to = from + 80;
        SAME(came(&w, MON_SECOND, from, to), 80 * 500.0);
        CU_ASSERT_EQUAL(got_of(w.store, "read_total", MON_SECOND, HOUR + from, HOUR + to).count, 80);
    }
    CU_ASSERT_EQUAL(got_of(w.store, "read_total", MON_SECOND, HOUR + (int64_t)at + 3800, HOUR + 9000).count,
                    0);
    ended(&w);
}

/* A server that was away for a day: all that came is there, in the last hour before it was read again. */
static void long_gaps(void)
{
    struct world w = begun();

    be(0, HD_METRIC_COUNTER, "read_total");
    reading(&w, 0, 0);
    reading(&w, 10, 1000);
    pass(&w, 20);
    w.ticked += DAY;
    reading(&w, 20 + (double)DAY, 360000);
    pass(&w, 40 + (double)DAY);
    flush(&w, 0);
    SAME(came(&w, MON_SECOND, 0, DAY), 1000 + 358000.0);
    SAME(came(&w, MON_SECOND, DAY - 3580, DAY + 20), 360000);
    CU_ASSERT_EQUAL(got_of(w.store, "read_total", MON_SECOND, HOUR + 20, HOUR + DAY - 3580).count, 0);
    ended(&w);
}

/* Seconds are counted as nanoseconds; a metric that goes takes what was known with it, one that comes again
 * begins anew; others are sampled each second as ever. */
static void beside_others(void)
{
    struct world w = begun();
    struct got g;

    be(0, HD_METRIC_COUNTER, "read_seconds_total");
    be(1, HD_METRIC_COUNTER, "other_total");
    be(2, HD_METRIC_GAUGE, "level");
    for (int i = 0; i <= 60; i++) {
        seen[1].value = 3 * i;
        seen[2].value = i;
        if (i % 15 == 0)
            reading(&w, i, 7500000000);
        pass(&w, i + 0.5);
    }
    flush(&w, 1);
    g = got_of(w.store, "read_seconds_total", MON_SECOND, HOUR, HOUR + 100);
    CU_ASSERT_EQUAL(g.count, 60); /* it ends with a second */
    CU_ASSERT(is_near(g.min, 0.5) && is_near(g.max, 0.5));
    g = got_of(w.store, "other_total", MON_SECOND, HOUR, HOUR + 100);
    CU_ASSERT(g.count == 60 && g.first == HOUR + 1 && is_near(g.min, 3) && is_near(g.max, 3));
    g = got_of(w.store, "level", MON_SECOND, HOUR, HOUR + 100);
    CU_ASSERT(g.count == 61 && g.min == 0 && g.max == 60);
    seen_count = 0; /* they go */
    pass(&w, 62);
    reading(&w, 70, 1);
    seen_count = METRICS;
    reading(&w, 80, 20000000000);
    pass(&w, 85);
    flush(&w, 1);
    g = got_of(w.store, "read_seconds_total", MON_SECOND, HOUR + 60, HOUR + 100);
    CU_ASSERT(g.count == 10 && g.first == HOUR + 70 && is_near(g.min, 2) && is_near(g.max, 2));
    ended(&w);
}

/* At the end all is there that was read, and once. */
static void the_end(void)
{
    struct world w = begun();

    be(0, HD_METRIC_COUNTER, "read_total");
    reading(&w, 0.5, 0);
    reading(&w, 61.5, 600);
    pass(&w, 61.6);
    reading(&w, 62.1, 12);
    flush(&w, 1);
    flush(&w, 1);
    SAME(came(&w, MON_SECOND, 0, 100), 612);
    CU_ASSERT_EQUAL(got_of(w.store, "read_total", MON_SECOND, HOUR, HOUR + 100).count, 63);
    CU_ASSERT_EQUAL(got_of(w.store, "read_total", MON_MINUTE, HOUR, HOUR + 100).count, 2);
    ended(&w);
}

UNIT_MAIN("monitor_series", {"even rates", even_rates}, {"sums", sums}, {"clocks that are set", clocks},
          {"long gaps", long_gaps}, {"beside others", beside_others}, {"the end", the_end})
