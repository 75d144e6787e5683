/*
 * Events of the bus that are worth telling of in reports: plugins' states, nodes' health, configurations,
 * alerts and changes of the schema. They go into the history. [control]
 */
#ifndef MONITOR_EVENTS_H
#define MONITOR_EVENTS_H

#include "monitor.h"

int32_t mon_events_start(struct mon *self, struct hd_error *err);

#endif
