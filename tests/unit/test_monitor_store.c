/*
 * The monitor's history on disk: samples into blocks and back, hours from minutes, age, and its bound.
 */
#include "monitor_store.h"

static struct mon_store *begun(int64_t size)
{
    make_folder();
    return opened(size);
}

static void closed(struct mon_store *s)
{
    mon_store_free(s);
    remove_folder();
}

static void samples_across_blocks(void)
{
    struct mon_store *s = begun(1 << 20);
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
    struct mon_store *s = begun(1 << 20);
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

static void minutes_that_come_late(void)
{
    struct mon_store *s = begun(1 << 20);
    struct got g;

    for (int i = 0; i < 59; i++)
        CU_ASSERT_EQUAL(put(s, MON_MINUTE, HOUR + 60 * i, 10), HD_OK);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 3600), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).sum, 10);
    CU_ASSERT_EQUAL(put(s, MON_MINUTE, HOUR + 59 * 60, 70), HD_OK);
    g = got(s, MON_HOUR, HOUR, HOUR + 3600);
    CU_ASSERT_EQUAL(g.count, 1);
    CU_ASSERT_EQUAL(g.sum, 11);
    CU_ASSERT_EQUAL(g.min, 10);
    CU_ASSERT_EQUAL(g.max, 70);
    /* What is in doubt changes nothing: an hour that has not ended, and one whose minutes may have gone. */
    CU_ASSERT_EQUAL(put(s, MON_MINUTE, HOUR + 3600, 5), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR + 3600, HOUR + 7200).count, 0);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 8 * DAY), HD_OK);
    CU_ASSERT_EQUAL(put(s, MON_MINUTE, HOUR, 1000), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).sum, 11);
    closed(s);
}

static void keeps_to_its_bound(void)
{
    struct mon_store *s = begun(300000);
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
    struct mon_store *s = begun(1 << 20);
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
          {"minutes that come late", minutes_that_come_late}, {"keeps to its bound", keeps_to_its_bound},
          {"notes", notes})
