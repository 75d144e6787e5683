/*
 * Reports: what has happened in the last five minutes, hour, day or week, and how that differs from the same
 * span before: totals, the slowest and the most changed templates, regressions, series with their plots, and
 * events. A report is a JSON value first; its text and its page are made of it. REPORT REALTIME | HOURLY |
 * DAILY | WEEKLY.
 */
#ifndef MONITOR_REPORT_H
#define MONITOR_REPORT_H

#include <jansson.h>
#include <time.h>

#include "monitor.h"

enum mon_report_kind { MON_REALTIME, MON_HOURLY, MON_DAILY, MON_WEEKLY, MON_REPORTS };

extern const struct mon_report_span {
    const char *name;
    int64_t seconds;
    int64_t align; /* of where it begins */
    int grain;     /* of its series */
} mon_report_spans[MON_REPORTS];

#define MON_SERVED_MAX 256

/* What is asked for, and what only the control thread knows. */
struct mon_report_want {
    const struct hd_statement_stats_v1 *stats; /* may be NULL */
    enum mon_report_kind kind;
    int64_t to;    /* where the span ends */
    char only[64]; /* the node, where there is one alone; else empty */
    uint32_t served_count;
    struct mon_served {
        char database[64], node[64];
    } served[MON_SERVED_MAX];
};

/* Builds it from the history. NULL: no memory, or the history cannot be read. [job] */
json_t *mon_report_build(struct mon_store *store, const struct mon_report_want *want);
/* The caller frees them; NULL: no memory. [any] */
char *mon_report_text(const json_t *report);
char *mon_report_html(const json_t *report);

int32_t mon_report_command(void *arg, const struct hd_call *call, struct hd_error *err);
/* Makes the day's report when its time has come, and looks at where reports go. */
void mon_report_tick(struct mon *self);
/* Minutes after midnight of "HH:MM"; -1: it is none. */
int mon_report_minute(struct hd_str text);
/* The day whose report is due, as 20261231; 0: today's is not yet. */
int64_t mon_report_due(time_t now, int minute);

#endif
