/*
 * SQL commands about prepared statements; see prepared.h. PREPARE, EXECUTE and DEALLOCATE share their names
 * with the protocol's Parse.
 */
#include <string.h>

#include "base/alloc.h"
#include "session/client.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/prepared.h"
#include "session/reply.h"
#include "session/server.h"
#include "sql/facts.h"
#include "wire/describe.h"

static int concerns(uint32_t kind)
{
    return kind == HD_STATEMENT_PREPARE || kind == HD_STATEMENT_EXECUTE || kind == HD_STATEMENT_DEALLOCATE ||
           kind == HD_STATEMENT_DISCARD;
}

static int text_concerns(const struct hd_text *t)
{
    const struct hd_facts *f = t->tmpl->facts;

    if (f->n_statements < 2)
        return concerns(t->kind);
    for (uint32_t i = 0; i < f->n_statements; i++)
        if (concerns(f->statements[i].kind))
            return 1;
    return 0;
}

/* --- names that cannot be brought to the server --- */

struct hd_excuse {
    struct hd_excuse *next;
    struct hd_buf *error; /* held */
    uint32_t seq;         /* of the Parse that made the name */
};

void hd_prepared_excuses_free(struct hd_session *s)
{
    while (s->excuses) {
        struct hd_excuse *x = s->excuses;

        s->excuses = x->next;
        hd_buf_drop(x->error);
        hd_free(x);
    }
}

/* Takes the error's reference over. */
static int excuse(struct hd_session *s, uint32_t seq, struct hd_buf *error)
{
    struct hd_excuse *x = error ? hd_malloc(sizeof(*x)) : NULL;

    if (!x) {
        hd_buf_drop(error);
        return HD_ENOMEM;
    }
    *x = (struct hd_excuse){s->excuses, error, seq};
    s->excuses = x;
    return HD_OK;
}

/* Is the next Sync that the server sees the host's own? */
static int before_own_sync(struct hd_server *v)
{
    for (uint32_t i = 0; i < v->expects.count; i++) {
        const struct hd_expect *e = hd_expects_at(&v->expects, i);

        if (e->kind == HD_EXPECT_SYNC)
            return (e->flags & HD_EXPECT_SWALLOW) != 0;
    }
    return 0;
}

int hd_prepared_export_failed(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_session *s = v->session;
    struct hd_buf *error;

    if (!s || !before_own_sync(v))
        return !s;
    error = hd_buf_new(&s->w->io.bufs, f->total);
    if (error) {
        memcpy(error->data, f->data, f->total);
        error->len = f->total;
    }
    if (excuse(s, hd_expects_head(&v->expects)->seq, error))
        hd_no_memory(s);
    return 1;
}

int hd_prepared_changed(struct hd_session *s, uint32_t seq)
{
    struct hd_name *n = hd_names_of_seq(&s->names, seq);

    if (!n)
        return HD_OK;
    if (excuse(
            s, seq,
            hd_reply_error_buf(s, "ERROR", "0A000", "cached plan must not change result type", NULL, NULL)))
        return HD_ENOMEM;
    return hd_prepared_unexport(s, n);
}

/* "… "name" …", whatever the language. */
static int speaks_of(const char *message, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = strchr(message, '"'); at; at = strchr(at + 1, '"'))
        if (!strncmp(at + 1, name, len) && at[1 + len] == '"')
            return 1;
    return 0;
}

struct hd_buf *hd_prepared_excuse(struct hd_session *s, const struct hd_report *rep)
{
    int none = !strcmp(rep->code, "26000"), failed = !strcmp(rep->code, "25P02");

    for (struct hd_excuse *x = s->excuses; x; x = x->next) {
        const struct hd_name *n = hd_names_of_seq(&s->names, x->seq);

        /* In a transaction the attempt to bring the name has failed that, too. */
        if (n && (failed || (none && speaks_of(rep->message, n->name))))
            return x->error;
    }
    return NULL;
}

struct hd_buf *hd_prepared_excuse_of(struct hd_session *s, const struct hd_template *tmpl)
{
    const struct hd_fact_statement *st = tmpl ? tmpl->facts->statements : NULL;
    const struct hd_name *n = NULL;

    if (st && tmpl->facts->n_statements == 1 && st->kind == HD_STATEMENT_EXECUTE && st->name)
        n = hd_names_find(&s->names, st->name);
    for (struct hd_excuse *x = n ? s->excuses : NULL; x; x = x->next)
        if (x->seq == n->seq && n->rows > HD_ROWS_NONE)
            return x->error;
    return NULL;
}

/* --- bringing names to the server --- */

/* So many statements that execute one another are looked through. */
#define DEPTH_MAX 8

/* Does the text first do something else to the name that its statement `i` is about than to execute it? */
static int first_dropped(const struct hd_facts *f, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++)
        if (concerns(f->statements[j].kind) && f->statements[j].name &&
            !strcmp(f->statements[j].name, f->statements[i].name))
            return f->statements[j].kind != HD_STATEMENT_EXECUTE;
    return f->statements[i].kind != HD_STATEMENT_EXECUTE;
}

/* Has it been tried in this batch already? */
static int excused(const struct hd_session *s, const struct hd_name *n)
{
    const struct hd_excuse *x = s->excuses;

    while (x && x->seq != n->seq)
        x = x->next;
    return x != NULL;
}

static int export_one(struct hd_session *s, struct hd_name *n, int empty)
{
    if (n->own == HD_NAME_EMPTY && !empty && hd_prepared_unexport(s, n))
        return HD_ENOMEM;
    if (n->own || excused(s, n))
        return HD_OK;
    s->exporting = 1;
    return hd_prepared_export(s, n, empty);
}

/* The names that the text speaks of are to be the server's; also those of which only what it executes speaks.
 */
static int export_names(struct hd_session *s, struct hd_template *tmpl, int depth)
{
    const struct hd_facts *f = tmpl->facts;
    int code = HD_OK;

    for (uint32_t i = 0; i < f->n_statements && !code; i++) {
        const struct hd_fact_statement *st = &f->statements[i];
        struct hd_name *n = concerns(st->kind) && st->name ? hd_names_find(&s->names, st->name) : NULL;
        int empty = n && first_dropped(f, i);
        struct hd_text inner;

        if (!n)
            continue;
        code = export_one(s, n, empty);
        if (code || empty || depth == DEPTH_MAX)
            continue;
        code = hd_text_of_parse(s, (const char *)n->prep->body, n->prep->sql_len, &inner);
        if (!code && text_concerns(&inner)) {
            struct hd_template *held = hd_template_hold(inner.tmpl);

            code = export_names(s, held, depth + 1);
            hd_template_release(held);
        }
    }
    return code;
}

/* Does the text speak of names that are to be brought? */
static int has_names(struct hd_session *s, const struct hd_facts *f)
{
    for (uint32_t i = 0; i < f->n_statements; i++) {
        const struct hd_fact_statement *st = &f->statements[i];
        const struct hd_name *n = concerns(st->kind) && st->name ? hd_names_find(&s->names, st->name) : NULL;

        if (n && n->own != HD_NAME_OWN)
            return 1;
    }
    return 0;
}

static int query(struct hd_session *s, const char *sql)
{
    return hd_server_inject_query(s->server, sql, strlen(sql), HD_EXPECT_AHEAD);
}

/* To a savepoint; to go there a second time makes no difference. */
static int roll_back_to(struct hd_session *s, const char *savepoint)
{
    struct hd_strbuf sql = HD_STRBUF_INIT;
    int code;

    hd_strbuf_puts(&sql, "ROLLBACK TO \"");
    for (const char *c = savepoint; *c; c++) {
        if (*c == '"')
            hd_strbuf_putc(&sql, '"');
        hd_strbuf_putc(&sql, *c);
    }
    hd_strbuf_putc(&sql, '"');
    code = sql.failed ? HD_ENOMEM : query(s, sql.data);
    hd_strbuf_free(&sql);
    return code;
}

/* In a transaction that has failed nothing can be done to names. Where the text begins with its end, that end
 * comes ahead of them, and the text finds another transaction, that has failed as well. */
static int export_in_failed(struct hd_session *s, struct hd_template *tmpl)
{
    const struct hd_fact_statement *first = tmpl->facts->statements;
    int to = first->kind == HD_STATEMENT_ROLLBACK_TO && first->name, code;

    if (tmpl->facts->n_statements < 2 || s->unsynced || (first->options & HD_OPTION_CHAIN) ||
        (!to && first->kind != HD_STATEMENT_ROLLBACK && first->kind != HD_STATEMENT_COMMIT) ||
        !has_names(s, tmpl->facts))
        return HD_OK;
    code = to ? roll_back_to(s, first->name) : query(s, "ROLLBACK; BEGIN");
    s->exporting = 1;
    if (!code)
        code = export_names(s, tmpl, 0);
    if (!code)
        code = hd_server_inject_sync(s->server);
    if (!code && !to)
        code = query(s, "\"howdah goes on in a transaction that has failed\"");
    return code;
}

static int export_all(struct hd_session *s, struct hd_template *tmpl)
{
    if (s->txn == HD_TXN_FAILED)
        return export_in_failed(s, tmpl);
    if (export_names(s, tmpl, 0))
        return HD_ENOMEM;
    /* Where one fails, its table being gone, the server would skip the Query too. */
    return s->exporting && !s->unsynced ? hd_server_inject_sync(s->server) : HD_OK;
}

/* 1: what comes of it has to be known before the text runs. */
static int export_first(struct hd_session *s, struct hd_template *tmpl, int *code)
{
    if (s->exporting) {
        s->exporting = 0;
        return 0;
    }
    *code = export_all(s, tmpl);
    return s->exporting;
}

enum hd_taken hd_prepared_sql(struct hd_session *s, const struct hd_text *t)
{
    struct hd_template *tmpl;
    int code = HD_OK;

    if (!text_concerns(t))
        return HD_TAKEN;
    if (!hd_quiet(s))
        return hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    tmpl = hd_template_hold(t->tmpl); /* others are looked up */
    if (export_first(s, tmpl, &code)) {
        hd_template_release(tmpl);
        return code || hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    }
    hd_template_release(s->about_names);
    s->about_names = tmpl;
    s->deallocated = 0;
    s->doubt = 1;
    return code ? hd_no_memory(s) : HD_TAKEN;
}

int hd_prepared_deallocates(struct hd_session *s, const struct hd_text *t)
{
    const struct hd_fact_statement *st = t->tmpl->facts->statements;
    struct hd_name *n;

    /* In a transaction it counts as a statement, behind which some settings cannot be made any more. */
    if (t->kind != HD_STATEMENT_DEALLOCATE || !st->name || s->txn != HD_TXN_IDLE || s->unsynced ||
        !hd_quiet(s))
        return 0;
    n = hd_names_find(&s->names, st->name);
    if (!n || n->own)
        return 0;
    hd_names_remove(&s->names, hd_session_preps(s), st->name);
    return 1;
}

/* The next statement of the text that drops one name. */
static void deallocated(struct hd_session *s)
{
    const struct hd_facts *f = s->about_names ? s->about_names->facts : NULL;
    uint32_t nth = 0;

    for (uint32_t i = 0; f && i < f->n_statements; i++) {
        const struct hd_fact_statement *st = &f->statements[i];

        if (st->kind != HD_STATEMENT_DEALLOCATE || !st->name || nth++ != s->deallocated)
            continue;
        hd_names_remove(&s->names, hd_session_preps(s), st->name);
        break;
    }
    s->deallocated++;
    hd_prepared_pin(s);
}

void hd_prepared_sql_done(struct hd_server *v, const char *tag)
{
    struct hd_session *s = v->session;

    if (!strcmp(tag, "DEALLOCATE")) {
        if (s)
            deallocated(s);
        return;
    }
    hd_stock_clear(&v->preps, v->w->all->preps);
    if (!s)
        return;
    hd_names_clear(&s->names, hd_session_preps(s));
    hd_prepared_pin(s);
}
