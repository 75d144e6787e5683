/*
 * Numbers in bytes that leave the process, the lowest byte first.
 */
#ifndef REDIS_NUMBER_H
#define REDIS_NUMBER_H

#include <stdint.h>

static inline void rds_put_number(char *p, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++, n >>= 8)
        p[i] = (char)(n & 0xff);
}

static inline uint64_t rds_get_number(const char *p, int bytes)
{
    uint64_t n = 0;

    for (int i = bytes; i-- > 0;)
        n = n << 8 | (unsigned char)p[i];
    return n;
}

#endif
