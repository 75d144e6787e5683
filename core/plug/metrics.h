/*
 * Metrics: counters, gauges and quantile sketches, kept per thread and merged when they are read.
 *
 * A thread of the host (control, worker, job) writes its own shard, plain loads and stores that nobody else
 * writes; all other threads share one shard with atomic additions. Reading never stops a writer. The number
 * of metrics is bounded; what is dropped makes room, and a late write to a dropped metric is ignored.
 */
#ifndef HD_PLUG_METRICS_H
#define HD_PLUG_METRICS_H

#include <howdah/metrics.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct hd_metrics;
struct hd_commands;

/* Holds at most `max` metrics. NULL: no memory. */
struct hd_metrics *hd_metrics_new(size_t max);
/* No thread uses it any more. */
void hd_metrics_free(struct hd_metrics *m);

/* As hd_metrics_v1's. `owner` is what hd_metrics_drop_owner names, NULL for the host itself; a metric belongs
 * to whoever asked for it first. hd_metrics_add and hd_metrics_observe may stand on the statement's path. */
int64_t hd_metrics_get(struct hd_metrics *m, const void *owner, uint32_t type, const char *name,
                       const char *help, const struct hd_label *labels, uint32_t label_count);
void hd_metrics_add(struct hd_metrics *m, int64_t id, int64_t delta);
void hd_metrics_set(struct hd_metrics *m, int64_t id, int64_t value);
void hd_metrics_observe(struct hd_metrics *m, int64_t id, uint64_t value);
int64_t hd_metrics_value(struct hd_metrics *m, int64_t id);
/* In the unit that was observed: nanoseconds for "_seconds". */
double hd_metrics_quantile(struct hd_metrics *m, int64_t id, double q);
void hd_metrics_drop(struct hd_metrics *m, int64_t id);
void hd_metrics_drop_owner(struct hd_metrics *m, const void *owner);

/* Bounds that a reader of histograms is told of, in nanoseconds. */
#define HD_METRIC_BOUNDS 14
extern const uint64_t hd_metric_bounds[HD_METRIC_BOUNDS];

/* One metric as it was at one moment. Except `value`, all is in the unit that the name says: what is recorded
 * as nanoseconds for "_seconds" and "_seconds_total" is here in seconds. */
struct hd_metric_view {
    const char *name;
    const char *help;
    const struct hd_label *labels;
    uint32_t label_count;
    uint32_t type;
    int64_t value; /* counters and gauges, as they were added up … */
    double number; /* … and in the unit of the name */
    uint64_t count;
    double sum, min, max, p50, p95, p99; /* sketches */
    const uint64_t
        *below; /* sketches of seconds: how many were at most each of hd_metric_bounds; else NULL */
};

struct hd_metrics_snapshot {
    size_t count;
    struct hd_metric_view *views; /* by name, then labels */
    struct hd_arena arena;        /* what the views' strings stand in */
};

/* All metrics whose name contains `part` (NULL: all), process metrics brought up to date. [any] */
int hd_metrics_snapshot(struct hd_metrics *m, const char *part, struct hd_metrics_snapshot *out);
void hd_metrics_snapshot_free(struct hd_metrics_snapshot *s);

/* As hd_metrics_v1's. */
int hd_metrics_each(struct hd_metrics *m, const char *prefix,
                    int32_t (*fn)(void *arg, const struct hd_metric_seen *seen), void *arg);
int hd_metrics_bins(struct hd_metrics *m, int64_t id, struct hd_metric_bins *out);
double hd_metrics_bins_quantile(const struct hd_metric_bins *bins, double q);

/* Adds SHOW METRICS. [control] */
int hd_metrics_add_commands(struct hd_metrics *m, struct hd_commands *commands, struct hd_error *err);
/* Offers it to plugins as "howdah.metrics/1". [control] */
int hd_metrics_serve(struct hd_metrics *m);

#endif
