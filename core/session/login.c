/*
 * Logging in: the first packet, TLS, and what the packet asks for.
 */
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "io/tls.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/client_log.h"
#include "session/listener.h"
#include "session/login_parts.h"
#include "wire/build.h"

size_t hd_login_refuse(struct hd_session *s, const char *sqlstate, const char *message, size_t len)
{
    s->w->stats.login_failures++;
    hd_client_log_refused(s, sqlstate, message);
    hd_session_fatal(s, sqlstate, message, NULL);
    return len;
}

int hd_login_send_built(struct hd_session *s, struct hd_strbuf *sb, int code)
{
    if (!code)
        code = hd_link_send_copy(&s->link, sb->data, sb->len);
    hd_strbuf_free(sb);
    return code;
}

void hd_login_free(struct hd_session *s)
{
    struct hd_login *g = s->login;

    if (!g)
        return;
    s->login = NULL;
    hd_auth_give_up(g->looking);
    hd_scram_verifier_wipe(&g->found);
    hd_scram_server_wipe(&g->scram);
    hd_settings_release(g->config);
    hd_free(g->cache_key);
    hd_arena_free(&g->arena);
    hd_free(g);
}

/* --- the first packet
 * ---------------------------------------------------------------------------------------- */

static size_t on_ssl_request(struct hd_session *s, const struct hd_startup *st, size_t len)
{
    struct hd_tls *tls;

    if (s->link.tls)
        return hd_login_refuse(s, "08P01", "SSLRequest inside TLS", len);
    if (!s->listener->tls) {
        hd_session_send(s, "N", 1);
        return st->length;
    }
    if (len > st->length) /* somebody in between put words into the client's mouth */
        return hd_login_refuse(s, "08P01", "received unencrypted data after SSL request", len);
    tls = hd_tls_accept(s->listener->tls);
    if (!tls)
        return hd_login_refuse(s, "53200", "out of memory", len);
    hd_session_send(s, "S", 1);
    if (s->state == HD_SESSION_CLOSED) {
        hd_tls_free(tls);
        return len;
    }
    hd_link_flush(&s->link);
    hd_link_set_tls(&s->link, tls);
    return st->length;
}

static void add_setting(struct hd_login *g, const char *name, const char *value)
{
    if (g->setting_count < HD_LOGIN_SETTINGS_MAX)
        g->settings[g->setting_count++] = (struct hd_param_entry){name, value};
}

/* Settings from `options`. 0, or the SQLSTATE of what is wrong with them (err has the text). */
static const char *read_options(struct hd_login *g, const char *options, struct hd_error *err)
{
    struct hd_startup_options o = {.at = options};
    size_t cap = strlen(options) + 1;
    char *scratch = hd_arena_alloc(&g->arena, cap);
    struct hd_setting set;
    int code;

    if (!scratch)
        return "53200";
    while ((code = hd_startup_options_next(&o, scratch, cap, &set, err)) == HD_OK) {
        char *name = hd_arena_strdup(&g->arena, set.name), *value = hd_arena_strdup(&g->arena, set.value);

        if (!name || !value)
            return "53200";
        add_setting(g, name, value);
    }
    return code == HD_ENOENT ? NULL : o.sqlstate ? o.sqlstate : "22023";
}

static const char *read_settings(struct hd_login *g, const struct hd_startup *st, struct hd_error *err)
{
    static const char *const special[] = {"user", "database", "options", "replication"};

    if (st->options) {
        const char *sqlstate = read_options(g, st->options, err);

        if (sqlstate)
            return sqlstate;
    }
    for (size_t i = 0; i < st->param_count; i++) {
        const struct hd_startup_param *p = &st->params[i];
        int skip = 0;
        char *name, *value;

        for (size_t k = 0; k < HD_ARRAY_LEN(special); k++)
            skip |= !strcmp(p->name, special[k]);
        if (skip)
            continue;
        name = hd_arena_strdup(&g->arena, p->name);
        value = hd_arena_strdup(&g->arena, p->value);
        if (!name || !value)
            return "53200";
        add_setting(g, name, value);
    }
    return NULL;
}

static int wants_replication(const struct hd_startup *st)
{
    static const char *const no[] = {"", "0", "false", "off", "no"};

    if (!st->replication)
        return 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(no); i++)
        if (!strcasecmp(st->replication, no[i]))
            return 0;
    return 1;
}

static void negotiate(struct hd_session *s, const struct hd_startup *st)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    if (HD_PROTO_MINOR(st->version) == 0 && !st->protocol_option_count)
        return;
    if (hd_login_send_built(s, &sb,
                            hd_build_negotiate_protocol_version(&b, HD_PROTO_3_0, st->protocol_options,
                                                                st->protocol_option_count)))
        hd_session_close(s);
}

static size_t on_startup(struct hd_session *s, const struct hd_startup *st, size_t len)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_login *g = hd_calloc(1, sizeof(*g));
    const char *sqlstate;

    if (!g)
        return hd_login_refuse(s, "53200", "out of memory", len);
    s->login = g;
    if (atomic_load_explicit(&s->w->all->memory_over, memory_order_relaxed))
        return hd_login_refuse(s, "53200", "sorry, out of memory (max_memory of [host])", len);
    if (s->listener->conf->tls == HD_TLS_REQUIRE && !s->link.tls && !s->own)
        return hd_login_refuse(s, "28000", "TLS required", len);
    g->user = hd_arena_strdup(&g->arena, st->user);
    g->database = hd_arena_strdup(&g->arena, st->database);
    if (wants_replication(st))
        g->replication = hd_arena_strdup(&g->arena, st->replication);
    if (!g->user || !g->database || (wants_replication(st) && !g->replication))
        return hd_login_refuse(s, "53200", "out of memory", len);
    sqlstate = read_settings(g, st, &err);
    if (sqlstate)
        return hd_login_refuse(s, sqlstate, err.text[0] ? err.text : "out of memory", len);
    negotiate(s, st);
    if (s->state == HD_SESSION_STARTUP)
        hd_login_authenticate(s);
    return s->state >= HD_SESSION_CLOSING ? len : st->length;
}

/* The first byte of a TLS handshake; no first packet is so long that it could begin with it. */
#define TLS_HANDSHAKE 0x16

/* A client that begins with TLS at once: what came is the handshake's. */
static size_t begin_direct_tls(struct hd_session *s, const uint8_t *data, size_t len)
{
    struct hd_tls *tls = s->listener->tls ? hd_tls_accept(s->listener->tls) : NULL;

    if (!tls || hd_tls_feed(tls, data, len)) {
        hd_tls_free(tls);
        s->w->stats.login_failures++;
        hd_session_close(s); /* it would not understand a word */
        return len;
    }
    s->direct_tls = 1;
    hd_link_set_tls(&s->link, tls);
    return len;
}

static size_t first_packet(struct hd_session *s, const uint8_t *data, size_t len)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_startup st;
    int code;

    if (!s->link.tls && data[0] == TLS_HANDSHAKE)
        return begin_direct_tls(s, data, len);
    if (s->direct_tls && !hd_tls_alpn(s->link.tls))
        return hd_login_refuse(
            s, "08P01", "received direct SSL connection request without ALPN protocol negotiation extension",
            len);
    code = hd_startup_parse(data, len, &st, &err);
    if (code == HD_PENDING)
        return 0;
    if (code)
        return hd_login_refuse(s, st.sqlstate ? st.sqlstate : "08P01", err.text, len);
    switch (st.kind) {
    case HD_STARTUP_SSL:
        return on_ssl_request(s, &st, len);
    case HD_STARTUP_GSSENC:
        hd_session_send(s, "N", 1);
        return s->state == HD_SESSION_CLOSED ? len : st.length;
    case HD_STARTUP_CANCEL:
        hd_cancel_request(s, &st);
        return len;
    case HD_STARTUP_PEER:
        hd_cancel_relayed(s, &st);
        return len;
    case HD_STARTUP_SESSION:
        break;
    }
    return on_startup(s, &st, len);
}

/* Messages of the authentication, one after the other. */
static size_t auth_message(struct hd_session *s, const uint8_t *data, size_t len)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_frame f;
    int code = hd_frame_next(&s->scan, data, len, &f);

    if (code == HD_PENDING || (!code && !hd_frame_whole(&f)))
        return 0;
    if (code) {
        hd_frame_fail(&s->scan, data, len, &err);
        return hd_login_refuse(s, "08P01", err.text, len);
    }
    hd_login_sasl(s, &f);
    return f.total;
}

size_t hd_login_data(struct hd_session *s, const uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        size_t n;

        if (s->state == HD_SESSION_STARTUP && !s->login)
            n = first_packet(s, data + done, len - done);
        else if (s->state == HD_SESSION_AUTH)
            n = auth_message(s, data + done, len - done);
        else
            break;
        if (!n)
            break;
        done += n;
    }
    return s->state >= HD_SESSION_CLOSING ? len : done;
}
