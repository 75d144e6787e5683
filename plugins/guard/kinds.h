/*
 * Kinds of statement as rules name them, and the kinds that a text holds.
 */
#ifndef GUARD_KINDS_H
#define GUARD_KINDS_H

#include <howdah/howdah.h>

/* A set of HD_KIND_…: bit n is kind n. */
#define GUARD_KIND(kind) (UINT64_C(1) << (kind))

/* The set that a name in a rule stands for; 0 when there is no such name. */
uint64_t guard_kinds_named(struct hd_str name);
/* The name that is most like it, for messages. */
const char *guard_kinds_nearest(struct hd_str name);

/*
 * Every kind that the text may hold: each of its statements, what EXPLAIN, PREPARE, DECLARE or COPY wrap, and
 * the INSERT, UPDATE, DELETE or MERGE of a WITH. Rather one too many than one too few, because rules refuse
 * by it.
 */
uint64_t guard_kinds_of(const struct hd_template_info *info);

#endif
