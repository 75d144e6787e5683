/*
 * Traces of look-ups: keys from a file of 4-byte numbers, or made up; and as a yardstick what plain caches of
 * equal objects, as the textbooks have them, make of one.
 */
#ifndef HD_TESTS_BENCH_TRACE_DATA_H
#define HD_TESTS_BENCH_TRACE_DATA_H

#include <stddef.h>
#include <stdint.h>

struct trace {
    uint32_t *keys; /* 0 … distinct - 1 */
    size_t count;
    uint32_t distinct;
};

/* A file of little-endian numbers of 4 bytes; "-" is the standard input. Ends the program on failure. */
struct trace trace_read(const char *path);
/* Zipf's law over `n` keys with the exponent `skew`, and now and then a scan over keys that come once. */
struct trace trace_zipf(uint32_t n, double skew, size_t count, unsigned scans);
void trace_free(struct trace *t);

/* Hits in 100 look-ups of a cache of `room` objects. */
double textbook_lru(const struct trace *t, uint32_t room);
double textbook_s3_fifo(const struct trace *t, uint32_t room);

#endif
