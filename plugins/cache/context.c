/*
 * From a session's settings to its context; see context.h.
 */
#include "context.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of a worker. One more user, role, database or search_path needs one more. */
#define MAX_SCOPES 4096

static int same(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && (a.ptr != NULL) == (b.ptr != NULL) && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

/* --- scopes -------------------------------------------------------------------------------------------- */

static struct hd_str find_setting(const struct hd_statement *st, const char *name)
{
    const char *value = hd_statement_setting(st, name);

    return (struct hd_str){value, value ? strlen(value) : 0};
}

static struct hd_catalog_scope scope_of(const struct hd_statement *st)
{
    return (struct hd_catalog_scope){.size = sizeof(struct hd_catalog_scope),
                                     .node = st->node,
                                     .dbname = st->dbname,
                                     .user = st->user,
                                     .role = find_setting(st, "role"),
                                     .search_path = find_setting(st, "search_path")};
}

static int is_scope(const struct cache_scope *s, const struct hd_catalog_scope *c, struct hd_str database)
{
    return same(s->catalog.dbname, c->dbname) && same(s->catalog.user, c->user) &&
           same(s->catalog.role, c->role) && same(s->catalog.search_path, c->search_path) &&
           same(s->catalog.node, c->node) && same(s->database, database);
}

/* Into the memory at *at, with a NUL behind it. */
static struct hd_str keep(char **at, struct hd_str s)
{
    char *p = *at;

    if (!s.ptr)
        return s;
    if (s.len)
        memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    *at += s.len + 1;
    return (struct hd_str){p, s.len};
}

static struct cache_scope *make_scope(struct cache_worker *w, const struct hd_catalog_scope *c,
                                      struct hd_str database)
{
    struct cache_database *db = cache_epochs_database(&w->cache->epochs, c->node, c->dbname);
    size_t len = c->node.len + c->dbname.len + c->user.len + c->role.len + c->search_path.len + database.len;
    struct cache_scope *s = db ? calloc(1, sizeof(*s) + len + 6) : NULL;
    char *at = s ? (char *)(s + 1) : NULL;

    if (!s)
        return NULL;
    s->db = db;
    s->catalog = (struct hd_catalog_scope){.size = sizeof(s->catalog),
                                           .node = keep(&at, c->node),
                                           .dbname = keep(&at, c->dbname),
                                           .user = keep(&at, c->user),
                                           .role = keep(&at, c->role),
                                           .search_path = keep(&at, c->search_path)};
    s->database = keep(&at, database);
    s->user = s->catalog.user;
    return s;
}

static struct cache_scope *find_scope(struct cache_worker *w, const struct hd_statement *st)
{
    struct hd_catalog_scope c = scope_of(st);
    struct cache_scope **at = &w->scopes, *s;

    for (; (s = *at) && !is_scope(s, &c, st->database); at = &s->next)
        ;
    if (s)
        *at = s->next;
    else if (w->scope_count < MAX_SCOPES && (s = make_scope(w, &c, st->database)))
        w->scope_count++;
    else
        return NULL;
    s->next = w->scopes; /* those in use come first */
    w->scopes = s;
    return s;
}

void cache_scopes_free(struct cache_worker *w)
{
    while (w->scopes) {
        struct cache_scope *s = w->scopes;

        w->scopes = s->next;
        free(s);
    }
}

/* --- the digest ---------------------------------------------------------------------------------------- */

/* Settings that change no row of any answer. */
int cache_context_is_harmless(const char *name)
{
    static const char *const harmless[] = {"application_name", "statement_timeout", "lock_timeout",
                                           "idle_in_transaction_session_timeout", "idle_session_timeout"};

    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        if (!strcasecmp(name, harmless[i]))
            return 1;
    return 0;
}

static void put_settings(struct cache_bytes *b, const struct hd_session_setting *all, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (cache_context_is_harmless(all[i].name))
            continue;
        cache_put(b, all[i].name, strlen(all[i].name) + 1);
        cache_put(b, all[i].value, strlen(all[i].value) + 1);
    }
    cache_put_number(b, 0);
}

/* Not broken by anybody who can choose settings: who could would read another's rows. */
static int32_t make_digest(struct cache_worker *w, struct cache_context *c, const struct hd_statement *st)
{
    struct cache_bytes *b = &w->key;

    b->len = 0;
    cache_put_str(b, st->node);
    cache_put_str(b, st->dbname);
    cache_put_str(b, st->user);
    put_settings(b, st->settings, st->setting_count);
    put_settings(b, st->defaults, st->default_count);
    if (b->failed) {
        b->failed = 0;
        return HD_ENOMEM;
    }
    SHA256(b->p, b->len, c->digest);
    return HD_OK;
}

/* READ COMMITTED, and nothing else, unless a transaction says otherwise. */
static int is_isolated(const struct hd_statement *st)
{
    const char *level = hd_statement_setting(st, "default_transaction_isolation");

    return !level || (strcasecmp(level, "read committed") != 0 && strcasecmp(level, "read uncommitted") != 0);
}

int32_t cache_context_update(struct cache_worker *w, struct cache_context *c, const struct hd_statement *st)
{
    if (c->settings_id == st->settings_id && c->defaults_id == st->defaults_id)
        return HD_OK;
    c->settings_id = 0;
    c->scope = find_scope(w, st);
    if (!c->scope)
        return HD_EFULL;
    c->isolated = is_isolated(st);
    if (make_digest(w, c, st))
        return HD_ENOMEM;
    c->settings_id = st->settings_id;
    c->defaults_id = st->defaults_id;
    return HD_OK;
}
