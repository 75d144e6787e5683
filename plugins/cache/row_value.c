/*
 * From values to their forms; see row_value.h.
 *
 * A parameter without a declared type has the one that PostgreSQL finds for it: the column's, where it stands
 * nowhere else. Text in other encodings than UTF-8 has a form where it is ASCII. Text that ends in blanks has
 * none, since a varchar(n) may cut them off.
 */
#define XXH_INLINE_ALL
#include "row_value.h"

#include <string.h>
#include <xxhash.h>

#include "oids.h"
#include "rows.h"

static uint64_t hash_of(uint32_t canonical, const void *bytes, size_t len)
{
    return XXH3_64bits_withSeed(bytes, len, canonical);
}

/* --- integers ------------------------------------------------------------------------------------------ */

static uint64_t hash_integer(int64_t n)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)n >> (8 * i));
    return hash_of(HD_CANONICAL_INTEGER, bytes, sizeof(bytes));
}

static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* As PostgreSQL reads integers: blanks around, a sign, digits. 0: it is none, or too large. */
int cache_value_read_integer(struct hd_str s, int64_t *out)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    uint64_t n = 0, most = INT64_MAX;
    int negative;

    while (p < end && is_blank(*p))
        p++;
    while (p < end && is_blank(end[-1]))
        end--;
    negative = p < end && *p == '-';
    most += (uint64_t)negative;
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return 0;
    for (; p < end; p++) {
        uint64_t digit = (uint64_t)(*p - '0');

        if (*p < '0' || *p > '9' || n > (most - digit) / 10)
            return 0;
        n = n * 10 + digit;
    }
    *out = (int64_t)(negative ? 0 - n : n);
    return 1;
}

/* Big-endian, of 2, 4 or 8 bytes. */
int64_t cache_value_read_binary(struct hd_str s)
{
    uint64_t n = (uint8_t)s.ptr[0] & 0x80 ? UINT64_MAX : 0;

    for (uint64_t i = 0; i < s.len; i++)
        n = n << 8 | (uint8_t)s.ptr[i];
    return (int64_t)n;
}

static int is_integer_type(uint32_t type)
{
    return type == OID_INT2 || type == OID_INT4 || type == OID_INT8;
}

static uint64_t size_of(uint32_t type)
{
    return type == OID_INT2 ? 2 : type == OID_INT4 ? 4 : 8;
}

static int integer_form(const struct cache_value_place *at, const struct hd_value *v, uint64_t *hash)
{
    uint32_t type = v->type ? v->type : at->type;
    int64_t n;

    if (v->kind == HD_VAL_BITS)
        return 0;
    if (v->kind == HD_VAL_PARAM && (!is_integer_type(type) || (!v->type && !at->once)))
        return 0;
    if (v->kind == HD_VAL_PARAM && v->format) {
        if (v->data.len != size_of(type))
            return 0;
        n = cache_value_read_binary(v->data);
    } else if (!cache_value_read_integer(v->data, &n))
        return 0;
    *hash = hash_integer(n);
    return 1;
}

/* --- uuid ---------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* As PostgreSQL reads them: 32 digits, a dash behind any group of four, braces around or not. */
int cache_value_read_uuid(struct hd_str s, uint8_t *out)
{
    const char *p = s.ptr, *end = s.ptr + s.len;

    if (s.len > 1 && *p == '{' && end[-1] == '}') {
        p++;
        end--;
    }
    for (int i = 0; i < 16; i++) {
        int high = end - p >= 2 ? hex_digit(p[0]) : -1, low = high < 0 ? -1 : hex_digit(p[1]);

        if (low < 0)
            return 0;
        out[i] = (uint8_t)(high << 4 | low);
        p += 2;
        if (p < end && *p == '-' && i % 2 == 1 && i < 15)
            p++;
    }
    return p == end;
}

static int uuid_form(const struct cache_value_place *at, const struct hd_value *v, uint64_t *hash)
{
    uint8_t bytes[16];

    if (v->kind != HD_VAL_STRING && v->kind != HD_VAL_PARAM)
        return 0;
    if (v->kind == HD_VAL_PARAM && v->type != OID_UUID && (v->type || !at->once))
        return 0;
    if (v->kind == HD_VAL_PARAM && v->format) {
        if (v->data.len != sizeof(bytes))
            return 0;
        memcpy(bytes, v->data.ptr, sizeof(bytes));
    } else if (!cache_value_read_uuid(v->data, bytes))
        return 0;
    *hash = hash_of(HD_CANONICAL_UUID, bytes, sizeof(bytes));
    return 1;
}

/* --- text ---------------------------------------------------------------------------------------------- */

static int is_ascii(struct hd_str s)
{
    for (uint64_t i = 0; i < s.len; i++)
        if (s.ptr[i] & 0x80)
            return 0;
    return 1;
}

static int hash_text(struct hd_str s, int utf8, uint64_t *hash)
{
    if ((s.len && s.ptr[s.len - 1] == ' ') || (!utf8 && !is_ascii(s)))
        return 0;
    *hash = hash_of(HD_CANONICAL_TEXT, s.len ? s.ptr : "", s.len);
    return 1;
}

static int text_form(const struct cache_value_place *at, int utf8, const struct hd_value *v, uint64_t *hash)
{
    if (v->kind != HD_VAL_STRING && v->kind != HD_VAL_PARAM)
        return 0;
    if (v->kind == HD_VAL_PARAM && v->type != OID_TEXT && v->type != OID_VARCHAR && (v->type || !at->once))
        return 0;
    return hash_text(v->data, utf8, hash);
}

/* --- any ----------------------------------------------------------------------------------------------- */

enum cache_value_form cache_value_form(const struct cache_value_place *at, int utf8, const struct hd_value *v,
                                       uint64_t *hash)
{
    int known = 0;

    if (v->kind == HD_VAL_NULL)
        return CACHE_FORM_NULL;
    if (at->canonical == HD_CANONICAL_INTEGER)
        known = integer_form(at, v, hash);
    else if (at->canonical == HD_CANONICAL_UUID)
        known = uuid_form(at, v, hash);
    else if (at->canonical == HD_CANONICAL_TEXT)
        known = text_form(at, utf8, v, hash);
    return known ? CACHE_FORM_HASH : CACHE_FORM_UNKNOWN;
}

uint64_t cache_column(struct hd_str name)
{
    return XXH3_64bits(name.ptr, name.len);
}

int cache_row_hash_text(uint32_t canonical, struct hd_str text, uint64_t *hash)
{
    const struct cache_value_place at = {.canonical = canonical};
    const struct hd_value v = {.kind = HD_VAL_STRING, .data = text};

    return cache_value_form(&at, 1, &v, hash) == CACHE_FORM_HASH;
}
