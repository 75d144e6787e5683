/*
 * One execution on its way; see statement.h.
 */
#include "session/statement.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/units.h"
#include "session/defaults.h"
#include "session/moment.h"
#include "session/params.h"
#include "sql/facts.h"
#include "wire/proto.h"
#include "wire/read.h"

#define FREE_STMTS 256
/* Parameters and result formats that are shown to filters; of more, none. */
#define PARAMS_MAX 1024

/* --- templates
 * ---------------------------------------------------------------------------------------------- */

/* libpg_query reads SQL as with standard_conforming_strings = on and an encoding whose bytes below 128 are
 * ASCII. */
static uint32_t read_lexical(const struct hd_params *p)
{
    static const char *const unsafe[] = {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"};
    const char *scs = hd_params_get(p, "standard_conforming_strings");
    const char *enc = hd_params_get(p, "client_encoding");

    if (scs && strcmp(scs, "on"))
        return HD_TEMPLATE_NONSTANDARD;
    for (size_t i = 0; enc && i < HD_ARRAY_LEN(unsafe); i++)
        if (!strcmp(enc, unsafe[i]))
            return HD_TEMPLATE_NONSTANDARD;
    return 0;
}

/* The same while the settings are the same set. */
static uint32_t lexical_flags(struct hd_session *s)
{
    if (s->params != s->lexical_of) {
        s->lexical = read_lexical(s->params);
        s->lexical_of = s->params;
    }
    return s->lexical;
}

/* RESET and names: these words mean the same in all of these sessions. So the host sees what goes back to the
 * startup packet's settings, which it has to put in place, where it looks into no other text. */
static int resets_by_words(const char *sql, size_t len)
{
    static const char reset[] = "reset";

    if (!sql || len < sizeof(reset) || strncasecmp(sql, reset, sizeof(reset) - 1))
        return 0;
    for (size_t i = sizeof(reset) - 1; i < len; i++)
        if (!isalnum((unsigned char)sql[i]) && !strchr("_. \t\r\n", sql[i]))
            return 0;
    return 1;
}

static uint32_t flags_of_text(struct hd_session *s, const char *sql, size_t len)
{
    uint32_t flags = lexical_flags(s);

    return flags && resets_by_words(sql, len) ? 0 : flags;
}

static int plan_entry(struct hd_session *s, struct hd_template_entry *e, struct hd_text *out)
{
    if (!e)
        return HD_ENOMEM;
    out->tmpl = e->tmpl;
    out->plan = hd_chain_plan(s->w->chain, e->tmpl, &e->plan, &e->plan_generation);
    out->facts = e->tmpl->facts->flags;
    out->kind = e->tmpl->facts->n_statements == 1 ? e->tmpl->facts->statements[0].kind : HD_STATEMENT_OTHER;
    return out->plan ? HD_OK : HD_ENOMEM;
}

int hd_text_of_query(struct hd_session *s, const char *sql, size_t len, struct hd_text *out)
{
    size_t n = sql ? hd_template_trim(sql, len) : 0;

    return plan_entry(s, hd_template_cache_query(s->w->templates, sql, n, flags_of_text(s, sql, n)), out);
}

int hd_text_of_parse(struct hd_session *s, const char *sql, size_t len, struct hd_text *out)
{
    size_t n = hd_template_trim(sql, len);

    return plan_entry(s, hd_template_cache_exact(s->w->templates, sql, n, flags_of_text(s, sql, n)), out);
}

int hd_text_of_template(struct hd_session *s, struct hd_template *tmpl, struct hd_text *out)
{
    return plan_entry(s, hd_template_cache_entry(s->w->templates, tmpl), out);
}

/* --- an execution
 * -------------------------------------------------------------------------------------------- */

/* What is known of the session when an execution begins. */
static uint32_t session_flags(const struct hd_session *s)
{
    uint32_t flags = s->pins & HD_PIN_TEMP ? HD_STMT_TEMP : 0;

    if (s->pool->conf->pool_mode != HD_POOL_AUTO || (s->pins & (HD_PIN_SETTING | HD_PIN_UNSURE)))
        flags |= HD_STMT_SETTINGS_UNSURE;
    return flags;
}

static const struct hd_pool *pool_of(const struct hd_session *s)
{
    return s->route ? s->route : s->pool;
}

static uint64_t defaults_id(const struct hd_session *s)
{
    const struct hd_params *d = hd_defaults_of(s, pool_of(s));

    return d ? d->id : 0;
}

/* Zeroes what counts, and no more: this is on the way of each statement. */
static void begin_course(struct hd_stmt *st)
{
    st->rewrite = NULL;
    st->next_free = NULL;
    st->queue_ns = st->first_ns = st->queued_at_ns = 0;
    st->rows = st->bytes = st->rows_before = 0;
    st->tag_len = st->failed = st->answered_by = 0;
    memcpy(st->sqlstate, "00000", 6);
}

struct hd_stmt *hd_stmt_begin(struct hd_session *s, const struct hd_text *t, uint32_t flags)
{
    struct hd_worker *w = s->w;
    struct hd_stmt *st = w->free_stmts;

    if (st) {
        w->free_stmts = st->next_free;
        w->free_stmt_count--;
    } else if (!(st = hd_malloc(sizeof(*st)))) {
        return NULL;
    }
    begin_course(st);
    st->session = s;
    st->tmpl = hd_template_hold(t->tmpl);
    st->want = t->plan->want;
    hd_chain_touch(&s->chain, t->plan);
    st->flags = flags | session_flags(s);
    st->defaults_id = defaults_id(s);
    st->arrived_ns = hd_moment(w);
    if (hd_chain_begin(w->chain, t->plan, &st->exec)) {
        hd_template_release(st->tmpl);
        hd_free(st);
        return NULL;
    }
    return st;
}

/* Settings are shown as they lie. */
_Static_assert(sizeof(struct hd_session_setting) == sizeof(struct hd_param_entry) &&
                   offsetof(struct hd_session_setting, name) == offsetof(struct hd_param_entry, name) &&
                   offsetof(struct hd_session_setting, value) == offsetof(struct hd_param_entry, value),
               "one layout");

/* What filters see of an execution, but for its parameters. */
static void describe(struct hd_stmt *st, const struct hd_stmt_input *in, struct hd_statement *out)
{
    const struct hd_session *s = st->session;
    const struct hd_pool *p = pool_of(s);
    const struct hd_params *defaults = hd_defaults_of(s, p);

    *out = (struct hd_statement){.size = sizeof(*out),
                                 .flags = st->flags,
                                 .session_id = s->id,
                                 .tmpl = st->tmpl,
                                 .database = s->pool->names.database,
                                 .user = s->pool->names.user,
                                 .application_name = s->params->application_name,
                                 .txn = s->txn,
                                 .arrived_ns = st->arrived_ns,
                                 .node = p->names.node,
                                 .dbname = p->names.dbname,
                                 .settings = (const struct hd_session_setting *)s->params->entries,
                                 .settings_id = s->params->id,
                                 .setting_count = s->params->count};
    if (defaults) {
        out->defaults = (const struct hd_session_setting *)defaults->entries;
        out->defaults_id = defaults->id;
        out->default_count = defaults->count;
    }
    if (in)
        out->sql = (struct hd_str){in->sql, in->sql_len};
    if (!defaults || st->defaults_id != out->defaults_id)
        out->flags |= HD_STMT_SETTINGS_UNSURE; /* they have become others meanwhile, or are not known */
}

/* A Bind message: formats, values, result formats. Returns 0 when it is broken or too much: then none are
 * shown. */
static int read_bind(const struct hd_stmt_input *in, struct hd_param *params, uint16_t *formats,
                     uint32_t *param_count, uint32_t *format_count)
{
    struct hd_reader r = hd_reader_on(in->bind, in->bind_len);
    uint16_t nf, n, codes[PARAMS_MAX];

    hd_read_cstr(&r, NULL);
    hd_read_cstr(&r, NULL);
    nf = hd_read_u16(&r);
    if (nf > PARAMS_MAX)
        return 0;
    for (uint16_t i = 0; i < nf; i++)
        codes[i] = hd_read_u16(&r);
    n = hd_read_u16(&r);
    if (n > PARAMS_MAX)
        return 0;
    for (uint16_t i = 0; i < n; i++) {
        int32_t len = hd_read_i32(&r);

        params[i] = (struct hd_param){.format = nf == 1 ? codes[0] : i < nf ? codes[i] : 0};
        if (i < in->type_count)
            params[i].type = hd_get_u32(in->types + 4 * (size_t)i);
        if (len >= 0) {
            params[i].data = hd_read_bytes(&r, (size_t)len);
            params[i].len = (uint32_t)len;
        }
    }
    *param_count = n;
    n = hd_read_u16(&r);
    if (n > PARAMS_MAX)
        return 0;
    for (uint16_t i = 0; i < n; i++)
        formats[i] = hd_read_u16(&r);
    *format_count = n;
    return !r.failed;
}

uint32_t hd_stmt_decide(struct hd_stmt *st, const struct hd_stmt_input *in, struct hd_verdict *v)
{
    struct hd_param params[PARAMS_MAX];
    uint16_t formats[PARAMS_MAX];
    struct hd_statement out;

    describe(st, in, &out);
    if (in->bind) {
        if (read_bind(in, params, formats, &out.param_count, &out.result_format_count)) {
            out.params = params;
            out.result_formats = formats;
        } else {
            out.param_count = out.result_format_count = 0;
        }
    }
    return hd_chain_decide(st->session->w->chain, &st->session->chain, &st->exec, &out, v);
}

void hd_stmt_show(struct hd_stmt *st, const uint8_t *bytes, size_t len)
{
    struct hd_statement out;

    if (!(st->want & HD_WANT_DATA))
        return;
    describe(st, NULL, &out);
    hd_chain_data(st->session->w->chain, &st->session->chain, &st->exec, &out,
                  (struct hd_str){(const char *)bytes, len});
}

/* "INSERT 0 5" is about 5 rows, "CREATE TABLE" about none. */
static uint64_t rows_of_tag(const char *tag, size_t len)
{
    uint64_t n = 0, scale = 1;

    while (len && tag[len - 1] >= '0' && tag[len - 1] <= '9') {
        n += (uint64_t)(tag[--len] - '0') * scale;
        scale *= 10;
    }
    return len && tag[len - 1] == ' ' ? n : 0;
}

/* Rows that did not come as such, for they were written or copied, are counted by the tag. */
void hd_stmt_tag(struct hd_stmt *st, const char *tag, size_t len)
{
    uint64_t said, came = st->rows - st->rows_before;

    if (len >= sizeof(st->tag))
        len = sizeof(st->tag) - 1;
    said = rows_of_tag(tag, len);
    memcpy(st->tag, tag, len);
    st->tag[len] = 0;
    st->tag_len = (uint8_t)len;
    if (said > came)
        st->rows += said - came;
    st->rows_before = st->rows;
}

/* The tag is the last of a filter's answer: the search is from the end, for NULs are in no tag. */
void hd_stmt_answer(struct hd_stmt *st, const char *bytes, size_t len)
{
    st->bytes += len;
    for (size_t n = 6; n <= len && n < sizeof(st->tag) + 6; n++) {
        const uint8_t *m = (const uint8_t *)bytes + len - n;

        if (m[0] != HD_MSG_COMMAND_COMPLETE || hd_get_u32(m + 1) != n - 1 || bytes[len - 1])
            continue;
        hd_stmt_tag(st, (const char *)m + 5, n - 6);
        return;
    }
}

void hd_stmt_fail(struct hd_stmt *st, const char *sqlstate)
{
    if (st->failed)
        return;
    st->failed = 1;
    snprintf(st->sqlstate, sizeof(st->sqlstate), "%s", *sqlstate ? sqlstate : "XX000");
}

void hd_stmt_wait(struct hd_stmt *st, uint64_t now_ns)
{
    if (!st->queued_at_ns)
        st->queued_at_ns = now_ns;
}

void hd_stmt_go(struct hd_stmt *st, uint64_t now_ns)
{
    if (st->queued_at_ns)
        st->queue_ns += hd_elapsed_ns(now_ns, st->queued_at_ns);
    st->queued_at_ns = 0;
}

void hd_stmt_complete(struct hd_stmt *st)
{
    struct hd_session *s = st->session;
    struct hd_worker *w = s->w;
    struct hd_statement out;
    struct hd_outcome o = {.size = sizeof(o)};
    uint64_t now = hd_moment_after(w, st->arrived_ns);

    describe(st, NULL, &out);
    o.failed = st->failed;
    o.rows = st->rows;
    o.bytes = st->bytes;
    o.total_ns = now - st->arrived_ns;
    hd_stmt_go(st, now);
    o.queue_ns = st->queue_ns;
    if (!st->first_ns && st->bytes)
        st->first_ns = now; /* a filter's answer, given at once */
    o.first_ns = st->first_ns ? st->first_ns - st->arrived_ns : 0;
    memcpy(o.sqlstate, st->sqlstate, sizeof(st->sqlstate));
    o.tag = (struct hd_str){st->tag, st->tag_len};
    o.txn = s->txn;
    o.answered_by = st->answered_by;
    hd_chain_complete(w->chain, &s->chain, &st->exec, &out, &o);
    hd_template_release(st->tmpl);
    hd_buf_drop(st->rewrite);
    if (w->free_stmt_count < FREE_STMTS) {
        st->next_free = w->free_stmts;
        w->free_stmts = st;
        w->free_stmt_count++;
    } else {
        hd_free(st);
    }
}

void hd_stmts_free(struct hd_worker *w)
{
    while (w->free_stmts) {
        struct hd_stmt *st = w->free_stmts;

        w->free_stmts = st->next_free;
        hd_free(st);
    }
}
