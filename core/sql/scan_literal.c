/*
 * The scanner's literals and parameters: where they end, and what of them goes into the text and the key; see
 * scan.h.
 */
#include "sql/scan_parts.h"
#include "base/alloc.h"

#include <string.h>

/* --- writing --- */

void hd_scan_give_up(struct hd_scanner *s, uint32_t why)
{
    s->out->flags |= why;
    s->p = s->end;
}

int hd_scan_grow_text(struct hd_scanner *s, size_t room)
{
    size_t used = (size_t)(s->o - s->out->text);
    size_t cap = used + room + (used + room) / 2 + 64;
    char *text = hd_realloc(s->out->text, cap);

    if (!text) {
        s->no_memory = 1;
        s->p = s->end;
        return 0;
    }
    s->out->text = text;
    s->out->cap = cap;
    s->o = text + used;
    return 1;
}

static int sign(struct hd_scanner *s, const void *bytes, uint32_t n)
{
    struct hd_scan *out = s->out;

    if (HD_UNLIKELY(out->sign_len + n > out->sign_cap)) {
        uint32_t cap = out->sign_cap * 2 + n + 32;
        uint8_t *p = hd_realloc(out->sign, cap);

        if (!p) {
            s->no_memory = 1;
            s->p = s->end;
            return 0;
        }
        out->sign = p;
        out->sign_cap = cap;
    }
    memcpy(out->sign + out->sign_len, bytes, n);
    out->sign_len += n;
    return 1;
}

int hd_scan_sign_content(struct hd_scanner *s, uint8_t what, const uint8_t *from, size_t n)
{
    struct hd_hash128 h = hd_hash128(from, n);

    return sign(s, &what, 1) && sign(s, &h, sizeof(h));
}

static int remember_literal(struct hd_scanner *s, struct hd_literal lit)
{
    struct hd_scan *out = s->out;

    if (HD_UNLIKELY(out->n_literals == out->literals_cap)) {
        uint32_t cap = out->literals_cap ? out->literals_cap * 2 : 16;
        struct hd_literal *p = hd_realloc(out->literals, cap * sizeof(*p));

        if (!p) {
            s->no_memory = 1;
            s->p = s->end;
            return 0;
        }
        out->literals = p;
        out->literals_cap = cap;
    }
    out->literals[out->n_literals++] = lit;
    return 1;
}

static inline void put_number(struct hd_scanner *s, uint32_t n)
{
    char digits[10];
    int i = 0;

    do
        digits[i++] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    while (i > 0)
        *s->o++ = digits[--i];
}

/* Does libpg_query keep this literal, or may it? */
static inline int must_keep(struct hd_scanner *s, enum hd_literal_kind kind)
{
    uint32_t flags = hd_scan_level_of(s)->flags;

    return s->keep || (flags & L_KEEP) || (kind == HD_LITERAL_INTEGER && (flags & L_BY)) ||
           (s->last == T_WORD && (s->props & W_KEEP_NEXT));
}

/* The literal from `from` to s->p goes out as $n. */
static void put_literal(struct hd_scanner *s, const uint8_t *from, enum hd_literal_kind kind)
{
    struct hd_scan *out = s->out;
    uint8_t kept = (uint8_t)must_keep(s, kind);
    struct hd_literal lit = {(uint32_t)(from - s->start), (uint32_t)(s->p - from), (uint8_t)kind, kept};
    uint8_t plain = (uint8_t)kind;

    if (HD_UNLIKELY(out->n_literals == HD_SCAN_MAX_LITERALS)) {
        hd_scan_give_up(s, HD_SCAN_TOO_MANY);
        return;
    }
    if (!remember_literal(s, lit))
        return;
    if (kept ? !hd_scan_sign_content(s, (uint8_t)(kind | 0x80), from, lit.len) : !sign(s, &plain, 1))
        return;
    if (HD_UNLIKELY((size_t)(out->text + out->cap - s->o) < (size_t)(s->end - s->p) + 32) &&
        !hd_scan_grow_text(s, (size_t)(s->end - s->p) + 32))
        return;
    hd_scan_put_gap(s, s->o != out->text && word_char[(uint8_t)s->o[-1]]);
    *s->o++ = '$';
    put_number(s, s->base + out->n_literals);
    s->last = T_LITERAL;
    s->chain = CHAIN_NONE;
}

/* --- strings --- */

/* A string goes on where only blanks with a line's end among them part it from the next quote. Returns the
 * place behind that quote, or NULL. PostgreSQL allows -- comments there too, but libpg_query does not:
 * unsure. */
static const uint8_t *string_continues(struct hd_scanner *s, const uint8_t *p)
{
    int newline = 0, comment = 0;

    for (; p < s->end; p++) {
        if (*p == '\n' || *p == '\r')
            newline = 1;
        else if (*p == '-' && p + 1 < s->end && p[1] == '-') {
            comment = 1;
            while (p + 1 < s->end && p[1] != '\n' && p[1] != '\r')
                p++;
        } else if (char_class[*p] != C_SPACE)
            break;
    }
    if (p == s->end || *p != '\'' || !newline)
        return NULL;
    if (comment) {
        hd_scan_give_up(s, HD_SCAN_JUNK);
        return s->end;
    }
    return p + 1;
}

/* Finds the closing quote of one piece; returns the place behind it, or NULL. */
static const uint8_t *string_piece(const struct hd_scanner *s, const uint8_t *p, int doubled, int backslash)
{
    while (p < s->end) {
        if (backslash && *p == '\\' && p + 1 < s->end) {
            p += 2;
        } else if (*p != '\'') {
            p++;
        } else if (doubled && p + 1 < s->end && p[1] == '\'') {
            p += 2;
        } else
            return p + 1;
    }
    return NULL;
}

void hd_scan_string(struct hd_scanner *s, size_t prefix, enum hd_literal_kind kind)
{
    const uint8_t *from = s->p, *p = from + prefix + 1, *next;
    int doubled = kind != HD_LITERAL_BITS && kind != HD_LITERAL_HEX;

    for (;;) {
        p = string_piece(s, p, doubled, kind == HD_LITERAL_ESCAPE);
        if (!p) {
            hd_scan_give_up(s, HD_SCAN_INCOMPLETE);
            return;
        }
        next = p < s->end && (char_class[*p] == C_SPACE || *p == '-') ? string_continues(s, p) : NULL;
        if (!next)
            break;
        if (s->out->flags)
            return;
        p = next;
    }
    s->p = p;
    put_literal(s, from, kind);
}

/* $tag$…$tag$ with s->p at its first byte and the tag `n` bytes long, dollars included. */
static void scan_dollar_string(struct hd_scanner *s, size_t n)
{
    const uint8_t *from = s->p, *p = from + n;

    while ((p = memchr(p, '$', (size_t)(s->end - p))) && (size_t)(s->end - p) >= n) {
        if (memcmp(p, from, n) == 0) {
            s->p = p + n;
            put_literal(s, from, HD_LITERAL_STRING);
            return;
        }
        p++;
    }
    hd_scan_give_up(s, HD_SCAN_INCOMPLETE);
}

/* --- numbers, parameters --- */

static inline const uint8_t *skip_digits(const struct hd_scanner *s, const uint8_t *p)
{
    while (hd_scan_is_digit(s, p))
        p++;
    return p;
}

/* PostgreSQL reads an integer of more than 32 bits as a numeric. */
static enum hd_literal_kind integer_kind(const uint8_t *p, const uint8_t *end)
{
    uint64_t v = 0;

    for (; p < end; p++) {
        v = v * 10 + (uint64_t)(*p - '0');
        if (v > INT32_MAX)
            return HD_LITERAL_NUMERIC;
    }
    return HD_LITERAL_INTEGER;
}

void hd_scan_number(struct hd_scanner *s)
{
    const uint8_t *from = s->p, *p = skip_digits(s, from);
    enum hd_literal_kind kind = HD_LITERAL_INTEGER;

    if (p < s->end && *p == '.' && !(p > from && p + 1 < s->end && p[1] == '.')) {
        p = skip_digits(s, p + 1);
        kind = HD_LITERAL_NUMERIC;
    }
    if (p < s->end && (*p | 0x20) == 'e') {
        const uint8_t *q = p + 1;

        if (q < s->end && (*q == '+' || *q == '-'))
            q++;
        if (hd_scan_is_digit(s, q)) {
            p = skip_digits(s, q);
            kind = HD_LITERAL_NUMERIC;
        }
    }
    if (p < s->end && char_class[*p] == C_WORD) {
        hd_scan_give_up(s, HD_SCAN_JUNK); /* 1x, 0x1f, 1_000, 1e */
        return;
    }
    s->p = p;
    put_literal(s, from, kind == HD_LITERAL_INTEGER ? integer_kind(from, p) : kind);
}

static void scan_param(struct hd_scanner *s)
{
    const uint8_t *from = s->p++;
    uint32_t n = 0;

    for (; hd_scan_is_digit(s, s->p); s->p++) {
        if (n <= HD_SCAN_MAX_PARAM)
            n = n * 10 + (uint32_t)(*s->p - '0');
    }
    if (n > HD_SCAN_MAX_PARAM || (s->p < s->end && char_class[*s->p] == C_WORD)) {
        hd_scan_give_up(s, HD_SCAN_JUNK);
        return;
    }
    hd_scan_put_gap(s, 0);
    while (from < s->p)
        *s->o++ = (char)*from++;
    if (n > s->out->n_params)
        s->out->n_params = n;
    s->last = T_OTHER;
    s->chain = CHAIN_NONE;
}

void hd_scan_dollar(struct hd_scanner *s)
{
    const uint8_t *p = s->p + 1;

    if (hd_scan_is_digit(s, p)) {
        scan_param(s);
        return;
    }
    if (p < s->end && char_class[*p] == C_WORD)
        while (p < s->end && word_char[*p] && *p != '$')
            p++;
    if (p < s->end && *p == '$')
        scan_dollar_string(s, (size_t)(p + 1 - s->p));
    else
        hd_scan_give_up(s, HD_SCAN_JUNK);
}
