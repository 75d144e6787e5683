/*
 * Heads of shared values to bytes and back; see shared_head.h.
 *
 *     0  magic "HDSH"   4  version, 2 bytes   6  zero
 *     8  tick   16  lsn   24  lineage   32  digest of the marks, 16 bytes
 *
 * Numbers are little-endian.
 */
#include "shared_head.h"

#include <string.h>

#define HEAD_VERSION 1

static const char magic[4] = {'H', 'D', 'S', 'H'};

static void put(char *p, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++, n >>= 8)
        p[i] = (char)(n & 0xff);
}

static uint64_t get(const char *p, int bytes)
{
    uint64_t n = 0;

    for (int i = bytes; i-- > 0;)
        n = n << 8 | (unsigned char)p[i];
    return n;
}

void cache_shared_head_write(const struct cache_shared_head *h, char out[CACHE_SHARED_HEAD_LEN])
{
    const uint64_t numbers[] = {h->tick, h->lsn, h->lineage, h->marks[0], h->marks[1]};

    memcpy(out, magic, sizeof(magic));
    put(out + 4, HEAD_VERSION, 4);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        put(out + 8 + i * 8, numbers[i], 8);
}

int32_t cache_shared_head_read(struct hd_str bytes, struct cache_shared_head *out)
{
    uint64_t numbers[5];

    if (bytes.len < 8 || memcmp(bytes.ptr, magic, sizeof(magic)) != 0)
        return HD_EPROTO;
    if (get(bytes.ptr + 4, 4) != HEAD_VERSION)
        return HD_EVERSION;
    if (bytes.len != CACHE_SHARED_HEAD_LEN)
        return HD_EPROTO;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        numbers[i] = get(bytes.ptr + 8 + i * 8, 8);
    *out = (struct cache_shared_head){numbers[0], numbers[1], numbers[2], {numbers[3], numbers[4]}};
    return out->lineage ? HD_OK : HD_EPROTO;
}
