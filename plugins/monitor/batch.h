/*
 * What is on its way to the history: samples of series, what templates did, and events, gathered on the
 * control thread and written by a job. Plain memory without locks: a batch belongs to one thread at a time.
 */
#ifndef MONITOR_BATCH_H
#define MONITOR_BATCH_H

#include "store.h"

struct mon_put {
    uint32_t number;
    int32_t grain;
    int64_t time;
    uint32_t count;  /* samples */
    uint32_t values; /* index of the first of their floats */
};

struct mon_define {
    uint32_t number;
    char *key;
    const char *unit; /* static */
};

struct mon_batch {
    struct mon_batch *next;
    uint32_t put_count, put_room, value_count, value_room, define_count, define_room;
    uint32_t template_count, template_room, event_count, event_room;
    struct mon_put *puts;
    float *values;
    struct mon_define *defines;
    struct mon_template *templates; /* their strings and bins are the batch's */
    int64_t template_time;
    struct mon_event *events; /* their strings are the batch's */
};

struct mon_batch *mon_batch_new(void); /* NULL: no memory */
void mon_batch_free(struct mon_batch *b);

/* `b` knows the names, too, that `older` brought before it; `older` is freed. */
void mon_batch_inherit(struct mon_batch *b, struct mon_batch *older);

/* Each copies what it gets; HD_ENOMEM. */
int32_t mon_batch_put(struct mon_batch *b, uint32_t number, int grain, int64_t time, const float *values,
                      uint32_t count);
int32_t mon_batch_define(struct mon_batch *b, uint32_t number, const char *key, const char *unit);
int32_t mon_batch_template(struct mon_batch *b, const struct mon_template *t);
int32_t mon_batch_event(struct mon_batch *b, int64_t time, const char *topic, const char *subject,
                        const char *text);

/* Writes it; `lost` counts samples of series that are not known. [job] */
int32_t mon_batch_write(const struct mon_batch *b, struct mon_store *s, uint64_t *lost);

#endif
