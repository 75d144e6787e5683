/*
 * What RESET goes back to; see restore.h.
 */
#include "session/restore.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/build.h"

/* Of session->fence. */
#define FENCE_RESET   1 /* the message that resets is on its way */
#define FENCE_RESTORE 2 /* the startup packet's values are */

int hd_restore_startup(struct hd_session *s, const struct hd_param_entry *e, uint32_t count)
{
    const struct hd_params *welcome = s->pool->welcome;
    struct hd_params *p;

    if (!count)
        return HD_OK;
    p = hd_params_make(s->w->params, e, count);
    for (uint32_t i = 0; p && i < count; i++) {
        const char *there = welcome ? hd_params_get(welcome, e[i].name) : NULL;
        const char *value = hd_params_get(p, e[i].name);
        struct hd_params *without;

        if (!there || !value || strcmp(there, value))
            continue;
        without = hd_params_with(p, e[i].name, NULL); /* a server's own RESET gives the same */
        hd_params_drop(p);
        p = without;
    }
    if (p && !p->count) {
        hd_params_drop(p);
        return HD_OK;
    }
    s->startup = p;
    return p ? HD_OK : HD_ENOMEM;
}

static void no_memory(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
}

/* This one of the startup packet's settings is to come back. */
static int add(struct hd_session *s, const char *name)
{
    const char *value = hd_params_get(s->startup, name);
    struct hd_param_entry e = {name, value};
    struct hd_params *p;

    if (!value)
        return HD_OK;
    p = s->restore ? hd_params_with(s->restore, name, value) : hd_params_make(s->w->params, &e, 1);
    if (!p)
        return HD_ENOMEM;
    hd_params_drop(s->restore);
    s->restore = p;
    return HD_OK;
}

/* RESET ALL leaves the role alone; DISCARD ALL does not. */
static int add_all(struct hd_session *s, int role)
{
    int code = HD_OK;

    for (uint32_t i = 0; i < s->startup->count && !code; i++)
        if (role || strcasecmp(s->startup->entries[i].name, "role"))
            code = add(s, s->startup->entries[i].name);
    return code;
}

static int note(struct hd_session *s, const struct hd_fact_statement *st)
{
    int all = (st->options & HD_OPTION_ALL) != 0;
    int to_default = (st->options & HD_OPTION_DEFAULT) && !(st->options & HD_OPTION_LOCAL);

    if (st->kind == HD_STATEMENT_DISCARD)
        return all ? add_all(s, 1) : HD_OK;
    if (st->kind == HD_STATEMENT_RESET && all)
        return add_all(s, 0);
    if (st->name && (st->kind == HD_STATEMENT_RESET || (st->kind == HD_STATEMENT_SET && to_default)))
        return add(s, st->name);
    return HD_OK;
}

int hd_restore_note(struct hd_session *s, const struct hd_facts *f)
{
    int code = HD_OK;

    if (!s->startup || (f->flags & HD_FACT_COPY_STREAM))
        return HD_OK; /* behind COPY no statement of ours would be read as one */
    for (uint32_t i = 0; i < f->n_statements && !code; i++)
        code = note(s, &f->statements[i]);
    return code;
}

void hd_restore_fence(struct hd_session *s)
{
    struct hd_expects *q = &s->server->expects;

    if (!s->restore || s->fence || s->server->copy_in)
        return;
    hd_expects_at(q, q->count - 1)->flags |= HD_EXPECT_FENCE;
    s->fence = FENCE_RESET;
}

static void over(struct hd_session *s)
{
    s->fence = 0;
    hd_params_drop(s->restore);
    s->restore = NULL;
}

/* Is what the fence is for still to come? */
static int owed(const struct hd_session *s)
{
    struct hd_expects *q = s->server ? &s->server->expects : NULL;

    for (uint32_t i = 0; q && i < q->count; i++)
        if (hd_expects_at(q, i)->flags & (HD_EXPECT_FENCE | HD_EXPECT_RESTORE))
            return 1;
    return 0;
}

int hd_restore_waits(struct hd_session *s)
{
    if (!owed(s))
        over(s); /* a COPY has taken the Sync away that it was for */
    if (!s->fence)
        return 0;
    s->paused_by_server = 1;
    hd_link_pause(&s->link);
    return 1;
}

static int tell_one(struct hd_session *s, const struct hd_param_entry *e)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    struct hd_params *p = hd_params_with(s->params, e->name, e->value);
    int code = p ? hd_build_parameter_status(&b, e->name, e->value) : HD_ENOMEM;

    if (p) {
        hd_params_drop(s->params);
        s->params = p;
    }
    if (!code)
        code = hd_link_send_copy(&s->link, sb.data, sb.len);
    hd_strbuf_free(&sb);
    return code;
}

/* What has changed in the end, of what the server reported meanwhile. */
static void tell(struct hd_session *s)
{
    const struct hd_params *now = s->server->params;
    int code = HD_OK;

    for (uint32_t i = 0; i < now->count && !code; i++) {
        const char *known = hd_params_get(s->params, now->entries[i].name);

        if (hd_param_reported(now->entries[i].name) && (!known || strcmp(known, now->entries[i].value)))
            code = tell_one(s, &now->entries[i]);
    }
    if (code)
        no_memory(s);
}

static int put_back(struct hd_session *s)
{
    struct hd_strbuf sql = HD_STRBUF_INIT;
    int code;

    hd_params_set_sql(s->restore, &sql);
    code = sql.failed ? HD_ENOMEM : hd_server_inject_query(s->server, sql.data, sql.len, HD_EXPECT_RESTORE);
    hd_strbuf_free(&sql);
    return code;
}

int hd_restore_ready(struct hd_session *s, const struct hd_expect *e, int failed)
{
    if ((e->flags & HD_EXPECT_FENCE) && !failed) {
        s->fence = FENCE_RESTORE;
        if (!put_back(s))
            return 1;
        no_memory(s);
        return 1;
    }
    if (e->flags & HD_EXPECT_RESTORE)
        s->server->must_close |= (uint8_t)failed; /* it has not what it is said to have */
    over(s);
    tell(s);
    return 0;
}

/* Only what the server reports, and what the startup packet set beside. */
static struct hd_params *as_at_start(const struct hd_session *s, struct hd_params *p)
{
    struct hd_params *out = hd_params_reported(p);

    for (uint32_t i = 0; s && s->startup && out && i < s->startup->count; i++) {
        const struct hd_param_entry *e = &s->startup->entries[i];
        struct hd_params *with;

        if (hd_params_get(out, e->name))
            continue;
        with = hd_params_with(out, e->name, e->value);
        hd_params_drop(out);
        out = with;
    }
    return out;
}

void hd_restore_discarded(struct hd_session *s, struct hd_server *v)
{
    struct hd_params *p = as_at_start(s && s->restore ? s : NULL, v->params);

    if (p) {
        hd_params_drop(v->params);
        v->params = p;
    } else {
        v->must_close = 1;
    }
    if (!s)
        return;
    p = as_at_start(s, s->params);
    if (!p) {
        no_memory(s);
        return;
    }
    hd_params_drop(s->params);
    s->params = p;
}

void hd_restore_free(struct hd_session *s)
{
    over(s);
    hd_params_drop(s->startup);
    s->startup = NULL;
}
