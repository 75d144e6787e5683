/*
 * A running host: started in order, changed in two steps, drained and stopped in reverse. All of it is the
 * control thread's.
 *
 *     STARTING -> RUNNING -> DRAINING (no new clients, transactions end) -> STOPPING (plugins, workers) ->
 * over
 */
#ifndef HD_HOST_RUNTIME_H
#define HD_HOST_RUNTIME_H

#include <howdah/commands.h>
#include <howdah/error.h>
#include <uv.h>

#include "host/config.h"
#include "host/parts.h"

struct hd_control;
struct hd_http;
struct hd_supervised;
struct hd_workers;

enum hd_runtime_state { HD_STARTING = 0, HD_RUNNING, HD_DRAINING, HD_STOPPING };

struct hd_runtime {
    enum hd_runtime_state state;
    const char *path;         /* of the configuration; absolute */
    struct hd_config *config; /* in force; owned */
    struct hd_parts parts;
    struct hd_workers *workers;
    struct hd_control *control;       /* NULL: there is no socket */
    struct hd_http *http;             /* serves what [http] asks for */
    struct hd_supervised *supervised; /* NULL: there is no supervisor */
    uv_signal_t signals[4];
    int has_signals;
    int ready_fd;       /* the waiting process of -d, or -1 */
    int pid_fd;         /* the locked pid file, or -1 */
    int64_t started_us; /* wall clock */
    int64_t loaded_us;  /* when the configuration in force was loaded */
    uint64_t reloads, refused_reloads;
    hd_result *upgrade; /* of the command that waits for an upgrade; or NULL */
    struct hd_loop_timer retire_timer;
    int retiring; /* another host serves */
    int exit_code;
};

/* Runs the host until it is stopped; takes `config` and `supervised` (NULL: there is none). `ready_fd` is
 * hd_daemon_start's, or -1. Returns the exit code of the process; what went wrong at the start has been said
 * on stderr. */
int hd_runtime_run(const char *path, struct hd_config *config, struct hd_supervised *supervised,
                   int ready_fd);

/* Changes over to what the files say now, or changes nothing; why stands in `err`, and all of it in the log.
 */
int hd_runtime_reload(struct hd_runtime *rt, struct hd_error *err);
/* Drains and stops. With `now`, or when it is asked for a second time, at once. */
void hd_runtime_shutdown(struct hd_runtime *rt, int now);

const char *hd_runtime_state_name(enum hd_runtime_state state);

/* Writes every problem to the log (start and reload), or to stderr for people, in colour on a terminal. */
void hd_problems_log(const struct hd_problems *p);
void hd_problems_show(const struct hd_problems *p);

#endif
