/*
 * Metrics of sessions and pools: once a second each worker adds what has come since, so that nothing is paid
 * for them on the statement's path.
 */
#ifndef HD_SESSION_METER_H
#define HD_SESSION_METER_H

#include <howdah/error.h>
#include <stdint.h>

struct hd_worker;
struct hd_workers;

#define HD_METER_COUNT  32
#define HD_POOL_METRICS 7 /* of each pool */

/* The metrics' numbers, the same for all workers; and what a worker has told so far. */
struct hd_meter_ids {
    int64_t id[HD_METER_COUNT];
};

struct hd_meter {
    int64_t told[HD_METER_COUNT];
};

/* The metrics of pools past pool_metrics (pool_meter.c); under the workers' lock of pools. */
struct hd_pool_meters {
    int64_t id[HD_POOL_METRICS], count_id;
    int64_t apart, others; /* pools with metrics of their own, and without */
};

/* Makes the metrics. [control], before the workers start. */
int hd_meter_init(struct hd_workers *all, struct hd_error *err);
/* Brings them up to date with this worker. Own thread. */
void hd_meter_update(struct hd_worker *w);

#endif
