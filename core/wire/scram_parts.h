/*
 * What both sides of SCRAM are made of: keyed hashes, attributes, nonces, the transcript. Only for scram*.c.
 */
#ifndef HD_WIRE_SCRAM_PARTS_H
#define HD_WIRE_SCRAM_PARTS_H

#include "wire/scram.h"

/* Base64 of a key, with its NUL. */
#define HD_SCRAM_KEY_TEXT 45

/* 0, or HD_EFAIL when OpenSSL cannot. */
int hd_scram_hmac(const uint8_t key[HD_SCRAM_KEY_LEN], const void *data, size_t len,
                  uint8_t out[HD_SCRAM_KEY_LEN]) HD_MUST_USE;
int hd_scram_hash(const uint8_t in[HD_SCRAM_KEY_LEN], uint8_t out[HD_SCRAM_KEY_LEN]) HD_MUST_USE;
/* ClientKey and ServerKey of a password. */
int hd_scram_derive_keys(const char *password, size_t len, const uint8_t *salt, size_t salt_len,
                         uint32_t iterations, uint8_t client_key[HD_SCRAM_KEY_LEN],
                         uint8_t server_key[HD_SCRAM_KEY_LEN]) HD_MUST_USE;
void hd_scram_xor(const uint8_t a[HD_SCRAM_KEY_LEN], const uint8_t b[HD_SCRAM_KEY_LEN],
                  uint8_t out[HD_SCRAM_KEY_LEN]);

/* A message that is being read; `at` is NULL once it proved malformed. */
struct hd_scram_text {
    const char *at, *end;
};

struct hd_scram_attr {
    char name;
    const char *value; /* not NUL-terminated */
    size_t len;
};

/* HD_EPROTO: empty, too long, or with a NUL inside. */
int hd_scram_text_on(struct hd_scram_text *t, const void *msg, size_t len) HD_MUST_USE;
/* Any next attribute. HD_ENOENT: there are no more. HD_EPROTO: not an attribute. */
int hd_scram_attr_next(struct hd_scram_text *t, struct hd_scram_attr *a) HD_MUST_USE;
/* The next attribute, which must be the one called `name`; else HD_EPROTO. */
int hd_scram_attr_named(struct hd_scram_text *t, char name, struct hd_scram_attr *a) HD_MUST_USE;
int hd_scram_attr_is(const struct hd_scram_attr *a, const char *text, size_t len);
/* Digits to a count from 1 to HD_SCRAM_ITERATIONS_MAX; 0 when they are none. */
uint32_t hd_scram_iterations(const char *text, size_t len);

/* Our part of a nonce: printable, random, NUL-terminated. */
void hd_scram_nonce_make(char out[HD_SCRAM_OWN_NONCE_LEN + 1]);
/* Printable, no comma, not empty, not too long? */
int hd_scram_nonce_valid(const char *nonce, size_t len, size_t max);

/* Appends a text, with a comma in front of all but the first. HD_EFULL: it does not fit. */
int hd_scram_transcript_add(struct hd_scram_transcript *t, const char *text, size_t len) HD_MUST_USE;
/* Writes the c attribute's value: base64 of the binding header and, after p, of the binding itself. */
void hd_scram_binding_text(char flag, const uint8_t *binding, size_t len, char *out);
#define HD_SCRAM_BINDING_TEXT 128
/* What stands in front of a client's first message. */
const char *hd_scram_binding_header(char flag);
/* Formats a message. HD_EFULL: it would be too long. */
int hd_scram_reply_printf(struct hd_scram_reply *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))) HD_MUST_USE;

#endif
