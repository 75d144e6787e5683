/*
 * Reading INI files, on inih. What inih would pass over or cut (empty sections, line numbers, long lines,
 * names, comments behind continued lines) is seen to here, so that every key has its place and nothing is
 * lost quietly.
 *
 *     [kind name]              sections may be empty; a header has a line of its own
 *     key = value              ; a comment: a blank and a semicolon end a value
 *     key = a,                 # no comment: only a line can start with #
 *         b                    an indented line continues the value, with one blank between
 *     key = ${HOME} ${PORT:-5432} $$5     the environment's, with a default, and a dollar
 */
#ifndef HD_HOST_INI_H
#define HD_HOST_INI_H

#include <stddef.h>

#include "base/arena.h"
#include "plug/options.h"

/* A file that is larger is not a configuration. */
#define HD_INI_FILE_BYTES (4u << 20)

/* What stood in the files, in their order. Strings and arrays live in the arena. */
struct hd_ini {
    struct hd_arena arena;
    struct hd_raw_section *sections;
    uint32_t count;
    uint32_t cap;
};

/* Reads one file, or all *.ini and *.conf files of a folder in lexical order. Faults go to `problems`; what
 * could be read is there all the same. */
void hd_ini_read(struct hd_ini *ini, const char *path, struct hd_problems *problems);
/* Reads from memory; `name` is what stands before the line's number, `dir` where relative paths start. */
void hd_ini_parse(struct hd_ini *ini, const char *name, const char *dir, const char *bytes, size_t len,
                  struct hd_problems *problems);
void hd_ini_free(struct hd_ini *ini);

#endif
