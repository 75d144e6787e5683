/*
 * The SQL console; see console.h. A command runs on the control thread; meanwhile the session is parked. In
 * the extended protocol a command runs when it is first described or executed, and its answer is kept until
 * then.
 */
#include "session/console.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "plug/commands.h"
#include "plug/pgresult.h"
#include "session/client.h"
#include "session/reply.h"
#include "wire/build.h"
#include "wire/read.h"

struct hd_console {
    char *user;
    struct hd_command_call *call; /* under way */
    int simple;                   /* it came as a Query */
    /* extended protocol */
    char *text;
    struct hd_strbuf describe, rows;
    int have, failed;
};

int hd_console_open(struct hd_session *s, const char *user)
{
    struct hd_console *c = hd_calloc(1, sizeof(*c));

    if (!c || !(c->user = hd_strdup(user))) {
        hd_free(c);
        return HD_ENOMEM;
    }
    s->console = c;
    return HD_OK;
}

void hd_console_free(struct hd_session *s)
{
    struct hd_console *c = s->console;

    if (!c)
        return;
    s->console = NULL;
    if (c->call)
        hd_command_forget(c->call);
    hd_strbuf_free(&c->describe);
    hd_strbuf_free(&c->rows);
    hd_free(c->text);
    hd_free(c->user);
    hd_free(c);
}

const char *hd_console_user(const struct hd_session *s)
{
    return s->console->user;
}

struct hd_params *hd_console_params(struct hd_worker *w, const char *user)
{
    const struct hd_param_entry e[] = {{"server_version", "15.0 (howdah)"},
                                       {"server_encoding", "UTF8"},
                                       {"client_encoding", "UTF8"},
                                       {"DateStyle", "ISO, MDY"},
                                       {"TimeZone", "UTC"},
                                       {"integer_datetimes", "on"},
                                       {"IntervalStyle", "postgres"},
                                       {"is_superuser", "off"},
                                       {"session_authorization", user},
                                       {"standard_conforming_strings", "on"}};

    return hd_params_make(w->params, e, HD_ARRAY_LEN(e));
}

/* --- commands
 * ------------------------------------------------------------------------------------------------ */

/* What drivers say around statements: agreed to and ignored. Returns the tag, or NULL. */
static const char *ignored(const char *sql, size_t len)
{
    static const struct {
        const char *word, *tag;
    } words[] = {{"begin", "BEGIN"},
                 {"start transaction", "START TRANSACTION"},
                 {"commit", "COMMIT"},
                 {"rollback", "ROLLBACK"},
                 {"set ", "SET"},
                 {"discard all", "DISCARD ALL"},
                 {"deallocate ", "DEALLOCATE"}};

    while (len && strchr(" \t\r\n", *sql)) {
        sql++;
        len--;
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(words); i++)
        if (len >= strlen(words[i].word) && !strncasecmp(sql, words[i].word, strlen(words[i].word)))
            return words[i].tag;
    return NULL;
}

static void answer_simple(struct hd_session *s, const hd_result *r, const char *name, int code,
                          const struct hd_error *err)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);

    if (hd_pgresult_write(&b, r, name, code, err) || hd_build_ready_for_query(&b, HD_TXN_IDLE))
        hd_session_fatal(s, "53200", "out of memory", NULL);
    else
        hd_session_send(s, sb.data, sb.len);
    hd_strbuf_free(&sb);
}

static void keep_answer(struct hd_console *c, const hd_result *r, const char *name, int code,
                        const struct hd_error *err)
{
    struct hd_build d = hd_build_onto(&c->describe), rows = hd_build_onto(&c->rows);

    c->have = 1;
    c->failed = code != HD_OK;
    if (code)
        hd_pgresult_error(&rows, name, code, err);
    else if (hd_pgresult_describe(&d, r) || hd_pgresult_rows(&rows, r, 0, hd_result_row_count(r)))
        c->failed = 1;
    else
        hd_pgresult_end(&rows, r, name);
}

static void on_done(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct hd_session *s = arg;
    struct hd_console *c = s->console;

    c->call = NULL;
    if (c->simple)
        answer_simple(s, r, name, code, err);
    else
        keep_answer(c, r, name, code, err);
    if (s->state == HD_SESSION_PARKED)
        hd_session_wake(s);
}

void hd_console_cancel(struct hd_session *s)
{
    struct hd_console *c = s->console;
    struct hd_error err = HD_ERROR_INIT;

    if (!c->call)
        return;
    hd_command_forget(c->call);
    hd_fail(&err, HD_ECANCELLED, "canceling statement due to user request");
    on_done(s, NULL, "cancelled", HD_ECANCELLED, &err);
}

/* Starts a command and parks the session. HD_OK or HD_ENOMEM. */
static int run(struct hd_session *s, const char *text, size_t len, int simple)
{
    struct hd_console *c = s->console;

    c->simple = simple;
    c->call = hd_commands_call_from(s->w->all->env.commands, &s->w->loop, text, len, c->user, on_done, s);
    if (!c->call)
        return HD_ENOMEM;
    hd_session_set_state(s, HD_SESSION_PARKED);
    return HD_OK;
}

static enum hd_taken end(struct hd_session *s)
{
    hd_session_fatal(s, "53200", "out of memory", NULL);
    return HD_TAKE_END;
}

enum hd_taken hd_console_query(struct hd_session *s, const char *sql, size_t len)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    const char *tag = sql ? ignored(sql, len) : NULL;

    s->statements++;
    if (!sql) {
        hd_session_fatal(s, "54000", "the command is too long", NULL);
        return HD_TAKE_END;
    }
    if (!tag)
        return run(s, sql, len, 1) ? end(s) : HD_TAKEN;
    if (!hd_build_command_complete(&b, tag) && !hd_build_ready_for_query(&b, HD_TXN_IDLE))
        hd_session_send(s, sb.data, sb.len);
    hd_strbuf_free(&sb);
    return HD_TAKEN;
}

/* --- extended protocol
 * --------------------------------------------------------------------------------------- */

static void forget_answer(struct hd_console *c)
{
    hd_strbuf_reset(&c->describe);
    hd_strbuf_reset(&c->rows);
    c->have = c->failed = 0;
}

static void keep_ignored(struct hd_console *c, const char *tag)
{
    struct hd_build d = hd_build_onto(&c->describe), rows = hd_build_onto(&c->rows);

    hd_build_no_data(&d);
    hd_build_command_complete(&rows, tag);
    c->have = 1;
}

static enum hd_taken on_parse(struct hd_session *s, const struct hd_frame *f)
{
    struct hd_console *c = s->console;
    struct hd_reader r = hd_reader_on(hd_frame_body(f), hd_frame_body_len(f));
    const char *sql;
    size_t len = 0;

    hd_read_cstr(&r, NULL);
    sql = hd_read_cstr(&r, &len);
    hd_free(c->text);
    forget_answer(c);
    c->text = r.failed ? NULL : hd_strndup(sql, len);
    return c->text && !hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, 0) ? HD_TAKEN : end(s);
}

/* The answer, run now if it is not there. HD_TAKEN: it is. */
static enum hd_taken need_answer(struct hd_session *s)
{
    struct hd_console *c = s->console;
    const char *tag = c->text ? ignored(c->text, strlen(c->text)) : NULL;

    if (c->have)
        return HD_TAKEN;
    if (tag) {
        keep_ignored(c, tag);
        return HD_TAKEN;
    }
    return run(s, c->text ? c->text : "", c->text ? strlen(c->text) : 0, 0) ? end(s) : HD_TAKE_LATER;
}

static enum hd_taken send_error(struct hd_session *s)
{
    s->skip_sync = 1;
    hd_session_send(s, s->console->rows.data, s->console->rows.len);
    if (s->state != HD_SESSION_READY)
        return HD_TAKE_END;
    forget_answer(s->console);
    return HD_TAKEN;
}

static enum hd_taken on_describe(struct hd_session *s, const struct hd_frame *f)
{
    static const uint8_t no_params[7] = {HD_MSG_PARAMETER_DESCRIPTION, 0, 0, 0, 6, 0, 0};
    enum hd_taken t = need_answer(s);

    if (t != HD_TAKEN)
        return t;
    if (s->console->failed)
        return send_error(s);
    if (hd_frame_body_len(f) && hd_frame_body(f)[0] == HD_TARGET_STATEMENT)
        hd_session_send(s, no_params, sizeof(no_params));
    if (s->state == HD_SESSION_READY)
        hd_session_send(s, s->console->describe.data, s->console->describe.len);
    return s->state == HD_SESSION_READY ? HD_TAKEN : HD_TAKE_END;
}

static enum hd_taken on_execute(struct hd_session *s)
{
    enum hd_taken t = need_answer(s);

    if (t != HD_TAKEN)
        return t;
    if (s->console->failed)
        return send_error(s);
    s->statements++;
    hd_session_send(s, s->console->rows.data, s->console->rows.len);
    if (s->state != HD_SESSION_READY)
        return HD_TAKE_END;
    forget_answer(s->console);
    return HD_TAKEN;
}

enum hd_taken hd_console_extended(struct hd_session *s, const struct hd_frame *f)
{
    if (!hd_frame_whole(f)) {
        if (f->total > 65536) {
            hd_session_fatal(s, "54000", "the command is too long", NULL);
            return HD_TAKE_END;
        }
        s->link.want = f->total;
        return HD_TAKE_MORE;
    }
    switch (f->type) {
    case HD_MSG_PARSE:
        return on_parse(s, f);
    case HD_MSG_DESCRIBE:
        return on_describe(s, f);
    case HD_MSG_EXECUTE:
        return on_execute(s);
    case HD_MSG_BIND:
        return hd_reply_bare(s, HD_MSG_BIND_COMPLETE, 0) ? end(s) : HD_TAKEN;
    default:
        return hd_reply_bare(s, HD_MSG_CLOSE_COMPLETE, 0) ? end(s) : HD_TAKEN;
    }
}
