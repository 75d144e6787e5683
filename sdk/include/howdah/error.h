/*
 * Errors as values.
 *
 * Every call of the ABI that can fail returns an `int32_t` code (0 is success, negative is a failure) and,
 * where it takes one, fills the caller's `struct hd_error` with one line of text that says what was wrong,
 * where, and what would be right. Nothing is allocated: the text lives in the struct.
 */
#ifndef HOWDAH_ERROR_H
#define HOWDAH_ERROR_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HD_ERROR_FORMAT(text, args) __attribute__((format(printf, text, args)))
#else
#define HD_ERROR_FORMAT(text, args)
#endif

/* Result codes. What has been released keeps its number. Since ABI 0.1. */
#define HD_OK         0   /* done */
#define HD_PENDING    1   /* taken up; the operation's handle will be completed later, exactly once */
#define HD_EINVAL     -1  /* an argument or a value is wrong */
#define HD_ENOMEM     -2  /* no memory */
#define HD_ENOENT     -3  /* there is no such thing */
#define HD_EEXIST     -4  /* there is one already */
#define HD_EFULL      -5  /* a bound was reached */
#define HD_ETIMEOUT   -6  /* the deadline passed */
#define HD_ECANCELLED -7  /* given up by whoever asked */
#define HD_EIO        -8  /* reading, writing or connecting failed */
#define HD_EPERM      -9  /* not allowed */
#define HD_EPROTO     -10 /* bytes that break the protocol or file format */
#define HD_EVERSION   -11 /* an ABI, service or format version that does not fit */
#define HD_EUNSUPP    -12 /* not supported here */
#define HD_EBUSY      -13 /* in use, or not in a state for this call */
#define HD_ESQL       -14 /* PostgreSQL answered with an error; the text starts with its SQLSTATE */
#define HD_EFAIL      -15 /* any other failure; see the text */

/* Bytes of text in an hd_error, the closing NUL included. */
#define HD_ERROR_TEXT 500

/*
 * One failure. The caller owns it, sets `size` to sizeof(struct hd_error), and may reuse it. Since ABI 0.1.
 */
struct hd_error {
    uint32_t size;            /* sizeof(struct hd_error) as the caller was compiled */
    int32_t code;             /* one of the codes above, or 0 */
    char text[HD_ERROR_TEXT]; /* NUL-terminated UTF-8, one line, cut if it had to be */
};

/* An empty error, ready to be passed by address. */
#define HD_ERROR_INIT                                                                                        \
    {                                                                                                        \
        (uint32_t)sizeof(struct hd_error), 0,                                                                \
        {                                                                                                    \
            0                                                                                                \
        }                                                                                                    \
    }

/* Fills `err` (NULL is allowed) with a code and a formatted line, which is cut where it has to be; returns
 * the code, so that it can end a function: return hd_error_set(err, HD_EINVAL, "%s: no such table", name).
 * Part of the header, not of the host. Since ABI 0.1. */
static inline int32_t hd_error_set_v(struct hd_error *err, int32_t code, const char *format, va_list args)
    HD_ERROR_FORMAT(3, 0);
static inline int32_t hd_error_set(struct hd_error *err, int32_t code, const char *format, ...)
    HD_ERROR_FORMAT(3, 4);

static inline int32_t hd_error_set_v(struct hd_error *err, int32_t code, const char *format, va_list args)
{
    if (err) {
        err->code = code;
        vsnprintf(err->text, sizeof(err->text), format, args);
    }
    return code;
}

static inline int32_t hd_error_set(struct hd_error *err, int32_t code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    hd_error_set_v(err, code, format, args);
    va_end(args);
    return code;
}

#ifdef __cplusplus
}
#endif
#endif
