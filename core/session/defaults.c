/*
 * What servers have by themselves; see defaults.h.
 */
#include "session/defaults.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "session/pool_parts.h"
#include "session/server.h"
#include "session/settle.h"
#include "wire/read.h"

#define ASK_NS 10000000000u
/* So many changes within a minute, and nothing is taken for the pool's for so long. */
#define CHANGES_MAX 4
#define CHANGES_NS  60000000000u
/* Settings that a set may have. */
#define NAMES_MAX 96

/*
 * Settings of a session that can change what a query gives and that the server does not report (before some
 * version): how values are written and read, what names mean, which rows are seen. Not those that change how
 * the answer is found (planner, memory), how long that may take, or what is logged. Of extensions those are
 * here that may stand in postgresql.conf; those that a role or a database sets are asked for by their names.
 */
#define EACH_NAME(X)                                                                                         \
    X("array_nulls")                                                                                         \
    X("backslash_quote")                                                                                     \
    X("bytea_output")                                                                                        \
    X("composite_type_mismatch")                                                                             \
    X("default_text_search_config")                                                                          \
    X("default_transaction_deferrable")                                                                      \
    X("default_transaction_isolation")                                                                       \
    X("default_transaction_read_only")                                                                       \
    X("escape_string_warning")                                                                               \
    X("extra_float_digits")                                                                                  \
    X("gin_fuzzy_search_limit")                                                                              \
    X("hnsw.ef_search")                                                                                      \
    X("hnsw.iterative_scan")                                                                                 \
    X("ignore_checksum_failure")                                                                             \
    X("ivfflat.probes")                                                                                      \
    X("lc_messages")                                                                                         \
    X("lc_monetary")                                                                                         \
    X("lc_numeric")                                                                                          \
    X("lc_time")                                                                                             \
    X("lo_compat_privileges")                                                                                \
    X("local_preload_libraries")                                                                             \
    X("pg_trgm.similarity_threshold")                                                                        \
    X("pg_trgm.strict_word_similarity_threshold")                                                            \
    X("pg_trgm.word_similarity_threshold")                                                                   \
    X("plpgsql.variable_conflict")                                                                           \
    X("quote_all_identifiers")                                                                               \
    X("restrict_nonsystem_relation_kind")                                                                    \
    X("role")                                                                                                \
    X("row_security")                                                                                        \
    X("search_path")                                                                                         \
    X("session_replication_role")                                                                            \
    X("timezone_abbreviations")                                                                              \
    X("transform_null_equals")                                                                               \
    X("xmlbinary")                                                                                           \
    X("xmloption")                                                                                           \
    X("zero_damaged_pages")

#define AS_NAME(name)   name,
#define AS_COLUMN(name) "pg_catalog.current_setting('" name "', true), "

static const char *const names[] = {EACH_NAME(AS_NAME)};

/* One row of what every server may have; then rows of what the role or the database set beside. */
static const char question[] = "SELECT " EACH_NAME(AS_COLUMN) HD_SETTLE_COLUMNS
    ";"
    " SELECT DISTINCT n, pg_catalog.current_setting(n, true) FROM (SELECT "
    "pg_catalog.split_part(c, '=', 1) AS n"
    " FROM pg_catalog.pg_db_role_setting, LATERAL pg_catalog.unnest(setconfig) AS c"
    " WHERE (setdatabase OPERATOR(pg_catalog.=) 0 OR setdatabase OPERATOR(pg_catalog.=)"
    " (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=)"
    " pg_catalog.current_database()))"
    " AND (setrole OPERATOR(pg_catalog.=) 0 OR pg_catalog.pg_get_userbyid(setrole) "
    "OPERATOR(pg_catalog.=)"
    " SESSION_USER)) AS s WHERE pg_catalog.strpos(n, '.') OPERATOR(pg_catalog.>) 0";

/* Settings being gathered; what they point to is others'. */
struct gathered {
    struct hd_param_entry e[NAMES_MAX];
    uint32_t count;
    int full;
};

static void gather(struct gathered *g, const char *name, const char *value)
{
    if (!value)
        return;
    if (g->count == NAMES_MAX)
        g->full = 1;
    else
        g->e[g->count++] = (struct hd_param_entry){name, value};
}

static int is_fixed(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (!strcmp(names[i], name))
            return 1;
    return 0;
}

/* NULL: not known. */
static struct hd_params *set_of(struct hd_pool *p, const struct gathered *g)
{
    return g->full ? NULL : hd_params_make(p->w->params, g->e, g->count);
}

static int has_filters(const struct hd_pool *p)
{
    const struct hd_chain_head *chain = (const struct hd_chain_head *)(const void *)p->w->chain;

    return chain && chain->filters;
}

/* Only where sessions' own settings are followed is it known what these are good for. */
static int wanted(const struct hd_pool *p)
{
    return has_filters(p) && p->conf->pool_mode == HD_POOL_AUTO;
}

const char *hd_defaults_question(const struct hd_pool *p)
{
    return has_filters(p) ? question : NULL;
}

/* --- what the pool has --- */

/* Lets the other workers know. */
static void share(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;
    struct hd_params_copy *copy = p->defaults ? hd_params_copy(p->defaults) : NULL, *old;

    pthread_mutex_lock(&all->pools_lock);
    old = p->shared->defaults;
    p->shared->defaults = copy;
    p->defaults_seq = atomic_load(&p->shared->defaults_seq) + 1;
    atomic_store(&p->shared->defaults_seq, p->defaults_seq);
    pthread_mutex_unlock(&all->pools_lock);
    hd_params_copy_free(old);
}

/* Have they changed so often lately that nothing is to be made of it? */
static int restless(const struct hd_pool *p, uint64_t now)
{
    return p->defaults_changes > CHANGES_MAX && hd_elapsed_ns(now, p->defaults_since_ns) <= CHANGES_NS;
}

/* Idle servers, at once; they come back as after any cleaning. */
static void ask_idle(struct hd_server *v)
{
    v->ask_defaults = 1;
    hd_pool_set_state(v, HD_SERVER_CLEANING);
    if (!hd_defaults_ask(v))
        hd_server_close(v, "its settings are not known");
}

static void ask_all(struct hd_pool *p)
{
    struct hd_list *n;

    HD_LIST_EACH(b, &p->busy)
    HD_LIST_ITEM(b, struct hd_server, node)->ask_defaults = 1;
    while ((n = hd_list_first(&p->idle)))
        ask_idle(HD_LIST_ITEM(n, struct hd_server, node));
}

/* The one place where the pool's set changes; NULL: not known. */
static void pool_has(struct hd_pool *p, struct hd_params *to, uint64_t now)
{
    struct hd_params *old = p->defaults;

    if (old && hd_elapsed_ns(now, p->defaults_since_ns) > CHANGES_NS) {
        p->defaults_since_ns = now;
        p->defaults_changes = 0;
    }
    p->defaults_changes += old != NULL;
    p->defaults = to && !restless(p, now) ? hd_params_hold(to) : NULL;
    hd_params_drop(old);
    if (p->defaults)
        ask_all(p);
}

static void server_has(struct hd_server *v, struct hd_params *a)
{
    struct hd_pool *p = v->pool;
    uint64_t now = hd_now_ns();
    int changed = a != v->defaults;

    hd_params_drop(v->defaults);
    v->defaults = a;
    if (a == p->defaults)
        atomic_store(&p->shared->defaults_seen_ns, now);
    if (a == p->defaults || (!p->defaults && restless(p, now)))
        return;
    if (p->defaults && !changed) {
        v->must_close = 1; /* the newer ones have others */
        return;
    }
    pool_has(p, a, now);
    v->ask_defaults = 0;
    atomic_store(&p->shared->defaults_seen_ns, now);
    share(p);
}

/* What another worker has learned. */
static void take_shared(struct hd_pool *p, uint64_t now)
{
    struct hd_pool_shared *s = p->shared;
    struct hd_params *a;

    pthread_mutex_lock(&p->w->all->pools_lock);
    a = s->defaults ? hd_params_like(p->w->params, s->defaults) : NULL;
    p->defaults_seq = atomic_load(&s->defaults_seq);
    pthread_mutex_unlock(&p->w->all->pools_lock);
    if (a != p->defaults)
        pool_has(p, a, now);
    hd_params_drop(a);
}

void hd_defaults_moved(struct hd_server *v, struct hd_params_copy *copy)
{
    struct hd_pool *p = v->pool;

    v->defaults = copy ? hd_params_from_copy(v->w->params, copy) : NULL;
    v->ask_defaults = 0;
    if (atomic_load(&p->shared->defaults_seq) != p->defaults_seq)
        take_shared(p, hd_now_ns());
    if (p->defaults && v->defaults != p->defaults)
        v->must_close = 1;
}

/* --- the question when a connection is made --- */

static void log_failure(struct hd_pool *p, const PGresult *answer)
{
    const char *why = answer ? PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY) : NULL;

    if (!p->defaults_failed)
        hd_log(HD_LOG_WARNING, "a server does not tell its settings, so filters do not know them",
               HD_KV("node", p->node->name), HD_KV("database", p->database), HD_KV("user", p->user),
               HD_KV("reason", why ? why : "no answer"));
    p->defaults_failed = 1; /* once is enough */
}

void hd_defaults_learn(struct hd_server *v, PGresult *const *answers)
{
    struct gathered g = {.count = 0};
    struct hd_params *a;

    if (!answers[0])
        return; /* nothing was asked */
    for (int i = 0; i < 2; i++)
        if (!answers[i] || PQresultStatus(answers[i]) != PGRES_TUPLES_OK) {
            log_failure(v->pool, answers[i]);
            return;
        }
    hd_settle_learn(v, answers[0], HD_ARRAY_LEN(names));
    if (!wanted(v->pool))
        return;
    for (int i = 0; i < (int)HD_ARRAY_LEN(names); i++)
        if (!hd_params_get(v->params, names[i])) /* else it tells of it by itself */
            gather(&g, names[i], PQgetisnull(answers[0], 0, i) ? NULL : PQgetvalue(answers[0], 0, i));
    for (int i = 0; i < PQntuples(answers[1]); i++)
        gather(&g, PQgetvalue(answers[1], i, 0),
               PQgetisnull(answers[1], i, 1) ? NULL : PQgetvalue(answers[1], i, 1));
    a = set_of(v->pool, &g);
    if (a)
        server_has(v, a);
}

/* --- asking again --- */

/* Has a session set something beside what the server tells of by itself? */
static int overlaid(const struct hd_server *v)
{
    const struct hd_params *told = v->pool->welcome;

    for (uint32_t i = 0; i < v->params->count; i++)
        if (!told || !hd_params_get(told, v->params->entries[i].name))
            return 1;
    return 0;
}

/* Is now a time when a Query of the host's own disturbs nothing, and is answered with what is the server's?
 */
static int may_ask(const struct hd_server *v)
{
    const struct hd_session *s = v->session;

    if ((v->state != HD_SERVER_LINKED && v->state != HD_SERVER_CLEANING) || v->expects.count ||
        v->txn != HD_TXN_IDLE || v->cancels || v->must_close)
        return 0;
    return !s || (!(s->pins & (HD_PIN_SETTING | HD_PIN_UNSURE | HD_PIN_LOAD | HD_PIN_PROTOCOL)) &&
                  !s->fence && !s->exporting && !s->unsynced && !s->pass_rest && !s->paused_by_server &&
                  s->state == HD_SESSION_READY);
}

/* The i-th setting that is asked for: the fixed ones, then what the role and the database had set. */
static const char *name_at(const struct hd_server *v, uint32_t i)
{
    const struct hd_params *d = v->defaults;
    uint32_t n = HD_ARRAY_LEN(names);

    if (i < n)
        return names[i];
    for (uint32_t k = 0; d && k < d->count; k++)
        if (!is_fixed(d->entries[k].name) && n++ == i)
            return d->entries[k].name;
    return NULL;
}

static void put_question(const struct hd_server *v, struct hd_strbuf *sql)
{
    const char *name;

    hd_strbuf_puts(sql, "SELECT NULL");
    for (uint32_t i = 0; (name = name_at(v, i)); i++) {
        if (hd_params_get(v->params, name)) {
            hd_strbuf_puts(sql, ", NULL"); /* a session's */
            continue;
        }
        hd_strbuf_puts(sql, ", pg_catalog.current_setting(");
        hd_params_literal(sql, name);
        hd_strbuf_puts(sql, ", true)");
    }
}

int hd_defaults_ask(struct hd_server *v)
{
    struct hd_strbuf sql = HD_STRBUF_INIT;
    int code;

    if (!wanted(v->pool)) {
        v->ask_defaults = 0;
        return 0;
    }
    if (!may_ask(v))
        return 0;
    v->ask_defaults = 0;
    if (!v->defaults && overlaid(v)) {
        v->must_close = 1;
        return 0;
    }
    put_question(v, &sql);
    code = sql.failed ? HD_ENOMEM : hd_server_inject_query(v, sql.data, sql.len, HD_EXPECT_DEFAULTS);
    hd_strbuf_free(&sql);
    return !code;
}

/* The next column of a row, copied to `at` as a string; what was known before where the row does not say. */
static const char *read_value(struct hd_reader *r, char **at, const char *before)
{
    int32_t len = hd_read_i32(r);
    const void *value = len >= 0 ? hd_read_bytes(r, (size_t)len) : NULL;
    char *copy = *at;

    if (!value)
        return before;
    memcpy(copy, value, (size_t)len);
    copy[len] = 0;
    *at += len + 1;
    return copy;
}

void hd_defaults_row(struct hd_server *v, const struct hd_frame *f)
{
    size_t body = hd_frame_body_len(f);
    struct hd_reader r = hd_reader_on(hd_frame_body(f), body);
    char *values = hd_frame_whole(f) ? hd_malloc(body + NAMES_MAX) : NULL, *at = values;
    struct gathered g = {.count = 0};
    const char *name;

    if (!values)
        return;
    hd_read_u16(&r);
    hd_read_i32(&r);
    for (uint32_t i = 0; i < NAMES_MAX && !r.failed && (name = name_at(v, i)); i++)
        gather(&g, name, read_value(&r, &at, v->defaults ? hd_params_get(v->defaults, name) : NULL));
    hd_params_drop(v->defaults_answer);
    v->defaults_answer = r.failed ? NULL : set_of(v->pool, &g);
    hd_free(values);
}

void hd_defaults_answered(struct hd_server *v)
{
    struct hd_params *a = v->defaults_answer;

    v->defaults_answer = NULL;
    if (a)
        server_has(v, a);
}

/* --- time --- */

/* What has been done in the pool, with servers or without. */
static uint64_t work(const struct hd_pool *p)
{
    return p->stats.queries + p->stats.transactions + p->stats.answered;
}

static void ask_some(struct hd_pool *p, uint64_t now)
{
    struct hd_list *n;

    HD_LIST_EACH(b, &p->busy)
    HD_LIST_ITEM(b, struct hd_server, node)->ask_defaults = 1;
    HD_LIST_EACH(b, &p->idle)
    HD_LIST_ITEM(b, struct hd_server, node)->ask_defaults = 1;
    if (p->defaults_asked_ns > atomic_load(&p->shared->defaults_seen_ns)) /* and nobody could say */
        pool_has(p, NULL, now);
    else if ((n = hd_list_first(&p->idle)))
        ask_idle(HD_LIST_ITEM(n, struct hd_server, node));
    p->defaults_asked_ns = now;
}

void hd_defaults_tick(struct hd_pool *p, uint64_t now)
{
    if (!wanted(p))
        return;
    if (atomic_load_explicit(&p->shared->defaults_seq, memory_order_relaxed) != p->defaults_seq)
        take_shared(p, now);
    if (now < p->defaults_due_ns || work(p) == p->defaults_work)
        return;
    p->defaults_due_ns = now + ASK_NS;
    p->defaults_work = work(p);
    if (p->defaults)
        ask_some(p, now);
    else if (!restless(p, now))
        ask_all(p);
}
