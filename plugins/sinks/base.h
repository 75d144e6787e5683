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

int32_t sink_create(hd_host *host, const struct hd_section_kind *kind, void **out, struct hd_error *err);
void sink_destroy(void *sink);
/* As hd_plugin's: `self` is a sink. */
int32_t sink_start(void *self, const struct hd_conf *conf, struct hd_error *err);
void sink_reload(void *self, const struct hd_conf *conf);
int32_t sink_stop(void *self);
/* As hd_alert_sink_v1's. */
const char *sink_target(void *self, uint32_t i);

/* Calls fn for each section of the kind until it fails, and puts the section's name before the error. */
int32_t sink_check(const struct hd_conf *conf, int32_t (*fn)(const void *section_conf, struct hd_error *err),
                   struct hd_error *err);

/* A copy of a target's section, of its own memory; NULL: there is none any more, or no memory. [any] */
void *sink_get(struct sink *s, const char *target);
/* Overwrites and frees it. */
void sink_put(struct sink *s, void *conf);

/* Is the text free of line ends and other control characters? */
int sink_is_line(struct hd_str s);
/* Copies a text, such characters as blanks. */
void sink_line(char *out, size_t room, const char *s);

#endif
