/*
 * When the day's report is due, by the machine's clock and the time zone of the host.
 *
 * From its time on until the day ends: a clock that is set over that moment, an hour that summer time leaves
 * out, or a host that did not run then, make it later and do not drop it. That no day has two is kept in the
 * history.
 */
#include "report.h"

#include <stdio.h>

int mon_report_minute(struct hd_str text)
{
    int h, m, n = 0;

    if (text.len != 5 || sscanf(text.ptr, "%2d:%2d%n", &h, &m, &n) != 2 || n != 5 || h < 0 || h > 23 ||
        m < 0 || m > 59)
        return -1;
    return 60 * h + m;
}

int64_t mon_report_due(time_t now, int minute)
{
    struct tm tm;
    int64_t day;

    localtime_r(&now, &tm);
    day = (tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday;
    tm.tm_hour = minute / 60;
    tm.tm_min = minute % 60;
    tm.tm_sec = 0;
    tm.tm_isdst = -1;
    return now >= mktime(&tm) ? day : 0;
}
