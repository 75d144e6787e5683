/*
 * The server's side of SCRAM: two messages in, two out. What PostgreSQL refuses is refused with its SQLSTATE.
 * A user who does not exist goes through every step and calculation, and fails at the proof.
 */
#include "wire/scram_parts.h"
#include "wire/base64.h"
#include "wire/sqlstate.h"

#include <openssl/crypto.h>
#include <string.h>

void hd_scram_server_init(struct hd_scram_server *s, const struct hd_scram_verifier *v, int exists,
                          const uint8_t *binding, size_t binding_len)
{
    HD_CHECK(binding_len <= HD_SCRAM_BINDING_MAX && v->salt_len <= HD_SCRAM_SALT_MAX);
    memset(s, 0, sizeof(*s));
    s->exists = exists;
    s->verifier = *v;
    s->binding_len = binding_len;
    if (binding_len)
        memcpy(s->binding, binding, binding_len);
    hd_scram_nonce_make(s->own_nonce);
}

void hd_scram_server_wipe(struct hd_scram_server *s)
{
    OPENSSL_cleanse(s, sizeof(*s));
}

/* Ends the login: whatever comes now is out of turn. */
static int refuse(struct hd_scram_server *s, int code, const char *sqlstate, struct hd_error *err,
                  const char *what)
{
    s->state = HD_SCRAM_FAILED;
    s->sqlstate = sqlstate;
    return hd_fail(err, code, "%s", what);
}

static int malformed(struct hd_scram_server *s, struct hd_error *err, const char *what)
{
    return refuse(s, HD_EPROTO, HD_SQLSTATE_PROTOCOL_VIOLATION, err, what);
}

int hd_scram_server_choose(struct hd_scram_server *s, const char *mechanism, struct hd_error *err)
{
    if (s->state != HD_SCRAM_CHOOSE)
        return hd_fail(err, HD_EBUSY, "SASL authentication mechanism chosen out of turn");
    s->plus = s->binding_len && !strcmp(mechanism, HD_SCRAM_SHA_256_PLUS);
    if (!s->plus && strcmp(mechanism, HD_SCRAM_SHA_256))
        return malformed(s, err, "client selected an invalid SASL authentication mechanism");
    s->state = HD_SCRAM_FIRST;
    return HD_OK;
}

/* Steps over `text`, if it stands next. */
static int skip(struct hd_scram_text *t, const char *text)
{
    size_t len = strlen(text);

    if ((size_t)(t->end - t->at) < len || memcmp(t->at, text, len))
        return 0;
    t->at += len;
    return 1;
}

/* Does what the client says of channel binding fit what was offered and chosen? */
static int check_binding_flag(struct hd_scram_server *s, struct hd_error *err)
{
    if (s->binding_flag == 'p' && !s->plus)
        return malformed(s, err,
                         "client selected SCRAM-SHA-256 without channel binding, "
                         "but the SCRAM message includes channel binding data");
    if (s->binding_flag != 'p' && s->plus)
        return malformed(s, err,
                         "client selected SCRAM-SHA-256-PLUS, "
                         "but the SCRAM message does not include channel binding data");
    /* The client can bind and believes that we cannot: somebody changed our offer on its way. */
    if (s->binding_flag == 'y' && s->binding_len)
        return refuse(s, HD_EPERM, HD_SQLSTATE_INVALID_AUTHORIZATION, err,
                      "SCRAM channel binding negotiation error");
    return HD_OK;
}

/* The header in front of a client's first message: binding flag and authorization identity. */
static int read_header(struct hd_scram_server *s, struct hd_scram_text *t, struct hd_error *err)
{
    static const char flags[] = "nyp";
    int rc;

    if (!strchr(flags, *t->at))
        return malformed(s, err, "malformed SCRAM message: unexpected channel-binding flag");
    s->binding_flag = *t->at;
    rc = check_binding_flag(s, err);
    if (rc)
        return rc;
    if (skip(t, hd_scram_binding_header(s->binding_flag)))
        return HD_OK;
    if (s->binding_flag == 'p' && !skip(t, "p=tls-server-end-point,"))
        return malformed(s, err, "unsupported SCRAM channel-binding type");
    if (skip(t, "n,a=") || skip(t, "y,a=") || skip(t, "a="))
        return refuse(s, HD_EUNSUPP, HD_SQLSTATE_FEATURE_NOT_SUPPORTED, err,
                      "client uses authorization identity, but it is not supported");
    return malformed(s, err, "malformed SCRAM message: unexpected header");
}

/* Name, nonce, and extensions that are passed over, as they stand behind the header. */
static int read_first(struct hd_scram_server *s, struct hd_scram_text *t, struct hd_error *err)
{
    struct hd_scram_attr name, nonce, other;
    int rc;

    if (t->at < t->end && *t->at == 'm')
        return refuse(s, HD_EUNSUPP, HD_SQLSTATE_FEATURE_NOT_SUPPORTED, err,
                      "client requires an unsupported SCRAM extension");
    if (hd_scram_attr_named(t, 'n', &name) || hd_scram_attr_named(t, 'r', &nonce))
        return malformed(s, err, "malformed SCRAM message: expected user name and nonce");
    if (!hd_scram_nonce_valid(nonce.value, nonce.len, HD_SCRAM_NONCE_MAX))
        return malformed(s, err, "malformed SCRAM message: nonce not printable, or too long");
    while ((rc = hd_scram_attr_next(t, &other)) == HD_OK)
        continue;
    if (rc != HD_ENOENT)
        return malformed(s, err, "malformed SCRAM message: attribute expected");
    memcpy(s->nonce, nonce.value, nonce.len);
    memcpy(s->nonce + nonce.len, s->own_nonce, strlen(s->own_nonce));
    s->nonce_len = nonce.len + strlen(s->own_nonce);
    return HD_OK;
}

/* Nonce, salt and iterations: all that a client needs beside its password. */
static int answer_first(struct hd_scram_server *s, struct hd_scram_reply *out)
{
    char salt[HD_BASE64_LEN(HD_SCRAM_SALT_MAX) + 1];

    hd_base64_encode(s->verifier.salt, s->verifier.salt_len, salt);
    return hd_scram_reply_printf(out, "r=%.*s,s=%s,i=%u", (int)s->nonce_len, s->nonce, salt,
                                 s->verifier.iterations);
}

static int step_first(struct hd_scram_server *s, const void *msg, size_t len, struct hd_scram_reply *out,
                      struct hd_error *err)
{
    struct hd_scram_text t;
    const char *bare;
    int rc;

    if (!msg)
        return HD_PENDING; /* an empty challenge */
    if (hd_scram_text_on(&t, msg, len))
        return malformed(s, err, "malformed SCRAM message: empty, too long, or with a zero byte");
    rc = read_header(s, &t, err);
    if (rc)
        return rc;
    bare = t.at;
    rc = read_first(s, &t, err);
    if (rc)
        return rc;
    if (answer_first(s, out) || hd_scram_transcript_add(&s->transcript, bare, (size_t)(t.end - bare)) ||
        hd_scram_transcript_add(&s->transcript, out->text, out->len))
        return malformed(s, err, "malformed SCRAM message: too long");
    s->state = HD_SCRAM_FINAL;
    return HD_PENDING;
}

/* What the client's last message says. */
struct last_message {
    struct hd_scram_attr binding, nonce, proof;
};

/* The proof stands last, behind extensions that are passed over. */
static int read_last(struct hd_scram_text *t, struct last_message *m)
{
    if (hd_scram_attr_named(t, 'c', &m->binding) || hd_scram_attr_named(t, 'r', &m->nonce))
        return HD_EPROTO;
    do {
        if (hd_scram_attr_next(t, &m->proof))
            return HD_EPROTO;
    } while (m->proof.name != 'p');
    return t->at == t->end ? HD_OK : HD_EPROTO;
}

static int check_binding(struct hd_scram_server *s, const struct hd_scram_attr *got, struct hd_error *err)
{
    char want[HD_SCRAM_BINDING_TEXT];

    hd_scram_binding_text(s->binding_flag, s->binding, s->binding_len, want);
    if (hd_scram_attr_is(got, want, strlen(want)))
        return HD_OK;
    if (s->plus)
        return refuse(s, HD_EPERM, HD_SQLSTATE_INVALID_AUTHORIZATION, err,
                      "SCRAM channel binding check failed");
    return malformed(s, err, "unexpected SCRAM channel-binding attribute in client-final-message");
}

/* Compares the hash of the key that the proof shows. Yes or no in *proved; else OpenSSL's failure. */
static int check_proof(struct hd_scram_server *s, const uint8_t proof[HD_SCRAM_KEY_LEN], int *proved)
{
    uint8_t signature[HD_SCRAM_KEY_LEN], hashed[HD_SCRAM_KEY_LEN];
    int rc = hd_scram_hmac(s->verifier.stored_key, s->transcript.text, s->transcript.len, signature);

    if (!rc) {
        hd_scram_xor(proof, signature, s->client_key);
        rc = hd_scram_hash(s->client_key, hashed);
    }
    OPENSSL_cleanse(signature, sizeof(signature));
    if (rc)
        return rc;
    *proved = !CRYPTO_memcmp(hashed, s->verifier.stored_key, sizeof(hashed)) & !!s->exists;
    if (!*proved)
        OPENSSL_cleanse(s->client_key, sizeof(s->client_key));
    return HD_OK;
}

/* Proves to the client that we know the verifier. */
static int answer_last(struct hd_scram_server *s, struct hd_scram_reply *out)
{
    uint8_t signature[HD_SCRAM_KEY_LEN];
    char text[HD_SCRAM_KEY_TEXT];
    int rc = hd_scram_hmac(s->verifier.server_key, s->transcript.text, s->transcript.len, signature);

    if (rc)
        return rc;
    hd_base64_encode(signature, sizeof(signature), text);
    return hd_scram_reply_printf(out, "v=%s", text);
}

/* The proof against the transcript, and our own proof in return. */
static int prove(struct hd_scram_server *s, const uint8_t proof[HD_SCRAM_KEY_LEN], struct hd_scram_reply *out,
                 struct hd_error *err)
{
    int proved = 0;
    int rc = check_proof(s, proof, &proved);

    if (!rc && !proved)
        return refuse(s, HD_EPERM, HD_SQLSTATE_INVALID_PASSWORD, err, "password authentication failed");
    if (!rc)
        rc = answer_last(s, out);
    if (rc)
        return refuse(s, rc, HD_SQLSTATE_INTERNAL_ERROR, err, "could not calculate SCRAM signatures");
    s->state = HD_SCRAM_DONE;
    return HD_OK;
}

static int step_final(struct hd_scram_server *s, const void *msg, size_t len, struct hd_scram_reply *out,
                      struct hd_error *err)
{
    uint8_t proof[HD_SCRAM_KEY_LEN];
    struct last_message m;
    struct hd_scram_text t;
    int rc;

    if (!msg || hd_scram_text_on(&t, msg, len) || read_last(&t, &m))
        return malformed(s, err, "malformed SCRAM message: not a client-final-message");
    rc = check_binding(s, &m.binding, err);
    if (rc)
        return rc;
    if (!hd_scram_attr_is(&m.nonce, s->nonce, s->nonce_len))
        return malformed(s, err, "invalid SCRAM response: nonce does not match");
    if (hd_base64_decode(m.proof.value, m.proof.len, proof, sizeof(proof)) != (long)sizeof(proof))
        return malformed(s, err, "malformed SCRAM message: malformed proof in client-final-message");
    /* All of it but ",p=" and the proof. */
    if (hd_scram_transcript_add(&s->transcript, msg, len - m.proof.len - strlen(",p=")))
        return malformed(s, err, "malformed SCRAM message: too long");
    rc = prove(s, proof, out, err);
    OPENSSL_cleanse(proof, sizeof(proof));
    return rc;
}

int hd_scram_server_step(struct hd_scram_server *s, const void *msg, size_t len, struct hd_scram_reply *out,
                         struct hd_error *err)
{
    out->len = 0;
    switch (s->state) {
    case HD_SCRAM_FIRST:
        return step_first(s, msg, len, out, err);
    case HD_SCRAM_FINAL:
        return step_final(s, msg, len, out, err);
    default:
        return hd_fail(err, HD_EBUSY, "SASL message out of turn");
    }
}
