/*
 * UTF-8: its characters, and texts of which some bytes are none, such as names of databases that were made in
 * another encoding.
 */
#ifndef HD_BASE_UTF8_H
#define HD_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Length of the character at s, 0 where the bytes are none; its code point goes to *code. `len` is 1 or more.
 */
size_t hd_utf8_next(const char *s, size_t len, uint32_t *code);

/* Adds the text; bytes that are no UTF-8 become \xNN. */
void hd_utf8_add(struct hd_strbuf *out, const char *s, size_t len);

#endif
