/*
 * The settings of the startup packet: how they are put in place, on which server, and what they come to; and
 * the greeting, which needs to know what the pool's servers are like.
 */
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/units.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/login_parts.h"
#include "session/pool.h"
#include "session/restore.h"
#include "session/server.h"
#include "wire/build.h"

/* Combinations of startup settings that a pool remembers. */
#define LOGIN_CACHE_MAX 64

/* What one combination of startup settings comes to on this pool's servers. */
struct hd_login_cache {
    struct hd_login_cache *next;
    struct hd_params *params;
    uint32_t len;
    char key[];
};

/* --- the greeting
 * -------------------------------------------------------------------------------------------- */

/* Do the servers report it? What a startup packet sets beside that, they keep to themselves. */
static int reported(const struct hd_session *s, const char *name)
{
    return !s->pool || s->tunnel || hd_params_get(s->pool->welcome, name);
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
void hd_login_greet(struct hd_session *s)
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

        if (!hd_params_get(base, now->entries[i].name))
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

        if (hd_params_get(s->pool->welcome, g->settings[i].name))
            continue;
        with = hd_params_with(p, g->settings[i].name, g->settings[i].value);
        hd_params_drop(p);
        p = with;
    }
    if (!p || hd_restore_startup(s, g->settings, g->setting_count)) {
        hd_params_drop(p);
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    hd_params_drop(v->params);
    v->params = hd_params_hold(p);
    s->params = p;
    remember_login(s);
    hd_server_unlink(v);
    hd_pool_put(v);
    hd_login_greet(s);
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
        hd_login_settle(s);
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

void hd_login_settle(struct hd_session *s)
{
    int easy;
    struct hd_params *p = easy_params(s, &easy);

    if (p && !easy) {
        hd_params_drop(p);
        p = make_cache_key(s->login) ? NULL : cached_params(s);
        if (!p && s->login->cache_key) {
            if (hd_pool_acquire(s->pool, s))
                hd_login_granted(s, s->server);
            return;
        }
    }
    if (!p || hd_restore_startup(s, s->login->settings, s->login->setting_count)) {
        hd_params_drop(p);
        hd_session_fatal(s, "53200", "out of memory", NULL);
        return;
    }
    s->params = p;
    hd_login_greet(s);
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

        hd_login_settle(s);
    }
}
