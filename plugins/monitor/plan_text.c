/* Plans as text; see plan_text.h. */
#include "plan_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define COSTS "  (cost="

/* --- literals
 * --------------------------------------------------------------------------------------------------- */

struct mask {
    const char *at, *end;
    char *out;
    size_t len;
};

static void put(struct mask *m, char c)
{
    m->out[m->len++] = c;
}

static int in_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '"' || (unsigned char)c >= 0x80;
}

/* Behind the quote that ends what begins here; one that is doubled does not. */
static const char *behind_quote(const struct mask *m)
{
    const char *p = m->at + 1;

    for (; p < m->end; p++)
        if (*p == *m->at && (p + 1 == m->end || p[1] != *m->at))
            return p + 1;
        else if (*p == *m->at)
            p++;
    return m->end;
}

static void copy_to(struct mask *m, const char *end)
{
    while (m->at < end)
        put(m, *m->at++);
}

static int follows(const struct mask *m, const char *word)
{
    size_t n = strlen(word);

    return m->len >= n && memcmp(m->out + m->len - n, word, n) == 0;
}

/* Numbers that the planner has chosen are no literals. */
static int is_the_planners(const struct mask *m)
{
    return follows(m, "Plan ") || follows(m, "Workers Planned: ") || follows(m, "Subplans Removed: ");
}

static void mask_number(struct mask *m)
{
    const char *p = m->at;

    while (p < m->end && (isdigit((unsigned char)*p) || *p == '.' || *p == 'e' ||
                          ((*p == '+' || *p == '-') && p[-1] == 'e')))
        p++;
    if (is_the_planners(m)) {
        copy_to(m, p);
        return;
    }
    m->at = p;
    put(m, '?');
}

static void mask_next(struct mask *m)
{
    size_t left = (size_t)(m->end - m->at);
    const char *p;

    if (*m->at == '"') {
        copy_to(m, behind_quote(m));
    } else if (*m->at == '\'') {
        m->at = behind_quote(m);
        put(m, '?');
    } else if (left > strlen(COSTS) && memcmp(m->at, COSTS, strlen(COSTS)) == 0) {
        p = memchr(m->at, ')', left);
        copy_to(m, p ? p + 1 : m->end);
    } else if (isdigit((unsigned char)*m->at) && !(m->len && in_name(m->out[m->len - 1]))) {
        mask_number(m);
    } else {
        put(m, *m->at++);
    }
}

char *mon_plan_mask(const struct hd_str *lines, uint32_t count, size_t max)
{
    struct mask m = {0};
    size_t all = 1;
    char *text, *to;

    for (uint32_t i = 0; i < count; i++)
        all += (size_t)lines[i].len + 1;
    to = text = malloc(all);
    m.out = malloc(all + 4);
    if (!text || !m.out) {
        free(text);
        free(m.out);
        return NULL;
    }
    /* A literal with a line's end in it stands on two lines: they are looked at together. */
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            *to++ = '\n';
        if (lines[i].len)
            memcpy(to, lines[i].ptr, (size_t)lines[i].len);
        to += lines[i].len;
    }
    m.at = text;
    m.end = to;
    while (m.at < m.end && m.len < max)
        mask_next(&m);
    if (m.at < m.end) {
        m.len = m.len < max ? m.len : max;
        while (m.len && ((unsigned char)m.out[m.len - 1] & 0xC0) == 0x80) /* perhaps a part of a character */
            m.len--;
        m.len -= m.len && (unsigned char)m.out[m.len - 1] >= 0xC0;
        memcpy(m.out + m.len, "...", 3);
        m.len += 3;
    }
    m.out[m.len] = 0;
    free(text);
    return m.out;
}

/* --- the shape
 * ------------------------------------------------------------------------------------------------------ */

/* What is behind it says how the query is compiled, which hangs on its cost. */
static int is_end(const char *line)
{
    return !*line || strncmp(line, "JIT:", 4) == 0;
}

/* The next line without costs, and with # for numbers; 0: there is none. */
static int next_line(const char **at, char *line, size_t room)
{
    size_t n = 0, len = strcspn(*at, "\n");
    const char *p = *at, *end = p + len, *costs = NULL;

    if (is_end(p))
        return 0;
    for (const char *q = p; q + strlen(COSTS) <= end; q++)
        if (memcmp(q, COSTS, strlen(COSTS)) == 0)
            costs = q;
    if (costs)
        end = costs;
    for (; p < end && n < room - 1; p++)
        if (!isdigit((unsigned char)*p) || (n && in_name(line[n - 1])))
            line[n++] = *p;
        else if (!n || line[n - 1] != '#')
            line[n++] = '#';
    line[n] = 0;
    *at += len + ((*at)[len] == '\n');
    return 1;
}

uint64_t mon_plan_shape(const char *plan)
{
    uint64_t hash = 0;
    char line[4096];

    while (next_line(&plan, line, sizeof(line)))
        hash = XXH3_64bits_withSeed(line, strlen(line) + 1, hash);
    return hash ? hash : 1;
}

static const char *stripped(const char *line)
{
    line += strspn(line, " ");
    if (strncmp(line, "->", 2) == 0)
        line += 2;
    return line + strspn(line, " ");
}

void mon_plan_difference(const char *before, const char *now, char *out, size_t room)
{
    char a[512], b[512];
    int more_a, more_b;

    do {
        a[0] = b[0] = 0;
        more_a = next_line(&before, a, sizeof(a));
        more_b = next_line(&now, b, sizeof(b));
    } while (more_a && more_b && strcmp(stripped(a), stripped(b)) == 0);
    snprintf(out, room, "%s -> %s", more_a ? stripped(a) : "nothing", more_b ? stripped(b) : "nothing");
}
