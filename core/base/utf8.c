/*
 * UTF-8; see utf8.h.
 */
#include "base/utf8.h"

size_t hd_utf8_next(const char *text, size_t len, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80             ? 1
               : (s[0] & 0xe0) == 0xc0 ? 2
               : (s[0] & 0xf0) == 0xe0 ? 3
               : (s[0] & 0xf8) == 0xf0 ? 4
                                       : 0;

    if (!n || n > len)
        return 0;
    *code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (s[i] & 0x3f);
    }
    if (*code < least[n] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
        return 0;
    return n;
}

void hd_utf8_add(struct hd_strbuf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code;
        size_t n = hd_utf8_next(s + i, len - i, &code);

        if (n)
            hd_strbuf_add(out, s + i, n);
        else
            hd_strbuf_printf(out, "\\x%02x", (unsigned char)s[i]);
        i += n ? n : 1;
    }
}
