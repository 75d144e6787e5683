/*
 * What collectors have found becomes metrics: answers of servers, and what plugins say.
 */
#include "collect_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 6
#define KEPT_MAX   1000 /* findings of one run of a plugin's collector */

static const char *text_of(struct hd_str s)
{
    return s.ptr ? s.ptr : "";
}

static int ends(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* --- answers of servers
 * --------------------------------------------------------------------------------------- */

/* Seconds are kept as nanoseconds. 0: it is no number. */
static int number_of(struct hd_str cell, const char *name, int64_t *out)
{
    char *end;
    double v;

    if (!cell.ptr || !cell.len)
        return 0;
    v = strtod(cell.ptr, &end);
    if (end == cell.ptr || !isfinite(v))
        return 0;
    if (ends(name, "_seconds") || ends(name, "_seconds_total"))
        v *= 1e9;
    if (fabs(v) > 9.2e18)
        return 0;
    *out = (int64_t)v;
    return 1;
}

/* The version, and which databases there are, the busiest first. */
static void learn(struct mon_node *n, const char *column, struct hd_str cell, uint32_t row)
{
    if (!strcmp(column, "version"))
        n->version = atoi(text_of(cell)); /* another one: it was upgraded */
    else if (!strcmp(column, "database") && cell.len < MON_NAME) {
        if (row == 0)
            n->database_count = 0;
        if (n->database_count < sizeof(n->databases) / sizeof(n->databases[0]))
            snprintf(n->databases[n->database_count++], MON_NAME, "%s", text_of(cell));
    }
}

static uint32_t labels_of(const struct mon_task *t, const struct hd_sql_result *r, const struct hd_str *row,
                          struct hd_label *labels)
{
    uint32_t n = 0;

    labels[n++] = (struct hd_label){"node", t->node};
    if (t->query->each_database)
        labels[n++] = (struct hd_label){"database", t->database};
    for (uint32_t c = 0; c < r->columns && n < LABELS_MAX; c++)
        if (!strncmp(text_of(r->names[c]), "l:", 2))
            labels[n++] = (struct hd_label){text_of(r->names[c]) + 2, text_of(row[c])};
    return n;
}

static void digest_row(struct mon_task *t, const struct hd_sql_result *r, uint32_t i)
{
    const struct hd_str *row = r->cells + (size_t)i * r->columns;
    struct mon_node *n = mon_node_of(t->collect, t->node);
    struct hd_label labels[LABELS_MAX];
    uint32_t label_count = labels_of(t, r, row, labels);

    for (uint32_t c = 0; c < r->columns; c++) {
        const char *column = text_of(r->names[c]);
        char name[96];
        int64_t value;

        if (n && !strchr(column, ':'))
            learn(n, column, row[c], i);
        if ((strncmp(column, "g:", 2) != 0 && strncmp(column, "c:", 2) != 0) ||
            !number_of(row[c], column, &value))
            continue;
        snprintf(name, sizeof(name), "howdah_pg_%s", column + 2);
        mon_found(t->findings, column[0] == 'g' ? HD_METRIC_GAUGE : HD_METRIC_COUNTER, name, t->query->doc,
                  labels, label_count, value);
    }
}

void mon_digest(struct mon_task *t, const struct hd_sql_result *r)
{
    struct mon_node *n = mon_node_of(t->collect, t->node);
    int32_t version = n ? n->version : 0;

    mon_findings_begin(t->findings);
    for (uint32_t i = 0; i < r->rows; i++)
        digest_row(t, r, i);
    mon_findings_end(t->findings);
    t->rows = r->rows;
    if (n && n->version != version)
        t->collect->synced_ns = 0; /* now it is known what else can be asked */
}

/* --- what plugins say
 * ------------------------------------------------------------------------------------------ */

struct kept {
    uint32_t type, label_count;
    int64_t value;
    char *name, *help;
    struct hd_label labels[LABELS_MAX];
};

/* What one run has found, and the hd_findings that is passed for it. */
struct mon_kept {
    struct hd_findings head;
    uint32_t count;
    struct kept all[KEPT_MAX];
    struct hd_error err;
};

static void clear(struct mon_kept *k)
{
    for (uint32_t i = 0; i < k->count; i++) {
        free(k->all[i].name);
        free(k->all[i].help);
        for (uint32_t l = 0; l < k->all[i].label_count; l++) {
            free((char *)k->all[i].labels[l].name);
            free((char *)k->all[i].labels[l].value);
        }
    }
    k->count = 0;
}

void mon_kept_free(struct mon_kept *k)
{
    if (k)
        clear(k);
    free(k);
}

/* [job] */
static int32_t keep(const struct hd_findings *f, uint32_t type, const char *name, const char *help,
                    const struct hd_label *labels, uint32_t label_count, int64_t value)
{
    struct mon_kept *k = (struct mon_kept *)(void *)f; /* the head is its first member */
    struct kept *x = &k->all[k->count];
    int failed;

    if (k->count == KEPT_MAX)
        return HD_EFULL;
    if (!name || label_count > LABELS_MAX || (label_count && !labels) ||
        (type != HD_METRIC_GAUGE && type != HD_METRIC_COUNTER))
        return HD_EINVAL;
    for (uint32_t l = 0; l < label_count; l++)
        if (!labels[l].name || !labels[l].value)
            return HD_EINVAL;
    *x = (struct kept){.type = type, .value = value, .name = strdup(name), .help = strdup(help ? help : "")};
    failed = !x->name || !x->help;
    for (uint32_t l = 0; l < label_count; l++) {
        x->labels[l] = (struct hd_label){strdup(labels[l].name), strdup(labels[l].value)};
        failed |= !x->labels[l].name || !x->labels[l].value;
    }
    x->label_count = label_count;
    k->count++;
    if (!failed)
        return HD_OK;
    x->type = 0; /* passed over later, and freed with the others */
    return HD_ENOMEM;
}

static int32_t collect_job(void *arg)
{
    struct mon_task *t = arg;

    return t->plugin->collect(t->plugin_self, &t->kept->head, &t->kept->err);
}

/* The first that can be no metric is told; the others are metrics nevertheless. */
static int32_t use(struct mon_task *t, struct mon_kept *k)
{
    int32_t refused = HD_OK;

    mon_findings_begin(t->findings);
    for (uint32_t i = 0; i < k->count; i++) {
        const struct kept *x = &k->all[i];
        int32_t code =
            x->type ? mon_found(t->findings, x->type, x->name, x->help, x->labels, x->label_count, x->value)
                    : HD_OK;

        if (refused || (code != HD_EINVAL && code != HD_EEXIST))
            continue;
        refused = hd_error_set(
            &k->err, code, "%s can be no metric: %s", x->name,
            code == HD_EEXIST ? "there is one of that name and of another type"
                              : "names, of labels too, have a-z, 0-9 and _, and each label is there once");
    }
    mon_findings_end(t->findings);
    t->rows = k->count;
    return refused;
}

static void collect_done(void *arg, int32_t code)
{
    struct mon_task *t = arg;
    struct mon_kept *k = t->kept;

    if (!code)
        code = use(t, k);
    clear(k);
    mon_task_over(t, code, code ? k->err.text : "");
}

int mon_ask_plugin(struct mon_task *t)
{
    struct mon *self = t->collect->self;

    if (!t->kept)
        t->kept = calloc(1, sizeof(*t->kept));
    if (!t->kept)
        return 0;
    t->kept->head = (struct hd_findings){.size = sizeof(struct hd_findings), .found = keep};
    t->kept->err = (struct hd_error)HD_ERROR_INIT;
    return self->jobs->run(self->host, "collector", collect_job, collect_done, t) > 0;
}
