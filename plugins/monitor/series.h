/*
 * Series: what the metrics of the host and its plugins are worth, second by second. Counters become rates,
 * gauges stay what they are, and of each sketch there are the median, the 95th and 99th percentile and the
 * rate of what was recorded, within each second and within each minute.
 *
 * A counter that goes back begins anew: nothing is counted twice, and no rate is negative. One that
 * collectors read now and then has no samples but between two readings, where each second has its part of
 * what has come: the newest are as late as the readings are apart. The number of series has a bound; past it
 * a metric is not followed, and that is counted. [control]
 */
#ifndef MONITOR_SERIES_H
#define MONITOR_SERIES_H

#include <howdah/metrics.h>

#include "batch.h"

struct mon_series_set;

struct mon_series_set *mon_series_new(hd_host *host, const struct hd_metrics_v1 *metrics, uint32_t max);
void mon_series_free(struct mon_series_set *set); /* NULL is allowed */
void mon_series_limit(struct mon_series_set *set, uint32_t max);

/* Looks at all metrics. `now` is in seconds since 1970, `mono_ns` on a clock that nobody sets. What has
 * become complete goes into `out`. */
void mon_series_sample(struct mon_series_set *set, int64_t now, uint64_t mono_ns, struct mon_batch *out);
/* A counter that is read only now and then was read at `wall` (seconds since 1970), and has grown by so much
 * since it was read before; the first time it is only known from here on. */
void mon_series_read(struct mon_series_set *set, int64_t id, int64_t grown, double wall, uint64_t mono_ns);
/* Puts what is pending into `out`; at the end also of the minute that goes on. */
void mon_series_flush(struct mon_series_set *set, int end, struct mon_batch *out);

uint32_t mon_series_count(const struct mon_series_set *set);
/* Metrics that were not followed when they were looked at last. */
uint32_t mon_series_left_out(const struct mon_series_set *set);

/* The last sample of each series whose name is `name` (NULL: of all). */
struct mon_latest {
    const char *key, *unit;
    double value; /* NAN: none yet */
};
void mon_series_each(const struct mon_series_set *set, const char *name,
                     void (*fn)(void *arg, const struct mon_latest *l), void *arg);

#endif
