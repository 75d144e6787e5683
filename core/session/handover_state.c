/*
 * Sessions as bytes, and made of them; see handover_state.h.
 */
#include "session/handover_state.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "session/client.h"
#include "session/handover_wire.h"
#include "session/listener.h"
#include "session/pool.h"
#include "session/tally.h"

/* --- packing ---------------------------------------------------------------------------------------------
 */

/* Users that a server told of, and passwords that only a login shows, are not for the other host to know. */
int hd_handover_understandable(const struct hd_session *s)
{
    const struct hd_settings *conf = s->w->settings;

    return !s->own && s->pool->settings == conf &&
           hd_settings_user(conf, s->pool->user) == s->pool->user_conf &&
           (s->pool->user_conf->password || s->pool->node->user || s->listener->conf->auth != HD_AUTH_SCRAM);
}

static struct hd_moved_params params_of(const struct hd_params *p)
{
    return p ? (struct hd_moved_params){p->entries, p->count} : (struct hd_moved_params){NULL, 0};
}

static struct hd_moved_prep prep_of(const struct hd_prep *p)
{
    return (struct hd_moved_prep){p->body, p->len, p->sql_len};
}

int hd_handover_pack(const struct hd_session *s, struct hd_strbuf *out)
{
    struct hd_moved_name *names = hd_malloc(s->names.count * sizeof(*names) + 1);
    struct hd_moved m = {.listener = s->listener->conf->name,
                         .database = s->pool->database,
                         .user = s->pool->user,
                         .statements = s->statements,
                         .transactions = s->transactions,
                         .params = params_of(s->params),
                         .startup = params_of(s->startup),
                         .names = names,
                         .name_count = s->names.count,
                         .has_unnamed = s->unnamed != NULL};

    if (!names)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < s->names.count; i++) {
        const struct hd_name *n = &s->names.items[i];

        names[i] = (struct hd_moved_name){n->name, prep_of(n->prep), n->rows};
    }
    if (s->unnamed)
        m.unnamed = prep_of(s->unnamed);
    hd_moved_encode(&m, out);
    hd_free(names);
    return out->failed ? HD_ENOMEM : HD_OK;
}

/* --- unpacking -------------------------------------------------------------------------------------------
 */

static struct hd_prep *get_prep(struct hd_session *s, const struct hd_moved_prep *p)
{
    return hd_prep_get(s->w->all->preps, p->body, p->len, p->sql_len);
}

static int take_names(struct hd_session *s, const struct hd_moved *m)
{
    struct hd_prep_table *t = s->w->all->preps;

    for (uint32_t i = 0; i < m->name_count; i++) {
        struct hd_prep *p = get_prep(s, &m->names[i].prep);
        struct hd_name *e = p ? hd_names_set(&s->names, t, m->names[i].name, p, ++s->parse_seq) : NULL;

        if (!e) {
            hd_prep_drop(t, p);
            return HD_ENOMEM;
        }
        e->rows = m->names[i].rows;
    }
    return HD_OK;
}

static int take_params(struct hd_session *s, const struct hd_moved_params *p, struct hd_params **to)
{
    *to = hd_params_make(s->w->params, p->entries, p->count);
    return *to ? HD_OK : HD_ENOMEM;
}

static int take_state(struct hd_session *s, const struct hd_moved *m)
{
    s->statements = m->statements;
    s->transactions = m->transactions;
    if (take_params(s, &m->params, &s->params) || take_names(s, m))
        return HD_ENOMEM;
    if (m->startup.count && take_params(s, &m->startup, &s->startup))
        return HD_ENOMEM;
    if (m->has_unnamed && !(s->unnamed = get_prep(s, &m->unnamed)))
        return HD_ENOMEM;
    return HD_OK;
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

/* The session, with its place in its pool; NULL: it cannot be here. */
static struct hd_session *adopt(struct hd_worker *w, int fd, const struct hd_moved *m)
{
    struct hd_listener *listener = find_listener(w, m->listener);
    struct hd_pool *pool = find_pool(w, m->database, m->user);
    struct hd_session *s = pool && listener ? hd_session_adopt(w, listener, fd) : NULL;

    if (s) {
        s->pool = pool;
        count_in(s);
    }
    return s;
}

int hd_handover_unpack(struct hd_worker *w, int fd, uint32_t cancel_pid, const uint8_t cancel_key[4],
                       const uint8_t *bytes, size_t len)
{
    struct hd_moved m;
    int code = hd_moved_decode(bytes, len, &m);
    struct hd_session *s = code ? NULL : adopt(w, fd, &m);

    if (!s) {
        hd_log(HD_LOG_ERROR, "a client could not be taken over",
               HD_KV("reason", code ? hd_code_name(code) : "nobody has its database and user here"),
               HD_KV("database", code ? "" : m.database), HD_KV("user", code ? "" : m.user));
        hd_moved_free(&m);
        return HD_EFAIL;
    }
    s->cancel_pid = cancel_pid;
    memcpy(s->cancel_key, cancel_key, sizeof(s->cancel_key));
    if (take_state(s, &m))
        hd_session_close(s); /* and the socket with it */
    else
        hd_session_adopted(s);
    hd_moved_free(&m);
    return HD_OK;
}
