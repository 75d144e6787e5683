/*
 * Allocation with one door; see alloc.h. The failure counter is per thread, so a test arms exactly the code
 * that it runs.
 */
#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local long fail_in;
static _Thread_local int failed;

void hd_alloc_fail_at(long nth)
{
    fail_in = nth;
    failed = 0;
}

int hd_alloc_failed(void)
{
    return failed;
}

static inline int must_fail(void)
{
#ifdef HD_DEBUG
    if (HD_UNLIKELY(fail_in > 0) && --fail_in == 0) {
        failed = 1;
        return 1;
    }
#endif
    return 0;
}

/* Each thread counts for itself, as far as the places go; what one allocated and another freed makes their
 * counts wrong, but not the sum. */
#define PLACES 64

struct place {
    _Atomic long bytes;
    char apart[64 - sizeof(_Atomic long)];
};

static struct place places[PLACES];
static _Atomic unsigned next_place;
static _Thread_local struct place *mine;

static inline void count(long n)
{
    if (HD_UNLIKELY(!mine))
        mine = &places[atomic_fetch_add_explicit(&next_place, 1, memory_order_relaxed) % PLACES];
    atomic_fetch_add_explicit(&mine->bytes, n, memory_order_relaxed);
}

static inline void *counted(void *p)
{
    if (p)
        count((long)malloc_usable_size(p));
    return p;
}

size_t hd_alloc_total(void)
{
    long sum = 0;

    for (int i = 0; i < PLACES; i++)
        sum += atomic_load_explicit(&places[i].bytes, memory_order_relaxed);
    return sum > 0 ? (size_t)sum : 0;
}

void *hd_malloc(size_t size)
{
    return must_fail() ? NULL : counted(malloc(size ? size : 1));
}

void *hd_calloc(size_t n, size_t size)
{
    return must_fail() ? NULL : counted(calloc(n ? n : 1, size ? size : 1));
}

void *hd_realloc(void *p, size_t size)
{
    long before = p ? (long)malloc_usable_size(p) : 0;
    void *q = must_fail() ? NULL : realloc(p, size ? size : 1);

    if (q)
        count((long)malloc_usable_size(q) - before);
    return q;
}

void hd_free(void *p)
{
    if (p)
        count(-(long)malloc_usable_size(p));
    free(p);
}

char *hd_strndup(const char *s, size_t len)
{
    char *copy = hd_malloc(len + 1);

    if (!copy)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = 0;
    return copy;
}

char *hd_strdup(const char *s)
{
    return hd_strndup(s, strlen(s));
}
