/*
 * SCRAM's verifiers; see scram.h.
 */
#include "wire/scram.h"
#include "base/alloc.h"
#include "base/random.h"
#include "wire/base64.h"
#include "wire/read.h"
#include "wire/scram_parts.h"

#include <libpq-fe.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define VERIFIER_PREFIX HD_SCRAM_SHA_256 "$"

int hd_scram_is_verifier(const char *text)
{
    return !strncmp(text, VERIFIER_PREFIX, strlen(VERIFIER_PREFIX));
}

/* The piece of `*at` in front of `stop` (0: the rest), which is stepped over; NULL when there is no stop. */
static const char *take_until(const char **at, char stop, size_t *len)
{
    const char *start = *at;
    const char *end = stop ? strchr(start, stop) : start + strlen(start);

    if (!end)
        return NULL;
    *len = (size_t)(end - start);
    *at = stop ? end + 1 : end;
    return start;
}

static int parse_key(const char *text, size_t len, uint8_t key[HD_SCRAM_KEY_LEN])
{
    return text && hd_base64_decode(text, len, key, HD_SCRAM_KEY_LEN) == (long)HD_SCRAM_KEY_LEN;
}

/* The part behind the prefix. Returns whether all of it is well-formed. */
static int parse_parts(const char *at, struct hd_scram_verifier *out)
{
    const char *part;
    size_t len = 0;
    long salt_len;

    part = take_until(&at, ':', &len);
    out->iterations = part ? hd_scram_iterations(part, len) : 0;
    if (!out->iterations)
        return 0;
    part = take_until(&at, '$', &len);
    salt_len = part ? hd_base64_decode(part, len, out->salt, sizeof(out->salt)) : -1;
    if (salt_len <= 0)
        return 0;
    out->salt_len = (uint32_t)salt_len;
    part = take_until(&at, ':', &len);
    if (!parse_key(part, len, out->stored_key))
        return 0;
    part = take_until(&at, 0, &len);
    return parse_key(part, len, out->server_key);
}

int hd_scram_verifier_parse(const char *text, struct hd_scram_verifier *out, struct hd_error *err)
{
    memset(out, 0, sizeof(*out));
    if (!hd_scram_is_verifier(text) || !parse_parts(text + strlen(VERIFIER_PREFIX), out)) {
        hd_scram_verifier_wipe(out);
        return hd_fail(err, HD_EINVAL,
                       "not a SCRAM verifier: expected " VERIFIER_PREFIX
                       "<iterations>:<salt>$<StoredKey>:<ServerKey>");
    }
    return HD_OK;
}

void hd_scram_verifier_format(const struct hd_scram_verifier *v, char *out)
{
    char salt[HD_BASE64_LEN(HD_SCRAM_SALT_MAX) + 1];
    char stored[HD_SCRAM_KEY_TEXT], server[HD_SCRAM_KEY_TEXT];

    hd_base64_encode(v->salt, v->salt_len, salt);
    hd_base64_encode(v->stored_key, HD_SCRAM_KEY_LEN, stored);
    hd_base64_encode(v->server_key, HD_SCRAM_KEY_LEN, server);
    snprintf(out, HD_SCRAM_VERIFIER_TEXT, VERIFIER_PREFIX "%u:%s$%s:%s", v->iterations, salt, stored, server);
    OPENSSL_cleanse(stored, sizeof(stored));
    OPENSSL_cleanse(server, sizeof(server));
}

int hd_scram_verifier_derive(const char *password, size_t len, struct hd_scram_verifier *v)
{
    uint8_t client_key[HD_SCRAM_KEY_LEN];
    int rc =
        hd_scram_derive_keys(password, len, v->salt, v->salt_len, v->iterations, client_key, v->server_key);

    if (!rc)
        rc = hd_scram_hash(client_key, v->stored_key);
    OPENSSL_cleanse(client_key, sizeof(client_key));
    return rc;
}

/* SASLprep is libpq's: what it makes of a password is what a client's libpq will make of it. A connection
 * that fails at once, without a socket, is enough to ask it. */
static int make_by_libpq(const char *password, size_t len, struct hd_scram_verifier *out)
{
    static const char *const keywords[] = {"port", NULL}, *const values[] = {"none", NULL};
    struct hd_error err = HD_ERROR_INIT;
    char *copy = hd_strndup(password, len), *text = NULL;
    PGconn *conn = copy ? PQconnectStartParams(keywords, values, 0) : NULL;
    int rc = HD_ENOMEM;

    if (conn)
        text = PQencryptPasswordConn(conn, copy, "", "scram-sha-256");
    if (text)
        rc = hd_scram_verifier_parse(text, out, &err);
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    PQfreemem(text);
    PQfinish(conn);
    if (copy)
        OPENSSL_cleanse(copy, len);
    hd_free(copy);
    return rc;
}

static int is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] > 126)
            return 0;
    return 1;
}

int hd_scram_verifier_make(const char *password, size_t len, struct hd_scram_verifier *out)
{
    memset(out, 0, sizeof(*out));
    if (len <= HD_SCRAM_PASSWORD_MAX && !is_ascii(password, len) && !memchr(password, 0, len))
        return make_by_libpq(password, len, out);
    out->iterations = HD_SCRAM_ITERATIONS;
    out->salt_len = HD_SCRAM_SALT_LEN;
    hd_random_bytes(out->salt, HD_SCRAM_SALT_LEN);
    return hd_scram_verifier_derive(password, len, out);
}

int hd_scram_verifier_mock(const uint8_t secret[HD_SCRAM_KEY_LEN], const char *user,
                           struct hd_scram_verifier *out)
{
    uint8_t digest[HD_SCRAM_KEY_LEN];
    int rc = hd_scram_hmac(secret, user, strlen(user), digest);

    memset(out, 0, sizeof(*out));
    if (rc)
        return rc;
    out->iterations = HD_SCRAM_ITERATIONS;
    out->salt_len = HD_SCRAM_SALT_LEN;
    memcpy(out->salt, digest, HD_SCRAM_SALT_LEN);
    /* Nobody can find a key whose hash is random. */
    hd_random_bytes(out->stored_key, HD_SCRAM_KEY_LEN);
    hd_random_bytes(out->server_key, HD_SCRAM_KEY_LEN);
    return HD_OK;
}

void hd_scram_verifier_wipe(struct hd_scram_verifier *v)
{
    OPENSSL_cleanse(v, sizeof(*v));
}

int hd_sasl_initial_parse(const void *body, size_t len, struct hd_sasl_initial *out)
{
    struct hd_reader r = hd_reader_on(body, len);
    int32_t data_len;

    *out = (struct hd_sasl_initial){.mechanism = hd_read_cstr(&r, NULL)};
    data_len = hd_read_i32(&r);
    if (data_len < -1)
        hd_reader_fail(&r);
    if (data_len >= 0) {
        out->len = (size_t)data_len;
        out->data = hd_read_bytes(&r, out->len);
    }
    return hd_reader_done(&r) ? HD_OK : HD_EPROTO;
}
