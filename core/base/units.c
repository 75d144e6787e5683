/*
 * Durations, sizes and the wall clock; see units.h.
 */
#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_SIZE 24

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"m", 60000},
                                             {"s", 1000},     {"ms", 1},      {"", 1000},     {NULL, 0}};
static const struct unit size_units[] = {{"GB", 1 << 30}, {"G", 1 << 30},  {"MB", 1 << 20},
                                         {"M", 1 << 20},  {"KB", 1 << 10}, {"K", 1 << 10},
                                         {"B", 1},        {"", 1},         {NULL, 0}};

int64_t hd_wall_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int parse(const char *text, const struct unit *units, int64_t *out)
{
    char *end;
    long long n;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno)
        return -1;
    while (*end == ' ')
        end++;
    for (const struct unit *u = units; u->name; u++) {
        if (strcmp(end, u->name))
            continue;
        return __builtin_mul_overflow((int64_t)n, u->factor, out) ? -1 : 0;
    }
    return -1;
}

int hd_parse_duration(const char *text, int64_t *ms)
{
    return parse(text, duration_units, ms);
}

int hd_parse_size(const char *text, int64_t *bytes)
{
    return parse(text, size_units, bytes);
}

static char *format(int64_t n, const struct unit *units, const char *small, char *out)
{
    for (const struct unit *u = units; u->name; u++) {
        if (!n || u->factor <= 1 || n % u->factor || !strcmp(u->name, "min") || u->name[0] == 0 ||
            (u->name[0] && u->name[1] == 'B'))
            continue;
        snprintf(out, OUT_SIZE, "%lld%s", (long long)(n / u->factor), u->name);
        return out;
    }
    snprintf(out, OUT_SIZE, "%lld%s", (long long)n, n ? small : "");
    return out;
}

char *hd_format_duration(int64_t ms, char *out)
{
    return format(ms, duration_units, "ms", out);
}

char *hd_format_size(int64_t bytes, char *out)
{
    return format(bytes, size_units, "", out);
}
