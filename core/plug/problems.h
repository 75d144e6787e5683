/*
 * What is wrong with a configuration: a bounded list of lines, each with its place ("file.ini:12"), so that
 * one run of `howdahd -t` shows everything there is to mend and not only the first fault.
 */
#ifndef HD_PLUG_PROBLEMS_H
#define HD_PLUG_PROBLEMS_H

#include <stdarg.h>

#include "base/arena.h"

/* Lines that are kept; those past it are only counted. */
#define HD_PROBLEMS_MAX 200

struct hd_problem {
    struct hd_problem *next;
    int warning;      /* 1: the configuration works all the same */
    const char *text; /* "file.ini:12: what is wrong and what would be right" */
};

struct hd_problems {
    struct hd_arena arena;
    struct hd_problem *first, *last;
    unsigned errors, warnings;
    int no_memory; /* a line was lost, or the work could not be done, for want of memory; counts as an error
                    */
};

#define HD_PROBLEMS_INIT                                                                                     \
    {                                                                                                        \
        HD_ARENA_INIT, NULL, NULL, 0, 0, 0                                                                   \
    }

void hd_problems_free(struct hd_problems *p);

/* Adds an error; `origin` may be NULL. */
void hd_problem(struct hd_problems *p, const char *origin, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds a warning. */
void hd_problem_warning(struct hd_problems *p, const char *origin, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Notes that there was no memory. */
void hd_problem_memory(struct hd_problems *p);

/* Is there anything that forbids using this configuration? */
static inline int hd_problems_any(const struct hd_problems *p)
{
    return p->errors > 0 || p->no_memory;
}

/* The first error's text, or "" when there is none; for callers that have room for one line. */
const char *hd_problems_first(const struct hd_problems *p);

#endif
