/* Normalized texts; see explain_sql.h. They are in lower case, and a space stands wherever there was any. */
#include "explain_sql.h"

#include <ctype.h>
#include <string.h>

/* Length of the token at `s`: a quoted name, a word, $n, or one other character. */
static size_t token(const char *s)
{
    size_t n = 1;

    if (*s == '"') {
        while (s[n] && s[n] != '"')
            n++;
        return n + (s[n] == '"'); /* one that is doubled begins another token, which does no harm */
    }
    if (*s == '$' || isalnum((unsigned char)*s) || *s == '_' || (unsigned char)*s >= 0x80)
        while (isalnum((unsigned char)s[n]) || s[n] == '_' || (unsigned char)s[n] >= 0x80)
            n++;
    return n;
}

static int is_word(const char *s, size_t n, const char *word)
{
    return n == strlen(word) && memcmp(s, word, n) == 0;
}

static int is_param(const char *s)
{
    return s[0] == '$' && isdigit((unsigned char)s[1]);
}

static const char *skip_spaces(const char *s)
{
    return s + strspn(s, " \t\n");
}

/* --- numbers of columns
 * ------------------------------------------------------------------------------------------- */

/* An item of such a list that is a $n and nothing else. */
static int is_bare(const char *s)
{
    static const char *const words[] = {"asc",   "desc",   "nulls",  "limit",     "offset", "fetch", "for",
                                        "union", "having", "window", "intersect", "except", "order"};
    size_t n;

    s = skip_spaces(s);
    if (!is_param(s))
        return 0;
    s = skip_spaces(s + token(s));
    if (!*s || *s == ',' || *s == ')' || *s == ';')
        return 1;
    n = token(s);
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (is_word(s, n, words[i]))
            return 1;
    return 0;
}

/* Any item of the list at `s`, up to the end of what it stands in. */
static int list_counts(const char *s)
{
    int depth = 0;

    if (is_bare(s))
        return 1;
    for (; *s && depth >= 0; s += token(s)) {
        depth += (*s == '(') - (*s == ')');
        if (depth == 0 && *s == ',' && is_bare(s + 1))
            return 1;
    }
    return 0;
}

int mon_sql_counts_columns(const char *text)
{
    int ordered = 0;

    for (const char *s = text; *s; s = skip_spaces(s)) {
        size_t n = token(s);

        if (ordered && is_word(s, n, "by") && list_counts(s + n))
            return 1;
        ordered = is_word(s, n, "order") || is_word(s, n, "group");
        s += n;
    }
    return 0;
}

/* --- literals behind a type
 * ---------------------------------------------------------------------------------------- */

static int is_type(const char *s, size_t n)
{
    static const char *const types[] = {
        "interval",  "date",    "time",      "timestamp", "timestamptz", "timetz",  "numeric",
        "integer",   "int",     "bigint",    "smallint",  "boolean",     "bool",    "real",
        "text",      "uuid",    "json",      "jsonb",     "bytea",       "inet",    "cidr",
        "point",     "money",   "varchar",   "char",      "decimal",     "float",   "xml",
        "daterange", "tsrange", "tstzrange", "int4range", "int8range",   "numrange"};

    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (is_word(s, n, types[i]))
            return 1;
    return 0;
}

/* Behind the type's other words: "with time zone". */
static const char *behind_type(const char *s, size_t n)
{
    static const char *const tails[] = {" with time zone ", " without time zone "};

    s += n;
    for (unsigned i = 0; i < 2; i++)
        if (strncmp(s, tails[i], strlen(tails[i])) == 0)
            return s + strlen(tails[i]) - 1;
    return s;
}

void mon_sql_prepared(FILE *f, const char *text)
{
    for (const char *s = text; *s;) {
        size_t n = token(s);
        const char *end = behind_type(s, n), *param = skip_spaces(end);

        if (is_type(s, n) && is_param(param) && param > end && (s == text || s[-1] != ':')) {
            fprintf(f, "%.*s::%.*s", (int)token(param), param, (int)(end - s), s);
            s = param + token(param);
            continue;
        }
        fwrite(s, 1, n, f);
        s += n;
    }
}
