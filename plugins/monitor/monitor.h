/*
 * The plugin "monitor": what its parts share. It samples the metrics of the host and all plugins every second
 * (series.h), keeps them on disk (history.h), follows what templates do (templates.h), and asks PostgreSQL
 * and the kernel how they are (collect.h); what it finds there are metrics again.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <howdah/howdah.h>
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
};

struct mon_history;
struct mon_templates;

/* The instance. All of it is [control] unless it says otherwise. */
struct mon {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_bus_v1 *bus;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    const struct hd_jobs_v1 *jobs;
    const struct mon_conf *conf;
    /* The counting plugin; NULL: it does not run. */
    const struct hd_statement_stats_v1 *stats;
    void *stats_self;
    struct mon_series_set *series;
    struct mon_history *history;
    struct mon_templates *templates;
    hd_timer *timer;
    /* One for being started, and one for each errand under way: jobs, gatherings. [any] */
    _Atomic uint32_t errands;
    int stopping;
};

void mon_errand_begin(struct mon *self);
void mon_errand_end(struct mon *self); /* [any] */

uint64_t mon_now_ns(void);      /* a clock that nobody sets */
int64_t mon_wall_seconds(void); /* since 1970 */

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
