/*
 * The first packet and its options; see startup.h. Nothing is allocated and nothing is copied but an option's
 * unescaped text, so that a client which is not yet known to be anybody costs nothing.
 */
#include "wire/startup.h"
#include "wire/peer.h"
#include "wire/read.h"
#include "wire/sqlstate.h"

#include <string.h>

#define PROTOCOL_OPTION_PREFIX "_pq_."

static int refuse(struct hd_startup *out, struct hd_error *err, const char *what)
{
    out->sqlstate = HD_SQLSTATE_PROTOCOL_VIOLATION;
    return hd_fail(err, HD_EPROTO, "%s", what);
}

/* A request has nothing behind its code. */
static int parse_request(struct hd_reader *r, struct hd_startup *out, enum hd_startup_kind kind,
                         struct hd_error *err)
{
    out->kind = kind;
    return hd_reader_done(r) ? HD_OK : refuse(out, err, "invalid length of encryption request packet");
}

static int parse_cancel(struct hd_reader *r, struct hd_startup *out, struct hd_error *err)
{
    out->kind = HD_STARTUP_CANCEL;
    out->cancel_pid = hd_read_u32(r);
    out->cancel_key_len = hd_reader_left(r);
    out->cancel_key = hd_read_bytes(r, out->cancel_key_len);
    if (r->failed)
        return refuse(out, err, "invalid length of cancel request packet");
    if (!out->cancel_key_len || out->cancel_key_len > HD_CANCEL_KEY_MAX)
        return refuse(out, err, "invalid length of cancel key in cancel request packet");
    return HD_OK;
}

static int parse_peer(const uint8_t *p, struct hd_reader *r, struct hd_startup *out, struct hd_error *err)
{
    size_t left;

    out->kind = HD_STARTUP_PEER;
    out->peer = hd_read_u32(r);
    (void)hd_read_bytes(r, HD_PEER_NONCE_LEN);
    out->cancel_pid = hd_read_u32(r);
    left = hd_reader_left(r);
    if (r->failed || left <= HD_PEER_MAC_LEN || left > HD_CANCEL_KEY_MAX + HD_PEER_MAC_LEN)
        return refuse(out, err, "invalid length of a relayed cancel request");
    out->cancel_key_len = left - HD_PEER_MAC_LEN;
    out->cancel_key = hd_read_bytes(r, out->cancel_key_len);
    out->peer_signed = p + HD_MSG_LENGTH_MIN;
    out->peer_signed_len = out->length - HD_MSG_LENGTH_MIN - HD_PEER_MAC_LEN;
    return HD_OK;
}

/* Where a parameter that the host itself looks at is kept; NULL for the others. */
static const char **known_param(struct hd_startup *out, const char *name)
{
    const struct {
        const char *name;
        const char **where;
    } known[] = {
        {"user", &out->user},
        {"database", &out->database},
        {"application_name", &out->application_name},
        {"client_encoding", &out->client_encoding},
        {"options", &out->options},
        {"replication", &out->replication},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        if (!strcmp(known[i].name, name))
            return known[i].where;
    }
    return NULL;
}

/* 0, or HD_EFULL when there is no room for another one. */
static int add_param(struct hd_startup *out, const char *name, const char *value)
{
    const char **where;

    if (out->param_count + out->protocol_option_count == HD_STARTUP_PARAMS_MAX)
        return HD_EFULL;
    if (!strncmp(name, PROTOCOL_OPTION_PREFIX, strlen(PROTOCOL_OPTION_PREFIX))) {
        out->protocol_options[out->protocol_option_count++] = name;
        return HD_OK;
    }
    out->params[out->param_count++] = (struct hd_startup_param){name, value};
    where = known_param(out, name);
    if (where)
        *where = value;
    return HD_OK;
}

/* The names and values behind the version, up to an empty name, which must be the packet's last byte. */
static int parse_params(struct hd_reader *r, struct hd_startup *out, struct hd_error *err)
{
    const char *name;

    while ((name = hd_read_cstr(r, NULL))[0]) {
        const char *value = hd_read_cstr(r, NULL);

        if (r->failed)
            break;
        if (add_param(out, name, value))
            return refuse(out, err, "too many parameters in startup packet");
    }
    if (!hd_reader_done(r))
        return refuse(out, err, "invalid startup packet layout: expected terminator as last byte");
    return HD_OK;
}

static int parse_session(struct hd_reader *r, struct hd_startup *out, struct hd_error *err)
{
    int rc;

    out->kind = HD_STARTUP_SESSION;
    if (HD_PROTO_MAJOR(out->version) != HD_PROTO_MAJOR(HD_PROTO_3_0)) {
        out->sqlstate = HD_SQLSTATE_FEATURE_NOT_SUPPORTED;
        return hd_fail(err, HD_EUNSUPP, "unsupported frontend protocol %u.%u: server supports 3.0 to 3.2",
                       HD_PROTO_MAJOR(out->version), HD_PROTO_MINOR(out->version));
    }
    rc = parse_params(r, out, err);
    if (rc)
        return rc;
    if (!out->user || !out->user[0]) {
        out->sqlstate = HD_SQLSTATE_INVALID_AUTHORIZATION;
        return hd_fail(err, HD_EPERM, "no PostgreSQL user name specified in startup packet");
    }
    if (!out->database || !out->database[0])
        out->database = out->user;
    return HD_OK;
}

/* What the word behind the length says the packet is. */
static int parse_body(const uint8_t *p, struct hd_startup *out, struct hd_error *err)
{
    struct hd_reader r = hd_reader_on(p + HD_MSG_LENGTH_MIN, out->length - HD_MSG_LENGTH_MIN);

    out->version = hd_read_u32(&r);
    switch (out->version) {
    case HD_SSL_REQUEST:
        return parse_request(&r, out, HD_STARTUP_SSL, err);
    case HD_GSSENC_REQUEST:
        return parse_request(&r, out, HD_STARTUP_GSSENC, err);
    case HD_CANCEL_REQUEST:
        return parse_cancel(&r, out, err);
    case HD_PEER_REQUEST:
        return parse_peer(p, &r, out, err);
    default:
        return parse_session(&r, out, err);
    }
}

/* Lets go of all but what says whether and how long. */
static void clear(struct hd_startup *out)
{
    *out = (struct hd_startup){.kind = HD_STARTUP_SESSION};
}

int hd_startup_parse(const uint8_t *p, size_t len, struct hd_startup *out, struct hd_error *err)
{
    uint32_t length;

    out->length = 0;
    out->sqlstate = NULL;
    if (len < HD_MSG_LENGTH_MIN)
        return HD_PENDING;
    length = hd_get_u32(p);
    if (length < HD_STARTUP_LENGTH_MIN || length > HD_STARTUP_LENGTH_MAX)
        return refuse(out, err, "invalid length of startup packet");
    out->length = length;
    if (len < length)
        return HD_PENDING;
    clear(out);
    out->length = length;
    return parse_body(p, out, err);
}

/* isspace() in the C locale, which is what splits options on a server. */
static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Copies the next word of `options` with its escapes resolved; *at moves behind it. HD_ENOENT: there is none.
 * A word can be empty: a lone backslash at the end.
 */
static int next_word(const char **at, char *word, size_t cap)
{
    const char *p = *at;
    size_t n = 0;

    while (is_blank(*p))
        p++;
    if (!*p)
        return HD_ENOENT;
    for (; *p && !is_blank(*p); p++) {
        if (*p == '\\' && !*++p)
            break;
        if (n + 1 >= cap)
            return HD_EFULL;
        word[n++] = *p;
    }
    if (n >= cap)
        return HD_EFULL;
    word[n] = 0;
    *at = p;
    return HD_OK;
}

/* Takes "name=value" apart, in place. `lead` is what stood in front of it, for the message. */
static int split_setting(struct hd_startup_options *o, char *text, const char *lead, struct hd_setting *out,
                         struct hd_error *err)
{
    char *equals = strchr(text, '=');

    if (!equals) {
        o->sqlstate = HD_SQLSTATE_SYNTAX_ERROR;
        return hd_fail(err, HD_EINVAL, "%s%s requires a value", lead, text);
    }
    if (equals == text) {
        o->sqlstate = HD_SQLSTATE_UNDEFINED_OBJECT;
        return hd_fail(err, HD_EINVAL, "unrecognized configuration parameter \"\"");
    }
    *equals = 0;
    for (char *p = text; *p; p++) {
        if (*p == '-')
            *p = '_';
    }
    *out = (struct hd_setting){.name = text, .value = equals + 1};
    return HD_OK;
}

static int invalid_argument(struct hd_startup_options *o, const char *word, struct hd_error *err)
{
    o->sqlstate = HD_SQLSTATE_SYNTAX_ERROR;
    return hd_fail(err, HD_EINVAL, "invalid command-line argument for server process: %s", word);
}

/* Says that a word is longer than scratch; the end of options passes through as it is. */
static int word_code(struct hd_startup_options *o, int rc, struct hd_error *err)
{
    if (rc != HD_EFULL)
        return rc;
    o->sqlstate = HD_SQLSTATE_PROGRAM_LIMIT_EXCEEDED;
    return hd_fail(err, HD_EFULL, "command-line argument for server process is too long");
}

int hd_startup_options_next(struct hd_startup_options *o, char *scratch, size_t cap, struct hd_setting *out,
                            struct hd_error *err)
{
    int rc = next_word(&o->at, scratch, cap);

    if (rc)
        return word_code(o, rc, err);
    if (scratch[0] != '-' || !scratch[1] || !strcmp(scratch, "--"))
        return invalid_argument(o, scratch, err);
    if (scratch[1] == '-')
        return split_setting(o, scratch + 2, "--", out, err);
    if (scratch[1] != 'c') {
        o->sqlstate = HD_SQLSTATE_FEATURE_NOT_SUPPORTED;
        return hd_fail(err, HD_EUNSUPP, "server switch not supported in options: %s", scratch);
    }
    if (scratch[2])
        return split_setting(o, scratch + 2, "-c ", out, err);
    rc = next_word(&o->at, scratch, cap);
    if (rc == HD_ENOENT)
        return invalid_argument(o, "-c", err);
    return rc ? word_code(o, rc, err) : split_setting(o, scratch, "-c ", out, err);
}
