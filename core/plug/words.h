/*
 * A console line taken apart: words, 'quoted' and "quoted" words, comments, a closing semicolon. A "quoted
 * value" directly behind = or ~ belongs to its word, quotes and all: LABEL="a b".
 */
#ifndef HD_PLUG_WORDS_H
#define HD_PLUG_WORDS_H

#include <howdah/types.h>
#include <stddef.h>

#include "base/arena.h"

#define HD_WORDS_MAX   64
#define HD_WORDS_BYTES 65536 /* of a line */

struct hd_words {
    size_t count;
    struct hd_str word[HD_WORDS_MAX]; /* NUL-terminated behind their length; quotes are taken off */
    unsigned char quoted[HD_WORDS_MAX];
    size_t end[HD_WORDS_MAX]; /* where in the line the word ends */
};

/* Words live in the arena; those before what is wrong are there in any case. HD_EINVAL, with what is wrong,
 * for an unclosed quote or comment, more than one command, a NUL byte, too many words or too long a line. */
int hd_words_parse(struct hd_words *w, struct hd_arena *arena, const char *text, size_t len,
                   struct hd_error *err);

#endif
