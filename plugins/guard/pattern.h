/*
 * Names with wildcards: "*" stands for any run of characters, everything else for itself.
 */
#ifndef GUARD_PATTERN_H
#define GUARD_PATTERN_H

#include <howdah/types.h>

/* "schema.name" or "name". The strings belong to whoever made it. */
struct guard_pattern {
    struct hd_str schema; /* empty: any */
    struct hd_str name;
};

int guard_wildcard(struct hd_str pattern, struct hd_str text);

/* Splits at the dot. HD_EINVAL when a part is empty, or there are several dots. */
int32_t guard_pattern_parse(struct hd_str text, struct guard_pattern *out);

/* Does the pattern mean this table or function? A name without a schema may be found in any schema of `path`;
 * and where the pattern says the very name, in any schema at all. */
int guard_pattern_means(const struct guard_pattern *p, struct hd_str schema, struct hd_str name,
                        const struct hd_str *path, uint32_t path_count);

#endif
