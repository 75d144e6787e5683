/*
 * The text that /metrics answers with.
 */
#ifndef HD_HOST_HTTP_METRICS_H
#define HD_HOST_HTTP_METRICS_H

#include "base/strbuf.h"

struct hd_metrics;

/* All metrics, in Prometheus' text format or (`open`) as OpenMetrics. HD_OK or HD_ENOMEM. [control] */
int hd_http_metrics_text(struct hd_metrics *m, int open, struct hd_strbuf *out);

#endif
