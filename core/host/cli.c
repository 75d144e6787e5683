/*
 * howdahd's command line: what it says, and everything that it can ask for.
 */
#include "host/cli.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "host/config.h"
#include "host/daemon.h"
#include "host/environment.h"
#include "host/runtime.h"
#include "host/supervisor.h"
#include "host/upgrade.h"

#include <getopt.h>
#include <howdah/plugin.h>
#include <libpq-fe.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define DEFAULT_CONFIG HD_SYSCONF_DIR "/conf.d"

static const char help[] =
    "howdahd carries plugins between applications and PostgreSQL.\n"
    "\n"
    "Usage: howdahd [-c DIR|FILE] [-d | -t | --dump-config | --sample[=NAME]]\n"
    "\n"
    "  -c, --config DIR|FILE   INI files: all of a folder in lexical order, or one\n"
    "                          [" DEFAULT_CONFIG "]\n"
    "  -d, --daemon            go to the background once ready\n"
    "  -t, --check             check the configuration, say all that is wrong, and exit\n"
    "      --dump-config       print the configuration with defaults, secrets masked, and exit\n"
    "      --sample[=NAME]     print a commented sample of all sections, or of one kind of\n"
    "                          section or plugin, and exit\n"
    "      --version           print versions and exit\n"
    "      --help              print this and exit\n"
    "\n"
    "SIGHUP reloads the configuration, all of it or nothing; SIGTERM lets transactions end and\n"
    "stops; a second SIGTERM stops at once; SIGUSR2 starts a new host that takes over. howdahctl\n"
    "talks to a running host.\n";

enum { OPT_DUMP = 256, OPT_SAMPLE, OPT_VERSION, OPT_HELP };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"daemon", no_argument, NULL, 'd'},
    {"check", no_argument, NULL, 't'},
    {"dump-config", no_argument, NULL, OPT_DUMP},
    {"sample", optional_argument, NULL, OPT_SAMPLE},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void take_option(struct hd_cli *cli, int option)
{
    switch (option) {
    case 'c':
        cli->config = optarg;
        break;
    case 'd':
        cli->background = 1;
        break;
    case 't':
        cli->action = HD_CLI_CHECK;
        break;
    case OPT_DUMP:
        cli->action = HD_CLI_DUMP;
        break;
    case OPT_SAMPLE:
        cli->action = HD_CLI_SAMPLE;
        cli->kind = optarg ? optarg : "";
        break;
    case OPT_VERSION:
        cli->action = HD_CLI_VERSION;
        break;
    case OPT_HELP:
        cli->action = HD_CLI_HELP;
        break;
    default:
        cli->action = HD_CLI_WRONG;
        break;
    }
}

struct hd_cli hd_cli_parse(int argc, char **argv)
{
    struct hd_cli cli = {.action = HD_CLI_RUN, .config = DEFAULT_CONFIG, .kind = ""};
    int option;

    optind = 1;
    while (cli.action != HD_CLI_WRONG && (option = getopt_long(argc, argv, "c:dt", long_options, NULL)) != -1)
        take_option(&cli, option);
    if (cli.action != HD_CLI_WRONG && optind < argc) {
        fprintf(stderr, "howdahd: unexpected argument \"%s\"\n", argv[optind]);
        cli.action = HD_CLI_WRONG;
    }
    if (cli.action == HD_CLI_WRONG)
        fputs("Try howdahd --help.\n", stderr);
    return cli;
}

static void print_version(void)
{
    int pq = PQlibVersion();

    printf("howdahd %s\n", PACKAGE_VERSION);
    printf("plugin ABI %d.%d, libpq %d.%d, libuv %s, %s\n", HD_ABI_MAJOR, HD_ABI_MINOR, pq / 10000,
           pq % 10000, uv_version_string(), OpenSSL_version(OPENSSL_VERSION));
}

/* A process in the background leaves the folder where it was started; its paths must not. The caller frees
 * it. */
static char *lasting_path(const char *path, int background)
{
    char cwd[PATH_MAX];
    struct hd_strbuf out = HD_STRBUF_INIT;

    if (!background || *path == '/' || !getcwd(cwd, sizeof(cwd)))
        return hd_strdup(path);
    hd_strbuf_printf(&out, "%s/%s", cwd, path);
    return hd_strbuf_take(&out);
}

/* Loads what can be loaded without running anything. What the plugins say of it stands in `problems`. */
static struct hd_config *load_and_check(const char *path, struct hd_parts *parts,
                                        struct hd_problems *problems)
{
    struct hd_config *c = hd_config_load(path, NULL, HD_CONFIG_CHECK, problems);
    struct hd_error err = HD_ERROR_INIT;

    if (!c)
        return NULL;
    if (hd_parts_start(parts, c->settings, 0, &err)) {
        hd_problem(problems, NULL, "%s", err.text);
        hd_config_free(c);
        return NULL;
    }
    (void)hd_plugins_prepare(parts->plugins, &c->plugins, problems);
    return c;
}

static int print_out(const struct hd_strbuf *out)
{
    if (out->failed || fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout)) {
        fputs("howdahd: the output could not be written\n", stderr);
        return 1;
    }
    return 0;
}

static int check(const char *path, int dump)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_strbuf out = HD_STRBUF_INIT;
    struct hd_parts parts;
    struct hd_config *c = load_and_check(path, &parts, &problems);
    int bad = !c || hd_problems_any(&problems);

    hd_problems_show(&problems);
    if (c && !bad && dump) {
        hd_config_print(c, parts.plugins, &out);
        bad = print_out(&out);
    } else if (c && !bad) {
        printf("%s: good: %u listeners, %u users, %u databases, %u nodes, %u plugins\n", path,
               c->settings->listener_count, c->settings->user_count, c->settings->database_count,
               c->settings->node_count, c->plugins.plugin_count);
    }
    if (c) {
        hd_plugins_abort(parts.plugins);
        hd_parts_discard(&parts);
    }
    hd_config_free(c);
    hd_strbuf_free(&out);
    hd_problems_free(&problems);
    return bad;
}

/* Needs no configuration, only the folder of plugins. */
static int print_sample(const char *kind)
{
    struct hd_settings none = {
        .host = {.worker_count = 1, .job_threads = 1, .max_jobs = 1, .max_metrics = 64}};
    struct hd_strbuf out = HD_STRBUF_INIT;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_parts parts;
    int bad;

    none.host.bus_queue = 64;
    if (hd_parts_start(&parts, &none, 0, &err)) {
        fprintf(stderr, "howdahd: %s\n", err.text);
        return 1;
    }
    bad = hd_config_print_sample(kind, parts.plugins, &out, &err) != HD_OK;
    if (bad)
        fprintf(stderr, "howdahd: %s\n", err.text);
    else
        bad = print_out(&out);
    hd_strbuf_free(&out);
    hd_parts_discard(&parts);
    return bad;
}

/* As the child of a supervisor, which has shown what there is to be warned of. */
static int run_supervised(const char *path)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_supervised *supervised = NULL;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_config *c;

    if (hd_supervised_attach(&supervised, &err)) {
        fprintf(stderr, "howdahd: %s\n", err.text);
        return 1;
    }
    c = hd_config_load(path, NULL, 0, &problems);
    if (!c && hd_supervised_first(supervised))
        hd_problems_show(&problems);
    else if (!hd_supervised_first(supervised))
        hd_problems_log(&problems);
    if (!c)
        hd_supervised_failed(supervised, hd_problems_first(&problems));
    hd_problems_free(&problems);
    if (c)
        return hd_runtime_run(path, c, supervised, -1);
    hd_supervised_free(supervised);
    return 1;
}

/* The configuration goes, but for what the supervisor needs of it; it lives for long and should stay small.
 */
static int supervise(const char *path, struct hd_config *c, int ready_fd)
{
    const struct hd_host_conf *h = &c->settings->host;
    char *pid_file = hd_strdup(h->pid_file.ptr), *log_file = hd_strdup(h->log_file.ptr);
    struct hd_supervisor_conf conf = {.path = path,
                                      .pid_file = pid_file,
                                      .log_file = log_file,
                                      .log_level = h->log_level,
                                      .ready_fd = ready_fd};
    int code = 1;

    hd_config_free(c);
    if (pid_file && log_file)
        code = hd_supervisor_run(&conf);
    else
        fputs("howdahd: no memory\n", stderr);
    hd_free(pid_file);
    hd_free(log_file);
    return code;
}

/* Without a supervisor: what was only looked at is loaded in full. */
static int run_alone(const char *path, struct hd_config *seen, int ready_fd)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_config *c = hd_config_load(path, NULL, 0, &problems);

    hd_config_free(seen);
    if (!c)
        hd_problems_show(&problems); /* the files have changed meanwhile */
    hd_problems_free(&problems);
    return c ? hd_runtime_run(path, c, NULL, ready_fd) : 1;
}

static int run(const char *path, int background)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_config *c = hd_config_load(path, NULL, HD_CONFIG_CHECK, &problems);
    struct hd_error err = HD_ERROR_INIT;
    int fd = -1;

    hd_problems_show(&problems);
    hd_problems_free(&problems);
    if (!c)
        return 1;
    if (background)
        fd = hd_daemon_start(&err);
    if (fd < -1) {
        fprintf(stderr, "howdahd: %s\n", err.text);
        hd_config_free(c);
        return 1;
    }
    return c->settings->host.supervisor ? supervise(path, c, fd) : run_alone(path, c, fd);
}

static int with_config(const struct hd_cli *cli)
{
    char *path = lasting_path(cli->config, cli->background);
    int code;

    if (!path) {
        fputs("howdahd: no memory\n", stderr);
        return 1;
    }
    if (cli->action != HD_CLI_RUN)
        code = check(path, cli->action == HD_CLI_DUMP);
    else
        code = hd_supervised_is() ? run_supervised(path) : run(path, cli->background);
    hd_free(path);
    return code;
}

int hd_cli_run(const struct hd_cli *cli)
{
    int code;

    if (cli->action == HD_CLI_WRONG)
        return 2;
    if (cli->action == HD_CLI_HELP)
        fputs(help, stdout);
    if (cli->action == HD_CLI_VERSION)
        print_version();
    if (cli->action == HD_CLI_HELP || cli->action == HD_CLI_VERSION)
        return 0;
    hd_hash_seed();
    if (hd_environment_keep_pg()) {
        fputs("howdahd: no memory\n", stderr);
        return 1;
    }
    code = cli->action == HD_CLI_SAMPLE ? print_sample(cli->kind) : with_config(cli);
    hd_environment_free();
    return code;
}
