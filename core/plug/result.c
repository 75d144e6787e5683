/*
 * The answer of a command in memory; see result.h.
 */
#include "plug/result.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void hd_result_init(hd_result *r)
{
    memset(r, 0, sizeof(*r));
}

void hd_result_clear(hd_result *r)
{
    hd_arena_free(&r->arena);
    hd_free(r->cells);
    hd_result_init(r);
}

static void fail(hd_result *r, int code, const char *why)
{
    if (r->failed)
        return;
    r->failed = code;
    r->why = why;
}

/* A copy in the result's memory, NUL-terminated; NULL when the result has failed. */
static const char *keep(hd_result *r, const char *text, size_t len)
{
    const char *copy;

    if (len > HD_RESULT_BYTES || r->arena.bytes + r->cell_cap * sizeof(*r->cells) + len > HD_RESULT_BYTES) {
        fail(r, HD_EFULL, "the answer is too large");
        return NULL;
    }
    copy = hd_arena_strndup(&r->arena, text ? text : "", len);
    if (!copy)
        fail(r, HD_ENOMEM, "no memory for the answer");
    return copy;
}

void hd_result_column(hd_result *r, const char *name, uint32_t type)
{
    const char *copy;

    if (r->failed)
        return;
    if (r->cell_count || r->column_count == HD_RESULT_COLUMNS || type < HD_COL_TEXT || type > HD_COL_TIME) {
        fail(r, HD_EINVAL, "columns come before cells, at most 64, each of a known type");
        return;
    }
    copy = keep(r, name, strlen(name));
    if (!copy)
        return;
    r->names[r->column_count] = copy;
    r->types[r->column_count++] = type;
}

void hd_result_columns(hd_result *r, ...)
{
    const char *name;
    va_list ap;

    va_start(ap, r);
    while ((name = va_arg(ap, const char *)))
        hd_result_column(r, name, va_arg(ap, uint32_t));
    va_end(ap);
}

/* Room for one more cell of one of the types in `accepted` (a bit each); NULL when the result has failed. */
static struct hd_cell *add_cell(hd_result *r, unsigned accepted)
{
    struct hd_cell *grown;
    size_t cap;

    if (r->failed)
        return NULL;
    if (!r->column_count || !(accepted & 1u << r->types[r->cell_count % r->column_count])) {
        fail(r, HD_EINVAL, "a cell is not of its column's type");
        return NULL;
    }
    if (r->cell_count == r->cell_cap) {
        cap = r->cell_cap ? r->cell_cap * 2 : 64;
        if (r->arena.bytes + cap * sizeof(*grown) > HD_RESULT_BYTES) {
            fail(r, HD_EFULL, "the answer is too large");
            return NULL;
        }
        grown = hd_realloc(r->cells, cap * sizeof(*grown));
        if (!grown) {
            fail(r, HD_ENOMEM, "no memory for the answer");
            return NULL;
        }
        r->cells = grown;
        r->cell_cap = cap;
    }
    grown = &r->cells[r->cell_count++];
    memset(grown, 0, sizeof(*grown));
    return grown;
}

void hd_result_text(hd_result *r, struct hd_str value)
{
    struct hd_cell *cell = add_cell(r, 1u << HD_COL_TEXT);

    if (!cell)
        return;
    cell->str = (struct hd_str){keep(r, value.ptr, value.len), value.len};
    if (!cell->str.ptr)
        cell->is_null = 1;
}

void hd_result_cstr(hd_result *r, const char *value)
{
    if (value)
        hd_result_text(r, (struct hd_str){value, strlen(value)});
    else
        hd_result_null(r);
}

void hd_result_integer(hd_result *r, int64_t value)
{
    struct hd_cell *cell = add_cell(r, 1u << HD_COL_INT | 1u << HD_COL_BOOL | 1u << HD_COL_TIME);

    if (cell)
        cell->integer = value;
}

void hd_result_real(hd_result *r, double value)
{
    struct hd_cell *cell = add_cell(r, 1u << HD_COL_REAL);

    if (cell)
        cell->real = value;
}

void hd_result_null(hd_result *r)
{
    struct hd_cell *cell = add_cell(r, ~0u);

    if (cell)
        cell->is_null = 1;
}

void hd_result_message(hd_result *r, const char *text)
{
    const char *copy = keep(r, text, strlen(text));

    if (copy)
        r->message = copy;
}

int hd_result_seal(hd_result *r, struct hd_error *err)
{
    while (!r->failed && r->column_count && r->cell_count % r->column_count)
        hd_result_null(r);
    return r->failed ? hd_fail(err, r->failed, "%s", r->why) : HD_OK;
}

uint32_t hd_result_column_count(const hd_result *r)
{
    return r->column_count;
}

const char *hd_result_column_name(const hd_result *r, uint32_t column)
{
    HD_ASSERT(column < r->column_count);
    return r->names[column];
}

uint32_t hd_result_column_type(const hd_result *r, uint32_t column)
{
    HD_ASSERT(column < r->column_count);
    return r->types[column];
}

size_t hd_result_row_count(const hd_result *r)
{
    return r->column_count ? r->cell_count / r->column_count : 0;
}

struct hd_cell hd_result_cell(const hd_result *r, size_t row, uint32_t column)
{
    HD_ASSERT(column < r->column_count && row < hd_result_row_count(r));
    return r->cells[row * r->column_count + column];
}

const char *hd_result_message_text(const hd_result *r)
{
    return r->message ? r->message : "OK";
}

static int format_time(char *buf, int64_t us)
{
    int64_t seconds = us / 1000000, rest = us % 1000000;
    time_t t;
    struct tm tm;

    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    t = (time_t)seconds;
    if (!gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900)
        return snprintf(buf, HD_CELL_TEXT, "%" PRId64, us);
    return snprintf(buf, HD_CELL_TEXT, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00", tm.tm_year + 1900,
                    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)rest);
}

/* The shortest of the two usual precisions that reads back as the same number. */
static int format_real(char *buf, double value)
{
    double back;
    int n = snprintf(buf, HD_CELL_TEXT, "%.15g", value);

    if (sscanf(buf, "%lf", &back) != 1 || back != value)
        n = snprintf(buf, HD_CELL_TEXT, "%.17g", value);
    return n;
}

const char *hd_result_cell_text(const hd_result *r, size_t row, uint32_t column, char *buf, size_t *len)
{
    struct hd_cell cell = hd_result_cell(r, row, column);
    uint32_t type = r->types[column];
    int n = 0;

    buf[0] = 0;
    if (!cell.is_null && type == HD_COL_TEXT) {
        *len = cell.str.len;
        return cell.str.ptr;
    }
    if (cell.is_null)
        n = 0;
    else if (type == HD_COL_INT)
        n = snprintf(buf, HD_CELL_TEXT, "%" PRId64, cell.integer);
    else if (type == HD_COL_BOOL)
        n = snprintf(buf, HD_CELL_TEXT, "%s", cell.integer ? "yes" : "no");
    else if (type == HD_COL_TIME)
        n = format_time(buf, cell.integer);
    else
        n = format_real(buf, cell.real);
    *len = (size_t)n;
    return buf;
}
