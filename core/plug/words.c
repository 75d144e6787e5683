/*
 * A console line taken apart; see words.h.
 */
#include "plug/words.h"

#include "base/error.h"

#include <stdint.h>
#include <string.h>

/* Where the parser stands in the line. */
struct cursor {
    const char *at, *end;
};

static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int starts(const struct cursor *c, const char *two)
{
    return c->end - c->at >= 2 && c->at[0] == two[0] && c->at[1] == two[1];
}

/* Skips one block comment; PostgreSQL's nest. */
static int skip_block(struct cursor *c, struct hd_error *err)
{
    unsigned depth = 0;

    do {
        if (starts(c, "/*")) {
            depth++;
            c->at += 2;
        } else if (starts(c, "*/")) {
            depth--;
            c->at += 2;
        } else if (c->at++ == c->end) {
            return hd_fail(err, HD_EINVAL, "the comment is not closed: */ is missing");
        }
    } while (depth);
    return HD_OK;
}

/* Skips blanks and comments. */
static int skip(struct cursor *c, struct hd_error *err)
{
    while (c->at < c->end) {
        if (is_blank(*c->at)) {
            c->at++;
        } else if (starts(c, "--")) {
            while (c->at < c->end && *c->at != '\n')
                c->at++;
        } else if (starts(c, "/*")) {
            int code = skip_block(c, err);

            if (code)
                return code;
        } else {
            break;
        }
    }
    return HD_OK;
}

/* A quoted word; a doubled quote stands for one. */
static int read_quoted(struct cursor *c, struct hd_arena *arena, struct hd_str *out, struct hd_error *err)
{
    const char quote = *c->at++;
    char *text = hd_arena_alloc(arena, (size_t)(c->end - c->at) + 1);
    size_t len = 0;

    if (!text)
        return hd_fail(err, HD_ENOMEM, "no memory for the command");
    for (;;) {
        if (c->at == c->end)
            return hd_fail(err, HD_EINVAL, "the quoted word is not closed: %c is missing", quote);
        if (*c->at == quote && (c->end - c->at < 2 || c->at[1] != quote))
            break;
        if (*c->at == quote)
            c->at++;
        text[len++] = *c->at++;
    }
    c->at++;
    *out = (struct hd_str){text, len};
    return HD_OK;
}

/* Skips a value in quotes that stands directly behind = or ~, as in LABEL="a b"; a backslash takes its
 * meaning from what follows it. */
static int skip_value(struct cursor *c, struct hd_error *err)
{
    for (c->at++; c->at < c->end && *c->at != '"'; c->at++)
        if (*c->at == '\\' && c->end - c->at > 1)
            c->at++;
    if (c->at == c->end)
        return hd_fail(err, HD_EINVAL, "the quoted value is not closed: \" is missing");
    c->at++;
    return HD_OK;
}

static int ends_plain(const struct cursor *c)
{
    return is_blank(*c->at) || strchr(";'\"", *c->at) || starts(c, "/*") || starts(c, "--");
}

static int read_plain(struct cursor *c, struct hd_arena *arena, struct hd_str *out, struct hd_error *err)
{
    const char *from = c->at;
    int code = HD_OK;

    while (!code && c->at < c->end) {
        if (*c->at == '"' && c->at > from && strchr("=~", c->at[-1]))
            code = skip_value(c, err);
        else if (ends_plain(c))
            break;
        else
            c->at++;
    }
    if (code)
        return code;
    *out = (struct hd_str){hd_arena_strndup(arena, from, (size_t)(c->at - from)), (uint64_t)(c->at - from)};
    return out->ptr ? HD_OK : hd_fail(err, HD_ENOMEM, "no memory for the command");
}

/* Behind a semicolon only more of them may stand. */
static int read_end(struct cursor *c, struct hd_error *err)
{
    int code = HD_OK;

    while (!code && c->at < c->end && *c->at == ';') {
        c->at++;
        code = skip(c, err);
    }
    if (!code && c->at < c->end)
        code = hd_fail(err, HD_EINVAL, "one command at a time: something stands behind the semicolon");
    return code;
}

int hd_words_parse(struct hd_words *w, struct hd_arena *arena, const char *text, size_t len,
                   struct hd_error *err)
{
    struct cursor c = {text, text + len};
    int code;

    w->count = 0;
    if (len > HD_WORDS_BYTES)
        return hd_fail(err, HD_EINVAL, "the command is longer than %d bytes", HD_WORDS_BYTES);
    if (memchr(text, 0, len))
        return hd_fail(err, HD_EINVAL, "the command has a NUL byte in it");
    while (!(code = skip(&c, err)) && c.at < c.end && *c.at != ';') {
        int quoted = *c.at == '\'' || *c.at == '"';

        if (w->count == HD_WORDS_MAX)
            return hd_fail(err, HD_EINVAL, "the command has more than %d words", HD_WORDS_MAX);
        code = (quoted ? read_quoted : read_plain)(&c, arena, &w->word[w->count], err);
        if (code)
            return code;
        w->end[w->count] = (size_t)(c.at - text);
        w->quoted[w->count++] = (unsigned char)quoted;
    }
    return code ? code : read_end(&c, err);
}
