/*
 * howdah-plugin-check: does a library keep to the ABI? Loads it as howdahd would, looks at its descriptor,
 * and takes it through its life on a small host in memory. Speaks TAP; each step runs in a process of its
 * own, so that a crash or a hang is one "not ok".
 *
 *     howdah-plugin-check [-c FILE.ini] PLUGIN.so
 */
#include "conf.h"
#include "mock.h"
#include "plug/loader.h"
#include "symbols.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Longer than this and a step hangs. */
#define SECONDS_AT_MOST 10
#define WORKERS         2
#define INI_BYTES       (1 << 20)

/* What a step works on. */
struct subject {
    const char *path;
    char id[64];
    const char *ini; /* text; "" for defaults */
    const struct hd_library *lib;
    struct mock *m;
    struct check_conf conf;
    void *self;
};

/* Says why a step fails; always 1. */
static int bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int bad(const char *format, ...)
{
    va_list args;

    printf("# ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return 1;
}

/* Loads the library, where a step needs it; the host's checks of the descriptor are in there. */
static int load(struct subject *s)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_library *lib;

    if (hd_library_load(s->path, s->id, &lib, &err) != HD_OK)
        return bad("%s", err.text);
    s->lib = lib;
    return 0;
}

static int count_entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static int read_conf(struct subject *s)
{
    struct hd_error err = HD_ERROR_INIT;

    if (check_conf_read(&s->conf, &s->lib->desc, s->ini, &err) != HD_OK)
        return bad("%s (give a configuration with -c FILE.ini)", err.text);
    return 0;
}

static int create(struct subject *s, void **self)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = s->lib->desc.create(mock_host(s->m), self, &err);

    return code == HD_OK ? 0 : bad("create returned %d: %s", code, err.text);
}

static int check(struct subject *s, void *self)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = s->lib->desc.check(self, &s->conf.conf, &err);

    return code == HD_OK ? 0 : bad("check returned %d: %s", code, err.text);
}

/* A host, a configuration and an instance. */
static int make(struct subject *s)
{
    s->m = mock_new(WORKERS);
    return load(s) || read_conf(s) || create(s, &s->self);
}

/* --- steps: 0 when all is well ------------------------------------------------------------------------- */

static int loads(struct subject *s)
{
    return load(s);
}

static int exports_one_symbol(struct subject *s)
{
    struct check_symbols found;

    if (check_symbols_read(s->path, &found) != 0)
        return bad("%s is no 64-bit ELF library with a dynamic symbol table", s->path);
    if (found.count == 1 && strcmp(found.first, "howdah_plugin") == 0)
        return 0;
    return bad("it exports %u symbols, among them %s; link with -Wl,--version-script, or libtool's "
               "-export-symbols-regex '^howdah_plugin$'",
               found.count, found.count ? found.other : "none");
}

static int one_line(const char *what, const char *text)
{
    if (!text || !*text)
        return bad("the descriptor's %s is empty", what);
    return strchr(text, '\n') ? bad("the descriptor's %s has several lines", what) : 0;
}

static int describes_itself(struct subject *s)
{
    const struct hd_plugin *d;
    struct hd_option o;
    int failed = load(s);

    if (failed)
        return failed;
    d = &s->lib->desc;
    failed += one_line("version", d->version) + one_line("vendor", d->vendor) +
              one_line("licence", d->licence) + one_line("summary", d->summary);
    for (uint32_t i = 0; i < d->options.count; i++) {
        hd_option_at(&d->options, i, &o);
        if (!o.doc || !*o.doc)
            failed += bad("option %s has no line of documentation", o.key);
    }
    return failed;
}

static int knows_its_capabilities(struct subject *s)
{
    const struct hd_filter_v1 *f;

    if (load(s))
        return 1;
    if (!s->lib->desc.capability)
        return 0;
    if (s->lib->desc.capability("howdah.no-such-capability/1") || s->lib->desc.capability(""))
        return bad("capability() must answer NULL to names that it does not know");
    f = s->lib->desc.capability(HD_CAP_FILTER);
    if (f && !s->lib->filter.plan)
        return bad("a filter needs plan()");
    return 0;
}

static int creates_quietly(struct subject *s)
{
    int files, threads;

    s->m = mock_new(WORKERS);
    if (load(s))
        return 1;
    files = count_entries("/proc/self/fd");
    threads = count_entries("/proc/self/task");
    if (create(s, &s->self))
        return 1;
    if (count_entries("/proc/self/fd") != files)
        return bad("create must do no I/O: it left descriptors open");
    if (count_entries("/proc/self/task") != threads)
        return bad("create must start no threads");
    if (mock_commands(s->m))
        return bad("create must not register commands; start does");
    s->lib->desc.destroy(s->self);
    return 0;
}

static int creates_several(struct subject *s)
{
    void *other;

    if (make(s) || create(s, &other))
        return 1;
    if (s->self == other)
        return bad("two instances are one: keep state in `self`, not in static variables");
    s->lib->desc.destroy(s->self);
    s->lib->desc.destroy(other);
    return 0;
}

static int checks_configurations(struct subject *s)
{
    if (make(s) || check(s, s->self) || check(s, s->self))
        return 1;
    s->lib->desc.destroy(s->self);
    return 0;
}

/* --- a running plugin --------------------------------------------------------------------------------------
 */

static int start(struct subject *s)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code;

    if (make(s) || check(s, s->self))
        return 1;
    code = s->lib->desc.start(s->self, &s->conf.conf, &err);
    return code == HD_OK ? 0 : bad("start returned %d: %s", code, err.text);
}

/* The end; a stop that is pending has the loops to run until it is done. */
static int stop(struct subject *s)
{
    int32_t code = s->lib->desc.stop(s->self);

    for (int i = 0; code == HD_PENDING && !mock_stopped(s->m) && i < 1000; i++)
        mock_advance(s->m, 10);
    if (code != HD_OK && code != HD_PENDING)
        return bad("stop returned %d; it may return HD_OK or HD_PENDING", code);
    if (mock_stopped(s->m) != (code == HD_PENDING))
        return bad("stopped() is due once after HD_PENDING, and never else; it came %u times",
                   mock_stopped(s->m));
    s->lib->desc.destroy(s->self);
    if (mock_catalog_held(s->m))
        return bad("%u dependencies of howdah.catalog/1 were not released", mock_catalog_held(s->m));
    check_conf_free(&s->conf);
    mock_free(s->m);
    return 0;
}

static int starts_and_stops(struct subject *s)
{
    return start(s) || stop(s);
}

static int reloads(struct subject *s)
{
    if (start(s))
        return 1;
    if (s->lib->desc.reload) {
        s->lib->desc.reload(s->self, &s->conf.conf);
        mock_run(s->m);
    }
    return stop(s);
}

/* Statements of every kind, as a filter may meet them. */
static const struct {
    const char *text;
    uint32_t kind;
    uint64_t facts;
    const char *table;
} samples[] = {
    {"select $1", HD_KIND_SELECT, 0, NULL},
    {"select a from t where b = $1", HD_KIND_SELECT, HD_FACT_READS, "t"},
    {"delete from s.t", HD_KIND_DELETE, HD_FACT_WRITES | HD_FACT_NO_WHERE, "s.t"},
    {"begin", HD_KIND_BEGIN, HD_FACT_TXN, NULL},
    {"create table t ()", HD_KIND_DDL, HD_FACT_DEFINES, "t"},
    {"select $1; drop table t", HD_KIND_MULTI, HD_FACT_MULTI | HD_FACT_DEFINES, "t"},
    {"<unsure>", HD_KIND_UNKNOWN, HD_FACT_UNSURE, NULL},
    {"", HD_KIND_EMPTY, 0, NULL},
};

static int bad_verdict(const struct hd_verdict *v, uint32_t want)
{
    if (v->kind > HD_VERDICT_PARK)
        return bad("statement() gave verdict %u, which does not exist", v->kind);
    if (v->kind == HD_VERDICT_REFUSE && strlen(v->sqlstate) != 5)
        return bad("a refusal needs an SQLSTATE of five characters");
    if (v->kind >= HD_VERDICT_ANSWER && v->kind <= HD_VERDICT_ROUTE && !(want & HD_WANT_REPLACE))
        return bad("verdict %u needs HD_WANT_REPLACE in the plan", v->kind);
    return 0;
}

/* Every way in which a transaction may end. */
static int end_transactions(struct subject *s, void *ws, const struct hd_plan *p, void *session)
{
    const struct hd_filter_v1 *f = &s->lib->filter;
    struct hd_transaction t = {.size = sizeof(t),
                               .session_id = 1,
                               .database = hd_str_of("db"),
                               .user = hd_str_of("user"),
                               .node = hd_str_of("main"),
                               .dbname = hd_str_of("db"),
                               .session_state = session};

    if (!(p->want & HD_WANT_TRANSACTION))
        return 0;
    if (!f->transaction)
        return bad("the plan wants transaction(), which is NULL");
    for (t.end = HD_END_COMMITTED; t.end <= HD_END_ABANDONED; t.end++) {
        int32_t code;

        t.handle = 100 + t.end;
        code = f->transaction(s->self, ws, &t);
        if (code != HD_OK && code != HD_PENDING)
            return bad("transaction() returned %d; it may return HD_OK or HD_PENDING", code);
        mock_run(s->m);
    }
    return 0;
}

/* One execution, from statement() to complete(), and the end of its transaction. */
static int execute(struct subject *s, void *ws, const struct hd_plan *p, hd_template *t, void *session)
{
    static const struct hd_session_setting settings[] = {{"DateStyle", "ISO, MDY"}, {"TimeZone", "UTC"}};
    const struct hd_filter_v1 *f = &s->lib->filter;
    struct hd_verdict v = {.size = sizeof(v)};
    struct hd_outcome o = {
        .size = sizeof(o), .rows = 1, .bytes = 50, .total_ns = 1000000, .sqlstate = "00000"};
    void *slot = NULL;
    struct hd_statement st = {.size = sizeof(st),
                              .handle = 1,
                              .session_id = 1,
                              .tmpl = t,
                              .sql = hd_str_of("select 1"),
                              .database = hd_str_of("db"),
                              .user = hd_str_of("user"),
                              .application_name = hd_str_of("check"),
                              .txn = HD_TX_IDLE,
                              .session_state = session,
                              .slot = &slot,
                              .node = hd_str_of("main"),
                              .dbname = hd_str_of("db"),
                              .settings = settings,
                              .settings_id = 1,
                              .setting_count = 2};
    int32_t code = HD_OK;

    if (p->want & HD_WANT_DECIDE)
        code = f->statement ? f->statement(s->self, ws, p->data, &st, &v) : HD_EUNSUPP;
    if (code != HD_OK)
        return bad("statement() returned %d", code);
    if (v.release)
        v.release(v.release_arg);
    st.sql.len = 0;
    if (p->want & HD_WANT_DATA && f->data)
        f->data(s->self, ws, p->data, &st, hd_str_of("D"));
    if (p->want & HD_WANT_COMPLETE && !f->complete)
        return bad("the plan wants complete(), which is NULL");
    if (p->want & HD_WANT_COMPLETE)
        f->complete(s->self, ws, p->data, &st, &o);
    return bad_verdict(&v, p->want) || end_transactions(s, ws, p, session);
}

static int plan_and_execute(struct subject *s, void *ws, unsigned i, void *session)
{
    struct hd_template_info info = {.kind = samples[i].kind,
                                    .facts = samples[i].facts,
                                    .fingerprint = i + 1,
                                    .text = hd_str_of(samples[i].text),
                                    .statements = 1,
                                    .kinds = UINT64_C(1) << samples[i].kind};
    struct hd_plan p = {.size = sizeof(p)};
    hd_template *t = mock_template(s->m, &info);
    int32_t code;
    int failed = 0;

    if (samples[i].table)
        mock_template_table(t, samples[i].table, HD_ACCESS_READ);
    code = s->lib->filter.plan(s->self, ws, t, &p);
    if (code != HD_OK)
        return bad("plan() returned %d for: %s", code, samples[i].text);
    for (int n = 0; n < 3 && p.want && !failed; n++)
        failed = execute(s, ws, &p, t, session);
    if (p.destroy)
        p.destroy(p.data);
    return failed;
}

static int filter_on_worker(struct subject *s, uint32_t worker)
{
    const struct hd_filter_v1 *f = &s->lib->filter;
    void *ws, *session;
    int failed = 0;

    mock_on(s->m, (int32_t)worker);
    ws = f->worker_start ? f->worker_start(s->self, worker) : NULL;
    session = f->session_open ? f->session_open(s->self, ws, 1, hd_str_of("db"), hd_str_of("user")) : NULL;
    for (unsigned i = 0; i < sizeof(samples) / sizeof(samples[0]) && !failed; i++)
        failed = plan_and_execute(s, ws, i, session);
    mock_advance(s->m, 10000);
    if (f->session_close)
        f->session_close(s->self, ws, session);
    if (f->worker_stop)
        f->worker_stop(s->self, ws);
    mock_on(s->m, HD_LOOP_CONTROL);
    return failed;
}

static int filters(struct subject *s)
{
    if (start(s))
        return 1;
    for (uint32_t i = 0; s->lib->is_filter && i < WORKERS; i++)
        if (filter_on_worker(s, i))
            return 1;
    if (mock_failures(s->m))
        return bad("it counted %u failures of its own:\n# %s", mock_failures(s->m), mock_log(s->m));
    return stop(s);
}

/* --- running the steps -------------------------------------------------------------------------------------
 */

static const struct step {
    const char *name;
    int (*run)(struct subject *s);
} steps[] = {
    {"the host loads it", loads},
    {"it exports its descriptor alone", exports_one_symbol},
    {"it describes itself", describes_itself},
    {"it knows its capabilities", knows_its_capabilities},
    {"create does no I/O and starts no threads", creates_quietly},
    {"there can be several instances", creates_several},
    {"check takes the configuration, again and again", checks_configurations},
    {"it starts and stops", starts_and_stops},
    {"it reloads", reloads},
    {"its filter takes statements of all kinds", filters},
};

/* Runs a step in a child; 0 when it went well. */
static int run_step(const struct step *step, struct subject *s)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        alarm(SECONDS_AT_MOST);
        status = step->run(s) != 0;
        fflush(stdout);
        _exit(status);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return bad("cannot fork");
    if (WIFSIGNALED(status))
        return bad("ended by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                   WTERMSIG(status) == SIGALRM ? ": it hangs" : "");
    return WEXITSTATUS(status);
}

static int usage(void)
{
    fputs("usage: howdah-plugin-check [-c FILE.ini] PLUGIN.so\n"
          "Takes a plugin through its life on a small host in memory; prints TAP.\n",
          stderr);
    return 2;
}

/* The file's text; NULL when it cannot be read. */
static char *read_text(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = f ? calloc(1, INI_BYTES) : NULL;

    if (text)
        text[fread(text, 1, INI_BYTES - 1, f)] = 0;
    if (f)
        fclose(f);
    return text;
}

/* The id that the host expects: the file's name without ".so". */
static int take_id(struct subject *s)
{
    const char *name = strrchr(s->path, '/');
    size_t len;

    name = name ? name + 1 : s->path;
    len = strlen(name);
    if (len < 4 || len - 3 >= sizeof(s->id) || strcmp(name + len - 3, ".so") != 0)
        return -1;
    memcpy(s->id, name, len - 3);
    return 0;
}

int main(int argc, char **argv)
{
    const unsigned n = sizeof(steps) / sizeof(steps[0]);
    struct subject s = {.ini = ""};
    char *ini = NULL;
    int option, failures = 0;

    while ((option = getopt(argc, argv, "c:")) != -1) {
        if (option != 'c' || ini || !(ini = read_text(optarg)))
            return usage();
        s.ini = ini;
    }
    if (argc - optind != 1)
        return usage();
    s.path = argv[optind];
    if (take_id(&s) != 0) {
        fprintf(stderr, "howdah-plugin-check: %s: a plugin's file is called ID.so\n", s.path);
        return 2;
    }
    printf("1..%u\n", n);
    for (unsigned i = 0; i < n; i++) {
        int failed = run_step(&steps[i], &s);

        printf("%s %u - %s: %s\n", failed ? "not ok" : "ok", i + 1, s.id, steps[i].name);
        failures += failed != 0;
    }
    free(ini);
    return failures ? 1 : 0;
}
