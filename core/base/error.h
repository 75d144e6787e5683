/*
 * Filling the public hd_error: formatting and prefixing, so that every refusal in the host reads alike.
 */
#ifndef HD_BASE_ERROR_H
#define HD_BASE_ERROR_H

#include <howdah/error.h>

/* Fills `err` (may be NULL) with `code` and a formatted line; returns `code`, so that it can end a function.
 */
int hd_fail(struct hd_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "where: " in front of the text that is there already; returns the code that is there. */
int hd_fail_prefix(struct hd_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The name of a result code, as it stands in logs: "timeout" for HD_ETIMEOUT. */
const char *hd_code_name(int code);

#endif
