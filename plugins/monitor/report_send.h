/*
 * Reports on their way to sinks of alerts: what each kind of sink is given of one, the plugin `alerts`, which
 * has the sinks, and REPORT SEND.
 *
 * That plugin is asked for each time and given back at once: it may come later than this one, and go.
 */
#ifndef MONITOR_REPORT_SEND_H
#define MONITOR_REPORT_SEND_H

#include "report.h"

#define MON_SEND_USAGE "REALTIME|HOURLY|DAILY|WEEKLY [TO sink[,sink:target…]]"

/* A report as sinks take it. */
struct mon_words {
    char *title, *text; /* a line, and a few */
    char *body, *page;  /* all of it as text and as HTML */
    char *json;         /* its totals */
};

/* HD_ENOMEM: there is nothing to free. [job] */
int32_t mon_words_make(struct mon_words *w, const json_t *report);
void mon_words_free(struct mon_words *w);
/* Hands it to the sinks, "SINK" or "SINK:TARGET" separated by commas; *targets becomes how many those are.
 * HD_ENOENT: there are no such, or no plugin that has any. [control] */
int32_t mon_words_send(struct mon *self, const char *sinks, const struct mon_words *w, uint32_t *targets,
                       struct hd_error *err);

/* Those that the configuration names; to be freed; NULL: no memory. */
char *mon_report_sinks(const struct mon *self);
/* Says in /health, and in the log where it changes, whether reports can go where they are to. */
void mon_report_sinks_tick(struct mon *self);

int32_t mon_report_send_command(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
