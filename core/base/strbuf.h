/*
 * A growing string for cold paths: building texts, JSON pieces, messages for the control side.
 *
 * Out of memory is remembered and asked once at the end (hd_strbuf_failed), so that appending reads straight.
 */
#ifndef HD_BASE_STRBUF_H
#define HD_BASE_STRBUF_H

#include <stddef.h>
#include <stdarg.h>

struct hd_strbuf {
    char *data; /* NUL-terminated once anything was appended; owned */
    size_t len; /* bytes without the NUL */
    size_t cap;
    int failed; /* an append found no memory; the content is incomplete */
};

#define HD_STRBUF_INIT                                                                                       \
    {                                                                                                        \
        NULL, 0, 0, 0                                                                                        \
    }

void hd_strbuf_free(struct hd_strbuf *b);
/* Empties it and keeps the memory. */
void hd_strbuf_reset(struct hd_strbuf *b);
void hd_strbuf_add(struct hd_strbuf *b, const void *bytes, size_t len);
void hd_strbuf_puts(struct hd_strbuf *b, const char *s);
void hd_strbuf_putc(struct hd_strbuf *b, char c);
void hd_strbuf_printf(struct hd_strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hd_strbuf_vprintf(struct hd_strbuf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* The text, never NULL; valid until the next call on b. */
const char *hd_strbuf_str(const struct hd_strbuf *b);
/* Hands the text to the caller (hd_free) and empties b; NULL if an append had failed. */
char *hd_strbuf_take(struct hd_strbuf *b);

#endif
