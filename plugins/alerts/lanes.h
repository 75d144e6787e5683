/*
 * Lanes: a queue and a thread for each target of each sink, so that none waits for another. A lane delivers
 * in order, tries again after waits that grow and vary, keeps to a rate, and gives up what has waited too
 * long or will never be taken.
 *
 * What is not delivered when the plugin stops stays in the outbox, which is kept in the state file.
 */
#ifndef ALERTS_LANES_H
#define ALERTS_LANES_H

#include <pthread.h>

#include "alerts/message.h"

struct al_lane_conf {
    uint64_t timeout_ms, retry_ms, max_retry_ms;
    uint64_t max_asked_ms;           /* of what a receiver asks for */
    uint32_t max_queue, rate, burst; /* `rate` messages a minute */
};

/* A sink that was asked for. */
struct al_sink {
    char name[48];                     /* as in `sinks` */
    const struct hd_alert_sink_v1 *v1; /* NULL: it is not there */
    void *self;
    char problem[200];
};

/* How a message's way ended, for one target. */
struct al_report {
    struct al_report *next;
    struct al_message *message;
    char target[AL_TARGET_MAX];
    int32_t code;
    uint64_t took_ms;
    char error[200];
};

struct al_lane_stats {
    char name[AL_TARGET_MAX];
    uint64_t sent, retries, dead;
    uint32_t waiting;
    int busy;
    uint32_t attempt; /* of what is tried now */
    int64_t sent_us;  /* the last, wall clock */
    char error[200];  /* the last; empty once one was delivered */
};

struct al_lane;

struct al_lanes {
    pthread_mutex_t lock; /* guards the lists, and that which its lanes say */
    struct al_lane *lanes;
    struct al_report *reports, **last_report;
    struct al_lane_conf conf;
    uint32_t left_out; /* targets past AL_TARGETS_MAX at the last update */
    int posted;        /* `wake` was called, and al_lanes_reports has not been since */
    /* Has al_lanes_reports called soon on the control thread. [any]; 0: it could not. */
    int (*wake)(void *arg);
    void *arg;
};

int32_t al_lanes_init(struct al_lanes *l, int (*wake)(void *arg), void *arg);
void al_lanes_configure(struct al_lanes *l, const struct al_lane_conf *conf);
/* Has a lane for each target that the sinks have now. [control] */
void al_lanes_update(struct al_lanes *l, const struct al_sink *sinks, uint32_t count);
/* Hands a message to a lane; HD_ENOENT: there is none of that name; HD_EFULL: its queue is. A test goes in
 * front and is tried once. [control] */
int32_t al_lanes_push(struct al_lanes *l, const char *target, struct al_message *m);
/* Calls fn with the name of each lane that `sinks` (SINK or SINK:TARGET, separated by commas; empty: all)
 * means. [control] */
void al_lanes_match(struct al_lanes *l, const char *sinks, void (*fn)(void *arg, const char *target),
                    void *arg);
int al_lanes_has(struct al_lanes *l, const char *target); /* [control] */
/* The i-th lane; 0: there is none. [control] */
int al_lanes_stats(struct al_lanes *l, uint32_t i, struct al_lane_stats *out);
/* What has come to an end since the last call; freed by the caller. Lanes that have ended are gone after it.
 * [control] */
struct al_report *al_lanes_reports(struct al_lanes *l);
/* All lanes are to end; each then wakes. [control] */
void al_lanes_stop(struct al_lanes *l);
/* Is any lane still there, or a call of al_lanes_reports on its way? [control] */
int al_lanes_live(struct al_lanes *l);
void al_lanes_free(struct al_lanes *l);

void al_report_free(struct al_report *r);

#endif
