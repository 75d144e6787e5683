/*
 * The plugin "statements": what its parts share. It counts and times executions per template on each worker
 * (table.h), publishes what changed in batches, and shows all workers' numbers merged (gather.h).
 */
#ifndef STATEMENTS_STATEMENTS_H
#define STATEMENTS_STATEMENTS_H

#include <howdah/howdah.h>
#include <stdatomic.h>

#include "table.h"

/* Error classes (the first two characters of an SQLSTATE) that are counted apart, on each worker. */
#define STMTS_CLASSES 48

/* The options of [plugin statements]. */
struct stmts_conf {
    int64_t max_templates;
    int64_t publish_interval; /* ms */
    int64_t text_length;
    int64_t max_users;
};

struct stmts_class {
    char code[4];
    int64_t metric;
};

struct stmts;

/* One worker's part; only that worker's thread touches it. It stays when the worker lets go of the plugin:
 * who stops later, and uses what was counted, can gather until the end. */
struct stmts_worker {
    struct stmts *self;
    uint32_t number;
    int ended; /* it counts no more, for now */
    uint32_t classes;
    hd_timer *timer;
    uint64_t interval; /* what the timer runs at */
    struct stmts_table table;
    struct stmts_class class[STMTS_CLASSES + 1]; /* the last is "other" */
};

/* The instance. */
struct stmts {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_bus_v1 *bus;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    const struct hd_template_v1 *template;
    int32_t topic;
    int64_t seconds, untracked, templates; /* metrics */
    /* The configuration in force; workers read it while the control thread changes it. */
    _Atomic uint32_t max_templates, text_length, max_users;
    _Atomic uint64_t interval;
    /* One for being started, and one for each errand that is on its way through the workers: nothing of the
     * plugin may run once it has stopped. */
    _Atomic uint32_t errands;
    /* Who hears of slow executions, and from how many nanoseconds on: UINT64_MAX when nobody does. */
    _Atomic(const struct hd_stats_watch *) watch;
    _Atomic uint64_t slow_ns;
    uint32_t worker_count;
    uint32_t reserved;
    struct stmts_worker *workers[]; /* NULL: not started. Each read and set by its own worker */
};

/* Capability "howdah.statement-stats/1". */
extern const struct hd_statement_stats_v1 stmts_stats;

/* Begins an errand; ended by stmts_errand_end, from any thread. */
void stmts_errand_begin(struct stmts *self);
void stmts_errand_end(struct stmts *self);

#endif
