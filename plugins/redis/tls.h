/*
 * TLS towards Redis: what is configured, and one connection's part of it. OpenSSL reads and writes the socket
 * itself, which never blocks; the connection calls again when the socket is ready.
 */
#ifndef HD_PLUGINS_REDIS_TLS_H
#define HD_PLUGINS_REDIS_TLS_H

#include "redis/url.h"

#include <howdah/howdah.h>
#include <sys/types.h>

/* What is verified of a server's certificate: enum values of tls_verify. */
#define RDS_VERIFY_FULL 0 /* who has signed it, and the name or address that we connect to */
#define RDS_VERIFY_CA   1 /* who has signed it */
#define RDS_VERIFY_NONE 2

/* A part of a plugin's configuration, filled by RDS_TLS_OPTIONS. */
struct rds_tls_conf {
    struct hd_str ca_file, cert_file, key_file;
    int32_t verify; /* RDS_VERIFY_… */
    int32_t reserved;
};

#define RDS_TLS_OPTION(type, key, initial, choices, doc, kind, member)                                       \
    {                                                                                                        \
        key, initial, choices, doc, 0, 0, kind, 0, offsetof(type, member), 0                                 \
    }

/* Rows of a plugin's table of options; `at` is the member of its struct that is an rds_tls_conf. */
#define RDS_TLS_OPTIONS(type, at)                                                                            \
    RDS_TLS_OPTION(type, "tls_ca_file", NULL, NULL,                                                          \
                   "With rediss://: PEM certificates of who may sign a server's; the system's when empty",   \
                   HD_OPT_STRING, at.ca_file),                                                               \
        RDS_TLS_OPTION(type, "tls_cert_file", NULL, NULL,                                                    \
                       "With rediss://: PEM certificate for servers that ask for one", HD_OPT_STRING,        \
                       at.cert_file),                                                                        \
        RDS_TLS_OPTION(type, "tls_key_file", NULL, NULL, "The PEM private key of tls_cert_file",             \
                       HD_OPT_STRING, at.key_file),                                                          \
        RDS_TLS_OPTION(type, "tls_verify", "full", "full|ca|none",                                           \
                       "With rediss://: what is verified of a server's certificate: who has signed it and "  \
                       "the name or address in it; who has signed it; nothing",                              \
                       HD_OPT_ENUM, at.verify)

/* Shared by all connections of a plugin. */
struct rds_tls;
/* One connection's. */
struct rds_tls_session;

/* NULL in *out where the URL is one without TLS; then nothing may be configured. Errors name the file. */
int32_t rds_tls_new(const struct rds_tls_conf *conf, const struct rds_url *url, struct rds_tls **out,
                    struct hd_error *err);
void rds_tls_free(struct rds_tls *t); /* NULL is allowed */

/* What a call on a session came to, if it did not go through: wait until the socket is readable, or writable,
 * or give the connection up. */
enum rds_tls_wait { RDS_TLS_DONE, RDS_TLS_READ, RDS_TLS_WRITE, RDS_TLS_FAILED };

/* For a socket that is connected to that server; NULL: no memory. */
struct rds_tls_session *rds_tls_begin(const struct rds_tls *t, int fd, const struct rds_address *where);
void rds_tls_end(struct rds_tls_session *s); /* NULL is allowed */
/* Goes on with the handshake. */
enum rds_tls_wait rds_tls_shake(struct rds_tls_session *s);
/* As recv() and send(): -1 with EAGAIN while the socket has to be waited for, -1 with EPROTO: see
 * rds_tls_why(). */
ssize_t rds_tls_receive(struct rds_tls_session *s, void *bytes, size_t room);
ssize_t rds_tls_send(struct rds_tls_session *s, const void *bytes, size_t len);
/* Why it failed. */
const char *rds_tls_why(const struct rds_tls_session *s);

#endif
