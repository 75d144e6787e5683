/*
 * The inside of the scanner, which scan.c (words, structure, the pass) and scan_literal.c (literals and
 * parameters) share.
 */
#ifndef HD_SQL_SCAN_PARTS_H
#define HD_SQL_SCAN_PARTS_H

#include "sql/scan.h"
#include "sql/words.h"

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
struct hd_scan_level {
    uint32_t flags;
    uint32_t ticks;   /* operators and words of the open operand */
    uint32_t child;   /* its highest closed child */
    uint32_t highest; /* of the closed operands */
    uint32_t nested;  /* weight of what separators do not end */
};

struct hd_scanner {
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
    struct hd_scan_level levels[HD_SCAN_MAX_DEPTH + 1];
};

static inline struct hd_scan_level *hd_scan_level_of(struct hd_scanner *s)
{
    return &s->levels[s->depth];
}

/* A blank where the text had one, or where two tokens would else grow together. */
static inline void hd_scan_put_gap(struct hd_scanner *s, int needed)
{
    if ((s->gap || needed) && s->o != s->out->text)
        *s->o++ = ' ';
    s->gap = 0;
}

static inline int hd_scan_is_digit(const struct hd_scanner *s, const uint8_t *p)
{
    return p < s->end && char_class[*p] == C_DIGIT;
}

/* Ends the scan: the text is not to be looked into. */
void hd_scan_give_up(struct hd_scanner *s, uint32_t why) __attribute__((cold));
/* Room for so many more bytes of the normalized text; 0: no memory, and the scan is over. */
int hd_scan_grow_text(struct hd_scanner *s, size_t room);
/* Adds content to the key, led by a byte that says what it is. 0 as above. */
int hd_scan_sign_content(struct hd_scanner *s, uint8_t what, const uint8_t *from, size_t n);

/* A quoted literal whose first quote stands `prefix` bytes on. */
void hd_scan_string(struct hd_scanner *s, size_t prefix, enum hd_literal_kind kind);
void hd_scan_number(struct hd_scanner *s);
/* A parameter or a string in dollar quotes. */
void hd_scan_dollar(struct hd_scanner *s);

#endif
