/*
 * TLS over memory BIOs; see tls.h.
 */
#include "io/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"

struct hd_tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    int borrowed;  /* libpq frees ssl */
    char error[128];
};

/* An SSL_CTX counts its own references, so the context is nothing but one. */
static SSL_CTX *ctx_of(struct hd_tls_context *c)
{
    return (SSL_CTX *)c;
}

static int openssl_fail(struct hd_error *err, const char *what, const char *file)
{
    char text[160] = "no reason given";
    unsigned long e = ERR_peek_last_error();

    if (e)
        ERR_error_string_n(e, text, sizeof(text));
    ERR_clear_error();
    return hd_fail(err, HD_EINVAL, "%s \"%s\": %s", what, file, text);
}

/* A client that speaks ALPN must speak ours; one that does not is an ordinary SSLRequest client. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
                       unsigned inlen, void *arg)
{
    static const unsigned char ours[] = "\012postgresql";
    unsigned char *pick;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&pick, outlen, ours, sizeof(ours) - 1, in, inlen) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = pick;
    return SSL_TLSEXT_ERR_OK;
}

static int load_files(SSL_CTX *ctx, const char *cert, const char *key, const char *client_ca,
                      struct hd_error *err)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return openssl_fail(err, "tls_cert cannot be used, a PEM certificate is expected:", cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return openssl_fail(err,
                            "tls_key cannot be used, a PEM private key that fits tls_cert is expected:", key);
    if (!client_ca)
        return HD_OK;
    if (SSL_CTX_load_verify_locations(ctx, client_ca, NULL) != 1)
        return openssl_fail(err, "tls_client_ca cannot be used, PEM certificates are expected:", client_ca);
    SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(client_ca));
    return HD_OK;
}

int hd_tls_context_new(const char *cert, const char *key, const char *client_ca, int require_client,
                       struct hd_tls_context **out, struct hd_error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int code;

    if (!ctx)
        return hd_fail(err, HD_ENOMEM, "no memory for a TLS context");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0); /* unread, they would turn a client's close into a reset */
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    code = load_files(ctx, cert, key, client_ca, err);
    if (code) {
        SSL_CTX_free(ctx);
        return code;
    }
    if (client_ca)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (require_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                           NULL);
    *out = (struct hd_tls_context *)ctx;
    return HD_OK;
}

struct hd_tls_context *hd_tls_context_hold(struct hd_tls_context *c)
{
    if (c)
        SSL_CTX_up_ref(ctx_of(c));
    return c;
}

void hd_tls_context_release(struct hd_tls_context *c)
{
    SSL_CTX_free(ctx_of(c));
}

static struct hd_tls *wrap(SSL *ssl, int borrowed)
{
    struct hd_tls *t = hd_calloc(1, sizeof(*t));
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

    if (!t || !in || !out) {
        BIO_free(in);
        BIO_free(out);
        hd_free(t);
        return NULL;
    }
    BIO_set_mem_eof_return(in, -1);
    BIO_set_mem_eof_return(out, -1);
    SSL_set_bio(ssl, in, out);
    t->ssl = ssl;
    t->in = in;
    t->out = out;
    t->borrowed = borrowed;
    return t;
}

struct hd_tls *hd_tls_accept(struct hd_tls_context *c)
{
    SSL *ssl = SSL_new(ctx_of(c));
    struct hd_tls *t;

    if (!ssl)
        return NULL;
    SSL_set_accept_state(ssl);
    t = wrap(ssl, 0);
    if (!t)
        SSL_free(ssl);
    return t;
}

struct hd_tls *hd_tls_adopt(struct ssl_st *ssl)
{
    SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return wrap(ssl, 1);
}

void hd_tls_free(struct hd_tls *t)
{
    if (!t)
        return;
    if (!t->borrowed)
        SSL_free(t->ssl);
    hd_free(t);
}

int hd_tls_feed(struct hd_tls *t, const void *raw, size_t len)
{
    return BIO_write(t->in, raw, (int)len) == (int)len ? HD_OK : HD_ENOMEM;
}

/* What a failed SSL call means to the caller. */
static int outcome(struct hd_tls *t, int n)
{
    unsigned long e;

    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return HD_ECANCELLED;
    default:
        e = ERR_peek_last_error();
        ERR_error_string_n(e, t->error, sizeof(t->error));
        ERR_clear_error();
        return HD_EPROTO;
    }
}

int hd_tls_read(struct hd_tls *t, void *plain, size_t cap)
{
    int n;

    ERR_clear_error();
    n = SSL_read(t->ssl, plain, cap > INT32_MAX ? INT32_MAX : (int)cap);
    return n > 0 ? n : outcome(t, n);
}

int hd_tls_write(struct hd_tls *t, const void *plain, size_t len)
{
    int n;

    ERR_clear_error();
    n = SSL_write(t->ssl, plain, len > INT32_MAX ? INT32_MAX : (int)len);
    return n > 0 ? n : outcome(t, n);
}

int hd_tls_ready(const struct hd_tls *t)
{
    return SSL_is_init_finished(t->ssl);
}

size_t hd_tls_pending_send(struct hd_tls *t, const uint8_t **raw)
{
    char *p = NULL;
    long n = BIO_get_mem_data(t->out, &p);

    *raw = (const uint8_t *)p;
    return n > 0 ? (size_t)n : 0;
}

void hd_tls_sent(struct hd_tls *t, size_t len)
{
    char skip[4096];

    while (len) {
        int n = BIO_read(t->out, skip, len < sizeof(skip) ? (int)len : (int)sizeof(skip));

        HD_CHECK(n > 0);
        len -= (size_t)n;
    }
}

int hd_tls_wants_send(struct hd_tls *t)
{
    return BIO_ctrl_pending(t->out) > 0;
}

int hd_tls_alpn(struct hd_tls *t)
{
    const unsigned char *name;
    unsigned len = 0;

    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return len > 0;
}

static void *counted_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n ? hd_malloc(n) : NULL;
}

static void *counted_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    if (n)
        return hd_realloc(p, n);
    hd_free(p);
    return NULL;
}

static void counted_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    hd_free(p);
}

void hd_tls_count_memory(void)
{
    CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free);
}

size_t hd_tls_end_point(struct hd_tls *t, uint8_t out[64])
{
    X509 *cert = SSL_get_certificate(t->ssl);
    int digest, pkey;
    unsigned len = 0;
    const EVP_MD *md;

    if (!cert || !OBJ_find_sigid_algs(X509_get_signature_nid(cert), &digest, &pkey))
        return 0;
    /* RFC 5929: MD5 and SHA-1 are replaced by SHA-256. */
    if (digest == NID_md5 || digest == NID_sha1 || digest == NID_undef)
        digest = NID_sha256;
    md = EVP_get_digestbynid(digest);
    return md && X509_digest(cert, md, out, &len) == 1 ? len : 0;
}

int hd_tls_client_name(struct hd_tls *t, char *out, size_t cap)
{
    X509 *cert = SSL_get1_peer_certificate(t->ssl);
    int n = -1;

    if (!cert)
        return HD_ENOENT;
    if (SSL_get_verify_result(t->ssl) == X509_V_OK)
        n = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out, (int)cap);
    X509_free(cert);
    /* A name with a NUL inside, or cut, is nobody's. */
    return n > 0 && (size_t)n < cap - 1 && strlen(out) == (size_t)n ? HD_OK : HD_ENOENT;
}

const char *hd_tls_version(struct hd_tls *t)
{
    return SSL_get_version(t->ssl);
}

const char *hd_tls_cipher(struct hd_tls *t)
{
    return SSL_get_cipher_name(t->ssl);
}

const char *hd_tls_error(struct hd_tls *t)
{
    return t->error;
}
