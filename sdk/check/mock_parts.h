/*
 * What the parts of the small host share; tests see mock.h alone.
 */
#ifndef HOWDAH_CHECK_MOCK_PARTS_H
#define HOWDAH_CHECK_MOCK_PARTS_H

#include "mock.h"

struct mock_metric_entry;
struct mock_event_entry;
struct mock_command_entry;
struct mock_post_entry;

struct hd_host {
    const struct hd_host_v1 *v1;
    struct mock *mock;
};

struct mock_topic {
    char *name;
    uint32_t data_size;
    int wanted;
    unsigned subscriptions;
};

struct mock_subscription {
    unsigned topic;
    int live;
    void (*fn)(void *arg, const struct hd_event *ev);
    void *arg;
};

struct mock_column {
    char *table, *name;
    struct hd_dependency_column told;
};

struct mock {
    struct hd_host_v1 v1;
    struct hd_host host;
    char *log;
    size_t log_len;
    unsigned failures, stopped;
    int64_t schedules;
    /* loop */
    int32_t here; /* the thread that is being played */
    int post_limit;
    uint64_t now_ms;
    struct mock_post_entry *posts, *last_post;
    struct hd_timer *timers;
    struct hd_watch *watches;
    /* metrics */
    unsigned metric_count;
    struct mock_metric_entry *metrics;
    /* bus */
    unsigned topic_count, event_count, delivered, subscription_count;
    int event_limit;
    struct mock_topic *topics;
    struct mock_event_entry *events;
    struct mock_subscription *subscriptions;
    /* commands */
    unsigned command_count;
    struct mock_command_entry *commands;
    struct hd_result *result; /* of the last command */
    /* catalog */
    int32_t catalog_code;
    uint32_t catalog_footprint;
    uint64_t catalog_problems, catalog_generation;
    unsigned catalog_held, column_count;
    struct mock_column *columns;
    /* templates */
    struct hd_template *templates;
    unsigned literal_count;
    struct hd_value *literals;
    unsigned resume_count;
    uint64_t *resumed;
    uint32_t *resumed_verdicts;
};

extern const struct hd_metrics_v1 mock_metrics;
extern const struct hd_bus_v1 mock_bus;
extern const struct hd_commands_v1 mock_command_table;
extern const struct hd_loop_v1 mock_loop;
extern const struct hd_template_v1 mock_templates;
extern const struct hd_catalog_v1 mock_catalog;
extern const struct hd_statement_v1 mock_statements;
extern const struct hd_jobs_v1 mock_jobs;
extern const struct hd_scheduler_v1 mock_scheduler;
extern const struct hd_nodes_v1 mock_nodes;
extern const struct hd_http_v1 mock_http;
extern const struct hd_health_v1 mock_health;

struct mock *mock_of(hd_host *host);
void *mock_zalloc(size_t bytes);
/* Room for one more than `count` items. */
void *mock_grow(void *array, unsigned count, size_t item);
char *mock_copy(const char *text, size_t len);

void mock_deliver(struct mock *m); /* events to their subscribers */
void mock_loop_free(struct mock *m);
void mock_metrics_free(struct mock *m);
void mock_bus_free(struct mock *m);
void mock_commands_free(struct mock *m);
void mock_templates_free(struct mock *m);
void mock_catalog_free(struct mock *m);

#endif
