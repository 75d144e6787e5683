/*
 * The scanner: one pass over a statement's text that finds its template.
 *
 * It knows PostgreSQL's lexical rules (version 15's, standard_conforming_strings on, an ASCII-safe encoding)
 * and no grammar. Literals become $n, comments go, blanks fold, unquoted words turn to lower case. Two texts
 * with the same key have the same tokens in the same order, but for the content of literals that
 * libpg_query's normalization replaces as well; where that keeps a literal (ORDER BY 1, numeric(10,2),
 * utility statements) its content is part of the key, yet never of the text: the normalized text is safe to
 * log.
 */
#ifndef HD_SQL_SCAN_H
#define HD_SQL_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"

/* What a literal is to PostgreSQL's grammar. Kinds are part of the key. */
enum hd_literal_kind {
    HD_LITERAL_STRING = 1, /* '…', $tag$…$tag$ */
    HD_LITERAL_ESCAPE,     /* E'…' */
    HD_LITERAL_UNICODE,    /* U&'…' */
    HD_LITERAL_NATIONAL,   /* N'…' */
    HD_LITERAL_BITS,       /* B'…' */
    HD_LITERAL_HEX,        /* X'…' */
    HD_LITERAL_INTEGER,    /* digits that fit 32 bits */
    HD_LITERAL_NUMERIC,    /* any other number */
};

struct hd_literal {
    uint32_t offset; /* in the scanned text; quotes, prefix and tag belong to it, a sign does not */
    uint32_t len;
    uint8_t kind;
    uint8_t in_key; /* its content is part of the key: all texts of the template have the same */
};

/* Why the scanner is not sure. Any of these: the text is not to be looked into, and `text` is not its
 * normalization. */
#define HD_SCAN_INCOMPLETE 1u  /* ends inside a quote or comment */
#define HD_SCAN_JUNK       2u  /* a token that PostgreSQL 15 refuses, or a NUL */
#define HD_SCAN_TOO_DEEP   4u  /* nested deeper than HD_SCAN_MAX_HEIGHT */
#define HD_SCAN_TOO_MANY   8u  /* more literals than HD_SCAN_MAX_LITERALS */
#define HD_SCAN_TOO_LONG   16u /* 2 GiB or more */

#define HD_SCAN_MAX_DEPTH 400 /* open parentheses and brackets */
#define HD_SCAN_MAX_HEIGHT                                                                                   \
    1200 /* bound of the parse tree's height; a level costs libpg_query some 2 KiB of stack */
#define HD_SCAN_MAX_LITERALS 16384 /* remembered for one text */
#define HD_SCAN_MAX_PARAM    65535 /* the highest $n that the protocol can bind */

/* Results of one scan, and the buffers for the next. Start with HD_SCAN_INIT. */
struct hd_scan {
    char *text;     /* the normalized text, NUL-terminated; owned */
    size_t len;     /* its bytes */
    uint32_t flags; /* HD_SCAN_*; 0: sure */
    uint32_t n_literals;
    struct hd_literal *literals; /* in the order of the text; owned */
    uint32_t n_params;     /* the highest $n of the text itself; literal i stands as $(n_params + 1 + i) */
    uint32_t n_statements; /* as the semicolons tell; the parser may see it otherwise */
    uint32_t hint_offset;  /* what follows "howdah:" in the first hint comment, blanks trimmed */
    uint32_t hint_len;     /* 0: no hint */
    struct hd_hash128 key; /* of all that tells templates apart */
    size_t cap;            /* of text */
    uint8_t *sign;         /* literal kinds and what else belongs to the key; owned */
    uint32_t sign_len, sign_cap, literals_cap;
};

#define HD_SCAN_INIT                                                                                         \
    {                                                                                                        \
        0                                                                                                    \
    }

/* Scans `sql`. Returns HD_OK or HD_ENOMEM; allocates only when the buffers of `out` have to grow. */
int hd_scan_normalize(const char *sql, size_t len, struct hd_scan *out) HD_MUST_USE;
/* Frees the buffers; `s` may be used again. */
void hd_scan_free(struct hd_scan *s);

#endif
