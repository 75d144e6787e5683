/*
 * Bytes that grow; see cache.h.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

void cache_put(struct cache_bytes *b, const void *bytes, size_t len)
{
    if (b->len + len > b->cap) {
        size_t cap = (b->len + len) * 2;
        uint8_t *grown = realloc(b->p, cap);

        if (!grown) {
            b->failed = 1;
            return;
        }
        b->p = grown;
        b->cap = cap;
    }
    if (len)
        memcpy(b->p + b->len, bytes, len);
    b->len += len;
}

void cache_put_number(struct cache_bytes *b, uint64_t n)
{
    cache_put(b, &n, sizeof(n));
}

void cache_put_str(struct cache_bytes *b, struct hd_str s)
{
    cache_put_number(b, s.len);
    cache_put(b, s.ptr, s.len);
}
