/*
 * How a text is keyed, for the table and the caches in front of it. Private to them.
 */
#ifndef HD_SQL_TEMPLATE_KEY_H
#define HD_SQL_TEMPLATE_KEY_H

#include "sql/template.h"

#define HD_KEY_EXACT 0x80000000u /* beside HD_TEMPLATE_*: a key of a whole text, not of a template */

static inline struct hd_hash128 hd_key_tag(struct hd_hash128 h, uint32_t tag)
{
    h.hi ^= (uint64_t)tag * 0x9e3779b97f4a7c15u;
    return h;
}

static inline struct hd_hash128 hd_key_text(const char *sql, size_t len, uint32_t tag)
{
    return hd_key_tag(hd_hash128(sql, len), tag);
}

/* Of all texts that are too long. */
static inline struct hd_hash128 hd_key_too_long(void)
{
    return (struct hd_hash128){1, 1};
}

/* The template's key. A text that is not sure has a template of its own. */
static inline struct hd_hash128 hd_key_template(const char *sql, size_t len, const struct hd_scan *scan,
                                                uint32_t flags)
{
    if ((flags & HD_TEMPLATE_NONSTANDARD) || scan->flags)
        return hd_key_text(sql, len, flags | 2);
    return scan->key;
}

/* The table's limit on texts. */
size_t hd_templates_text_limit(const struct hd_templates *ts);
/* hd_template_get by a key that is known already. */
struct hd_template *hd_template_get_keyed(struct hd_templates *ts, struct hd_hash128 key, const char *sql,
                                          size_t len, const struct hd_scan *scan, uint32_t flags) HD_MUST_USE;

#endif
