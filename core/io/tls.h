/*
 * TLS over memory: an OpenSSL connection that is fed raw bytes and gives raw bytes, so that any engine can
 * carry it. Contexts are made from files on the control thread and shared by all connections of a listener.
 */
#ifndef HD_IO_TLS_H
#define HD_IO_TLS_H

#include <howdah/error.h>
#include <stddef.h>
#include <stdint.h>

struct hd_tls;
struct hd_tls_context; /* counted, thread-safe */
struct ssl_st;

/* OpenSSL's memory comes through base/alloc.h and is counted there; before anything else of OpenSSL is used.
 */
void hd_tls_count_memory(void);

/* A server's context. `client_ca` NULL: client certificates are not asked for; `require_client`: refuse
 * clients without one. TLS 1.2 and up, ALPN "postgresql". Errors name the file. */
int hd_tls_context_new(const char *cert, const char *key, const char *client_ca, int require_client,
                       struct hd_tls_context **out, struct hd_error *err);
struct hd_tls_context *hd_tls_context_hold(struct hd_tls_context *c);
void hd_tls_context_release(struct hd_tls_context *c);

/* A connection that accepts. NULL: no memory. */
struct hd_tls *hd_tls_accept(struct hd_tls_context *c);
/* Takes over a connection whose handshake libpq has done; `ssl` stays libpq's, its transport becomes ours. */
struct hd_tls *hd_tls_adopt(struct ssl_st *ssl);
void hd_tls_free(struct hd_tls *t);

/* Raw bytes that arrived. HD_OK or HD_ENOMEM. */
int hd_tls_feed(struct hd_tls *t, const void *raw, size_t len);
/* Plain bytes: how many; 0: none yet; HD_ECANCELLED: the peer closed; HD_EPROTO: broken. Does the handshake.
 */
int hd_tls_read(struct hd_tls *t, void *plain, size_t cap);
/* Encrypts; how many plain bytes were taken; 0: not now; HD_EPROTO. */
int hd_tls_write(struct hd_tls *t, const void *plain, size_t len);
/* Is the handshake done? */
int hd_tls_ready(const struct hd_tls *t);
/* Raw bytes to send; stay until hd_tls_sent. */
size_t hd_tls_pending_send(struct hd_tls *t, const uint8_t **raw);
void hd_tls_sent(struct hd_tls *t, size_t len);
int hd_tls_wants_send(struct hd_tls *t);

/* Was a protocol agreed on by ALPN? It can be none but ours. */
int hd_tls_alpn(struct hd_tls *t);

/* For SCRAM-SHA-256-PLUS: the hash of our own certificate (RFC 5929, tls-server-end-point); its length, or 0.
 */
size_t hd_tls_end_point(struct hd_tls *t, uint8_t out[64]);
/* The common name of the verified client certificate; 0, or HD_ENOENT. */
int hd_tls_client_name(struct hd_tls *t, char *out, size_t cap);
/* "TLSv1.3", and the cipher's name. */
const char *hd_tls_version(struct hd_tls *t);
const char *hd_tls_cipher(struct hd_tls *t);
/* Why the last call failed, as OpenSSL puts it. */
const char *hd_tls_error(struct hd_tls *t);

#endif
