/* Asking for plans; see explain.h. */
#include "explain.h"

#include "explain_sql.h"
#include "plan_text.h"
#include "slow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PLAN_MAX 16384 /* bytes of a plan */
#define LOCK_MS  500   /* nobody queues behind a plan for long */

/* --- what a plan hangs on
 * --------------------------------------------------------------------------------------------------- */

/* Settings of the planner; this and USER_SETTINGS below say the same. */
static int is_planners(const char *name)
{
    static const char *const names[] = {"work_mem",
                                        "hash_mem_multiplier",
                                        "seq_page_cost",
                                        "random_page_cost",
                                        "cpu_tuple_cost",
                                        "cpu_index_tuple_cost",
                                        "cpu_operator_cost",
                                        "parallel_setup_cost",
                                        "parallel_tuple_cost",
                                        "min_parallel_table_scan_size",
                                        "min_parallel_index_scan_size",
                                        "max_parallel_workers_per_gather",
                                        "effective_cache_size",
                                        "from_collapse_limit",
                                        "join_collapse_limit",
                                        "constraint_exclusion",
                                        "cursor_tuple_fraction"};

    if (!strncasecmp(name, "enable_", 7) || !strncasecmp(name, "geqo", 4))
        return 1;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcasecmp(name, names[i]))
            return 1;
    return 0;
}

/* As a literal in a statement: a backslash or a line's end could mean something else there. */
static int is_plain(const char *value)
{
    return !strpbrk(value, "\\\n");
}

static void note_setting(struct mon_slow_record *r, const struct hd_session_setting *s)
{
    size_t n = strlen(r->settings), need = strlen(s->name) + strlen(s->value) + 2;

    if (n + need >= sizeof(r->settings) || !is_plain(s->name) || !is_plain(s->value)) {
        r->unsure |= MON_UNSURE_SETTINGS;
        return;
    }
    snprintf(r->settings + n, sizeof(r->settings) - n, "%s=%s\n", s->name, s->value);
}

/* SET SESSION AUTHORIZATION, then SET ROLE within it. */
static void note_role(struct mon_slow_record *r, const struct hd_statement *st)
{
    const char *names[] = {"session_authorization", "role"};

    snprintf(r->role, sizeof(r->role), "%s", r->user);
    for (unsigned i = 0; i < 2; i++)
        for (uint32_t k = 0; k < st->setting_count; k++)
            if (!strcasecmp(st->settings[k].name, names[i]) && st->settings[k].value[0] &&
                strcasecmp(st->settings[k].value, "none") != 0 &&
                strcasecmp(st->settings[k].value, "default") != 0)
                snprintf(r->role, sizeof(r->role), "%s", st->settings[k].value);
}

void mon_slow_context(struct mon_slow_record *r, const struct hd_statement *st)
{
    const char *path = hd_statement_setting(st, "search_path");

    r->unsure = 0;
    r->search_path[0] = r->settings[0] = 0;
    note_role(r, st);
    for (uint32_t i = 0; i < st->setting_count; i++)
        if (is_planners(st->settings[i].name))
            note_setting(r, &st->settings[i]);
    if (st->flags & HD_STMT_TEMP)
        r->unsure |= MON_UNSURE_SETTINGS;
    if (st->flags & HD_STMT_SETTINGS_UNSURE) {
        r->unsure |= MON_UNSURE_PATH | MON_UNSURE_SETTINGS;
        r->settings[0] = 0;
        path = NULL;
    }
    if (path && strlen(path) < sizeof(r->search_path) && is_plain(path))
        snprintf(r->search_path, sizeof(r->search_path), "%s", path);
    else
        r->unsure |= MON_UNSURE_PATH;
}

const char *mon_explain_why_not(const struct mon_slow_record *r)
{
    const uint64_t kinds = HD_KIND_BIT(SELECT) | HD_KIND_BIT(INSERT) | HD_KIND_BIT(UPDATE) |
                           HD_KIND_BIT(DELETE) | HD_KIND_BIT(MERGE);

    if (!(kinds >> r->kind & 1) || r->statements != 1 || r->facts & HD_FACT_UNSURE)
        return "only a single SELECT, INSERT, UPDATE, DELETE or MERGE has a plan";
    if (r->text_len >= MON_SLOW_TEXT)
        return "its text was too long to be kept whole";
    if (mon_sql_counts_columns(r->text))
        return "it sorts or groups by the number of a column, which is not kept";
    if (!r->node[0])
        return "it did not reach a server";
    return NULL;
}

/* --- the statement
 * ------------------------------------------------------------------------------------------------------ */

/* What the user has by ALTER DATABASE and ALTER ROLE, what is more particular last. A control connection has
 * a search_path of its own. */
#define USER_SETTINGS                                                                                        \
    "SELECT set_config('search_path', '\"$user\", public', true); "                                          \
    "SELECT set_config(n, v, true) FROM (SELECT split_part(c, '=', 1) AS n,"                                 \
    " substr(c, strpos(c, '=') + 1) AS v FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) c"        \
    " WHERE s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s)) AND s.setdatabase"    \
    " IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))"                   \
    " ORDER BY s.setrole <> 0, s.setdatabase <> 0 OFFSET 0) x WHERE n ~ '^(enable_.*|geqo.*|work_mem|"       \
    "hash_mem_multiplier|(seq|random)_page_cost|cpu_(tuple|index_tuple|operator)_cost|"                      \
    "parallel_(setup|tuple)_cost|min_parallel_(table|index)_scan_size|max_parallel_workers_per_gather|"      \
    "effective_cache_size|(from|join)_collapse_limit|constraint_exclusion|cursor_tuple_fraction|"            \
    "search_path)$'; "

/* A name or a string in quotes of that kind. */
static void quoted(FILE *f, const char *text, size_t len, char with)
{
    fputc(with, f);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == with)
            fputc(with, f);
        fputc(text[i], f);
    }
    fputc(with, f);
}

static void set(FILE *f, const char *name, size_t name_len, const char *value, size_t value_len)
{
    fputs("SELECT set_config(", f);
    quoted(f, name, name_len, '\'');
    fputs(", ", f);
    quoted(f, value, value_len, '\'');
    fputs(", true); ", f);
}

static void user_settings(FILE *f, const char *user)
{
    const char *format = USER_SETTINGS, *hole = strstr(format, "%s");

    fwrite(format, 1, (size_t)(hole - format), f);
    quoted(f, user, strlen(user), '\'');
    fputs(hole + 2, f);
}

/* PREPARE and EXPLAIN EXECUTE with a generic plan, which needs no values and runs nothing. */
static char *plan_text(const struct mon_slow_record *r)
{
    char *sql = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&sql, &size);

    if (!f)
        return NULL;
    fputs("SET LOCAL transaction_read_only = on; ", f);
    user_settings(f, r->user);
    for (const char *s = r->settings; *s; s = strchr(s, '\n') + 1) {
        size_t name = strcspn(s, "="), all = strcspn(s, "\n");

        set(f, s, name, s + name + 1, all - name - 1);
    }
    if (r->search_path[0])
        set(f, "search_path", 11, r->search_path, strlen(r->search_path));
    fputs("SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL ROLE ", f);
    quoted(f, r->role, strlen(r->role), '"');
    fputs("; DEALLOCATE ALL; PREPARE howdah_slow AS ", f);
    mon_sql_prepared(f, r->text);
    fputs("; EXPLAIN EXECUTE howdah_slow", f);
    for (uint32_t i = 0; i < r->params; i++)
        fputs(i ? ", NULL" : " (NULL", f);
    fputs(r->params ? ")" : "", f);
    if (fclose(f)) {
        free(sql);
        return NULL;
    }
    return sql;
}

/* --- asking
 * ------------------------------------------------------------------------------------------------------ */

struct asked {
    struct mon *self;
    void (*done)(void *arg, const struct mon_plan *plan);
    void *arg;
};

static void answered(void *arg, const struct hd_sql_result *r)
{
    struct asked *a = arg;
    struct mon *self = a->self;
    struct mon_plan plan = {.code = r->code};
    char why[200], *text = NULL;

    /* Only what the server says of the statement itself has none of the data in it. */
    if (r->code == HD_ESQL && strncmp(r->sqlstate, "42", 2) != 0)
        snprintf(why, sizeof(why), "the server answered with SQLSTATE %s", r->sqlstate);
    else
        snprintf(why, sizeof(why), "%.*s", (int)(r->message.len < 180 ? r->message.len : 180),
                 r->message.len ? r->message.ptr : "");
    if (!r->code && r->columns == 1)
        text = mon_plan_mask(r->cells, r->rows, PLAN_MAX);
    if (!r->code && !text) {
        plan.code = HD_ENOMEM;
        snprintf(why, sizeof(why), "no memory for the plan");
    }
    plan.why = why;
    plan.text = text;
    a->done(a->arg, &plan);
    free(text);
    free(a);
    mon_errand_end(self);
}

int32_t mon_explain(struct mon *self, const struct mon_slow_record *r,
                    void (*done)(void *arg, const struct mon_plan *plan), void *arg, struct hd_error *err)
{
    uint64_t timeout = (uint64_t)self->conf->collect_timeout;
    struct asked *a = calloc(1, sizeof(*a));
    char *sql = plan_text(r);
    struct hd_sql ask = {.size = sizeof(ask),
                         .node = r->node,
                         .database = r->dbname,
                         .text = sql,
                         .lock_timeout_ms = timeout < LOCK_MS ? timeout : LOCK_MS,
                         .statement_timeout_ms = timeout,
                         .deadline_ms = timeout + 2000};
    int64_t handle;

    if (!a || !sql) {
        free(a);
        free(sql);
        return hd_error_set(err, HD_ENOMEM, "no memory to ask for a plan");
    }
    *a = (struct asked){self, done, arg};
    mon_errand_begin(self);
    handle = self->jobs->sql(self->host, &ask, answered, a);
    free(sql);
    if (handle > 0)
        return HD_OK;
    free(a);
    mon_errand_end(self);
    return hd_error_set(err, HD_EFULL, "too many jobs wait; ask again");
}

/* --- SHOW SLOW PLAN
 * ------------------------------------------------------------------------------------------------ */

struct show {
    struct mon *self;
    hd_result *result;
    uint32_t unsure;
};

static void planned(void *arg, const struct mon_plan *plan)
{
    struct show *s = arg;
    struct mon *self = s->self;
    struct hd_error err = HD_ERROR_INIT;

    if (plan->code) {
        hd_error_set(&err, plan->code, "it cannot be explained: %s", plan->why);
    } else {
        mon_columns(self, s->result, "plan", HD_COL_TEXT, NULL);
        if (s->unsure & MON_UNSURE_PATH)
            mon_text(self, s->result, "-- search_path is not known: the user's default is assumed");
        if (s->unsure & MON_UNSURE_SETTINGS)
            mon_text(self, s->result, "-- the session may have had other settings, or temporary tables");
        for (const char *line = plan->text; *line; line += *line == '\n') {
            size_t n = strcspn(line, "\n");

            self->commands->text(s->result, (struct hd_str){line, n});
            line += n;
        }
    }
    self->commands->finish(s->result, plan->code, plan->code ? &err : NULL);
    free(s);
}

struct wanted {
    uint64_t number;
    struct mon_slow_record *found;
};

static void find(void *arg, const struct mon_slow_record *r)
{
    struct wanted *w = arg;

    if (r->number == w->number && !w->found && (w->found = malloc(sizeof(*r))))
        *w->found = *r;
}

int32_t mon_show_slow_plan(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    struct wanted w = {0};
    struct show *s;
    const char *why;
    int32_t code;

    if (call->arg_count != 1)
        return hd_error_set(err, HD_EINVAL, "usage: SHOW SLOW PLAN number");
    w.number = hd_str_number(call->args[0]);
    if (w.number)
        mon_slow_each(self->slow, w.number - 1, find, &w);
    if (!w.found)
        return hd_error_set(err, HD_ENOENT, "there is no slow statement of that number (any more)");
    s = calloc(1, sizeof(*s));
    why = mon_explain_why_not(w.found);
    if (why)
        code = hd_error_set(err, HD_EUNSUPP, "%s", why);
    else if (!s)
        code = hd_error_set(err, HD_ENOMEM, "no memory to ask for a plan");
    else {
        *s = (struct show){self, call->result, w.found->unsure};
        code = mon_explain(self, w.found, planned, s, err);
    }
    free(w.found);
    if (!code)
        return HD_PENDING;
    free(s);
    return code;
}
