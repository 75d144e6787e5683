/* Trends; see trend.h. */
#include "trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS       (MON_TREND_MAX * (MON_TREND_MAX - 1) / 2)
#define SIGNIFICANT 2.576 /* standard deviations: once in a hundred series that go nowhere */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof(*v), by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static double point_at(const struct mon_trend *t, uint32_t i)
{
    return t->point[(t->next + MON_TREND_MAX - t->count + i) % MON_TREND_MAX];
}

/* Standard deviations by which the signs of the pairs exceed what chance gives. Ties count for nothing, and
 * the variance is that without ties: the test errs to seeing no trend. */
static double mann_kendall(uint32_t n, int64_t signs)
{
    double variance = (double)n * (n - 1) * (2.0 * n + 5) / 18;
    double excess = fabs((double)signs) - 1;

    return excess > 0 ? excess / sqrt(variance) : 0;
}

static void fit(struct mon_trend *t)
{
    double slopes[PAIRS], rest[MON_TREND_MAX];
    uint32_t pairs = 0, n = t->count;
    int64_t signs = 0;

    t->fitted = 0;
    if (n < MON_TREND_LEAST)
        return;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = i + 1; k < n; k++) {
            double rise = point_at(t, k) - point_at(t, i);

            signs += (rise > 0) - (rise < 0);
            slopes[pairs++] = rise / (MON_TREND_STEP * (double)(k - i));
        }
    t->slope = median(slopes, pairs);
    for (uint32_t i = 0; i < n; i++)
        rest[i] = point_at(t, i) + t->slope * MON_TREND_STEP * (double)(n - 1 - i);
    t->level = median(rest, n);
    t->fitted = mann_kendall(n, signs) > SIGNIFICANT && t->slope != 0;
}

static void end_step(struct mon_trend *t)
{
    t->point[t->next] = t->sum / t->samples;
    t->next = (t->next + 1) % MON_TREND_MAX;
    t->count += t->count < MON_TREND_MAX;
    fit(t);
}

void mon_trend_add(struct mon_trend *t, int64_t second, double value)
{
    int64_t step = second / MON_TREND_STEP;

    if (t->samples && step != t->step) {
        if (step == t->step + 1)
            end_step(t);
        else
            memset(t, 0, sizeof(*t));
        t->sum = 0;
        t->samples = 0;
    }
    t->step = step;
    t->sum += value;
    t->samples++;
}

double mon_trend_slope(const struct mon_trend *t)
{
    return t->fitted ? t->slope : 0;
}

double mon_trend_until(const struct mon_trend *t, double limit)
{
    double seconds;

    if (!t->fitted || t->slope <= 0)
        return -1;
    seconds = t->level < limit ? (limit - t->level) / t->slope : 0;
    return seconds <= (double)MON_TREND_FAR * MON_TREND_STEP * t->count ? seconds : -1;
}
