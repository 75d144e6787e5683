/*
 * Hints: a comment in a statement's text that says how its answer is to be kept. See rules.h.
 */
#include "rules.h"

#include <string.h>

#define MARK "howdah:"

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

uint64_t cache_read_duration(struct hd_str s)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t n = 0, i = 0;

    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && n < 1000000000u; i++)
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    for (size_t k = 0; i && k < sizeof(units) / sizeof(units[0]); k++)
        if (s.len - i == strlen(units[k].unit) && !memcmp(s.ptr + i, units[k].unit, s.len - i))
            return n * units[k].ms;
    return 0;
}

static int is(struct hd_str s, const char *word)
{
    return s.len == strlen(word) && !memcmp(s.ptr, word, s.len);
}

/* One KEY=VALUE. */
static void obey(struct hd_str word, struct cache_policy *policy)
{
    const char *equals = memchr(word.ptr, '=', word.len);
    struct hd_str key, value;
    uint64_t ms;

    if (!equals)
        return;
    key = (struct hd_str){word.ptr, (uint64_t)(equals - word.ptr)};
    value = (struct hd_str){equals + 1, word.len - key.len - 1};
    if (!is(key, "cache"))
        return;
    if (is(value, "off") || is(value, "no")) {
        policy->on = 0;
    } else if (is(value, "on") || is(value, "yes")) {
        policy->on = 1;
    } else if ((ms = cache_read_duration(value)) > 0) {
        policy->on = 1;
        policy->ttl_ms = ms;
    }
}

/* What stands in the comment that begins there, or NULL. */
static struct hd_str in_comment(const char *open, const char *end)
{
    const char *close = end - open > 4 ? memmem(open + 2, (size_t)(end - open) - 2, "*/", 2) : NULL;

    return close ? (struct hd_str){open + 2, (uint64_t)(close - open) - 2} : (struct hd_str){NULL, 0};
}

/* The comment that the text begins with, or else the one that it ends with: nowhere else can a quoted text
 * not look like one. */
static struct hd_str find_comment(struct hd_str sql)
{
    const char *p = sql.ptr, *end = sql.ptr + sql.len, *open;

    while (p < end && is_blank(*p))
        p++;
    if (end - p > 4 && p[0] == '/' && p[1] == '*')
        return in_comment(p, end);
    while (end > p && (is_blank(end[-1]) || end[-1] == ';'))
        end--;
    if (end - p < 4 || end[-1] != '/' || end[-2] != '*')
        return (struct hd_str){NULL, 0};
    for (open = end - 4; open > p && !(open[0] == '/' && open[1] == '*'); open--)
        ;
    return open > p ? in_comment(open, end) : (struct hd_str){NULL, 0};
}

/* What follows the mark. */
static struct hd_str find_hint(struct hd_str sql)
{
    struct hd_str c = find_comment(sql);

    while (c.len && is_blank(*c.ptr)) {
        c.ptr++;
        c.len--;
    }
    if (c.len <= strlen(MARK) || memcmp(c.ptr, MARK, strlen(MARK)) != 0)
        return (struct hd_str){NULL, 0};
    return (struct hd_str){c.ptr + strlen(MARK), c.len - strlen(MARK)};
}

void cache_rules_hint(const struct cache_rules *rules, struct hd_str sql, struct cache_policy *policy)
{
    struct hd_str hint = rules->hints && sql.len ? find_hint(sql) : (struct hd_str){NULL, 0};
    uint64_t i = 0;

    policy->hint = hint;
    while (i < hint.len) {
        uint64_t from;

        while (i < hint.len && is_blank(hint.ptr[i]))
            i++;
        for (from = i; i < hint.len && !is_blank(hint.ptr[i]); i++)
            ;
        if (i > from)
            obey((struct hd_str){hint.ptr + from, i - from}, policy);
    }
}
