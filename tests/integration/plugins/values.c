/*
 * A filter that tells the values of an execution: for tests of what literals and parameters are, with a real
 * PostgreSQL beside it. A text with
 *
 *     / * values * /        (without the blanks)
 *
 * is not run: it is refused, and the message has of each $n a line "KIND TYPE FORMAT " and its bytes in
 * hexadecimal, or the code of why not.
 */
#include "skeleton.h"

#include <stdio.h>

#define VALUES "/* values */"

/* A worker's. */
struct worker {
    char text[65536];
};

static size_t put_value(char *o, size_t cap, int32_t code, const struct hd_value *v)
{
    size_t n;

    if (code)
        return (size_t)snprintf(o, cap, "%d\n", code);
    n = (size_t)snprintf(o, cap, "%u %u %u ", v->kind, v->type, v->format);
    for (uint64_t i = 0; i < v->data.len && n + 4 < cap; i++)
        n += (size_t)snprintf(o + n, cap - n, "%02x", (uint8_t)v->data.ptr[i]);
    o[n++] = '\n';
    o[n] = 0;
    return n;
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    struct base *b = self;
    struct worker *w = ws;
    struct hd_template_info info = {.size = sizeof(info)};
    size_t n = 0;

    (void)plan;
    if (!after_mark(st, VALUES))
        return HD_OK;
    b->template->info(st->tmpl, &info);
    for (uint32_t i = 1; i <= info.params + info.constants + 1; i++) {
        struct hd_value value = {.size = sizeof(value)};
        int32_t code = b->statement->value(b->host, st, i, &value);

        n += put_value(w->text + n, sizeof(w->text) - n, code, &value);
    }
    v->kind = HD_VERDICT_REFUSE;
    memcpy(v->sqlstate, "HD001", 6);
    v->message = (struct hd_str){w->text, n};
    return HD_OK;
}

static void *worker_start(void *self, uint32_t worker)
{
    (void)self;
    (void)worker;
    return calloc(1, sizeof(struct worker));
}

static void worker_stop(void *self, void *ws)
{
    (void)self;
    free(ws);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .plan = plan_to_decide,
    .statement = statement,
};

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,      TEST_PLUGIN_QUIET,
    .id = "values",        .summary = "tells the values of executions",
    .options = NO_OPTIONS, .create = create_base,
    .start = start_base,   .capability = filter_alone,
};
