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
#include "sql/scan.h"
#include "base/alloc.h"
#include "sql/words.h"

#include <string.h>
#include <howdah/error.h>

/* The last token, as far as the next one's meaning hangs on it. */
enum token {
    T_START = 0,
    T_WORD,
    T_LITERAL,
    T_DOT,
    T_OPEN,
    T_CLOSE,
    T_CLOSE_TYPE, /* closed type modifiers */
    T_OTHER,
};

/* Where in a type's name behind :: or AS the scanner is. */
enum chain { CHAIN_NONE = 0, CHAIN_BEGIN, CHAIN_NAME, CHAIN_DOT };

#define L_KEEP    1u /* literals at this level belong to the key */
#define L_BY      2u /* integers do */
#define L_AS_OPEN 4u /* AS ( … : column definitions, unless a statement follows */
#define L_TYPE    8u /* these are type modifiers */

#define NEST_WEIGHT 3 /* a nested select, join or CASE costs as much stack as so many operators */

/* One open parenthesis. Height of a closed operand: operators and words in it plus its highest child. */
struct level {
    uint32_t flags;
    uint32_t ticks;   /* operators and words of the open operand */
    uint32_t child;   /* its highest closed child */
    uint32_t highest; /* of the closed operands */
    uint32_t nested;  /* weight of what separators do not end */
};

struct scanner {
    const uint8_t *start, *p, *end;
    char *o; /* where the next byte of the normalized text goes */
    struct hd_scan *out;
    uint32_t base;     /* the highest $n of the text, on the second pass */
    unsigned props;    /* of the last word, when the last token was one */
    unsigned depth;    /* open parentheses */
    uint8_t gap;       /* blanks or comments since the last token */
    uint8_t last;      /* enum token */
    uint8_t chain;     /* enum chain */
    uint8_t awaiting;  /* the statement's verb has not come */
    uint8_t keep;      /* literals of this statement belong to the key */
    uint8_t keep_text; /* … of this and all further ones */
    uint8_t no_memory;
    struct level levels[HD_SCAN_MAX_DEPTH + 1];
};

static void give_up(struct scanner *s, uint32_t why)
{
    s->out->flags |= why;
    s->p = s->end;
}

static inline struct level *level(struct scanner *s)
{
    return &s->levels[s->depth];
}

/* --- the tree's height --- */

static inline void separate(struct level *l)
{
    uint32_t h = l->ticks + l->child;

    if (h > l->highest)
        l->highest = h;
    l->ticks = l->child = 0;
}

/* The height of a level that ends here. */
static inline uint32_t close_height(struct scanner *s, struct level *l)
{
    uint32_t h;

    separate(l);
    h = l->highest + l->nested + NEST_WEIGHT;
    if (HD_UNLIKELY(h > HD_SCAN_MAX_HEIGHT))
        give_up(s, HD_SCAN_TOO_DEEP);
    return h;
}

static inline void open_level(struct scanner *s, uint32_t flags)
{
    if (HD_UNLIKELY(s->depth == HD_SCAN_MAX_DEPTH)) {
        give_up(s, HD_SCAN_TOO_DEEP);
        return;
    }
    s->levels[++s->depth] = (struct level){.flags = flags};
}

static inline void close_level(struct scanner *s)
{
    uint32_t h;

    if (s->depth == 0)
        return; /* a syntax error, which the parser will tell */
    h = close_height(s, level(s));
    s->depth--;
    if (h > level(s)->child)
        level(s)->child = h;
}

static void begin_statement(struct scanner *s)
{
    s->levels[0] = (struct level){0};
    s->depth = 0;
    s->awaiting = 1;
    s->keep = 1;
    s->chain = CHAIN_NONE;
    s->last = T_START;
    s->props = 0;
}

static void end_statement(struct scanner *s)
{
    if (s->last != T_START)
        s->out->n_statements++;
    while (s->depth > 0)
        close_level(s);
    close_height(s, level(s));
}

/* --- writing --- */

/* A blank where the text had one, or where two tokens would else grow together. */
static inline void put_gap(struct scanner *s, int needed)
{
    if ((s->gap || needed) && s->o != s->out->text)
        *s->o++ = ' ';
    s->gap = 0;
}

static inline void put_token(struct scanner *s, enum token t)
{
    put_gap(s, 0);
    *s->o++ = (char)*s->p++;
    s->last = t;
    s->chain = CHAIN_NONE;
}

static int grow_text(struct scanner *s, size_t room)
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

static int sign(struct scanner *s, const void *bytes, uint32_t n)
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

/* Adds content to the key, led by a byte that says what it is. */
static int sign_content(struct scanner *s, uint8_t what, const uint8_t *from, size_t n)
{
    struct hd_hash128 h = hd_hash128(from, n);

    return sign(s, &what, 1) && sign(s, &h, sizeof(h));
}

static int remember_literal(struct scanner *s, struct hd_literal lit)
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

static inline void put_number(struct scanner *s, uint32_t n)
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
static inline int must_keep(struct scanner *s, enum hd_literal_kind kind)
{
    uint32_t flags = level(s)->flags;

    return s->keep || (flags & L_KEEP) || (kind == HD_LITERAL_INTEGER && (flags & L_BY)) ||
           (s->last == T_WORD && (s->props & W_KEEP_NEXT));
}

/* The literal from `from` to s->p goes out as $n. */
static void put_literal(struct scanner *s, const uint8_t *from, enum hd_literal_kind kind)
{
    struct hd_scan *out = s->out;
    uint8_t kept = (uint8_t)must_keep(s, kind);
    struct hd_literal lit = {(uint32_t)(from - s->start), (uint32_t)(s->p - from), (uint8_t)kind, kept};
    uint8_t plain = (uint8_t)kind;

    if (HD_UNLIKELY(out->n_literals == HD_SCAN_MAX_LITERALS)) {
        give_up(s, HD_SCAN_TOO_MANY);
        return;
    }
    if (!remember_literal(s, lit))
        return;
    if (kept ? !sign_content(s, (uint8_t)(kind | 0x80), from, lit.len) : !sign(s, &plain, 1))
        return;
    if (HD_UNLIKELY((size_t)(out->text + out->cap - s->o) < (size_t)(s->end - s->p) + 32) &&
        !grow_text(s, (size_t)(s->end - s->p) + 32))
        return;
    put_gap(s, s->o != out->text && word_char[(uint8_t)s->o[-1]]);
    *s->o++ = '$';
    put_number(s, s->base + out->n_literals);
    s->last = T_LITERAL;
    s->chain = CHAIN_NONE;
}

/* --- strings --- */

/* A string goes on where only blanks with a line's end among them part it from the next quote. Returns the
 * place behind that quote, or NULL. PostgreSQL allows -- comments there too, but libpg_query does not:
 * unsure. */
static const uint8_t *string_continues(struct scanner *s, const uint8_t *p)
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
        give_up(s, HD_SCAN_JUNK);
        return s->end;
    }
    return p + 1;
}

/* Finds the closing quote of one piece; returns the place behind it, or NULL. */
static const uint8_t *string_piece(const struct scanner *s, const uint8_t *p, int doubled, int backslash)
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

/* A quoted literal whose first quote stands `prefix` bytes on. */
static void scan_string(struct scanner *s, size_t prefix, enum hd_literal_kind kind)
{
    const uint8_t *from = s->p, *p = from + prefix + 1, *next;
    int doubled = kind != HD_LITERAL_BITS && kind != HD_LITERAL_HEX;

    for (;;) {
        p = string_piece(s, p, doubled, kind == HD_LITERAL_ESCAPE);
        if (!p) {
            give_up(s, HD_SCAN_INCOMPLETE);
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
static void scan_dollar_string(struct scanner *s, size_t n)
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
    give_up(s, HD_SCAN_INCOMPLETE);
}

/* --- numbers, parameters --- */

static inline int is_digit(const struct scanner *s, const uint8_t *p)
{
    return p < s->end && char_class[*p] == C_DIGIT;
}

static inline const uint8_t *skip_digits(const struct scanner *s, const uint8_t *p)
{
    while (is_digit(s, p))
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

static void scan_number(struct scanner *s)
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
        if (is_digit(s, q)) {
            p = skip_digits(s, q);
            kind = HD_LITERAL_NUMERIC;
        }
    }
    if (p < s->end && char_class[*p] == C_WORD) {
        give_up(s, HD_SCAN_JUNK); /* 1x, 0x1f, 1_000, 1e */
        return;
    }
    s->p = p;
    put_literal(s, from, kind == HD_LITERAL_INTEGER ? integer_kind(from, p) : kind);
}

static void scan_param(struct scanner *s)
{
    const uint8_t *from = s->p++;
    uint32_t n = 0;

    for (; is_digit(s, s->p); s->p++) {
        if (n <= HD_SCAN_MAX_PARAM)
            n = n * 10 + (uint32_t)(*s->p - '0');
    }
    if (n > HD_SCAN_MAX_PARAM || (s->p < s->end && char_class[*s->p] == C_WORD)) {
        give_up(s, HD_SCAN_JUNK);
        return;
    }
    put_gap(s, 0);
    while (from < s->p)
        *s->o++ = (char)*from++;
    if (n > s->out->n_params)
        s->out->n_params = n;
    s->last = T_OTHER;
    s->chain = CHAIN_NONE;
}

static void scan_dollar(struct scanner *s)
{
    const uint8_t *p = s->p + 1;

    if (is_digit(s, p)) {
        scan_param(s);
        return;
    }
    if (p < s->end && char_class[*p] == C_WORD)
        while (p < s->end && word_char[*p] && *p != '$')
            p++;
    if (p < s->end && *p == '$')
        scan_dollar_string(s, (size_t)(p + 1 - s->p));
    else
        give_up(s, HD_SCAN_JUNK);
}

/* --- words --- */

/* Books what the word means for the literals behind it. */
static inline void note_word(struct scanner *s, unsigned props)
{
    struct level *l = level(s);

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
static void note_verb(struct scanner *s, unsigned props)
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

static inline void after_name(struct scanner *s, unsigned props)
{
    if (props & W_AS)
        s->chain = CHAIN_BEGIN;
    else if (s->chain == CHAIN_DOT || (s->chain == CHAIN_BEGIN && !(props & W_PLAIN)))
        s->chain = CHAIN_NAME;
    else
        s->chain = CHAIN_NONE;
    level(s)->ticks++;
    s->last = T_WORD;
    s->props = props;
}

static inline void scan_word(struct scanner *s)
{
    const uint8_t *p = s->p;
    char *o, *from;
    uint8_t c;
    unsigned props;

    put_gap(s, s->last == T_LITERAL);
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
static void scan_quoted_name(struct scanner *s, size_t prefix)
{
    const uint8_t *p = s->p + prefix + 1;

    do {
        p = memchr(p, '"', (size_t)(s->end - p));
        if (!p) {
            give_up(s, HD_SCAN_INCOMPLETE);
            return;
        }
        p++;
    } while (p < s->end && *p == '"' && p++);
    put_gap(s, prefix && s->last == T_LITERAL);
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
static inline void scan_word_or_prefix(struct scanner *s)
{
    size_t left = (size_t)(s->end - s->p);
    uint8_t c = *s->p | 0x20;

    if (HD_LIKELY(left < 2 || (s->p[1] != '\'' && s->p[1] != '&')))
        scan_word(s);
    else if (s->p[1] == '&') {
        if (c == 'u' && left > 2 && s->p[2] == '\'')
            scan_string(s, 2, HD_LITERAL_UNICODE);
        else if (c == 'u' && left > 2 && s->p[2] == '"')
            scan_quoted_name(s, 2);
        else
            scan_word(s);
    } else if (c == 'e')
        scan_string(s, 1, HD_LITERAL_ESCAPE);
    else if (c == 'n')
        scan_string(s, 1, HD_LITERAL_NATIONAL);
    else if (c == 'b')
        scan_string(s, 1, HD_LITERAL_BITS);
    else if (c == 'x')
        scan_string(s, 1, HD_LITERAL_HEX);
    else
        scan_word(s);
}

/* --- comments --- */

static void note_hint(struct scanner *s, const uint8_t *p, const uint8_t *end)
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
    (void)sign_content(s, 0x40, p, (size_t)(end - p)); /* a failure is remembered in s */
}

/* Skips a comment, nested ones included. */
static void scan_comment(struct scanner *s)
{
    const uint8_t *from = s->p + 2, *p = from;
    unsigned open = 1;

    while (open > 0) {
        if (s->end - p < 2) {
            give_up(s, HD_SCAN_INCOMPLETE);
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

static void scan_line_comment(struct scanner *s)
{
    while (s->p < s->end && *s->p != '\n' && *s->p != '\r')
        s->p++;
    s->gap = 1;
}

/* --- punctuation --- */

static inline void scan_open(struct scanner *s, int bracket)
{
    struct level *l = level(s);
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

static inline void scan_close(struct scanner *s)
{
    int type = level(s)->flags & L_TYPE;

    put_token(s, type ? T_CLOSE_TYPE : T_CLOSE);
    close_level(s);
}

static inline void scan_colon(struct scanner *s)
{
    if (s->end - s->p >= 2 && s->p[1] == ':') {
        level(s)->ticks++;
        put_token(s, T_OTHER);
        put_token(s, T_OTHER);
        s->chain = CHAIN_BEGIN;
        return;
    }
    put_token(s, T_OTHER);
}

static inline void scan_dot(struct scanner *s)
{
    uint8_t chain = s->chain;

    if (is_digit(s, s->p + 1)) {
        scan_number(s);
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

static inline void scan_semicolon(struct scanner *s)
{
    if (s->depth > 0) {
        separate(level(s));
        put_token(s, T_OTHER);
        return;
    }
    end_statement(s);
    put_token(s, T_OTHER);
    begin_statement(s);
}

static inline void scan_operator(struct scanner *s)
{
    level(s)->ticks++;
    put_token(s, T_OTHER);
}

/* --- the pass --- */

static inline void scan_token(struct scanner *s)
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
        scan_number(s);
        break;
    case C_QUOTE:
        scan_string(s, 0, HD_LITERAL_STRING);
        break;
    case C_DQUOTE:
        scan_quoted_name(s, 0);
        break;
    case C_DOLLAR:
        scan_dollar(s);
        break;
    case C_DOT:
        scan_dot(s);
        break;
    case C_COLON:
        scan_colon(s);
        break;
    case C_COMMA:
        separate(level(s));
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
        give_up(s, HD_SCAN_JUNK);
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
    struct scanner s;

    reset(out);
    s.start = s.p = (const uint8_t *)sql;
    s.end = s.p + len;
    s.out = out;
    s.o = out->text;
    s.base = base;
    s.gap = s.keep_text = s.no_memory = 0;
    if (out->cap < len + 32 && !grow_text(&s, len + 32))
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
