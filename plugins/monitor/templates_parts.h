/* What the parts of "what templates do" share: templates.c, room.c. */
#ifndef MONITOR_TEMPLATES_PARTS_H
#define MONITOR_TEMPLATES_PARTS_H

#include "templates.h"

/* What finds no memory in a table is not in it: never the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { CALLS, ERRORS, ROWS, SECONDS, COUNTERS };

/* A template of one database and user. The key is all of its first three members. */
struct mon_known {
    uint64_t fingerprint;
    char database[HD_EVENT_NAME], user[HD_EVENT_NAME];
    char *text;
    uint64_t generation;
    struct mon_template was;  /* the counts at the gathering before */
    struct mon_template came; /* since then; its bins are this one's */
    double score;             /* ns of late */
    int member;               /* is a metric */
    int64_t counters[COUNTERS], p95;
    uint64_t seen;
    uint32_t quiet; /* gatherings since it ran */
    UT_hash_handle hh;
};

/* Who waits for a gathering. */
struct waiter {
    struct waiter *next;
    void (*fn)(void *arg);
    void *arg;
};

/* A moment by both clocks: see mon_series_read(). */
struct mon_moment {
    double wall;
    uint64_t mono_ns;
};

struct mon_templates {
    struct mon *self;
    struct mon_moment before, now;   /* the gathering before, and this one */
    struct waiter *waiting, *served; /* for the next gathering; for the one that is under way, or has ended */
    uint32_t waiters;
    char (*databases)[HD_EVENT_NAME];
    uint32_t database_count;
    struct mon_known *all;
    uint64_t round, at_ns;
    uint32_t members;
    int busy, primed;
    int last; /* the plugin stops, and what this gathering brings goes into the history yet */
    int64_t other[COUNTERS], gauge, forgotten;
};

void mon_known_drop(struct mon_templates *t, struct mon_known *k);
void mon_template_add(struct mon_template *sum, const struct mon_template *c);
/* A gathering is over, with what followed it. [control], but for a failure */
void mon_templates_over(void *arg, int32_t code);
/* room.c: where some are past the bound, those that have not run for long make room for them. Not 0:
 * mon_templates_over() is called when they have. */
int mon_templates_room(struct mon_templates *t);

#endif
