/*
 * Tags: names of one's own for answers, by which they can be ended: "client:42". A rule's tag may have the
 * values in it that the statement compares columns with: "client:{client_id}". What a tag stands for is a
 * validity cell as a table's rows are: some names share one.
 *
 * An answer hangs on the cells of its tags. So that patterns need no list of names, it hangs on two more:
 * that of the tag's group, which is what stands before its first colon, and that of all tags. A tag whose
 * value cannot be told is any of its group.
 */
#ifndef CACHE_TAGS_H
#define CACHE_TAGS_H

#include <howdah/howdah.h>

#include "epochs.h"

struct cache;
struct cache_policy;

#define CACHE_TAG_BYTES 128 /* longest tag */
#define CACHE_TAG_NAMES 32  /* of one answer; of more it is as if they could not be told */
#define CACHE_TAG_MARKS 48  /* cells of one answer */

/* Cells that an answer hangs on by its tags. */
struct cache_tagged {
    uint32_t count;
    struct cache_cell *cells[CACHE_TAG_MARKS];
};

/* Is it a tag as rules may have them? HD_OK, or says in err what is wrong with it. */
int32_t cache_tag_check(struct hd_str tag, struct hd_error *err);

/* The tags of an execution, within statement(). [worker] */
void cache_tags_find(struct cache *self, const struct cache_policy *policy, const struct hd_statement *st,
                     struct cache_tagged *out);

/* What of a rule's tag stands for a column, one after the other from *at on; 0: no more. */
int cache_tag_column(struct hd_str tag, uint64_t *at, struct hd_str *column);
/* The $n that a column is compared with by = or IN, from comparison *at on; 0: no more. */
int cache_tag_numbers(const struct hd_template_v1 *templates, const hd_template *t, struct hd_str column,
                      uint32_t *at, uint32_t *first, uint32_t *count);
/* The names that a rule's tag has by the literals of a text, one by one. [control] */
void cache_tag_names(struct cache *self, struct hd_str tag, const hd_template *t, struct hd_str sql,
                     void (*name)(void *arg, struct hd_str name), void *arg);
/* The next tag of a hint's words, from *at on; 0: no more. */
int cache_tag_hinted(struct hd_str hint, uint64_t *at, struct hd_str *tag);

/* What stands before the first colon, with it; empty: nothing. */
struct hd_str cache_tag_group(struct hd_str name);
/* What in a pattern is none of itself. */
#define CACHE_TAG_SIGNS "*?[\\"

/* Ends what has this tag. [any] */
void cache_tags_end(struct cache *self, struct hd_str tag);
/* Ends what has a tag that the pattern matches, and maybe more. [any] */
void cache_tags_end_like(struct cache *self, const char *pattern);

/* The cells that a name without a value of its own hangs on: its group's, where it has one, and all's. How
 * many they are. */
uint32_t cache_tag_groups(struct cache_epochs *e, struct hd_str name, struct cache_cell *out[2]);

#endif
