/*
 * The commands over HTTP: /api/v1/pools is SHOW POOLS, /api/v1/cache/stats is CACHE STATS. What only reads is
 * asked with GET and `?arg=…&arg=…`, everything else with POST and {"args": […]}.
 */
#include "base/error.h"
#include "base/log.h"
#include "host/http_api.h"
#include "host/http_parts.h"
#include "host/render.h"
#include "host/runtime.h"
#include "plug/commands.h"
#include "plug/plugins.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define JSON_FORM (JSON_COMPACT | JSON_REAL_PRECISION(15))

/* --- which command --------------------------------------------------------------------------------------
 */

int hd_http_command_name(const char *path, char *out, size_t cap)
{
    size_t n = 0;

    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;

        if (c == '/' && (!n || out[n - 1] == ' ' || !path[1]))
            return 0;
        if (c != '/' && !islower(c) && !isdigit(c) && c != '_' && c != '-')
            return 0;
        if (n + 2 > cap)
            return 0;
        out[n++] = c == '/' ? ' ' : (char)toupper(c);
    }
    out[n] = 0;
    return n > 0;
}

/* "SHOW POOLS" of "POOLS", or the command of that very name; HD_ENOENT, or HD_PENDING where its plugin does
 * not run, which has been answered. */
static int find(struct http_request *rq, const char *path, struct hd_command_info *out)
{
    const struct hd_commands *all = rq->engine->http->rt->parts.commands;
    char name[HD_HTTP_COMMAND], show[HD_HTTP_COMMAND + 8];
    const char *gone;

    if (!hd_http_command_name(path, name, sizeof(name)))
        return HD_ENOENT;
    snprintf(show, sizeof(show), "SHOW %s", name);
    if (!hd_commands_get(all, show, out) || !hd_commands_get(all, name, out)) {
        const char *plugin = hd_plugins_owner(rq->engine->http->rt->parts.plugins, out->owner);

        return hd_http_is_down(rq, plugin, 1) ? HD_PENDING : HD_OK;
    }
    gone = hd_commands_gone(all, show);
    return hd_http_is_down(rq, gone ? gone : hd_commands_gone(all, name), 1) ? HD_PENDING : HD_ENOENT;
}

/* --- arguments ------------------------------------------------------------------------------------------
 */

/* As a quoted word, whatever is in it. */
static void put_argument(struct hd_strbuf *line, const char *text, size_t len)
{
    hd_strbuf_puts(line, " '");
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'')
            hd_strbuf_putc(line, '\'');
        hd_strbuf_putc(line, text[i]);
    }
    hd_strbuf_putc(line, '\'');
}

struct query {
    struct hd_strbuf *line;
    const char *unknown;
    int count;
};

static enum MHD_Result on_query(void *arg, enum MHD_ValueKind kind, const char *key, size_t key_len,
                                const char *value, size_t len)
{
    struct query *q = arg;

    (void)kind;
    (void)key_len;
    if (strcmp(key, "arg")) {
        q->unknown = key;
        return MHD_NO;
    }
    put_argument(q->line, value ? value : "", value ? len : 0);
    q->count++;
    return MHD_YES;
}

/* How many there are, or -1: it has been answered. */
static int query_arguments(struct http_request *rq, struct hd_strbuf *line)
{
    struct query q = {line, NULL, 0};

    MHD_get_connection_values_n(rq->connection, MHD_GET_ARGUMENT_KIND, on_query, &q);
    if (!q.unknown)
        return q.count;
    hd_http_problem(rq, MHD_HTTP_BAD_REQUEST,
                    "unknown parameter \"%.60s\": arguments are given as ?arg=…&arg=…", q.unknown);
    return -1;
}

int hd_http_body_arguments(const char *body, size_t len, struct hd_strbuf *line, struct hd_error *err)
{
    json_error_t why;
    json_t *j = len ? json_loadb(body, len, JSON_REJECT_DUPLICATES, &why) : json_object(), *args, *item;
    int count = -1;
    size_t i;

    args = json_object_get(j, "args");
    if (!json_is_object(j) || json_object_size(j) != (args ? 1u : 0u) || (args && !json_is_array(args))) {
        hd_fail(err, HD_EINVAL, "the body must be a JSON object such as {\"args\": [\"one\", 2]}");
        goto out;
    }
    json_array_foreach(args, i, item)
    {
        char number[40];

        if (json_is_string(item)) {
            put_argument(line, json_string_value(item), json_string_length(item));
            continue;
        }
        if (json_is_integer(item)) {
            snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(item));
        } else if (json_is_real(item)) {
            snprintf(number, sizeof(number), "%.15g", json_real_value(item));
        } else {
            hd_fail(err, HD_EINVAL, "args must be strings and numbers");
            goto out;
        }
        put_argument(line, number, strlen(number));
    }
    count = (int)json_array_size(args);
out:
    json_decref(j);
    return count;
}

/* Arguments in the address of what is posted would be overlooked, and the command do more than was meant. */
static int body_arguments(struct http_request *rq, struct hd_strbuf *line)
{
    struct hd_error err = HD_ERROR_INIT;
    int n;

    if (MHD_get_connection_values(rq->connection, MHD_GET_ARGUMENT_KIND, NULL, NULL)) {
        hd_http_problem(rq, MHD_HTTP_BAD_REQUEST,
                        "what is posted has its arguments in the body, as {\"args\": [...]}");
        return -1;
    }
    n = hd_http_body_arguments(hd_strbuf_str(&rq->body), rq->body.len, line, &err);
    if (n < 0)
        hd_http_problem(rq, MHD_HTTP_BAD_REQUEST, "%s", err.text);
    return n;
}

/* --- the answer -----------------------------------------------------------------------------------------
 */

static int add_bytes(const char *bytes, size_t len, void *out)
{
    hd_strbuf_add(out, bytes, len);
    return 0;
}

/* Puts a value and frees it. */
static void put_json(struct hd_strbuf *out, json_t *j)
{
    if (!j || json_dump_callback(j, add_bytes, out, JSON_FORM | JSON_ENCODE_ANY))
        out->failed = 1;
    json_decref(j);
}

/* A column's name as a JSON member: without blanks. */
static void member_name(const hd_result *r, uint32_t column, char *out, size_t cap)
{
    size_t n;

    snprintf(out, cap, "%s", hd_result_column_name(r, column));
    for (n = 0; out[n]; n++)
        if (out[n] == ' ')
            out[n] = '_';
}

/* Times as RFC 3339 writes them. */
static json_t *cell(const hd_result *r, size_t row, uint32_t column)
{
    struct hd_cell c = hd_result_cell(r, row, column);
    char buf[HD_CELL_TEXT], text[HD_CELL_TEXT], *t;
    size_t len;

    if (c.is_null || hd_result_column_type(r, column) != HD_COL_TIME)
        return hd_render_cell(r, row, column);
    snprintf(text, sizeof(text), "%s", hd_result_cell_text(r, row, column, buf, &len));
    t = strchr(text, ' ');
    if (t)
        *t = 'T';
    t = strrchr(text, '+');
    if (t)
        memcpy(t, "Z", 2);
    return json_string(text);
}

static void put_columns(struct hd_strbuf *out, const hd_result *r)
{
    static const char *const types[] = {"", "text", "int", "real", "bool", "time"};
    char name[80];

    hd_strbuf_puts(out, ",\"columns\":[");
    for (uint32_t i = 0; i < hd_result_column_count(r); i++) {
        member_name(r, i, name, sizeof(name));
        if (i)
            hd_strbuf_putc(out, ',');
        put_json(out, json_pack("{s:s, s:s}", "name", name, "type", types[hd_result_column_type(r, i)]));
    }
    hd_strbuf_puts(out, "]");
}

static void put_rows(struct hd_strbuf *out, const hd_result *r)
{
    char name[80];

    hd_strbuf_puts(out, ",\"rows\":[");
    for (size_t row = 0; row < hd_result_row_count(r) && !out->failed; row++) {
        json_t *j = json_object();

        for (uint32_t i = 0; i < hd_result_column_count(r); i++) {
            member_name(r, i, name, sizeof(name));
            json_object_set_new(j, name, cell(r, row, i));
        }
        hd_strbuf_puts(out, row ? ",\n" : "\n");
        put_json(out, j);
    }
    hd_strbuf_puts(out, "]");
}

static void answer(struct http_request *rq, const hd_result *r, const char *name)
{
    struct hd_strbuf body = HD_STRBUF_INIT;

    hd_strbuf_puts(&body, "{\"command\":");
    put_json(&body, json_string(name));
    if (hd_result_column_count(r)) {
        put_columns(&body, r);
        put_rows(&body, r);
    } else {
        hd_strbuf_puts(&body, ",\"message\":");
        put_json(&body, json_string(hd_result_message_text(r)));
    }
    hd_strbuf_puts(&body, "}\n");
    if (body.failed) {
        hd_strbuf_free(&body);
        hd_http_problem(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory for the answer");
        return;
    }
    hd_http_answer(rq, MHD_HTTP_OK, "application/json", &body);
}

unsigned hd_http_status_of(int code)
{
    static const struct {
        int code;
        unsigned status;
    } known[] = {{HD_EINVAL, MHD_HTTP_BAD_REQUEST},        {HD_ENOENT, MHD_HTTP_NOT_FOUND},
                 {HD_EEXIST, MHD_HTTP_CONFLICT},           {HD_EBUSY, MHD_HTTP_CONFLICT},
                 {HD_EPERM, MHD_HTTP_FORBIDDEN},           {HD_EUNSUPP, MHD_HTTP_NOT_IMPLEMENTED},
                 {HD_EFULL, MHD_HTTP_SERVICE_UNAVAILABLE}, {HD_ECANCELLED, MHD_HTTP_SERVICE_UNAVAILABLE},
                 {HD_ETIMEOUT, MHD_HTTP_GATEWAY_TIMEOUT},  {HD_ESQL, MHD_HTTP_BAD_GATEWAY}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].code == code)
            return known[i].status;
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static void on_done(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct http_request *rq = arg;

    rq->call = NULL;
    if (code)
        hd_http_problem(rq, hd_http_status_of(code), "%s", err->text);
    else
        answer(rq, r, name);
}

/* --- a request ------------------------------------------------------------------------------------------
 */

static void run(struct http_request *rq, const struct hd_command_info *cmd, const struct hd_strbuf *line)
{
    struct hd_command_call *call;

    if (!(cmd->flags & HD_CMDF_READ_ONLY))
        hd_log(HD_LOG_INFO, "command over HTTP", HD_KV("command", cmd->name));
    call = hd_commands_call(rq->engine->http->rt->parts.commands, line->data, line->len, NULL, on_done, rq);
    if (call)
        rq->call = call;
}

void hd_http_api(struct http_request *rq)
{
    struct hd_command_info cmd;
    struct hd_strbuf line = HD_STRBUF_INIT;
    int n;

    n = find(rq, rq->path + strlen(HD_HTTP_API), &cmd);
    if (n == HD_PENDING)
        return;
    if (n) {
        hd_http_problem(rq, MHD_HTTP_NOT_FOUND,
                        "there is no command at %.200s; " HD_HTTP_API "openapi.json lists them", rq->path);
        return;
    }
    if (!rq->is_post && !(cmd.flags & HD_CMDF_READ_ONLY)) {
        hd_http_problem(rq, MHD_HTTP_METHOD_NOT_ALLOWED, "%s changes something: it must be posted", cmd.name);
        hd_http_set_header(rq, MHD_HTTP_HEADER_ALLOW, "POST");
        return;
    }
    hd_strbuf_puts(&line, cmd.name);
    n = rq->is_post ? body_arguments(rq, &line) : query_arguments(rq, &line);
    if (n > 1 && cmd.flags & HD_CMDF_RAW)
        hd_http_problem(rq, MHD_HTTP_BAD_REQUEST, "%s takes one argument", cmd.name);
    else if (n >= 0 && line.failed)
        hd_http_problem(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory for the command");
    else if (n >= 0)
        run(rq, &cmd, &line);
    hd_strbuf_free(&line);
}
