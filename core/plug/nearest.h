/*
 * "Did you mean …?": the candidate that lies nearest to a mistyped word. Needs no memory; candidates are
 * offered one at a time, from whatever they are kept in.
 */
#ifndef HD_PLUG_NEAREST_H
#define HD_PLUG_NEAREST_H

#include <stddef.h>

struct hd_nearest {
    const char *word;
    const char *best; /* borrowed from the candidates */
    size_t distance;  /* of best */
};

static inline struct hd_nearest hd_nearest_start(const char *word)
{
    return (struct hd_nearest){.word = word};
}

/* Considers one candidate; keeps it when it is nearer than the best so far. */
void hd_nearest_offer(struct hd_nearest *n, const char *candidate);
/* The best candidate, or NULL when none is near enough to be what was meant. */
const char *hd_nearest_end(const struct hd_nearest *n);
/* The whole question for an array. */
const char *hd_nearest(const char *word, const char *const *candidates, size_t count);

/* Edits (insert, delete, replace, swap of neighbours; upper and lower case are alike) that lead from a to b.
 */
size_t hd_edit_distance(const char *a, const char *b);

#endif
