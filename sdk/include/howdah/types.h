/*
 * Small types that all public headers share: borrowed strings, and the opaque objects of the host.
 *
 * Thread tags on callbacks and functions in these headers:
 *   [control]  the host's control thread; must not block for long
 *   [worker]   a session's own event loop; runs on several workers at the same time; must not block
 *   [job]      a thread of the job pool; may block; never two calls at a time for one instance
 *   [any]      any thread, the plugin's own included
 *
 * Strings are borrowed for the duration of the call that passes them unless their comment says otherwise.
 * Whoever allocates a thing frees it.
 */
#ifndef HOWDAH_TYPES_H
#define HOWDAH_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <howdah/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that belong to somebody else; not necessarily NUL-terminated, unless said so. Since ABI 0.1. */
struct hd_str {
    const char *ptr; /* may be NULL when len is 0 */
    uint64_t len;    /* bytes */
};

/* A list of borrowed strings. Since ABI 0.1. */
struct hd_str_list {
    const struct hd_str *items;
    uint64_t count;
};

/* Objects of the host; a plugin only ever holds pointers to them. */
typedef struct hd_host hd_host;                 /* what the host is to one plugin instance */
typedef struct hd_template hd_template;         /* what all executions of one normalized SQL text share */
typedef struct hd_dependencies hd_dependencies; /* what a template hangs on in one database */
typedef struct hd_result hd_result;             /* the answer of a command while it is being built */
typedef struct hd_timer hd_timer;               /* a timer on a loop */
typedef struct hd_watch hd_watch;               /* a watched file descriptor */

/* Is there a member in the struct that the other side has handed over, which may be older than this header?
 * Part of the header, not of the host. [any] Since ABI 0.1. */
#define HD_HAS(p, member) ((const char *)&(p)->member + sizeof((p)->member) <= (const char *)(p) + (p)->size)

/* The text of a C string, which it borrows; NULL: the empty one. Part of the header, not of the host. [any]
 * Since ABI 0.1. */
static inline struct hd_str hd_str_of(const char *s)
{
    struct hd_str text = {s, s ? strlen(s) : 0};

    return text;
}

/* A copy with a NUL behind it, for free(); NULL: no memory. Part of the header, not of the host. [any] Since
 * ABI 0.1. */
static inline char *hd_str_dup(struct hd_str s)
{
    char *copy = (char *)malloc((size_t)s.len + 1);

    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.ptr, (size_t)s.len);
    copy[s.len] = '\0';
    return copy;
}

/* The decimal number that a word is, from 1 to 999999999; 0: it is none. Part of the header, not of the host.
 * [any] Since ABI 0.1. */
static inline uint64_t hd_str_number(struct hd_str word)
{
    uint64_t n = 0;

    if (!word.len || word.len > 9)
        return 0;
    for (uint64_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return 0;
        n = 10 * n + (uint64_t)(word.ptr[i] - '0');
    }
    return n;
}

#ifdef __cplusplus
}
#endif
#endif
