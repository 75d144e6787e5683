/*
 * Heads of values in stores that several hosts share: what another host has to know of a value to tell
 * whether it still holds, in bytes that mean the same in every process.
 */
#ifndef CACHE_SHARED_HEAD_H
#define CACHE_SHARED_HEAD_H

#include <howdah/types.h>

#define CACHE_SHARED_HEAD_LEN 48

struct cache_shared_head {
    uint64_t tick;     /* the highest that was known before the statement was sent */
    uint64_t lsn;      /* the change stream's position before it was sent; 0: none */
    uint64_t lineage;  /* of the server; never 0 */
    uint64_t marks[2]; /* digest of what the read hangs on */
};

void cache_shared_head_write(const struct cache_shared_head *h, char out[CACHE_SHARED_HEAD_LEN]);
/* HD_OK; HD_EVERSION: of another version; HD_EPROTO: it is none. */
int32_t cache_shared_head_read(struct hd_str bytes, struct cache_shared_head *out);

#endif
