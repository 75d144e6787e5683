/*
 * The small host's commands: a list, the one call that is under way, and its answer as texts.
 */
#include "mock_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS_MAX 32

struct mock_command_entry {
    char *name;
    uint32_t flags;
    int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err);
    void *arg;
};

struct hd_result {
    int32_t code; /* HD_PENDING until it is finished */
    unsigned column_count, cell_count;
    char **columns, **cells;
    char message[HD_ERROR_TEXT];
};

/* Are the first words of `line` this name? */
static int begins(const char *line, const char *name)
{
    size_t n = strlen(name);

    return strncasecmp(line, name, n) == 0 && (line[n] == 0 || line[n] == ' ');
}

static int32_t add(hd_host *host, const char *name, const char *usage, const char *doc, uint32_t flags,
                   int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err), void *arg,
                   struct hd_error *err)
{
    struct mock *m = mock_of(host);
    struct mock_command_entry *e;

    (void)usage, (void)doc;
    for (unsigned i = 0; i < m->command_count; i++)
        if (strcasecmp(m->commands[i].name, name) == 0) {
            snprintf(err->text, sizeof(err->text), "command %s is taken", name);
            return err->code = HD_EEXIST;
        }
    m->commands = mock_grow(m->commands, m->command_count, sizeof(*m->commands));
    e = &m->commands[m->command_count++];
    e->name = mock_copy(name, strlen(name));
    e->flags = flags;
    e->fn = fn;
    e->arg = arg;
    return HD_OK;
}

static void column(hd_result *r, const char *name, uint32_t type)
{
    (void)type;
    r->columns = mock_grow(r->columns, r->column_count, sizeof(*r->columns));
    r->columns[r->column_count++] = mock_copy(name, strlen(name));
}

static void text(hd_result *r, struct hd_str s)
{
    r->cells = mock_grow(r->cells, r->cell_count, sizeof(*r->cells));
    r->cells[r->cell_count++] = mock_copy(s.ptr, s.len);
}

static void show(hd_result *r, const char *s)
{
    struct hd_str str = {s, strlen(s)};

    text(r, str);
}

static void integer(hd_result *r, int64_t value)
{
    char s[32];

    snprintf(s, sizeof(s), "%lld", (long long)value);
    show(r, s);
}

static void real(hd_result *r, double value)
{
    char s[64];

    snprintf(s, sizeof(s), "%.10g", value);
    show(r, s);
}

static void null(hd_result *r)
{
    show(r, "(null)");
}

static void message(hd_result *r, const char *s)
{
    snprintf(r->message, sizeof(r->message), "%s", s);
}

static void finish(hd_result *r, int32_t code, const struct hd_error *err)
{
    r->code = code;
    if (code != HD_OK && err)
        message(r, err->text);
}

static void result_free(struct hd_result *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < r->column_count; i++)
        free(r->columns[i]);
    for (unsigned i = 0; i < r->cell_count; i++)
        free(r->cells[i]);
    free(r->columns);
    free(r->cells);
    free(r);
}

static const struct mock_command_entry *find(const struct mock *m, const char *line)
{
    for (unsigned i = 0; i < m->command_count; i++)
        if (begins(line, m->commands[i].name))
            return &m->commands[i];
    return NULL;
}

/* What stands behind the name: words, or all of it as one. */
static void take_words(struct hd_call *call, struct hd_str *words, const char *line, uint32_t flags)
{
    line += strspn(line, " ");
    while (*line && call->arg_count < WORDS_MAX) {
        size_t len = flags & HD_CMDF_RAW ? strlen(line) : strcspn(line, " ");

        words[call->arg_count++] = (struct hd_str){line, len};
        line += len;
        line += strspn(line, " ");
    }
}

int32_t mock_command(struct mock *m, const char *line)
{
    const struct mock_command_entry *c = find(m, line);
    struct hd_error err = HD_ERROR_INIT;
    struct hd_str words[WORDS_MAX];
    struct hd_call call = {.size = sizeof(call), .args = words};
    int32_t code;

    if (!c)
        return HD_ENOENT;
    result_free(m->result);
    m->result = mock_zalloc(sizeof(*m->result));
    m->result->code = HD_PENDING;
    call.result = m->result;
    take_words(&call, words, line + strlen(c->name), c->flags);
    code = c->fn(c->arg, &call, &err);
    if (code != HD_PENDING)
        finish(m->result, code, &err);
    mock_run(m);
    return m->result->code;
}

unsigned mock_commands(const struct mock *m)
{
    return m->command_count;
}

unsigned mock_rows(const struct mock *m)
{
    return m->result && m->result->column_count ? m->result->cell_count / m->result->column_count : 0;
}

const char *mock_cell(const struct mock *m, unsigned row, const char *name)
{
    for (unsigned i = 0; row < mock_rows(m) && i < m->result->column_count; i++)
        if (strcmp(m->result->columns[i], name) == 0)
            return m->result->cells[row * m->result->column_count + i];
    return "";
}

const char *mock_message(const struct mock *m)
{
    return m->result ? m->result->message : "";
}

void mock_commands_free(struct mock *m)
{
    for (unsigned i = 0; i < m->command_count; i++)
        free(m->commands[i].name);
    free(m->commands);
    result_free(m->result);
}

const struct hd_commands_v1 mock_command_table = {
    .size = sizeof(struct hd_commands_v1),
    .add = add,
    .column = column,
    .text = text,
    .integer = integer,
    .real = real,
    .null = null,
    .message = message,
    .finish = finish,
};
