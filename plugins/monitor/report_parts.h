/* What the files that build a report share. */
#ifndef MONITOR_REPORT_PARTS_H
#define MONITOR_REPORT_PARTS_H

#include "report.h"

/* The pools of the span that ends at `to`, those used most first: "pools" of the report. [job] */
int32_t mon_report_pools(struct mon_store *store, const struct mon_report_span *span, int64_t to,
                         json_t *report);

#endif
