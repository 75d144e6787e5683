/*
 * 128-bit content keys (XXH3) and a small 64-bit hash, for maps whose keys come from clients. The seed is
 * random per process, so that nobody can prepare collisions; keys that leave the process (fingerprints) use
 * seed 0.
 */
#ifndef HD_BASE_HASH_H
#define HD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hd_hash128 {
    uint64_t lo, hi;
};

/* Sets the process's seed; once, at start, before any other thread runs. */
void hd_hash_seed(void);
struct hd_hash128 hd_hash128(const void *bytes, size_t len);
/* Continues a key with more content: order matters. */
struct hd_hash128 hd_hash128_more(struct hd_hash128 h, const void *bytes, size_t len);
uint64_t hd_hash64(const void *bytes, size_t len);
/* Unseeded: the same for the same bytes in every process. */
uint64_t hd_fingerprint64(const void *bytes, size_t len);

static inline int hd_hash128_eq(struct hd_hash128 a, struct hd_hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
