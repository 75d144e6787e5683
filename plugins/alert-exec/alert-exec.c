/*
 * The plugin "alert-exec": a sink that runs a program for each message, which reads it as JSON.
 */
#include <howdah/howdah.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert-exec/child.h"
#include "sinks/base.h"
#include "sinks/json.h"

#define ARGS_MAX 32
#define DATA_ERR 65 /* EX_DATAERR: "do not try again" */

/* [exec NAME] */
struct ex_conf {
    struct hd_str command;
    struct hd_str_list args;
    int64_t timeout;
};

#define KEY(key, fallback, doc, max, type, flags, member)                                                    \
    {                                                                                                        \
        key, fallback, NULL, doc, 0, max, type, HD_OPTF_RELOADABLE | (flags),                                \
            offsetof(struct ex_conf, member), 0                                                              \
    }

static const struct hd_option options[] = {
    KEY("command", NULL,
        "Whole path of the program; it reads the message as JSON, and exits with 0 when it is delivered, "
        "with 65 "
        "when it never will be",
        0, HD_OPT_STRING, HD_OPTF_REQUIRED, command),
    KEY("args", NULL, "Its arguments; no shell reads them", 0, HD_OPT_LIST, 0, args),
    KEY("timeout", "0s", "Longest time for it; then it is killed; that of [plugin alerts] when 0", 600000,
        HD_OPT_DURATION, 0, timeout),
};

static const struct hd_section_kind kind = {"exec", "A program that is run for messages about alerts",
                                            HD_OPTIONS(struct ex_conf, options)};

static int32_t check_one(const void *conf, struct hd_error *err)
{
    const struct ex_conf *c = conf;

    if (!c->command.len || c->command.ptr[0] != '/')
        return hd_error_set(err, HD_EINVAL, "command: a whole path is needed, from / on");
    if (c->args.count > ARGS_MAX)
        return hd_error_set(err, HD_EINVAL, "args: at most %d", ARGS_MAX);
    return HD_OK;
}

/* --- running ---------------------------------------------------------------------------------------------
 */

/* Nothing of the host's own environment, which may hold secrets. */
struct environment {
    char text[6][700];
    char *all[8];
};

static void set_environment(struct environment *e, const struct hd_alert_message *m)
{
    const char *const pairs[6][2] = {{"STATE", sink_state(m)}, {"SEVERITY", sink_severity(m->severity)},
                                     {"TITLE", m->title},      {"ID", m->id},
                                     {"GROUP", m->group},      {"HOST", m->host}};

    e->all[0] = (char *)(uintptr_t) "PATH=/usr/local/bin:/usr/bin:/bin";
    for (int i = 0; i < 6; i++) {
        int n = snprintf(e->text[i], sizeof(e->text[i]), "HOWDAH_ALERT_%s=", pairs[i][0]);

        sink_line(e->text[i] + n, sizeof(e->text[i]) - (size_t)n, pairs[i][1]);
        e->all[i + 1] = e->text[i];
    }
    e->all[7] = NULL;
}

static int32_t run(const struct ex_conf *c, const struct hd_alert_message *m, const char *body,
                   uint64_t timeout_ms, const volatile int32_t *stop, struct hd_error *err)
{
    char *argv[ARGS_MAX + 2] = {(char *)(uintptr_t)c->command.ptr};
    struct environment e;
    struct child child = {.argv = argv, .environment = e.all, .input = body, .input_size = strlen(body)};
    int32_t code;

    for (uint64_t i = 0; i < c->args.count; i++)
        argv[i + 1] = (char *)(uintptr_t)c->args.items[i].ptr;
    set_environment(&e, m);
    child.timeout_ms = c->timeout > 0 ? (uint64_t)c->timeout : timeout_ms;
    child.stop = stop;
    code = child_run(&child, err);
    if (code || !child.status)
        return code;
    return hd_error_set(err, child.status == DATA_ERR ? HD_EINVAL : HD_EIO, "exit status %d: %s",
                        child.status, child.words);
}

static int32_t send_message(void *self, const char *target, const struct hd_alert_message *m,
                            uint64_t timeout_ms, const volatile int32_t *stop, struct hd_error *err)
{
    struct ex_conf *c = sink_get(self, target);
    json_t *json = c ? sink_json_whole(m) : NULL;
    char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    int32_t code;

    if (!c)
        code = hd_error_set(err, HD_ENOENT, "there is no [exec %s] any more", target);
    else if (!body)
        code = hd_error_set(err, HD_ENOMEM, "no memory for the message");
    else
        code = run(c, m, body, timeout_ms, stop, err);
    free(body);
    json_decref(json);
    sink_put(self, c);
    return code;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

const struct sink_plugin sink_plugin = {
    &kind, check_one, {.size = sizeof(struct hd_alert_sink_v1), .target = sink_target, .send = send_message}};

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,      .id = "alert-exec",      .version = "0.1.0",
    .vendor = "Howdah",  .licence = "Apache-2.0", .summary = "Runs a program for messages about alerts",
    .section_count = 1,  .sections = &kind,       .create = sink_create,
    .check = sink_check, .start = sink_start,     .reload = sink_reload,
    .stop = sink_stop,   .destroy = sink_destroy, .capability = sink_capability,
};
