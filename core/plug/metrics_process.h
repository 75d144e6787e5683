/*
 * What the process itself costs, as metrics: memory, processor time, descriptors. Brought up to date when
 * somebody looks.
 */
#ifndef HD_PLUG_METRICS_PROCESS_H
#define HD_PLUG_METRICS_PROCESS_H

#include <stdint.h>

struct hd_metrics;

struct hd_metrics_process {
    uint64_t started_ns;
    int64_t resident, cpu, descriptors, uptime, threads, log_lost; /* ids */
    _Atomic int64_t cpu_told, lost_told;                           /* what the counters have come to */
};

void hd_metrics_process_init(struct hd_metrics_process *p, struct hd_metrics *m);
void hd_metrics_process_update(struct hd_metrics_process *p, struct hd_metrics *m);

#endif
