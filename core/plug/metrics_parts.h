/*
 * What the parts of the metrics share: metrics.c keeps and writes them, metrics_read.c reads them.
 */
#ifndef HD_PLUG_METRICS_PARTS_H
#define HD_PLUG_METRICS_PARTS_H

#include "plug/metrics.h"
#include "plug/metrics_process.h"
#include "plug/sketch.h"

#include <pthread.h>
#include <stdatomic.h>

#define HD_METRICS_CHUNK  256 /* cells */
#define HD_METRICS_LABELS 8

/* A thread's sketch of one metric. */
struct hd_metric_cell {
    _Atomic uint32_t generation; /* of the metric that it was filled for */
    struct hd_sketch sketch;
};

struct hd_metrics_chunk {
    _Atomic int64_t number[HD_METRICS_CHUNK];
    _Atomic(struct hd_metric_cell *) sketch[HD_METRICS_CHUNK];
};

/* What one thread wrote. */
struct hd_metrics_shard {
    struct hd_metrics_shard *next;
    _Atomic(struct hd_metrics_chunk *) chunks[];
};

struct hd_metric {
    _Atomic uint64_t tag; /* generation << 8 | type; type 0: the place is free */
    _Atomic int64_t base; /* added to what the shards say */
    const void *owner;
    char *text; /* name{label="value",…}: the key; the rest is found in it */
    char *help;
    struct hd_label labels[HD_METRICS_LABELS]; /* of `strings` */
    uint32_t label_count;
    char *name, *strings;
    uint32_t bucket_next; /* number + 1 of the next in its hash bucket */
    uint32_t free_next;   /* number + 1 of the next free place */
};

struct hd_metrics {
    uint64_t id; /* tells them apart in thread-local storage */
    size_t max, chunk_count;
    pthread_mutex_t lock; /* guards the registry: table, buckets, free places */
    struct hd_metric *table;
    uint32_t used, free_first; /* places ever used; number + 1 of the first free one */
    uint32_t *buckets;
    size_t bucket_mask;
    _Atomic(struct hd_metrics_shard *) shards;
    struct hd_metrics_shard *shared; /* of threads that are not the host's; also in `shards` */
    struct hd_metrics_process process;
};

static inline uint32_t hd_metric_type(uint64_t tag)
{
    return (uint32_t)(tag & 0xff);
}

static inline uint32_t hd_metric_generation(uint64_t tag)
{
    return (uint32_t)(tag >> 8);
}

static inline uint32_t hd_metric_number(const struct hd_metrics *m, const struct hd_metric *metric)
{
    return (uint32_t)(metric - m->table);
}

/* The place that an id names, if the metric is still the one it was given for; else NULL. */
struct hd_metric *hd_metric_of(struct hd_metrics *m, int64_t id, uint64_t *tag);
int64_t hd_metric_id(const struct hd_metrics *m, struct hd_metric *metric);
/* The value of a counter or gauge. */
int64_t hd_metric_present(struct hd_metrics *m, struct hd_metric *metric);
/* All threads' sketches of a place added up, those that were filled for that generation. */
void hd_metrics_total_of(struct hd_metrics *m, uint32_t number, uint32_t generation,
                         struct hd_sketch_total *t);

#endif
