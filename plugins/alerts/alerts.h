/*
 * The plugin "alerts" as its files share it.
 */
#ifndef ALERTS_ALERTS_H
#define ALERTS_ALERTS_H

#include "alerts/lanes.h"

#define AL_SINKS_MAX 16

/* [plugin alerts] */
struct al_conf {
    struct hd_str_list sinks;
    struct hd_str name, state_file;
    int64_t interval, group_wait, group_interval, flap_window, flap_hold, absent_for;
    int64_t max_alerts, max_silences, max_series, max_baselines, max_messages, max_pages;
    int64_t max_queue, timeout, retry, max_retry, max_retry_after, give_up, rate, burst;
};

/* A call of ALERT TEST that waits for its targets. */
struct al_test {
    struct al_test *next;
    struct al_message *message;
    hd_result *result;
    uint32_t waiting;
};

/* What is written to the state file by a job. */
struct al_saving {
    char *path;
    char *text;    /* the state */
    char *history; /* the baselines; NULL: not this time */
    size_t history_size;
    int32_t code;
    char error[200];
};

enum al_count { AL_SENT, AL_DEAD, AL_COUNTS };

#define AL_PARTS_MAX (AL_TARGETS_MAX + AL_SINKS_MAX + 1)

/* Parts of which /health is told. */
struct al_parts {
    uint32_t count;
    char names[AL_PARTS_MAX][AL_TARGET_MAX];
};

struct al {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_commands_v1 *commands;
    const struct hd_bus_v1 *bus;
    const struct hd_loop_v1 *loop;
    const struct hd_jobs_v1 *jobs;
    const struct hd_health_v1 *health; /* NULL: the host has none */
    const struct al_conf *conf;
    char name[256];
    struct al_engine engine;
    struct al_lanes lanes;
    struct al_sink sinks[AL_SINKS_MAX];
    struct al_parts parts, queues; /* told to /health; to the metrics */
    uint32_t sink_count;
    struct al_message *outbox;
    uint32_t outbox_count;
    size_t outbox_bytes; /* of their bodies and pages */
    struct al_test *tests;
    hd_timer *timer;
    int32_t raised, cleared; /* topics */
    int started, stopping;
    int leaving;       /* another host serves: the alerts are its */
    uint64_t sequence; /* of messages */
    uint64_t random;   /* this start's own */
    /* The state file. */
    int lock_fd;   /* -1: another host has it, or there is none */
    int standby;   /* another host has it */
    int unchecked; /* whether there are the targets that rules name, since they came */
    int save_wanted, saving;
    uint64_t history_ms; /* when baselines were kept last */
    char save_error[200];
    struct al_saving job;
    int64_t metric_pending, metric_firing, metric_waiting, metric_series, metric_silences, metric_no_data,
        metric_refused, metric_save_failures, metric_seconds, metric_pages;
    uint64_t refused_told;
};

uint64_t al_now_ms(void);
int64_t al_wall_us(void);
void al_log(struct al *self, uint32_t level, const char *message, const char *key, const char *value,
            const char *key2, const char *value2);

/* What is left to do when all lanes have ended and nothing is being written. */
void al_finish_stop(struct al *self);

/* outbox.c: */

/* Gives a message to all targets that `sinks` means. Takes the message over. */
void al_outbox_add(struct al *self, struct al_message *m, const char *sinks);
/* As hd_alerts_v1's. */
int32_t al_outbox_tell(void *self, const char *sinks, const char *title, const char *text,
                       struct hd_error *err);
int32_t al_outbox_say(void *self, const char *sinks, const struct hd_alert_words *words,
                      struct hd_error *err);
uint32_t al_outbox_targets(void *self, const char *sinks);
/* Puts back a message that was kept, for the targets that it names. */
void al_outbox_restore(struct al *self, struct al_message *m);
/* Hands messages that were restored to their lanes; gives up those whose target is not there. */
void al_outbox_resume(struct al *self);
/* Looks at what the lanes have to say. */
void al_outbox_reports(struct al *self);
/* Says, once for each configuration, which rules name targets that are not there. */
void al_outbox_check_rules(struct al *self);
void al_outbox_free(struct al *self);

/* ALERT TEST [TARGET] */
int32_t al_outbox_test(struct al *self, const struct hd_call *call, struct hd_error *err);

/* meters.c: */

void al_meters_find(struct al *self);
/* After a look at all rules, which took so long. */
void al_meters_set(struct al *self, uint64_t ns);

/* save.c: */

/* Takes the state file for this host and loads it. HD_OK, also where there is none yet; HD_EBUSY: another
 * host has it. A file that cannot be read is moved aside. */
int32_t al_save_open(struct al *self);
/* Keeps the state soon, if it has changed. */
void al_save_tick(struct al *self);
/* Keeps it now, and gives the file back. */
void al_save_close(struct al *self);

/* state.c: */

/* The state as JSON text; NULL: no memory. Freed with free(). */
char *al_state_text(struct al *self);
/* HD_OK; HD_EPROTO: it is no state. *away_ms becomes how long ago it was made. */
int32_t al_state_load(struct al *self, const char *text, uint64_t *away_ms);
/* The baselines, to be freed; NULL: there are none, or no memory. */
char *al_history_bytes(struct al *self, size_t *size);
int32_t al_history_load(struct al *self, const char *bytes, size_t size, uint64_t away_ms);

/* sinks.c: */

/* Asks for the plugins of the sinks. One that is not there keeps no other from its work; HD_EBUSY: one is
 * about to come, and this plugin waits. */
int32_t al_sinks_find(struct al *self, struct hd_error *err);
/* Targets come and go with the sinks' configuration. */
void al_sinks_look(struct al *self);
/* A target whose last try has failed is not well; neither is a sink that is missing, nor a state file that
 * cannot be written. */
void al_sinks_health(struct al *self);

/* show.c: */

int32_t al_show_start(struct al *self, struct hd_error *err);

#endif
