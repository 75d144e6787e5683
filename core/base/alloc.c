/*
 * Allocation with one door; see alloc.h. The failure counter is per thread, so a test arms exactly the code
 * that it runs.
 */
#include "base/alloc.h"

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

void *hd_malloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *hd_calloc(size_t n, size_t size)
{
    return must_fail() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *hd_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : realloc(p, size ? size : 1);
}

void hd_free(void *p)
{
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
