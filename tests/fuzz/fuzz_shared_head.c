/*
 * Fuzzes what the result cache reads of values that other hosts have stored. What is read as a head is
 * written back as the same bytes.
 */
#include "cache/shared_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char bytes[CACHE_SHARED_HEAD_LEN];
    struct cache_shared_head h;

    if (cache_shared_head_read((struct hd_str){(const char *)data, size}, &h) != HD_OK)
        return 0;
    if (size != sizeof(bytes) || !h.lineage)
        abort();
    cache_shared_head_write(&h, bytes);
    if (memcmp(bytes, data, size) != 0)
        abort();
    return 0;
}
