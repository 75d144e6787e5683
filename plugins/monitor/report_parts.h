/* What the files that build and bring reports share. */
#ifndef MONITOR_REPORT_PARTS_H
#define MONITOR_REPORT_PARTS_H

#include "report.h"

#include <stdio.h>

/* The pools of the span that ends at `to`, those used most first: "pools" of the report. [job] */
int32_t mon_report_pools(struct mon_store *store, const struct mon_report_span *span, int64_t to,
                         json_t *report);

/* "plan_changed" of the statements listed so far, where that is in the history: their likely reason. [job] */
int32_t mon_report_plans(struct mon_store *store, const struct mon_report_span *span, int64_t to,
                         json_t *report);

/* A title with the totals, and a few lines for those who read no more. The caller frees them; NULL: no
 * memory. [any] */
char *mon_report_title(const json_t *report);
char *mon_report_brief(const json_t *report);

enum mon_report_form { MON_TEXT, MON_JSON, MON_HTML, MON_FORMS };
/* To be freed; NULL: no memory. [any] */
char *mon_report_rendered(const json_t *report, enum mon_report_form form);

/* MON_REPORTS: it is none. */
enum mon_report_kind mon_report_kind_of(struct hd_str word);

/* As mon_history_ask, once what templates have done up to now is in the history. [control] */
int32_t mon_report_ask(struct mon *self,
                       int32_t (*fn)(struct mon_store *store, void *arg, struct hd_error *err),
                       void (*done)(void *arg, int32_t code, const struct hd_error *err), void *arg,
                       struct hd_error *err);

/* "2026-01-31 06:00:00 UTC" */
void mon_report_when(int64_t seconds, char *to, size_t room);
/* Members of objects: "" and 0 where they are not there. */
const char *mon_str(const json_t *o, const char *key);
double mon_num(const json_t *o, const char *key);
int mon_has(const json_t *o, const char *key); /* a number */
/* "+12.5 %", or "-" where there was nothing to compare with. */
const char *mon_percent(const json_t *v, char *to, size_t room);

/* A text that grows. */
struct mon_out {
    FILE *file;
    char *text;
    size_t len;
};
/* The text, which is the caller's; NULL: there was no memory for it. */
char *mon_out_end(struct mon_out *o);

#endif
