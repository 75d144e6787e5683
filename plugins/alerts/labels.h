/*
 * Labels of a series or an alert: copied, in the order of their names, and compared as a whole. And the small
 * things that all files of the plugin need.
 */
#ifndef ALERTS_LABELS_H
#define ALERTS_LABELS_H

#include <howdah/howdah.h>

#define AL_LABELS_MAX 8
#define AL_TEXT_MAX   512 /* bytes of labels as text, the NUL included */

struct al_labels {
    uint32_t count;
    uint32_t bytes; /* of the whole allocation */
    struct hd_label at[AL_LABELS_MAX];
    char text[];
};

/* Copies of them, in UTF-8; more than AL_LABELS_MAX are left out. NULL: no memory. Freed with free(). */
struct al_labels *al_labels_new(const struct hd_label *labels, uint32_t count);
struct al_labels *al_labels_copy(const struct al_labels *l);
int al_labels_equal(const struct al_labels *a, const struct al_labels *b);
/* The value of a label, NULL where there is none. */
const char *al_labels_get(const struct al_labels *l, const char *name);
/* name="value",… cut to fit. */
void al_labels_print(const struct al_labels *l, char *out, size_t room);
/* Sixteen hexadecimal digits and a NUL for a rule and its labels, the same everywhere. */
void al_id(const char *rule, const struct al_labels *l, char out[17]);
/* 64 bits of a text, well mixed; the same everywhere. Goes on from `seed`. */
uint64_t al_hash(uint64_t seed, const char *text);

/* Does a text match a pattern in which * stands for anything? */
int al_matches(const char *pattern, const char *text);

#endif
