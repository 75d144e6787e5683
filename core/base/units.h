/*
 * Time and sizes as people write them: "200ms", "30s", "5m", "2h", "1d"; "64K", "256M", "1G"; and clocks.
 */
#ifndef HD_BASE_UNITS_H
#define HD_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Nanoseconds of one of the system's clocks, clock_gettime(2). */
static inline uint64_t hd_clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds of the monotonic clock. */
static inline uint64_t hd_now_ns(void)
{
    return hd_clock_ns(CLOCK_MONOTONIC);
}

/* Microseconds since 1970, by the wall clock. */
int64_t hd_wall_us(void);

/* Parses a duration to milliseconds: a number with ms, s, m (or min), h or d; plain digits are seconds; 0 is
 * 0. Returns 0, or -1 when it is not one or does not fit. */
int hd_parse_duration(const char *text, int64_t *ms);
/* Parses a size to bytes: a number with K, M or G (1024), an optional B behind. 0, or -1. */
int hd_parse_size(const char *text, int64_t *bytes);
/* Writes the shortest exact form ("1500ms", "30s", "5m"); out needs 24 bytes. Returns out. */
char *hd_format_duration(int64_t ms, char *out);
char *hd_format_size(int64_t bytes, char *out);

#endif
