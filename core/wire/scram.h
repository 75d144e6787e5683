/*
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) as PostgreSQL speaks them: verifiers, the
 * server's side and the client's.
 *
 * No memory is allocated, and none is sized by the other side: what is longer than the bounds below is
 * refused. Secrets are compared in constant time and wiped when they are done with.
 *
 * A verifier is made of a password as PostgreSQL prepares it (SASLprep, which leaves ASCII alone). Where keys
 * are derived with a given salt the password is taken as the bytes that it is: that is for tests.
 */
#ifndef HD_WIRE_SCRAM_H
#define HD_WIRE_SCRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"

#define HD_SCRAM_SHA_256      "SCRAM-SHA-256"
#define HD_SCRAM_SHA_256_PLUS "SCRAM-SHA-256-PLUS"

#define HD_SCRAM_KEY_LEN        32u
#define HD_SCRAM_SALT_LEN       16u   /* of a salt that is made here */
#define HD_SCRAM_SALT_MAX       64u   /* of any */
#define HD_SCRAM_ITERATIONS     4096u /* of a verifier that is made here */
#define HD_SCRAM_ITERATIONS_MAX 10000000u
#define HD_SCRAM_PASSWORD_MAX   65535u
#define HD_SCRAM_MESSAGE_MAX    1024u /* of either side */
#define HD_SCRAM_NONCE_MAX      256u  /* of the other side's part */
#define HD_SCRAM_OWN_NONCE_LEN  24u   /* of our part */
#define HD_SCRAM_BINDING_MAX    64u   /* a certificate's hash */
/* Room for a verifier's text and its NUL. */
#define HD_SCRAM_VERIFIER_TEXT 208u

/* ---- verifiers ---- */

/* What a server keeps of a password. Expensive to make from one (thousands of hashes): make it once and keep
 * it. */
struct hd_scram_verifier {
    uint32_t iterations;
    uint32_t salt_len;
    uint8_t salt[HD_SCRAM_SALT_MAX];
    uint8_t stored_key[HD_SCRAM_KEY_LEN];
    uint8_t server_key[HD_SCRAM_KEY_LEN];
};

/* Does the text claim to be a verifier, rather than a password? */
int hd_scram_is_verifier(const char *text);
/* Reads SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>. HD_EINVAL: it is not one; the text never
 * repeats any of it. */
int hd_scram_verifier_parse(const char *text, struct hd_scram_verifier *out,
                            struct hd_error *err) HD_MUST_USE;
/* Writes that form; `out` has HD_SCRAM_VERIFIER_TEXT bytes. */
void hd_scram_verifier_format(const struct hd_scram_verifier *v, char *out);
/* Makes one, with a random salt and the usual iterations. Takes milliseconds. */
int hd_scram_verifier_make(const char *password, size_t len, struct hd_scram_verifier *out) HD_MUST_USE;
/* Makes one with the salt and iterations that already stand in `v`. */
int hd_scram_verifier_derive(const char *password, size_t len, struct hd_scram_verifier *v) HD_MUST_USE;
/* One that no password fits, for a user who does not exist: the same user always gets the same salt from the
 * same secret, so that asking twice tells nothing. */
int hd_scram_verifier_mock(const uint8_t secret[HD_SCRAM_KEY_LEN], const char *user,
                           struct hd_scram_verifier *out) HD_MUST_USE;
void hd_scram_verifier_wipe(struct hd_scram_verifier *v);

/* ---- messages ---- */

/* A SASLInitialResponse. */
struct hd_sasl_initial {
    const char *mechanism;
    const uint8_t *data; /* NULL: the client lets the server speak first */
    size_t len;
};

/* 0, or HD_EPROTO. */
int hd_sasl_initial_parse(const void *body, size_t len, struct hd_sasl_initial *out) HD_MUST_USE;

/* What one side has to say next. */
struct hd_scram_reply {
    size_t len;
    char text[HD_SCRAM_MESSAGE_MAX + 1];
};

/* The texts that both sides sign: two of a client's and one of a server's, with commas between them. */
struct hd_scram_transcript {
    size_t len;
    char text[3 * HD_SCRAM_MESSAGE_MAX + 3];
};

/* ---- the server's side ---- */

enum hd_scram_state {
    HD_SCRAM_CHOOSE, /* the mechanism is still to be chosen */
    HD_SCRAM_FIRST,  /* waiting for the other side's first message */
    HD_SCRAM_FINAL,  /* and for its last */
    HD_SCRAM_DONE,
    HD_SCRAM_FAILED,
};

/* One login. On the stack or in a session's login part; ends with hd_scram_server_wipe. */
struct hd_scram_server {
    enum hd_scram_state state;
    int exists;           /* is there such a user? else the proof fails whatever it is */
    int plus;             /* SCRAM-SHA-256-PLUS was chosen */
    char binding_flag;    /* n, y or p, as the client said */
    const char *sqlstate; /* of the refusal, when there was one */
    struct hd_scram_verifier verifier;
    uint8_t binding[HD_SCRAM_BINDING_MAX]; /* tls-server-end-point of our certificate */
    size_t binding_len;                    /* 0: PLUS is not offered */
    char own_nonce[HD_SCRAM_NONCE_MAX + 1];
    size_t nonce_len;
    char nonce[2 * HD_SCRAM_NONCE_MAX + 1]; /* the client's part and ours */
    struct hd_scram_transcript transcript;
    uint8_t client_key[HD_SCRAM_KEY_LEN]; /* once DONE: logs in to servers that know the same verifier */
};

/* Begins with a copy of `v`; `exists` is 0 for a mock. `binding` may be NULL, else PLUS is offered (and
 * binding_len is at most HD_SCRAM_BINDING_MAX). */
void hd_scram_server_init(struct hd_scram_server *s, const struct hd_scram_verifier *v, int exists,
                          const uint8_t *binding, size_t binding_len);
/* 0, or HD_EPROTO for a mechanism that was not offered. */
int hd_scram_server_choose(struct hd_scram_server *s, const char *mechanism,
                           struct hd_error *err) HD_MUST_USE;
/*
 * Takes the client's next message (msg NULL: none came with the mechanism) and makes the answer. HD_PENDING:
 * send it as AuthenticationSASLContinue and wait. HD_OK: the client has proved itself; send it as
 * AuthenticationSASLFinal. HD_EPERM: it has not. Anything else: it broke the protocol. After a failure
 * s->sqlstate is set and there is no answer; every later call is HD_EBUSY.
 */
int hd_scram_server_step(struct hd_scram_server *s, const void *msg, size_t len, struct hd_scram_reply *out,
                         struct hd_error *err) HD_MUST_USE;
void hd_scram_server_wipe(struct hd_scram_server *s);

/* ---- the client's side ---- */

/* One login to a server. Ends with hd_scram_client_wipe. */
struct hd_scram_client {
    enum hd_scram_state state;
    const char *user;     /* borrowed, "" for PostgreSQL, which has the name from the first packet */
    const char *password; /* borrowed until the second step; NULL: the keys are known */
    size_t password_len;
    uint8_t client_key[HD_SCRAM_KEY_LEN];
    uint8_t server_key[HD_SCRAM_KEY_LEN];
    uint8_t binding[HD_SCRAM_BINDING_MAX];
    size_t binding_len; /* 0: SCRAM-SHA-256; else PLUS */
    char own_nonce[HD_SCRAM_NONCE_MAX + 1];
    struct hd_scram_transcript transcript;
};

void hd_scram_client_init(struct hd_scram_client *c, const char *user, const char *password, size_t len);
/* Without the password: with the key that a login to us has shown, and the verifier that both servers know.
 */
void hd_scram_client_init_keys(struct hd_scram_client *c, const char *user,
                               const uint8_t client_key[HD_SCRAM_KEY_LEN],
                               const uint8_t server_key[HD_SCRAM_KEY_LEN]);
/* Binds the login to the server's certificate (its tls-server-end-point hash), for SCRAM-SHA-256-PLUS. */
void hd_scram_client_bind(struct hd_scram_client *c, const uint8_t *binding, size_t len);
/*
 * Takes the server's next message (none at first: NULL) and makes the answer. HD_PENDING: send it and wait.
 * HD_OK: the server has proved that it knows the password. HD_EPERM: one of the two does not know it.
 * Anything else: the server broke the protocol. With a password the second step takes milliseconds.
 */
int hd_scram_client_step(struct hd_scram_client *c, const void *msg, size_t len, struct hd_scram_reply *out,
                         struct hd_error *err) HD_MUST_USE;
void hd_scram_client_wipe(struct hd_scram_client *c);

#endif
