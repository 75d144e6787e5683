/*
 * The plugin "guard": what its parts share. Rules stand in rules.h, waiting in throttle.h.
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include <howdah/howdah.h>
#include <pthread.h>

#include "rules.h"
#include "throttle.h"

struct guard {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_bus_v1 *bus;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    const struct hd_template_v1 *template;
    const struct hd_statement_v1 *statement;
    int32_t topic;
    int32_t reserved;
    int64_t waiting_metric;
    struct guard_tally *tallies; /* of all rules that ever were; [control], as is all above */
    pthread_mutex_t lock;        /* guards `rules`: workers take a reference while a reload exchanges them */
    struct guard_rules *rules;
};

/* One worker's part; only its thread touches it. */
struct guard_worker {
    struct guard *self;
    struct guard_lane *lanes;
    hd_timer *timer; /* made when the first statement waits */
    int64_t due;     /* when it runs next, by the monotonic clock */
};

#endif
