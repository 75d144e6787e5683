/*
 * Writing protocol messages; see build.h. Every message goes through begin, the field writers and end, which
 * alone know where the bytes go and what happens when they do not fit.
 */
#include "wire/build.h"
#include "base/error.h"
#include "wire/sqlstate.h"

#include <string.h>

void hd_build_bytes(struct hd_build *b, const void *bytes, size_t len)
{
    if (b->grow) {
        hd_strbuf_add(b->grow, bytes, len);
        if (b->grow->failed)
            b->error = HD_ENOMEM;
        b->len = b->grow->len;
        return;
    }
    if (b->error || len > b->cap - b->len) {
        b->error = HD_EFULL;
        return;
    }
    if (len)
        memcpy(b->buf + b->len, bytes, len);
    b->len += len;
}

void hd_build_u8(struct hd_build *b, uint8_t v)
{
    hd_build_bytes(b, &v, sizeof(v));
}

void hd_build_u16(struct hd_build *b, uint16_t v)
{
    uint8_t raw[2];

    hd_put_u16(raw, v);
    hd_build_bytes(b, raw, sizeof(raw));
}

void hd_build_u32(struct hd_build *b, uint32_t v)
{
    uint8_t raw[4];

    hd_put_u32(raw, v);
    hd_build_bytes(b, raw, sizeof(raw));
}

void hd_build_cstr(struct hd_build *b, const char *s)
{
    hd_build_bytes(b, s, strlen(s) + 1);
}

/* A counted text that goes out with a closing NUL. */
static void put_text(struct hd_build *b, const char *s, size_t len)
{
    hd_build_bytes(b, s, len);
    hd_build_u8(b, 0);
}

static void begin(struct hd_build *b)
{
    HD_ASSERT(!b->grow || b->len == b->grow->len);
    b->error = 0;
    b->start = b->len;
}

/* Leaves room for the length word, which is known at the end. */
static void leave_length(struct hd_build *b)
{
    b->length_at = b->len;
    hd_build_u32(b, 0);
}

void hd_build_begin(struct hd_build *b, uint8_t type)
{
    begin(b);
    hd_build_u8(b, type);
    leave_length(b);
}

void hd_build_begin_untyped(struct hd_build *b)
{
    begin(b);
    leave_length(b);
}

/* Takes an unfinished message back. */
static int undo(struct hd_build *b)
{
    b->len = b->start;
    if (b->grow)
        b->grow->len = b->start;
    if (b->grow && b->grow->data)
        b->grow->data[b->start] = 0;
    return b->error;
}

int hd_build_end(struct hd_build *b)
{
    size_t length = b->len - b->length_at;

    if (!b->error && length > HD_MSG_LENGTH_MAX)
        b->error = HD_EFULL;
    if (b->error)
        return undo(b);
    hd_put_u32(b->grow ? (uint8_t *)b->grow->data + b->length_at : b->buf + b->length_at, (uint32_t)length);
    return HD_OK;
}

/* A message without a body. */
static int put_bare(struct hd_build *b, uint8_t type)
{
    hd_build_begin(b, type);
    return hd_build_end(b);
}

/* One field of a report, if it has any text. */
static void put_field(struct hd_build *b, uint8_t field, const char *text)
{
    if (!text || !text[0])
        return;
    hd_build_u8(b, field);
    hd_build_cstr(b, text);
}

static const char *or_else(const char *text, const char *otherwise)
{
    return text && text[0] ? text : otherwise;
}

static int put_report(struct hd_build *b, uint8_t type, const struct hd_report *r, const char *severity,
                      const char *code)
{
    severity = or_else(r->severity, severity);
    hd_build_begin(b, type);
    put_field(b, 'S', severity);
    put_field(b, 'V', severity);
    put_field(b, 'C', or_else(r->code, code));
    put_field(b, 'M', or_else(r->message, "unknown error"));
    put_field(b, 'D', r->detail);
    put_field(b, 'H', r->hint);
    hd_build_u8(b, 0);
    return hd_build_end(b);
}

int hd_build_error(struct hd_build *b, const struct hd_report *r)
{
    return put_report(b, HD_MSG_ERROR_RESPONSE, r, "ERROR", HD_SQLSTATE_INTERNAL_ERROR);
}

int hd_build_notice(struct hd_build *b, const struct hd_report *r)
{
    return put_report(b, HD_MSG_NOTICE_RESPONSE, r, "WARNING", HD_SQLSTATE_WARNING);
}

/* An Authentication message of one kind, with its data. */
static int put_authentication(struct hd_build *b, uint32_t kind, const void *data, size_t len)
{
    hd_build_begin(b, HD_MSG_AUTHENTICATION);
    hd_build_u32(b, kind);
    hd_build_bytes(b, data, len);
    return hd_build_end(b);
}

int hd_build_authentication_ok(struct hd_build *b)
{
    return put_authentication(b, HD_AUTH_OK, NULL, 0);
}

int hd_build_authentication_cleartext(struct hd_build *b)
{
    return put_authentication(b, HD_AUTH_CLEARTEXT_PASSWORD, NULL, 0);
}

int hd_build_authentication_sasl(struct hd_build *b, const char *const *mechanisms, size_t n)
{
    hd_build_begin(b, HD_MSG_AUTHENTICATION);
    hd_build_u32(b, HD_AUTH_SASL);
    for (size_t i = 0; i < n; i++)
        hd_build_cstr(b, mechanisms[i]);
    hd_build_u8(b, 0);
    return hd_build_end(b);
}

int hd_build_authentication_sasl_continue(struct hd_build *b, const void *data, size_t len)
{
    return put_authentication(b, HD_AUTH_SASL_CONTINUE, data, len);
}

int hd_build_authentication_sasl_final(struct hd_build *b, const void *data, size_t len)
{
    return put_authentication(b, HD_AUTH_SASL_FINAL, data, len);
}

int hd_build_parameter_status(struct hd_build *b, const char *name, const char *value)
{
    hd_build_begin(b, HD_MSG_PARAMETER_STATUS);
    hd_build_cstr(b, name);
    hd_build_cstr(b, value);
    return hd_build_end(b);
}

int hd_build_backend_key_data(struct hd_build *b, uint32_t pid, const uint8_t *key, size_t key_len)
{
    hd_build_begin(b, HD_MSG_BACKEND_KEY_DATA);
    hd_build_u32(b, pid);
    hd_build_bytes(b, key, key_len);
    return hd_build_end(b);
}

int hd_build_ready_for_query(struct hd_build *b, uint8_t status)
{
    hd_build_begin(b, HD_MSG_READY_FOR_QUERY);
    hd_build_u8(b, status);
    return hd_build_end(b);
}

int hd_build_negotiate_protocol_version(struct hd_build *b, uint32_t newest, const char *const *options,
                                        size_t n)
{
    hd_build_begin(b, HD_MSG_NEGOTIATE_PROTOCOL_VERSION);
    hd_build_u32(b, newest);
    hd_build_u32(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        hd_build_cstr(b, options[i]);
    return hd_build_end(b);
}

/* A column as RowDescription has it; no table stands behind it, and it is in text form. */
static void put_column(struct hd_build *b, const struct hd_column *c)
{
    enum { TEXT_OID = 25, ANY_LENGTH = -1, NO_MODIFIER = -1, TEXT_FORMAT = 0 };

    hd_build_cstr(b, c->name);
    hd_build_u32(b, 0);
    hd_build_u16(b, 0);
    hd_build_u32(b, c->type ? c->type : TEXT_OID);
    hd_build_u16(b, (uint16_t)(c->type_len ? c->type_len : ANY_LENGTH));
    hd_build_u32(b, (uint32_t)NO_MODIFIER);
    hd_build_u16(b, TEXT_FORMAT);
}

int hd_build_row_description(struct hd_build *b, const struct hd_column *columns, uint16_t n)
{
    hd_build_begin(b, HD_MSG_ROW_DESCRIPTION);
    hd_build_u16(b, n);
    for (uint16_t i = 0; i < n; i++)
        put_column(b, &columns[i]);
    return hd_build_end(b);
}

static void put_value(struct hd_build *b, const char *value)
{
    const uint32_t sql_null = UINT32_MAX;
    size_t len = value ? strlen(value) : 0;

    hd_build_u32(b, value ? (uint32_t)len : sql_null);
    hd_build_bytes(b, value, len);
}

int hd_build_data_row(struct hd_build *b, const char *const *values, uint16_t n)
{
    hd_build_begin(b, HD_MSG_DATA_ROW);
    hd_build_u16(b, n);
    for (uint16_t i = 0; i < n; i++)
        put_value(b, values[i]);
    return hd_build_end(b);
}

int hd_build_command_complete(struct hd_build *b, const char *tag)
{
    hd_build_begin(b, HD_MSG_COMMAND_COMPLETE);
    hd_build_cstr(b, tag);
    return hd_build_end(b);
}

int hd_build_empty_query_response(struct hd_build *b)
{
    return put_bare(b, HD_MSG_EMPTY_QUERY_RESPONSE);
}

int hd_build_parse_complete(struct hd_build *b)
{
    return put_bare(b, HD_MSG_PARSE_COMPLETE);
}

int hd_build_bind_complete(struct hd_build *b)
{
    return put_bare(b, HD_MSG_BIND_COMPLETE);
}

int hd_build_close_complete(struct hd_build *b)
{
    return put_bare(b, HD_MSG_CLOSE_COMPLETE);
}

int hd_build_no_data(struct hd_build *b)
{
    return put_bare(b, HD_MSG_NO_DATA);
}

/* The counted type OIDs of Parse and ParameterDescription. */
static void put_types(struct hd_build *b, const uint32_t *types, uint16_t n)
{
    hd_build_u16(b, n);
    for (uint16_t i = 0; i < n; i++)
        hd_build_u32(b, types[i]);
}

int hd_build_parameter_description(struct hd_build *b, const uint32_t *types, uint16_t n)
{
    hd_build_begin(b, HD_MSG_PARAMETER_DESCRIPTION);
    put_types(b, types, n);
    return hd_build_end(b);
}

int hd_build_query(struct hd_build *b, const char *sql, size_t len)
{
    hd_build_begin(b, HD_MSG_QUERY);
    put_text(b, sql, len);
    return hd_build_end(b);
}

int hd_build_parse(struct hd_build *b, const char *name, const char *sql, size_t len, const uint32_t *types,
                   uint16_t n)
{
    hd_build_begin(b, HD_MSG_PARSE);
    hd_build_cstr(b, name);
    put_text(b, sql, len);
    put_types(b, types, n);
    return hd_build_end(b);
}

/* Close and Describe: a statement or portal by name. */
static int put_target(struct hd_build *b, uint8_t type, uint8_t what, const char *name)
{
    hd_build_begin(b, type);
    hd_build_u8(b, what);
    hd_build_cstr(b, name);
    return hd_build_end(b);
}

int hd_build_close(struct hd_build *b, uint8_t what, const char *name)
{
    return put_target(b, HD_MSG_CLOSE, what, name);
}

int hd_build_describe(struct hd_build *b, uint8_t what, const char *name)
{
    return put_target(b, HD_MSG_DESCRIBE, what, name);
}

int hd_build_sync(struct hd_build *b)
{
    return put_bare(b, HD_MSG_SYNC);
}

int hd_build_terminate(struct hd_build *b)
{
    return put_bare(b, HD_MSG_TERMINATE);
}

int hd_build_sasl_initial_response(struct hd_build *b, const char *mechanism, const void *data, size_t len)
{
    const uint32_t no_response = UINT32_MAX;

    hd_build_begin(b, HD_MSG_PASSWORD);
    hd_build_cstr(b, mechanism);
    hd_build_u32(b, data ? (uint32_t)len : no_response);
    hd_build_bytes(b, data, data ? len : 0);
    return hd_build_end(b);
}

int hd_build_sasl_response(struct hd_build *b, const void *data, size_t len)
{
    hd_build_begin(b, HD_MSG_PASSWORD);
    hd_build_bytes(b, data, len);
    return hd_build_end(b);
}

int hd_build_startup(struct hd_build *b, uint32_t version, const char *const *params)
{
    hd_build_begin_untyped(b);
    hd_build_u32(b, version);
    for (; *params; params++)
        hd_build_cstr(b, *params);
    hd_build_u8(b, 0);
    return hd_build_end(b);
}

int hd_build_cancel_request(struct hd_build *b, uint32_t pid, const uint8_t *key, size_t key_len)
{
    hd_build_begin_untyped(b);
    hd_build_u32(b, HD_CANCEL_REQUEST);
    hd_build_u32(b, pid);
    hd_build_bytes(b, key, key_len);
    return hd_build_end(b);
}
