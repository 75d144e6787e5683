/* What the parts of the collectors share. */
#ifndef MONITOR_COLLECT_PARTS_H
#define MONITOR_COLLECT_PARTS_H

#include "collect.h"
#include "findings.h"
#include "queries.h"

#define MON_NAME 64

/* A question to one node and database, or a plugin's collector. */
struct mon_task {
    struct mon_task *next;
    struct mon_collect *collect;
    const struct mon_query *query;        /* NULL: a plugin's */
    const struct hd_collector_v1 *plugin; /* NULL: a question */
    void *plugin_self;
    char name[MON_NAME], node[MON_NAME], database[MON_NAME];
    struct mon_findings *findings;
    uint64_t base_ms, interval_ms; /* as it should be, and as it is now */
    uint64_t due_ns, asked_ns;
    uint32_t running, gone; /* gone: to be freed, once it runs no more */
    uint32_t streak;        /* failures one after the other */
    int again;              /* it was under way when its node came up: at once, if it fails */
    int absent;             /* what it asks about is not installed there */
    uint64_t runs, failures, rows;
    double last_ms;
    char error[160];
    struct mon_kept *kept; /* what a plugin has found, on its way from the job */
};

/* A node, as far as collectors know it. */
struct mon_node {
    struct mon_node *next;
    char name[MON_NAME];
    int32_t version;
    uint32_t running, seen;
    uint32_t database_count;
    char databases[32][MON_NAME]; /* the busiest */
};

struct mon_collect {
    struct mon *self;
    struct mon_task *tasks;
    struct mon_node *nodes;
    uint64_t synced_ns;
    uint32_t running;
    int64_t up, slow, failures; /* metrics */
};

struct mon_node *mon_node_of(struct mon_collect *c, const char *name);
/* Makes the metrics of an answer. [control] */
void mon_digest(struct mon_task *t, const struct hd_sql_result *r);
/* Starts a plugin's collector; 0: it could not be started. [control] */
int mon_ask_plugin(struct mon_task *t);
void mon_kept_free(struct mon_kept *k);
/* A task has ended, with a code and a reason. [control] */
void mon_task_over(struct mon_task *t, int32_t code, const char *why);

#endif
