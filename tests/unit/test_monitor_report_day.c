/*
 * When the day's report is due: every minute of a year with summer time, and clocks that are set.
 */
#include "unit.h"
#include "monitor/report.h"

#include <stdlib.h>

static void zone(const char *name)
{
    setenv("TZ", name, 1);
    tzset();
}

static time_t at(int year, int month, int day, int hour, int minute)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_isdst = -1};

    return mktime(&tm);
}

/* The host looks once a minute; each day has its report once, at its time or right behind a gap. */
static void live(const char *name, int minute, int late_days)
{
    time_t from = 0, to = 0;
    int64_t last = 0;
    int reports = 0, late = 0;

    zone(name);
    from = at(2026, 1, 1, 0, 0);
    to = at(2027, 1, 1, 0, 0);
    for (time_t t = from; t < to; t += 60) {
        int64_t day = mon_report_due(t, minute);
        struct tm tm;

        if (!day || day == last)
            continue;
        CU_ASSERT(day > last);
        last = day;
        reports++;
        localtime_r(&t, &tm);
        CU_ASSERT_EQUAL(day, (tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday);
        late += 60 * tm.tm_hour + tm.tm_min != minute;
    }
    CU_ASSERT_EQUAL(reports, 365);
    CU_ASSERT_EQUAL(late, late_days);
}

static void every_day_once(void)
{
    live("UTC", 360, 0);
    live("Europe/Berlin", 360, 0);
    live("Europe/Berlin", 150, 1); /* 02:30 is left out on one day, and there twice on another */
    live("Europe/Berlin", 0, 0);
    live("Europe/Berlin", 1439, 0);
    live("America/New_York", 150, 1);
    live("Asia/Kathmandu", 345, 0);
    live("Africa/Cairo", 0, 1); /* where midnight is left out */
}

static void clocks_that_are_set(void)
{
    zone("Europe/Berlin");
    CU_ASSERT_EQUAL(mon_report_due(at(2026, 5, 4, 5, 59), 360), 0);
    CU_ASSERT_EQUAL(mon_report_due(at(2026, 5, 4, 6, 0), 360), 20260504);
    /* Over the moment, within the day. */
    CU_ASSERT_EQUAL(mon_report_due(at(2026, 5, 4, 9, 12), 360), 20260504);
    CU_ASSERT_EQUAL(mon_report_due(at(2026, 5, 4, 23, 59), 360), 20260504);
    CU_ASSERT_EQUAL(mon_report_due(at(2026, 5, 5, 0, 0), 360), 0);
    /* Back before it: it is due again, and noted as written. */
    CU_ASSERT_EQUAL(mon_report_due(at(2026, 5, 4, 5, 0), 360), 0);
    CU_ASSERT_EQUAL(mon_report_due(0, 360), 0); /* 01:00 of 1970 */
}

static void times(void)
{
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"00:00", 5}), 0);
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"23:59", 5}), 1439);
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"24:00", 5}), -1);
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"12:60", 5}), -1);
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"1:000", 5}), -1);
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"-1:00", 5}), -1);
    CU_ASSERT_EQUAL(mon_report_minute((struct hd_str){"", 0}), -1);
}

UNIT_MAIN("monitor_report_day", {"every day once", every_day_once},
          {"clocks that are set", clocks_that_are_set}, {"times", times})
