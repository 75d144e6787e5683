/*
 * Allocation with one door, so that a test can make the Nth allocation fail and count what is outstanding.
 *
 * Release builds call malloc directly. Debug builds (HD_DEBUG) ask hd_alloc_fail_at first.
 */
#ifndef HD_BASE_ALLOC_H
#define HD_BASE_ALLOC_H

#include <stddef.h>
#include "base/check.h"

/* Each returns NULL when there is no memory; the caller copes. hd_calloc zeroes. */
void *hd_malloc(size_t size) HD_MUST_USE;
void *hd_calloc(size_t n, size_t size) HD_MUST_USE;
void *hd_realloc(void *p, size_t size) HD_MUST_USE;
void hd_free(void *p);
/* A NUL-terminated copy of `len` bytes; NULL when there is no memory. */
char *hd_strndup(const char *s, size_t len) HD_MUST_USE;
char *hd_strdup(const char *s) HD_MUST_USE;

/* Bytes that are allocated now, all threads together. */
size_t hd_alloc_total(void);

/* Test hook: the nth allocation from now on this thread fails once (1 = the next); 0 switches it off. */
void hd_alloc_fail_at(long nth);
/* Did the armed failure happen? */
int hd_alloc_failed(void);

#endif
