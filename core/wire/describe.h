/*
 * Understanding the few server messages that the host itself looks into: errors and notices, command tags,
 * parameter values, cancel keys. Tolerant: what is missing comes out empty, never NULL. Everything points
 * into the message body and lives as long as it does.
 */
#ifndef HD_WIRE_DESCRIBE_H
#define HD_WIRE_DESCRIBE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

/* An ErrorResponse or NoticeResponse, read or to be written. */
struct hd_report {
    const char *severity; /* "ERROR", "FATAL", "WARNING" …, as the protocol's V field: never translated */
    const char *code;     /* the SQLSTATE: five digits or capitals, or "" where the server gave none */
    const char *message;
    const char *detail;
    const char *hint;
};

/* Reads the fields that are there. A broken body gives those in front of the break. */
void hd_report_parse(const void *body, size_t len, struct hd_report *out);

struct hd_command_tag {
    const char *verb; /* "INSERT", "CREATE TABLE"; not NUL-terminated */
    size_t verb_len;
    int64_t rows; /* -1: the tag has no count */
};

/* Reads the tag of a CommandComplete, from its body. */
void hd_command_tag_parse(const void *body, size_t len, struct hd_command_tag *out);

/* 0, or HD_EPROTO. */
int hd_parameter_status_parse(const void *body, size_t len, const char **name,
                              const char **value) HD_MUST_USE;

struct hd_backend_key {
    uint32_t pid;
    const uint8_t *key;
    size_t key_len; /* 1 to HD_CANCEL_KEY_MAX */
};

/* 0, or HD_EPROTO. */
int hd_backend_key_parse(const void *body, size_t len, struct hd_backend_key *out) HD_MUST_USE;

#endif
