/*
 * The parts of the message reader that are not worth inlining; see read.h.
 */
#include "wire/read.h"

#include <string.h>

void hd_reader_fail(struct hd_reader *r)
{
    r->failed = 1;
    r->at = r->end;
}

const char *hd_read_cstr(struct hd_reader *r, size_t *len)
{
    const uint8_t *s = r->at;
    size_t left = hd_reader_left(r);
    const uint8_t *nul = left ? memchr(s, 0, left) : NULL;

    if (len)
        *len = 0;
    if (!nul) {
        hd_reader_fail(r);
        return "";
    }
    r->at = nul + 1;
    if (len)
        *len = (size_t)(nul - s);
    return (const char *)s;
}
