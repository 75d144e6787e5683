/*
 * What a session leaves on its server; see track.h.
 */
#include "session/track.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "session/restore.h"
#include "session/sequence.h"
#include "session/server.h"
#include "sql/literal.h"
#include "wire/read.h"

/* Settings of one transaction that are asked for; who changes more is pinned. */
#define NAMES_MAX  64
#define NAME_BYTES 128
/* Pins that PostgreSQL can say are gone. */
#define ASKABLE (HD_PIN_TEMP | HD_PIN_LISTEN | HD_PIN_LOCK | HD_PIN_CURSOR | HD_PIN_PREPARE)
/* Pins that make no difference to what the others come to. */
#define FOR_GOOD (HD_PIN_MODE | HD_PIN_UNSURE | HD_PIN_PROTOCOL | HD_PIN_LOAD | HD_PIN_SEED)

/* What was done to a setting last. */
enum done {
    DONE_PERHAPS = 0, /* it may have been set, and may not */
    DONE_SET,
    DONE_RESET,
};

struct name {
    char *name;
    uint8_t touched; /* since it was asked for */
    uint8_t asked;   /* by the question that is on its way */
    uint8_t done;    /* DONE_…, where nothing has failed */
};

struct hd_track {
    struct name *names;
    uint32_t count, cap;
    uint32_t touched, asked; /* HD_PIN_… among ASKABLE */
    uint8_t failed;          /* something was rolled back since the last question */
    uint8_t answered;        /* the row has come */
    uint8_t unnamed;         /* settings whose names are not known were changed */
    uint8_t prepared_unsure; /* an SQL-level PREPARE holds what EXECUTE cannot be seen to do */
};

static int automatic(const struct hd_session *s)
{
    return s->pool && s->pool->conf->pool_mode == HD_POOL_AUTO;
}

/* --- noting --- */

static struct hd_track *track_of(struct hd_session *s)
{
    if (!s->track && !(s->track = hd_calloc(1, sizeof(*s->track))))
        s->pins |= HD_PIN_UNSURE;
    return s->track;
}

static void touch(struct hd_session *s, uint32_t pin)
{
    s->pins |= pin;
    if (track_of(s))
        s->track->touched |= pin;
}

/* What may have taken such state away: asked for where there is any. */
static void touch_again(struct hd_session *s, uint32_t pin)
{
    if ((s->pins & pin) && s->track)
        s->track->touched |= pin;
}

/* Something is set, and nobody knows what. */
static void touch_unnamed(struct hd_session *s)
{
    s->pins |= HD_PIN_SETTING;
    if (track_of(s))
        s->track->unnamed = 1;
}

/* Does the server tell of each change by itself? */
static int reported(const struct hd_session *s, const char *name)
{
    const struct hd_params *like = s->pool->welcome ? s->pool->welcome : s->params;

    return hd_param_reported(name) && hd_params_get(like, name);
}

static struct name *name_of(struct hd_track *t, const char *name)
{
    struct name *n;

    for (uint32_t i = 0; i < t->count; i++)
        if (!strcasecmp(t->names[i].name, name))
            return &t->names[i];
    if (t->count == NAMES_MAX || strlen(name) > NAME_BYTES)
        return NULL;
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? 2 * t->cap : 4;

        n = hd_realloc(t->names, cap * sizeof(*n));
        if (!n)
            return NULL;
        t->names = n;
        t->cap = cap;
    }
    n = &t->names[t->count];
    *n = (struct name){.name = hd_strdup(name)};
    if (!n->name)
        return NULL;
    t->count++;
    return n;
}

/* What comes of doing this to it, behind what was done before. */
static enum done then_done(const struct hd_session *s, const struct name *n, enum done done)
{
    int was_set = n->touched ? n->done == DONE_SET : hd_params_get(s->params, n->name) != NULL;

    return done == DONE_PERHAPS && was_set ? DONE_SET : done;
}

static void touch_setting(struct hd_session *s, const char *name, enum done done)
{
    struct hd_track *t;
    struct name *n;

    if (!strcasecmp(name, "session_authorization"))
        touch_setting(s, "role", DONE_SET); /* whoever becomes another leaves his role, for good */
    if (reported(s, name) || !strncasecmp(name, "transaction", 11))
        return; /* what SET TRANSACTION sets ends with the transaction */
    if (!strcasecmp(name, "seed")) {
        s->pins |= HD_PIN_SEED;
        return;
    }
    s->pins |= HD_PIN_SETTING;
    t = track_of(s);
    if (!t)
        return;
    n = name_of(t, name);
    if (n) {
        n->done = (uint8_t)then_done(s, n, done);
        n->touched = 1;
    } else {
        t->unnamed = 1;
    }
}

/* RESET ALL: whatever the session, its startup packet or the transaction has set. */
static void touch_all_settings(struct hd_session *s)
{
    for (uint32_t i = 0; i < s->params->count; i++)
        if (strcasecmp(s->params->entries[i].name, "role")) /* it stays as it is */
            touch_setting(s, s->params->entries[i].name, DONE_RESET);
    for (uint32_t i = 0; s->startup && i < s->startup->count; i++)
        touch_setting(s, s->startup->entries[i].name, DONE_RESET);
    for (uint32_t i = 0; s->track && i < s->track->count; i++)
        if (s->track->names[i].touched && strcasecmp(s->track->names[i].name, "role"))
            s->track->names[i].done = DONE_RESET;
}

static void note_set(struct hd_session *s, const struct hd_fact_statement *st)
{
    if (st->options & HD_OPTION_CHARACTERISTICS) {
        touch_setting(s, "default_transaction_isolation", DONE_PERHAPS);
        touch_setting(s, "default_transaction_read_only", DONE_PERHAPS);
        touch_setting(s, "default_transaction_deferrable", DONE_PERHAPS);
    } else if (!(st->options & HD_OPTION_LOCAL)) {
        if (st->name)
            touch_setting(s, st->name, st->options & HD_OPTION_DEFAULT ? DONE_RESET : DONE_SET);
        else
            touch_unnamed(s);
    } else if (st->name && !strcasecmp(st->name, "session_authorization")) {
        touch_setting(s, "role", DONE_SET); /* and does not take it on again when the transaction ends */
    }
}

static void note_reset(struct hd_session *s, const struct hd_fact_statement *st)
{
    if (st->options & HD_OPTION_ALL)
        touch_all_settings(s);
    else if (st->name)
        touch_setting(s, st->name, DONE_RESET);
    else
        touch_unnamed(s);
}

/* May EXECUTE of a statement with these facts do what the host does not see? */
static int hides_something(uint64_t facts)
{
    return (facts & (HD_FACTS_TRACKED & ~HD_FACT_SESSION & ~HD_FACT_MAY_SEQUENCE)) != 0;
}

/* What is called is what was prepared; its arguments may be more. */
static int execute_unsure(const struct hd_session *s, const struct hd_fact_statement *st)
{
    return !(s->pins & HD_PIN_PREPARE) || !s->track || s->track->prepared_unsure || st->functions.n ||
           st->n_subselects;
}

/* Did the statement name a schema for temporary things by the search_path? */
static int creates_in_temp_path(const struct hd_session *s, const struct hd_fact_statement *st)
{
    const char *path = hd_params_get(s->params, "search_path");

    return st->kind == HD_STATEMENT_DDL && st->verb == HD_DDL_CREATE && path && strstr(path, "pg_temp");
}

static void note_unsure(struct hd_session *s, const struct hd_fact_statement *st)
{
    if (st->kind == HD_STATEMENT_PREPARE)
        return; /* it runs when it is executed */
    if (st->kind == HD_STATEMENT_EXECUTE && !execute_unsure(s, st)) {
        hd_sequence_note(s, HD_FACT_MAY_SEQUENCE);
        return;
    }
    s->pins |= HD_PIN_UNSURE;
}

static void note_kind(struct hd_session *s, const struct hd_fact_statement *st)
{
    switch (st->kind) {
    case HD_STATEMENT_SET:
        note_set(s, st);
        break;
    case HD_STATEMENT_RESET:
        note_reset(s, st);
        break;
    case HD_STATEMENT_PREPARE:
        touch(s, HD_PIN_PREPARE);
        if (s->track && hides_something(st->flags))
            s->track->prepared_unsure = 1;
        break;
    case HD_STATEMENT_DEALLOCATE:
        touch_again(s, HD_PIN_PREPARE);
        break;
    case HD_STATEMENT_LISTEN:
        touch(s, HD_PIN_LISTEN);
        break;
    case HD_STATEMENT_UNLISTEN:
        touch_again(s, HD_PIN_LISTEN);
        break;
    case HD_STATEMENT_DECLARE:
        if (st->options & HD_OPTION_HOLD)
            touch(s, HD_PIN_CURSOR);
        break;
    case HD_STATEMENT_CLOSE:
        touch_again(s, HD_PIN_CURSOR);
        break;
    case HD_STATEMENT_LOAD:
        s->pins |= HD_PIN_LOAD;
        break;
    case HD_STATEMENT_ROLLBACK:
    case HD_STATEMENT_ROLLBACK_TO:
        hd_track_failed(s);
        break;
    case HD_STATEMENT_DISCARD:
    case HD_STATEMENT_DDL:
    case HD_STATEMENT_PRIVILEGE:
        touch_again(s, HD_PIN_TEMP);
        break;
    default:
        break;
    }
}

static void note_statement(struct hd_session *s, const struct hd_fact_statement *st)
{
    note_kind(s, st);
    if (st->flags & (HD_FACT_UNSURE | HD_FACT_UNSURE_FUNCTION))
        note_unsure(s, st);
    if (st->kind == HD_STATEMENT_PREPARE)
        return;
    if ((st->flags & HD_FACT_TEMP) || creates_in_temp_path(s, st))
        touch(s, HD_PIN_TEMP);
    if (st->flags & HD_FACT_ADVISORY_LOCK)
        touch(s, HD_PIN_LOCK);
    if (st->flags & HD_FACT_SEED)
        s->pins |= HD_PIN_SEED;
    if (st->flags & HD_FACT_SET_UNNAMED)
        touch_unnamed(s);
}

int hd_track_statement(struct hd_session *s, const struct hd_text *t)
{
    const struct hd_facts *f = t->tmpl->facts;

    if (hd_restore_note(s, f))
        return HD_ENOMEM;
    if (!automatic(s))
        return HD_OK;
    hd_sequence_note(s, f->flags);
    if (!(f->flags & HD_FACTS_TRACKED & ~HD_FACTS_SEQUENCE) && !s->track)
        return HD_OK;
    if (f->flags & HD_FACT_UNSURE)
        s->pins |= HD_PIN_UNSURE;
    for (uint32_t i = 0; i < f->n_statements; i++)
        note_statement(s, &f->statements[i]);
    return HD_OK;
}

void hd_track_failed(struct hd_session *s)
{
    if (s->track)
        s->track->failed = 1;
}

/* --- set_config --- */

/* Copies a name; 0 where it does not fit, or has a NUL within. */
static int put_name(struct hd_str name, char *out, size_t cap)
{
    if (name.len >= cap || memchr(name.ptr, 0, name.len))
        return 0;
    memcpy(out, name.ptr, name.len);
    out[name.len] = 0;
    return 1;
}

static int name_in_text(const struct hd_stmt_input *in, uint32_t literal, char *out, size_t cap)
{
    struct hd_scan scan = HD_SCAN_INIT;
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_str name;
    int found = 0;

    if (in->sql && !hd_scan_normalize(in->sql, in->sql_len, &scan) && !scan.flags &&
        literal < scan.n_literals)
        found = !hd_literal_text(in->sql, in->sql_len, &scan.literals[literal], 0, &arena, &name) &&
                put_name(name, out, cap);
    hd_arena_free(&arena);
    hd_scan_free(&scan);
    return found;
}

/* The value of parameter $index of a Bind; in the text format, since text is the same in both. */
static int name_in_bind(const struct hd_stmt_input *in, uint32_t index, char *out, size_t cap)
{
    struct hd_reader r = hd_reader_on(in->bind, in->bind_len);
    const uint8_t *value = NULL;
    int32_t len = -1;
    uint16_t n;

    if (!in->bind || !index)
        return 0;
    hd_read_cstr(&r, NULL);
    hd_read_cstr(&r, NULL);
    hd_read_bytes(&r, 2 * (size_t)hd_read_u16(&r));
    n = hd_read_u16(&r);
    if (index > n)
        return 0;
    for (uint32_t i = 0; i < index; i++) {
        len = hd_read_i32(&r);
        value = len > 0 ? hd_read_bytes(&r, (size_t)len) : NULL;
    }
    return !r.failed && value && put_name((struct hd_str){(const char *)value, (uint64_t)len}, out, cap);
}

static void note_call(struct hd_session *s, const struct hd_facts *f, const struct hd_fact_function *call,
                      const struct hd_stmt_input *in)
{
    const struct hd_fact_value *v = call->value >= 0 ? &f->values[call->value] : NULL;
    char name[NAME_BYTES];

    if (call->local)
        return;
    if (v && v->kind == HD_VALUE_LITERAL && name_in_text(in, v->index, name, sizeof(name)))
        touch_setting(s, name, DONE_PERHAPS);
    else if (v && v->kind == HD_VALUE_PARAM && name_in_bind(in, v->index, name, sizeof(name)))
        touch_setting(s, name, DONE_PERHAPS);
    else
        touch_unnamed(s);
}

void hd_track_set_config(struct hd_session *s, const struct hd_text *t, const struct hd_stmt_input *in)
{
    const struct hd_facts *f = t->tmpl->facts;

    if (!automatic(s))
        return;
    for (uint32_t i = 0; i < f->n_functions; i++)
        if (f->functions[i].name && !strcmp(f->functions[i].name, "set_config"))
            note_call(s, f, &f->functions[i], in);
}

/* --- asking --- */

static void drop_name(struct hd_track *t, uint32_t i)
{
    hd_free(t->names[i].name);
    t->names[i] = t->names[--t->count];
}

static const char *at_startup(const struct hd_session *s, const char *name)
{
    return s->startup ? hd_params_get(s->startup, name) : NULL;
}

static void put(struct hd_session *s, struct hd_params **at, const char *name, const char *value)
{
    struct hd_params *p = hd_params_with(*at, name, value);

    if (p) {
        hd_params_drop(*at);
        *at = p;
    } else {
        s->pins |= HD_PIN_UNSURE;
    }
}

/* Gives the session and its server the same value of a setting; NULL takes it out. What the startup packet
 * has set is then still the session's: a reset that was committed by a text that failed behind it. */
static void put_value(struct hd_session *s, const char *name, const char *value)
{
    put(s, &s->params, name, value ? value : at_startup(s, name));
    put(s, &s->server->params, name, value);
}

/* A RESET that nothing has taken back leaves the server's own value, whatever that is. */
static void settle_resets(struct hd_session *s)
{
    struct hd_track *t = s->track;

    for (uint32_t i = t->failed ? 0 : t->count; i-- > 0;) {
        if (!t->names[i].touched || t->names[i].done != DONE_RESET || at_startup(s, t->names[i].name))
            continue;
        put_value(s, t->names[i].name, NULL);
        drop_name(t, i);
    }
}

/* No more of this is to be asked: what pins now, and is anything left to be remembered? */
static void conclude(struct hd_session *s)
{
    struct hd_track *t = s->track;

    if (!t->count && !t->unnamed)
        s->pins &= ~HD_PIN_SETTING;
    if (!(s->pins & HD_PIN_PREPARE))
        t->prepared_unsure = 0;
    if (!t->count && !t->touched && !(s->pins & ~HD_PIN_SEQUENCE))
        hd_track_free(s);
}

/* The questions, in the order of the pins' bits. The session's own operators and functions are kept out. */
static const struct {
    uint32_t pin;
    const char *sql;
} questions[] = {
    {HD_PIN_TEMP, "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615"
                  " AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"},
    {HD_PIN_LISTEN, "EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"},
    {HD_PIN_LOCK, "EXISTS (SELECT FROM pg_catalog.pg_lock_status() WHERE locktype OPERATOR(pg_catalog.=)"
                  " 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"},
    {HD_PIN_CURSOR, "EXISTS (SELECT FROM pg_catalog.pg_cursor() WHERE is_holdable)"},
    {HD_PIN_PREPARE, "EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() WHERE from_sql)"},
};

/* Settings that are as the server has them by itself; those that it does not list (a custom one, the role)
 * are not among them. */
static const char by_itself[] =
    "WITH by_itself (name) AS (SELECT pg_catalog.lower(name COLLATE pg_catalog.\"C\")"
    " FROM pg_catalog.pg_show_all_settings()"
    " WHERE source OPERATOR(pg_catalog.<>) 'session') ";

/* Has the session set it? What was tried and failed is nobody's: who may not set it cannot be given it
 * elsewhere. PostgreSQL's list is long, and looked through where that is not known. */
static int is_sessions(const struct hd_session *s, const struct name *n)
{
    static const char *const unlisted[] = {"role", "session_authorization"};

    for (size_t i = 0; i < HD_ARRAY_LEN(unlisted); i++)
        if (!strcasecmp(n->name, unlisted[i]))
            return 1;
    return !s->track->failed && (n->done == DONE_SET || at_startup(s, n->name));
}

static void put_current(struct hd_strbuf *sql, const char *name)
{
    hd_strbuf_puts(sql, "pg_catalog.current_setting(");
    hd_params_literal(sql, name);
    hd_strbuf_puts(sql, ", true)");
}

/* NULL where the session has not set it. */
static void put_current_if_set(struct hd_strbuf *sql, const char *name)
{
    char lower[NAME_BYTES + 1];
    size_t n = 0;

    for (; name[n] && n < NAME_BYTES; n++)
        lower[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] - 'A' + 'a' : name[n]);
    lower[n] = 0;
    hd_strbuf_puts(sql, "CASE WHEN EXISTS (SELECT FROM by_itself WHERE name OPERATOR(pg_catalog.=) ");
    hd_params_literal(sql, lower);
    hd_strbuf_puts(sql, ") THEN NULL ELSE ");
    put_current(sql, name);
    hd_strbuf_puts(sql, " END");
}

static void put_questions(const struct hd_session *s, struct hd_strbuf *sql)
{
    const struct hd_track *t = s->track;
    const char *between = "SELECT ";

    for (uint32_t i = 0; i < t->count && !sql->len; i++)
        if (t->names[i].touched && !is_sessions(s, &t->names[i]))
            hd_strbuf_puts(sql, by_itself);
    for (size_t i = 0; i < HD_ARRAY_LEN(questions); i++) {
        if (!(t->touched & questions[i].pin))
            continue;
        hd_strbuf_puts(sql, between);
        hd_strbuf_puts(sql, questions[i].sql);
        between = ", ";
    }
    for (uint32_t i = 0; i < t->count; i++) {
        if (!t->names[i].touched)
            continue;
        hd_strbuf_puts(sql, between);
        if (is_sessions(s, &t->names[i]))
            put_current(sql, t->names[i].name);
        else
            put_current_if_set(sql, t->names[i].name);
        between = ", ";
    }
}

static int due(const struct hd_session *s)
{
    const struct hd_track *t = s->track;
    int names = 0;

    for (uint32_t i = 0; i < t->count && !names; i++)
        names = t->names[i].touched;
    /* a message that waits until nothing is owed goes first: it may have been noted already */
    return (t->touched || names) && !(s->pins & FOR_GOOD) && !s->unsynced && !s->pass_rest &&
           !s->paused_by_server && s->state == HD_SESSION_READY;
}

int hd_track_ask(struct hd_session *s)
{
    struct hd_track *t = s->track;
    struct hd_strbuf sql = HD_STRBUF_INIT;
    int code;

    if (!due(s))
        return 0;
    settle_resets(s);
    put_questions(s, &sql);
    if (!sql.len && !sql.failed) {
        conclude(s);
        return 0;
    }
    code = sql.failed ? HD_ENOMEM : hd_server_inject_query(s->server, sql.data, sql.len, HD_EXPECT_PROBE);
    hd_strbuf_free(&sql);
    if (code) {
        s->pins |= HD_PIN_UNSURE;
        return 0;
    }
    t->asked = t->touched;
    t->touched = 0;
    t->answered = t->failed = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        t->names[i].asked = t->names[i].touched;
        t->names[i].touched = 0;
    }
    return 1;
}

/* --- answers --- */

/* A column's text: its length, or -1 for NULL. */
static int32_t column(struct hd_reader *r, const uint8_t **value)
{
    int32_t len = hd_read_i32(r);

    *value = len >= 0 ? hd_read_bytes(r, (size_t)len) : NULL;
    return len;
}

static void take_setting(struct hd_session *s, struct name *n, const uint8_t *value, int32_t len)
{
    char *copy = NULL;

    if (len >= 0 && !(copy = hd_strndup((const char *)value, (size_t)len))) {
        s->pins |= HD_PIN_UNSURE;
        return;
    }
    put_value(s, n->name, copy);
    hd_free(copy);
}

void hd_track_answer(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_track *t = s->track;
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    const uint8_t *value;

    if (!t || !hd_frame_whole(f))
        return; /* a row that is too long for a buffer: the pins stay */
    hd_read_u16(&r);
    for (size_t i = 0; i < HD_ARRAY_LEN(questions); i++) {
        if (!(t->asked & questions[i].pin))
            continue;
        if (column(&r, &value) == 1 && *value == 'f' && !(t->touched & questions[i].pin))
            s->pins &= ~questions[i].pin;
    }
    for (uint32_t i = 0; i < t->count && !r.failed; i++) {
        int32_t len;

        if (!t->names[i].asked)
            continue;
        len = column(&r, &value);
        if (!r.failed)
            take_setting(s, &t->names[i], value, len);
    }
    t->answered = !r.failed;
}

void hd_track_answered(struct hd_session *s)
{
    struct hd_track *t = s->track;

    if (!t)
        return;
    if (!t->answered && t->count)
        t->unnamed = 1;
    t->asked = 0;
    for (uint32_t i = t->count; i-- > 0;) {
        t->names[i].asked = 0;
        if (!t->names[i].touched)
            drop_name(t, i);
    }
    conclude(s);
}

void hd_track_discarded(struct hd_session *s, int alone)
{
    struct hd_track *t = s->track;

    if (!alone) { /* what came behind may have made new state: that is asked */
        if (t)
            t->touched |= s->pins & ASKABLE;
        return;
    }
    s->pins &= HD_PIN_MODE | HD_PIN_PROTOCOL | HD_PIN_LOAD | HD_PIN_SEED;
    if (!t)
        return;
    while (t->count)
        drop_name(t, 0);
    t->touched = 0;
    t->unnamed = 0;
    conclude(s);
}

void hd_track_free(struct hd_session *s)
{
    struct hd_track *t = s->track;

    if (!t)
        return;
    while (t->count)
        drop_name(t, 0);
    hd_free(t->names);
    hd_free(t);
    s->track = NULL;
}
