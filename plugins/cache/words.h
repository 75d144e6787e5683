/*
 * Words that stand for the time where a date is expected: 'now', 'today', 'tomorrow', 'yesterday'. Nothing in
 * the facts of a statement tells them from other literals.
 */
#ifndef CACHE_WORDS_H
#define CACHE_WORDS_H

#include <howdah/howdah.h>

/* Might the text, or one of the parameters, hold such a word? A backslash or U& in the text may hide one. */
int cache_has_time_words(const struct hd_statement *st);

#endif
