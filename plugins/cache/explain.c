/*
 * CACHE EXPLAIN: the statement is planned and bound as one of that user in that database would be, and what
 * was found is told. The catalog may have to ask the server first; that is looked after at intervals.
 */
#include "explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "follow.h"
#include "plan.h"
#include "tags.h"
#include "words.h"

#define LOOK_MS    5
#define PATIENCE   2000 /* looks, before that is given up */
#define EXPLAINING 64   /* at a time */
#define TEXT_MAX   512

/* One call. */
struct cache_explain {
    struct cache_explain *next;
    struct cache *cache;
    hd_result *result;
    hd_timer *timer;
    const hd_template *tmpl;
    struct cache_plan *plan; /* NULL: it is nothing to the cache, or there was no memory */
    void (*destroy)(void *plan);
    struct cache_scope scope;
    int32_t follows_settings;
    uint32_t looks;
    char *text;  /* the statement */
    char *names; /* that the scope points to */
};

/* --- rows of the result -------------------------------------------------------------------------------- */

static void put(const struct cache_explain *x, const char *what, const char *name, const char *value)
{
    const struct hd_commands_v1 *c = x->cache->commands;

    c->text(x->result, (struct hd_str){what, strlen(what)});
    c->text(x->result, (struct hd_str){name, strlen(name)});
    c->text(x->result, (struct hd_str){value, strlen(value)});
}

static void put_head(const struct cache_explain *x, const char *cached, const char *reason)
{
    const struct hd_commands_v1 *c = x->cache->commands;

    c->column(x->result, "what", HD_COL_TEXT);
    c->column(x->result, "name", HD_COL_TEXT);
    c->column(x->result, "value", HD_COL_TEXT);
    put(x, "cached", "", cached);
    if (reason)
        put(x, "reason", "", reason);
}

/* In the largest unit that it is a whole number of. */
static void put_duration(const struct cache_explain *x, const char *what, uint64_t ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    char text[32];
    size_t i = 0;

    while (units[i].ms > 1 && (!ms || ms % units[i].ms))
        i++;
    snprintf(text, sizeof(text), "%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
    put(x, what, "", text);
}

static void put_policy(const struct cache_explain *x, const struct cache_policy *p)
{
    static const char *const modes[] = {
        [CACHE_STRICT] = "strict", [CACHE_BOUNDED] = "bounded", [CACHE_TTL] = "ttl"};

    put(x, "rule", "", p->rule ? p->rule : "default");
    put(x, "mode", "", modes[p->mode]);
    if (p->mode == CACHE_BOUNDED)
        put_duration(x, "bound", p->bound_ms);
    put_duration(x, "ttl", p->ttl_ms);
    for (uint32_t i = 0; i < x->cache->tier_count; i++)
        if (p->tiers & (1u << i))
            put(x, "store", "", x->cache->tiers[i].name);
    if (p->beta > 0)
        put(x, "early_refresh", "", "yes");
    if (p->stale_ms)
        put_duration(x, "stale_while_revalidate", p->stale_ms);
}

/* --- tags ---------------------------------------------------------------------------------------------- */

/* With which $n the columns of a rule's tag are compared. */
static void put_tag(const struct cache_explain *x, struct hd_str tag)
{
    char value[TEXT_MAX] = "applies";
    struct hd_str column;
    uint64_t from = 0;
    size_t len = 0;

    while (cache_tag_column(tag, &from, &column) && len < sizeof(value)) {
        uint32_t at = 0, first, count, found = 0;

        while (cache_tag_numbers(x->cache->template, x->tmpl, column, &at, &first, &count))
            for (uint32_t i = 0; i < count && len < sizeof(value); i++)
                len += (size_t)snprintf(value + len, sizeof(value) - len, "%s%.*s = $%u",
                                        found++ ? " or "
                                        : len   ? ", "
                                                : "applies with ",
                                        (int)column.len, column.ptr, first + i);
        if (!found) {
            snprintf(value, sizeof(value), "does not apply: %.*s is compared with no constant",
                     (int)column.len, column.ptr);
            break;
        }
    }
    put(x, "tag", tag.ptr, value);
}

static void put_tags(const struct cache_explain *x, const struct cache_policy *p)
{
    struct hd_str tag;
    uint64_t at = 0;
    char *name;

    for (uint32_t i = 0; i < p->tag_count; i++)
        put_tag(x, p->tags[i]);
    while (cache_tag_hinted(p->hint, &at, &tag) && (name = strndup(tag.ptr, tag.len))) {
        put(x, "tag", name, "of the hint");
        free(name);
    }
}

/* --- tables -------------------------------------------------------------------------------------------- */

static void column_name(const struct cache_explain *x, const struct cache_bound *b, uint32_t table,
                        uint64_t column, char *out, size_t room)
{
    struct hd_dependency_column c = {.size = sizeof(c)};

    snprintf(out, room, "a column");
    for (uint32_t i = 0; x->cache->catalog->column(b->deps, table, i, &c) == HD_OK; i++)
        if (cache_column(c.name) == column)
            snprintf(out, room, "%.*s", (int)c.name.len, c.name.ptr);
}

/* By which writes of a table an answer is ended. */
static void say_rows(const struct cache_explain *x, const struct cache_bound *b, uint32_t table,
                     const struct cache_rows_told *told, char *out, size_t room)
{
    char name[80];
    size_t at;

    if (told->whole) {
        snprintf(out, room, "ended by any write of it");
        return;
    }
    column_name(x, b, table, told->column, name, sizeof(name));
    at = (size_t)snprintf(out, room, "ended by writes of rows with %s =", name);
    for (uint32_t i = 0; i < told->count && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s $%u", i ? " or" : "", told->numbers[i]);
    if (at < room)
        snprintf(out + at, room - at, ", and by those whose rows cannot be told");
}

static void put_table(const struct cache_explain *x, const struct cache_bound *b, uint32_t table,
                      const struct hd_dependency *d)
{
    char name[160], value[TEXT_MAX] = "read";
    struct cache_rows_told told;

    snprintf(name, sizeof(name), "%.*s.%.*s", (int)d->schema.len, d->schema.ptr, (int)d->name.len,
             d->name.ptr);
    for (uint32_t i = 0; b->rows_of && cache_rows_tell(b->rows_of, i, &told); i++)
        if (told.oid == d->oid)
            say_rows(x, b, table, &told, value, sizeof(value));
    if (d->kind == HD_RELATION_VIEW)
        snprintf(value, sizeof(value), "a view");
    put(x, "table", name, value);
}

static void put_tables(const struct cache_explain *x, const struct cache_bound *b)
{
    struct hd_dependency d = {.size = sizeof(d)};

    for (uint32_t i = 0; x->cache->catalog->table(b->deps, i, &d) == HD_OK; i++)
        put_table(x, b, i, &d);
}

/* --- what is written around the host ------------------------------------------------------------------- */

/* Why the stream does not tell of a table; 0: it does, or nothing has to. `later`: a read will ask for it. */
static int is_uncovered(const struct cache_explain *x, const struct cache_bound *b, uint32_t table, char *why,
                        size_t room, int *later)
{
    struct hd_dependency d = {.size = sizeof(d)};
    struct cache_table *t = b->tables[table];
    int asked = atomic_load_explicit(&t->asked, memory_order_relaxed);

    if (x->cache->catalog->table(b->deps, table, &d) != HD_OK || d.kind == HD_RELATION_VIEW)
        return 0;
    *later = 0;
    cache_table_why(b->scope->db, t, why, room);
    if (d.kind == HD_RELATION_MATVIEW)
        snprintf(why, room, "a materialized view: no change stream tells of its changes");
    else if (d.flags & HD_RELATION_UNLOGGED)
        snprintf(why, room, "unlogged: no change stream tells of its changes");
    else if (!b->rows[table])
        return 0;
    else if (!(d.flags & HD_RELATION_IDENTITY))
        snprintf(why, room, "it has no replica identity, such as a primary key: its changes cannot be told");
    else if (atomic_load_explicit(&t->covered, memory_order_acquire))
        return 0;
    else if (!*why) {
        *later = 1;
        snprintf(why, room,
                 asked ? "the change stream is being asked to tell of it"
                       : "the first read asks the change stream to tell of it");
    }
    return 1;
}

static void put_stream(const struct cache_explain *x, const struct cache_bound *b)
{
    struct hd_dependency d = {.size = sizeof(d)};
    char name[160], why[TEXT_MAX];
    int later;

    for (uint32_t i = 0; i < b->table_count; i++) {
        if (x->cache->catalog->table(b->deps, i, &d) != HD_OK || d.kind == HD_RELATION_VIEW ||
            (!b->rows[i] && d.kind != HD_RELATION_MATVIEW))
            continue;
        snprintf(name, sizeof(name), "%.*s.%.*s", (int)d.schema.len, d.schema.ptr, (int)d.name.len,
                 d.name.ptr);
        put(x, "stream", name,
            is_uncovered(x, b, i, why, sizeof(why), &later) ? why : "tells of its changes around the host");
    }
}

/* What the mode does not promise. */
static void put_gaps(const struct cache_explain *x, const struct cache_bound *b, const struct cache_policy *p)
{
    struct cache_follow_state f;

    if (p->mode == CACHE_TTL) {
        put(x, "not covered", "writes", "what is written around the host is missed until the ttl is over");
    } else {
        put_stream(x, b);
        cache_follow_look(x->cache, b->scope->db, &f);
        if (f.tells_ddl)
            return;
    }
    put(x, "not covered", "ddl",
        p->mode == CACHE_TTL
            ? "DDL around the host is found within ten seconds"
            : "DDL around the host is found within ten seconds; with what CACHE SETUP prints "
              "run in the database, at once");
}

/* --- the verdict --------------------------------------------------------------------------------------- */

/* The first table that stands in the way; 0: none. */
static int find_uncovered(const struct cache_explain *x, const struct cache_bound *b, char *why, size_t room,
                          int *later)
{
    struct hd_dependency d = {.size = sizeof(d)};
    char one[TEXT_MAX / 2];
    int found = 0;

    for (uint32_t i = 0; i < b->table_count; i++) {
        int soon = 0;

        if (!is_uncovered(x, b, i, one, sizeof(one), &soon) || (found && soon))
            continue;
        x->cache->catalog->table(b->deps, i, &d);
        snprintf(why, room, "%.*s: %s", d.name.len < 80 ? (int)d.name.len : 80, d.name.ptr, one);
        found = 1;
        *later = soon;
    }
    return found;
}

/* Why it is not kept, though it could be; NULL: it is. */
static const char *find_obstacle(const struct cache_explain *x, const struct cache_bound *b,
                                 const struct cache_policy *p, char *room, int *later)
{
    const struct hd_statement st = {.size = sizeof(st), .sql = {x->text, strlen(x->text)}};
    struct cache_follow_state f;

    *later = 0;
    if (!p->on)
        return p->rule ? "the rule, or a hint in it, says so"
                       : "the option default, or a hint in it, says so";
    if (!x->follows_settings)
        return "its database has a pool_mode other than auto, where sessions' settings are not known";
    if (cache_has_time_words(&st))
        return "a word in it may stand for the time: now, today, tomorrow, yesterday; or a backslash may "
               "hide "
               "one";
    if (p->mode == CACHE_TTL)
        return NULL;
    if (find_uncovered(x, b, room, TEXT_MAX, later))
        return room;
    cache_follow_look(x->cache, b->scope->db, &f);
    *later = !f.running;
    if (!f.open)
        return "the first read opens the change stream of the database";
    return f.running ? NULL : "the change stream does not run now";
}

static void tell_kept(const struct cache_explain *x, const struct cache_bound *b)
{
    struct cache_policy policy = b->policy;
    char room[TEXT_MAX];
    const char *why;
    int later;

    cache_rules_hint(x->plan->rules, (struct hd_str){x->text, strlen(x->text)}, &policy);
    why = find_obstacle(x, b, &policy, room, &later);
    put_head(x, !why ? "yes" : later ? "not yet" : "no", why);
    put_policy(x, &policy);
    put_tags(x, &policy);
    put_tables(x, b);
    if (policy.on)
        put_gaps(x, b, &policy);
}

static void tell_refused(const struct cache_explain *x, const struct cache_bound *b)
{
    struct hd_dependencies_info info = {.size = sizeof(info)};
    char reason[TEXT_MAX];

    if (b->why == CACHE_BYPASS_UNPROVED && x->cache->catalog->info(b->deps, &info) == HD_OK)
        snprintf(reason, sizeof(reason), "%.*s", (int)info.reason.len, info.reason.ptr);
    else
        snprintf(reason, sizeof(reason), "max_tables, max_databases or memory do not suffice");
    put_head(x, "no", reason);
    put_policy(x, &b->policy);
    put_tables(x, b);
}

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
        put_head(x, "no", why ? why : "it is no plain read");
        return 1;
    }
    b = cache_plan_bind(x->plan, &x->scope);
    if (b && b->code == HD_OK) {
        tell_kept(x, b);
    } else if (b && b->why == CACHE_BYPASS_CATALOG) {
        if (!is_hopeless(x))
            return 0;
        put_head(x, "no",
                 "the server's catalogs could not be asked: see the log, and control_user of its node");
    } else if (b) {
        tell_refused(x, b);
    } else {
        put_head(x, "no", "no memory");
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
        cache_fail(&err, HD_ECANCELLED, "the plugin cache stops");
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
            return cache_fail(err, HD_EINVAL, "behind FOR stands USER@DATABASE, then the statement");
        out->user = (struct hd_str){who.ptr, (uint64_t)(at - who.ptr)};
        out->database = (struct hd_str){at + 1, who.len - out->user.len - 1};
        out->sql =
            trimmed((struct hd_str){rest.ptr, (uint64_t)(call->args[0].ptr + call->args[0].len - rest.ptr)});
    }
    if (!out->sql.len)
        return cache_fail(err, HD_EINVAL, "which statement? CACHE EXPLAIN [FOR USER@DATABASE] STATEMENT");
    if (!out->user.len)
        return cache_fail(err, HD_EINVAL, "whose statement? CACHE EXPLAIN FOR USER@DATABASE STATEMENT");
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
        return s->database.len ? cache_fail(err, HD_ENOENT, "there is no [database %.*s]",
                                            (int)s->database.len, s->database.ptr)
                               : cache_fail(err, HD_EINVAL,
                                            "in which database? CACHE EXPLAIN FOR USER@DATABASE STATEMENT");
    x->names = at = malloc(s->user.len + s->database.len + d.name.len + d.node.len + d.dbname.len + 5);
    if (!at)
        return cache_fail(err, HD_ENOMEM, "no memory");
    node = keep(&at, d.node);
    dbname = keep(&at, d.dbname);
    x->scope.user = keep(&at, s->user);
    x->scope.database = keep(&at, s->database.len ? s->database : d.name);
    x->scope.catalog = (struct hd_catalog_scope){
        .size = sizeof(x->scope.catalog), .node = node, .dbname = dbname, .user = x->scope.user};
    x->follows_settings = (d.flags & HD_SERVED_SETTINGS) != 0;
    x->scope.db = cache_epochs_database(&self->epochs, node, dbname);
    return x->scope.db ? HD_OK : cache_fail(err, HD_EFULL, "max_databases or memory do not suffice");
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
        return cache_fail(err, HD_ENOMEM, "no memory");
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
        return cache_fail(err, HD_EFULL, "too many statements are being explained");
    x->cache = self;
    x->result = call->result;
    code = begin(x, &s, err);
    if (code == HD_OK && !tell(x)) {
        code = HD_PENDING;
        x->timer = self->loop->timer(self->host, LOOK_MS, 1, on_time, x);
        if (!x->timer)
            code = cache_fail(err, HD_ENOMEM, "no memory");
    }
    if (code == HD_PENDING) {
        x->next = self->explaining;
        self->explaining = x;
    } else {
        free_explain(x);
    }
    return code;
}
