/*
 * What the host is made of beside its workers, in the order in which it is made: the control loop, commands,
 * metrics, the bus, jobs, the scheduler, the services over them, the plugins.
 */
#ifndef HD_HOST_PARTS_H
#define HD_HOST_PARTS_H

#include <howdah/error.h>

#include "io/loop.h"
#include "session/settings.h"

struct hd_bus;
struct hd_catalog;
struct hd_commands;
struct hd_jobs;
struct hd_metrics;
struct hd_nodes;
struct hd_plugins;
struct hd_plugins_env;
struct hd_scheduler;

struct hd_parts {
    struct hd_loop loop;
    int has_loop;
    struct hd_commands *commands;
    struct hd_metrics *metrics;
    struct hd_bus *bus;
    struct hd_jobs *jobs;
    struct hd_scheduler *scheduler;
    struct hd_catalog *catalog;
    struct hd_nodes *nodes; /* NULL where nothing is to run */
    struct hd_plugins *plugins;
};

/* Makes them all on the calling thread, which becomes the control thread. Where nothing is `to_run`, plugins
 * can be looked at and asked to check, and that is all. After an error everything is gone again. */
int hd_parts_start(struct hd_parts *p, const struct hd_settings *s, int to_run, struct hd_error *err);
/* After a reload: limits of plugins, nodes of jobs. */
int hd_parts_reload(struct hd_parts *p, const struct hd_settings *s, struct hd_error *err);
/* Jobs and schedules end. The loop still runs, and must run what they post before hd_parts_end. */
void hd_parts_quiet(struct hd_parts *p);
/* Frees all; plugins have stopped, and no other thread uses any of it. */
void hd_parts_end(struct hd_parts *p);

/* All of it where the loop never ran: lets it run what was posted, and ends. */
void hd_parts_discard(struct hd_parts *p);

/* Where plugins lie: as configured; else plugins.d beside the program, where it runs from its build tree;
 * else where they are installed. `out` has PATH_MAX bytes. */
const char *hd_plugin_dir(const struct hd_settings *s, char *out);

#endif
