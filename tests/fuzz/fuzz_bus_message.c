/*
 * Fuzzes messages of bus-redis. Beside memory safety: what is taken lies within what was read and is written
 * again as the same bytes.
 */
#include "bus-redis/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char again[BR_MESSAGE_MAX];
    struct br_message m;

    if (br_message_read((struct hd_str){(const char *)data, size}, &m) != HD_OK)
        return 0;
    MUST(br_message_write(&m, again) == size);
    MUST(!memcmp(again, data, size));
    return 0;
}
