/*
 * CACHE EXPLAIN: the statement is planned and bound as one of that user in that database would be, and what
 * was found is told. The catalog may have to ask the server first; that is looked after at intervals.
 */
#include "explain_parts.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS    5
#define PATIENCE   2000 /* looks, before that is given up */
#define EXPLAINING 64   /* at a time */

/* --- a call -------------------------------------------------------------------------------------------- */

static void free_explain(struct cache_explain *x)
{
    if (x->timer)
        x->cache->loop->untimer(x->timer);
    if (x->plan)
        x->destroy(x->plan);
    if (x->tmpl)
        x->cache->template->release(x->tmpl);
    free(x->text);
    free(x->names);
    free(x);
}

static void unlist(struct cache_explain *x)
{
    struct cache_explain **at = &x->cache->explaining;

    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
}

/* Will the catalog never say, or not soon? */
static int is_hopeless(struct cache_explain *x)
{
    const hd_dependencies *deps;
    int32_t code = x->cache->catalog->dependencies(x->cache->host, x->tmpl, &x->scope.catalog, &deps);

    if (code == HD_OK)
        x->cache->catalog->release(deps);
    return (code != HD_OK && code != HD_PENDING) || x->looks++ == PATIENCE;
}

/* 1: everything was told; 0: the server is being asked. */
static int tell(struct cache_explain *x)
{
    struct hd_template_info info = {.size = sizeof(info)};
    const struct cache_bound *b;
    const char *why;

    if (!x->plan || x->plan->class != CACHE_READ) {
        x->cache->template->info(x->tmpl, &info);
        why = cache_explain_facts(&info);
        cache_explain_head(x, "no", why ? why : "it is no plain read");
        return 1;
    }
    b = cache_plan_bind(x->plan, &x->scope);
    if (b && b->code == HD_OK) {
        cache_explain_kept(x, b);
    } else if (b && b->why == CACHE_BYPASS_CATALOG) {
        if (!is_hopeless(x))
            return 0;
        cache_explain_head(
            x, "no", "the server's catalogs could not be asked: see the log, and control_user of its node");
    } else if (b) {
        cache_explain_refused(x, b);
    } else {
        cache_explain_head(x, "no", "no memory");
    }
    return 1;
}

/* [control] */
static void on_time(void *arg)
{
    struct cache_explain *x = arg;

    if (!tell(x))
        return;
    unlist(x);
    x->cache->commands->finish(x->result, HD_OK, NULL);
    free_explain(x);
}

void cache_explain_stop(struct cache *self)
{
    while (self->explaining) {
        struct cache_explain *x = self->explaining;
        struct hd_error err = HD_ERROR_INIT;

        self->explaining = x->next;
        hd_error_set(&err, HD_ECANCELLED, "the plugin cache stops");
        self->commands->finish(x->result, HD_ECANCELLED, &err);
        free_explain(x);
    }
}

/* --- whom it is for ------------------------------------------------------------------------------------ */

struct subject {
    struct hd_str user, database, sql;
};

static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct hd_str trimmed(struct hd_str s)
{
    while (s.len && is_blank(*s.ptr)) {
        s.ptr++;
        s.len--;
    }
    return s;
}

/* Takes quotes off that stand around all of it, as howdahctl sets them; no statement begins with one. */
static char *copy_statement(struct hd_str s)
{
    char quote = s.len > 1 && (*s.ptr == '\'' || *s.ptr == '"') && s.ptr[s.len - 1] == *s.ptr ? *s.ptr : 0;
    char *copy = malloc(s.len + 1);
    size_t n = 0;

    for (uint64_t i = quote != 0; copy && i + (quote != 0) < s.len; i++) {
        copy[n++] = s.ptr[i];
        if (quote && s.ptr[i] == quote)
            i++;
    }
    if (copy)
        copy[n] = 0;
    return copy;
}

/* FOR USER@DATABASE in front; quotes may stand around both together. No statement begins so. */
static int32_t read_subject(const struct hd_call *call, struct subject *out, struct hd_error *err)
{
    struct hd_str rest = call->arg_count ? call->args[0] : (struct hd_str){NULL, 0}, who;
    const char *end, *at;

    *out = (struct subject){.user = call->user, .sql = rest};
    if (rest.len > 4 && !strncasecmp(rest.ptr, "FOR", 3) && is_blank(rest.ptr[3])) {
        rest = trimmed((struct hd_str){rest.ptr + 3, rest.len - 3});
        if (rest.len && (*rest.ptr == '"' || *rest.ptr == '\'')) {
            end = memchr(rest.ptr + 1, *rest.ptr, rest.len - 1);
            who = (struct hd_str){rest.ptr + 1, end ? (uint64_t)(end - rest.ptr) - 1 : 0};
            rest.ptr = end ? end + 1 : rest.ptr;
        } else {
            for (end = rest.ptr; end < call->args[0].ptr + call->args[0].len && !is_blank(*end); end++)
                ;
            who = (struct hd_str){rest.ptr, (uint64_t)(end - rest.ptr)};
            rest.ptr = end;
        }
        at = who.len ? memrchr(who.ptr, '@', who.len) : NULL;
        if (!at || at == who.ptr || at + 1 == who.ptr + who.len)
            return hd_error_set(err, HD_EINVAL, "behind FOR stands USER@DATABASE, then the statement");
        out->user = (struct hd_str){who.ptr, (uint64_t)(at - who.ptr)};
        out->database = (struct hd_str){at + 1, who.len - out->user.len - 1};
        out->sql =
            trimmed((struct hd_str){rest.ptr, (uint64_t)(call->args[0].ptr + call->args[0].len - rest.ptr)});
    }
    if (!out->sql.len)
        return hd_error_set(err, HD_EINVAL, "which statement? CACHE EXPLAIN [FOR USER@DATABASE] STATEMENT");
    if (!out->user.len)
        return hd_error_set(err, HD_EINVAL, "whose statement? CACHE EXPLAIN FOR USER@DATABASE STATEMENT");
    return HD_OK;
}

static struct hd_str keep(char **at, struct hd_str s)
{
    char *p = *at;

    if (s.len)
        memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    *at += s.len + 1;
    return (struct hd_str){p, s.len};
}

/* As a session of that user has it that has set nothing. */
static int32_t make_scope(struct cache_explain *x, const struct subject *s, struct hd_error *err)
{
    struct hd_served_database d = {.size = sizeof(d)};
    struct cache *self = x->cache;
    struct hd_str node, dbname;
    char *at;

    if (self->nodes->database(self->host, s->database, &d) != HD_OK)
        return s->database.len ? hd_error_set(err, HD_ENOENT, "there is no [database %.*s]",
                                              (int)s->database.len, s->database.ptr)
                               : hd_error_set(err, HD_EINVAL,
                                              "in which database? CACHE EXPLAIN FOR USER@DATABASE STATEMENT");
    x->names = at = malloc(s->user.len + s->database.len + d.name.len + d.node.len + d.dbname.len + 5);
    if (!at)
        return hd_error_set(err, HD_ENOMEM, "no memory");
    node = keep(&at, d.node);
    dbname = keep(&at, d.dbname);
    x->scope.user = keep(&at, s->user);
    x->scope.database = keep(&at, s->database.len ? s->database : d.name);
    x->scope.catalog = (struct hd_catalog_scope){
        .size = sizeof(x->scope.catalog), .node = node, .dbname = dbname, .user = x->scope.user};
    x->follows_settings = (d.flags & HD_SERVED_SETTINGS) != 0;
    x->scope.db = cache_epochs_database(&self->epochs, node, dbname);
    return x->scope.db ? HD_OK : hd_error_set(err, HD_EFULL, "max_databases or memory do not suffice");
}

static int32_t begin(struct cache_explain *x, const struct subject *s, struct hd_error *err)
{
    struct hd_plan plan = {.size = sizeof(plan)};
    int32_t code = make_scope(x, s, err);

    if (code != HD_OK)
        return code;
    x->text = copy_statement(s->sql);
    if (!x->text || x->cache->template->find(x->cache->host, (struct hd_str){x->text, strlen(x->text)},
                                             &x->tmpl) != HD_OK)
        return hd_error_set(err, HD_ENOMEM, "no memory");
    cache_plan(x->cache, NULL, x->tmpl, &plan);
    x->plan = plan.data;
    x->destroy = plan.destroy;
    return HD_OK;
}

int32_t cache_explain(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cache *self = arg;
    struct cache_explain *x;
    struct subject s;
    uint32_t count = 0;
    int32_t code = read_subject(call, &s, err);

    if (code != HD_OK)
        return code;
    for (x = self->explaining; x; x = x->next)
        count++;
    x = count < EXPLAINING ? calloc(1, sizeof(*x)) : NULL;
    if (!x)
        return hd_error_set(err, HD_EFULL, "too many statements are being explained");
    x->cache = self;
    x->result = call->result;
    code = begin(x, &s, err);
    if (code == HD_OK && !tell(x)) {
        code = HD_PENDING;
        x->timer = self->loop->timer(self->host, LOOK_MS, 1, on_time, x);
        if (!x->timer)
            code = hd_error_set(err, HD_ENOMEM, "no memory");
    }
    if (code == HD_PENDING) {
        x->next = self->explaining;
        self->explaining = x;
    } else {
        free_explain(x);
    }
    return code;
}
