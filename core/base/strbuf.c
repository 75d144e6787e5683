/*
 * A growing string for cold paths; see strbuf.h.
 */
#include "base/strbuf.h"
#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

void hd_strbuf_free(struct hd_strbuf *b)
{
    hd_free(b->data);
    memset(b, 0, sizeof(*b));
}

void hd_strbuf_reset(struct hd_strbuf *b)
{
    b->len = 0;
    b->failed = 0;
    if (b->data)
        b->data[0] = 0;
}

/* Makes room for `more` bytes and a NUL. */
static int reserve(struct hd_strbuf *b, size_t more)
{
    size_t want = b->len + more + 1;
    size_t cap = b->cap ? b->cap : 64;
    char *p;

    if (want <= b->cap)
        return 1;
    while (cap < want)
        cap *= 2;
    p = hd_realloc(b->data, cap);
    if (!p) {
        b->failed = 1;
        return 0;
    }
    b->data = p;
    b->cap = cap;
    return 1;
}

void hd_strbuf_add(struct hd_strbuf *b, const void *bytes, size_t len)
{
    if (!reserve(b, len))
        return;
    if (len)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = 0;
}

void hd_strbuf_puts(struct hd_strbuf *b, const char *s)
{
    hd_strbuf_add(b, s, strlen(s));
}

void hd_strbuf_putc(struct hd_strbuf *b, char c)
{
    hd_strbuf_add(b, &c, 1);
}

void hd_strbuf_vprintf(struct hd_strbuf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0 || !reserve(b, (size_t)n))
        return;
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    b->len += (size_t)n;
}

void hd_strbuf_printf(struct hd_strbuf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    hd_strbuf_vprintf(b, fmt, ap);
    va_end(ap);
}

const char *hd_strbuf_str(const struct hd_strbuf *b)
{
    return b->data ? b->data : "";
}

char *hd_strbuf_take(struct hd_strbuf *b)
{
    char *s;

    if (!b->data && !b->failed)
        reserve(b, 0);
    if (b->data && !b->len)
        b->data[0] = 0;
    s = b->failed ? NULL : b->data;
    if (b->failed)
        hd_free(b->data);
    memset(b, 0, sizeof(*b));
    return s;
}
