/*
 * Fuzzes what cache-redis reads from Redis. The first byte says how the rest is taken: as it is; with a
 * checksum that agrees, which a fuzzer would never find; or as a value that is written and read again.
 *
 * Beside memory safety: parts that are given lie within what was read and their lengths within the bound, and
 * a value that was written is read as the same value.
 */
#include "cache-redis/value.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX 100000

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static const struct hd_cache_key key = {.size = sizeof(struct hd_cache_key), .bytes = {"key", 3}};

static void put_checksum(char *p, size_t len)
{
    uint64_t sum = XXH3_64bits_withSeed(p + CR_HEADER, len - CR_HEADER, XXH3_64bits(p, 40));

    for (int i = 0; i < 8; i++)
        p[40 + i] = (char)(sum >> 8 * i);
}

static void read_it(const char *p, size_t len)
{
    struct cr_buffer room = {0};
    struct hd_cache_value v;
    uint64_t sum = 0;

    if (cr_value_decode((struct hd_str){p, len}, &key, MAX, &room, &v) == HD_OK) {
        MUST(cr_value_size(&v) <= MAX);
        for (uint64_t i = 0; i < v.head.len; i++)
            sum += (unsigned char)v.head.ptr[i];
        for (uint64_t i = 0; i < v.describe.len; i++)
            sum += (unsigned char)v.describe.ptr[i];
        for (uint64_t i = 0; i < v.bytes.len; i++)
            sum += (unsigned char)v.bytes.ptr[i];
        MUST(sum <= MAX * 255ul);
    }
    cr_buffer_free(&room);
}

static void write_it(const char *p, size_t len)
{
    struct hd_cache_value v = {.size = sizeof(v),
                               .head = {p, len / 4},
                               .describe = {p + len / 4, len / 2 - len / 4},
                               .bytes = {p + len / 2, len - len / 2},
                               .cost_ns = len};
    struct cr_buffer out = {0}, room = {0};
    struct hd_cache_value got;

    MUST(cr_value_encode(&key, &v, len / 3, &out) == HD_OK);
    MUST(cr_value_decode((struct hd_str){out.ptr, out.len}, &key, len, &room, &got) == HD_OK);
    MUST(got.head.len == v.head.len && got.describe.len == v.describe.len && got.bytes.len == v.bytes.len);
    MUST(!len || !memcmp(got.head.ptr, p, len)); /* the three stand in one piece */
    MUST(got.cost_ns == len);
    cr_buffer_free(&out);
    cr_buffer_free(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *p;

    if (!size)
        return 0;
    p = malloc(size);
    MUST(p);
    memcpy(p, data + 1, size - 1);
    if (data[0] % 3 == 1 && size - 1 >= CR_HEADER)
        put_checksum(p, size - 1);
    if (data[0] % 3 == 2)
        write_it(p, size - 1);
    else
        read_it(p, size - 1);
    free(p);
    return 0;
}
