/*
 * The commands over HTTP: what takes requests apart.
 */
#ifndef HD_HOST_HTTP_API_H
#define HD_HOST_HTTP_API_H

#include <howdah/error.h>

#include "base/strbuf.h"

#define HD_HTTP_API     "/api/v1/"
#define HD_HTTP_COMMAND 64 /* bytes of a command's name */

/* "CACHE STATS" of "cache/stats"; 0: no command can have that name. */
int hd_http_command_name(const char *path, char *out, size_t cap);
/* The status that a code of an error becomes. */
unsigned hd_http_status_of(int code);
/* Appends what {"args": […]} holds to a command's line, as quoted words. How many, or -1. */
int hd_http_body_arguments(const char *body, size_t len, struct hd_strbuf *line, struct hd_error *err);

#endif
