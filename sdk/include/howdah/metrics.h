/*
 * Metrics: counters, gauges and relative-error sketches, kept per thread and merged when they are read.
 * Service "howdah.metrics/1".
 */
#ifndef HOWDAH_METRICS_H
#define HOWDAH_METRICS_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_METRICS "howdah.metrics/1"

/* Types of a metric. Since ABI 0.1. */
#define HD_METRIC_COUNTER 1 /* only grows */
#define HD_METRIC_GAUGE   2 /* goes up and down */
#define HD_METRIC_SKETCH                                                                                     \
    3 /* distribution with quantiles within 1 % of the value (DDSketch, arXiv:1908.10693) */

/* One label. Names and values are UTF-8; values come from bounded sets (never statement texts). Since ABI
 * 0.1. */
struct hd_label {
    const char *name;  /* NUL-terminated, [a-z_]+ */
    const char *value; /* NUL-terminated */
};

/* A metric as each() shows it; borrowed for the call. Since ABI 0.1. */
struct hd_metric_seen {
    uint32_t size;
    uint32_t type; /* HD_METRIC_… */
    int64_t id;
    const char *name; /* NUL-terminated, these two */
    const char *help;
    const struct hd_label *labels; /* in the order of their names */
    uint32_t label_count;
    uint32_t reserved;
    int64_t value; /* of a counter or gauge; what a name in seconds counts is in nanoseconds */
};

/* Bins of a sketch. Since ABI 0.1. */
#define HD_METRIC_BINS 2240

/* What a sketch has counted, bin by bin, since it was made. What was recorded between two moments is the
 * difference of two of these, member by member; what several have recorded is their sum. Since ABI 0.1. */
struct hd_metric_bins {
    uint32_t size;
    uint32_t reserved;
    uint64_t count, sum;
    uint64_t zeros;               /* values that were 0 */
    uint64_t bin[HD_METRIC_BINS]; /* the i-th: above G^(i-1), up to G^i, where G is 1.01 / 0.99 */
};

/* Service "howdah.metrics/1". Since ABI 0.1. */
struct hd_metrics_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Makes or finds a metric; the same name, type and labels give the same id. Names are snake_case with a
     * unit at the end ("…_seconds", "…_bytes", "…_total" for counters). Positive id, or an error code;
     * HD_EFULL past the host's `max_metrics`. [any], not on the statement's path. */
    int64_t (*get)(hd_host *host, uint32_t type, const char *name, const char *help,
                   const struct hd_label *labels, uint32_t label_count);
    /* Adds to a counter or gauge. [any], wait-free on workers. */
    void (*add)(hd_host *host, int64_t id, int64_t delta);
    /* Sets a gauge. [any] */
    void (*set)(hd_host *host, int64_t id, int64_t value);
    /* Records one value in a sketch, in the unit that the name says, as nanoseconds for "_seconds". [any] */
    void (*observe)(hd_host *host, int64_t id, uint64_t value);
    /* The present value of a counter or gauge, all threads together. [any] */
    int64_t (*value)(hd_host *host, int64_t id);
    /* The q-quantile (0 … 1) of a sketch; 0 when it is empty. [any] */
    double (*quantile)(hd_host *host, int64_t id, double q);
    /* Drops a metric that is no longer wanted; its id becomes invalid. [control] */
    void (*drop)(hd_host *host, int64_t id);
    /* Calls fn for each metric, whoever has made it, whose name begins with `prefix` (NULL: all), in no
     * order, until it returns something other than HD_OK, which is then returned. fn calls nothing of this
     * service. [any], not on the statement's path. */
    int32_t (*each)(hd_host *host, const char *prefix,
                    int32_t (*fn)(void *arg, const struct hd_metric_seen *m), void *arg);
    /* The present bins of a sketch. HD_ENOENT: there is no such sketch. [any], not on the statement's path.
     */
    int32_t (*bins)(hd_host *host, int64_t id, struct hd_metric_bins *out);
    /* The q-quantile (0 … 1) of bins, within 1 %; 0 when they are empty. [any] */
    double (*bins_quantile)(hd_host *host, const struct hd_metric_bins *bins, double q);
};

#ifdef __cplusplus
}
#endif
#endif
