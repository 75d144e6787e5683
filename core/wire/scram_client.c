/*
 * The client's side of SCRAM, with a password or with the keys alone.
 */
#include "wire/scram_parts.h"
#include "wire/base64.h"

#include <openssl/crypto.h>
#include <string.h>

void hd_scram_client_init(struct hd_scram_client *c, const char *user, const char *password, size_t len)
{
    memset(c, 0, sizeof(*c));
    c->state = HD_SCRAM_CHOOSE;
    c->user = user;
    c->password = password;
    c->password_len = len;
    hd_scram_nonce_make(c->own_nonce);
}

void hd_scram_client_init_keys(struct hd_scram_client *c, const char *user,
                               const uint8_t client_key[HD_SCRAM_KEY_LEN],
                               const uint8_t server_key[HD_SCRAM_KEY_LEN])
{
    hd_scram_client_init(c, user, NULL, 0);
    memcpy(c->client_key, client_key, HD_SCRAM_KEY_LEN);
    memcpy(c->server_key, server_key, HD_SCRAM_KEY_LEN);
}

void hd_scram_client_bind(struct hd_scram_client *c, const uint8_t *binding, size_t len)
{
    HD_CHECK(len && len <= HD_SCRAM_BINDING_MAX);
    memcpy(c->binding, binding, len);
    c->binding_len = len;
}

void hd_scram_client_wipe(struct hd_scram_client *c)
{
    OPENSSL_cleanse(c, sizeof(*c));
}

static int refuse(struct hd_scram_client *c, int code, struct hd_error *err, const char *what)
{
    c->state = HD_SCRAM_FAILED;
    return hd_fail(err, code, "%s", what);
}

static char binding_flag(const struct hd_scram_client *c)
{
    return c->binding_len ? 'p' : 'n';
}

/* Name and nonce. */
static int say_first(struct hd_scram_client *c, struct hd_scram_reply *out, struct hd_error *err)
{
    const char *header = hd_scram_binding_header(binding_flag(c));
    size_t skip = strlen(header);

    if (strpbrk(c->user, ",="))
        return refuse(c, HD_EINVAL, err, "SCRAM user name with a comma or an equals sign");
    if (hd_scram_reply_printf(out, "%sn=%s,r=%s", header, c->user, c->own_nonce) ||
        hd_scram_transcript_add(&c->transcript, out->text + skip, out->len - skip))
        return refuse(c, HD_EINVAL, err, "SCRAM user name too long");
    c->state = HD_SCRAM_FIRST;
    return HD_PENDING;
}

/* What the server's first message says. */
struct server_first {
    struct hd_scram_attr nonce;
    uint8_t salt[HD_SCRAM_SALT_MAX];
    size_t salt_len;
    uint32_t iterations;
};

static int read_first(const struct hd_scram_client *c, const void *msg, size_t len, struct server_first *f)
{
    size_t own = strlen(c->own_nonce);
    struct hd_scram_attr salt, iterations;
    struct hd_scram_text t;
    long salt_len;

    if (!msg || hd_scram_text_on(&t, msg, len) || hd_scram_attr_named(&t, 'r', &f->nonce) ||
        hd_scram_attr_named(&t, 's', &salt) || hd_scram_attr_named(&t, 'i', &iterations))
        return HD_EPROTO;
    /* Ours in front and something of the server's behind, else an old answer could be played again. */
    if (!hd_scram_nonce_valid(f->nonce.value, f->nonce.len, own + HD_SCRAM_NONCE_MAX) ||
        f->nonce.len <= own || memcmp(f->nonce.value, c->own_nonce, own))
        return HD_EPROTO;
    salt_len = hd_base64_decode(salt.value, salt.len, f->salt, sizeof(f->salt));
    f->iterations = hd_scram_iterations(iterations.value, iterations.len);
    if (salt_len <= 0 || !f->iterations)
        return HD_EPROTO;
    f->salt_len = (size_t)salt_len;
    return HD_OK;
}

/* The proof: the key under the signature that its hash gives of all that was said. */
static int make_proof(struct hd_scram_client *c, char out[HD_SCRAM_KEY_TEXT])
{
    uint8_t stored[HD_SCRAM_KEY_LEN], proof[HD_SCRAM_KEY_LEN];
    int rc = hd_scram_hash(c->client_key, stored);

    if (!rc)
        rc = hd_scram_hmac(stored, c->transcript.text, c->transcript.len, proof);
    if (!rc) {
        hd_scram_xor(c->client_key, proof, proof);
        hd_base64_encode(proof, sizeof(proof), out);
    }
    OPENSSL_cleanse(stored, sizeof(stored));
    return rc;
}

/* Binding and nonce into out; the transcript then has all three texts. */
static int say_unproved(struct hd_scram_client *c, const struct hd_scram_attr *nonce, const void *msg,
                        size_t len, struct hd_scram_reply *out)
{
    char binding[HD_SCRAM_BINDING_TEXT];
    int rc;

    hd_scram_binding_text(binding_flag(c), c->binding, c->binding_len, binding);
    rc = hd_scram_reply_printf(out, "c=%s,r=%.*s", binding, (int)nonce->len, nonce->value);
    if (!rc)
        rc = hd_scram_transcript_add(&c->transcript, msg, len);
    return rc ? rc : hd_scram_transcript_add(&c->transcript, out->text, out->len);
}

static int say_last(struct hd_scram_client *c, const void *msg, size_t len, struct hd_scram_reply *out,
                    struct hd_error *err)
{
    struct server_first f;
    char proof[HD_SCRAM_KEY_TEXT];
    int rc;

    if (read_first(c, msg, len, &f))
        return refuse(c, HD_EPROTO, err, "malformed SCRAM message from the server");
    if (say_unproved(c, &f.nonce, msg, len, out))
        return refuse(c, HD_EPROTO, err, "SCRAM message from the server is too long");
    rc = c->password ? hd_scram_derive_keys(c->password, c->password_len, f.salt, f.salt_len, f.iterations,
                                            c->client_key, c->server_key)
                     : HD_OK;
    c->password = NULL;
    if (!rc)
        rc = make_proof(c, proof);
    if (rc)
        return refuse(c, rc, err, "could not calculate the SCRAM proof");
    /* The bound of the nonce leaves room for it. */
    HD_CHECK(out->len + 3 + sizeof(proof) <= sizeof(out->text));
    memcpy(out->text + out->len, ",p=", 3);
    memcpy(out->text + out->len + 3, proof, sizeof(proof));
    out->len += 3 + strlen(proof);
    c->state = HD_SCRAM_FINAL;
    return HD_PENDING;
}

/* The server's own proof. */
static int hear_last(struct hd_scram_client *c, const void *msg, size_t len, struct hd_error *err)
{
    uint8_t want[HD_SCRAM_KEY_LEN], got[HD_SCRAM_KEY_LEN];
    struct hd_scram_attr a;
    struct hd_scram_text t;

    if (!msg || hd_scram_text_on(&t, msg, len) || hd_scram_attr_next(&t, &a))
        return refuse(c, HD_EPROTO, err, "malformed SCRAM message from the server");
    if (a.name == 'e')
        return refuse(c, HD_EPERM, err, "the server refused the SCRAM proof");
    if (a.name != 'v' || hd_base64_decode(a.value, a.len, got, sizeof(got)) != (long)sizeof(got))
        return refuse(c, HD_EPROTO, err, "malformed SCRAM signature from the server");
    if (hd_scram_hmac(c->server_key, c->transcript.text, c->transcript.len, want))
        return refuse(c, HD_EFAIL, err, "could not calculate the SCRAM signature");
    if (CRYPTO_memcmp(want, got, sizeof(want)))
        return refuse(c, HD_EPERM, err, "the server does not know the password: wrong SCRAM signature");
    c->state = HD_SCRAM_DONE;
    return HD_OK;
}

int hd_scram_client_step(struct hd_scram_client *c, const void *msg, size_t len, struct hd_scram_reply *out,
                         struct hd_error *err)
{
    out->len = 0;
    switch (c->state) {
    case HD_SCRAM_CHOOSE:
        return say_first(c, out, err);
    case HD_SCRAM_FIRST:
        return say_last(c, msg, len, out, err);
    case HD_SCRAM_FINAL:
        return hear_last(c, msg, len, err);
    default:
        return hd_fail(err, HD_EBUSY, "SASL message out of turn");
    }
}
