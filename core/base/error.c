/*
 * Filling the public hd_error. The text never leaves the struct and never grows past it.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int hd_fail(struct hd_error *err, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    hd_error_set_v(err, code, fmt, ap);
    va_end(ap);
    return code;
}

int hd_fail_prefix(struct hd_error *err, const char *fmt, ...)
{
    char old[HD_ERROR_TEXT];
    va_list ap;
    int n;

    if (!err)
        return HD_EFAIL;
    memcpy(old, err->text, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(err->text))
        snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", old);
    return err->code;
}

const char *hd_code_name(int code)
{
    static const char *const names[] = {
        "ok",        "invalid",     "no memory", "not found", "exists",      "full", "timeout",   "cancelled",
        "i/o error", "not allowed", "protocol",  "version",   "unsupported", "busy", "sql error", "failed"};

    if (code == HD_PENDING)
        return "pending";
    if (code > 0 || -code >= (int)(sizeof(names) / sizeof(names[0])))
        return "unknown";
    return names[-code];
}
