/*
 * The small host's metrics, templates and resumed statements: what a plugin writes here the test reads, and
 * the other way round.
 */
#include "mock_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- metrics ------------------------------------------------------------------------------------------- */

struct mock_metric_entry {
    char *name, *labels;
    uint32_t type;
    int64_t value; /* of a sketch: how many */
    uint64_t largest;
};

static int find_metric(const struct mock *m, const char *name, const char *labels)
{
    for (unsigned i = 0; i < m->metric_count; i++)
        if (strcmp(m->metrics[i].name, name) == 0 && strcmp(m->metrics[i].labels, labels) == 0)
            return (int)i;
    return -1;
}

static int64_t get(hd_host *host, uint32_t type, const char *name, const char *help,
                   const struct hd_label *labels, uint32_t label_count)
{
    struct mock *m = mock_of(host);
    char text[1000] = "";
    size_t len = 0;
    int i;

    (void)help;
    for (uint32_t l = 0; l < label_count && len < sizeof(text); l++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s=%s", l ? "," : "", labels[l].name,
                                labels[l].value);
    i = find_metric(m, name, text);
    if (i >= 0)
        return m->metrics[i].type == type ? i + 1 : HD_EEXIST;
    m->metrics = mock_grow(m->metrics, m->metric_count, sizeof(*m->metrics));
    memset(&m->metrics[m->metric_count], 0, sizeof(*m->metrics));
    m->metrics[m->metric_count].name = mock_copy(name, strlen(name));
    m->metrics[m->metric_count].labels = mock_copy(text, strlen(text));
    m->metrics[m->metric_count].type = type;
    return ++m->metric_count;
}

static struct mock_metric_entry *metric(hd_host *host, int64_t id)
{
    struct mock *m = mock_of(host);

    return id > 0 && id <= m->metric_count ? &m->metrics[id - 1] : NULL;
}

static void add(hd_host *host, int64_t id, int64_t delta)
{
    struct mock_metric_entry *e = metric(host, id);

    if (e)
        e->value += delta;
}

static void set(hd_host *host, int64_t id, int64_t value)
{
    struct mock_metric_entry *e = metric(host, id);

    if (e)
        e->value = value;
}

static void observe(hd_host *host, int64_t id, uint64_t value)
{
    struct mock_metric_entry *e = metric(host, id);

    if (!e)
        return;
    e->value++;
    e->largest = value > e->largest ? value : e->largest;
}

static int64_t value(hd_host *host, int64_t id)
{
    struct mock_metric_entry *e = metric(host, id);

    return e ? e->value : 0;
}

/* The largest value; nobody here needs the others. */
static double quantile(hd_host *host, int64_t id, double q)
{
    struct mock_metric_entry *e = metric(host, id);

    (void)q;
    return e ? (double)e->largest : 0;
}

static void drop(hd_host *host, int64_t id)
{
    struct mock_metric_entry *e = metric(host, id);

    if (e)
        e->name[0] = 0;
}

/* Labels are not taken apart again here. */
static int32_t each(hd_host *host, const char *prefix, int32_t (*fn)(void *, const struct hd_metric_seen *),
                    void *arg)
{
    struct mock *m = mock_of(host);
    size_t len = prefix ? strlen(prefix) : 0;
    int32_t code = HD_OK;

    for (unsigned i = 0; !code && i < m->metric_count; i++) {
        const struct mock_metric_entry *e = &m->metrics[i];
        struct hd_metric_seen seen = {.size = sizeof(seen), .type = e->type, .id = i + 1, .help = ""};

        if (!e->name[0] || (len && strncmp(e->name, prefix, len) != 0))
            continue;
        seen.name = e->name;
        seen.value = e->type == HD_METRIC_SKETCH ? 0 : e->value;
        code = fn(arg, &seen);
    }
    return code;
}

/* All values stand in the bins as 0: nobody here asks for more than how many there are. */
static int32_t bins(hd_host *host, int64_t id, struct hd_metric_bins *out)
{
    struct mock_metric_entry *e = metric(host, id);

    if (!e || e->type != HD_METRIC_SKETCH)
        return HD_ENOENT;
    out->count = out->zeros = (uint64_t)e->value;
    out->sum = 0;
    memset(out->bin, 0, sizeof(out->bin));
    return HD_OK;
}

static double bins_quantile(hd_host *host, const struct hd_metric_bins *b, double q)
{
    (void)host;
    (void)b;
    (void)q;
    return 0;
}

int64_t mock_metric(const struct mock *m, const char *name, const char *labels)
{
    int i = find_metric(m, name, labels);

    return i < 0 ? -1 : m->metrics[i].value;
}

void mock_metrics_free(struct mock *m)
{
    for (unsigned i = 0; i < m->metric_count; i++) {
        free(m->metrics[i].name);
        free(m->metrics[i].labels);
    }
    free(m->metrics);
}

const struct hd_metrics_v1 mock_metrics = {
    .size = sizeof(struct hd_metrics_v1),
    .get = get,
    .add = add,
    .set = set,
    .observe = observe,
    .value = value,
    .quantile = quantile,
    .drop = drop,
    .each = each,
    .bins = bins,
    .bins_quantile = bins_quantile,
};

/* --- templates ----------------------------------------------------------------------------------------- */

struct hd_template {
    struct hd_template *next;
    struct hd_template_info info;
    char *text;
    char **names; /* of tables and functions */
    unsigned name_count;
    struct hd_template_table *tables;
    struct hd_template_function *functions;
    struct hd_template_comparison *comparisons;
    struct hd_template_assignment *assignments;
};

hd_template *mock_template(struct mock *m, const struct hd_template_info *info)
{
    struct hd_template *t = mock_zalloc(sizeof(*t));

    t->info = *info;
    t->info.size = (uint32_t)sizeof(t->info);
    t->text = mock_copy(info->text.ptr, info->text.len);
    t->info.text.ptr = t->text;
    t->info.tables = t->info.functions = t->info.comparisons = t->info.assignments = 0;
    t->next = m->templates;
    m->templates = t;
    return t;
}

static char *keep_text(hd_template *t, const char *text, size_t len)
{
    t->names = mock_grow(t->names, t->name_count, sizeof(*t->names));
    return t->names[t->name_count++] = mock_copy(text, len);
}

/* Splits a name that the template keeps. */
static void keep_name(hd_template *t, const char *name, struct hd_str *schema, struct hd_str *rest)
{
    char *copy = keep_text(t, name, strlen(name));
    char *dot = strchr(copy, '.');

    schema->ptr = copy;
    schema->len = dot ? (uint64_t)(dot - copy) : 0;
    rest->ptr = dot ? dot + 1 : copy;
    rest->len = strlen(rest->ptr);
}

void mock_template_table(hd_template *t, const char *name, uint32_t access)
{
    struct hd_template_table *table;

    t->tables = mock_grow(t->tables, t->info.tables, sizeof(*t->tables));
    table = &t->tables[t->info.tables++];
    table->size = (uint32_t)sizeof(*table);
    table->access = access;
    keep_name(t, name, &table->schema, &table->name);
}

void mock_template_function(hd_template *t, const char *name, uint32_t args)
{
    struct hd_template_function *f;

    t->functions = mock_grow(t->functions, t->info.functions, sizeof(*t->functions));
    f = &t->functions[t->info.functions++];
    f->size = (uint32_t)sizeof(*f);
    f->args = args;
    keep_name(t, name, &f->schema, &f->name);
}

void mock_template_comparison(hd_template *t, const struct hd_template_comparison *c)
{
    struct hd_template_comparison *mine;

    t->comparisons = mock_grow(t->comparisons, t->info.comparisons, sizeof(*t->comparisons));
    mine = &t->comparisons[t->info.comparisons++];
    *mine = *c;
    mine->column.ptr = keep_text(t, c->column.ptr, c->column.len);
}

void mock_template_assignment(hd_template *t, const struct hd_template_assignment *a)
{
    struct hd_template_assignment *mine;

    t->assignments = mock_grow(t->assignments, t->info.assignments, sizeof(*t->assignments));
    mine = &t->assignments[t->info.assignments++];
    *mine = *a;
    if (a->column.len)
        mine->column.ptr = keep_text(t, a->column.ptr, a->column.len);
}

/* Copies as much as the caller's struct has, but not its size. */
static int32_t give(void *to, const void *from, uint32_t size)
{
    uint32_t theirs;

    memcpy(&theirs, to, sizeof(theirs));
    memcpy(to, from, theirs < size ? theirs : size);
    memcpy(to, &theirs, sizeof(theirs));
    return HD_OK;
}

static int32_t info_of(const hd_template *t, struct hd_template_info *out)
{
    return give(out, &t->info, sizeof(t->info));
}

static int32_t table_of(const hd_template *t, uint32_t i, struct hd_template_table *out)
{
    return i < t->info.tables ? give(out, &t->tables[i], sizeof(*out)) : HD_ENOENT;
}

static int32_t comparison_of(const hd_template *t, uint32_t i, struct hd_template_comparison *out)
{
    return i < t->info.comparisons ? give(out, &t->comparisons[i], sizeof(*out)) : HD_ENOENT;
}

static int32_t assignment_of(const hd_template *t, uint32_t i, struct hd_template_assignment *out)
{
    return i < t->info.assignments ? give(out, &t->assignments[i], sizeof(*out)) : HD_ENOENT;
}

/* One of those that the test has made. */
static int32_t find(hd_host *host, struct hd_str sql, const hd_template **out)
{
    const struct hd_template *t = mock_of(host)->templates;

    while (t && (t->info.text.len != sql.len || memcmp(t->text, sql.ptr, sql.len) != 0))
        t = t->next;
    *out = t;
    return t ? HD_OK : HD_ENOMEM;
}

static int32_t function_of(const hd_template *t, uint32_t i, struct hd_template_function *out)
{
    return i < t->info.functions ? give(out, &t->functions[i], sizeof(*out)) : HD_ENOENT;
}

static void keep(const hd_template *t)
{
    (void)t;
}

void mock_templates_free(struct mock *m)
{
    while (m->templates) {
        struct hd_template *t = m->templates;

        m->templates = t->next;
        for (unsigned i = 0; i < t->name_count; i++)
            free(t->names[i]);
        free(t->names);
        free(t->tables);
        free(t->functions);
        free(t->comparisons);
        free(t->assignments);
        free(t->text);
        free(t);
    }
    mock_no_literals(m);
    free(m->resumed);
    free(m->resumed_verdicts);
}

/* Texts are what tests say of them. */
static int32_t no_value(hd_host *host, const hd_template *t, struct hd_str sql, uint32_t n,
                        struct hd_value *out)
{
    (void)host;
    (void)t;
    (void)sql;
    (void)n;
    (void)out;
    return HD_ENOENT;
}

const struct hd_template_v1 mock_templates = {
    .size = sizeof(struct hd_template_v1),
    .info = info_of,
    .table = table_of,
    .comparison = comparison_of,
    .function = function_of,
    .hold = keep,
    .release = keep,
    .assignment = assignment_of,
    .find = find,
    .value = no_value,
};

/* --- statements ---------------------------------------------------------------------------------------- */

static int32_t resume(hd_host *host, uint64_t handle, const struct hd_verdict *v)
{
    struct mock *m = mock_of(host);

    m->resumed = mock_grow(m->resumed, m->resume_count, sizeof(*m->resumed));
    m->resumed_verdicts = mock_grow(m->resumed_verdicts, m->resume_count, sizeof(*m->resumed_verdicts));
    m->resumed[m->resume_count] = handle;
    m->resumed_verdicts[m->resume_count++] = v->kind;
    return HD_OK;
}

unsigned mock_resumes(const struct mock *m)
{
    return m->resume_count;
}

uint64_t mock_resumed(const struct mock *m, unsigned i, uint32_t *verdict)
{
    if (i >= m->resume_count)
        return 0;
    if (verdict)
        *verdict = m->resumed_verdicts[i];
    return m->resumed[i];
}

void mock_literal(struct mock *m, uint32_t kind, const char *text)
{
    struct hd_value *v;

    m->literals = mock_grow(m->literals, m->literal_count, sizeof(*m->literals));
    v = &m->literals[m->literal_count++];
    memset(v, 0, sizeof(*v));
    v->kind = kind;
    v->data = (struct hd_str){mock_copy(text, strlen(text)), strlen(text)};
}

void mock_no_literals(struct mock *m)
{
    while (m->literal_count)
        free((char *)(uintptr_t)m->literals[--m->literal_count].data.ptr);
    free(m->literals);
    m->literals = NULL;
}

static int32_t value_of(hd_host *host, const struct hd_statement *st, uint32_t n, struct hd_value *out)
{
    struct mock *m = mock_of(host);
    uint32_t params = st->tmpl->info.params;
    struct hd_value v = {.size = 0};

    if (n && n <= params && n <= st->param_count) {
        const struct hd_param *p = &st->params[n - 1];

        v.kind = p->data ? HD_VAL_PARAM : HD_VAL_NULL;
        v.type = p->type;
        v.format = p->format;
        v.data = (struct hd_str){(const char *)p->data, p->len};
    } else if (n > params && n - params <= m->literal_count)
        v = m->literals[n - params - 1];
    else
        return HD_ENOENT;
    return give(out, &v, sizeof(v));
}

const struct hd_statement_v1 mock_statements = {
    .size = sizeof(struct hd_statement_v1),
    .resume = resume,
    .value = value_of,
};
