/*
 * Metrics of the host as a whole: which plugins run, which nodes are up, and where it has crashed.
 */
#ifndef HD_HOST_HOST_METRICS_H
#define HD_HOST_HOST_METRICS_H

#include <howdah/events.h>

struct hd_metrics;
struct hd_supervised;

/* A plugin has changed its state. [control] */
void hd_host_metrics_plugin(struct hd_metrics *m, const struct hd_event_plugin *ev);
/* A node's health is known, or has changed. [control] */
void hd_host_metrics_node(struct hd_metrics *m, const struct hd_event_node *ev);
/* It is not configured any more. [control] */
void hd_host_metrics_node_gone(struct hd_metrics *m, const char *node);
/* What the supervisor knows of earlier hosts. [control] */
void hd_host_metrics_start(struct hd_metrics *m, const struct hd_supervised *s);
/* So often have hosts crashed in it. [any] */
void hd_host_metrics_crashes(struct hd_metrics *m, const char *plugin, uint32_t times);

#endif
