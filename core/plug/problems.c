/*
 * The list of a configuration's problems; see problems.h.
 */
#include "plug/problems.h"

#include <stdio.h>

#define LINE_BYTES 1024

void hd_problems_free(struct hd_problems *p)
{
    hd_arena_free(&p->arena);
    *p = (struct hd_problems)HD_PROBLEMS_INIT;
}

__attribute__((format(printf, 4, 0))) static void add(struct hd_problems *p, int warning, const char *origin,
                                                      const char *fmt, va_list ap)
{
    char line[LINE_BYTES];
    struct hd_problem *n;

    if (p->errors + p->warnings < HD_PROBLEMS_MAX) {
        vsnprintf(line, sizeof(line), fmt, ap);
        n = hd_arena_alloc(&p->arena, sizeof(*n));
        if (n)
            n->text = hd_arena_printf(&p->arena, "%s%s%s", origin ? origin : "", origin ? ": " : "", line);
        if (n && n->text) {
            n->warning = warning;
            if (p->last)
                p->last->next = n;
            else
                p->first = n;
            p->last = n;
        } else {
            p->no_memory = 1;
        }
    }
    if (warning)
        p->warnings++;
    else
        p->errors++;
}

void hd_problem(struct hd_problems *p, const char *origin, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(p, 0, origin, fmt, ap);
    va_end(ap);
}

void hd_problem_warning(struct hd_problems *p, const char *origin, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(p, 1, origin, fmt, ap);
    va_end(ap);
}

void hd_problem_memory(struct hd_problems *p)
{
    p->no_memory = 1;
}

const char *hd_problems_first(const struct hd_problems *p)
{
    for (const struct hd_problem *n = p->first; n; n = n->next)
        if (!n->warning)
            return n->text;
    return p->no_memory ? "no memory" : "";
}
