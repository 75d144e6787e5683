/*
 * The monitor's history on disk: samples into blocks and back, hours from minutes, age, and its bound.
 */
#include "unit.h"
#include "monitor/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR INT64_C(1795460400) /* begins an hour */

static char folder[64], path[80];

static struct mon_store *opened(int64_t size)
{
    struct hd_error err = HD_ERROR_INIT;
    struct mon_store *s;

    snprintf(folder, sizeof(folder), "/tmp/howdah-store-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/history.db", folder);
    s = mon_store_new(path, size);
    CU_ASSERT_EQUAL_FATAL(mon_store_open(s, &err), HD_OK);
    CU_ASSERT_EQUAL(mon_store_define(s, 0, "a", "1"), HD_OK);
    return s;
}

static void closed(struct mon_store *s)
{
    mon_store_free(s);
    unlink(path);
    CU_ASSERT_EQUAL(rmdir(folder), 0); /* SQLite has left nothing beside it */
}

struct got {
    int count;
    double sum, min, max;
    int64_t first, last;
};

static int32_t get(void *arg, const struct mon_sample *s)
{
    struct got *g = arg;

    if (!g->count++)
        g->first = s->time;
    g->last = s->time;
    g->sum += s->mean;
    g->min = s->min;
    g->max = s->max;
    return HD_OK;
}

static struct got got(struct mon_store *s, int grain, int64_t from, int64_t to)
{
    struct got g = {0};

    CU_ASSERT_EQUAL(mon_store_read(s, "a", grain, from, to, get, &g), HD_OK);
    return g;
}

static void samples_across_blocks(void)
{
    struct mon_store *s = opened(1 << 20);
    float v[100];
    struct got g;

    for (int i = 0; i < 100; i++)
        v[i] = (float)i;
    CU_ASSERT_EQUAL(mon_store_begin(s), HD_OK);
    CU_ASSERT_EQUAL(mon_store_put(s, 0, MON_SECOND, HOUR + 30, v, 100), HD_OK);
    CU_ASSERT_EQUAL(mon_store_put(s, 7, MON_SECOND, HOUR, v, 1), HD_ENOENT);
    CU_ASSERT_EQUAL(mon_store_commit(s), HD_OK);
    g = got(s, MON_SECOND, HOUR, HOUR + 3600);
    CU_ASSERT_EQUAL(g.count, 100);
    CU_ASSERT_EQUAL(g.first, HOUR + 30);
    CU_ASSERT_EQUAL(g.last, HOUR + 129);
    CU_ASSERT_EQUAL(g.sum, 4950);
    g = got(s, MON_SECOND, HOUR + 40, HOUR + 50);
    CU_ASSERT_EQUAL(g.count, 10);
    CU_ASSERT_EQUAL(g.sum, 10 + 11 + 12 + 13 + 14 + 15 + 16 + 17 + 18 + 19);
    closed(s);
}

static void hours_and_age(void)
{
    struct mon_store *s = opened(1 << 20);
    struct got g;

    CU_ASSERT_EQUAL(mon_store_begin(s), HD_OK);
    for (int i = 0; i < 60; i += 2) { /* every other minute is missing */
        float v[3] = {(float)i, (float)(i - 1), (float)(i + 1)};

        CU_ASSERT_EQUAL(mon_store_put(s, 0, MON_MINUTE, HOUR + 60 * i, v, 1), HD_OK);
    }
    CU_ASSERT_EQUAL(mon_store_commit(s), HD_OK);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 3599), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).count, 0); /* it has not ended */
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 3600), HD_OK);
    g = got(s, MON_HOUR, HOUR, HOUR + 3600);
    CU_ASSERT_EQUAL(g.count, 1);
    CU_ASSERT_EQUAL(g.sum, 29);
    CU_ASSERT_EQUAL(g.min, -1);
    CU_ASSERT_EQUAL(g.max, 59);
    CU_ASSERT_EQUAL(mon_store_prune(s, HOUR + 7 * 86400), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_MINUTE, HOUR, HOUR + 3600).count, 30);
    CU_ASSERT_EQUAL(mon_store_prune(s, HOUR + 8 * 86400), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_MINUTE, HOUR, HOUR + 3600).count, 0);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).count, 1);
    closed(s);
}

static void keeps_to_its_bound(void)
{
    struct mon_store *s = opened(300000);
    float v[60] = {1};
    int32_t code = HD_OK;
    int n = 0, rooms = 0;

    for (; n < 2000; n++) {
        code = mon_store_begin(s);
        code = code ? code : mon_store_put(s, 0, MON_SECOND, HOUR + 60 * n, v, 60);
        code = code ? code : mon_store_commit(s);
        if (code == HD_EFULL && mon_store_make_room(s, HOUR + 60 * n) == HD_OK)
            rooms++;
        else
            CU_ASSERT_EQUAL(code, HD_OK);
    }
    CU_ASSERT(rooms > 0);
    CU_ASSERT(mon_store_bytes(s) <= 300000);
    CU_ASSERT(got(s, MON_SECOND, HOUR + 60 * (n - 10), HOUR + 60 * n).count >= 60 * 8);
    CU_ASSERT_EQUAL(got(s, MON_SECOND, HOUR, HOUR + 60).count, 0);
    closed(s);
}

static void notes(void)
{
    struct mon_store *s = opened(1 << 20);
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_FALSE(mon_store_has_note(s, "daily 20261123"));
    CU_ASSERT_EQUAL(mon_store_note(s, "daily 20261123", HOUR), HD_OK);
    CU_ASSERT_EQUAL(mon_store_note(s, "daily 20261123", HOUR + 10), HD_OK);
    mon_store_close(s);
    CU_ASSERT_FALSE(mon_store_has_note(s, "daily 20261123"));
    CU_ASSERT_EQUAL(mon_store_note(s, "daily 20261124", HOUR), HD_EIO);
    CU_ASSERT_EQUAL(mon_store_open(s, &err), HD_OK);
    CU_ASSERT(mon_store_has_note(s, "daily 20261123"));
    CU_ASSERT_FALSE(mon_store_has_note(s, "daily 20261124"));
    CU_ASSERT_EQUAL(mon_store_prune(s, HOUR + 390 * INT64_C(86400)), HD_OK);
    CU_ASSERT(mon_store_has_note(s, "daily 20261123"));
    CU_ASSERT_EQUAL(mon_store_prune(s, HOUR + 400 * INT64_C(86400)), HD_OK);
    CU_ASSERT_FALSE(mon_store_has_note(s, "daily 20261123"));
    closed(s);
}

UNIT_MAIN("monitor_store", {"samples across blocks", samples_across_blocks}, {"hours and age", hours_and_age},
          {"keeps to its bound", keeps_to_its_bound}, {"notes", notes})
