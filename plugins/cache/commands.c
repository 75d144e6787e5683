/*
 * CACHE STATS, CACHE FLUSH, CACHE INVALIDATE.
 */
#include "explain.h"
#include "tags.h"
#include "tell.h"
#include "warm.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --- CACHE STATS --------------------------------------------------------------------------------------- */

static void put_row(const struct cache *self, hd_result *out, const char *store, const char *name,
                    int64_t value)
{
    const struct hd_commands_v1 *c = self->commands;

    c->text(out, (struct hd_str){store, strlen(store)});
    c->text(out, (struct hd_str){name, strlen(name)});
    c->integer(out, value);
}

static void put_metric(const struct cache *self, hd_result *out, const char *name, int64_t metric)
{
    put_row(self, out, "", name, self->metrics->value(self->host, metric));
}

static void put_store(const struct cache *self, hd_result *out, const struct cache_tier *t)
{
    struct hd_cache_store_stats s = {.size = sizeof(s)};
    const struct {
        const char *name;
        const uint64_t *value;
    } rows[] = {{"entries", &s.entries},   {"bytes", &s.bytes},         {"max_bytes", &s.max_bytes},
                {"hits", &s.hits},         {"misses", &s.misses},       {"puts", &s.puts},
                {"rejected", &s.rejected}, {"evictions", &s.evictions}, {"errors", &s.errors},
                {"bypassed", &s.bypassed}};

    if (t->store->stats(t->self, &s) != HD_OK)
        return;
    put_row(self, out, t->name, "up", s.up);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        put_row(self, out, t->name, rows[i].name, (int64_t)*rows[i].value);
}

/* [control] */
static int32_t show_stats(void *arg, const struct hd_call *call, struct hd_error *err)
{
    const struct cache *self = arg;
    const struct cache_stats *s = &self->stats;
    const struct hd_commands_v1 *c = self->commands;

    (void)err;
    c->column(call->result, "store", HD_COL_TEXT);
    c->column(call->result, "name", HD_COL_TEXT);
    c->column(call->result, "value", HD_COL_INT);
    put_metric(self, call->result, "hits", s->hits);
    put_metric(self, call->result, "misses", s->misses);
    put_metric(self, call->result, "stored", s->stored);
    put_metric(self, call->result, "not_stored", s->not_stored);
    put_metric(self, call->result, "outdated", s->outdated);
    put_metric(self, call->result, "waited", s->waited);
    put_metric(self, call->result, "invalidations", s->invalidations);
    put_metric(self, call->result, "unknown_writes", s->unknown_writes);
    put_metric(self, call->result, "followed", s->followed);
    put_metric(self, call->result, "unchecked", s->unchecked);
    put_metric(self, call->result, "stale", s->stale);
    put_metric(self, call->result, "refreshed", s->refreshed);
    put_metric(self, call->result, "prepared", s->prepared);
    put_metric(self, call->result, "plain_hits", self->plain.hits);
    put_metric(self, call->result, "plain_misses", self->plain.misses);
    put_metric(self, call->result, "plain_loads", self->plain.loads);
    put_metric(self, call->result, "shared_blind", s->blind);
    put_metric(self, call->result, "shared_hits", s->shared_hits);
    put_metric(self, call->result, "shared_refused", s->shared_refused);
    put_metric(self, call->result, "heard", s->heard);
    put_row(self, call->result, "", "saved_ms", self->metrics->value(self->host, s->saved) / 1000000);
    for (int i = 0; i < CACHE_BYPASS_COUNT; i++) {
        char name[64] = "bypassed: ";

        strncat(name, cache_bypass_name((enum cache_bypass)i), sizeof(name) - strlen(name) - 1);
        put_metric(self, call->result, name, s->bypass[i]);
    }
    for (uint32_t i = 0; i < self->tier_count; i++)
        put_store(self, call->result, &self->tiers[i]);
    return HD_OK;
}

/* --- ending answers ------------------------------------------------------------------------------------ */

/* [control] First no value holds any more; that the stores drop them only frees their room. */
static int32_t flush(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cache *self = arg;

    (void)call;
    (void)err;
    cache_shared_lose(self);
    cache_bump(&self->epochs.everything);
    cache_tell_everywhere(self);
    for (uint32_t i = 0; i < self->tier_count; i++)
        self->tiers[i].store->flush(self->tiers[i].self, NULL, NULL);
    return HD_OK;
}

/* For other hosts, too. */
static void end_table(void *arg, struct cache_database *db, struct cache_table *t)
{
    struct cache *self = arg;
    const struct cache_footprint what = {.count = 2, .cells = {&t->written, &t->whole}};

    cache_shared_raise(self, what.cells, what.count);
    cache_tell_written(self, &what, db->node, db->dbname);
}

/* [control] */
static int32_t invalidate_table(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cache *self = arg;
    struct hd_str schema = {NULL, 0}, name;
    const char *dot;
    char said[80];

    if (call->arg_count != 1 || !call->args[0].len)
        return hd_error_set(err, HD_EINVAL, "name one table: CACHE INVALIDATE TABLE [SCHEMA.]NAME");
    name = call->args[0];
    dot = memchr(name.ptr, '.', name.len);
    if (dot) {
        schema = (struct hd_str){name.ptr, (uint64_t)(dot - name.ptr)};
        name = (struct hd_str){dot + 1, name.len - schema.len - 1};
    }
    snprintf(said, sizeof(said), "%u tables",
             cache_epochs_end_named(&self->epochs, schema, name, end_table, self));
    self->commands->message(call->result, said);
    return HD_OK;
}

/* [control] */
static int32_t invalidate_tag(void *arg, const struct hd_call *call, struct hd_error *err)
{
    if (!call->arg_count || !call->args[0].len)
        return hd_error_set(err, HD_EINVAL, "which tag? CACHE INVALIDATE TAG NAME…");
    for (uint32_t i = 0; i < call->arg_count; i++)
        cache_tags_end(arg, call->args[i]);
    return HD_OK;
}

/* [control] Each table is there by the names NAME: and SCHEMA.NAME:, so that 'documents:*' is all of it. */
static int32_t invalidate_pattern(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cache *self = arg;
    char said[80];

    if (call->arg_count != 1 || !call->args[0].len)
        return hd_error_set(err, HD_EINVAL, "give one pattern: CACHE INVALIDATE PATTERN 'documents:*'");
    cache_tags_end_like(self, call->args[0].ptr);
    snprintf(said, sizeof(said), "tags and keys, and %u tables",
             cache_epochs_end_like(&self->epochs, call->args[0].ptr, end_table, self));
    self->commands->message(call->result, said);
    return cache_plain_invalidate(self, call, err);
}

/* [control] What a DBA may run, where changes of the schema around the host are to be told at once. */
static int32_t setup(void *arg, const struct hd_call *call, struct hd_error *err)
{
    const struct cache *self = arg;
    const char *sql;

    if (!self->stream)
        return hd_error_set(
            err, HD_EUNSUPP,
            "no change stream is used: all rules say mode = ttl, and nothing is told of what is "
            "done around the host");
    sql = self->stream->setup(self->stream_self);
    self->commands->column(call->result, "sql", HD_COL_TEXT);
    self->commands->text(call->result, (struct hd_str){sql, strlen(sql)});
    return HD_OK;
}

int32_t cache_commands_add(struct cache *self, struct hd_error *err)
{
    const struct hd_commands_v1 *c = self->commands;
    int32_t code = c->add(self->host, "CACHE STATS", "", "What the result cache and its stores have done",
                          HD_CMDF_READ_ONLY, show_stats, self, err);

    if (code == HD_OK)
        code =
            c->add(self->host, "CACHE RULES", "", "What the result cache has done for the reads of each rule",
                   HD_CMDF_READ_ONLY, cache_rule_stats_show, self, err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE WARM", "", "Runs the reads again that are answered most often", 0,
                      cache_warm_command, self, err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE FLUSH", "", "Drops all answers of the result cache", 0, flush, self,
                      err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE INVALIDATE TABLE", "[SCHEMA.]NAME",
                      "Drops the answers that hang on tables of that name, in all databases", 0,
                      invalidate_table, self, err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE INVALIDATE TAG", "NAME...", "Drops the answers that have a tag", 0,
                      invalidate_tag, self, err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE INVALIDATE PATTERN", "PATTERN",
                      "Drops the answers that have a tag, or hang on a table NAME:, that matches", 0,
                      invalidate_pattern, self, err);
    if (code == HD_OK)
        code =
            c->add(self->host, "CACHE SETUP", "",
                   "SQL that makes a database tell of DDL around the host: a superuser runs it there, once",
                   HD_CMDF_READ_ONLY, setup, self, err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE EXPLAIN", "[FOR USER@DATABASE] STATEMENT",
                      "Whether a statement's answers are kept, by which rule and what ends them, or why not",
                      HD_CMDF_READ_ONLY | HD_CMDF_RAW, cache_explain, self, err);
    return code;
}
