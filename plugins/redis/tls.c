/*
 * OpenSSL's client side; see tls.h. Renegotiation is off, so that after the handshake reading waits for the
 * socket to be readable and writing for it to be writable, but for what a side has to say of its keys.
 */
#include "redis/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rds_tls {
    SSL_CTX *ctx;
    int verify; /* RDS_VERIFY_… */
};

struct rds_tls_session {
    SSL *ssl;
    int up; /* the handshake is done */
    char why[160];
};

/* --- configuration ---------------------------------------------------------------------------------------
 */

static int32_t openssl_failed(struct hd_error *err, const char *what, struct hd_str file)
{
    char text[160] = "no reason given";
    unsigned long e = ERR_peek_last_error();

    if (e)
        ERR_error_string_n(e, text, sizeof(text));
    ERR_clear_error();
    return hd_error_set(err, HD_EINVAL, "%s cannot be used: %.*s: %s", what, (int)file.len, file.ptr, text);
}

static int32_t load_authorities(SSL_CTX *ctx, struct hd_str file, struct hd_error *err)
{
    char *path = hd_str_dup(file);
    int good = path && (file.len ? SSL_CTX_load_verify_locations(ctx, path, NULL) == 1
                                 : SSL_CTX_set_default_verify_paths(ctx) == 1);

    free(path);
    return good ? HD_OK : openssl_failed(err, "tls_ca_file", file);
}

static int32_t load_own(SSL_CTX *ctx, const struct rds_tls_conf *conf, struct hd_error *err)
{
    char *cert = hd_str_dup(conf->cert_file), *key = hd_str_dup(conf->key_file);
    int32_t code = HD_OK;

    if (!cert || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        code = openssl_failed(err, "tls_cert_file", conf->cert_file);
    else if (!key || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        code = openssl_failed(err, "tls_key_file, which has to fit tls_cert_file,", conf->key_file);
    free(cert);
    free(key);
    return code;
}

static int32_t check(const struct rds_tls_conf *conf, const struct rds_url *url, struct hd_error *err)
{
    int given = conf->ca_file.len || conf->cert_file.len || conf->key_file.len || conf->verify;

    if (given && !url->tls)
        return hd_error_set(
            err, HD_EINVAL,
            "tls_… is set, but the url is one without TLS: write rediss:// (rediss+sentinel://, "
            "rediss+cluster://)");
    if (!conf->cert_file.len != !conf->key_file.len)
        return hd_error_set(err, HD_EINVAL, "tls_cert_file and tls_key_file go together");
    return HD_OK;
}

int32_t rds_tls_new(const struct rds_tls_conf *conf, const struct rds_url *url, struct rds_tls **out,
                    struct hd_error *err)
{
    int32_t code = check(conf, url, err);
    struct rds_tls *t;

    *out = NULL;
    if (code || !url->tls)
        return code;
    t = calloc(1, sizeof(*t));
    if (!t || !(t->ctx = SSL_CTX_new(TLS_client_method()))) {
        free(t);
        return hd_error_set(err, HD_ENOMEM, "no memory for TLS");
    }
    t->verify = conf->verify;
    SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    /* What Redis says tells its own end, so that nobody can cut it unseen. */
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(t->ctx, t->verify == RDS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    code = load_authorities(t->ctx, conf->ca_file, err);
    if (!code && conf->cert_file.len)
        code = load_own(t->ctx, conf, err);
    if (code)
        rds_tls_free(t);
    else
        *out = t;
    return code;
}

void rds_tls_free(struct rds_tls *t)
{
    if (t)
        SSL_CTX_free(t->ctx);
    free(t);
}

/* --- a connection ----------------------------------------------------------------------------------------
 */

/* Who the server has to be. Names go to the server, too, which may have a certificate for each. */
static int expect(SSL *ssl, const struct rds_tls *t, const char *host)
{
    unsigned char binary[16];
    int is_address = inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1;

    if (!is_address && SSL_set_tlsext_host_name(ssl, host) != 1)
        return 0;
    if (t->verify != RDS_VERIFY_FULL)
        return 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1
                      : SSL_set1_host(ssl, host) == 1;
}

struct rds_tls_session *rds_tls_begin(const struct rds_tls *t, int fd, const struct rds_address *where)
{
    struct rds_tls_session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->ssl = SSL_new(t->ctx);
    if (s->ssl && SSL_set_fd(s->ssl, fd) == 1 && expect(s->ssl, t, where->host)) {
        SSL_set_connect_state(s->ssl);
        return s;
    }
    rds_tls_end(s);
    return NULL;
}

void rds_tls_end(struct rds_tls_session *s)
{
    if (!s)
        return;
    if (s->up && !*s->why)
        SSL_shutdown(s->ssl); /* a word of goodbye; its answer is not waited for */
    SSL_free(s->ssl);
    ERR_clear_error();
    free(s);
}

static void note_why(struct rds_tls_session *s, int error)
{
    long verified = SSL_get_verify_result(s->ssl);
    unsigned long e = ERR_peek_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    if (!s->up && verified != X509_V_OK)
        snprintf(s->why, sizeof(s->why), "TLS: the server's certificate is refused: %s",
                 X509_verify_cert_error_string(verified));
    else if (error == SSL_ERROR_SYSCALL && errno)
        snprintf(s->why, sizeof(s->why), "TLS: %s", strerror(errno));
    else
        snprintf(s->why, sizeof(s->why), "TLS: %s",
                 reason ? reason : "the server has closed the connection, or does not speak TLS");
}

/* What has come of a call that returned this. */
static enum rds_tls_wait outcome(struct rds_tls_session *s, int returned)
{
    int error = SSL_get_error(s->ssl, returned);

    if (error == SSL_ERROR_WANT_READ)
        return RDS_TLS_READ;
    if (error == SSL_ERROR_WANT_WRITE)
        return RDS_TLS_WRITE;
    note_why(s, error);
    return RDS_TLS_FAILED;
}

enum rds_tls_wait rds_tls_shake(struct rds_tls_session *s)
{
    int returned;

    ERR_clear_error();
    errno = 0;
    returned = SSL_do_handshake(s->ssl);
    if (returned != 1)
        return outcome(s, returned);
    s->up = 1;
    return RDS_TLS_DONE;
}

ssize_t rds_tls_receive(struct rds_tls_session *s, void *bytes, size_t room)
{
    size_t n = 0;
    int returned;

    ERR_clear_error();
    errno = 0;
    returned = SSL_read_ex(s->ssl, bytes, room, &n);
    if (returned == 1)
        return (ssize_t)n;
    if (SSL_get_error(s->ssl, returned) == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = outcome(s, returned) == RDS_TLS_FAILED ? EPROTO : EAGAIN;
    return -1;
}

ssize_t rds_tls_send(struct rds_tls_session *s, const void *bytes, size_t len)
{
    size_t n = 0;
    int returned;

    ERR_clear_error();
    errno = 0;
    returned = SSL_write_ex(s->ssl, bytes, len, &n);
    if (returned == 1)
        return (ssize_t)n;
    errno = outcome(s, returned) == RDS_TLS_FAILED ? EPROTO : EAGAIN;
    return -1;
}

const char *rds_tls_why(const struct rds_tls_session *s)
{
    return s->why;
}
