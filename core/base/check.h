/*
 * Graded checks. HD_CHECK is fatal everywhere: going on would corrupt an answer. HD_ASSERT is fatal in debug
 * builds only and stands on the hot path. HD_NEVER names a branch that cannot be reached, so that coverage
 * and readers know it.
 */
#ifndef HD_BASE_CHECK_H
#define HD_BASE_CHECK_H

/* Writes file, line and expression to the log and aborts. */
void hd_check_failed(const char *file, int line, const char *what) __attribute__((noreturn, cold));

#define HD_CHECK(x) (__builtin_expect(!!(x), 1) ? (void)0 : hd_check_failed(__FILE__, __LINE__, #x))
#ifdef HD_DEBUG
#define HD_ASSERT(x) HD_CHECK(x)
#else
#define HD_ASSERT(x) ((void)sizeof(!(x)))
#endif
#define HD_NEVER(what) hd_check_failed(__FILE__, __LINE__, "never: " what)

#define HD_LIKELY(x)                       __builtin_expect(!!(x), 1)
#define HD_UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define HD_MUST_USE                        __attribute__((warn_unused_result))
#define HD_ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define HD_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
