/*
 * Trends of a pool's use: lines, lines with wild samples, and what goes nowhere; in data time.
 */
#include "unit.h"
#include "monitor/trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A sample of each second for the time given. */
static void feed(struct mon_trend *t, int64_t from, int seconds, double (*value)(int second))
{
    for (int i = 0; i < seconds; i++)
        mon_trend_add(t, from + i, value(i));
}

static double rising(int s)
{
    return 10 + 0.1 * s;
}

static double falling(int s)
{
    return 90 - 0.1 * s;
}

static double level(int s)
{
    (void)s;
    return 7;
}

/* A fifth of the steps is far off, upwards, early on. */
static double rising_wildly(int s)
{
    return s / MON_TREND_STEP % 5 == 1 ? 400 : rising(s);
}

static double swinging(int s)
{
    return 50 + 30 * sin(2 * M_PI * s / 50);
}

static uint64_t noise = 88172645463325252u;

static double noisy(int s)
{
    (void)s;
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return (double)(noise % 100);
}

static void test_line(void)
{
    struct mon_trend t = {0};

    feed(&t, 1000, 29, rising);
    CU_ASSERT_EQUAL(mon_trend_slope(&t), 0); /* five points: nobody can tell */
    CU_ASSERT_EQUAL(mon_trend_until(&t, 100), -1);
    memset(&t, 0, sizeof(t));
    feed(&t, 1000, 301, rising); /* the last step is over: its mean is that of second 297 */
    CU_ASSERT_DOUBLE_EQUAL(mon_trend_slope(&t), 0.1, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(mon_trend_until(&t, 50), (50 - 39.7) / 0.1, 1e-6);
    CU_ASSERT_EQUAL(mon_trend_until(&t, 20), 0);   /* it is past that */
    CU_ASSERT_EQUAL(mon_trend_until(&t, 1e6), -1); /* too far to tell */
}

static void test_wild(void)
{
    struct mon_trend t = {0};

    feed(&t, 0, 301, rising_wildly);
    CU_ASSERT_DOUBLE_EQUAL(mon_trend_slope(&t), 0.1, 0.02);
    CU_ASSERT_DOUBLE_EQUAL(mon_trend_until(&t, 60), (60 - 39.7) / 0.1, 60);
}

static void test_none(void)
{
    struct mon_trend t = {0};
    int told = 0;

    feed(&t, 0, 600, level);
    CU_ASSERT_EQUAL(mon_trend_slope(&t), 0);
    CU_ASSERT_EQUAL(mon_trend_until(&t, 10), -1);
    memset(&t, 0, sizeof(t));
    feed(&t, 0, 301, swinging);
    CU_ASSERT_EQUAL(mon_trend_until(&t, 100), -1);
    memset(&t, 0, sizeof(t));
    feed(&t, 0, 301, falling);
    CU_ASSERT_DOUBLE_EQUAL(mon_trend_slope(&t), -0.1, 1e-9);
    CU_ASSERT_EQUAL(mon_trend_until(&t, 100), -1);
    for (int i = 0; i < 1000; i++) {
        memset(&t, 0, sizeof(t));
        feed(&t, 0, 301, noisy);
        told += mon_trend_slope(&t) != 0;
    }
    CU_ASSERT(told <= 30); /* one in a hundred is what the test promises */
}

/* The last five minutes count alone; a gap or a clock that goes back begins anew. */
static void test_time(void)
{
    struct mon_trend t = {0};

    feed(&t, 0, 1000, falling);
    feed(&t, 1000, 301, rising);
    CU_ASSERT_DOUBLE_EQUAL(mon_trend_slope(&t), 0.1, 1e-9);
    mon_trend_add(&t, 2000, 50);
    CU_ASSERT_EQUAL(t.count, 0);
    CU_ASSERT_EQUAL(mon_trend_slope(&t), 0);
    feed(&t, 2000, 60, rising);
    mon_trend_add(&t, 100, 1);
    CU_ASSERT_EQUAL(t.count, 0);
}

UNIT_MAIN("monitor_trend", {"a line, and when it arrives", test_line},
          {"wild samples do not turn it", test_wild}, {"what goes nowhere has no trend", test_none},
          {"gaps, clocks and what is long past", test_time})
