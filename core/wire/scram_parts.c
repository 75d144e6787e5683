/*
 * The parts that both sides of SCRAM are made of; see scram_parts.h.
 */
#include "wire/scram_parts.h"
#include "base/random.h"
#include "wire/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BINDING_TYPE "tls-server-end-point"

int hd_scram_hmac(const uint8_t key[HD_SCRAM_KEY_LEN], const void *data, size_t len,
                  uint8_t out[HD_SCRAM_KEY_LEN])
{
    return HMAC(EVP_sha256(), key, HD_SCRAM_KEY_LEN, data, len, out, NULL) ? HD_OK : HD_EFAIL;
}

int hd_scram_hash(const uint8_t in[HD_SCRAM_KEY_LEN], uint8_t out[HD_SCRAM_KEY_LEN])
{
    return SHA256(in, HD_SCRAM_KEY_LEN, out) ? HD_OK : HD_EFAIL;
}

int hd_scram_derive_keys(const char *password, size_t len, const uint8_t *salt, size_t salt_len,
                         uint32_t iterations, uint8_t client_key[HD_SCRAM_KEY_LEN],
                         uint8_t server_key[HD_SCRAM_KEY_LEN])
{
    static const char client_label[] = "Client Key", server_label[] = "Server Key";
    uint8_t salted[HD_SCRAM_KEY_LEN];
    int rc = HD_EFAIL;

    if (len > HD_SCRAM_PASSWORD_MAX || !iterations || iterations > HD_SCRAM_ITERATIONS_MAX)
        return HD_EINVAL;
    if (PKCS5_PBKDF2_HMAC(password, (int)len, salt, (int)salt_len, (int)iterations, EVP_sha256(),
                          sizeof(salted), salted))
        rc = hd_scram_hmac(salted, client_label, strlen(client_label), client_key);
    if (!rc)
        rc = hd_scram_hmac(salted, server_label, strlen(server_label), server_key);
    OPENSSL_cleanse(salted, sizeof(salted));
    return rc;
}

void hd_scram_xor(const uint8_t a[HD_SCRAM_KEY_LEN], const uint8_t b[HD_SCRAM_KEY_LEN],
                  uint8_t out[HD_SCRAM_KEY_LEN])
{
    for (size_t i = 0; i < HD_SCRAM_KEY_LEN; i++)
        out[i] = a[i] ^ b[i];
}

int hd_scram_text_on(struct hd_scram_text *t, const void *msg, size_t len)
{
    if (!len || len > HD_SCRAM_MESSAGE_MAX || memchr(msg, 0, len))
        return HD_EPROTO;
    t->at = msg;
    t->end = t->at + len;
    return HD_OK;
}

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int hd_scram_attr_next(struct hd_scram_text *t, struct hd_scram_attr *a)
{
    const char *comma;

    if (t->at == t->end)
        return HD_ENOENT;
    if (t->end - t->at < 2 || !is_letter(t->at[0]) || t->at[1] != '=')
        return HD_EPROTO;
    comma = memchr(t->at, ',', (size_t)(t->end - t->at));
    *a = (struct hd_scram_attr){.name = t->at[0], .value = t->at + 2};
    a->len = (size_t)((comma ? comma : t->end) - a->value);
    t->at = comma ? comma + 1 : t->end;
    /* A comma promises one more. */
    return comma && t->at == t->end ? HD_EPROTO : HD_OK;
}

int hd_scram_attr_named(struct hd_scram_text *t, char name, struct hd_scram_attr *a)
{
    return hd_scram_attr_next(t, a) == HD_OK && a->name == name ? HD_OK : HD_EPROTO;
}

int hd_scram_attr_is(const struct hd_scram_attr *a, const char *text, size_t len)
{
    return a->len == len && !memcmp(a->value, text, len);
}

uint32_t hd_scram_iterations(const char *text, size_t len)
{
    uint32_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        n = n * 10 + (uint32_t)(text[i] - '0');
        if (n > HD_SCRAM_ITERATIONS_MAX)
            return 0;
    }
    return n;
}

void hd_scram_nonce_make(char out[HD_SCRAM_OWN_NONCE_LEN + 1])
{
    uint8_t raw[HD_SCRAM_OWN_NONCE_LEN / 4 * 3];

    hd_random_bytes(raw, sizeof(raw));
    hd_base64_encode(raw, sizeof(raw), out);
}

int hd_scram_nonce_valid(const char *nonce, size_t len, size_t max)
{
    if (!len || len > max)
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (nonce[i] < 0x21 || nonce[i] > 0x7e || nonce[i] == ',')
            return 0;
    }
    return 1;
}

int hd_scram_transcript_add(struct hd_scram_transcript *t, const char *text, size_t len)
{
    size_t comma = t->len ? 1 : 0;

    if (len + comma > sizeof(t->text) - t->len)
        return HD_EFULL;
    if (comma)
        t->text[t->len++] = ',';
    memcpy(t->text + t->len, text, len);
    t->len += len;
    return HD_OK;
}

const char *hd_scram_binding_header(char flag)
{
    return flag == 'p' ? "p=" BINDING_TYPE ",," : flag == 'y' ? "y,," : "n,,";
}

void hd_scram_binding_text(char flag, const uint8_t *binding, size_t len, char *out)
{
    const char *header = hd_scram_binding_header(flag);
    uint8_t raw[sizeof("p=" BINDING_TYPE ",,") + HD_SCRAM_BINDING_MAX];
    size_t n = strlen(header);

    _Static_assert(HD_BASE64_LEN(sizeof(raw)) < HD_SCRAM_BINDING_TEXT, "the binding's text has room");
    memcpy(raw, header, n);
    if (flag == 'p') {
        memcpy(raw + n, binding, len);
        n += len;
    }
    hd_base64_encode(raw, n, out);
}

int hd_scram_reply_printf(struct hd_scram_reply *r, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(r->text, sizeof(r->text), fmt, ap);
    va_end(ap);
    r->len = 0;
    if (n < 0 || (size_t)n >= sizeof(r->text))
        return HD_EFULL;
    r->len = (size_t)n;
    return HD_OK;
}
