/*
 * Kinds of statement as rules name them: sets of HD_KIND_BIT.
 */
#ifndef GUARD_KINDS_H
#define GUARD_KINDS_H

#include <howdah/howdah.h>

/* The set that a name in a rule stands for; 0 when there is no such name. */
uint64_t guard_kinds_named(struct hd_str name);
/* The name that is most like it, for messages. */
const char *guard_kinds_nearest(struct hd_str name);

#endif
