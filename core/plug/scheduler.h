/*
 * Things done at intervals, on the job pool: with jitter, on demand, and where it is asked for by one leader
 * among several hosts.
 *
 * The leader of a node is the host that holds the advisory lock HD_LOCK_LEADER in the node's own database, on
 * a connection of its own; a connection that is lost has lost the lock. All leader schedules of a node share
 * that one lock.
 */
#ifndef HD_PLUG_SCHEDULER_H
#define HD_PLUG_SCHEDULER_H

#include <howdah/jobs.h>
#include <stdint.h>

#include "io/loop.h"

/*
 * Advisory locks of Howdah, in PostgreSQL's space of single 64-bit keys: "howdah" in the upper 48 bits, what
 * for in the lower 16. Numbers are never used for anything else.
 */
#define HD_LOCK_SPACE  INT64_C(0x686f776461680000)
#define HD_LOCK_LEADER (HD_LOCK_SPACE | 1) /* who runs the schedules that only one host runs */

struct hd_commands;
struct hd_jobs;
struct hd_scheduler;

/* NULL: no memory. [control] */
struct hd_scheduler *hd_scheduler_new(struct hd_loop *control, struct hd_jobs *jobs);
/* Starts no more runs. Runs under way end with the job pool, which is to be freed after this. [control] */
void hd_scheduler_free(struct hd_scheduler *s);

/* As hd_scheduler_v1's; `owner` is NULL for the host itself. */
int64_t hd_scheduler_add(struct hd_scheduler *s, const void *owner, const struct hd_schedule *schedule,
                         struct hd_error *err);
int hd_scheduler_run_now(struct hd_scheduler *s, int64_t id);
void hd_scheduler_remove(struct hd_scheduler *s, int64_t id);
void hd_scheduler_drop_owner(struct hd_scheduler *s, const void *owner);

/* Adds SHOW SCHEDULES and SCHEDULE RUN. [control] */
int hd_scheduler_add_commands(struct hd_scheduler *s, struct hd_commands *commands, struct hd_error *err);
/* Offers it to plugins as "howdah.scheduler/1". [control] */
int hd_scheduler_serve(struct hd_scheduler *s);

#endif
