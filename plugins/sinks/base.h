/*
 * What sinks with named targets have in common: their configuration, read by several threads while the
 * control thread exchanges it, and sending with curl.
 */
#ifndef SINKS_BASE_H
#define SINKS_BASE_H

#include <howdah/howdah.h>
#include <pthread.h>

struct sink {
    hd_host *host;
    pthread_mutex_t lock;
    const struct hd_conf *conf;
    const struct hd_section_kind *kind; /* sections of which are the targets */
};

/* What a plugin is, told by its own file. */
extern const struct sink_plugin {
    const struct hd_section_kind *kind;
    int32_t (*check)(const void *section_conf, struct hd_error *err);
    struct hd_alert_sink_v1 v1;
} sink_plugin;

/* As hd_plugin's: `self` is a sink. */
int32_t sink_create(hd_host *host, void **out, struct hd_error *err);
/* Checks each section, and puts its name before the error. */
int32_t sink_check(void *self, const struct hd_conf *conf, struct hd_error *err);
const void *sink_capability(const char *name);
void sink_destroy(void *self);
int32_t sink_start(void *self, const struct hd_conf *conf, struct hd_error *err);
void sink_reload(void *self, const struct hd_conf *conf);
int32_t sink_stop(void *self);
/* As hd_alert_sink_v1's. */
const char *sink_target(void *self, uint32_t i);

/* A copy of a target's section, of its own memory; NULL: there is none any more, or no memory. [any] */
void *sink_get(struct sink *s, const char *target);
/* Overwrites and frees it. */
void sink_put(struct sink *s, void *conf);

/* Is the text free of line ends and other control characters? */
int sink_is_line(struct hd_str s);
/* Copies a text, such characters as blanks. */
void sink_line(char *out, size_t room, const char *s);

#endif
