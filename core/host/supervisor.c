/*
 * The supervisor; see supervisor.h. One loop over poll(2): signals come through a descriptor, hosts talk over
 * theirs.
 *
 * There are one host, or two while one takes over from the other:
 *
 *     STARTING  made, and not ready yet
 *     SERVING   the one that accepts; at most one
 *     RETIRING  has been replaced, and serves those clients that could not be handed over
 */
#include "host/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/blame.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/daemon.h"
#include "host/environment.h"
#include "host/supervisor_wire.h"
#include "session/share.h"

/* A host that has lived so long counts as well: the next crash is the first again. */
#define STEADY_MS 60000u
/* The first crash is answered at once, the second after the first of these; then it doubles. */
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS   30000u
/* So long a new host may take until it serves, when an old one does meanwhile. */
#define START_MS 120000u

enum role { NONE = 0, STARTING, SERVING, RETIRING };

struct host {
    enum role role;
    pid_t pid;
    int channel;
    int stopping; /* it was told to end, or has said that it does */
    unsigned generation;
    uint64_t started_ms;
    struct hd_blame_page *page; /* NULL: it cannot be seen where it crashes */
};

/* A plugin in which hosts have crashed. */
struct blamed {
    struct blamed *next;
    uint32_t times;
    char plugin[HD_BLAME_NAME];
};

/* A socket that is kept. */
struct kept {
    struct kept *next;
    int fd;
    unsigned generation; /* who opened it */
    char name[];
};

struct supervisor {
    const struct hd_supervisor_conf *conf;
    char program[PATH_MAX];
    struct host hosts[2];
    struct kept *kept;
    struct blamed *blamed;
    struct hd_share_page *share; /* that two hosts count in */
    int share_fd;
    sigset_t before; /* the mask that we were started with */
    int signals;     /* descriptor */
    int ready_fd;
    int background;
    int peer_fd; /* the old host's end of the way to the one that starts */
    int stopping, served;
    int status; /* of wait(2), to be passed on */
    unsigned generation, crashes, in_succession;
    uint64_t restart_ms; /* when; 0: not waited for */
};

static uint64_t now_ms(void)
{
    return hd_now_ns() / 1000000;
}

static struct host *host_in(struct supervisor *s, enum role role)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
        if (s->hosts[i].role == role)
            return &s->hosts[i];
    return NULL;
}

static struct host *other_than(struct supervisor *s, const struct host *h)
{
    struct host *o = &s->hosts[h == &s->hosts[0]];

    return o->role ? o : NULL;
}

/* --- sockets that are kept ------------------------------------------------------------------------------ */

static void drop(struct supervisor *s, const char *name)
{
    for (struct kept **at = &s->kept; *at; at = &(*at)->next) {
        struct kept *k = *at;

        if (strcmp(k->name, name))
            continue;
        *at = k->next;
        close(k->fd);
        hd_free(k);
        return;
    }
}

/* What a host opened that never came to serve. */
static void drop_of(struct supervisor *s, unsigned generation)
{
    struct kept *next;

    for (struct kept *k = s->kept; k; k = next) {
        next = k->next;
        if (k->generation == generation)
            drop(s, k->name);
    }
}

static void keep(struct supervisor *s, unsigned generation, const char *name, int fd)
{
    struct kept *k = fd < 0 ? NULL : hd_malloc(sizeof(*k) + strlen(name) + 1);

    drop(s, name);
    if (!k) {
        hd_log(HD_LOG_WARNING, "a socket is not kept", HD_KV("socket", name));
        if (fd >= 0)
            close(fd);
        return;
    }
    k->fd = fd;
    k->generation = generation;
    strcpy(k->name, name);
    k->next = s->kept;
    s->kept = k;
}

/* --- plugins that are blamed -----------------------------------------------------------------------------
 */

static void forgive(struct supervisor *s, const char *plugin)
{
    for (struct blamed **at = &s->blamed; *at; at = &(*at)->next) {
        struct blamed *b = *at;

        if (strcmp(b->plugin, plugin))
            continue;
        *at = b->next;
        hd_free(b);
        return;
    }
}

static void blame(struct supervisor *s, const char *plugin)
{
    struct blamed *b = s->blamed;

    while (b && strcmp(b->plugin, plugin))
        b = b->next;
    if (!b && (b = hd_calloc(1, sizeof(*b)))) {
        snprintf(b->plugin, sizeof(b->plugin), "%s", plugin);
        b->next = s->blamed;
        s->blamed = b;
    }
    if (b)
        b->times++;
    hd_log(HD_LOG_ERROR, "the host has crashed in a plugin", HD_KV("plugin", plugin),
           HD_KV("times", b ? b->times : 1));
}

/* In which plugin has it crashed? A kill that nobody can catch is no plugin's fault. */
static void find_blame(struct supervisor *s, const struct host *h, int status)
{
    char plugin[HD_BLAME_NAME] = "";

    if (h->page)
        hd_blame_page_read(h->page, WIFEXITED(status), plugin);
    if (*plugin)
        blame(s, plugin);
}

/* --- starting a host ------------------------------------------------------------------------------------ */

/* In the child: becomes the host. It stays deaf to signals until it can handle them. */
static void become_host(const struct supervisor *s, int channel, pid_t parent)
{
    static const int heard[] = {SIGCHLD, SIGQUIT};
    sigset_t mask = s->before;
    char number[24];
    char *const argv[] = {(char *)(uintptr_t)s->program, "-c", (char *)(uintptr_t)s->conf->path, NULL};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setpgid(0, 0); /* a terminal's ^C is for the supervisor, which passes it on, once */
    snprintf(number, sizeof(number), "%d", channel);
    setenv(HD_SUPER_VARIABLE, number, 1);
    snprintf(number, sizeof(number), "%ld", (long)getpid());
    if (getenv("WATCHDOG_PID"))
        setenv("WATCHDOG_PID", number, 1);
    hd_environment_give_back();
    fcntl(channel, F_SETFD, 0);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR2);
    for (size_t i = 0; i < HD_ARRAY_LEN(heard); i++)
        sigdelset(&mask, heard[i]);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    execv(s->program, argv);
    fprintf(stderr, "howdahd: cannot run %s: %s\n", s->program, strerror(errno));
    _exit(127);
}

/* All that it has to know before it starts. Where it is gone again, its end will be noticed. */
static void tell_beginning(struct supervisor *s, struct host *h, int peer, int page)
{
    char text[64];

    for (const struct kept *k = s->kept; k; k = k->next)
        hd_super_send(h->channel, HD_SUPER_KEPT, 0, k->name, k->fd);
    if (s->share_fd >= 0)
        hd_super_send(h->channel, HD_SUPER_SHARE, (uint32_t)(h - s->hosts), NULL, s->share_fd);
    if (page >= 0)
        hd_super_send(h->channel, HD_SUPER_PAGE, 0, NULL, page);
    for (const struct blamed *b = s->blamed; b; b = b->next)
        hd_super_send(h->channel, HD_SUPER_BLAMED, b->times, b->plugin, -1);
    if (peer >= 0)
        hd_super_send(h->channel, HD_SUPER_PEER, 0, NULL, peer);
    snprintf(text, sizeof(text), "%u %u %u %u", h->generation, s->crashes, (unsigned)!s->served,
             (unsigned)s->background);
    hd_super_send(h->channel, HD_SUPER_BEGIN, HD_SUPER_VERSION, text, -1);
}

static int start(struct supervisor *s, struct hd_error *err)
{
    struct host *h = s->hosts[0].role ? &s->hosts[1] : &s->hosts[0];
    int ends[2], peers[2] = {-1, -1}, page = -1, e = hd_super_pair(ends);
    pid_t parent = getpid(), pid;

    if (e)
        return hd_fail(err, HD_EIO, "no way to talk to a new host: %s", strerror(e));
    if (other_than(s, h) && (e = hd_super_pair(peers)))
        hd_log(HD_LOG_WARNING, "no way between the hosts", HD_KV("reason", strerror(e)));
    pid = fork();
    if (!pid)
        become_host(s, ends[1], parent);
    e = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        if (peers[0] >= 0) {
            close(peers[0]);
            close(peers[1]);
        }
        return hd_fail(err, HD_EIO, "cannot start a new host: fork: %s", strerror(e));
    }
    *h = (struct host){.role = STARTING,
                       .pid = pid,
                       .channel = ends[0],
                       .generation = ++s->generation,
                       .started_ms = now_ms()};
    e = hd_blame_page_make(&h->page, &page);
    if (e)
        hd_log(HD_LOG_WARNING, "crashes cannot be blamed on plugins", HD_KV("reason", strerror(e)));
    tell_beginning(s, h, peers[1], page);
    if (page >= 0)
        close(page);
    if (peers[1] >= 0)
        close(peers[1]);
    if (s->peer_fd >= 0)
        close(s->peer_fd);
    s->peer_fd = peers[0];
    return HD_OK;
}

/* --- the end of one, and what follows --------------------------------------------------------------------
 */

/* How long to wait after so many crashes, one soon after the other. */
static uint64_t backoff_ms(unsigned in_succession)
{
    uint64_t ms = BACKOFF_FIRST_MS;

    if (in_succession < 2)
        return 0;
    for (unsigned i = 2; i < in_succession && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

static void restart_later(struct supervisor *s, const struct host *h)
{
    uint64_t now = now_ms(), wait;

    if (now - h->started_ms > STEADY_MS)
        s->in_succession = 0;
    s->in_succession++;
    wait = backoff_ms(s->in_succession);
    s->restart_ms = now + wait;
    if (s->in_succession > 1)
        hd_log(HD_LOG_WARNING, "the host keeps crashing", HD_KV("in_succession", s->in_succession),
               HD_KV("next_start_ms", wait));
    hd_notify_status("the host has crashed and is started again");
}

static void restart(struct supervisor *s)
{
    struct hd_error err = HD_ERROR_INIT;

    s->restart_ms = 0;
    if (!start(s, &err))
        return;
    hd_log(HD_LOG_ERROR, "no host", HD_KV("reason", err.text));
    s->restart_ms = now_ms() + 1000;
}

static void log_end(const struct host *h, int status, int crashed)
{
    static const char *const roles[] = {"", "starting", "serving", "retiring"};
    enum hd_log_level level = crashed ? HD_LOG_ERROR : HD_LOG_INFO;

    if (WIFSIGNALED(status))
        hd_log(level, crashed ? "the host has crashed" : "the host has ended", HD_KV("pid", (int64_t)h->pid),
               HD_KV("was", roles[h->role]), HD_KV("signal", strsignal(WTERMSIG(status))),
               HD_KV("core", WCOREDUMP(status) ? "yes" : "no"));
    else
        hd_log(level, crashed ? "the host has crashed" : "the host has ended", HD_KV("pid", (int64_t)h->pid),
               HD_KV("was", roles[h->role]), HD_KV("status", WEXITSTATUS(status)));
}

static void pass_on(struct supervisor *s, int number)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
        if (s->hosts[i].role)
            kill(s->hosts[i].pid, number);
}

/* It ended in good order: so does all of it. */
static void finish(struct supervisor *s, int status)
{
    s->status = status;
    if (!s->stopping)
        pass_on(s, SIGTERM); /* one that still retires */
    s->stopping = 1;
}

static void upgrade_failed(struct host *serving, const char *why)
{
    hd_log(HD_LOG_ERROR, "upgrade failed; the old host goes on", HD_KV("reason", why));
    hd_super_send(serving->channel, HD_SUPER_NOT_UPGRADED, 0, why, -1);
}

/* A host is gone; `h` says what it was. */
static void ended(struct supervisor *s, const struct host *h, int status)
{
    int crashed = !s->stopping && !h->stopping && (WIFSIGNALED(status) || WEXITSTATUS(status));
    struct host *serving = host_in(s, SERVING);

    log_end(h, status, crashed);
    if (crashed) {
        s->crashes++;
        find_blame(s, h, status);
    }
    if (h->role == STARTING && serving) {
        drop_of(s, h->generation);
        upgrade_failed(serving, "the new host has ended before it was ready; see the log");
    } else if (h->role == RETIRING) {
        return; /* another one serves, or will */
    } else if (!crashed || !s->served) {
        finish(s, status); /* also a first one that cannot start: who started us wants to know at once */
    } else if (!host_in(s, STARTING)) {
        restart_later(s, h);
    }
}

/* --- upgrade -------------------------------------------------------------------------------------------- */

static void upgrade(struct supervisor *s)
{
    struct host *serving = host_in(s, SERVING), *retiring = host_in(s, RETIRING);
    struct hd_error err = HD_ERROR_INIT;

    if (!serving || s->stopping || serving->stopping)
        return; /* a crashed one is being replaced by a new one anyhow */
    if (host_in(s, STARTING)) {
        hd_fail(&err, HD_EBUSY, "an upgrade is under way already");
    } else if (retiring) {
        hd_fail(&err, HD_EBUSY,
                "the last upgrade is not over: process %ld still has clients that could not be handed over; "
                "it ends "
                "with them, or after upgrade_timeout",
                (long)retiring->pid);
    } else if (!start(s, &err)) {
        hd_log(HD_LOG_INFO, "upgrade begins", HD_KV("old", (int64_t)serving->pid),
               HD_KV("new", (int64_t)other_than(s, serving)->pid));
        return;
    }
    upgrade_failed(serving, err.text);
}

/* One that serves takes over from whoever did. */
static void ready(struct supervisor *s, struct host *h)
{
    struct host *old = other_than(s, h);

    if (h->role != STARTING)
        return;
    h->role = SERVING;
    s->served = 1;
    if (old && s->peer_fd >= 0)
        hd_super_send(old->channel, HD_SUPER_PEER, 0, NULL, s->peer_fd);
    if (s->peer_fd >= 0)
        close(s->peer_fd);
    s->peer_fd = -1;
    if (old && old->role == SERVING) {
        old->role = RETIRING;
        hd_super_send(old->channel, HD_SUPER_UPGRADED, (uint32_t)h->pid, NULL, -1);
        hd_super_send(old->channel, HD_SUPER_RETIRE, 0, NULL, -1);
        hd_log(HD_LOG_INFO, "upgraded", HD_KV("old", (int64_t)old->pid), HD_KV("new", (int64_t)h->pid));
    }
    if (s->ready_fd >= 0)
        hd_daemon_ready(s->ready_fd);
    s->ready_fd = -1;
}

/* --- what hosts say ------------------------------------------------------------------------------------- */

static void change_log(const struct hd_super_message *m)
{
    int e = m->text[0] ? hd_log_open(m->text) : hd_log_open(NULL);

    if (e)
        hd_log(HD_LOG_ERROR, "cannot open the log", HD_KV("file", m->text), HD_KV("reason", strerror(e)));
    if (m->value <= HD_LOG_DEBUG)
        hd_log_set_level((enum hd_log_level)m->value);
}

/* The one that serves ends in good order: nobody is to wait at its addresses, nor at the side of another. */
static void end_all(struct supervisor *s, const struct host *h)
{
    const struct host *other = other_than(s, h);

    while (s->kept)
        drop(s, s->kept->name);
    if (other && !s->stopping)
        kill(other->pid, SIGTERM);
    s->stopping = 1;
}

static void on_message(struct supervisor *s, struct host *h, struct hd_super_message *m)
{
    int retires = h->role == RETIRING;

    switch (m->type) {
    case HD_SUPER_KEEP:
        keep(s, h->generation, m->text, m->fd);
        m->fd = -1;
        break;
    case HD_SUPER_DROP:
        if (h->role == SERVING) /* else it is another's */
            drop(s, m->text);
        break;
    case HD_SUPER_READY:
        ready(s, h);
        break;
    case HD_SUPER_STOPPING:
        h->stopping = 1;
        if (h->role == SERVING)
            end_all(s, h);
        break;
    case HD_SUPER_NOTIFY:
        if (!retires && !(h->role == STARTING && host_in(s, SERVING)))
            hd_notify_text(m->text);
        break;
    case HD_SUPER_LOG:
        if (!retires)
            change_log(m);
        break;
    case HD_SUPER_UPGRADE:
        upgrade(s);
        break;
    case HD_SUPER_FORGIVE:
        forgive(s, m->text);
        break;
    default:
        break;
    }
    if (m->fd >= 0)
        close(m->fd);
}

/* All that it has said up to now. */
static void listen_to(struct supervisor *s, struct host *h)
{
    struct hd_super_message m;
    int got = 0;

    while (h->channel >= 0 && (got = hd_super_receive(h->channel, 0, &m)) > 0)
        on_message(s, h, &m);
    if (got < 0 && h->channel >= 0) {
        close(h->channel); /* its process will be reaped */
        h->channel = -1;
    }
}

/* --- signals ---------------------------------------------------------------------------------------------
 */

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++) {
            struct host *h = &s->hosts[i], was;

            if (!h->role || h->pid != pid)
                continue;
            listen_to(s, h); /* its last words */
            was = *h;
            if (h->channel >= 0)
                close(h->channel);
            *h = (struct host){.role = NONE, .channel = -1};
            hd_share_page_clear(s->share, (unsigned)i);
            ended(s, &was, status);
            hd_blame_page_free(was.page);
            break;
        }
}

/* Asked to stop. One that cannot hear yet is ended when asked twice. */
static void stop(struct supervisor *s, int number)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
        if (s->hosts[i].role)
            kill(s->hosts[i].pid, s->stopping && s->hosts[i].role == STARTING ? SIGKILL : number);
    s->stopping = 1;
    s->restart_ms = 0;
}

static void on_signal(struct supervisor *s, int number)
{
    struct host *serving = host_in(s, SERVING) ? host_in(s, SERVING) : host_in(s, STARTING);

    switch (number) {
    case SIGCHLD:
        reap(s);
        break;
    case SIGHUP:
        hd_log_reopen();
        if (serving)
            kill(serving->pid, SIGHUP);
        break;
    case SIGUSR2:
        upgrade(s);
        break;
    default:
        stop(s, number);
        break;
    }
}

static void read_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        on_signal(s, (int)info.ssi_signo);
}

static int watch_signals(struct supervisor *s)
{
    static const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR2};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < HD_ARRAY_LEN(numbers); i++)
        sigaddset(&set, numbers[i]);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, &s->before))
        return -1;
    s->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->signals;
}

/* --- the loop --------------------------------------------------------------------------------------------
 */

/* Milliseconds until something is due; -1: nothing is. */
static int next_due(struct supervisor *s)
{
    const struct host *starting = host_in(s, STARTING);
    uint64_t now = now_ms(), due = s->restart_ms;

    if (!due && starting && host_in(s, SERVING))
        due = starting->started_ms + START_MS;
    if (!due)
        return -1;
    return due > now ? (int)(due - now) : 0;
}

static void on_time(struct supervisor *s)
{
    struct host *starting = host_in(s, STARTING);
    uint64_t now = now_ms();

    if (s->restart_ms && now >= s->restart_ms)
        restart(s);
    else if (starting && host_in(s, SERVING) && now >= starting->started_ms + START_MS)
        kill(starting->pid, SIGKILL); /* its end is the failure of the upgrade */
}

static int has_hosts(const struct supervisor *s)
{
    return s->hosts[0].role || s->hosts[1].role;
}

static void loop(struct supervisor *s)
{
    while (has_hosts(s) || (s->restart_ms && !s->stopping)) {
        struct pollfd fds[1 + HD_ARRAY_LEN(s->hosts)] = {{.fd = s->signals, .events = POLLIN}};

        for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
            fds[1 + i] = (struct pollfd){.fd = s->hosts[i].role ? s->hosts[i].channel : -1, .events = POLLIN};
        if (poll(fds, HD_ARRAY_LEN(fds), next_due(s)) > 0) {
            for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
                if (fds[1 + i].revents)
                    listen_to(s, &s->hosts[i]);
            if (fds[0].revents)
                read_signals(s);
        }
        on_time(s);
    }
}

/* Ends as the host has. */
static int exit_code(const struct supervisor *s)
{
    struct rlimit none = {0, 0};
    int number;

    if (!WIFSIGNALED(s->status))
        return WEXITSTATUS(s->status);
    number = WTERMSIG(s->status);
    setrlimit(RLIMIT_CORE, &none); /* the host's is the one to look at */
    signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
    raise(number);
    return 128 + number;
}

static int prepare(struct supervisor *s, struct hd_error *err)
{
    ssize_t n = readlink("/proc/self/exe", s->program, sizeof(s->program) - 1);
    int e = s->conf->log_file[0] ? hd_log_open(s->conf->log_file) : 0;

    if (n <= 0)
        return hd_fail(err, HD_EIO, "the path of this program: %s", strerror(errno));
    s->program[n] = 0; /* read now: later another file may go by it, and that is the one to start */
    if (e)
        return hd_fail(err, HD_EIO, "cannot open the log %s: %s", s->conf->log_file, strerror(e));
    hd_log_set_level((enum hd_log_level)s->conf->log_level);
    e = hd_share_page_make(&s->share, &s->share_fd);
    if (e)
        hd_log(HD_LOG_WARNING, "pools are not shared between hosts", HD_KV("reason", strerror(e)));
    if (watch_signals(s) < 0)
        return hd_fail(err, HD_EIO, "signals cannot be watched: %s", strerror(errno));
    return HD_OK;
}

int hd_supervisor_run(const struct hd_supervisor_conf *conf)
{
    struct supervisor s = {.conf = conf,
                           .hosts = {{.channel = -1}, {.channel = -1}},
                           .signals = -1,
                           .ready_fd = conf->ready_fd,
                           .background = conf->ready_fd >= 0,
                           .peer_fd = -1,
                           .share_fd = -1,
                           .status = 1 << 8};
    struct hd_error err = HD_ERROR_INIT;
    int pid_fd = -1, code = HD_OK;

    if (conf->pid_file[0] && (pid_fd = hd_pid_file_take(conf->pid_file, &err)) < 0)
        code = pid_fd;
    if (!code)
        code = prepare(&s, &err);
    if (!code)
        code = start(&s, &err);
    if (code)
        fprintf(stderr, "howdahd: %s\n", err.text);
    else
        loop(&s);
    while (s.kept)
        drop(&s, s.kept->name);
    hd_share_page_free(s.share);
    while (s.blamed)
        forgive(&s, s.blamed->plugin);
    if (pid_fd >= 0)
        hd_pid_file_drop(conf->pid_file, pid_fd);
    return exit_code(&s);
}
