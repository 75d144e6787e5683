/*
 * What an entry looks like in Redis: one string with everything in it that is needed to find out whether it
 * is whole, of this format, and of the key that was asked for.
 *
 *     0  magic "HDCV"      4  version, 2 bytes    6  codec     7  zero
 *     8  length of the key   12  of the head   16  of the description   20  of the answer
 *    24  length of the three as they are stored   28  zero
 *    32  cost, 8 bytes       40  XXH3 of the bytes before it and of those behind it
 *    48  the key, then head, description and answer, compressed in one piece or as they are
 *
 * Numbers are little-endian. LZ4 rather than zstd, for values are read more often than written: rows of text
 * are unpacked three to nine times as fast, for 1.6 times the space.
 */
#ifndef HD_PLUGINS_CACHE_REDIS_VALUE_H
#define HD_PLUGINS_CACHE_REDIS_VALUE_H

#include <howdah/cache_store.h>

#define CR_VERSION 1
#define CR_HEADER  48

/* Memory that grows and is used again. */
struct cr_buffer {
    char *ptr;
    uint64_t len, cap;
};

void cr_buffer_free(struct cr_buffer *b);
/* Room for so many bytes in all; what was there is lost. HD_OK or HD_ENOMEM. */
int32_t cr_buffer_reserve(struct cr_buffer *b, uint64_t cap);

/* Bytes of a value without its key and frame. */
uint64_t cr_value_size(const struct hd_cache_value *v);

/* Fills `out`; compresses what is longer than `compress_above` where that makes it shorter. HD_OK, HD_ENOMEM,
 * or HD_EINVAL for lengths that the format has no room for. */
int32_t cr_value_encode(const struct hd_cache_key *key, const struct hd_cache_value *v,
                        uint64_t compress_above, struct cr_buffer *out);

/* Reads what Redis has given. `out` points into `stored` or `room`; left_ms is not among what is read. HD_OK;
 * HD_ENOENT: another key's; HD_EVERSION: of another format; HD_EPROTO: wrong or longer than `max`;
 * HD_ENOMEM. */
int32_t cr_value_decode(struct hd_str stored, const struct hd_cache_key *key, uint64_t max,
                        struct cr_buffer *room, struct hd_cache_value *out);

#endif
