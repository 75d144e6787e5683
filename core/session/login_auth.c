/*
 * Proving who one is: SCRAM, certificates, or trust.
 */
#include <stdio.h>
#include <string.h>

#include "io/tls.h"
#include "session/client.h"
#include "session/listener.h"
#include "session/login_parts.h"
#include "wire/build.h"

/* `v` NULL: there is no such user, which he is told only after his proof. */
static void begin_scram(struct hd_session *s, const struct hd_scram_verifier *v)
{
    static const char *const names[] = {HD_SCRAM_SHA_256_PLUS, HD_SCRAM_SHA_256};
    struct hd_login *g = s->login;
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_scram_verifier mock;
    uint8_t binding[64] = {0};
    size_t binding_len = s->link.tls ? hd_tls_end_point(s->link.tls, binding) : 0;
    int exists = v != NULL;

    if (!exists && hd_scram_verifier_mock(s->w->all->mock_secret, g->user, &mock)) {
        hd_session_fatal(s, "XX000", "cannot authenticate", NULL);
        return;
    }
    hd_scram_server_init(&g->scram, exists ? v : &mock, exists, binding, binding_len);
    hd_session_set_state(s, HD_SESSION_AUTH);
    if (hd_login_send_built(
            s, &sb, hd_build_authentication_sasl(&b, binding_len ? names : names + 1, binding_len ? 2 : 1)))
        hd_session_close(s);
}

/* --- users that the server knows
 * ---------------------------------------------------------------------------- */

static void found(struct hd_session *s, int code, const struct hd_scram_verifier *v)
{
    switch (code) {
    case HD_OK:
        s->login->found = *v;
        begin_scram(s, &s->login->found);
        return;
    case HD_ENOENT:
        begin_scram(s, NULL);
        return;
    case HD_EFULL:
        hd_login_refuse(s, "53300", "too many logins at a time; try again", 0);
        return;
    default:
        hd_login_refuse(s, "08001", "the server that knows the users cannot be asked", 0);
    }
}

static void found_later(struct hd_session *s, int code, const struct hd_scram_verifier *v)
{
    s->login->looking = NULL;
    s->link.watch_end = 0;
    found(s, code, v);
    if (s->state < HD_SESSION_CLOSING)
        hd_link_resume(&s->link);
}

/* Of users without a password in the configuration the database's server may know one. */
static void scram_or_ask(struct hd_session *s)
{
    struct hd_login *g = s->login;
    const struct hd_user_conf *u = g->user_conf;
    const struct hd_database_conf *d = hd_settings_database(g->config, g->database);
    struct hd_scram_verifier v;
    int code;

    if ((u && u->verifier) || !d || !d->auth_query || !strcmp(g->database, HD_CONSOLE_DATABASE)) {
        begin_scram(s, u ? u->verifier : NULL);
        return;
    }
    g->asked = d;
    code = hd_auth_find(s, d, g->user, found_later, &v, &g->looking);
    if (code != HD_PENDING) {
        found(s, code, &v);
        return;
    }
    s->link.watch_end = 1;
    hd_link_pause(&s->link);
}

/* The answer that the proof was held against may be out of date: asked again for the next login. */
static void distrust_answer(struct hd_session *s)
{
    struct hd_login *g = s->login;

    if (g->asked)
        hd_auth_forget(s->w->all->auth, g->asked, g->user);
}

static void begin_cert(struct hd_session *s)
{
    char name[256];

    if (!s->link.tls || hd_tls_client_name(s->link.tls, name, sizeof(name)))
        hd_login_refuse(s, "28000", "connection requires a valid client certificate", 0);
    else if (strcmp(name, s->login->user) || !s->login->user_conf)
        hd_login_refuse(s, "28000", "the client certificate's common name is not the user's name", 0);
    else
        hd_login_enter(s);
}

void hd_login_authenticate(struct hd_session *s)
{
    struct hd_login *g = s->login;
    char text[200];

    g->config = hd_settings_hold(s->w->settings);
    g->user_conf = hd_settings_user(g->config, g->user);
    if (s->own) {
        hd_login_enter_own(s);
        return;
    }
    switch (s->listener->conf->auth) {
    case HD_AUTH_SCRAM:
        scram_or_ask(s);
        return;
    case HD_AUTH_CERT:
        begin_cert(s);
        return;
    case HD_AUTH_TRUST:
        break;
    }
    if (g->user_conf) {
        hd_login_enter(s);
        return;
    }
    snprintf(text, sizeof(text), "role \"%.100s\" does not exist", g->user);
    hd_login_refuse(s, "28000", text, 0);
}

void hd_login_sasl(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_login *g = s->login;
    const void *data = hd_frame_body(f);
    size_t len = hd_frame_body_len(f);
    struct hd_error err = HD_ERROR_INIT;
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_sasl_initial initial;
    struct hd_scram_reply reply;
    char text[200];
    int code = HD_OK;

    if (g->scram.state == HD_SCRAM_CHOOSE) {
        if (hd_sasl_initial_parse(data, len, &initial)) {
            hd_login_refuse(s, "08P01", "malformed SASLInitialResponse", 0);
            return;
        }
        code = hd_scram_server_choose(&g->scram, initial.mechanism, &err);
        data = initial.data;
        len = initial.len;
    }
    if (!code)
        code = hd_scram_server_step(&g->scram, data, len, &reply, &err);
    if (code == HD_PENDING) {
        if (hd_login_send_built(s, &sb, hd_build_authentication_sasl_continue(&b, reply.text, reply.len)))
            hd_session_close(s);
    } else if (code == HD_OK) {
        if (hd_login_send_built(s, &sb, hd_build_authentication_sasl_final(&b, reply.text, reply.len)))
            hd_session_close(s);
        else
            hd_login_enter(s);
    } else if (code == HD_EPERM) {
        distrust_answer(s);
        snprintf(text, sizeof(text), "password authentication failed for user \"%.100s\"", g->user);
        hd_login_refuse(s, "28P01", text, 0);
    } else {
        hd_login_refuse(s, g->scram.sqlstate ? g->scram.sqlstate : "08P01", err.text, 0);
    }
}
