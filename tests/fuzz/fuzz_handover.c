/*
 * Fuzzes a session as it comes from another host. Beside memory safety: what is taken for good is exactly
 * what the same session would be sent as.
 */
#include <stdlib.h>
#include <string.h>

#include "session/handover_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static void check_prep(const struct hd_moved_prep *p)
{
    MUST(p->sql_len + 3 <= p->len && strlen((const char *)p->body) == p->sql_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_strbuf again = HD_STRBUF_INIT;
    struct hd_moved m;

    if (hd_moved_decode(data, size, &m))
        return 0;
    for (uint32_t i = 0; i < m.name_count; i++)
        check_prep(&m.names[i].prep);
    if (m.has_unnamed)
        check_prep(&m.unnamed);
    hd_moved_encode(&m, &again);
    MUST(again.len == size && !memcmp(again.data, data, size));
    hd_strbuf_free(&again);
    hd_moved_free(&m);
    return 0;
}
