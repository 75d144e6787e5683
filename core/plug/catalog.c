/*
 * Asking the servers' catalogs, and keeping what they say; see catalog.h.
 */
#include "plug/catalog_ask.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/services.h"

#define ASKING_MAX   256  /* questions under way, or waiting */
#define TEXT_MAX_LEN 1024 /* of a user, a role, a node, a database; of a search_path four times as much */

/* --- dependencies -------------------------------------------------------------------------------------- */

static void hold(struct hd_dependencies *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
}

void hd_dependencies_release(const hd_dependencies *constant)
{
    struct hd_dependencies *d = (struct hd_dependencies *)(uintptr_t)constant;

    if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
        return;
    hd_catalog_answer_free(&d->answer);
    hd_free(d);
}

int hd_dependencies_current(const hd_dependencies *d)
{
    return atomic_load_explicit(&d->database->generation, memory_order_acquire) == d->generation;
}

/* --- entries; under the lock --------------------------------------------------------------------------- */

static struct hd_catalog_entry **place_of(struct hd_catalog *c, struct hd_hash128 key)
{
    struct hd_catalog_entry **at = &c->buckets[key.lo % HD_CATALOG_BUCKETS];

    while (*at && !hd_hash128_eq((*at)->key, key))
        at = &(*at)->next;
    return at;
}

struct hd_catalog_entry *hd_catalog_find(struct hd_catalog *c, struct hd_hash128 key)
{
    return *place_of(c, key);
}

static void forget(struct hd_catalog *c, struct hd_catalog_entry *e)
{
    *place_of(c, e->key) = e->next;
    hd_list_remove(&e->order);
    hd_dependencies_release(e->known);
    hd_free(e);
    c->count--;
}

/* Makes room by what was asked for longest ago. */
static void evict(struct hd_catalog *c)
{
    HD_LIST_EACH(n, &c->order)
    {
        struct hd_catalog_entry *e = HD_LIST_ITEM(n, struct hd_catalog_entry, order);

        if (e->asking)
            continue;
        forget(c, e);
        c->evicted++;
        return;
    }
}

static struct hd_catalog_entry *entry_of(struct hd_catalog *c, struct hd_hash128 key)
{
    struct hd_catalog_entry **at = place_of(c, key), *e = *at;

    if (e)
        return e;
    e = hd_calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->key = key;
    *at = e;
    hd_list_push_back(&c->order, &e->order);
    if (++c->count > c->max)
        evict(c);
    return e;
}

/* --- questions ----------------------------------------------------------------------------------------- */

/* A scope with strings that end. */
struct scope {
    char user[TEXT_MAX_LEN], role[TEXT_MAX_LEN], path[4 * TEXT_MAX_LEN];
    struct hd_catalog_view view;
};

/* 0 where it does not fit or has a NUL within. */
static int put(char *out, size_t cap, struct hd_str s)
{
    if (s.len >= cap || (s.len && memchr(s.ptr, 0, s.len)))
        return 0;
    if (s.len)
        memcpy(out, s.ptr, s.len);
    out[s.len] = 0;
    return 1;
}

static int no_role(const struct hd_catalog_scope *in)
{
    return !in->role.len || (in->role.len == 4 && !memcmp(in->role.ptr, "none", 4));
}

static int read_scope(const struct hd_catalog_scope *in, struct scope *out)
{
    if (!put(out->user, sizeof(out->user), in->user) ||
        !put(out->role, sizeof(out->role), no_role(in) ? in->user : in->role) ||
        !put(out->path, sizeof(out->path), in->search_path))
        return 0;
    out->view = (struct hd_catalog_view){
        .user = out->user, .role = out->role, .search_path = in->search_path.ptr ? out->path : NULL};
    return 1;
}

/* Who the server takes the session for, where that is not the client's user. 0: it cannot be told. */
static int read_login(struct hd_catalog *c, const struct hd_catalog_scope *in, struct scope *out)
{
    int found;
    char node[TEXT_MAX_LEN];

    if (!put(node, sizeof(node), in->node))
        return 0;
    found = hd_jobs_login(c->jobs, node, out->user, sizeof(out->user));
    if (found > 0 && no_role(in))
        memcpy(out->role, out->user, sizeof(out->role));
    return found >= 0;
}

static struct hd_hash128 more(struct hd_hash128 h, struct hd_str s)
{
    return hd_hash128_more(hd_hash128_more(h, &s.len, sizeof(s.len)), s.ptr ? s.ptr : "", s.len);
}

static struct hd_hash128 key_of(const hd_template *t, const struct hd_catalog_scope *s)
{
    const char has_path = s->search_path.ptr ? 1 : 0;
    struct hd_hash128 h = hd_hash128(&t->key, sizeof(t->key));

    h = more(more(more(more(h, s->node), s->dbname), s->user), s->role);
    return hd_hash128_more(more(h, s->search_path), &has_path, 1);
}

/* Begins to ask for an entry that is marked as asking. HD_PENDING, or why not. */
static int ask(struct hd_catalog *c, const hd_template *t, const struct scope *scope, struct hd_hash128 key,
               struct hd_catalog_database *database)
{
    struct hd_catalog_view view = scope->view;
    struct hd_catalog_entry *e;
    int code;

    view.default_hidden = hd_jobs_conninfo_says(c->jobs, database->node, "search_path");
    code = hd_catalog_put_question(c, t, &view, key, database);
    if (code == HD_PENDING)
        return code;
    pthread_mutex_lock(&c->lock);
    c->asking--;
    e = *place_of(c, key);
    if (e)
        e->asking = 0;
    pthread_mutex_unlock(&c->lock);
    return code;
}

/* What is known; HD_PENDING with *begin: it is to be asked. Under the lock. */
static int look(struct hd_catalog *c, struct hd_hash128 key, const hd_dependencies **out, int *begin)
{
    struct hd_catalog_entry *e = entry_of(c, key);

    if (!e)
        return HD_ENOMEM;
    if (e->known && hd_dependencies_current(e->known)) {
        hold(e->known);
        *out = e->known;
        return HD_OK;
    }
    if (e->asking)
        return HD_PENDING;
    if (e->retry_ns && hd_now_ns() < e->retry_ns)
        return HD_EIO;
    if (c->asking == ASKING_MAX)
        return HD_EFULL;
    c->asking++;
    c->asked++;
    e->asking = *begin = 1;
    return HD_PENDING;
}

int hd_catalog_dependencies(struct hd_catalog *c, const hd_template *t, const struct hd_catalog_scope *in,
                            const hd_dependencies **out)
{
    struct hd_catalog_database *d;
    struct hd_hash128 key;
    struct scope scope;
    int begin = 0, code = HD_ENOMEM;

    *out = NULL;
    if (in->size < sizeof(*in) || !in->node.len || !in->dbname.len || !in->user.len ||
        in->node.len >= TEXT_MAX_LEN || in->dbname.len >= TEXT_MAX_LEN || !read_scope(in, &scope) ||
        !read_login(c, in, &scope))
        return HD_EINVAL;
    key = key_of(t, in);
    pthread_mutex_lock(&c->lock);
    d = hd_catalog_database(c, in->node, in->dbname);
    if (d) {
        atomic_store_explicit(&d->used_ns, hd_now_ns(), memory_order_relaxed);
        code = look(c, key, out, &begin);
    }
    pthread_mutex_unlock(&c->lock);
    return begin ? ask(c, t, &scope, key, d) : code;
}

/* --- SHOW CATALOG -------------------------------------------------------------------------------------- */

static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_catalog *c = arg;
    hd_result *r = call->result;
    uint64_t now = hd_now_ns();

    (void)err;
    hd_result_columns(r, "node", HD_COL_TEXT, "database", HD_COL_TEXT, "generation", HD_COL_INT,
                      "used seconds ago", HD_COL_INT, "entries", HD_COL_INT, "asked", HD_COL_INT, "failed",
                      HD_COL_INT, "evicted", HD_COL_INT, NULL);
    pthread_mutex_lock(&c->lock);
    for (const struct hd_catalog_database *d = c->databases; d; d = d->next) {
        hd_result_cstr(r, d->node);
        hd_result_cstr(r, d->dbname);
        hd_result_integer(r, (int64_t)atomic_load(&d->generation));
        hd_result_integer(r, (int64_t)((now - atomic_load(&d->used_ns)) / 1000000000u));
        hd_result_integer(r, (int64_t)c->count);
        hd_result_integer(r, (int64_t)c->asked);
        hd_result_integer(r, (int64_t)c->failed);
        hd_result_integer(r, (int64_t)c->evicted);
    }
    pthread_mutex_unlock(&c->lock);
    return HD_OK;
}

int hd_catalog_add_commands(struct hd_catalog *c, struct hd_commands *commands, struct hd_error *err)
{
    return hd_commands_add(commands, NULL, "SHOW CATALOG", "",
                           "What is kept of the databases' schemas (counts of all databases together)",
                           HD_CMDF_READ_ONLY, show, c, err);
}

/* --- start and end ------------------------------------------------------------------------------------- */

struct hd_catalog *hd_catalog_new(struct hd_jobs *jobs, size_t max)
{
    struct hd_catalog *c = hd_calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->jobs = jobs;
    c->max = max ? max : 1;
    hd_list_init(&c->order);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void hd_catalog_free(struct hd_catalog *c)
{
    if (!c)
        return;
    HD_CHECK(!c->asking);
    while (!hd_list_empty(&c->order))
        forget(c, HD_LIST_ITEM(c->order.next, struct hd_catalog_entry, order));
    while (c->databases) {
        struct hd_catalog_database *d = c->databases;

        c->databases = d->next;
        hd_free(d->fingerprint);
        hd_free(d);
    }
    pthread_mutex_destroy(&c->lock);
    hd_free(c);
}
