/*
 * Alert sinks: where the plugin `alerts` sends its messages to. Capability "howdah.alert-sink/1".
 *
 * A sink only knows how to deliver one message. The queue in front of it, trying again, the rate limit and
 * what is counted are the plugin alerts': each target of each sink has them of its own, and a thread of its
 * own, so that a slow sink delays no other.
 */
#ifndef HOWDAH_ALERT_SINK_H
#define HOWDAH_ALERT_SINK_H

#include <howdah/metrics.h>
#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_ALERT_SINK "howdah.alert-sink/1"

/* How bad it is. Since ABI 0.1. */
#define HD_ALERT_INFO    0
#define HD_ALERT_WARNING 1
#define HD_ALERT_PAGE    2 /* somebody has to get up for it */

/* One alert: a rule, and the labels for which it holds. Texts here and below are NUL-terminated UTF-8, never
 * NULL. Since ABI 0.1. */
struct hd_alert {
    uint32_t size;
    uint32_t severity; /* HD_ALERT_… */
    uint32_t firing;   /* 1; 0: it is over */
    uint32_t label_count;
    const char *rule;              /* of its [alert …] */
    const char *id;                /* hexadecimal; the same for the same rule and labels, in every host */
    const char *summary;           /* one line for people */
    const struct hd_label *labels; /* in the order of their names */
    double value;                  /* of the rule's expression, when it was last seen */
    double threshold;              /* that it has crossed */
    int64_t since_us;              /* when it began, microseconds since 1970 */
    int64_t until_us;              /* when it ended; 0: it has not */
};

/* A message about the alerts of one group. Borrowed for the call. Since ABI 0.1. */
struct hd_alert_message {
    uint32_t size;
    uint32_t severity;    /* the worst of the alerts' that fire; of all of them when none does */
    uint32_t firing;      /* how many of the alerts do; 0: all are over */
    uint32_t alert_count; /* 0: a title and a text alone, such as a report */
    const struct hd_alert *alerts;
    const char *id;    /* hexadecimal; another for each message, the same when it is tried again */
    const char *group; /* hexadecimal; the same for all messages of the group, in every host with the same
                          rules: together with `host` it is for receivers that dedupe */
    const char *title; /* one line */
    const char *text;  /* a line for each alert; long groups are cut, which the last line says */
    const char *host;  /* the name that [plugin alerts] gives this host */
    int64_t time_us;   /* when it was written */
    uint32_t attempt;  /* 1: the first try */
    uint32_t test;     /* 1: somebody asked for it by ALERT TEST */
    /* What stands behind a text that only sums up, such as a report's; empty where there is no such thing. */
    const char *body; /* the text at length */
    const char *page; /* the same as one page of HTML that needs nothing else */
    const char *json; /* its figures, a JSON object */
    uint32_t open;    /* alerts of the group that were told of and whose end was not, those of this message
                         among them: an incident is over with 0, not with firing = 0, for some may be silenced */
    uint32_t reserved;
    /* Where send() says how many milliseconds there shall be at least before another try, because the
     * receiver has asked for them; the host keeps to it up to a bound of its configuration. NULL: it does
     * not. */
    uint64_t *retry_after_ms;
};

/* Capability "howdah.alert-sink/1". `self` is the plugin's instance. Since ABI 0.1. */
struct hd_alert_sink_v1 {
    uint32_t size;
    uint32_t reserved;
    /* The name of the i-th target that is configured now; NULL past the last. A sink without such a choice
     * leaves this NULL and has one target, named as its plugin. Valid until the next reload. [control] */
    const char *(*target)(void *self, uint32_t i);
    /* Delivers a message to a target, and returns when it is there. HD_OK: it is; HD_EINVAL, HD_EPERM or
     * HD_ENOENT: it will never be, do not try again; any other code: try again later. Runs on the target's
     * own thread, one call at a time for a target, several targets at once; it may block, but must end within
     * `timeout_ms`, and soon once `*stop` is not 0: then the plugin has to stop. `target` is NULL where there
     * is no choice. */
    int32_t (*send)(void *self, const char *target, const struct hd_alert_message *m, uint64_t timeout_ms,
                    const volatile int32_t *stop, struct hd_error *err);
};

#define HD_CAP_ALERTS "howdah.alerts/1"

/* What is said with hd_alerts_v1.say(); texts may be NULL but for the title. Since ABI 0.1. */
struct hd_alert_words {
    uint32_t size;
    uint32_t reserved;
    const char *title; /* one line */
    const char *text;  /* a few lines: what chats show */
    const char *body;  /* these three as in hd_alert_message */
    const char *page;
    const char *json;
};

/* Capability "howdah.alerts/1" of the plugin alerts, for those who have something to say that is no alert,
 * such as a report. Since ABI 0.1. */
struct hd_alerts_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Sends a message without alerts, of severity info, to the targets that `sinks` means ("SINK" or
     * "SINK:TARGET", separated by commas; empty: all); it is kept and tried again as all messages are. A long
     * text is cut; all is copied. HD_ENOENT: there is no such target. [control] */
    int32_t (*tell)(void *self, const char *sinks, const char *title, const char *text, struct hd_error *err);
    /* As tell(), for more than a text. A body that is too long is cut, a page left out; both are left out
     * when too many such wait already. [control] */
    int32_t (*say)(void *self, const char *sinks, const struct hd_alert_words *words, struct hd_error *err);
    /* How many targets `sinks` means now. [control] */
    uint32_t (*targets)(void *self, const char *sinks);
};

#ifdef __cplusplus
}
#endif
#endif
