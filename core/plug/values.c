/*
 * Values of an execution; see values.h.
 */
#include "plug/values.h"

#include <string.h>
#include <strings.h>

#include "sql/literal.h"
#include "sql/template.h"

static int is_utf8(const struct hd_statement *st)
{
    for (uint32_t i = 0; i < st->setting_count; i++)
        if (strcasecmp(st->settings[i].name, "client_encoding") == 0)
            return strcasecmp(st->settings[i].value, "UTF8") == 0;
    return 0;
}

/* The scan of the execution's text, which is done once. */
static int find_scan(struct hd_values *v, const struct hd_statement *st)
{
    if (v->handle == st->handle)
        return v->code;
    hd_arena_free(&v->arena);
    v->handle = st->handle;
    v->code = hd_scan_normalize(st->sql.ptr, st->sql.len, &v->scan);
    if (!v->code && (v->scan.flags || v->scan.n_literals != st->tmpl->n_literals))
        v->code = HD_ENOENT;
    return v->code;
}

static uint32_t kind_of(const struct hd_literal *lit)
{
    switch ((enum hd_literal_kind)lit->kind) {
    case HD_LITERAL_INTEGER:
        return HD_VAL_INTEGER;
    case HD_LITERAL_NUMERIC:
        return HD_VAL_NUMERIC;
    case HD_LITERAL_BITS:
    case HD_LITERAL_HEX:
        return HD_VAL_BITS;
    default:
        return HD_VAL_STRING;
    }
}

static int with_minus(struct hd_values *v, struct hd_str *text)
{
    char *p = hd_arena_alloc(&v->arena, text->len + 2);

    if (!p)
        return HD_ENOMEM;
    *p = '-';
    memcpy(p + 1, text->ptr, text->len);
    *text = (struct hd_str){p, text->len + 1};
    return HD_OK;
}

static int get_literal(struct hd_values *v, const struct hd_statement *st, uint32_t i, struct hd_value *out)
{
    const uint8_t *negative = st->tmpl->facts->negative;
    const struct hd_literal *lit;
    int code;

    if (!st->sql.len)
        return HD_ENOENT;
    code = find_scan(v, st);
    if (code)
        return code;
    lit = &v->scan.literals[i];
    out->kind = kind_of(lit);
    code = hd_literal_text(st->sql.ptr, st->sql.len, lit, is_utf8(st), &v->arena, &out->data);
    return !code && negative && negative[i] ? with_minus(v, &out->data) : code;
}

static int get_param(const struct hd_statement *st, uint32_t i, struct hd_value *out)
{
    const struct hd_param *p;

    if (i >= st->param_count || !st->params)
        return HD_ENOENT;
    p = &st->params[i];
    out->kind = p->data ? HD_VAL_PARAM : HD_VAL_NULL;
    out->type = p->type;
    out->format = p->format;
    out->data = (struct hd_str){(const char *)p->data, p->data ? p->len : 0};
    return HD_OK;
}

int hd_values_get(struct hd_values *v, const struct hd_statement *st, uint32_t n, struct hd_value *out)
{
    const hd_template *t = st->tmpl;

    *out = (struct hd_value){.size = sizeof(*out)};
    if (!n || n > t->n_params + t->n_literals)
        return HD_ENOENT;
    return n <= t->n_params ? get_param(st, n - 1, out) : get_literal(v, st, n - t->n_params - 1, out);
}

void hd_values_free(struct hd_values *v)
{
    hd_scan_free(&v->scan);
    hd_arena_free(&v->arena);
    *v = (struct hd_values){0};
}
