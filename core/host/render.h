/*
 * A command's result for people and programs: an aligned table, or JSON.
 */
#ifndef HD_HOST_RENDER_H
#define HD_HOST_RENDER_H

#include <jansson.h>

#include "base/strbuf.h"
#include "plug/commands.h"

/* What the control socket answers: {"columns": […], "types": […], "rows": [[…], …], "message": …} or
 * {"error": {"code": …, "text": …}}. NULL: no memory. The caller decrefs it. */
json_t *hd_render_json(const hd_result *r, const char *name, int code, const struct hd_error *err);

/* A text as JSON has it: bytes that are no UTF-8 become \\xNN. NULL: no memory. */
json_t *hd_render_text(const char *text, size_t len);

/* A cell as JSON has it; texts that are no UTF-8 have their other bytes as \\xNN. NULL: no memory. */
json_t *hd_render_cell(const hd_result *r, size_t row, uint32_t column);

/* A table of what hd_render_json made; `width` cuts lines to a terminal's (0: never), `colour` uses escapes.
 * Control characters are shown as escapes. HD_OK, or HD_EPROTO when it is no such object. */
int hd_render_table(struct hd_strbuf *out, const json_t *answer, size_t width, int colour);

/* Columns that a UTF-8 text takes on a terminal; bytes that are no UTF-8 count as one each. */
size_t hd_render_width(const char *text, size_t len);

#endif
