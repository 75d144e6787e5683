/*
 * Entries to bytes and back; see value.h. Nothing that is read is believed before the checksum agrees, and no
 * length even then.
 */
#include "cache-redis/value.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "redis/number.h"

#define CODEC_NONE 0
#define CODEC_LZ4  1
#define PART_MAX   0x7fffffffu /* bytes of one part, and of all compressed together */

static const char magic[4] = {'H', 'D', 'C', 'V'};

/* A frame's numbers. */
struct frame {
    uint32_t codec, key, head, describe, bytes, stored;
    uint64_t cost;
};

void cr_buffer_free(struct cr_buffer *b)
{
    free(b->ptr);
    memset(b, 0, sizeof(*b));
}

int32_t cr_buffer_reserve(struct cr_buffer *b, uint64_t cap)
{
    char *grown;

    if (cap <= b->cap)
        return HD_OK;
    grown = malloc(cap);
    if (!grown)
        return HD_ENOMEM;
    free(b->ptr);
    b->ptr = grown;
    b->cap = cap;
    return HD_OK;
}

static uint64_t checksum(const char *p, uint64_t len)
{
    return XXH3_64bits_withSeed(p + CR_HEADER, len - CR_HEADER, XXH3_64bits(p, 40));
}

uint64_t cr_value_size(const struct hd_cache_value *v)
{
    return v->head.len + v->describe.len + v->bytes.len;
}

/* --- writing ---------------------------------------------------------------------------------------------
 */

static char *append(char *at, struct hd_str s)
{
    if (s.len)
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}

static void put_frame(char *p, const struct frame *f)
{
    memcpy(p, magic, sizeof(magic));
    rds_put_number(p + 4, CR_VERSION, 2);
    rds_put_number(p + 6, f->codec, 2);
    rds_put_number(p + 8, f->key, 4);
    rds_put_number(p + 12, f->head, 4);
    rds_put_number(p + 16, f->describe, 4);
    rds_put_number(p + 20, f->bytes, 4);
    rds_put_number(p + 24, f->stored, 8);
    rds_put_number(p + 32, f->cost, 8);
}

/* Compresses what stands plain behind the buffer's part for it; returns the length, 0 where it does not pay.
 */
static uint32_t compress(const char *plain, uint64_t len, char *to)
{
    int n = LZ4_compress_default(plain, to, (int)len, (int)(len - len / 16));

    return n > 0 ? (uint32_t)n : 0;
}

int32_t cr_value_encode(const struct hd_cache_key *key, const struct hd_cache_value *v,
                        uint64_t compress_above, struct cr_buffer *out)
{
    uint64_t plain = cr_value_size(v), start = CR_HEADER + key->bytes.len;
    struct frame f = {.cost = v->cost_ns};
    char *packed, *raw;

    if (key->bytes.len > PART_MAX || v->head.len > PART_MAX || v->describe.len > PART_MAX ||
        v->bytes.len > PART_MAX || plain > PART_MAX)
        return HD_EINVAL;
    /* Compressed, the plain bytes stand behind until they are packed. */
    if (cr_buffer_reserve(out, start + plain * (plain > compress_above ? 2 : 1)))
        return HD_ENOMEM;
    packed = append(out->ptr + CR_HEADER, key->bytes);
    raw = plain > compress_above ? packed + plain : packed;
    append(append(append(raw, v->head), v->describe), v->bytes);
    f.key = (uint32_t)key->bytes.len;
    f.head = (uint32_t)v->head.len;
    f.describe = (uint32_t)v->describe.len;
    f.bytes = (uint32_t)v->bytes.len;
    f.stored = raw == packed ? 0 : compress(raw, plain, packed);
    f.codec = f.stored ? CODEC_LZ4 : CODEC_NONE;
    if (!f.stored) {
        f.stored = (uint32_t)plain;
        memmove(packed, raw, plain);
    }
    out->len = start + f.stored;
    put_frame(out->ptr, &f);
    rds_put_number(out->ptr + 40, checksum(out->ptr, out->len), 8);
    return HD_OK;
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

/* HD_OK: the frame is one of ours, whole, and its lengths add up. */
static int32_t get_frame(struct hd_str s, struct frame *f)
{
    if (s.len < CR_HEADER || memcmp(s.ptr, magic, sizeof(magic)) != 0)
        return HD_EPROTO;
    if (rds_get_number(s.ptr + 4, 2) != CR_VERSION)
        return HD_EVERSION;
    if (rds_get_number(s.ptr + 40, 8) != checksum(s.ptr, s.len))
        return HD_EPROTO;
    f->codec = (uint32_t)rds_get_number(s.ptr + 6, 2);
    f->key = (uint32_t)rds_get_number(s.ptr + 8, 4);
    f->head = (uint32_t)rds_get_number(s.ptr + 12, 4);
    f->describe = (uint32_t)rds_get_number(s.ptr + 16, 4);
    f->bytes = (uint32_t)rds_get_number(s.ptr + 20, 4);
    f->stored = (uint32_t)rds_get_number(s.ptr + 24, 4);
    f->cost = rds_get_number(s.ptr + 32, 8);
    if (rds_get_number(s.ptr + 28, 4) || f->codec > CODEC_LZ4)
        return HD_EPROTO;
    return s.len == (uint64_t)CR_HEADER + f->key + f->stored ? HD_OK : HD_EPROTO;
}

/* Where head, description and answer stand in one piece; NULL: they don't. */
static const char *unpack(const char *stored, const struct frame *f, uint64_t plain, struct cr_buffer *room)
{
    if (f->codec == CODEC_NONE)
        return f->stored == plain ? stored : NULL;
    if (cr_buffer_reserve(room, plain + !plain))
        return NULL;
    if (LZ4_decompress_safe(stored, room->ptr, (int)f->stored, (int)plain) != (int)plain)
        return NULL;
    return room->ptr;
}

int32_t cr_value_decode(struct hd_str stored, const struct hd_cache_key *key, uint64_t max,
                        struct cr_buffer *room, struct hd_cache_value *out)
{
    struct frame f;
    const char *p;
    uint64_t plain;
    int32_t code = get_frame(stored, &f);

    if (code)
        return code;
    if (f.key != key->bytes.len || (f.key && memcmp(stored.ptr + CR_HEADER, key->bytes.ptr, f.key) != 0))
        return HD_ENOENT;
    plain = (uint64_t)f.head + f.describe + f.bytes;
    if (plain > max || plain > PART_MAX || f.stored > PART_MAX)
        return HD_EPROTO;
    p = unpack(stored.ptr + CR_HEADER + f.key, &f, plain, room);
    if (!p)
        return HD_EPROTO;
    memset(out, 0, sizeof(*out));
    out->size = (uint32_t)sizeof(*out);
    out->head = (struct hd_str){p, f.head};
    out->describe = (struct hd_str){p + f.head, f.describe};
    out->bytes = (struct hd_str){p + f.head + f.describe, f.bytes};
    out->cost_ns = f.cost;
    return HD_OK;
}
