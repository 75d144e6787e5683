/*
 * A client that has proved itself enters: the console, or a database, where it is counted in and finds its
 * pool.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "session/client.h"
#include "session/console.h"
#include "session/listener.h"
#include "session/login_parts.h"
#include "session/pool.h"
#include "session/pool_parts.h"
#include "session/tally.h"
#include "session/tunnel.h"
#include "wire/build.h"

/* Counts the client in where `kind` has its limit. */
static int count_in_at(struct hd_session *s, enum hd_tally_kind kind, const char *name, int64_t max)
{
    static const char *const words[] = {"max_clients of the database", "max_clients of the user"};
    struct hd_tally *t = hd_tally_get(s->w->all, kind, name);
    char text[80];

    if (!t) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return 0;
    }
    if (!hd_tally_enter(t, max, s)) {
        hd_tally_put(s->w->all, t);
        snprintf(text, sizeof(text), "sorry, too many clients already (%s)", words[kind]);
        hd_login_refuse(s, "53300", text, 0);
        return 0;
    }
    s->tallies[kind] = t;
    return 1;
}

/* Counts the client in, unless one of the limits says no. */
static int count_in(struct hd_session *s)
{
    int64_t max = s->w->settings->host.max_clients;

    if (atomic_fetch_add(&s->w->all->clients, 1) >= max && max) {
        atomic_fetch_sub(&s->w->all->clients, 1);
        hd_login_refuse(s, "53300", "sorry, too many clients already (max_clients of [host])", 0);
        return 0;
    }
    s->in_clients = 1;
    if (!s->pool)
        return 1;
    if (!count_in_at(s, HD_TALLY_DATABASE, s->pool->database, s->pool->conf->max_clients) ||
        !count_in_at(s, HD_TALLY_USER, s->pool->user, s->pool->user_conf->max_clients))
        return 0;
    hd_pool_enter(s->pool);
    s->counted = 1;
    return 1;
}

static void enter_console(struct hd_session *s)
{
    if (!s->login->user_conf->admin) {
        hd_login_refuse(s, "42501",
                        "only a user with admin = yes may connect to database \"" HD_CONSOLE_DATABASE "\"",
                        0);
        return;
    }
    if (!count_in(s))
        return;
    s->params = hd_console_params(s->w, s->login->user);
    if (!s->params || hd_console_open(s, s->login->user)) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    hd_login_greet(s);
}

/* The settings as a server's command line has them. */
static void write_options(const struct hd_login *g, struct hd_strbuf *out)
{
    for (uint32_t i = 0; i < g->setting_count; i++) {
        const char *const parts[] = {g->settings[i].name, "=", g->settings[i].value};

        hd_strbuf_puts(out, out->len ? " -c " : "-c ");
        for (size_t k = 0; k < HD_ARRAY_LEN(parts); k++)
            for (const char *p = parts[k]; *p; p++) {
                if (*p == ' ' || *p == '\\' || (*p >= '\t' && *p <= '\r'))
                    hd_strbuf_putc(out, '\\');
                hd_strbuf_putc(out, *p);
            }
    }
}

static void enter_replication(struct hd_session *s)
{
    struct hd_strbuf options = HD_STRBUF_INIT;

    hd_strbuf_puts(&options, "");
    write_options(s->login, &options);
    hd_list_remove(&s->waiting);
    hd_session_set_state(s, HD_SESSION_WELCOME);
    if (options.failed)
        hd_session_fatal(s, "53200", "out of memory", NULL);
    else
        hd_tunnel_open(s, s->login->replication, options.data);
    hd_strbuf_free(&options);
}

/* What the client's proof has shown may log him in to servers, too. */
static void show_keys(struct hd_session *s)
{
    const struct hd_scram_server *scram = &s->login->scram;
    struct hd_scram_keys keys;

    if (scram->state != HD_SCRAM_DONE)
        return;
    memcpy(keys.client_key, scram->client_key, sizeof(keys.client_key));
    memcpy(keys.server_key, scram->verifier.server_key, sizeof(keys.server_key));
    hd_pool_set_keys(s->pool, &keys);
    OPENSSL_cleanse(&keys, sizeof(keys));
}

/* Where clients prove themselves by a certificate, or not at all, servers let the host in without a password.
 */
static int holds_credentials(struct hd_session *s)
{
    struct hd_scram_keys keys;
    int has_keys = hd_pool_keys(s->pool, &keys);

    OPENSSL_cleanse(&keys, sizeof(keys));
    return has_keys || s->pool->user_conf->password || s->pool->node->user ||
           s->listener->conf->auth != HD_AUTH_SCRAM;
}

static void enter_database(struct hd_session *s)
{
    struct hd_login *g = s->login;
    const struct hd_database_conf *conf = hd_settings_database(s->w->settings, g->database);
    const struct hd_user_conf *user = hd_settings_user_of(s->w->settings, conf, g->user);
    char text[200];

    if (!conf || !user) {
        snprintf(text, sizeof(text), "database \"%.100s\" does not exist", g->database);
        hd_login_refuse(s, "3D000", text, 0);
        return;
    }
    s->pool = hd_pool_get(s->w, s->w->settings, conf, user, conf->node, g->database, g->user);
    if (!s->pool) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    s->pool->refs++;
    if (s->own && !holds_credentials(s)) {
        hd_login_refuse(s, "28000", "the host itself cannot log that user in to the server", 0);
        return;
    }
    show_keys(s);
    if (!count_in(s))
        return;
    if (g->replication) {
        enter_replication(s);
        return;
    }
    hd_list_remove(&s->waiting); /* from here queue_timeout holds */
    hd_session_set_state(s, HD_SESSION_WELCOME);
    if (hd_pool_welcome(s->pool)) {
        hd_login_settle(s);
        return;
    }
    hd_pool_want_welcome(s->pool, s);
}

void hd_login_enter_own(struct hd_session *s)
{
    if (!strcmp(s->login->database, HD_CONSOLE_DATABASE))
        hd_login_refuse(s, "42501", "the console is not for the host itself", 0);
    else if (s->login->replication)
        hd_login_refuse(s, "0A000", "the host itself does not replicate so", 0);
    else
        hd_login_enter(s);
}

void hd_login_enter(struct hd_session *s)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code = hd_build_authentication_ok(&b);

    if (!code)
        code = hd_link_send_copy(&s->link, sb.data, sb.len);
    hd_strbuf_free(&sb);
    if (code)
        hd_session_close(s);
    else if (!strcmp(s->login->database, HD_CONSOLE_DATABASE))
        enter_console(s);
    else
        enter_database(s);
}
