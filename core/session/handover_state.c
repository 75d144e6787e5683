/*
 * Sessions as bytes; see handover_state.h. In order: listener, database, user; statements and transactions;
 * settings; prepared statements by name; the unnamed one. Texts have their length in front.
 */
#include "session/handover_state.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "session/client.h"
#include "session/listener.h"
#include "session/pool.h"
#include "session/tally.h"

/* --- packing ---------------------------------------------------------------------------------------------
 */

static void put_number(struct hd_strbuf *out, uint64_t n)
{
    hd_strbuf_add(out, &n, sizeof(n));
}

static void put_bytes(struct hd_strbuf *out, const void *bytes, size_t len)
{
    put_number(out, len);
    hd_strbuf_add(out, bytes, len);
}

static void put_text(struct hd_strbuf *out, const char *text)
{
    put_bytes(out, text, strlen(text) + 1);
}

static void put_prep(struct hd_strbuf *out, const struct hd_prep *p)
{
    put_number(out, p->sql_len);
    put_bytes(out, p->body, p->len);
}

/* Users that a server told of, and passwords that only a login shows, are not for the other host to know. */
int hd_handover_understandable(const struct hd_session *s)
{
    const struct hd_settings *conf = s->w->settings;

    return s->pool->settings == conf && hd_settings_user(conf, s->pool->user) == s->pool->user_conf &&
           (s->pool->user_conf->password || s->pool->node->user || s->listener->conf->auth != HD_AUTH_SCRAM);
}

static void put_params(struct hd_strbuf *out, const struct hd_params *p)
{
    put_number(out, p ? p->count : 0);
    for (uint32_t i = 0; p && i < p->count; i++) {
        put_text(out, p->entries[i].name);
        put_text(out, p->entries[i].value);
    }
}

int hd_handover_pack(const struct hd_session *s, struct hd_strbuf *out)
{
    put_text(out, s->listener->conf->name);
    put_text(out, s->pool->database);
    put_text(out, s->pool->user);
    put_number(out, s->statements);
    put_number(out, s->transactions);
    put_params(out, s->params);
    put_params(out, s->startup);
    put_number(out, s->names.count);
    for (uint32_t i = 0; i < s->names.count; i++) {
        put_text(out, s->names.items[i].name);
        put_prep(out, s->names.items[i].prep);
        put_number(out, s->names.items[i].rows);
    }
    put_number(out, s->unnamed != NULL);
    if (s->unnamed)
        put_prep(out, s->unnamed);
    return out->failed ? HD_ENOMEM : HD_OK;
}

/* --- unpacking -------------------------------------------------------------------------------------------
 */

struct reader {
    const uint8_t *at;
    size_t left;
    int bad;
};

static const uint8_t *get(struct reader *r, size_t len)
{
    const uint8_t *p = r->at;

    if (r->bad || len > r->left) {
        r->bad = 1;
        return NULL;
    }
    r->at += len;
    r->left -= len;
    return p;
}

static uint64_t get_number(struct reader *r)
{
    const uint8_t *p = get(r, sizeof(uint64_t));
    uint64_t n = 0;

    if (p)
        memcpy(&n, p, sizeof(n));
    return n;
}

/* Never NULL. */
static const char *get_text(struct reader *r)
{
    uint64_t len = get_number(r);
    const uint8_t *p = get(r, len);

    if (!p || !len || p[len - 1]) {
        r->bad = 1;
        return "";
    }
    return (const char *)p;
}

static struct hd_prep *get_prep(struct reader *r, struct hd_prep_table *t)
{
    uint64_t sql_len = get_number(r), len = get_number(r);
    const uint8_t *body = get(r, len);

    if (!body || sql_len >= len || len > UINT32_MAX) {
        r->bad = 1;
        return NULL;
    }
    return hd_prep_get(t, body, (uint32_t)len, (uint32_t)sql_len);
}

static int get_params(struct reader *r, struct hd_session *s, struct hd_params **to)
{
    uint64_t n = get_number(r);
    struct hd_param_entry *entries;

    if (r->bad || n > r->left)
        return HD_EINVAL;
    entries = hd_calloc(n + 1, sizeof(*entries));
    if (!entries)
        return HD_ENOMEM;
    for (uint64_t i = 0; i < n; i++) {
        entries[i].name = get_text(r);
        entries[i].value = get_text(r);
    }
    *to = r->bad ? NULL : hd_params_make(s->w->params, entries, (uint32_t)n);
    hd_free(entries);
    return *to ? HD_OK : HD_ENOMEM;
}

static int get_names(struct reader *r, struct hd_session *s)
{
    struct hd_prep_table *t = s->w->all->preps;
    uint64_t n = get_number(r);

    for (uint64_t i = 0; i < n && !r->bad; i++) {
        const char *name = get_text(r);
        struct hd_prep *p = get_prep(r, t);
        struct hd_name *e = p ? hd_names_set(&s->names, t, name, p, ++s->parse_seq) : NULL;

        if (!e) {
            hd_prep_drop(t, p);
            return HD_ENOMEM;
        }
        e->rows = get_number(r);
    }
    if (get_number(r))
        s->unnamed = get_prep(r, t);
    return r->bad ? HD_EINVAL : HD_OK;
}

/* It was let in before: limits are not asked again. */
static void count_in(struct hd_session *s)
{
    const char *names[] = {[HD_TALLY_DATABASE] = s->pool->database, [HD_TALLY_USER] = s->pool->user};

    s->pool->refs++;
    atomic_fetch_add(&s->w->all->clients, 1);
    s->in_clients = 1;
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        struct hd_tally *t = hd_tally_get(s->w->all, (enum hd_tally_kind)i, names[i]);

        if (t && hd_tally_enter(t, 0, s))
            s->tallies[i] = t;
        else if (t)
            hd_tally_put(s->w->all, t);
    }
    hd_pool_enter(s->pool);
    s->counted = 1;
}

static struct hd_listener *find_listener(struct hd_worker *w, const char *name)
{
    for (struct hd_listener *l = w->listeners; l; l = l->next)
        if (!strcmp(l->conf->name, name))
            return l;
    return w->listeners;
}

static struct hd_pool *find_pool(struct hd_worker *w, const char *database, const char *user)
{
    const struct hd_database_conf *d = hd_settings_database(w->settings, database);
    const struct hd_user_conf *u = hd_settings_user(w->settings, user);

    return d && u ? hd_pool_get(w, w->settings, d, u, d->node, database, user) : NULL;
}

int hd_handover_unpack(struct hd_worker *w, int fd, uint32_t cancel_pid, const uint8_t cancel_key[4],
                       const uint8_t *bytes, size_t len)
{
    struct reader r = {bytes, len, 0};
    struct hd_listener *listener = find_listener(w, get_text(&r));
    const char *database = get_text(&r), *user = get_text(&r);
    struct hd_pool *pool = r.bad ? NULL : find_pool(w, database, user);
    struct hd_session *s = pool && listener ? hd_session_adopt(w, listener, fd) : NULL;

    if (!s) {
        hd_log(HD_LOG_ERROR, "a client could not be taken over", HD_KV("database", database),
               HD_KV("user", user));
        return HD_EFAIL;
    }
    s->cancel_pid = cancel_pid;
    memcpy(s->cancel_key, cancel_key, sizeof(s->cancel_key));
    s->statements = get_number(&r);
    s->transactions = get_number(&r);
    s->pool = pool;
    count_in(s);
    if (get_params(&r, s, &s->params) || get_params(&r, s, &s->startup) || get_names(&r, s)) {
        hd_session_close(s);
        return HD_OK; /* and the socket with it */
    }
    hd_session_adopted(s);
    return HD_OK;
}
