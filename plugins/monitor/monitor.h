/*
 * The plugin "monitor": what its parts share. It samples the metrics of the host and all plugins every second
 * (series.h), keeps them on disk (history.h), follows what templates do (templates.h), and asks PostgreSQL
 * and the kernel how they are (collect.h); what it finds there are metrics again.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <howdah/howdah.h>
#include <howdah/collector.h>
#include <howdah/statement_stats.h>
#include <stdatomic.h>

#include "batch.h"
#include "series.h"

/* The options of [plugin monitor]. */
struct mon_conf {
    struct hd_str history;
    int64_t history_size;
    int64_t flush_interval; /* ms */
    int64_t max_series;
    int64_t template_interval; /* ms */
    int64_t top;
    int32_t collect;
    double collect_scale;
    int64_t collect_timeout; /* ms */
    struct hd_str_list databases;
    int64_t max_databases;
    int64_t max_findings;
    struct hd_str_list collectors;
    int64_t slow_threshold; /* ms */
    double slow_factor;
    int64_t slow_floor; /* ms */
    int64_t slow_keep;
    int64_t slow_rate;
    int32_t plans;         /* MON_PLANS_… */
    int64_t plan_interval; /* ms */
    int64_t plan_rate;
    int64_t plan_keep;
    struct hd_str report_folder, report_time;
    struct hd_str_list report_sinks;
};

struct mon_history;
struct mon_templates;
struct mon_collect;
struct mon_machine;
struct mon_slow;
struct mon_plans;
struct mon_pools;
struct mon_view;
struct mon;

/* What a command that shows a view is registered with. */
struct mon_view_of {
    struct mon *self;
    const struct mon_view *view;
};

/* The instance. All of it is [control] unless it says otherwise. */
struct mon {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_bus_v1 *bus;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    const struct hd_jobs_v1 *jobs;
    const struct hd_nodes_v1 *nodes;
    const struct hd_template_v1 *template;
    const struct mon_conf *conf;
    /* The counting plugin; NULL: it does not run. */
    const struct hd_statement_stats_v1 *stats;
    void *stats_self;
    struct mon_series_set *series;
    struct mon_history *history;
    struct mon_templates *templates;
    struct mon_collect *collect;
    struct mon_machine *machine;
    struct mon_slow *slow;
    struct mon_plans *plans;
    struct mon_pools *pools;
    struct mon_view_of *views;
    uint64_t findings; /* metrics that were found; bound: max_findings */
    int64_t findings_lost;
    int64_t report_day;       /* whose report was asked for last, as 20261231 */
    uint64_t report_retry_ns; /* it has failed: when it is asked for again; 0: it has not */
    int64_t report_sent;      /* likewise, which sinks have */
    uint64_t sinks_looked_ns; /* whether reports can be sent */
    int sinks_missing;
    int64_t events_second;
    uint32_t events_count; /* within it */
    hd_timer *timer;
    /* One for being started, and one for each errand under way: jobs, gatherings. [any] */
    _Atomic uint32_t errands;
    int stopping;
    int retiring; /* another host samples and asks; what this one's clients do is still counted */
};

void mon_errand_begin(struct mon *self);
void mon_errand_end(struct mon *self); /* [any] */

uint64_t mon_now_ns(void);      /* a clock that nobody sets */
int64_t mon_wall_seconds(void); /* since 1970 */
double mon_wall(void);          /* the same with what is behind the point */

/* Cells of results. */
void mon_columns(const struct mon *self, hd_result *r, ...)
    __attribute__((sentinel));                                         /* name, type, …, NULL */
void mon_text(const struct mon *self, hd_result *r, const char *text); /* NULL is SQL's NULL */
/* A finite number, else NULL. */
void mon_real(const struct mon *self, hd_result *r, double value);
int mon_word_is(struct hd_str word, const char *text); /* without regard to case */
/* "90s", "5m", "2h", "7d", "2w", "13mo" in seconds; 0: it is none. */
int64_t mon_span(struct hd_str word);
void mon_log(const struct mon *self, uint32_t level, const char *message, const char *key, const char *value);

#endif
