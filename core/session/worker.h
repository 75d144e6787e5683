/*
 * Worker threads: each has its own loop, sessions and server links. This is all that the host's start, reload
 * and stop need of them.
 */
#ifndef HD_SESSION_WORKER_H
#define HD_SESSION_WORKER_H

#include <howdah/error.h>
#include "io/loop.h"

struct hd_settings;
struct hd_plugins;
struct hd_worker;
struct hd_workers;
struct hd_catalog;
struct hd_commands;
struct hd_bus;
struct hd_keeper;
struct hd_metrics;
struct hd_jobs;

/* What the workers stand on; all of it outlives them. */
struct hd_workers_env {
    struct hd_loop *control;        /* the control thread's loop */
    struct hd_plugins *plugins;     /* plug/plugins.h */
    struct hd_commands *commands;   /* plug/commands.h; the console on database "howdah" asks it */
    struct hd_bus *bus;             /* plug/bus.h */
    struct hd_metrics *metrics;     /* plug/metrics.h */
    struct hd_jobs *jobs;           /* plug/jobs.h; NULL: no auth_query */
    struct hd_catalog *catalog;     /* plug/catalog.h; NULL: nobody minds changes of schemas */
    const struct hd_keeper *keeper; /* of the listening sockets; NULL: nobody outlives the host */
};

/* Opens the listeners' sockets (all or nothing) and starts the threads. [control] */
int hd_workers_start(struct hd_settings *s, const struct hd_workers_env *env, struct hd_workers **out,
                     struct hd_error *err);
/* First step of a reload: opens the sockets of new listeners, so that what cannot be had is known before
 * anything changes. A second prepare drops the first. [control] */
int hd_workers_prepare(struct hd_workers *w, struct hd_settings *s, struct hd_error *err);
/* Second step: every worker goes over to what was prepared. Cannot fail. [control] */
void hd_workers_commit(struct hd_workers *w);
/* No new clients; idle sessions end with 57P01; running transactions may finish until `timeout_ms`, then are
 * ended. `done` runs on the control loop once no session is left. Calling it again with 0 ends the wait.
 * [control] */
void hd_workers_drain(struct hd_workers *w, uint64_t timeout_ms, void (*done)(void *arg), void *arg);
/* Ends the threads (whatever sessions are left are cut) and frees all. [control] */
void hd_workers_stop(struct hd_workers *w);

/* The engine that carries the links, "uv" or "uring"; `reason` (empty when there is none) is why io_uring
 * could not be had. */
const char *hd_workers_io(const struct hd_workers *w, const char **reason);
int hd_workers_count(const struct hd_workers *w);
struct hd_loop *hd_workers_loop(struct hd_workers *w, int worker);
/* Runs fn(worker, arg) on each worker's thread, and done(arg) on the control loop when all have. [control] */
int hd_workers_each(struct hd_workers *w, void (*fn)(struct hd_worker *worker, void *arg),
                    void (*done)(void *arg), void *arg);

#endif
