/*
 * The host's own commands; see host_commands.h. Each table of columns stands beside the handler that fills
 * it.
 */
#include "host/host_commands.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/upgrade.h"
#include "plug/commands.h"
#include "plug/nearest.h"
#include "plug/plugins.h"
#include "session/worker.h"

#include <howdah/plugin.h>
#include <libpq-fe.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ARG_BYTES 128

/* A copy of an argument with a NUL behind it; cut where it is too long to name anything. */
static const char *argument(const struct hd_call *call, uint32_t i, char out[ARG_BYTES])
{
    snprintf(out, ARG_BYTES, "%.*s", (int)(call->args[i].len < ARG_BYTES ? call->args[i].len : ARG_BYTES - 1),
             call->args[i].ptr);
    return out;
}

static int no_arguments(const struct hd_call *call, struct hd_error *err)
{
    char text[ARG_BYTES];

    if (!call->arg_count)
        return HD_OK;
    return hd_fail(err, HD_EINVAL, "this command takes no arguments, but \"%s\" was given",
                   argument(call, 0, text));
}

static void duration(hd_result *r, int64_t ms)
{
    char text[24];

    hd_result_cstr(r, hd_format_duration(ms, text));
}

/* --- RELOAD, SHUTDOWN, PLUGIN ----------------------------------------------------------------------------
 */

static int32_t reload(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    int code = no_arguments(call, err);

    if (!code)
        code = hd_runtime_reload(rt, err);
    if (!code)
        hd_result_message(call->result, "configuration reloaded");
    return code;
}

static void shutdown_soon(void *arg)
{
    hd_runtime_shutdown(arg, 0);
}

static void shutdown_now(void *arg)
{
    hd_runtime_shutdown(arg, 1);
}

/* Begins in the loop's next turn, so that whoever asked gets the answer. */
static int32_t shut_down(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    int now = call->arg_count == 1 && hd_arg_is(call, 0, "NOW");

    if (call->arg_count && !now)
        return hd_fail(err, HD_EINVAL, "expected SHUTDOWN or SHUTDOWN NOW");
    if (rt->state != HD_RUNNING && !now)
        return hd_fail(err, HD_EBUSY, "the host is %s already", hd_runtime_state_name(rt->state));
    if (hd_loop_call(&rt->parts.loop, now ? shutdown_now : shutdown_soon, rt))
        return hd_fail(err, HD_ENOMEM, "no memory");
    hd_log(HD_LOG_INFO, "shutdown asked for by a command");
    hd_result_message(call->result, now ? "stopping" : "draining");
    return HD_OK;
}

/* Answered when the supervisor says how it went. */
static int32_t upgrade(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    int code = no_arguments(call, err);

    if (code)
        return code;
    if (!rt->supervised)
        return hd_fail(err, HD_EUNSUPP,
                       "there is no supervisor to start another host; see [host] supervisor");
    if (rt->upgrade)
        return hd_fail(err, HD_EBUSY, "an upgrade is under way already");
    if (rt->retiring || rt->state != HD_RUNNING)
        return hd_fail(err, HD_EBUSY, "this host is being replaced or stops");
    if (hd_supervised_upgrade(rt->supervised))
        return hd_fail(err, HD_EIO, "the supervisor does not answer");
    rt->upgrade = call->result;
    return HD_PENDING;
}

static int32_t set_plugin(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const struct {
        const char *word, *done;
        uint32_t mode;
    } modes[] = {{"ENABLE", "enabled", HD_MODE_ON},
                 {"OBSERVE", "observing", HD_MODE_OBSERVE},
                 {"DISABLE", "disabled", HD_MODE_OFF}};
    struct hd_runtime *rt = arg;
    char id[ARG_BYTES], message[2 * ARG_BYTES];

    for (size_t i = 0; call->arg_count == 2 && i < HD_ARRAY_LEN(modes); i++) {
        int code;

        if (!hd_arg_is(call, 1, modes[i].word))
            continue;
        code = hd_plugins_set_mode(rt->parts.plugins, argument(call, 0, id), modes[i].mode, err);
        if (code)
            return code;
        snprintf(message, sizeof(message),
                 "plugin %s %s until the next reload; write it into its section to keep it", id,
                 modes[i].done);
        hd_result_message(call->result, message);
        return HD_OK;
    }
    return hd_fail(err, HD_EINVAL, "expected PLUGIN NAME ENABLE, OBSERVE or DISABLE");
}

/* --- OPTIONS, SHOW CONFIG --------------------------------------------------------------------------------
 */

/* Appends a text that was built, and empties it for the next. */
static void put_text(hd_result *r, struct hd_strbuf *text)
{
    hd_result_text(r, (struct hd_str){hd_strbuf_str(text), text->len});
    hd_strbuf_reset(text);
}

static void option_rows(void *arg, const char *label, const struct hd_options *o)
{
    hd_result *r = arg;
    struct hd_strbuf text = HD_STRBUF_INIT;
    struct hd_option opt;

    for (uint32_t i = 0; i < o->count; i++) {
        hd_option_at(o, i, &opt);
        hd_result_cstr(r, label);
        hd_result_cstr(r, opt.key);
        hd_result_cstr(r, hd_option_type_name(opt.type));
        hd_result_cstr(r, opt.flags & HD_OPTF_REQUIRED ? NULL : opt.default_value ? opt.default_value : "");
        hd_option_print_range(&opt, &text);
        put_text(r, &text);
        hd_result_integer(r, !!(opt.flags & HD_OPTF_RELOADABLE));
        hd_result_cstr(r, opt.doc);
    }
    hd_strbuf_free(&text);
}

static int32_t options(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    char name[ARG_BYTES];

    if (call->arg_count != 1)
        return hd_fail(err, HD_EINVAL, "expected OPTIONS and the name of a plugin or of a kind of section");
    hd_result_columns(call->result, "section", HD_COL_TEXT, "key", HD_COL_TEXT, "type", HD_COL_TEXT,
                      "default", HD_COL_TEXT, "allowed", HD_COL_TEXT, "reload", HD_COL_BOOL, "doc",
                      HD_COL_TEXT, NULL);
    return hd_config_options(argument(call, 0, name), rt->parts.plugins, option_rows, call->result, err);
}

static void config_rows(void *arg, const struct hd_raw_section *raw, int begins, const struct hd_options *o,
                        const void *keys)
{
    struct hd_strbuf text = HD_STRBUF_INIT;
    struct hd_option opt;
    hd_result *r = arg;

    (void)begins;
    for (uint32_t i = 0; o && i < o->count; i++) {
        hd_option_at(o, i, &opt);
        hd_result_cstr(r, raw->label);
        hd_result_cstr(r, opt.key);
        hd_option_print_value(&opt, keys, &text);
        put_text(r, &text);
        hd_result_integer(r, hd_raw_find(raw, opt.key) != NULL);
        hd_result_integer(r, !!(opt.flags & HD_OPTF_RELOADABLE));
        hd_result_cstr(r, hd_raw_origin(raw, opt.key));
    }
    hd_strbuf_free(&text);
}

static int32_t show_config(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    int code = no_arguments(call, err);

    if (code)
        return code;
    hd_result_columns(call->result, "section", HD_COL_TEXT, "key", HD_COL_TEXT, "value", HD_COL_TEXT, "given",
                      HD_COL_BOOL, "reload", HD_COL_BOOL, "origin", HD_COL_TEXT, NULL);
    hd_config_walk(rt->config, rt->parts.plugins, config_rows, call->result);
    return HD_OK;
}

/* --- SHOW DATABASES, SHOW PLUGINS ------------------------------------------------------------------------
 */

static int32_t show_databases(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const modes[] = {"auto", "transaction", "session"};
    struct hd_runtime *rt = arg;
    const struct hd_settings *s = rt->config->settings;
    hd_result *r = call->result;
    int code = no_arguments(call, err);

    if (code)
        return code;
    hd_result_columns(r, "name", HD_COL_TEXT, "node", HD_COL_TEXT, "server_database", HD_COL_TEXT,
                      "server_user", HD_COL_TEXT, "pool_mode", HD_COL_TEXT, "pool_size", HD_COL_INT,
                      "max_clients", HD_COL_INT, "max_servers", HD_COL_INT, "queue_timeout", HD_COL_TEXT,
                      "origin", HD_COL_TEXT, NULL);
    for (uint32_t i = 0; i < s->database_count; i++) {
        const struct hd_database_conf *d = &s->databases[i];

        hd_result_cstr(r, d->name);
        hd_result_cstr(r, d->node->name);
        hd_result_cstr(r, d->node->dbname);
        hd_result_cstr(r, d->node->user);
        hd_result_cstr(r, modes[d->pool_mode]);
        hd_result_integer(r, d->pool_size);
        hd_result_integer(r, d->max_clients);
        hd_result_integer(r, d->max_servers);
        duration(r, d->queue_timeout);
        hd_result_cstr(r, d->origin);
    }
    return HD_OK;
}

static void plugin_row(void *arg, const struct hd_plugin_info *p)
{
    hd_result *r = arg;

    hd_result_cstr(r, p->id);
    hd_result_cstr(r, p->state);
    hd_result_cstr(r, p->mode);
    hd_result_cstr(r, p->version);
    hd_result_integer(r, p->priority);
    hd_result_cstr(r, p->on_failure);
    hd_result_integer(r, (int64_t)p->acted);
    hd_result_integer(r, (int64_t)p->observed);
    hd_result_integer(r, (int64_t)p->failures);
    hd_result_cstr(r, p->reason);
    hd_result_cstr(r, p->summary);
    hd_result_cstr(r, p->capabilities);
    hd_result_cstr(r, p->vendor);
    hd_result_cstr(r, p->licence);
    hd_result_cstr(r, p->library);
}

static int32_t show_plugins(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    int code = no_arguments(call, err);

    if (code)
        return code;
    hd_result_columns(call->result, "name", HD_COL_TEXT, "state", HD_COL_TEXT, "mode", HD_COL_TEXT, "version",
                      HD_COL_TEXT, "priority", HD_COL_INT, "on_failure", HD_COL_TEXT, "acted", HD_COL_INT,
                      "observed", HD_COL_INT, "failures", HD_COL_INT, "reason", HD_COL_TEXT, "summary",
                      HD_COL_TEXT, "capabilities", HD_COL_TEXT, "vendor", HD_COL_TEXT, "licence", HD_COL_TEXT,
                      "library", HD_COL_TEXT, NULL);
    hd_plugins_list(rt->parts.plugins, plugin_row, call->result);
    return HD_OK;
}

/* --- SHOW VERSION, STATUS --------------------------------------------------------------------------------
 */

static int32_t show_version(void *arg, const struct hd_call *call, struct hd_error *err)
{
    int code = no_arguments(call, err), pq = PQlibVersion();
    hd_result *r = call->result;
    char text[64];

    (void)arg;
    if (code)
        return code;
    hd_result_columns(r, "part", HD_COL_TEXT, "version", HD_COL_TEXT, NULL);
    hd_result_cstr(r, "howdahd");
    hd_result_cstr(r, PACKAGE_VERSION);
    hd_result_cstr(r, "plugin ABI");
    snprintf(text, sizeof(text), "%d.%d", HD_ABI_MAJOR, HD_ABI_MINOR);
    hd_result_cstr(r, text);
    hd_result_cstr(r, "libpq");
    snprintf(text, sizeof(text), "%d.%d", pq / 10000, pq % 10000);
    hd_result_cstr(r, text);
    hd_result_cstr(r, "libuv");
    hd_result_cstr(r, uv_version_string());
    hd_result_cstr(r, "OpenSSL");
    hd_result_cstr(r, OpenSSL_version(OPENSSL_VERSION));
    return HD_OK;
}

static void text_row(hd_result *r, const char *name, const char *value)
{
    hd_result_cstr(r, name);
    hd_result_cstr(r, value);
}

static void number_row(hd_result *r, const char *name, int64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)value);
    text_row(r, name, text);
}

static void duration_row(hd_result *r, const char *name, int64_t us)
{
    char text[24];

    text_row(r, name, hd_format_duration(us / 1000000 * 1000, text));
}

/* Plugins by their state. */
struct tally {
    int64_t running, observing, trouble;
};

static void count_plugin(void *arg, const struct hd_plugin_info *p)
{
    struct tally *t = arg;

    t->running += !strcmp(p->state, "running");
    t->observing += !strcmp(p->state, "observing");
    t->trouble += !strcmp(p->state, "refused") || !strcmp(p->state, "quarantined");
}

static void listener_rows(hd_result *r, const struct hd_settings *s)
{
    for (uint32_t l = 0; l < s->listener_count; l++)
        for (uint32_t i = 0; i < s->listeners[l].address_count; i++)
            text_row(r, "listening", s->listeners[l].addresses[i].text);
    for (uint32_t i = 0; s->http && i < s->http->listener.address_count; i++)
        text_row(r, "http", s->http->listener.addresses[i].text);
}

static void io_row(hd_result *r, struct hd_workers *w)
{
    const char *reason, *io;
    char text[200];

    if (!w)
        return;
    io = hd_workers_io(w, &reason);
    snprintf(text, sizeof(text), reason[0] ? "%s (no io_uring: %s)" : "%s%s", io, reason);
    text_row(r, "io", text);
}

static void supervisor_rows(hd_result *r, const struct hd_supervised *s)
{
    if (!s) {
        text_row(r, "supervisor", "none");
        return;
    }
    number_row(r, "supervisor", getppid());
    number_row(r, "generation", hd_supervised_generation(s));
    number_row(r, "crashes", hd_supervised_crashes(s));
}

static int32_t status(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_runtime *rt = arg;
    hd_result *r = call->result;
    int64_t now = hd_wall_us();
    struct tally t = {0, 0, 0};
    int code = no_arguments(call, err);

    if (code)
        return code;
    hd_plugins_list(rt->parts.plugins, count_plugin, &t);
    hd_result_columns(r, "what", HD_COL_TEXT, "value", HD_COL_TEXT, NULL);
    text_row(r, "state", hd_runtime_state_name(rt->state));
    text_row(r, "version", PACKAGE_VERSION);
    number_row(r, "pid", getpid());
    supervisor_rows(r, rt->supervised);
    duration_row(r, "up", now - rt->started_us);
    number_row(r, "workers", rt->config->settings->host.worker_count);
    io_row(r, rt->workers);
    listener_rows(r, rt->config->settings);
    text_row(r, "configuration", rt->path);
    duration_row(r, "configured since", now - rt->loaded_us);
    number_row(r, "reloads", (int64_t)rt->reloads);
    number_row(r, "reloads refused", (int64_t)rt->refused_reloads);
    number_row(r, "plugins running", t.running);
    number_row(r, "plugins observing", t.observing);
    number_row(r, "plugins in trouble", t.trouble);
    number_row(r, "log lines lost", (int64_t)hd_log_lost());
    return HD_OK;
}

/* --- all -------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name, *usage, *doc;
    uint32_t flags;
    hd_command_fn *fn;
} commands[] = {
    {"RELOAD", NULL, "Reads the configuration again and changes over to it, all or nothing", 0, reload},
    {"SHUTDOWN", "[NOW]", "Lets transactions end, then stops; NOW stops at once", 0, shut_down},
    {"UPGRADE", NULL, "Starts a new host on the same sockets, which takes over what is at rest", 0, upgrade},
    {"PLUGIN", "NAME ENABLE|OBSERVE|DISABLE", "Switches a plugin until the next reload", 0, set_plugin},
    {"OPTIONS", "NAME", "The keys of a plugin's section, or of a kind of section", HD_CMDF_READ_ONLY,
     options},
    {"SHOW CONFIG", NULL, "The configuration in force; secrets are masked", HD_CMDF_READ_ONLY, show_config},
    {"SHOW DATABASES", NULL, "The databases that clients may ask for", HD_CMDF_READ_ONLY, show_databases},
    {"SHOW PLUGINS", NULL, "Every plugin that is configured or lies in plugin_dir", HD_CMDF_READ_ONLY,
     show_plugins},
    {"SHOW VERSION", NULL, "Versions of the host and of what it is built on", HD_CMDF_READ_ONLY,
     show_version},
    {"STATUS", NULL, "How the host is", HD_CMDF_READ_ONLY, status},
};

int hd_host_commands_add(struct hd_runtime *rt, struct hd_error *err)
{
    int code = HD_OK;

    for (size_t i = 0; i < HD_ARRAY_LEN(commands) && !code; i++)
        code = hd_commands_add(rt->parts.commands, NULL, commands[i].name, commands[i].usage, commands[i].doc,
                               commands[i].flags, commands[i].fn, rt, err);
    return code;
}
