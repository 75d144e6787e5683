/*
 * Base64 as SASL uses it: one alphabet, padding required, nothing else let through. Bounded by the caller's
 * buffers.
 */
#ifndef HD_WIRE_BASE64_H
#define HD_WIRE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

/* Characters for n bytes, without a NUL. */
#define HD_BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Writes HD_BASE64_LEN(len) characters and a NUL; returns how many characters. out must have the room. */
size_t hd_base64_encode(const uint8_t *in, size_t len, char *out);
/* Returns the number of bytes, or -1: not base64, not canonical, or longer than cap. */
long hd_base64_decode(const char *in, size_t len, uint8_t *out, size_t cap) HD_MUST_USE;

#endif
