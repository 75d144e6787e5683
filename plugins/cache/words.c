/*
 * Looking for words that stand for the time; see words.h. What is looked for are whole words, without regard
 * to case: PostgreSQL's "Date/Time Special Values" (Table 8.13 of its documentation) are fields of a date.
 */
#include "words.h"

#include <string.h>
#include <strings.h>

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int is_time_word(const char *p, size_t len)
{
    static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (len == strlen(words[i]) && !strncasecmp(p, words[i], len))
            return 1;
    return 0;
}

/* Words are runs of letters; what stands around them is none of them. */
static int has_word(const char *p, uint64_t len)
{
    for (uint64_t i = 0; i < len;) {
        uint64_t from = i;

        while (i < len && is_letter(p[i]))
            i++;
        if (i > from && is_time_word(p + from, i - from))
            return 1;
        i += i == from;
    }
    return 0;
}

/* 'no' and, on another line, 'w': one literal in pieces. What stands between them may be a comment. */
static int has_pieces(const char *p, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        uint64_t at = i + 1;
        int lines = 0;

        if (p[i] != '\'')
            continue;
        for (; at < len && (p[at] == ' ' || (p[at] >= '\t' && p[at] <= '\r')); at++)
            lines |= p[at] == '\n' || p[at] == '\r';
        if (at < len && ((lines && p[at] == '\'') || (p[at] == '-' && at + 1 < len && p[at + 1] == '-')))
            return 1;
    }
    return 0;
}

int cache_has_time_words(const struct hd_statement *st)
{
    if (memchr(st->sql.ptr, '\\', st->sql.len) || memmem(st->sql.ptr, st->sql.len, "U&", 2) ||
        memmem(st->sql.ptr, st->sql.len, "u&", 2) || has_word(st->sql.ptr, st->sql.len) ||
        has_pieces(st->sql.ptr, st->sql.len))
        return 1;
    for (uint32_t i = 0; i < st->param_count; i++)
        if (st->params[i].data && /* the binary form of a text is the text */
            has_word((const char *)st->params[i].data, st->params[i].len))
            return 1;
    return 0;
}
