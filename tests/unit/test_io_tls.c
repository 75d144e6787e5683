/*
 * TLS under a link: handshake and records in pieces of any size, both ways, under back-pressure and pauses,
 * client certificates, ALPN, what is no TLS at all, and the move to another loop.
 */
#include <errno.h>
#include <howdah/error.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/link.h"
#include "io/tls.h"
#include "unit.h"

/* --- certificates
 * --------------------------------------------------------------------------------------------- */

static char cert_path[64], key_path[64];

static X509 *self_signed(EVP_PKEY *key, const char *name)
{
    X509 *x = X509_new();
    X509_NAME *n = X509_get_subject_name(x);

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, n);
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    return x;
}

/* One certificate, for the server, the client, and as the authority of both. */
static void make_files(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = self_signed(key, "app");
    FILE *f;
    int fd;

    strcpy(cert_path, "/tmp/howdah-tls-cert-XXXXXX");
    strcpy(key_path, "/tmp/howdah-tls-key-XXXXXX");
    fd = mkstemp(cert_path);
    f = fdopen(fd, "w");
    PEM_write_X509(f, x);
    fclose(f);
    fd = mkstemp(key_path);
    f = fdopen(fd, "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void remove_files(void)
{
    unlink(cert_path);
    unlink(key_path);
}

/* --- both ends
 * ------------------------------------------------------------------------------------------------ */

struct end {
    struct hd_link link;
    struct hd_loop loop;
    struct hd_io io;
    struct hd_tls_context *context;
    int peer;
    SSL_CTX *client_ctx;
    SSL *client;
    BIO *in, *out;
    size_t piece; /* so many raw bytes at a time go each way */
    uint8_t *got; /* plain bytes that the link has delivered */
    size_t got_len;
    size_t pause_at; /* the link pauses once it has so many; 0: never */
    int drained, ended, error, released, echo, detached;
};

static struct end *end_of(struct hd_link *l)
{
    return HD_CONTAINER_OF(l, struct end, link);
}

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct end *e = end_of(l);

    e->got = realloc(e->got, e->got_len + len);
    memcpy(e->got + e->got_len, data, len);
    e->got_len += len;
    if (e->echo)
        CU_ASSERT_EQUAL(hd_link_send(l, hd_link_buf(l), data, (uint32_t)len), HD_OK);
    if (e->pause_at && e->got_len >= e->pause_at)
        hd_link_pause(l);
    return len;
}

static void on_drained(struct hd_link *l)
{
    end_of(l)->drained++;
}

static void on_end(struct hd_link *l, int error)
{
    end_of(l)->ended = 1;
    end_of(l)->error = error;
}

static void on_released(struct hd_link *l)
{
    end_of(l)->released = 1;
}

static const struct hd_link_ops ops = {on_data, on_drained, on_end};

static void begin(struct end *e, const char *client_ca, int require)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_tls *tls;
    int fd[2], one = 1;

    memset(e, 0, sizeof(*e));
    e->piece = 100000;
    make_files();
    CU_ASSERT_EQUAL_FATAL(
        hd_tls_context_new(cert_path, key_path, client_ca ? cert_path : NULL, require, &e->context, &err),
        HD_OK);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &one, sizeof(one)); /* small, so that writes block soon */
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&e->loop), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_io_init(&e->io, &e->loop, 64u << 20), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_link_init(&e->link, &e->io, fd[0], &ops), HD_OK);
    tls = hd_tls_accept(e->context);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tls);
    hd_link_set_tls(&e->link, tls);
    e->peer = fd[1];
    e->client_ctx = SSL_CTX_new(TLS_client_method());
    e->client = SSL_new(e->client_ctx);
    e->in = BIO_new(BIO_s_mem());
    e->out = BIO_new(BIO_s_mem());
    SSL_set_bio(e->client, e->in, e->out);
    SSL_set_connect_state(e->client);
}

static void finish(struct end *e)
{
    if (!e->link.closed)
        hd_link_close(&e->link, on_released);
    hd_loop_close(&e->loop);
    CU_ASSERT_EQUAL(e->released, 1);
    hd_io_close(&e->io);
    hd_tls_context_release(e->context);
    SSL_free(e->client);
    SSL_CTX_free(e->client_ctx);
    close(e->peer);
    free(e->got);
    remove_files();
}

/* Raw bytes both ways, a piece each; 0 when there were none. */
static int carry(struct end *e)
{
    uint8_t buf[65536];
    char *p;
    long n = BIO_get_mem_data(e->out, &p);
    ssize_t done;
    int moved = 0;

    if (n > 0) {
        done = write(e->peer, p, (size_t)n < e->piece ? (size_t)n : e->piece);
        if (done > 0) {
            moved = 1;
            while (done > 0)
                done -=
                    BIO_read(e->out, buf, (int)(done < (ssize_t)sizeof(buf) ? done : (ssize_t)sizeof(buf)));
        }
    }
    hd_loop_turn_awake(&e->loop);
    done = read(e->peer, buf, e->piece < sizeof(buf) ? e->piece : sizeof(buf));
    if (done > 0) {
        BIO_write(e->in, buf, (int)done);
        moved = 1;
    }
    return moved;
}

static void carry_all(struct end *e)
{
    while (carry(e))
        ;
    hd_loop_turn_awake(&e->loop);
    while (carry(e))
        ;
}

static int handshake(struct end *e)
{
    for (int i = 0; i < 20000; i++) {
        int n = SSL_do_handshake(e->client);
        int why = SSL_get_error(e->client, n);

        carry_all(e);
        if (n == 1)
            return 1;
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return 0;
    }
    return 0;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

static void client_says(struct end *e, size_t from, size_t total)
{
    uint8_t *p = malloc(total);
    size_t at = 0;

    for (size_t i = 0; i < total; i++)
        p[i] = pattern(from + i);
    while (at < total) {
        int n = SSL_write(e->client, p + at, (int)(total - at));

        if (n > 0)
            at += (size_t)n;
    }
    free(p);
}

static int right(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != pattern(i))
            return 0;
    return 1;
}

/* Reads what the client has got by now, behind `len`. */
static void client_hears(struct end *e, uint8_t *p, size_t *len, size_t cap)
{
    int n;

    while (*len < cap && (n = SSL_read(e->client, p + *len, (int)(cap - *len))) > 0)
        *len += (size_t)n;
}

/* --- cases
 * ---------------------------------------------------------------------------------------------------- */

static void both_ways(size_t piece, size_t total)
{
    struct end e;
    uint8_t *back = malloc(total);
    size_t len = 0;

    begin(&e, NULL, 0);
    e.piece = piece;
    e.echo = 1;
    CU_ASSERT_FATAL(handshake(&e));
    CU_ASSERT_STRING_EQUAL(hd_tls_version(e.link.tls), "TLSv1.3");
    client_says(&e, 0, total);
    for (int i = 0; i < 200000 && len < total; i++) {
        carry(&e);
        client_hears(&e, back, &len, total);
    }
    CU_ASSERT_EQUAL(e.got_len, total);
    CU_ASSERT(right(e.got, e.got_len));
    CU_ASSERT_EQUAL(len, total);
    CU_ASSERT(right(back, len));
    CU_ASSERT_EQUAL(e.ended, 0);
    finish(&e);
    free(back);
}

static void records_in_single_bytes(void)
{
    both_ways(1, 20000);
}

static void records_in_odd_pieces(void)
{
    both_ways(1009, 400000);
}

static void much_in_large_pieces(void)
{
    both_ways(65536, 3000000);
}

/* What TLS holds decrypted when the owner pauses comes when it goes on, though the socket stays silent. */
static void a_pause_keeps_what_is_decrypted(void)
{
    struct end e;

    begin(&e, NULL, 0);
    CU_ASSERT_FATAL(handshake(&e));
    e.pause_at = 1;
    for (size_t i = 0; i < 50; i++)
        client_says(&e, i * 100, 100); /* 50 records in one piece */
    carry_all(&e);
    CU_ASSERT_EQUAL(e.got_len, 100);
    while (e.got_len < 5000 && e.link.paused) {
        size_t before = e.got_len;

        hd_link_resume(&e.link);
        CU_ASSERT_EQUAL(e.got_len, before + 100);
        if (e.got_len == before)
            break;
    }
    CU_ASSERT(right(e.got, e.got_len));
    CU_ASSERT_EQUAL(e.got_len, 5000);
    finish(&e);
}

static void back_pressure_and_its_end(void)
{
    struct end e;
    size_t total = 1000000, len = 0;
    uint8_t *back = malloc(total), *text = malloc(total);

    for (size_t i = 0; i < total; i++)
        text[i] = pattern(i);
    begin(&e, NULL, 0);
    CU_ASSERT_FATAL(handshake(&e));
    CU_ASSERT_EQUAL(hd_link_send_copy(&e.link, text, total), HD_OK);
    CU_ASSERT_EQUAL(e.link.high, 1);
    hd_loop_turn_awake(&e.loop);
    CU_ASSERT_EQUAL(e.link.blocked, 1);
    client_says(&e, 0, 10); /* heard while the link waits to write */
    for (int i = 0; i < 20; i++)
        carry(&e);
    CU_ASSERT_EQUAL(e.got_len, 10);
    for (int i = 0; i < 200000 && len < total; i++) {
        carry(&e);
        client_hears(&e, back, &len, total);
    }
    CU_ASSERT_EQUAL(len, total);
    CU_ASSERT(right(back, len));
    CU_ASSERT_EQUAL(e.drained, 1);
    finish(&e);
    free(back);
    free(text);
}

static void what_is_sent_during_the_handshake_follows_it(void)
{
    struct end e;
    uint8_t back[5];
    size_t len = 0;

    begin(&e, NULL, 0);
    CU_ASSERT_EQUAL(hd_link_send_copy(&e.link, "early", 5), HD_OK);
    carry_all(&e);
    CU_ASSERT_FATAL(handshake(&e));
    carry_all(&e);
    client_hears(&e, back, &len, sizeof(back));
    CU_ASSERT_EQUAL(len, 5);
    CU_ASSERT(!memcmp(back, "early", 5));
    finish(&e);
}

static void the_peer_may_close_in_good_order(void)
{
    struct end e;

    begin(&e, NULL, 0);
    CU_ASSERT_FATAL(handshake(&e));
    client_says(&e, 0, 10);
    SSL_shutdown(e.client);
    carry_all(&e);
    CU_ASSERT_EQUAL(e.got_len, 10);
    CU_ASSERT_EQUAL(e.ended, 1);
    CU_ASSERT_EQUAL(e.error, 0);
    finish(&e);
}

static void what_is_no_tls_ends_the_link(void)
{
    struct end e;

    begin(&e, NULL, 0);
    CU_ASSERT_EQUAL(write(e.peer, "Q\0\0\0\12SELECT", 11), 11);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&e.loop);
    CU_ASSERT_EQUAL(e.ended, 1);
    CU_ASSERT_EQUAL(e.error, EPROTO);
    CU_ASSERT(hd_tls_error(e.link.tls)[0] != 0);
    finish(&e);
}

static void garbage_in_a_record_ends_the_link(void)
{
    struct end e;
    char *p;
    long n;

    begin(&e, NULL, 0);
    CU_ASSERT_FATAL(handshake(&e));
    client_says(&e, 0, 100);
    n = BIO_get_mem_data(e.out, &p);
    CU_ASSERT(n > 20);
    p[n - 1] ^= 1;
    CU_ASSERT_EQUAL(write(e.peer, p, (size_t)n), n);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&e.loop);
    CU_ASSERT_EQUAL(e.got_len, 0);
    CU_ASSERT_EQUAL(e.error, EPROTO);
    finish(&e);
}

static void a_client_certificate_has_a_name(void)
{
    struct end e;
    char name[64];

    begin(&e, cert_path, 1);
    SSL_use_certificate_file(e.client, cert_path, SSL_FILETYPE_PEM);
    SSL_use_PrivateKey_file(e.client, key_path, SSL_FILETYPE_PEM);
    CU_ASSERT_FATAL(handshake(&e));
    carry_all(&e);
    CU_ASSERT_EQUAL(hd_tls_client_name(e.link.tls, name, sizeof(name)), HD_OK);
    CU_ASSERT_STRING_EQUAL(name, "app");
    CU_ASSERT_EQUAL(hd_tls_client_name(e.link.tls, name, 4), HD_ENOENT); /* cut */
    finish(&e);
}

static void a_missing_client_certificate_is_refused(void)
{
    struct end e;
    uint8_t one;

    begin(&e, cert_path, 1);
    handshake(&e);
    carry_all(&e);
    CU_ASSERT_EQUAL(e.ended, 1);
    CU_ASSERT_EQUAL(e.error, EPROTO);
    CU_ASSERT(SSL_read(e.client, &one, 1) <= 0); /* and told so */
    CU_ASSERT_EQUAL(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    ERR_clear_error();
    finish(&e);
}

static void alpn_must_be_ours(void)
{
    static const uint8_t good[] = "\012postgresql", bad[] = "\010http/1.1";
    const unsigned char *chosen;
    unsigned len;
    struct end e;

    begin(&e, NULL, 0);
    SSL_set_alpn_protos(e.client, good, sizeof(good) - 1);
    CU_ASSERT(handshake(&e));
    SSL_get0_alpn_selected(e.client, &chosen, &len);
    CU_ASSERT_EQUAL(len, 10);
    finish(&e);

    begin(&e, NULL, 0);
    SSL_set_alpn_protos(e.client, bad, sizeof(bad) - 1);
    CU_ASSERT(!handshake(&e));
    CU_ASSERT_EQUAL(e.error, EPROTO);
    ERR_clear_error();
    finish(&e);
}

static void on_detached(struct hd_link *l)
{
    end_of(l)->detached = 1;
}

/* Half a record lies in the TLS object while the link moves. */
static void a_link_moves_with_half_a_record(void)
{
    struct end e;
    struct hd_loop other;
    struct hd_io io;
    char *p;
    long n;

    begin(&e, NULL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&other), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_io_init(&io, &other, 1u << 20), HD_OK);
    CU_ASSERT_FATAL(handshake(&e));
    carry_all(&e);
    client_says(&e, 0, 100);
    n = BIO_get_mem_data(e.out, &p);
    CU_ASSERT_EQUAL(write(e.peer, p, 30), 30);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&e.loop);
    CU_ASSERT_EQUAL(e.got_len, 0);
    CU_ASSERT(hd_link_quiet(&e.link));
    hd_link_detach(&e.link, on_detached);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&e.loop);
    CU_ASSERT_EQUAL(e.detached, 1);
    CU_ASSERT_EQUAL(hd_link_attach(&e.link, &io), HD_OK);
    CU_ASSERT_EQUAL(write(e.peer, p + 30, (size_t)n - 30), n - 30);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&other);
    CU_ASSERT_EQUAL(e.got_len, 100);
    CU_ASSERT(right(e.got, e.got_len));
    hd_link_close(&e.link, on_released);
    hd_loop_close(&other);
    hd_io_close(&io);
    finish(&e);
}

static void contexts_name_what_is_wrong(void)
{
    struct hd_tls_context *c = NULL;
    struct hd_error err = HD_ERROR_INIT;

    make_files();
    CU_ASSERT_EQUAL(hd_tls_context_new("/nowhere.crt", key_path, NULL, 0, &c, &err), HD_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nowhere.crt"));
    CU_ASSERT_EQUAL(hd_tls_context_new(cert_path, cert_path, NULL, 0, &c, &err), HD_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "tls_key"));
    CU_ASSERT_EQUAL(hd_tls_context_new(cert_path, key_path, key_path, 0, &c, &err), HD_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "tls_client_ca"));
    remove_files();
}

UNIT_MAIN("io_tls", {"records in single bytes", records_in_single_bytes},
          {"records in odd pieces", records_in_odd_pieces}, {"much in large pieces", much_in_large_pieces},
          {"a pause keeps what is decrypted", a_pause_keeps_what_is_decrypted},
          {"back-pressure and its end", back_pressure_and_its_end},
          {"what is sent during the handshake follows it", what_is_sent_during_the_handshake_follows_it},
          {"the peer may close in good order", the_peer_may_close_in_good_order},
          {"what is no TLS ends the link", what_is_no_tls_ends_the_link},
          {"garbage in a record ends the link", garbage_in_a_record_ends_the_link},
          {"a client certificate has a name", a_client_certificate_has_a_name},
          {"a missing client certificate is refused", a_missing_client_certificate_is_refused},
          {"ALPN must be ours", alpn_must_be_ours},
          {"a link moves with half a record", a_link_moves_with_half_a_record},
          {"contexts name what is wrong", contexts_name_what_is_wrong})
