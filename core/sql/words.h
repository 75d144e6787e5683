/*
 * The scanner's tables: what class a byte is of, and what there is to know of a word. Private to the scanner.
 */
#ifndef HD_SQL_WORDS_H
#define HD_SQL_WORDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum char_class {
    C_OTHER = 0,
    C_SPACE,
    C_WORD,
    C_DIGIT,
    C_QUOTE,
    C_DQUOTE,
    C_DOLLAR,
    C_DOT,
    C_COLON,
    C_COMMA,
    C_SEMICOLON,
    C_OPEN,
    C_CLOSE,
    C_OPEN_BRACKET,
    C_CLOSE_BRACKET,
    C_MINUS,
    C_SLASH,
    C_OPERATOR,
};

static const uint8_t char_class[256] = {
    ['\t'] = C_SPACE,         ['\n'] = C_SPACE,        ['\f'] = C_SPACE,       ['\r'] = C_SPACE,
    [' '] = C_SPACE,          ['A' ... 'Z'] = C_WORD,  ['a' ... 'z'] = C_WORD, ['_'] = C_WORD,
    [0x80 ... 0xff] = C_WORD, ['0' ... '9'] = C_DIGIT, ['\''] = C_QUOTE,       ['"'] = C_DQUOTE,
    ['$'] = C_DOLLAR,         ['.'] = C_DOT,           [':'] = C_COLON,        [','] = C_COMMA,
    [';'] = C_SEMICOLON,      ['('] = C_OPEN,          [')'] = C_CLOSE,        ['['] = C_OPEN_BRACKET,
    [']'] = C_CLOSE_BRACKET,  ['-'] = C_MINUS,         ['/'] = C_SLASH,        ['~'] = C_OPERATOR,
    ['!'] = C_OPERATOR,       ['@'] = C_OPERATOR,      ['#'] = C_OPERATOR,     ['^'] = C_OPERATOR,
    ['&'] = C_OPERATOR,       ['|'] = C_OPERATOR,      ['`'] = C_OPERATOR,     ['?'] = C_OPERATOR,
    ['+'] = C_OPERATOR,       ['*'] = C_OPERATOR,      ['%'] = C_OPERATOR,     ['<'] = C_OPERATOR,
    ['>'] = C_OPERATOR,       ['='] = C_OPERATOR,
};

/* The lower-case form of what may continue a word; 0 for all else. */
static const uint8_t word_char[256] = {
    ['$'] = '$', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6',
    ['7'] = '7', ['8'] = '8', ['9'] = '9', ['_'] = '_', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',
    ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l',
    ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't',
    ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b',
    ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',
    ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
#define H(n) [n] = n, [n + 1] = n + 1, [n + 2] = n + 2, [n + 3] = n + 3
#define R(n) H(n), H(n + 4), H(n + 8), H(n + 12)
    R(0x80),     R(0x90),     R(0xa0),     R(0xb0),     R(0xc0),     R(0xd0),     R(0xe0),     R(0xf0),
#undef R
#undef H
};

/* What the scanner has to know of a word. */
#define W_VERB      1u    /* begins a statement whose literals libpg_query replaces */
#define W_EXPLAIN   2u    /* may stand before such a statement */
#define W_CREATE    4u    /* its body may hold statements of its own */
#define W_BY        8u    /* integers behind it are columns' numbers */
#define W_BY_END    16u   /* ends what BY began */
#define W_AS        32u   /* a type name may follow */
#define W_TYPE      64u   /* a parenthesis behind it holds type modifiers */
#define W_KEEP      128u  /* libpg_query keeps literals from here to the statement's end */
#define W_KEEP_NEXT 256u  /* … the next literal */
#define W_NEST      512u  /* the tree grows by a level that separators do not end */
#define W_SEPARATE  1024u /* ends an operand */
#define W_PLAIN     2048u /* AS behind it or before it is not a type's */

#define HD_WORD_IS(word) (memcmp(w, word, sizeof(word) - 1) == 0)

static inline unsigned long_word_props(const char *w, size_t n)
{
    switch (n) {
    case 7:
        if (HD_WORD_IS("explain") || HD_WORD_IS("analyze") || HD_WORD_IS("verbose"))
            return W_EXPLAIN;
        if (HD_WORD_IS("varying") || HD_WORD_IS("decimal") || HD_WORD_IS("numeric") || HD_WORD_IS("varchar"))
            return W_TYPE;
        if (HD_WORD_IS("declare"))
            return W_VERB;
        return HD_WORD_IS("uescape") ? W_KEEP_NEXT : 0;
    case 8:
        return HD_WORD_IS("interval") ? W_TYPE : 0;
    case 9:
        if (HD_WORD_IS("intersect"))
            return W_BY_END | W_NEST | W_SEPARATE;
        return HD_WORD_IS("timestamp") || HD_WORD_IS("character") || HD_WORD_IS("localtime") ? W_TYPE : 0;
    case 11:
        return HD_WORD_IS("timestamptz") ? W_TYPE : 0;
    case 12:
        if (HD_WORD_IS("materialized"))
            return W_PLAIN;
        return HD_WORD_IS("current_time") ? W_TYPE : 0;
    case 14:
        return HD_WORD_IS("localtimestamp") ? W_TYPE : 0;
    case 17:
        return HD_WORD_IS("current_timestamp") ? W_TYPE : 0;
    default:
        return 0;
    }
}

/* The properties of a lower-case word. */
static inline unsigned word_props(const char *w, size_t n)
{
    switch (n) {
    case 2:
        if (HD_WORD_IS("by"))
            return W_BY;
        if (HD_WORD_IS("as"))
            return W_AS;
        return HD_WORD_IS("on") || HD_WORD_IS("or") ? W_SEPARATE : 0;
    case 3:
        if (HD_WORD_IS("and"))
            return W_SEPARATE;
        if (HD_WORD_IS("set"))
            return W_VERB | W_SEPARATE;
        if (HD_WORD_IS("for"))
            return W_BY_END;
        return HD_WORD_IS("bit") || HD_WORD_IS("dec") ? W_TYPE : 0;
    case 4:
        if (HD_WORD_IS("from") || HD_WORD_IS("when") || HD_WORD_IS("then") || HD_WORD_IS("else"))
            return W_SEPARATE;
        if (HD_WORD_IS("join"))
            return W_NEST | W_SEPARATE;
        if (HD_WORD_IS("case"))
            return W_NEST;
        if (HD_WORD_IS("with"))
            return W_VERB;
        return HD_WORD_IS("char") || HD_WORD_IS("time") ? W_TYPE : 0;
    case 5:
        if (HD_WORD_IS("where"))
            return W_SEPARATE;
        if (HD_WORD_IS("limit") || HD_WORD_IS("fetch"))
            return W_BY_END;
        if (HD_WORD_IS("union"))
            return W_BY_END | W_NEST | W_SEPARATE;
        if (HD_WORD_IS("merge") || HD_WORD_IS("table"))
            return W_VERB;
        if (HD_WORD_IS("cycle"))
            return W_KEEP;
        return HD_WORD_IS("float") || HD_WORD_IS("nchar") ? W_TYPE : 0;
    case 6:
        if (HD_WORD_IS("select") || HD_WORD_IS("insert") || HD_WORD_IS("update") || HD_WORD_IS("delete") ||
            HD_WORD_IS("values"))
            return W_VERB | W_SEPARATE;
        if (HD_WORD_IS("offset") || HD_WORD_IS("having") || HD_WORD_IS("window"))
            return W_BY_END;
        if (HD_WORD_IS("except"))
            return W_BY_END | W_NEST | W_SEPARATE;
        if (HD_WORD_IS("create"))
            return W_CREATE;
        return HD_WORD_IS("bpchar") || HD_WORD_IS("varbit") || HD_WORD_IS("timetz") || HD_WORD_IS("second")
                   ? W_TYPE
                   : 0;
    default:
        return n > 6 ? long_word_props(w, n) : 0;
    }
}

#undef HD_WORD_IS
#endif
