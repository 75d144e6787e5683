/*
 * The PostgreSQL nodes as the control side sees them: pinged at intervals over SQL jobs, their changes
 * published as node.health, shown by SHOW NODES and asked by NODE PING.
 */
#ifndef HD_HOST_NODES_H
#define HD_HOST_NODES_H

#include <howdah/error.h>

#include "io/loop.h"

struct hd_bus;
struct hd_commands;
struct hd_jobs;
struct hd_metrics;
struct hd_nodes;
struct hd_scheduler;
struct hd_settings;

/* What it stands on; all of it but the jobs outlives it. */
struct hd_nodes_env {
    struct hd_loop *control;
    struct hd_jobs *jobs;
    struct hd_scheduler *scheduler;
    struct hd_bus *bus;
    struct hd_commands *commands;
    struct hd_metrics *metrics;
};

/* Adds the commands and the schedule "node-health". [control] */
int hd_nodes_new(const struct hd_nodes_env *env, struct hd_nodes **out, struct hd_error *err);
/* After the jobs were freed. [control] */
void hd_nodes_free(struct hd_nodes *n);
/* The definitions changed (the jobs have them already); nodes that are new are pinged at once. [control] */
int hd_nodes_set(struct hd_nodes *n, const struct hd_settings *s, struct hd_error *err);

/* How a node is; borrowed for the call. */
struct hd_node_info {
    const char *name;
    const char *state;  /* unknown up down */
    const char *reason; /* why it is down; may be empty */
    int up;
    int usable; /* 0: the host has no user there and cannot know */
};

/* [control] */
void hd_nodes_each(const struct hd_nodes *n, void (*fn)(void *arg, const struct hd_node_info *node),
                   void *arg);

#endif
