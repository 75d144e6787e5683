/*
 * The scanner; see scan.h.
 *
 * Speed comes from one table of character classes and from writing straight into a buffer that has room
 * enough: every token but a literal comes out no longer than it went in, so room is checked at literals only.
 *
 * Beside copying, the scanner keeps two small books. One says where libpg_query keeps a literal: in
 * statements other than SELECT and its kin, in type modifiers, and as an integer of ORDER BY or GROUP BY; it
 * errs on the side of keeping. The other bounds the height of the parse tree, whose walkers recurse:
 * operators and words between two separators, and what nests.
 */
#include "sql/scan_parts.h"
#include "base/alloc.h"

#include <string.h>
#include <howdah/error.h>

/* --- the tree's height --- */

static inline void separate(struct hd_scan_level *l)
{
    uint32_t h = l->ticks + l->child;

    if (h > l->highest)
        l->highest = h;
    l->ticks = l->child = 0;
}

/* The height of a level that ends here. */
static inline uint32_t close_height(struct hd_scanner *s, struct hd_scan_level *l)
{
    uint32_t h;

    separate(l);
    h = l->highest + l->nested + NEST_WEIGHT;
    if (HD_UNLIKELY(h > HD_SCAN_MAX_HEIGHT))
        hd_scan_give_up(s, HD_SCAN_TOO_DEEP);
    return h;
}

static inline void open_level(struct hd_scanner *s, uint32_t flags)
{
    if (HD_UNLIKELY(s->depth == HD_SCAN_MAX_DEPTH)) {
        hd_scan_give_up(s, HD_SCAN_TOO_DEEP);
        return;
    }
    s->levels[++s->depth] = (struct hd_scan_level){.flags = flags};
}

static inline void close_level(struct hd_scanner *s)
{
    uint32_t h;

    if (s->depth == 0)
        return; /* a syntax error, which the parser will tell */
    h = close_height(s, hd_scan_level_of(s));
    s->depth--;
    if (h > hd_scan_level_of(s)->child)
        hd_scan_level_of(s)->child = h;
}

static void begin_statement(struct hd_scanner *s)
{
    s->levels[0] = (struct hd_scan_level){0};
    s->depth = 0;
    s->awaiting = 1;
    s->keep = 1;
    s->chain = CHAIN_NONE;
    s->last = T_START;
    s->props = 0;
}

static void end_statement(struct hd_scanner *s)
{
    if (s->last != T_START)
        s->out->n_statements++;
    while (s->depth > 0)
        close_level(s);
    close_height(s, hd_scan_level_of(s));
}

/* --- writing --- */

static inline void put_token(struct hd_scanner *s, enum token t)
{
    hd_scan_put_gap(s, 0);
    *s->o++ = (char)*s->p++;
    s->last = t;
    s->chain = CHAIN_NONE;
}

/* --- words --- */

/* Books what the word means for the literals behind it. */
static inline void note_word(struct hd_scanner *s, unsigned props)
{
    struct hd_scan_level *l = hd_scan_level_of(s);

    if (props & W_SEPARATE)
        separate(l);
    if (props & W_NEST)
        l->nested += NEST_WEIGHT;
    if (props & W_BY)
        l->flags |= L_BY;
    if (props & W_BY_END)
        l->flags &= ~L_BY;
    if (props & W_KEEP)
        s->keep = 1;
    if (s->last == T_OPEN && (l->flags & L_AS_OPEN) && (props & W_VERB))
        l->flags &= ~(L_AS_OPEN | L_KEEP);
}

/* The first words of a statement say whether libpg_query replaces its literals. */
static void note_verb(struct hd_scanner *s, unsigned props)
{
    if (props & W_VERB) {
        s->keep = s->keep_text;
        s->awaiting = 0;
    } else if (s->depth == 0 && !(props & W_EXPLAIN)) {
        s->awaiting = 0;
        if (props & W_CREATE)
            s->keep_text = 1;
    }
}

static inline void after_name(struct hd_scanner *s, unsigned props)
{
    if (props & W_AS)
        s->chain = CHAIN_BEGIN;
    else if (s->chain == CHAIN_DOT || (s->chain == CHAIN_BEGIN && !(props & W_PLAIN)))
        s->chain = CHAIN_NAME;
    else
        s->chain = CHAIN_NONE;
    hd_scan_level_of(s)->ticks++;
    s->last = T_WORD;
    s->props = props;
}

static inline void scan_word(struct hd_scanner *s)
{
    const uint8_t *p = s->p;
    char *o, *from;
    uint8_t c;
    unsigned props;

    hd_scan_put_gap(s, s->last == T_LITERAL);
    from = o = s->o;
    while (p < s->end && (c = word_char[*p]) != 0) {
        *o++ = (char)c;
        p++;
    }
    s->p = p;
    s->o = o;
    props = word_props(from, (size_t)(o - from));
    if (s->last == T_DOT)
        props &= W_TYPE;
    if (HD_UNLIKELY(s->awaiting))
        note_verb(s, props);
    if (props)
        note_word(s, props);
    after_name(s, props);
}

/* "name", or the quoted part of U&"name", copied as it stands. */
static void scan_quoted_name(struct hd_scanner *s, size_t prefix)
{
    const uint8_t *p = s->p + prefix + 1;

    do {
        p = memchr(p, '"', (size_t)(s->end - p));
        if (!p) {
            hd_scan_give_up(s, HD_SCAN_INCOMPLETE);
            return;
        }
        p++;
    } while (p < s->end && *p == '"' && p++);
    hd_scan_put_gap(s, prefix && s->last == T_LITERAL);
    if (prefix) {
        *s->o++ = 'u';
        s->p++;
    }
    memcpy(s->o, s->p, (size_t)(p - s->p));
    s->o += p - s->p;
    s->p = p;
    s->awaiting = 0;
    after_name(s, 0);
}

/* A word's first letter may be a literal's prefix: E'', N'', B'', X'', U&'', U&"". */
static inline void scan_word_or_prefix(struct hd_scanner *s)
{
    size_t left = (size_t)(s->end - s->p);
    uint8_t c = *s->p | 0x20;

    if (HD_LIKELY(left < 2 || (s->p[1] != '\'' && s->p[1] != '&')))
        scan_word(s);
    else if (s->p[1] == '&') {
        if (c == 'u' && left > 2 && s->p[2] == '\'')
            hd_scan_string(s, 2, HD_LITERAL_UNICODE);
        else if (c == 'u' && left > 2 && s->p[2] == '"')
            scan_quoted_name(s, 2);
        else
            scan_word(s);
    } else if (c == 'e')
        hd_scan_string(s, 1, HD_LITERAL_ESCAPE);
    else if (c == 'n')
        hd_scan_string(s, 1, HD_LITERAL_NATIONAL);
    else if (c == 'b')
        hd_scan_string(s, 1, HD_LITERAL_BITS);
    else if (c == 'x')
        hd_scan_string(s, 1, HD_LITERAL_HEX);
    else
        scan_word(s);
}

/* --- comments --- */

static void note_hint(struct hd_scanner *s, const uint8_t *p, const uint8_t *end)
{
    static const char mark[] = "howdah:";

    while (p < end && char_class[*p] == C_SPACE)
        p++;
    if ((size_t)(end - p) <= sizeof(mark) - 1 || memcmp(p, mark, sizeof(mark) - 1) != 0)
        return;
    p += sizeof(mark) - 1;
    while (p < end && char_class[*p] == C_SPACE)
        p++;
    while (p < end && char_class[end[-1]] == C_SPACE)
        end--;
    if (p == end || s->out->hint_len)
        return;
    s->out->hint_offset = (uint32_t)(p - s->start);
    s->out->hint_len = (uint32_t)(end - p);
    (void)hd_scan_sign_content(s, 0x40, p, (size_t)(end - p)); /* a failure is remembered in s */
}

/* Skips a comment, nested ones included. */
static void scan_comment(struct hd_scanner *s)
{
    const uint8_t *from = s->p + 2, *p = from;
    unsigned open = 1;

    while (open > 0) {
        if (s->end - p < 2) {
            hd_scan_give_up(s, HD_SCAN_INCOMPLETE);
            return;
        }
        if (p[0] == '*' && p[1] == '/') {
            open--;
            p += 2;
        } else if (p[0] == '/' && p[1] == '*') {
            open++;
            p += 2;
        } else
            p++;
    }
    s->p = p;
    s->gap = 1;
    note_hint(s, from, p - 2);
}

static void scan_line_comment(struct hd_scanner *s)
{
    while (s->p < s->end && *s->p != '\n' && *s->p != '\r')
        s->p++;
    s->gap = 1;
}

/* --- punctuation --- */

static inline void scan_open(struct hd_scanner *s, int bracket)
{
    struct hd_scan_level *l = hd_scan_level_of(s);
    uint32_t flags;

    if (s->last == T_OPEN)
        l->flags &= ~(l->flags & L_AS_OPEN ? L_AS_OPEN | L_KEEP : 0);
    flags = l->flags & (L_KEEP | L_BY);
    if (s->last == T_WORD && (s->chain == CHAIN_NAME || (s->props & W_TYPE)))
        flags |= L_KEEP | L_TYPE;
    else if (bracket && s->last == T_CLOSE_TYPE)
        flags |= L_KEEP | L_TYPE;
    else if (!bracket && s->last == T_WORD && (s->props & W_AS) && !(flags & L_KEEP))
        flags |= L_KEEP | L_AS_OPEN;
    put_token(s, T_OPEN);
    open_level(s, flags);
}

static inline void scan_close(struct hd_scanner *s)
{
    int type = hd_scan_level_of(s)->flags & L_TYPE;

    put_token(s, type ? T_CLOSE_TYPE : T_CLOSE);
    close_level(s);
}

static inline void scan_colon(struct hd_scanner *s)
{
    if (s->end - s->p >= 2 && s->p[1] == ':') {
        hd_scan_level_of(s)->ticks++;
        put_token(s, T_OTHER);
        put_token(s, T_OTHER);
        s->chain = CHAIN_BEGIN;
        return;
    }
    put_token(s, T_OTHER);
}

static inline void scan_dot(struct hd_scanner *s)
{
    uint8_t chain = s->chain;

    if (hd_scan_is_digit(s, s->p + 1)) {
        hd_scan_number(s);
        return;
    }
    if (s->end - s->p >= 2 && s->p[1] == '.') {
        put_token(s, T_OTHER);
        put_token(s, T_OTHER);
        return;
    }
    put_token(s, T_DOT);
    if (chain == CHAIN_NAME)
        s->chain = CHAIN_DOT;
}

static inline void scan_semicolon(struct hd_scanner *s)
{
    if (s->depth > 0) {
        separate(hd_scan_level_of(s));
        put_token(s, T_OTHER);
        return;
    }
    end_statement(s);
    put_token(s, T_OTHER);
    begin_statement(s);
}

static inline void scan_operator(struct hd_scanner *s)
{
    hd_scan_level_of(s)->ticks++;
    put_token(s, T_OTHER);
}

/* --- the pass --- */

static inline void scan_token(struct hd_scanner *s)
{
    switch ((enum char_class)char_class[*s->p]) {
    case C_SPACE:
        s->gap = 1;
        s->p++;
        break;
    case C_WORD:
        scan_word_or_prefix(s);
        break;
    case C_DIGIT:
        hd_scan_number(s);
        break;
    case C_QUOTE:
        hd_scan_string(s, 0, HD_LITERAL_STRING);
        break;
    case C_DQUOTE:
        scan_quoted_name(s, 0);
        break;
    case C_DOLLAR:
        hd_scan_dollar(s);
        break;
    case C_DOT:
        scan_dot(s);
        break;
    case C_COLON:
        scan_colon(s);
        break;
    case C_COMMA:
        separate(hd_scan_level_of(s));
        put_token(s, T_OTHER);
        break;
    case C_SEMICOLON:
        scan_semicolon(s);
        break;
    case C_OPEN:
    case C_OPEN_BRACKET:
        scan_open(s, *s->p == '[');
        break;
    case C_CLOSE:
    case C_CLOSE_BRACKET:
        scan_close(s);
        break;
    case C_MINUS:
        if (s->end - s->p >= 2 && s->p[1] == '-')
            scan_line_comment(s);
        else
            scan_operator(s);
        break;
    case C_SLASH:
        if (s->end - s->p >= 2 && s->p[1] == '*')
            scan_comment(s);
        else
            scan_operator(s);
        break;
    case C_OPERATOR:
        scan_operator(s);
        break;
    case C_OTHER:
        hd_scan_give_up(s, HD_SCAN_JUNK);
        break;
    }
}

static void reset(struct hd_scan *out)
{
    out->len = 0;
    out->flags = 0;
    out->n_literals = out->n_params = out->n_statements = 0;
    out->hint_offset = out->hint_len = 0;
    out->sign_len = 0;
}

/* One pass with the literals numbered from base + 1. */
static int pass(const char *sql, size_t len, struct hd_scan *out, uint32_t base)
{
    struct hd_scanner s;

    reset(out);
    s.start = s.p = (const uint8_t *)sql;
    s.end = s.p + len;
    s.out = out;
    s.o = out->text;
    s.base = base;
    s.gap = s.keep_text = s.no_memory = 0;
    if (out->cap < len + 32 && !hd_scan_grow_text(&s, len + 32))
        return HD_ENOMEM;
    begin_statement(&s);
    while (s.p < s.end)
        scan_token(&s);
    if (s.no_memory)
        return HD_ENOMEM;
    end_statement(&s);
    out->len = (size_t)(s.o - out->text);
    *s.o = 0;
    return HD_OK;
}

/* A text that is not looked at. */
static int refuse(struct hd_scan *out, uint32_t why)
{
    int rc = pass("", 0, out, 0);

    out->flags |= why;
    return rc;
}

int hd_scan_normalize(const char *sql, size_t len, struct hd_scan *out)
{
    int rc;

    if (len > INT32_MAX)
        return refuse(out, HD_SCAN_TOO_LONG);
    if (memchr(sql, 0, len)) /* libpg_query's texts end there */
        return refuse(out, HD_SCAN_JUNK);
    rc = pass(sql, len, out, 0);
    if (rc == HD_OK && out->n_params > 0 && out->n_literals > 0 && !out->flags)
        rc = pass(sql, len, out, out->n_params);
    if (rc != HD_OK)
        return rc;
    out->key = hd_hash128(out->text, out->len);
    if (out->sign_len > 0)
        out->key = hd_hash128_more(out->key, out->sign, out->sign_len);
    return HD_OK;
}

void hd_scan_free(struct hd_scan *s)
{
    hd_free(s->text);
    hd_free(s->literals);
    hd_free(s->sign);
    *s = (struct hd_scan)HD_SCAN_INIT;
}
