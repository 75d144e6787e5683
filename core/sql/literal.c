/*
 * Decoding literals; see literal.h.
 *
 * Quotes are where the scanner found them, so nothing is looked for twice: a quote in a string's inside is
 * doubled, or parts two pieces of it, or is escaped.
 */
#include "sql/literal.h"

#include <howdah/error.h>
#include <string.h>

#define MAX_CODE_POINT 0x10ffffu

/* One literal while it is decoded: from `p`, behind its first quote, to `end`, its last one. */
struct decoder {
    const uint8_t *p, *end;
    uint8_t *o;
    uint32_t high; /* first half of a surrogate pair that waits for the other; 0: none */
    int utf8;
};

/* --- code points --------------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads exactly `n` hexadecimal digits; 0 where they are not there. */
static int read_hex(struct decoder *d, int n, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        int v = d->p < d->end ? hex_digit(*d->p) : -1;

        if (v < 0)
            return 0;
        *out = *out << 4 | (uint32_t)v;
        d->p++;
    }
    return 1;
}

static int put_code_point(struct decoder *d, uint32_t c)
{
    if (c < 0x80) {
        *d->o++ = (uint8_t)c;
        return c ? HD_OK : HD_EUNSUPP;
    }
    if (!d->utf8 || c > MAX_CODE_POINT)
        return HD_EUNSUPP;
    if (c < 0x800) {
        *d->o++ = (uint8_t)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *d->o++ = (uint8_t)(0xe0 | c >> 12);
        } else {
            *d->o++ = (uint8_t)(0xf0 | c >> 18);
            *d->o++ = (uint8_t)(0x80 | (c >> 12 & 63));
        }
        *d->o++ = (uint8_t)(0x80 | (c >> 6 & 63));
    }
    *d->o++ = (uint8_t)(0x80 | (c & 63));
    return HD_OK;
}

/* A code point by an escape; surrogates come in pairs, one escape right behind the other. */
static int put_escaped(struct decoder *d, uint32_t c)
{
    uint32_t high = d->high;

    if (c >= 0xd800 && c < 0xdc00) {
        d->high = c;
        return high ? HD_EUNSUPP : HD_OK;
    }
    d->high = 0;
    if (c >= 0xdc00 && c < 0xe000)
        return high ? put_code_point(d, 0x10000 + ((high & 0x3ff) << 10 | (c & 0x3ff))) : HD_EUNSUPP;
    return high ? HD_EUNSUPP : put_code_point(d, c);
}

/* --- escapes ------------------------------------------------------------------------------------------- */

/* A byte by its number; what it is from 128 on hangs on the server's encoding. */
static int put_byte(struct decoder *d, uint32_t c)
{
    c &= 0xff;
    *d->o++ = (uint8_t)c;
    return c && c < 0x80 ? HD_OK : HD_EUNSUPP;
}

static int put_octal(struct decoder *d)
{
    uint32_t c = 0;

    for (int i = 0; i < 3 && d->p < d->end && *d->p >= '0' && *d->p <= '7'; i++)
        c = c << 3 | (uint32_t)(*d->p++ - '0');
    return put_byte(d, c);
}

static int put_short_hex(struct decoder *d)
{
    uint32_t c = 0;
    int n = 0;

    for (int v; n < 2 && d->p < d->end && (v = hex_digit(*d->p)) >= 0; n++, d->p++)
        c = c << 4 | (uint32_t)v;
    if (n)
        return put_byte(d, c);
    *d->o++ = 'x';
    return HD_OK;
}

static uint8_t control(uint8_t c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

/* E'': what stands behind a backslash. */
static int escape(struct decoder *d)
{
    uint8_t c = *d->p;
    uint32_t code;

    if (c == 'u' || c == 'U') {
        d->p++;
        return read_hex(d, c == 'u' ? 4 : 8, &code) ? put_escaped(d, code) : HD_EUNSUPP;
    }
    if (d->high)
        return HD_EUNSUPP;
    if (c >= '0' && c <= '7')
        return put_octal(d);
    d->p++;
    if (c == 'x')
        return put_short_hex(d);
    *d->o++ = control(c);
    return HD_OK;
}

/* U&'': the same. */
static int unicode_escape(struct decoder *d)
{
    int digits = 4;
    uint32_t code;

    if (*d->p == '\\') {
        *d->o++ = *d->p++;
        return d->high ? HD_EUNSUPP : HD_OK;
    }
    if (*d->p == '+') {
        d->p++;
        digits = 6;
    }
    return read_hex(d, digits, &code) ? put_escaped(d, code) : HD_EUNSUPP;
}

/* Is the escape character another one than the backslash, or may it be? */
static int uescape_follows(const char *p, const char *end)
{
    while (p < end && strchr(" \t\n\r\f", *p) && *p)
        p++;
    return p < end && (*p == 'u' || *p == 'U' || *p == '-' || *p == '/');
}

/* --- the literal --------------------------------------------------------------------------------------- */

/* From the quote that ends a piece to the content of the next. */
static void skip_gap(struct decoder *d)
{
    do
        d->p++;
    while (*d->p != '\'');
    d->p++;
}

/* A quote in the inside: a doubled one, or the end of a piece. */
static int on_quote(struct decoder *d)
{
    if (d->p + 1 < d->end && d->p[1] == '\'') {
        *d->o++ = '\'';
        d->p += 2;
    } else
        skip_gap(d);
    return d->high ? HD_EUNSUPP : HD_OK;
}

static int decode(struct decoder *d, int (*on_backslash)(struct decoder *d))
{
    int code = HD_OK;

    while (d->p < d->end && !code) {
        if (*d->p == '\'')
            code = on_quote(d);
        else if (*d->p == '\\' && on_backslash) {
            d->p++;
            code = on_backslash(d);
        } else if (d->high)
            code = HD_EUNSUPP;
        else
            *d->o++ = *d->p++;
    }
    return d->high ? HD_EUNSUPP : code;
}

static int decode_string(struct decoder *d, struct hd_arena *arena, struct hd_str *out,
                         int (*on_backslash)(struct decoder *d))
{
    size_t n = (size_t)(d->end - d->p);
    uint8_t *text;
    int code;

    if (!memchr(d->p, '\'', n) && !(on_backslash && memchr(d->p, '\\', n))) {
        *out = (struct hd_str){(const char *)d->p, n};
        return HD_OK;
    }
    text = d->o = hd_arena_alloc(arena, n + 1); /* an escape is no shorter than what it stands for */
    if (!text)
        return HD_ENOMEM;
    code = decode(d, on_backslash);
    *out = (struct hd_str){(const char *)text, (uint64_t)(d->o - text)};
    return code;
}

/* Digits, each of `bits` bits, as so many 0 and 1. */
static int decode_bits(struct decoder *d, struct hd_arena *arena, int bits, struct hd_str *out)
{
    size_t room = (size_t)(d->end - d->p) * (size_t)bits;
    char *text = hd_arena_alloc(arena, room + 1), *o = text;

    if (!text)
        return HD_ENOMEM;
    while (d->p < d->end) {
        int v;

        if (*d->p == '\'') {
            skip_gap(d);
            continue;
        }
        v = hex_digit(*d->p++);
        if (v < 0 || v >> bits)
            return HD_EUNSUPP;
        for (int b = bits; b-- > 0;)
            *o++ = (char)('0' + (v >> b & 1));
    }
    *out = (struct hd_str){text, (uint64_t)(o - text)};
    return HD_OK;
}

/* Between the first quote, `prefix` bytes on, and the last. */
static struct decoder inside(const char *from, const struct hd_literal *lit, size_t prefix, int utf8)
{
    return (struct decoder){
        .p = (const uint8_t *)from + prefix + 1, .end = (const uint8_t *)from + lit->len - 1, .utf8 = utf8};
}

static struct hd_str between_dollars(const char *from, size_t len)
{
    size_t tag = (size_t)((const char *)memchr(from + 1, '$', len - 1) + 1 - from);

    return (struct hd_str){from + tag, len - 2 * tag};
}

int hd_literal_text(const char *sql, size_t len, const struct hd_literal *lit, int utf8,
                    struct hd_arena *arena, struct hd_str *out)
{
    const char *from = sql + lit->offset;
    struct decoder d;

    *out = (struct hd_str){from, lit->len};
    switch ((enum hd_literal_kind)lit->kind) {
    case HD_LITERAL_INTEGER:
    case HD_LITERAL_NUMERIC:
        return HD_OK;
    case HD_LITERAL_STRING:
        if (*from == '$') {
            *out = between_dollars(from, lit->len);
            return HD_OK;
        }
        d = inside(from, lit, 0, utf8);
        return decode_string(&d, arena, out, NULL);
    case HD_LITERAL_ESCAPE:
        d = inside(from, lit, 1, utf8);
        return decode_string(&d, arena, out, escape);
    case HD_LITERAL_UNICODE:
        d = inside(from, lit, 2, utf8);
        if (uescape_follows(from + lit->len, sql + len))
            return HD_EUNSUPP;
        return decode_string(&d, arena, out, unicode_escape);
    case HD_LITERAL_BITS:
    case HD_LITERAL_HEX:
        d = inside(from, lit, 1, utf8);
        return decode_bits(&d, arena, lit->kind == HD_LITERAL_HEX ? 4 : 1, out);
    case HD_LITERAL_NATIONAL:
        break;
    }
    return HD_EUNSUPP;
}
