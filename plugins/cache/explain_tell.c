/*
 * The rows of CACHE EXPLAIN's result; see explain.h.
 */
#include "explain_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "follow.h"
#include "tags.h"
#include "words.h"

#define TEXT_MAX 512

/* --- rows of the result -------------------------------------------------------------------------------- */

static void put(const struct cache_explain *x, const char *what, const char *name, const char *value)
{
    const struct hd_commands_v1 *c = x->cache->commands;

    c->text(x->result, (struct hd_str){what, strlen(what)});
    c->text(x->result, (struct hd_str){name, strlen(name)});
    c->text(x->result, (struct hd_str){value, strlen(value)});
}

void cache_explain_head(const struct cache_explain *x, const char *cached, const char *reason)
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

/* A rule's tag and where its names go. */
struct tag_of {
    const struct cache_explain *x;
    struct hd_str tag;
};

static void put_name(void *arg, struct hd_str name)
{
    const struct tag_of *of = arg;
    char *text = hd_str_dup(name);

    if (text)
        put(of->x, "tagged", of->tag.ptr, text);
    free(text);
}

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
    cache_tag_names(x->cache, tag, x->tmpl, (struct hd_str){x->text, strlen(x->text)}, put_name,
                    &(struct tag_of){x, tag});
}

static void put_tags(const struct cache_explain *x, const struct cache_policy *p)
{
    struct hd_str tag;
    uint64_t at = 0;
    char *name;

    for (uint32_t i = 0; i < p->tag_count; i++)
        put_tag(x, p->tags[i]);
    while (cache_tag_hinted(p->hint, &at, &tag) && (name = hd_str_dup(tag))) {
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
        if (x->cache->plain.shared)
            put(x, "not covered", "other hosts",
                "what is written through another host counts as soon as the bus tells of it; without the "
                "bus, "
                "when the ttl is over");
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

void cache_explain_kept(const struct cache_explain *x, const struct cache_bound *b)
{
    struct cache_policy policy = b->policy;
    char room[TEXT_MAX];
    const char *why;
    int later;

    cache_rules_hint(x->plan->rules, (struct hd_str){x->text, strlen(x->text)}, &policy);
    why = find_obstacle(x, b, &policy, room, &later);
    cache_explain_head(x, !why ? "yes" : later ? "not yet" : "no", why);
    put_policy(x, &policy);
    put_tags(x, &policy);
    put_tables(x, b);
    if (!policy.on)
        return;
    put(x, "provided", "",
        "the session has no temporary objects, its transactions are READ COMMITTED, and this one has neither "
        "written nor locked");
    put_gaps(x, b, &policy);
}

void cache_explain_refused(const struct cache_explain *x, const struct cache_bound *b)
{
    struct hd_dependencies_info info = {.size = sizeof(info)};
    char reason[TEXT_MAX];

    if (b->why == CACHE_BYPASS_UNPROVED && x->cache->catalog->info(b->deps, &info) == HD_OK)
        snprintf(reason, sizeof(reason), "%.*s", (int)info.reason.len, info.reason.ptr);
    else
        snprintf(reason, sizeof(reason), "max_tables, max_databases or memory do not suffice");
    cache_explain_head(x, "no", reason);
    put_policy(x, &b->policy);
    put_tables(x, b);
}
