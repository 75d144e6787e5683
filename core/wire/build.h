/*
 * Writing protocol messages, onto a buffer of the caller's or a growing string.
 *
 * A message is written whole or not at all: one that does not fit leaves the target as it was and its
 * function returns HD_EFULL (a full buffer, or a message longer than the protocol allows) or HD_ENOMEM (a
 * string that could not grow). Strings are NUL-terminated unless a length stands beside them.
 *
 *     struct hd_build b = hd_build_into(buf, sizeof(buf), 0);
 *     if (hd_build_ready_for_query(&b, HD_TXN_IDLE)) …
 *     send(buf, b.len);
 */
#ifndef HD_WIRE_BUILD_H
#define HD_WIRE_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/strbuf.h"
#include "wire/describe.h"
#include "wire/proto.h"

struct hd_build {
    uint8_t *buf; /* the fixed buffer, or NULL when `grow` is written */
    size_t cap;
    size_t len;             /* bytes written; of `grow`, its length at the last whole message */
    struct hd_strbuf *grow; /* or NULL */
    size_t start;           /* where the message being written begins */
    size_t length_at;       /* and where its length word stands */
    int error;              /* what kept it from fitting */
};

/* Appends behind the first `len` bytes of buf. Nothing is owned. */
static inline struct hd_build hd_build_into(void *buf, size_t cap, size_t len)
{
    return (struct hd_build){.buf = buf, .cap = cap, .len = len};
}

/* Appends to a string; nothing else may write to it meanwhile. */
static inline struct hd_build hd_build_onto(struct hd_strbuf *sb)
{
    return (struct hd_build){.grow = sb, .len = sb->len};
}

/* The pieces that messages are made of: begin, fields, end. Only `end` can fail, for all of them. */
void hd_build_begin(struct hd_build *b, uint8_t type);
/* A first packet, which has no type: only its length word. */
void hd_build_begin_untyped(struct hd_build *b);
void hd_build_u8(struct hd_build *b, uint8_t v);
void hd_build_u16(struct hd_build *b, uint16_t v);
void hd_build_u32(struct hd_build *b, uint32_t v);
void hd_build_bytes(struct hd_build *b, const void *bytes, size_t len);
void hd_build_cstr(struct hd_build *b, const char *s);
int hd_build_end(struct hd_build *b);

/* What a backend says. */

/* An empty severity is ERROR (WARNING in a notice), an empty code XX000 (01000); empty details are left out.
 */
int hd_build_error(struct hd_build *b, const struct hd_report *r);
int hd_build_notice(struct hd_build *b, const struct hd_report *r);
int hd_build_authentication_ok(struct hd_build *b);
int hd_build_authentication_cleartext(struct hd_build *b);
/* Offers `n` mechanisms, the best first. */
int hd_build_authentication_sasl(struct hd_build *b, const char *const *mechanisms, size_t n);
int hd_build_authentication_sasl_continue(struct hd_build *b, const void *data, size_t len);
int hd_build_authentication_sasl_final(struct hd_build *b, const void *data, size_t len);
int hd_build_parameter_status(struct hd_build *b, const char *name, const char *value);
/* The key has 4 bytes in protocol 3.0, up to HD_CANCEL_KEY_MAX in 3.2. */
int hd_build_backend_key_data(struct hd_build *b, uint32_t pid, const uint8_t *key, size_t key_len);
int hd_build_ready_for_query(struct hd_build *b, uint8_t status);
/* The newest version that is spoken (as HD_PROTO_3_2), and the options that are not. */
int hd_build_negotiate_protocol_version(struct hd_build *b, uint32_t newest, const char *const *options,
                                        size_t n);

/* A column of an answer of the host's own: in text form. */
struct hd_column {
    const char *name;
    uint32_t type;    /* the type's OID; 0 is text */
    int16_t type_len; /* the type's size; 0 is -1, of any length */
};

int hd_build_row_description(struct hd_build *b, const struct hd_column *columns, uint16_t n);
/* NULL among the values is SQL's NULL. */
int hd_build_data_row(struct hd_build *b, const char *const *values, uint16_t n);
int hd_build_command_complete(struct hd_build *b, const char *tag);
int hd_build_empty_query_response(struct hd_build *b);
int hd_build_parse_complete(struct hd_build *b);
int hd_build_bind_complete(struct hd_build *b);
int hd_build_close_complete(struct hd_build *b);
int hd_build_no_data(struct hd_build *b);
int hd_build_parameter_description(struct hd_build *b, const uint32_t *types, uint16_t n);

/* What a frontend says. SQL texts have no NUL inside; `what` is one of HD_TARGET_…. */

int hd_build_query(struct hd_build *b, const char *sql, size_t len);
int hd_build_parse(struct hd_build *b, const char *name, const char *sql, size_t len, const uint32_t *types,
                   uint16_t n);
int hd_build_close(struct hd_build *b, uint8_t what, const char *name);
int hd_build_describe(struct hd_build *b, uint8_t what, const char *name);
int hd_build_sync(struct hd_build *b);
int hd_build_terminate(struct hd_build *b);
/* data NULL: a client that lets the server speak first. */
int hd_build_sasl_initial_response(struct hd_build *b, const char *mechanism, const void *data, size_t len);
int hd_build_sasl_response(struct hd_build *b, const void *data, size_t len);
/* First packets: name and value by turns in `params`, NULL at the end. */
int hd_build_startup(struct hd_build *b, uint32_t version, const char *const *params);
int hd_build_cancel_request(struct hd_build *b, uint32_t pid, const uint8_t *key, size_t key_len);

#endif
