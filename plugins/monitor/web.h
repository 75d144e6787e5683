/*
 * The dashboard: the page at "/" and its files, which are part of the library. What it shows comes from the
 * host's API. Reports as pages of their own: /reports/daily.html.
 */
#ifndef MONITOR_WEB_H
#define MONITOR_WEB_H

#include "monitor.h"

/* Serves them. HD_OK, too, where the host has no HTTP. [control] */
int32_t mon_web_start(hd_host *host, struct hd_error *err);
int32_t mon_report_web_start(struct mon *self, struct hd_error *err);

#endif
