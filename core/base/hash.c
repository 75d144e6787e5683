/*
 * Keys by xxHash's XXH3; see hash.h.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash.h"
#include "base/random.h"

static uint64_t seed = 0x9e3779b97f4a7c15u;

void hd_hash_seed(void)
{
    hd_random_bytes(&seed, sizeof(seed));
}

struct hd_hash128 hd_hash128(const void *bytes, size_t len)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(bytes, len, seed);

    return (struct hd_hash128){h.low64, h.high64};
}

struct hd_hash128 hd_hash128_more(struct hd_hash128 h, const void *bytes, size_t len)
{
    XXH128_hash_t m = XXH3_128bits_withSeed(bytes, len, h.lo);

    return (struct hd_hash128){m.low64 ^ (h.hi * 0x9e3779b97f4a7c15u), m.high64 + h.hi};
}

uint64_t hd_hash64(const void *bytes, size_t len)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}

uint64_t hd_fingerprint64(const void *bytes, size_t len)
{
    return XXH3_64bits(bytes, len);
}
