/*
 * The engine: takes readings at a moment, and moves alerts between pending, firing and resolved; says by
 * messages, one for each group, what has changed and what still fires.
 *
 * It knows no clock, no thread and no network: the caller gives the time, the source the readings, and hooks
 * take what comes of it. Times in milliseconds are of a clock that only goes forward; the wall clock is for
 * people and for the hour of the week.
 */
#ifndef ALERTS_ENGINE_H
#define ALERTS_ENGINE_H

#include "alerts/matchers.h"
#include "alerts/rules.h"

#define AL_SUMMARY_MAX 256
#define AL_CHANGES     3 /* of an alert within flap_window, that make it flap */

enum al_state { AL_PENDING, AL_FIRING, AL_RESOLVED };
enum al_told { AL_TOLD_NOTHING, AL_TOLD_FIRING, AL_TOLD_RESOLVED };
enum al_mute { AL_NOT_MUTED, AL_SILENCED, AL_INHIBITED, AL_FLAPPING };

/* Alerts that come in one message. */
struct al_group {
    struct al_group *next;
    char id[17];
    char *title;        /* what the alerts have in common, for people */
    char *sinks;        /* separated by commas; empty: all */
    uint64_t repeat_ms; /* 0: never */
    uint64_t need_ms;   /* since when there is something to tell; 0: there is not */
    uint64_t sent_ms;   /* the last message */
    int sent;           /* there was one */
    uint32_t members;   /* alerts that point here */
    uint32_t open;      /* that were told of, and whose end was not, after the last message */
};

struct al_alert {
    struct al_alert *next;
    struct al_rule *rule; /* NULL: it is not there any more */
    struct al_group *group;
    struct al_labels *labels;
    char rule_name[HD_EVENT_NAME];
    char id[17];
    char summary[AL_SUMMARY_MAX];
    enum al_state state;
    enum al_told told;
    enum al_mute mute;
    uint32_t severity;
    int no_data;                  /* at the last evaluation */
    uint64_t since_ms;            /* in this state */
    uint64_t clear_ms;            /* firing: clear since then; 0: it is not */
    uint64_t data_ms;             /* of the last value */
    uint64_t changes[AL_CHANGES]; /* when it fired or was over, latest first; 0: not so often yet */
    int64_t started_us, ended_us; /* wall clock; ended 0: it has not */
    double value, threshold;
    uint32_t tick; /* of the last value */
};

struct al_silence {
    char id[17];
    char *matchers; /* as al_matchers_print writes them */
    struct al_matchers *parsed;
    char *comment;
    char user[HD_EVENT_NAME];
    uint64_t until_ms;
    int64_t made_us;
};

/* Times in milliseconds. */
struct al_policy {
    uint64_t group_wait, group_interval;
    uint64_t flap_window, flap_hold;
    uint64_t absent_for; /* 0: a firing alert without data stays */
    uint32_t max_alerts, max_silences;
};

struct al_hooks {
    /* An alert fires or is over. */
    void (*changed)(void *arg, const struct al_alert *a);
    /* To be told to the group's sinks; `repeat`: nothing is new. */
    void (*message)(void *arg, const struct al_group *g, struct al_alert *const *alerts, uint32_t count,
                    int repeat);
    void *arg;
};

struct al_engine {
    struct al_source source;
    struct al_hooks hooks;
    struct al_policy policy;
    struct al_budget budget;
    struct al_memory *memory;
    struct al_rule *rules;
    uint32_t rule_count;
    struct al_alert *alerts;
    uint32_t alert_count;
    struct al_group *groups;
    struct al_silence *silences;
    uint32_t silence_count;
    uint64_t now_ms;
    int64_t wall_us;
    uint32_t tick;
    uint64_t refused; /* alerts past max_alerts */
    uint64_t evaluations;
    int changed; /* something that is to be kept has changed since the caller reset this */
};

int32_t al_engine_init(struct al_engine *e);
void al_engine_free(struct al_engine *e);
/* Exchanges the rules for those of a configuration that passed the check. What has the same name goes on;
 * alerts of rules that are gone are over. HD_OK; HD_ENOMEM, and the old ones stay. */
int32_t al_engine_rules(struct al_engine *e, const struct hd_conf *conf, struct hd_error *err);
/* Reads, judges, tells. `now_ms` never goes back and is not 0. */
void al_engine_tick(struct al_engine *e, uint64_t now_ms, int64_t wall_us);

/* An alert of a rule, made where there is none; NULL: no memory, or too many. `rule` may be NULL. */
struct al_alert *al_engine_alert(struct al_engine *e, struct al_rule *rule, const char *rule_name,
                                 const struct al_labels *labels);
/* After alerts were put in from outside: those whose rule is gone are over. */
void al_engine_settle(struct al_engine *e);
struct al_rule *al_engine_rule(struct al_engine *e, const char *name);

/* groups.c: */

/* The group of a rule's alert with these labels; NULL: no memory. */
struct al_group *al_group_of(struct al_engine *e, const struct al_rule *rule, const char *rule_name,
                             const struct al_labels *labels);
struct al_group *al_group_find(struct al_engine *e, const char *id);
struct al_group *al_group_make(struct al_engine *e, const char *id, const char *title, const char *sinks);
/* Mutes what is silenced, inhibited or flaps, and sends the messages that are due. */
void al_groups_tell(struct al_engine *e);
/* Frees groups that nothing points to and that have been quiet. */
void al_groups_sweep(struct al_engine *e);
void al_groups_free(struct al_engine *e);

/* silences.c: */

/* Are the rules there that are named in full? One that is none would silence nothing. HD_OK, HD_ENOENT. */
int32_t al_silence_check(struct al_engine *e, const struct al_matchers *m, struct hd_error *err);
/* Adds a silence of `matchers`; its id, or NULL and what is wrong. */
const char *al_silence_add(struct al_engine *e, const char *matchers, const char *comment, struct hd_str user,
                           uint64_t until_ms, int64_t made_us, struct hd_error *err);
int32_t al_silence_end(struct al_engine *e, const char *id);
void al_silences_expire(struct al_engine *e);
void al_silences_free(struct al_engine *e);
int al_silenced(const struct al_engine *e, const struct al_alert *a);

#endif
