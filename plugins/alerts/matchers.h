/*
 * Matchers: what a silence asks of an alert. NAME=VALUE, in which * stands for anything; NAME="VALUE", which
 * is meant as it stands, blanks and stars too; NAME=~"REGEX", a POSIX extended expression of the whole value;
 * and
 * != and !~, which must not hold. NAME is a label's, or "rule". A label that an alert has not is as an empty
 * one.
 */
#ifndef ALERTS_MATCHERS_H
#define ALERTS_MATCHERS_H

#include "alerts/labels.h"

#define AL_SILENCE_MATCHERS 32
#define AL_MATCHERS_TEXT    1000 /* bytes of all of them as text, the NUL included */

struct al_matchers;

/* None yet; NULL: no memory. */
struct al_matchers *al_matchers_new(void);
void al_matchers_free(struct al_matchers *m);
/* Adds the matchers of a text. `word`: it is one whole word, so that blanks belong to a value that is not
 * quoted; else they part matchers. HD_EINVAL says which is wrong, and where; HD_ENOMEM. */
int32_t al_matchers_add(struct al_matchers *m, const char *text, int word, struct hd_error *err);
/* Is there one, and do they ask for something? HD_OK or HD_EINVAL. */
int32_t al_matchers_check(const struct al_matchers *m, struct hd_error *err);
/* As text that al_matchers_add reads as the same. HD_EFULL: there is no room. */
int32_t al_matchers_print(const struct al_matchers *m, char out[AL_MATCHERS_TEXT]);
/* The i-th value that a label or "rule" must have to the letter; NULL: there are no more. */
const char *al_matchers_exact(const struct al_matchers *m, const char *name, uint32_t i);
int al_matchers_meet(const struct al_matchers *m, const char *rule, const struct al_labels *labels);

#endif
