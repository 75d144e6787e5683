/*
 * A command's result for people and programs; see render.h.
 */
#include "host/render.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/utf8.h"

#include <howdah/error.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define RED   "\033[31m"
#define PLAIN "\033[0m"

/* --- width ------------------------------------------------------------------------------------------------
 */

static int is_between(uint32_t c, const uint32_t (*ranges)[2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return 1;
    }
    return 0;
}

static size_t width_of(uint32_t c)
{
    static const uint32_t none[][2] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}};
    static const uint32_t two[][2] = {
        {0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
        {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};

    if (is_between(c, none, HD_ARRAY_LEN(none)))
        return 0;
    return is_between(c, two, HD_ARRAY_LEN(two)) ? 2 : 1;
}

size_t hd_render_width(const char *text, size_t len)
{
    size_t width = 0;

    for (size_t i = 0; i < len;) {
        uint32_t code;
        size_t n = hd_utf8_next(text + i, len - i, &code);

        width += n ? width_of(code) : 1;
        i += n ? n : 1;
    }
    return width;
}

/* --- JSON -------------------------------------------------------------------------------------------------
 */

json_t *hd_render_text(const char *text, size_t len)
{
    json_t *j = json_stringn(text, len);
    struct hd_strbuf b = HD_STRBUF_INIT;

    if (!j) {
        hd_utf8_add(&b, text, len);
        j = json_stringn(hd_strbuf_str(&b), b.len);
        hd_strbuf_free(&b);
    }
    return j;
}

json_t *hd_render_cell(const hd_result *r, size_t row, uint32_t column)
{
    struct hd_cell cell = hd_result_cell(r, row, column);
    char buf[HD_CELL_TEXT];
    const char *text;
    size_t len;

    if (cell.is_null)
        return json_null();
    switch (hd_result_column_type(r, column)) {
    case HD_COL_INT:
        return json_integer(cell.integer);
    case HD_COL_BOOL:
        return json_boolean(cell.integer);
    case HD_COL_REAL:
        return isfinite(cell.real) ? json_real(cell.real) : json_null();
    default:
        text = hd_result_cell_text(r, row, column, buf, &len);
        return hd_render_text(text, len);
    }
}

static json_t *columns_json(const hd_result *r, int types)
{
    static const char *const names[] = {"", "text", "int", "real", "bool", "time"};
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < hd_result_column_count(r); i++) {
        const char *text = types ? names[hd_result_column_type(r, i)] : hd_result_column_name(r, i);

        if (json_array_append_new(list, hd_render_text(text, strlen(text)))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *row_json(const hd_result *r, size_t row)
{
    json_t *cells = json_array();

    for (uint32_t i = 0; cells && i < hd_result_column_count(r); i++) {
        if (json_array_append_new(cells, hd_render_cell(r, row, i))) {
            json_decref(cells);
            return NULL;
        }
    }
    return cells;
}

static json_t *rows_json(const hd_result *r)
{
    json_t *rows = json_array();

    for (size_t i = 0; rows && i < hd_result_row_count(r); i++) {
        if (json_array_append_new(rows, row_json(r, i))) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}

static json_t *error_json(int code, const struct hd_error *err)
{
    const char *name = hd_code_name(code);

    return json_pack("{s:o, s:o}", "code", hd_render_text(name, strlen(name)), "text",
                     hd_render_text(err->text, strlen(err->text)));
}

json_t *hd_render_json(const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    const char *message;

    if (code)
        return json_pack("{s:s, s:o}", "command", name, "error", error_json(code, err));
    message = hd_result_message_text(r);
    if (!hd_result_column_count(r))
        return json_pack("{s:s, s:o}", "command", name, "message", hd_render_text(message, strlen(message)));
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "command", name, "columns", columns_json(r, 0), "types",
                     columns_json(r, 1), "rows", rows_json(r), "message",
                     hd_render_text(message, strlen(message)));
}

/* --- tables -----------------------------------------------------------------------------------------------
 */

/* The printable text of a JSON value; control characters are shown as escapes. */
static void put_text(struct hd_strbuf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t n = hd_utf8_next(text + i, len - i, &code);

        if (n && code == '\n')
            hd_strbuf_puts(out, "\\n");
        else if (n && code == '\t')
            hd_strbuf_puts(out, "\\t");
        else if (!n || code < 0x20 || (code >= 0x7f && code < 0xa0))
            hd_strbuf_printf(out, "\\x%02x", n ? code : (unsigned char)text[i]);
        else
            hd_strbuf_add(out, text + i, n);
        i += n ? n : 1;
    }
}

static void put_value(struct hd_strbuf *out, const json_t *v)
{
    if (json_is_string(v))
        put_text(out, json_string_value(v), json_string_length(v));
    else if (json_is_integer(v))
        hd_strbuf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        hd_strbuf_printf(out, "%.10g", json_real_value(v));
    else if (json_is_boolean(v))
        hd_strbuf_puts(out, json_is_true(v) ? "yes" : "no");
}

/* A table's texts, all in one string, and where each stands in it. */
struct table {
    size_t columns, rows; /* row 0 is the heading */
    size_t *start;        /* (rows × columns) + 1 of them */
    size_t *width;        /* of each column */
    int *right;           /* is it aligned to the right? */
    struct hd_strbuf text;
};

static void free_table(struct table *t)
{
    hd_free(t->start);
    hd_free(t->width);
    hd_free(t->right);
    hd_strbuf_free(&t->text);
}

static void add_cell(struct table *t, size_t row, size_t column, const json_t *value)
{
    size_t at = t->text.len, width;

    t->start[row * t->columns + column] = at;
    put_value(&t->text, value);
    t->start[row * t->columns + column + 1] = t->text.len;
    width = hd_render_width(hd_strbuf_str(&t->text) + at, t->text.len - at);
    if (width > t->width[column])
        t->width[column] = width;
}

static int build_table(struct table *t, const json_t *columns, const json_t *types, const json_t *rows)
{
    t->columns = json_array_size(columns);
    t->rows = json_array_size(rows) + 1;
    t->start = hd_calloc(t->rows * t->columns + 1, sizeof(*t->start));
    t->width = hd_calloc(t->columns, sizeof(*t->width));
    t->right = hd_calloc(t->columns, sizeof(*t->right));
    if (!t->start || !t->width || !t->right)
        return HD_ENOMEM;
    for (size_t k = 0; k < t->columns; k++) {
        const char *type = json_string_value(json_array_get(types, k));

        t->right[k] = type && (strcmp(type, "int") == 0 || strcmp(type, "real") == 0);
        add_cell(t, 0, k, json_array_get(columns, k));
    }
    for (size_t i = 1; i < t->rows; i++) {
        const json_t *row = json_array_get(rows, i - 1);

        for (size_t k = 0; k < t->columns; k++)
            add_cell(t, i, k, json_array_get(row, k));
    }
    return t->text.failed ? HD_ENOMEM : HD_OK;
}

static void put_blanks(struct hd_strbuf *out, size_t n, char c)
{
    while (n--)
        hd_strbuf_putc(out, c);
}

/* Appends a line cut to `width` columns (0: whole). */
static void put_cut(struct hd_strbuf *out, const struct hd_strbuf *line, size_t width)
{
    const char *text = hd_strbuf_str(line);
    size_t used = 0, i = 0;

    if (!width || hd_render_width(text, line->len) <= width) {
        hd_strbuf_add(out, text, line->len);
        return;
    }
    while (i < line->len) {
        uint32_t code;
        size_t n = hd_utf8_next(text + i, line->len - i, &code);
        size_t w = n ? width_of(code) : 1;

        if (used + w > width - 1)
            break;
        used += w;
        i += n ? n : 1;
    }
    hd_strbuf_add(out, text, i);
    hd_strbuf_puts(out, "…");
}

static void put_row(struct hd_strbuf *out, const struct table *t, size_t row, size_t width)
{
    struct hd_strbuf line = HD_STRBUF_INIT;

    for (size_t k = 0; k < t->columns; k++) {
        size_t from = t->start[row * t->columns + k], len = t->start[row * t->columns + k + 1] - from;
        const char *text = hd_strbuf_str(&t->text) + from;
        size_t pad = t->width[k] - hd_render_width(text, len);

        hd_strbuf_puts(&line, k ? " | " : " ");
        if (t->right[k])
            put_blanks(&line, pad, ' ');
        hd_strbuf_add(&line, text, len);
        if (!t->right[k] && k + 1 < t->columns)
            put_blanks(&line, pad, ' ');
    }
    put_cut(out, &line, width);
    hd_strbuf_free(&line);
}

static void put_rule(struct hd_strbuf *out, const struct table *t, size_t width)
{
    struct hd_strbuf line = HD_STRBUF_INIT;

    for (size_t k = 0; k < t->columns; k++) {
        if (k)
            hd_strbuf_putc(&line, '+');
        put_blanks(&line, t->width[k] + 2, '-');
    }
    if (width && line.len > width)
        line.len = width;
    hd_strbuf_add(out, hd_strbuf_str(&line), line.len);
    hd_strbuf_free(&line);
}

static void put_table(struct hd_strbuf *out, const struct table *t, size_t width, int colour)
{
    hd_strbuf_puts(out, colour ? BOLD : "");
    put_row(out, t, 0, width);
    hd_strbuf_puts(out, colour ? PLAIN "\n" DIM : "\n");
    put_rule(out, t, width);
    hd_strbuf_puts(out, colour ? PLAIN "\n" : "\n");
    for (size_t i = 1; i < t->rows; i++) {
        put_row(out, t, i, width);
        hd_strbuf_putc(out, '\n');
    }
    hd_strbuf_printf(out, "%s(%zu row%s)%s\n", colour ? DIM : "", t->rows - 1, t->rows == 2 ? "" : "s",
                     colour ? PLAIN : "");
}

static void put_line(struct hd_strbuf *out, const json_t *text, const char *before, const char *after)
{
    hd_strbuf_puts(out, before);
    put_value(out, text);
    hd_strbuf_puts(out, after);
    hd_strbuf_putc(out, '\n');
}

int hd_render_table(struct hd_strbuf *out, const json_t *answer, size_t width, int colour)
{
    const json_t *error = json_object_get(answer, "error"), *columns = json_object_get(answer, "columns");
    const json_t *message = json_object_get(answer, "message");
    struct table t = {.text = HD_STRBUF_INIT};
    int code;

    if (error) {
        put_line(out, json_object_get(error, "text"), colour ? RED "error: " PLAIN : "error: ", "");
        return HD_OK;
    }
    if (!columns && !json_is_string(message))
        return HD_EPROTO;
    if (!columns) {
        put_line(out, message, "", "");
        return HD_OK;
    }
    code = build_table(&t, columns, json_object_get(answer, "types"), json_object_get(answer, "rows"));
    if (!code)
        put_table(out, &t, width, colour);
    free_table(&t);
    return code;
}
