/*
 * Where a series is going: a line through its last samples that a few wild ones do not turn. Its slope is the
 * median of the slopes between all pairs of samples (Theil 1950; Sen 1968, "Estimates of the regression
 * coefficient based on Kendall's tau"), its height the median of what that leaves. Whether there is a trend
 * at all is Mann's and Kendall's test on the signs of the same pairs: samples that go up and down have none.
 */
#ifndef MONITOR_TREND_H
#define MONITOR_TREND_H

#include <stdint.h>

#define MON_TREND_STEP  5  /* seconds that one point is the mean of */
#define MON_TREND_MAX   60 /* points: the last five minutes */
#define MON_TREND_LEAST 6  /* fewer tell nothing */
#define MON_TREND_FAR   12 /* no forecast reaches further than so many times what has been seen */

struct mon_trend {
    double point[MON_TREND_MAX]; /* a ring */
    uint32_t count, next;
    double sum; /* of the step that goes on */
    uint32_t samples;
    int64_t step;        /* its number; 0: none */
    double slope, level; /* the line: a second, and its height at the last point */
    int fitted;          /* there is a trend */
};

/* A sample of this second. The line is drawn anew when a step is over; a gap or a clock that goes back begins
 * anew. */
void mon_trend_add(struct mon_trend *t, int64_t second, double value);
/* A second; 0: it goes nowhere. */
double mon_trend_slope(const struct mon_trend *t);
/* Seconds until the line is at `limit`, 0 when it is; negative: it does not get there, or nobody can tell. */
double mon_trend_until(const struct mon_trend *t, double limit);

#endif
