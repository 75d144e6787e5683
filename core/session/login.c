/*
 * Logging in: the first packet, TLS, SCRAM, the settings of the startup packet, and the greeting, which needs
 * to know what the pool's servers are like.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/console.h"
#include "session/listener.h"
#include "session/pool.h"
#include "session/reply.h"
#include "session/server.h"
#include "session/tally.h"
#include "wire/build.h"
#include "wire/scram.h"
#include "wire/startup.h"

#define CONSOLE_DATABASE "howdah"
/* Combinations of startup settings that a pool remembers. */
#define LOGIN_CACHE_MAX 64
#define SETTINGS_MAX    (2 * HD_STARTUP_PARAMS_MAX)

struct hd_login {
    struct hd_arena arena; /* holds the strings below, and the options' */
    const char *user, *database;
    struct hd_param_entry settings[SETTINGS_MAX];
    uint32_t setting_count;
    const struct hd_user_conf *user_conf;
    struct hd_settings *config; /* held: user_conf points into it */
    struct hd_scram_server scram;
    char *cache_key;
    uint32_t cache_key_len;
};

/* What one combination of startup settings comes to on this pool's servers. */
struct hd_login_cache {
    struct hd_login_cache *next;
    struct hd_params *params;
    uint32_t len;
    char key[];
};

static void settle_settings(struct hd_session *s);

static size_t refuse(struct hd_session *s, const char *sqlstate, const char *message, size_t len)
{
    s->w->stats.login_failures++;
    hd_session_fatal(s, sqlstate, message, NULL);
    return len;
}

void hd_login_free(struct hd_session *s)
{
    struct hd_login *g = s->login;

    if (!g)
        return;
    s->login = NULL;
    hd_scram_server_wipe(&g->scram);
    hd_settings_release(g->config);
    hd_free(g->cache_key);
    hd_arena_free(&g->arena);
    hd_free(g);
}

/* --- the greeting
 * -------------------------------------------------------------------------------------------- */

/* Do the servers report it? What a startup packet sets beside that, they keep to themselves. */
static int reported(const struct hd_session *s, const char *name)
{
    return !s->pool || hd_params_get(s->pool->welcome, name);
}

static int build_greeting(struct hd_session *s, struct hd_build *b)
{
    int code = HD_OK;

    for (uint32_t i = 0; s->params && i < s->params->count && !code; i++)
        if (reported(s, s->params->entries[i].name))
            code = hd_build_parameter_status(b, s->params->entries[i].name, s->params->entries[i].value);
    if (!code)
        code = hd_build_backend_key_data(b, s->cancel_pid, s->cancel_key, sizeof(s->cancel_key));
    return code ? code : hd_build_ready_for_query(b, HD_TXN_IDLE);
}

/* Ready: from here on the session takes statements. */
static void greet(struct hd_session *s)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    hd_login_free(s);
    hd_cancel_new_key(s);
    if (build_greeting(s, &b) || hd_link_send_copy(&s->link, sb.data, sb.len)) {
        hd_strbuf_free(&sb);
        hd_session_close(s);
        return;
    }
    hd_strbuf_free(&sb);
    hd_list_remove(&s->waiting);
    hd_frame_scan_init(&s->scan, hd_frame_frontend);
    if (s->pool && s->pool->conf->pool_mode == HD_POOL_SESSION)
        s->pins |= HD_PIN_MODE;
    s->since_ns = hd_now_ns();
    s->w->stats.logins++;
    hd_session_set_state(s, HD_SESSION_READY);
    hd_session_opened(s);
    hd_link_resume(&s->link);
}

/* --- settings of the startup packet
 * -------------------------------------------------------------------------- */

static void add_setting(struct hd_login *g, const char *name, const char *value)
{
    if (g->setting_count < SETTINGS_MAX)
        g->settings[g->setting_count++] = (struct hd_param_entry){name, value};
}

/* May be put in place without asking a server: it is taken as it is, in this form. */
static int plain(const char *name, const char *value)
{
    size_t n = strlen(value);

    if (strcasecmp(name, "application_name") || n > 63)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (value[i] < 32 || value[i] > 126)
            return 0;
    return 1;
}

/* The session's settings when a server need not be asked: nothing but plain ones, or what is set already. */
static struct hd_params *easy_params(struct hd_session *s, int *easy)
{
    struct hd_login *g = s->login;
    struct hd_params *p = hd_params_hold(s->pool->welcome);

    *easy = 1;
    for (uint32_t i = 0; i < g->setting_count && p; i++) {
        const struct hd_param_entry *e = &g->settings[i];
        const char *now = hd_params_get(p, e->name);
        struct hd_params *with;

        if (now && !strcmp(now, e->value))
            continue;
        if (!plain(e->name, e->value)) {
            *easy = 0;
            break;
        }
        with = hd_params_with(p, "application_name", e->value);
        hd_params_drop(p);
        p = with;
    }
    return p;
}

static int make_cache_key(struct hd_login *g)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;

    if (g->cache_key)
        return HD_OK;
    for (uint32_t i = 0; i < g->setting_count; i++) {
        hd_strbuf_add(&sb, g->settings[i].name, strlen(g->settings[i].name) + 1);
        hd_strbuf_add(&sb, g->settings[i].value, strlen(g->settings[i].value) + 1);
    }
    g->cache_key_len = (uint32_t)sb.len;
    g->cache_key = hd_strbuf_take(&sb);
    return g->cache_key ? HD_OK : HD_ENOMEM;
}

static struct hd_params *cached_params(struct hd_session *s)
{
    struct hd_login *g = s->login;

    for (struct hd_login_cache *c = s->pool->logins; c; c = c->next)
        if (c->len == g->cache_key_len && !memcmp(c->key, g->cache_key, c->len))
            return hd_params_hold(c->params);
    return NULL;
}

static void drop_cache_from(struct hd_login_cache **at)
{
    while (*at) {
        struct hd_login_cache *c = *at;

        *at = c->next;
        hd_params_drop(c->params);
        hd_free(c);
    }
}

void hd_session_forget_logins(struct hd_pool *p)
{
    drop_cache_from(&p->logins);
}

/* Newest first; what does not fit falls off the end. */
static void remember_login(struct hd_session *s)
{
    struct hd_login *g = s->login;
    struct hd_login_cache *c = hd_malloc(sizeof(*c) + g->cache_key_len);
    struct hd_login_cache **at = &s->pool->logins;

    if (!c)
        return;
    c->params = hd_params_hold(s->params);
    c->len = g->cache_key_len;
    memcpy(c->key, g->cache_key, c->len);
    c->next = s->pool->logins;
    s->pool->logins = c;
    for (int n = 0; *at && n < LOGIN_CACHE_MAX; n++)
        at = &(*at)->next;
    drop_cache_from(at);
}

/* `base`, which is taken over, with the present values of what servers report. Other settings of `now` were
 * an earlier session's, and have just been reset. */
static struct hd_params *overlaid(struct hd_params *base, const struct hd_params *now)
{
    for (uint32_t i = 0; i < now->count && base; i++) {
        struct hd_params *with;

        if (!hd_param_known(now->entries[i].name))
            continue;
        with = hd_params_with(base, now->entries[i].name, now->entries[i].value);
        hd_params_drop(base);
        base = with;
    }
    return base;
}

/* The pool's node has changed while this server was asked: the settings are asked of a new one. */
static void begin_again(struct hd_session *s)
{
    struct hd_server *v = s->server;

    hd_server_unlink(v);
    hd_pool_put(v);
    hd_free(s->login->cache_key);
    s->login->cache_key = NULL;
    s->queue = s->pool;
    hd_pool_want_welcome(s->pool, s);
}

/* What the server reports after the settings were put in place is their right form; what it does not report
 * is kept as the client wrote it. */
static void settings_in_place(struct hd_session *s)
{
    struct hd_server *v = s->server;
    struct hd_login *g = s->login;
    struct hd_params *p;

    if (!hd_pool_welcome(s->pool)) {
        begin_again(s);
        return;
    }
    p = overlaid(hd_params_hold(s->pool->welcome), v->params);
    for (uint32_t i = 0; i < g->setting_count && p; i++) {
        struct hd_params *with;

        if (hd_params_get(v->params, g->settings[i].name) && hd_param_known(g->settings[i].name))
            continue;
        with = hd_params_with(p, g->settings[i].name, g->settings[i].value);
        hd_params_drop(p);
        p = with;
    }
    if (!p) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    hd_params_drop(v->params);
    v->params = hd_params_hold(p);
    s->params = p;
    remember_login(s);
    hd_server_unlink(v);
    hd_pool_put(v);
    greet(s);
}

/* Brings the granted server to the pool's own settings and then to the client's, and waits for its answer. */
void hd_login_granted(struct hd_session *s, struct hd_server *v)
{
    struct hd_login *g = s->login;
    struct hd_strbuf sql = HD_STRBUF_INIT;
    struct hd_params *want;
    int code = HD_ENOMEM;

    if (!g->cache_key) { /* it waited only to learn what servers are like */
        hd_server_unlink(v);
        hd_pool_put(v);
        settle_settings(s);
        return;
    }
    want = hd_params_make(s->w->params, g->settings, g->setting_count);
    if (want) {
        struct hd_params *base = hd_params_hold(s->pool->welcome);
        int n = hd_params_sync_sql(v->params, base, &sql);

        if (n)
            hd_strbuf_puts(&sql, "; ");
        hd_params_set_sql(want, &sql);
        code = sql.failed ? HD_ENOMEM : hd_server_inject_query(v, sql.data, sql.len, HD_EXPECT_MUST);
        hd_params_drop(base);
    }
    hd_params_drop(want);
    hd_strbuf_free(&sql);
    if (code)
        hd_session_fatal(s, "53200", "out of memory", NULL);
}

void hd_login_server_ready(struct hd_session *s)
{
    settings_in_place(s);
}

/* --- after authentication
 * ------------------------------------------------------------------------------------ */

/* The pool's servers are known: settles the session's settings, with a server's help if need be. */
static void settle_settings(struct hd_session *s)
{
    int easy;
    struct hd_params *p = easy_params(s, &easy);

    if (p && !easy) {
        hd_params_drop(p);
        p = make_cache_key(s->login) ? NULL : cached_params(s);
        if (!p && s->login->cache_key) {
            s->queue = s->pool;
            if (hd_pool_acquire(s->pool, s)) {
                s->queue = NULL;
                hd_login_granted(s, s->server);
            }
            return;
        }
    }
    if (!p) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    s->params = p;
    greet(s);
}

void hd_session_welcomed(struct hd_pool *p)
{
    struct hd_list all;
    struct hd_list *n;

    hd_list_init(&all);
    HD_LIST_EACH(i, &p->waiting)
    {
        struct hd_session *s = HD_LIST_ITEM(i, struct hd_session, waiting);

        if (s->state != HD_SESSION_WELCOME)
            continue;
        hd_pool_give_up(p, s);
        hd_list_push_back(&all, &s->waiting);
    }
    while ((n = hd_list_pop_front(&all))) {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, waiting);

        s->queue = NULL;
        settle_settings(s);
    }
}

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
        refuse(s, "53300", text, 0);
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
        refuse(s, "53300", "sorry, too many clients already (max_clients of [host])", 0);
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
        refuse(s, "42501", "only a user with admin = yes may connect to database \"" CONSOLE_DATABASE "\"",
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
    greet(s);
}

static void enter_database(struct hd_session *s)
{
    struct hd_login *g = s->login;
    const struct hd_database_conf *conf = hd_settings_database(s->w->settings, g->database);
    const struct hd_user_conf *user = hd_settings_user(s->w->settings, g->user);
    char text[200];

    if (!conf || !user) {
        snprintf(text, sizeof(text), "database \"%.100s\" does not exist", g->database);
        refuse(s, "3D000", text, 0);
        return;
    }
    s->pool = hd_pool_get(s->w, s->w->settings, conf, user, conf->node, g->database, g->user);
    if (!s->pool) {
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    s->pool->refs++;
    if (!count_in(s))
        return;
    hd_list_remove(&s->waiting); /* from here queue_timeout holds */
    hd_session_set_state(s, HD_SESSION_WELCOME);
    if (hd_pool_welcome(s->pool)) {
        settle_settings(s);
        return;
    }
    s->queue = s->pool;
    hd_pool_want_welcome(s->pool, s);
}

static void authenticated(struct hd_session *s)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code = hd_build_authentication_ok(&b);

    if (!code)
        code = hd_link_send_copy(&s->link, sb.data, sb.len);
    hd_strbuf_free(&sb);
    if (code)
        hd_session_close(s);
    else if (!strcmp(s->login->database, CONSOLE_DATABASE))
        enter_console(s);
    else
        enter_database(s);
}

/* --- authentication
 * ------------------------------------------------------------------------------------------ */

static int send_built(struct hd_session *s, struct hd_strbuf *sb, int code)
{
    if (!code)
        code = hd_link_send_copy(&s->link, sb->data, sb->len);
    hd_strbuf_free(sb);
    return code;
}

static void begin_scram(struct hd_session *s)
{
    static const char *const names[] = {HD_SCRAM_SHA_256_PLUS, HD_SCRAM_SHA_256};
    struct hd_login *g = s->login;
    const struct hd_user_conf *u = g->user_conf;
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_scram_verifier mock;
    uint8_t binding[64];
    size_t binding_len = s->link.tls ? hd_tls_end_point(s->link.tls, binding) : 0;
    int exists = u && u->verifier;

    if (!exists && hd_scram_verifier_mock(s->w->all->mock_secret, g->user, &mock)) {
        hd_session_fatal(s, "XX000", "cannot authenticate", NULL);
        return;
    }
    hd_scram_server_init(&g->scram, exists ? u->verifier : &mock, exists, binding, binding_len);
    hd_session_set_state(s, HD_SESSION_AUTH);
    if (send_built(s, &sb,
                   hd_build_authentication_sasl(&b, binding_len ? names : names + 1, binding_len ? 2 : 1)))
        hd_session_close(s);
}

static void begin_cert(struct hd_session *s)
{
    char name[256];

    if (!s->link.tls || hd_tls_client_name(s->link.tls, name, sizeof(name)))
        refuse(s, "28000", "connection requires a valid client certificate", 0);
    else if (strcmp(name, s->login->user) || !s->login->user_conf)
        refuse(s, "28000", "the client certificate's common name is not the user's name", 0);
    else
        authenticated(s);
}

static void authenticate(struct hd_session *s)
{
    struct hd_login *g = s->login;
    char text[200];

    g->config = hd_settings_hold(s->w->settings);
    g->user_conf = hd_settings_user(g->config, g->user);
    switch (s->listener->conf->auth) {
    case HD_AUTH_SCRAM:
        begin_scram(s);
        return;
    case HD_AUTH_CERT:
        begin_cert(s);
        return;
    case HD_AUTH_TRUST:
        break;
    }
    if (g->user_conf) {
        authenticated(s);
        return;
    }
    snprintf(text, sizeof(text), "role \"%.100s\" does not exist", g->user);
    refuse(s, "28000", text, 0);
}

/* A SASLInitialResponse or SASLResponse. */
static void on_sasl(struct hd_session *s, const struct hd_frame *f)
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
            refuse(s, "08P01", "malformed SASLInitialResponse", 0);
            return;
        }
        code = hd_scram_server_choose(&g->scram, initial.mechanism, &err);
        data = initial.data;
        len = initial.len;
    }
    if (!code)
        code = hd_scram_server_step(&g->scram, data, len, &reply, &err);
    if (code == HD_PENDING) {
        if (send_built(s, &sb, hd_build_authentication_sasl_continue(&b, reply.text, reply.len)))
            hd_session_close(s);
    } else if (code == HD_OK) {
        if (send_built(s, &sb, hd_build_authentication_sasl_final(&b, reply.text, reply.len)))
            hd_session_close(s);
        else
            authenticated(s);
    } else if (code == HD_EPERM) {
        snprintf(text, sizeof(text), "password authentication failed for user \"%.100s\"", g->user);
        refuse(s, "28P01", text, 0);
    } else {
        refuse(s, g->scram.sqlstate ? g->scram.sqlstate : "08P01", err.text, 0);
    }
}

/* --- the first packet
 * ---------------------------------------------------------------------------------------- */

static size_t on_ssl_request(struct hd_session *s, const struct hd_startup *st, size_t len)
{
    struct hd_tls *tls;

    if (s->link.tls)
        return refuse(s, "08P01", "SSLRequest inside TLS", len);
    if (!s->listener->tls) {
        hd_session_send(s, "N", 1);
        return st->length;
    }
    if (len > st->length) /* somebody in between put words into the client's mouth */
        return refuse(s, "08P01", "received unencrypted data after SSL request", len);
    tls = hd_tls_accept(s->listener->tls);
    if (!tls)
        return refuse(s, "53200", "out of memory", len);
    hd_session_send(s, "S", 1);
    if (s->state == HD_SESSION_CLOSED) {
        hd_tls_free(tls);
        return len;
    }
    hd_link_flush(&s->link);
    hd_link_set_tls(&s->link, tls);
    return st->length;
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
    if (send_built(s, &sb,
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
        return refuse(s, "53200", "out of memory", len);
    s->login = g;
    if (s->listener->conf->tls == HD_TLS_REQUIRE && !s->link.tls)
        return refuse(s, "28000", "TLS required", len);
    if (wants_replication(st))
        return refuse(s, "0A000", "replication connections do not go through this host", len);
    g->user = hd_arena_strdup(&g->arena, st->user);
    g->database = hd_arena_strdup(&g->arena, st->database);
    if (!g->user || !g->database)
        return refuse(s, "53200", "out of memory", len);
    sqlstate = read_settings(g, st, &err);
    if (sqlstate)
        return refuse(s, sqlstate, err.text[0] ? err.text : "out of memory", len);
    negotiate(s, st);
    if (s->state == HD_SESSION_STARTUP)
        authenticate(s);
    return s->state >= HD_SESSION_CLOSING ? len : st->length;
}

static size_t first_packet(struct hd_session *s, const uint8_t *data, size_t len)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_startup st;
    int code = hd_startup_parse(data, len, &st, &err);

    if (code == HD_PENDING)
        return 0;
    if (code)
        return refuse(s, st.sqlstate ? st.sqlstate : "08P01", err.text, len);
    switch (st.kind) {
    case HD_STARTUP_SSL:
        return on_ssl_request(s, &st, len);
    case HD_STARTUP_GSSENC:
        hd_session_send(s, "N", 1);
        return s->state == HD_SESSION_CLOSED ? len : st.length;
    case HD_STARTUP_CANCEL:
        hd_cancel_request(s, &st);
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
        return refuse(s, "08P01", err.text, len);
    }
    on_sasl(s, &f);
    return f.total;
}

size_t hd_login_data(struct hd_session *s, const uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        size_t n;

        if (s->state == HD_SESSION_STARTUP)
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
