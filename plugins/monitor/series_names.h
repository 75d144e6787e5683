/* What series are called, and what their values are counted in. */
#ifndef MONITOR_SERIES_NAMES_H
#define MONITOR_SERIES_NAMES_H

#include <howdah/metrics.h>

/* Times it a metric's value is in its unit: seconds are recorded as nanoseconds. */
double mon_series_scale(const char *name);
/* Static. `rate`: by the second. */
const char *mon_series_unit(const char *name, int rate);
/* The name and the tail, then the labels as SHOW METRICS writes them, in braces; the caller frees it. NULL:
 * no memory. */
char *mon_series_key(const struct hd_metric_seen *m, const char *tail);

#endif
