/*
 * A command's result as messages of the PostgreSQL protocol; see pgresult.h.
 */
#include "plug/pgresult.h"

#include "plug/result.h"
#include "wire/sqlstate.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Types of the server's catalog. */
enum { OID_BOOL = 16, OID_INT8 = 20, OID_TEXT = 25, OID_FLOAT8 = 701, OID_TIMESTAMPTZ = 1184 };

static struct hd_column column_of(const hd_result *r, uint32_t i)
{
    static const struct {
        uint32_t oid;
        int16_t len;
    } types[] = {
        [HD_COL_TEXT] = {OID_TEXT, -1}, [HD_COL_INT] = {OID_INT8, 8},         [HD_COL_REAL] = {OID_FLOAT8, 8},
        [HD_COL_BOOL] = {OID_BOOL, 1},  [HD_COL_TIME] = {OID_TIMESTAMPTZ, 8},
    };
    uint32_t type = hd_result_column_type(r, i);

    return (struct hd_column){hd_result_column_name(r, i), types[type].oid, types[type].len};
}

int hd_pgresult_describe(struct hd_build *b, const hd_result *r)
{
    struct hd_column columns[HD_RESULT_COLUMNS];
    uint32_t n = hd_result_column_count(r);

    if (!n)
        return hd_build_no_data(b);
    for (uint32_t i = 0; i < n; i++)
        columns[i] = column_of(r, i);
    return hd_build_row_description(b, columns, (uint16_t)n);
}

static void put_cell(struct hd_build *b, const hd_result *r, size_t row, uint32_t column)
{
    struct hd_cell cell = hd_result_cell(r, row, column);
    char buf[HD_CELL_TEXT];
    const char *text;
    size_t len;

    if (cell.is_null) {
        hd_build_u32(b, UINT32_MAX);
        return;
    }
    text = hd_result_cell_text(r, row, column, buf, &len);
    if (hd_result_column_type(r, column) == HD_COL_BOOL) {
        text = cell.integer ? "t" : "f";
        len = 1;
    }
    hd_build_u32(b, (uint32_t)len);
    hd_build_bytes(b, text, len);
}

int hd_pgresult_rows(struct hd_build *b, const hd_result *r, size_t first, size_t count)
{
    uint32_t columns = hd_result_column_count(r);
    size_t rows = hd_result_row_count(r);
    int code = HD_OK;

    for (size_t i = first; !code && i < rows && i - first < count; i++) {
        hd_build_begin(b, HD_MSG_DATA_ROW);
        hd_build_u16(b, (uint16_t)columns);
        for (uint32_t k = 0; k < columns; k++)
            put_cell(b, r, i, k);
        code = hd_build_end(b);
    }
    return code;
}

int hd_pgresult_end(struct hd_build *b, const hd_result *r, const char *name)
{
    struct hd_report notice = {
        .severity = "INFO", .code = HD_SQLSTATE_SUCCESSFUL_COMPLETION, .message = hd_result_message_text(r)};
    int code = HD_OK;

    if (!name[0])
        return hd_build_empty_query_response(b);
    if (r->message)
        code = hd_build_notice(b, &notice);
    if (code)
        return code;
    return hd_build_command_complete(b, strncmp(name, "SHOW ", 5) == 0 ? "SHOW" : name);
}

const char *hd_pgresult_sqlstate(int code)
{
    switch (code) {
    case HD_EINVAL:
        return HD_SQLSTATE_INVALID_PARAMETER_VALUE;
    case HD_ENOENT:
        return HD_SQLSTATE_UNDEFINED_OBJECT;
    case HD_ENOMEM:
        return HD_SQLSTATE_OUT_OF_MEMORY;
    case HD_EFULL:
        return HD_SQLSTATE_CONFIGURATION_LIMIT_EXCEEDED;
    case HD_ETIMEOUT:
    case HD_ECANCELLED:
        return HD_SQLSTATE_QUERY_CANCELED;
    case HD_EPERM:
        return HD_SQLSTATE_INSUFFICIENT_PRIVILEGE;
    case HD_EIO:
        return HD_SQLSTATE_CONNECTION_FAILURE;
    case HD_EUNSUPP:
        return HD_SQLSTATE_FEATURE_NOT_SUPPORTED;
    case HD_EBUSY:
    case HD_EEXIST:
        return HD_SQLSTATE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    default:
        return HD_SQLSTATE_INTERNAL_ERROR;
    }
}

/* Does the text start with a SQLSTATE and a blank or colon, as an HD_ESQL's does? */
static int starts_with_sqlstate(const char *text, char *state)
{
    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)text[i]) && !isupper((unsigned char)text[i]))
            return 0;
        state[i] = text[i];
    }
    state[5] = 0;
    return text[5] == ' ' || text[5] == ':';
}

int hd_pgresult_error(struct hd_build *b, const char *name, int code, const struct hd_error *err)
{
    char state[6];
    struct hd_report report = {.severity = "ERROR", .message = err->text};

    if (!name[0])
        report.code = HD_SQLSTATE_SYNTAX_ERROR; /* it was no command at all */
    else if (code == HD_ESQL && starts_with_sqlstate(err->text, state))
        report.code = state;
    else
        report.code = hd_pgresult_sqlstate(code);
    return hd_build_error(b, &report);
}

int hd_pgresult_write(struct hd_build *b, const hd_result *r, const char *name, int code,
                      const struct hd_error *err)
{
    int failed = HD_OK;

    if (code)
        return hd_pgresult_error(b, name, code, err);
    if (hd_result_column_count(r))
        failed = hd_pgresult_describe(b, r);
    if (!failed)
        failed = hd_pgresult_rows(b, r, 0, SIZE_MAX);
    return failed ? failed : hd_pgresult_end(b, r, name);
}
