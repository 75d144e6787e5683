/*
 * Base64; see base64.h. The decoder is ours because OpenSSL's takes blanks and counts padding as bytes.
 */
#include "wire/base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t hd_base64_encode(const uint8_t *in, size_t len, char *out)
{
    char *p = out;

    for (; len >= 3; in += 3, len -= 3) {
        *p++ = alphabet[in[0] >> 2];
        *p++ = alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        *p++ = alphabet[(in[1] & 15) << 2 | in[2] >> 6];
        *p++ = alphabet[in[2] & 63];
    }
    if (len) {
        uint8_t second = len == 2 ? in[1] : 0;

        *p++ = alphabet[in[0] >> 2];
        *p++ = alphabet[(in[0] & 3) << 4 | second >> 4];
        *p++ = len == 2 ? alphabet[(second & 15) << 2] : '=';
        *p++ = '=';
    }
    *p = 0;
    return (size_t)(p - out);
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* How many characters in front of the padding; -1 when the length or the padding cannot be. */
static long digits_of(const char *in, size_t len)
{
    if (len % 4)
        return -1;
    if (len && in[len - 1] == '=')
        len -= in[len - 2] == '=' ? 2 : 1;
    return (long)len;
}

long hd_base64_decode(const char *in, size_t len, uint8_t *out, size_t cap)
{
    long digits = digits_of(in, len);
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;

    for (long i = 0; i < digits; i++) {
        int v = sextet(in[i]);

        if (v < 0)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have < 8)
            continue;
        if (n == cap)
            return -1;
        have -= 8;
        out[n++] = (uint8_t)(bits >> have);
        bits &= (1u << have) - 1;
    }
    /* Bits behind the last byte must be zero, so that one value has one text. */
    return digits < 0 || bits ? -1 : (long)n;
}
