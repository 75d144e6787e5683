/* What the files that build and bring reports share. */
#ifndef MONITOR_REPORT_PARTS_H
#define MONITOR_REPORT_PARTS_H

#include "report.h"
#include "store.h"

#include <stdio.h>

/* Both spans; see report_frame.c. */
struct mon_frame {
    struct mon_store *store;
    int64_t before, from, to; /* from `before` up to `from`, and from there to the end */
    int grain;                /* of series */
    int64_t step, steps;
    uint16_t *seconds;  /* that the host was there in each step; 0: not known */
    double observed[2]; /* and in both spans: before, now */
};
int32_t mon_frame_open(struct mon_frame *f, struct mon_store *store, enum mon_report_kind kind, int64_t to);
void mon_frame_close(struct mon_frame *f);
/* Samples of the series of that name, and how many seconds each stands for; those of a series need not come
 * one after the other. */
int32_t mon_frame_read(const struct mon_frame *f, const char *name,
                       void (*fn)(void *arg, const struct mon_sample *s, int now, double seconds), void *arg);
double mon_frame_observed(const struct mon_frame *f, int now); /* percent of the span */
/* What totals of now are multiplied by to compare them: the spans are not quite of one length. */
double mon_frame_scale(const struct mon_frame *f);

json_t *mon_rounded(double v); /* three decimals; null where it is no number */
/* Percent of what was before; null where there was nothing. */
json_t *mon_change(double now, double before);

/* Counts of templates; the bins are this one's. */
struct mon_sums {
    struct mon_template t;
};

/* What the statements of a node's databases did. */
struct mon_by_node {
    struct mon_by_node *next;
    char node[64];
    struct mon_sums now, before;
    double p95, p95_before; /* ms */
};

/* Each fills its members of the report. [job] */
int32_t mon_report_series(const struct mon_frame *f, json_t *report);
int32_t mon_report_pools(const struct mon_frame *f, json_t *report); /* those used most first */
int32_t mon_report_nodes(const struct mon_frame *f, const struct mon_by_node *by, json_t *report);
/* The cache, alerts, plugins and events; after the nodes, of which events tell as well. */
int32_t mon_report_plugins(const struct mon_frame *f, json_t *report);

/* "plan_changed" of the statements listed so far, where that is in the history: their likely reason. [job] */
int32_t mon_report_plans(const struct mon_frame *f, json_t *report);

/* A title with the totals, and a few lines for those who read no more. The caller frees them; NULL: no
 * memory. [any] */
char *mon_report_title(const json_t *report);
char *mon_report_brief(const json_t *report);

enum mon_report_form { MON_TEXT, MON_JSON, MON_HTML, MON_FORMS };
/* To be freed; NULL: no memory. [any] */
char *mon_report_rendered(const json_t *report, enum mon_report_form form);

/* MON_REPORTS: it is none. */
enum mon_report_kind mon_report_kind_of(struct hd_str word);

/* Calls fn on a job with the open store, once what templates have done up to now is in the history, then done
 * on the control thread. [control] */
int32_t mon_report_ask(struct mon *self, enum mon_report_kind kind,
                       int32_t (*fn)(struct mon_store *store, const struct mon_report_want *want, void *arg,
                                     struct hd_error *err),
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
