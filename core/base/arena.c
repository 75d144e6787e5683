/*
 * An arena of growing blocks; see arena.h.
 */
#include "base/arena.h"
#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_BLOCK 512
#define MAX_BLOCK   (64 * 1024)

struct hd_arena_block {
    struct hd_arena_block *older;
    size_t used, cap; /* of data */
    _Alignas(16) char data[];
};

void *hd_arena_alloc(struct hd_arena *a, size_t size)
{
    size_t need = (size + 15) & ~(size_t)15;
    struct hd_arena_block *b = a->head;
    void *p;

    if (!b || b->cap - b->used < need) {
        size_t cap = b ? b->cap * 2 : FIRST_BLOCK;

        if (cap > MAX_BLOCK)
            cap = MAX_BLOCK;
        if (cap < need)
            cap = need;
        b = hd_calloc(1, sizeof(*b) + cap);
        if (!b)
            return NULL;
        b->cap = cap;
        b->older = a->head;
        a->head = b;
        a->bytes += sizeof(*b) + cap;
    }
    p = b->data + b->used;
    b->used += need;
    return p;
}

char *hd_arena_strndup(struct hd_arena *a, const char *s, size_t len)
{
    char *p = hd_arena_alloc(a, len + 1);

    if (p && len)
        memcpy(p, s, len);
    return p;
}

char *hd_arena_strdup(struct hd_arena *a, const char *s)
{
    return hd_arena_strndup(a, s, strlen(s));
}

char *hd_arena_printf(struct hd_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *p;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    p = n < 0 ? NULL : hd_arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void hd_arena_free(struct hd_arena *a)
{
    while (a->head) {
        struct hd_arena_block *b = a->head;

        a->head = b->older;
        hd_free(b);
    }
    a->bytes = 0;
}
