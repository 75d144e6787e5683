/*
 * Templates: what all executions of one normalized text share. Immutable and counted; found through two
 * levels.
 *
 * hd_templates is the process's table, behind a mutex, bounded. In front of it each worker has a
 * hd_template_cache of its own, bounded too, which finds a template without a lock and without allocating: by
 * the text as it is (extended protocol), or by the text without its literals (simple protocol). The cache's
 * entries carry the caller's plan for the template.
 */
#ifndef HD_SQL_TEMPLATE_H
#define HD_SQL_TEMPLATE_H

#include <stddef.h>
#include <stdint.h>
#include <howdah/types.h>

#include "base/check.h"
#include "base/hash.h"
#include "sql/facts.h"
#include "sql/scan.h"

/* Flags of a look-up, and part of the key. */
/* standard_conforming_strings is off, or the client's encoding has bytes below 128 inside characters: the
 * text is not looked into. */
#define HD_TEMPLATE_NONSTANDARD 1u

/* Texts of more bytes than this have no template of their own, unless set otherwise. */
#define HD_TEMPLATE_TEXT_LIMIT (64u * 1024)

struct hd_template {
    struct hd_hash128 key;
    uint64_t fingerprint;          /* of `text`; the same in every process */
    const struct hd_facts *facts;  /* never NULL */
    uint32_t flags;                /* HD_TEMPLATE_* */
    uint32_t n_params, n_literals; /* as in the scan; 0 where the text was not looked into */
    _Atomic uint32_t refs;
    uint32_t place;           /* in the table's ring; the table's own */
    struct hd_template *next; /* in the table's bucket; the table's own */
    uint8_t used;             /* since the table's hand passed; the table's own */
    uint32_t len;             /* of text */
    char text[];              /* normalized, NUL-terminated; "<unsure> …" where it is not; safe to log */
};

/* Counted references; [any]. Hold returns its argument; release of NULL does nothing. */
struct hd_template *hd_template_hold(const struct hd_template *t);
void hd_template_release(const struct hd_template *t);

/* The length of a text without semicolons and blanks at the end, which change nothing: at worst they end a
 * comment early. Texts are looked up without them. */
size_t hd_template_trim(const char *sql, size_t len);

/* --- the process's table; [any] --- */

struct hd_templates;

struct hd_templates_stats {
    uint64_t entries, max, bytes;
    uint64_t hits, misses, evictions; /* since start */
};

/* A table of at most `max` templates. Full, it lets the least used go; who holds one keeps it. */
struct hd_templates *hd_templates_new(size_t max) HD_MUST_USE;
/* After every cache in front of it. */
void hd_templates_free(struct hd_templates *ts);
void hd_templates_set_text_limit(struct hd_templates *ts, size_t bytes);
void hd_templates_stats(struct hd_templates *ts, struct hd_templates_stats *out);

/* The template of a text that `scan` is the scan of, made if need be; held for the caller. NULL: no memory.
 * For NONSTANDARD the scan is not looked at. sql NULL, or a text over the limit: the template of all such
 * texts. */
struct hd_template *hd_template_get(struct hd_templates *ts, const char *sql, size_t len,
                                    const struct hd_scan *scan, uint32_t flags) HD_MUST_USE;

/* --- a worker's cache; one thread's --- */

struct hd_template_cache;

struct hd_template_entry {
    struct hd_template *tmpl;
    void *plan;               /* the caller's; given to `drop` when the entry goes */
    uint32_t plan_generation; /* the caller's; 0 at first, as plan is NULL */
};

struct hd_template_cache_stats {
    uint64_t entries, max;
    uint64_t hits, misses, evictions; /* since start */
};

/* A cache of at most `max` templates. drop(plan) is called for each entry that goes, also where plan is NULL.
 */
struct hd_template_cache *hd_template_cache_new(struct hd_templates *ts, size_t max,
                                                void (*drop)(void *plan)) HD_MUST_USE;
void hd_template_cache_free(struct hd_template_cache *c);

/* The entry of a text, by its normalization; it stands until the next look-up in this cache. NULL: no memory.
 * sql NULL: a text too long to be at hand. */
struct hd_template_entry *hd_template_cache_query(struct hd_template_cache *c, const char *sql, size_t len,
                                                  uint32_t flags) HD_MUST_USE;
/* The same, looked up by the exact text first: for texts that come again as they are. */
struct hd_template_entry *hd_template_cache_exact(struct hd_template_cache *c, const char *sql, size_t len,
                                                  uint32_t flags) HD_MUST_USE;
/* The entry of a template that the caller holds. */
struct hd_template_entry *hd_template_cache_entry(struct hd_template_cache *c,
                                                  struct hd_template *t) HD_MUST_USE;
/* The scan of the text that hd_template_cache_query looked up last: its literals' places. Empty behind the
 * other look-ups, and where the text was not looked into. */
const struct hd_scan *hd_template_cache_scan(const struct hd_template_cache *c);
void hd_template_cache_stats(const struct hd_template_cache *c, struct hd_template_cache_stats *out);

#endif
