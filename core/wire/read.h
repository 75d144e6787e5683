/*
 * Reading one message's body, field by field, never past its end.
 *
 * The first field that does not fit sets a flag that stays; from then on every read gives zero, an empty
 * string or NULL. So a parser reads straight through and asks once at its end. Nothing is copied: strings and
 * bytes point into the message.
 */
#ifndef HD_WIRE_READ_H
#define HD_WIRE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "wire/proto.h"

struct hd_reader {
    const uint8_t *at;  /* the next byte to read */
    const uint8_t *end; /* behind the last */
    int failed;         /* a field was not there */
};

static inline struct hd_reader hd_reader_on(const void *body, size_t len)
{
    const uint8_t *p = body;

    return (struct hd_reader){.at = p, .end = len ? p + len : p};
}

/* Bytes that are still unread. */
static inline size_t hd_reader_left(const struct hd_reader *r)
{
    return r->at == r->end ? 0 : (size_t)(r->end - r->at);
}

/* Did every field fit, and is nothing left over? */
static inline int hd_reader_done(const struct hd_reader *r)
{
    return !r->failed && r->at == r->end;
}

/* Marks the message as broken: for values that fit but cannot be. */
void hd_reader_fail(struct hd_reader *r);

/* The next `len` bytes, or NULL when there are fewer. For len = 0 the pointer must not be read through. */
static inline const uint8_t *hd_read_bytes(struct hd_reader *r, size_t len)
{
    const uint8_t *p = r->at;

    if (HD_UNLIKELY(r->failed || len > hd_reader_left(r))) {
        hd_reader_fail(r);
        return NULL;
    }
    if (len)
        r->at += len;
    return p;
}

static inline uint8_t hd_read_u8(struct hd_reader *r)
{
    const uint8_t *p = hd_read_bytes(r, 1);

    return p ? *p : 0;
}

static inline uint16_t hd_read_u16(struct hd_reader *r)
{
    const uint8_t *p = hd_read_bytes(r, 2);

    return p ? hd_get_u16(p) : 0;
}

static inline uint32_t hd_read_u32(struct hd_reader *r)
{
    const uint8_t *p = hd_read_bytes(r, 4);

    return p ? hd_get_u32(p) : 0;
}

static inline int32_t hd_read_i32(struct hd_reader *r)
{
    return (int32_t)hd_read_u32(r);
}

/* A string with its closing NUL; `len` (may be NULL) gets the bytes in front of it. Never NULL: "" on
 * failure. */
const char *hd_read_cstr(struct hd_reader *r, size_t *len);

#endif
