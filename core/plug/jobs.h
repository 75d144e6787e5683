/*
 * Work off the workers: a small pool of threads for blocking functions, and SQL on control connections.
 *
 * The queue is bounded. Functions of one owner never overlap; the host's own (owner NULL) may. Each job is
 * over exactly once, and says so on the control thread. How a statement runs stands in sqljobs.h.
 */
#ifndef HD_PLUG_JOBS_H
#define HD_PLUG_JOBS_H

#include <howdah/jobs.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

struct hd_commands;
struct hd_jobs;

/* A server that statements may run on; strings are copied. */
struct hd_job_node {
    const char *name;
    const char *conninfo;
    const char *user;         /* the control user; NULL: no statements run here */
    const char *password;     /* or NULL */
    uint64_t connect_timeout; /* ms; 0: only the statement's deadline counts */
    const char *login;        /* as whom clients' connections are made; NULL: each as its client's user */
};

/* Starts `threads` threads; at most `max_waiting` jobs wait. [control] */
int hd_jobs_new(struct hd_loop *control, size_t threads, size_t max_waiting, struct hd_jobs **out,
                struct hd_error *err);
/* Cancels what there is, waits for the threads and calls the last `done`s. After the plugins have stopped and
 * before they are freed. [control], in no job's done. */
void hd_jobs_free(struct hd_jobs *jobs);
/* Exchanges the definitions of nodes; statements that run keep the old ones. HD_ENOMEM changes nothing.
 * [control] */
int hd_jobs_set_nodes(struct hd_jobs *jobs, const struct hd_job_node *nodes, size_t n);

/* As hd_jobs_v1's; `owner` is NULL for the host itself. */
int64_t hd_jobs_run(struct hd_jobs *jobs, const void *owner, const char *name, int32_t (*fn)(void *arg),
                    void (*done)(void *arg, int32_t code), void *arg);
int64_t hd_jobs_sql(struct hd_jobs *jobs, const void *owner, const struct hd_sql *sql,
                    void (*done)(void *arg, const struct hd_sql_result *result), void *arg);
int hd_jobs_sql_wait(struct hd_jobs *jobs, const struct hd_sql *sql, const struct hd_sql_result **result);
void hd_jobs_free_result(const struct hd_sql_result *result);
int hd_jobs_cancel(struct hd_jobs *jobs, int64_t handle);

/* As hd_jobs_run, for the host's own parts that work for an owner: `done` is called even when the owner goes.
 */
int64_t hd_jobs_run_for(struct hd_jobs *jobs, const void *owner, const char *name, int32_t (*fn)(void *arg),
                        void (*done)(void *arg, int32_t code), void *arg);
/* The owner has gone: its jobs are cancelled and their `done`s are not called. What runs in its functions
 * runs on; `end` (see below) tells when that is over. [control] */
void hd_jobs_drop_owner(struct hd_jobs *jobs, const void *owner);
/* For each job of an owner other than NULL: begin(owner) when it is taken [any], end(owner) when all of it is
 * over [control]. At start. */
void hd_jobs_watch_owners(struct hd_jobs *jobs, void (*begin)(const void *owner),
                          void (*end)(const void *owner));

/* For what holds a connection of its own (sqlconn.h): connecting, and how long to wait on it, which ends
 * early when the calling job is cancelled. [job] */
struct hd_sqlconn;
struct hd_sql_wait;
int hd_jobs_connect(struct hd_jobs *jobs, const char *node, const struct hd_sql_wait *w,
                    struct hd_sqlconn **out, struct hd_error *err);
void hd_jobs_wait(uint64_t deadline_ms, struct hd_sql_wait *out);

/* A connection string with the node's password, into `len` bytes. HD_ENOENT, HD_EINVAL, HD_EFULL. [any] */
int hd_jobs_conninfo(struct hd_jobs *jobs, struct hd_str node, struct hd_str dbname, char *out, size_t len,
                     struct hd_error *err);
/* Does the node's conninfo have this word in it, or is there no such node? [any] */
int hd_jobs_conninfo_says(struct hd_jobs *jobs, const char *node, const char *word);
/* As whom clients' connections to that node are made, where its conninfo names somebody: 1. 0: each as its
 * client's user. -1: `room` bytes are too few. [any] */
int hd_jobs_login(struct hd_jobs *jobs, const char *node, char *out, size_t room);

/* Each node that statements can be run on, until fn returns other than HD_OK. [any] */
int hd_jobs_each_node(struct hd_jobs *jobs, int32_t (*fn)(void *arg, struct hd_str node), void *arg);

struct hd_jobs_stats {
    uint64_t threads, running, waiting, done, refused, connections;
};
void hd_jobs_stats(struct hd_jobs *jobs, struct hd_jobs_stats *out);

/* Adds SHOW JOBS. [control] */
int hd_jobs_add_commands(struct hd_jobs *jobs, struct hd_commands *commands, struct hd_error *err);
/* Offers it to plugins as "howdah.jobs/1", and the nodes as "howdah.nodes/1". [control] */
int hd_jobs_serve(struct hd_jobs *jobs);
int hd_jobs_serve_nodes(struct hd_jobs *jobs);

/* A database that clients may ask for, as "howdah.nodes/1" tells of it. */
struct hd_job_database {
    const char *name, *node;
    const char *dbname;   /* of the node; NULL: as the client says */
    int follows_settings; /* pool_mode = auto */
};

/* Exchanges them; they are copied. HD_ENOMEM changes nothing. [control] */
int hd_jobs_serve_databases(const struct hd_job_database *list, size_t n);

#endif
