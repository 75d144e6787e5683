/*
 * The first packet of a connection, and the `options` in it.
 *
 * Everything that comes out points into the packet; whoever wants to keep it copies it. Refusals carry the
 * SQLSTATE and the words that PostgreSQL has for them, ready for an ErrorResponse of severity FATAL.
 */
#ifndef HD_WIRE_STARTUP_H
#define HD_WIRE_STARTUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "wire/proto.h"

/* More parameters than this in one packet are refused. */
#define HD_STARTUP_PARAMS_MAX 64

enum hd_startup_kind {
    HD_STARTUP_SESSION, /* a StartupMessage */
    HD_STARTUP_CANCEL,
    HD_STARTUP_SSL,
    HD_STARTUP_GSSENC,
    HD_STARTUP_PEER, /* a cancel that another host relays; see peer.h */
};

struct hd_startup_param {
    const char *name;
    const char *value;
};

struct hd_startup {
    enum hd_startup_kind kind;
    uint32_t length;      /* the whole packet; set as soon as it is known, also with HD_PENDING */
    const char *sqlstate; /* of the refusal, when there was one */

    /* HD_STARTUP_CANCEL */
    uint32_t cancel_pid;
    const uint8_t *cancel_key;
    size_t cancel_key_len;

    /* HD_STARTUP_PEER, beside the cancel's. The signature stands behind what is signed. */
    uint32_t peer;
    const uint8_t *peer_signed;
    size_t peer_signed_len;

    /* HD_STARTUP_SESSION. Of a name that comes twice, the last one counts. */
    uint32_t version;             /* as HD_PROTO_3_0; the major number is 3, the minor any */
    const char *user;             /* never empty */
    const char *database;         /* the user's name where the packet has none */
    const char *application_name; /* these are NULL where the packet does not have them */
    const char *client_encoding;
    const char *options;
    const char *replication;
    struct hd_startup_param params[HD_STARTUP_PARAMS_MAX]; /* all but the _pq_. ones, in their order */
    size_t param_count;
    const char *protocol_options[HD_STARTUP_PARAMS_MAX]; /* the names that start with _pq_. */
    size_t protocol_option_count;
};

/*
 * Reads the packet that starts at p. HD_PENDING: not all of it is here; nothing but `length` may be looked
 * at. HD_EPROTO, HD_EUNSUPP (another major version) or HD_EPERM (no user): refused; out->sqlstate is set.
 * Bytes behind the packet are not looked at.
 */
int hd_startup_parse(const uint8_t *p, size_t len, struct hd_startup *out, struct hd_error *err) HD_MUST_USE;

/* One setting out of the `options` parameter. */
struct hd_setting {
    const char *name; /* with `-` for `_` made good, as the server does */
    const char *value;
};

/* A walk over `options`: `-c name=value` and `--name=value`, with backslashes taking the meaning from the
 * byte behind them. */
struct hd_startup_options {
    const char *at;       /* what is left; starts as the parameter's value */
    const char *sqlstate; /* of the refusal, when there was one */
};

/*
 * The next setting. Its strings live in `scratch` until the next call; strlen(options) + 1 bytes always
 * suffice. HD_ENOENT at the end. HD_EINVAL: a word that cannot be. HD_EUNSUPP: a switch of the server's
 * command line that is not a setting by name. HD_EFULL: scratch is too small.
 */
int hd_startup_options_next(struct hd_startup_options *o, char *scratch, size_t cap, struct hd_setting *out,
                            struct hd_error *err) HD_MUST_USE;

#endif
