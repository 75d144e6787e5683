/*
 * An arena: many small allocations that die together (a parsed configuration, a template's facts).
 */
#ifndef HD_BASE_ARENA_H
#define HD_BASE_ARENA_H

#include <stddef.h>

struct hd_arena_block;

struct hd_arena {
    struct hd_arena_block *head; /* the block that is being filled; older ones hang behind it */
    size_t bytes;                /* memory held, blocks' heads included */
};

#define HD_ARENA_INIT                                                                                        \
    {                                                                                                        \
        NULL, 0                                                                                              \
    }

/* 16-byte aligned, zeroed memory that lives until hd_arena_free; NULL when there is none. */
void *hd_arena_alloc(struct hd_arena *a, size_t size);
char *hd_arena_strndup(struct hd_arena *a, const char *s, size_t len);
char *hd_arena_strdup(struct hd_arena *a, const char *s);
char *hd_arena_printf(struct hd_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hd_arena_free(struct hd_arena *a);

#endif
