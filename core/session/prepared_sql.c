/*
 * SQL commands about prepared statements; see prepared.h. PREPARE, EXECUTE and DEALLOCATE share their names
 * with the protocol's Parse.
 */
#include <string.h>

#include "session/client.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/prepared.h"
#include "session/server.h"
#include "sql/facts.h"

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

/* The names that the text speaks of are to be the server's. In a transaction that has failed nothing can be
 * done to them. */
static int export_names(struct hd_session *s, const struct hd_text *t)
{
    const struct hd_facts *f = t->tmpl->facts;
    int exported = 0;

    for (uint32_t i = 0; i < f->n_statements && s->txn != HD_TXN_FAILED; i++) {
        const struct hd_fact_statement *st = &f->statements[i];
        struct hd_name *n = concerns(st->kind) && st->name ? hd_names_find(&s->names, st->name) : NULL;

        if (!n || n->own)
            continue;
        if (hd_prepared_export(s, n, f->n_statements == 1 && st->kind == HD_STATEMENT_DEALLOCATE))
            return HD_ENOMEM;
        exported = 1;
    }
    /* Where one fails, its table being gone, the server would skip the Query too. */
    return exported && !s->unsynced ? hd_server_inject_sync(s->server) : HD_OK;
}

enum hd_taken hd_prepared_sql(struct hd_session *s, const struct hd_text *t)
{
    if (!text_concerns(t))
        return HD_TAKEN;
    if (!hd_quiet(s))
        return hd_wait_for_replies(s) ? hd_no_memory(s) : HD_TAKE_LATER;
    if (export_names(s, t))
        return hd_no_memory(s);
    hd_template_release(s->about_names);
    s->about_names = hd_template_hold(t->tmpl);
    s->deallocated = 0;
    s->doubt = 1;
    return HD_TAKEN;
}

int hd_prepared_deallocates(struct hd_session *s, const struct hd_text *t)
{
    const struct hd_fact_statement *st = t->tmpl->facts->statements;
    struct hd_name *n;

    if (t->kind != HD_STATEMENT_DEALLOCATE || !st->name || s->txn == HD_TXN_FAILED || !hd_quiet(s))
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
