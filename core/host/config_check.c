/*
 * What no section can know by itself: contradictions between sections, files that must be there, and changes
 * that a running host cannot make.
 */
#include "base/check.h"
#include "host/address.h"
#include "host/config_build.h"
#include "session/connect.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct hd_raw_section *raw_of(const struct hd_build *b, enum hd_kind kind, const char *name)
{
    HD_EACH_SECTION(s, b->config, kind)
    if (!strcmp(s->raw->name, name))
        return s->raw;
    HD_NEVER("settings without their section");
}

/* --- presence --------------------------------------------------------------------------------------------
 */

/* Without one of these nobody could ever connect. Not said where reading found faults: it may be one of
 * those. */
static void check_presence(struct hd_build *b)
{
    const struct hd_settings *s = b->settings;
    const char *where = b->config->ini.count ? b->config->ini.sections[0].origin : NULL;

    if (b->problems->errors)
        return;
    if (!s->listener_count)
        hd_problem(b->problems, where, "there is no [listener NAME]; add one, with listen = 127.0.0.1:6432");
    if (!s->node_count)
        hd_problem(b->problems, where,
                   "there is no [node NAME]; add one, with conninfo = host=127.0.0.1 port=5432");
    if (!s->database_count)
        hd_problem(b->problems, where,
                   "there is no [database NAME]; add one, with node = NAME, or [database *]");
    if (!s->user_count)
        hd_problem(b->problems, where, "there is no [user NAME]; add one, with a password");
}

/* --- listeners -------------------------------------------------------------------------------------------
 */

static void check_file(struct hd_build *b, const char *origin, const char *key, const char *path)
{
    if (path && access(path, R_OK))
        hd_problem(b->problems, origin, "%s: cannot read %s: %s", key, path, strerror(errno));
}

static void tls_problem(struct hd_build *b, const char *origin, const char *what, const char *path)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;

    hd_problem(b->problems, origin, "%s %s: %s", what, path, why ? why : "OpenSSL does not say why");
    ERR_clear_error();
}

/* Do the files hold what they must? */
static void check_certificates(struct hd_build *b, const struct hd_listener_conf *l,
                               const struct hd_raw_section *raw)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    struct stat st;

    if (!ctx) {
        hd_problem_memory(b->problems);
        return;
    }
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, l->tls_cert) != 1)
        tls_problem(b, hd_raw_origin(raw, "tls_cert"), "tls_cert must be a certificate in PEM form, but",
                    l->tls_cert);
    else if (SSL_CTX_use_PrivateKey_file(ctx, l->tls_key, SSL_FILETYPE_PEM) != 1)
        tls_problem(b, hd_raw_origin(raw, "tls_key"),
                    "tls_key must be that certificate's private key in PEM form, but", l->tls_key);
    if (l->tls_client_ca && SSL_CTX_load_verify_locations(ctx, l->tls_client_ca, NULL) != 1)
        tls_problem(b, hd_raw_origin(raw, "tls_client_ca"),
                    "tls_client_ca must hold certificates in PEM form, but", l->tls_client_ca);
    if (!stat(l->tls_key, &st) && (st.st_mode & S_IROTH))
        hd_problem_warning(b->problems, hd_raw_origin(raw, "tls_key"),
                           "%s can be read by everybody: chmod 0600 it", l->tls_key);
    SSL_CTX_free(ctx);
}

void hd_check_certificate(struct hd_build *b, const struct hd_listener_conf *l,
                          const struct hd_raw_section *raw)
{
    unsigned errors = b->problems->errors;

    if (!l->tls_cert || !l->tls_key)
        hd_problem(b->problems, hd_raw_origin(raw, "tls"), "tls needs tls_cert and tls_key in %s",
                   raw->label);
    check_file(b, hd_raw_origin(raw, "tls_cert"), "tls_cert", l->tls_cert);
    check_file(b, hd_raw_origin(raw, "tls_key"), "tls_key", l->tls_key);
    check_file(b, hd_raw_origin(raw, "tls_client_ca"), "tls_client_ca", l->tls_client_ca);
    if (b->problems->errors == errors)
        check_certificates(b, l, raw);
}

static void check_tls(struct hd_build *b, const struct hd_listener_conf *l, const struct hd_raw_section *raw)
{
    const char *origin = hd_raw_origin(raw, "tls");
    unsigned errors = b->problems->errors;

    if (l->auth == HD_AUTH_CERT && l->tls != HD_TLS_REQUIRE)
        hd_problem(b->problems, hd_raw_origin(raw, "auth"), "auth = cert needs tls = require in %s",
                   raw->label);
    if (l->auth == HD_AUTH_CERT && !l->tls_client_ca)
        hd_problem(b->problems, hd_raw_origin(raw, "auth"), "auth = cert needs tls_client_ca in %s",
                   raw->label);
    if (l->tls == HD_TLS_OFF) {
        if (l->tls_cert || l->tls_key)
            hd_problem_warning(b->problems, origin, "%s has a certificate, but tls = off", raw->label);
        return;
    }
    if (b->problems->errors == errors)
        hd_check_certificate(b, l, raw);
}

/* With [user *] a trusting listener lets any name through: only this machine may come that way. */
static void check_trust(struct hd_build *b, const struct hd_listener_conf *l,
                        const struct hd_raw_section *raw)
{
    const struct hd_user_conf *any = hd_settings_user(b->settings, "*");

    for (uint32_t i = 0; i < l->address_count && l->auth == HD_AUTH_TRUST; i++) {
        if (hd_address_is_local(&l->addresses[i]))
            continue;
        if (any)
            hd_problem(b->problems, hd_raw_origin(raw, "auth"),
                       "auth = trust together with [user *] (%s) lets everybody in at %s; use scram-sha-256, "
                       "or listen "
                       "on loopback or a Unix socket only",
                       any->origin, l->addresses[i].text);
        else
            hd_problem_warning(b->problems, hd_raw_origin(raw, "auth"),
                               "auth = trust asks nobody for a password at %s", l->addresses[i].text);
    }
}

int hd_check_address(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_address *a,
                     const struct hd_listener_conf *other, uint32_t count)
{
    const char *blank = *other->name ? " " : "";

    for (uint32_t i = 0; i < count; i++) {
        if (!hd_address_equal(a, &other->addresses[i]))
            continue;
        hd_problem(b->problems, hd_raw_origin(raw, "listen"), "%s is listened on already by [%s%s%s] (%s)",
                   a->text, *blank ? "listener" : "http", blank, other->name, other->origin);
        return 1;
    }
    return 0;
}

/* Address `i` of listener `l` against all that come before it. */
static void check_address(struct hd_build *b, uint32_t l, uint32_t i)
{
    const struct hd_listener_conf *all = b->settings->listeners;
    const struct hd_raw_section *raw = raw_of(b, HD_KIND_LISTENER, all[l].name);
    int found = 0;

    for (uint32_t m = 0; m <= l && !found; m++)
        found = hd_check_address(b, raw, &all[l].addresses[i], &all[m], m == l ? i : all[m].address_count);
}

static void check_listeners(struct hd_build *b)
{
    for (uint32_t l = 0; l < b->settings->listener_count; l++) {
        const struct hd_listener_conf *it = &b->settings->listeners[l];
        const struct hd_raw_section *raw = raw_of(b, HD_KIND_LISTENER, it->name);

        check_tls(b, it, raw);
        check_trust(b, it, raw);
        for (uint32_t i = 0; i < it->address_count; i++)
            check_address(b, l, i);
    }
}

/* --- users and nodes -------------------------------------------------------------------------------------
 */

static const struct hd_listener_conf *listener_with(const struct hd_settings *s, enum hd_auth auth)
{
    for (uint32_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].auth == auth)
            return &s->listeners[i];
    return NULL;
}

static void check_users(struct hd_build *b)
{
    const struct hd_listener_conf *scram = listener_with(b->settings, HD_AUTH_SCRAM);

    HD_EACH_SECTION(s, b->config, HD_KIND_USER)
    {
        const struct hd_user_keys *k = s->keys;

        if (scram && !k->password.len && !k->verifier.len)
            hd_problem_warning(
                b->problems, s->raw->origin,
                "%s has no password, password_file or verifier: it cannot log in at [listener %s]",
                s->raw->label, scram->name);
        if (k->admin && !strcmp(s->raw->name, "*"))
            hd_problem_warning(b->problems, hd_raw_origin(s->raw, "admin"),
                               "admin = yes in [user *] makes everybody an administrator");
    }
}

static int is_used(const struct hd_settings *s, const struct hd_node_conf *n)
{
    for (uint32_t i = 0; i < s->database_count; i++)
        if (s->databases[i].node == n)
            return 1;
    return 0;
}

/* Users of whom only a verifier is known log in by the keys that their own login shows, where that can be. */
static void check_verifiers(struct hd_build *b, const struct hd_node_conf *n)
{
    const char *why = hd_connect_keys_refuse(n->conninfo);

    HD_EACH_SECTION(s, b->config, HD_KIND_USER)
    {
        const struct hd_user_keys *k = s->keys;

        if (k->verifier.len && why)
            hd_problem_warning(b->problems, hd_raw_origin(s->raw, "verifier"),
                               "%s is known by a verifier alone, and [node %s] names no user: it cannot log "
                               "in there, since %s; "
                               "name a user in conninfo, or give the password",
                               s->raw->label, n->name, why);
    }
}

static void check_nodes(struct hd_build *b)
{
    for (uint32_t i = 0; i < b->settings->node_count; i++) {
        const struct hd_node_conf *n = &b->settings->nodes[i];

        if (!is_used(b->settings, n))
            hd_problem_warning(b->problems, n->origin, "no [database] uses [node %s]", n->name);
        else if (!n->user)
            check_verifiers(b, n);
        if (!n->control_user)
            hd_problem_warning(
                b->problems, n->origin,
                "[node %s] has no user for the host's own statements: give it a control_user, or one "
                "[user] admin = yes",
                n->name);
    }
}

/* Who asks whom, and as whom. */
static void check_auth_query(struct hd_build *b, const struct hd_database_conf *d)
{
    const char *origin = hd_raw_origin(raw_of(b, HD_KIND_DATABASE, d->name), "auth_query");
    const char *why;

    if (!d->auth_query || !d->node)
        return;
    if (!d->node->control_user)
        hd_problem(b->problems, origin, "auth_query needs a control_user in [node %s]", d->node->name);
    why = d->node->user ? NULL : hd_connect_keys_refuse(d->node->conninfo);
    if (why)
        hd_problem_warning(
            b->problems, origin,
            "users that only auth_query knows cannot log in to [node %s], since %s; name a user in "
            "its conninfo",
            d->node->name, why);
}

static void check_databases(struct hd_build *b)
{
    const struct hd_database_conf *any = hd_settings_database(b->settings, "*");

    if (any && any->node && any->node->dbname)
        hd_problem_warning(
            b->problems, any->origin,
            "[database *] leads every name to database %s, which the conninfo of [node %s] names",
            any->node->dbname, any->node->name);
    for (uint32_t i = 0; i < b->settings->database_count; i++)
        check_auth_query(b, &b->settings->databases[i]);
}

/* --- peers -----------------------------------------------------------------------------------------------
 */

static void check_peers(struct hd_build *b)
{
    const struct hd_settings *s = b->settings;

    for (uint32_t i = 0; i < s->peer_count; i++) {
        const struct hd_peer_conf *p = &s->peers[i];

        if (!s->host.id)
            hd_problem(b->problems, p->origin, "[peer %s] needs an id of this host: set id in [host]",
                       p->name);
        else if (p->id == (uint32_t)s->host.id)
            hd_problem(b->problems, p->origin, "[peer %s] has the id of this host", p->name);
    }
}

/* --- all -------------------------------------------------------------------------------------------------
 */

void hd_build_check(struct hd_build *b)
{
    check_presence(b);
    check_listeners(b);
    check_users(b);
    check_nodes(b);
    check_databases(b);
    check_peers(b);
    hd_check_http(b);
    if (b->running && !b->problems->errors)
        hd_options_compare(&hd_kinds[HD_KIND_HOST].options, &b->running->settings->host, &b->settings->host,
                           b->config->host, b->problems);
}
