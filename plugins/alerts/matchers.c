/*
 * Matchers; see matchers.h.
 */
#include "alerts/matchers.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGEX_MAX 200 /* bytes */
#define REPEATS_MAX                                                                                          \
    1000 /* of all {n,m} of an expression, multiplied: what it may grow to when it is compiled */
#define SHOWN "%.60s"

enum kind { IS, LIKE, REGEX };

struct matcher {
    enum kind kind;
    int negated;
    char *name, *value;
    regex_t regex;
};

struct al_matchers {
    uint32_t count;
    struct matcher at[AL_SILENCE_MATCHERS];
};

struct al_matchers *al_matchers_new(void)
{
    return calloc(1, sizeof(struct al_matchers));
}

static void clear(struct matcher *m)
{
    if (m->kind == REGEX)
        regfree(&m->regex);
    free(m->name);
    free(m->value);
    memset(m, 0, sizeof(*m));
}

void al_matchers_free(struct al_matchers *m)
{
    for (uint32_t i = 0; m && i < m->count; i++)
        clear(&m->at[i]);
    free(m);
}

static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* --- expressions -----------------------------------------------------------------------------------------
 */

/* The largest number up to a closing brace, or 1. */
static unsigned long most_repeats(const char *s)
{
    unsigned long most = 1;

    while (*s && *s != '}') {
        char *end = NULL;
        unsigned long n = isdigit((unsigned char)*s) ? strtoul(s, &end, 10) : 0;

        most = n > most ? n : most;
        s = end ? end : s + 1;
    }
    return most;
}

/* What the library would take as something else, or take too much for. NULL: it is well. */
static const char *refuse_regex(const char *s)
{
    unsigned long repeats = 1;

    if (strlen(s) > REGEX_MAX)
        return "it is longer than 200 bytes";
    for (; *s; s++) {
        if (*s == '{') {
            unsigned long most = most_repeats(s + 1);

            if (most > REPEATS_MAX || (repeats *= most) > REPEATS_MAX)
                return "it repeats too much";
        }
        if (*s == '\\' && s[1] && isalnum((unsigned char)*++s) && !strchr("wWsS", *s))
            return "of \\ and a letter or digit it knows \\w, \\W, \\s and \\S alone";
    }
    return NULL;
}

/* Of the whole value, not of a part. */
static int32_t compile(struct matcher *m, uint32_t number, struct hd_error *err)
{
    const char *why = refuse_regex(m->value);
    char whole[REGEX_MAX + 8], text[100];
    int code = 0;

    if (!why) {
        snprintf(whole, sizeof(whole), "^(%s)$", m->value);
        code = regcomp(&m->regex, whole, REG_EXTENDED | REG_NOSUB);
    }
    if (code) {
        regerror(code, &m->regex, text, sizeof(text));
        why = text;
    }
    if (why)
        return hd_error_set(err, HD_EINVAL, "matcher %u: the expression \"" SHOWN "\" is none: %s", number,
                            m->value, why);
    m->kind = REGEX;
    return HD_OK;
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

static int is_escape(const char *s)
{
    return *s == '\\' && (s[1] == '"' || s[1] == '\\' || s[1] == 'n');
}

/* The quote that closes what stands behind another; NULL: there is none. */
static const char *closing(const char *s)
{
    while (*s && *s != '"')
        s += is_escape(s) ? 2 : 1;
    return *s ? s : NULL;
}

/* What stands between quotes, of which there are two. */
static char *read_quoted(const char **at)
{
    const char *s = *at + 1, *end = closing(s);
    char *out = malloc((size_t)(end - s) + 1), *to = out;

    for (; to && s < end; s++) {
        int escape = is_escape(s);

        s += escape;
        *to++ = escape && *s == 'n' ? '\n' : *s;
    }
    if (to)
        *to = '\0';
    *at = end + 1;
    return out;
}

static char *read_plain(const char **at, int word)
{
    size_t n = 0;
    char *out;

    while ((*at)[n] && (word || !is_blank((*at)[n])))
        n++;
    out = strndup(*at, n);
    *at += n;
    return out;
}

/* =, !=, =~ or !~; 0: none of them. */
static int read_operator(const char **at, struct matcher *m, int *regex)
{
    const char *s = *at;

    m->negated = *s == '!';
    *regex = (s[0] == '=' || s[0] == '!') && s[1] == '~';
    if (*s != '=' && !(m->negated && (s[1] == '=' || *regex)))
        return 0;
    *at += m->negated || *regex ? 2 : 1;
    return 1;
}

/* Behind a quoted value comes the end, a blank, or a comma and another matcher. */
static int32_t read_end(const char **at, uint32_t number, struct hd_error *err)
{
    if (!**at || is_blank(**at))
        return HD_OK;
    if (**at == ',' && (*at)[1]) {
        ++*at;
        return HD_OK;
    }
    return hd_error_set(err, HD_EINVAL, "matcher %u: \"" SHOWN "\" stands behind the closing \"", number,
                        *at);
}

static int32_t read_value(const char **at, struct matcher *m, int regex, int word, uint32_t number,
                          struct hd_error *err)
{
    int quoted = **at == '"';

    if (quoted && !closing(*at + 1))
        return hd_error_set(err, HD_EINVAL, "matcher %u: the closing \" is missing behind " SHOWN, number,
                            *at);
    m->value = quoted ? read_quoted(at) : read_plain(at, word);
    if (!m->value)
        return hd_error_set(err, HD_ENOMEM, "no memory for matcher %u", number);
    if (!quoted && !*m->value)
        return hd_error_set(err, HD_EINVAL,
                            "matcher %u: the value of \"" SHOWN "\" is missing; the empty one is \"\"",
                            number, m->name);
    if (regex)
        return compile(m, number, err);
    m->kind = !quoted && strchr(m->value, '*') ? LIKE : IS;
    return HD_OK;
}

static int32_t read_one(const char **at, struct matcher *m, int word, uint32_t number, struct hd_error *err)
{
    size_t n = strcspn(*at, "=!~\", \t\n\v\f\r");
    int regex, quoted;
    int32_t code;

    if (!n)
        return hd_error_set(err, HD_EINVAL,
                            "matcher %u: a label's name, or rule, is missing before \"" SHOWN "\"", number,
                            *at);
    m->name = strndup(*at, n);
    if (!m->name)
        return hd_error_set(err, HD_ENOMEM, "no memory for matcher %u", number);
    *at += n;
    if (!read_operator(at, m, &regex))
        return hd_error_set(err, HD_EINVAL, "matcher %u: =, !=, =~ or !~ is missing behind \"" SHOWN "\"",
                            number, m->name);
    quoted = **at == '"';
    code = read_value(at, m, regex, word, number, err);
    return code == HD_OK && quoted ? read_end(at, number, err) : code;
}

int32_t al_matchers_add(struct al_matchers *m, const char *text, int word, struct hd_error *err)
{
    int32_t code = HD_OK;

    while (!code && *text) {
        if (is_blank(*text)) {
            text++;
            continue;
        }
        if (m->count == AL_SILENCE_MATCHERS)
            return hd_error_set(err, HD_EINVAL, "there are more than %d matchers", AL_SILENCE_MATCHERS);
        code = read_one(&text, &m->at[m->count], word, m->count + 1, err);
        if (code)
            clear(&m->at[m->count]);
        else
            m->count++;
    }
    return code;
}

/* --- writing ---------------------------------------------------------------------------------------------
 */

struct text {
    char *out;
    size_t len, room;
};

static void put(struct text *t, char c)
{
    if (t->len + 1 < t->room)
        t->out[t->len] = c;
    t->len++;
}

static void put_text(struct text *t, const char *s)
{
    while (*s)
        put(t, *s++);
}

static void put_escaped(struct text *t, char c)
{
    if (c == '"' || c == '\\' || c == '\n')
        put(t, '\\');
    put(t, c == '\n' ? 'n' : c);
}

/* A pattern as an expression, for one that would be read in another way without quotes. */
static void put_pattern(struct text *t, const char *s)
{
    for (; *s; s++) {
        if (*s == '*')
            put(t, '.');
        else if (strchr(".[]{}()\\+?|^$", *s))
            put_escaped(t, '\\');
        put_escaped(t, *s);
    }
}

static int needs_quotes(const struct matcher *m)
{
    const char *s = m->value;

    if (m->kind == REGEX || !*s || *s == '"' || *s == '~')
        return 1;
    while (*s && !is_blank(*s) && (m->kind == LIKE || *s != '*'))
        s++;
    return *s != '\0';
}

static void print_one(struct text *t, const struct matcher *m)
{
    int quotes = needs_quotes(m), regex = m->kind == REGEX || (m->kind == LIKE && quotes);

    put_text(t, m->name);
    put_text(t, m->negated ? regex ? "!~" : "!=" : regex ? "=~" : "=");
    if (!quotes) {
        put_text(t, m->value);
        return;
    }
    put(t, '"');
    if (m->kind == LIKE)
        put_pattern(t, m->value);
    for (const char *s = m->value; *s && m->kind != LIKE; s++)
        put_escaped(t, *s);
    put(t, '"');
}

int32_t al_matchers_print(const struct al_matchers *m, char out[AL_MATCHERS_TEXT])
{
    struct text t = {.out = out, .room = AL_MATCHERS_TEXT};

    for (uint32_t i = 0; i < m->count; i++) {
        if (i)
            put(&t, ' ');
        print_one(&t, &m->at[i]);
    }
    out[t.len < t.room ? t.len : t.room - 1] = '\0';
    return t.len < t.room ? HD_OK : HD_EFULL;
}

/* --- asking ----------------------------------------------------------------------------------------------
 */

/* `value` NULL: there is none. */
static int holds(const struct matcher *m, const char *value)
{
    int hit = 0;

    switch (m->kind) {
    case IS:
        hit = strcmp(value ? value : "", m->value) == 0;
        break;
    case LIKE:
        hit = value && al_matches(m->value, value);
        break;
    case REGEX:
        hit = regexec(&m->regex, value ? value : "", 0, NULL, 0) == 0;
        break;
    }
    return hit != m->negated;
}

int32_t al_matchers_check(const struct al_matchers *m, struct hd_error *err)
{
    if (!m->count)
        return hd_error_set(err, HD_EINVAL, "what is to be silenced: rule=NAME or LABEL=VALUE");
    for (uint32_t i = 0; i < m->count; i++)
        if (!holds(&m->at[i], NULL))
            return HD_OK;
    return hd_error_set(err, HD_EINVAL,
                        "that holds for alerts without such labels, too: ask for a rule or a label besides");
}

const char *al_matchers_exact(const struct al_matchers *m, const char *name, uint32_t i)
{
    for (uint32_t k = 0; k < m->count; k++)
        if (m->at[k].kind == IS && !m->at[k].negated && strcmp(m->at[k].name, name) == 0 && !i--)
            return m->at[k].value;
    return NULL;
}

int al_matchers_meet(const struct al_matchers *m, const char *rule, const struct al_labels *labels)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct matcher *one = &m->at[i];

        if (!holds(one, strcmp(one->name, "rule") == 0 ? rule : al_labels_get(labels, one->name)))
            return 0;
    }
    return 1;
}
