/* Names with wildcards; see pattern.h. */
#include "pattern.h"

#include <string.h>

int guard_wildcard(struct hd_str p, struct hd_str t)
{
    uint64_t i = 0, j = 0, star = UINT64_MAX, from = 0;

    while (j < t.len) {
        if (i < p.len && p.ptr[i] == '*') {
            star = i++;
            from = j;
        } else if (i < p.len && p.ptr[i] == t.ptr[j]) {
            i++;
            j++;
        } else if (star != UINT64_MAX) {
            i = star + 1; /* the last star takes one character more */
            j = ++from;
        } else {
            return 0;
        }
    }
    while (i < p.len && p.ptr[i] == '*')
        i++;
    return i == p.len;
}

int32_t guard_pattern_parse(struct hd_str text, struct guard_pattern *out)
{
    const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;

    memset(out, 0, sizeof(*out));
    out->name = text;
    if (dot) {
        out->schema.ptr = text.ptr;
        out->schema.len = (uint64_t)(dot - text.ptr);
        out->name.ptr = dot + 1;
        out->name.len = text.len - out->schema.len - 1;
        if (!out->schema.len || (out->name.len && memchr(out->name.ptr, '.', out->name.len)))
            return HD_EINVAL;
    }
    return out->name.len ? HD_OK : HD_EINVAL;
}

int guard_pattern_means(const struct guard_pattern *p, struct hd_str schema, struct hd_str name,
                        const struct hd_str *path, uint32_t path_count)
{
    if (!guard_wildcard(p->name, name))
        return 0;
    if (!p->schema.len)
        return 1;
    if (schema.len)
        return guard_wildcard(p->schema, schema);
    if (!memchr(p->name.ptr, '*', p->name.len))
        return 1;
    for (uint32_t i = 0; i < path_count; i++)
        if (guard_wildcard(p->schema, path[i]))
            return 1;
    return 0;
}
