/* A history of the monitor's in a folder of its own: what its tests put into it and read again. */
#ifndef UNIT_MONITOR_STORE_H
#define UNIT_MONITOR_STORE_H

#include "unit.h"
#include "monitor/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOUR INT64_C(1795460400) /* begins an hour */
#define DAY  INT64_C(86400)
#define MB   (INT64_C(1) << 20)

static char folder[64], path[80], aside[96];

static inline void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/howdah-store-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/history.db", folder);
    snprintf(aside, sizeof(aside), "%s.damaged", path);
}

/* With the file and what was put aside; anything else is one too many. */
static inline void remove_folder(void)
{
    static const char *const tails[] = {"", ".damaged", ".damaged-wal", ".damaged-shm"};
    char name[128];

    for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        snprintf(name, sizeof(name), "%s%s", path, tails[i]);
        unlink(name);
    }
    CU_ASSERT_EQUAL(rmdir(folder), 0);
}

/* Series 0 is "a". */
static inline struct mon_store *opened(int64_t size)
{
    struct hd_error err = HD_ERROR_INIT;
    struct mon_store *s = mon_store_new(path, size);

    CU_ASSERT_EQUAL_FATAL(mon_store_open(s, &err), HD_OK);
    CU_ASSERT_EQUAL(mon_store_define(s, 0, "a", "1"), HD_OK);
    return s;
}

/* One sample of series 0, in a transaction of its own. */
static inline int32_t put(struct mon_store *s, int grain, int64_t time, float value)
{
    float v[3] = {value, value, value};
    int32_t code = mon_store_begin(s);

    code = code ? code : mon_store_put(s, 0, grain, time, v, 1);
    return code ? code : mon_store_commit(s);
}

/* What samples there are: how many, their means' sum, the times of the first and the last, and what is least
 * and greatest in all of them. */
struct got {
    int64_t count, first, last;
    double sum, min, max;
};

static inline int32_t get(void *arg, const struct mon_sample *s)
{
    struct got *g = arg;

    g->min = g->count && g->min < s->min ? g->min : s->min;
    g->max = g->count && g->max > s->max ? g->max : s->max;
    if (!g->count++)
        g->first = s->time;
    g->last = s->time;
    g->sum += s->mean;
    return HD_OK;
}

static inline struct got got_of(struct mon_store *s, const char *name, int grain, int64_t from, int64_t to)
{
    struct got g = {0};

    CU_ASSERT_EQUAL(mon_store_read(s, name, grain, from, to, get, &g), HD_OK);
    return g;
}

static inline struct got got(struct mon_store *s, int grain, int64_t from, int64_t to)
{
    return got_of(s, "a", grain, from, to);
}

#endif
