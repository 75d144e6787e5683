/*
 * Messages: copies of what was to be told, that threads share until all have delivered it.
 */
#ifndef ALERTS_MESSAGE_H
#define ALERTS_MESSAGE_H

#include <howdah/alert_sink.h>
#include <jansson.h>
#include <stdatomic.h>

#include "alerts/engine.h"

#define AL_TARGET_MAX  96 /* SINK:TARGET and its NUL */
#define AL_TARGETS_MAX 32

struct al_message {
    struct al_message *next; /* in the outbox */
    _Atomic int refs;
    struct al_memory *memory;
    struct hd_alert_message m;
    uint64_t expires_ms;                         /* what is not delivered by then is given up */
    char targets[AL_TARGETS_MAX][AL_TARGET_MAX]; /* that have not delivered it yet; control thread */
    uint32_t target_count;
    size_t long_bytes; /* of its body and page */
};

/* What is told of alerts. With one reference; NULL: no memory. `seed` makes ids of one moment differ. */
struct al_message *al_message_new(const struct al_group *g, struct al_alert *const *alerts, uint32_t count,
                                  int repeat, const char *host, int64_t wall_us, uint64_t seed);
/* A message that says that this is a test. */
struct al_message *al_message_test(const char *host, int64_t wall_us, uint64_t seed);
/* A message of somebody else's words, without alerts; without their body and page unless `at_length`. */
struct al_message *al_message_words(const struct hd_alert_words *words, int at_length, const char *host,
                                    int64_t wall_us, uint64_t seed);
/* From what sink_json_whole has made. NULL: it is none, or no memory. */
struct al_message *al_message_from_json(const json_t *o);
struct al_message *al_message_ref(struct al_message *m);
void al_message_unref(struct al_message *m);

/* Takes a target off the list; whether it was there. */
int al_message_delivered(struct al_message *m, const char *target);

#endif
