/*
 * The commands of the plugin.
 */
#ifndef MONITOR_COMMANDS_H
#define MONITOR_COMMANDS_H

#include "monitor.h"

#define MON_HISTORY_USAGE   "series … range [STEP span]"
#define MON_TEMPLATES_USAGE "[TOP n] [ORDER BY total|calls|errors|mean|p95]"

#define MON_VIEW_USAGE "[NODE name] [DATABASE name]"

#define MON_REPORT_USAGE "REALTIME|HOURLY|DAILY|WEEKLY [TEXT|JSON|HTML]"

int32_t mon_views_start(struct mon *self, struct hd_error *err);
int32_t mon_show_view(void *arg, const struct hd_call *call,
                      struct hd_error *err); /* arg: struct mon_view_of */

int32_t mon_show_history(void *arg, const struct hd_call *call, struct hd_error *err);
int32_t mon_show_series(void *arg, const struct hd_call *call, struct hd_error *err);
int32_t mon_show_templates(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
