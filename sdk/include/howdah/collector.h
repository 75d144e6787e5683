/*
 * Collectors: plugins that look at something now and then, for the plugin `monitor`. Capability
 * "howdah.collector/1".
 *
 * A plugin that provides it is named in the key `collectors` of [plugin monitor]. What it finds are metrics,
 * so they are in SHOW METRICS, in the history, in alerts and over HTTP like all others. The monitor calls it
 * at its interval (times `collect_scale`, as whoever runs the host wants), less often while it is slow or
 * fails, and shows how it does in SHOW COLLECTORS.
 */
#ifndef HOWDAH_COLLECTOR_H
#define HOWDAH_COLLECTOR_H

#include <howdah/metrics.h>
#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_COLLECTOR "howdah.collector/1"

/* Where findings go; valid during the call. Since ABI 0.1. */
struct hd_findings {
    uint32_t size;
    uint32_t reserved;
    /* What a gauge (HD_METRIC_GAUGE) is, or a counter (HD_METRIC_COUNTER) has come to by now: of a counter
     * only what it has grown since the last time counts, and one that is lower than it was begins anew. Names
     * and labels as in hd_metrics_v1.get; "_seconds" are nanoseconds. A metric that is not found again for
     * some time is dropped. HD_EFULL: too many. HD_EINVAL: a name, type or label is missing, or there are
     * more than 6 labels; what else is wrong with a name or label is in SHOW COLLECTORS. [job], within
     * collect() */
    int32_t (*found)(const struct hd_findings *f, uint32_t type, const char *name, const char *help,
                     const struct hd_label *labels, uint32_t label_count, int64_t value);
};

/* Capability "howdah.collector/1". Since ABI 0.1. */
struct hd_collector_v1 {
    uint32_t size;
    uint32_t reserved;
    uint64_t interval_ms; /* between two looks, times collect_scale; 0: the monitor's own */
    /* Looks. HD_OK, or an error with text. May block; the provider stays started meanwhile. [job] */
    int32_t (*collect)(void *self, const struct hd_findings *f, struct hd_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
