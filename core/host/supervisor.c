/*
 * The supervisor; see supervisor.h. One loop over poll(2): signals come through a descriptor, hosts talk over
 * theirs; and what follows from what is heard.
 */
#include "host/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/units.h"
#include "host/daemon.h"
#include "host/supervisor_parts.h"
#include "host/supervisor_wire.h"

/* A host that has lived so long counts as well: the next crash is the first again. */
#define STEADY_MS 60000u
/* The first crash is answered at once, the second after the first of these; then it doubles. */
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS   30000u
/* [host] start_timeout, until a host has told. */
#define START_MS 120000u

uint64_t hd_super_now_ms(void)
{
    return hd_now_ns() / 1000000;
}

struct hd_super_host *hd_super_host_in(struct hd_supervisor *s, enum hd_super_role role)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
        if (s->hosts[i].role == role)
            return &s->hosts[i];
    return NULL;
}

struct hd_super_host *hd_super_other(struct hd_supervisor *s, const struct hd_super_host *h)
{
    struct hd_super_host *o = &s->hosts[h == &s->hosts[0]];

    return o->role ? o : NULL;
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

static void restart_later(struct hd_supervisor *s, const struct hd_super_host *h)
{
    uint64_t now = hd_super_now_ms(), wait;

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

static void restart(struct hd_supervisor *s)
{
    struct hd_error err = HD_ERROR_INIT;

    s->restart_ms = 0;
    if (!hd_supervisor_start(s, &err))
        return;
    hd_log(HD_LOG_ERROR, "no host", HD_KV("reason", err.text));
    s->restart_ms = hd_super_now_ms() + 1000;
}

static void log_end(const struct hd_super_host *h, int status, int crashed)
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

static void pass_on(struct hd_supervisor *s, int number)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
        if (s->hosts[i].role)
            kill(s->hosts[i].pid, number);
}

/* It ended in good order: so does all of it. */
static void finish(struct hd_supervisor *s, int status)
{
    s->status = status;
    if (!s->stopping)
        pass_on(s, SIGTERM); /* one that still retires */
    s->stopping = 1;
}

static void upgrade_failed(struct hd_super_host *serving, const char *why)
{
    hd_log(HD_LOG_ERROR, "upgrade failed; the old host goes on", HD_KV("reason", why));
    hd_super_send(serving->channel, HD_SUPER_NOT_UPGRADED, 0, why, -1);
}

/* Why did it never come to serve? In words for whoever has asked for it. */
static void say_why(const struct hd_supervisor *s, const struct hd_super_host *h, int status, char *out,
                    size_t room)
{
    if (h->why[0])
        snprintf(out, room, "the new host cannot start: %s", h->why);
    else if (h->late)
        snprintf(out, room, "the new host did not serve within start_timeout (%llu ms), and was ended",
                 (unsigned long long)s->start_ms);
    else if (WIFSIGNALED(status))
        snprintf(out, room, "the new host was ended by a signal (%s) before it was ready; see the log",
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, room,
                 "the new host ended with status %d before it was ready and said nothing; is %s howdahd?",
                 WEXITSTATUS(status), s->program);
}

/* It is not waited for any more. */
static void give_up(struct hd_super_host *h)
{
    h->late = 1;
    kill(h->pid, SIGKILL);
}

/* A host is gone; `h` says what it was. One that ends without being told to has crashed, whatever its status:
 * nobody else would serve. */
static void ended(struct hd_supervisor *s, const struct hd_super_host *h, int status)
{
    int crashed = !s->stopping && !h->stopping;
    char why[HD_SUPER_WHY + 64];
    struct hd_super_host *serving = hd_super_host_in(s, HD_ROLE_SERVING);

    log_end(h, status, crashed);
    if (crashed) {
        s->crashes++;
        hd_supervisor_find_blame(s, h, status);
    }
    if (h->role == HD_ROLE_STARTING && serving) {
        hd_supervisor_drop_of(s, h->generation);
        say_why(s, h, status, why, sizeof(why));
        upgrade_failed(serving, why);
    } else if (h->role == HD_ROLE_RETIRING || (s->stopping && h->late)) {
        return; /* how another one ends is what counts */
    } else if (!crashed || !s->served) {
        finish(s, status); /* also a first one that cannot start: who started us wants to know at once */
    } else if (!hd_super_host_in(s, HD_ROLE_STARTING)) {
        restart_later(s, h);
    }
}

/* --- upgrade -------------------------------------------------------------------------------------------- */

static void upgrade(struct hd_supervisor *s)
{
    struct hd_super_host *serving = hd_super_host_in(s, HD_ROLE_SERVING),
                         *retiring = hd_super_host_in(s, HD_ROLE_RETIRING);
    struct hd_error err = HD_ERROR_INIT;

    if (!serving || s->stopping || serving->stopping) {
        hd_log(HD_LOG_WARNING, "no upgrade: no host serves, or it ends");
        return;
    }
    if (hd_super_host_in(s, HD_ROLE_STARTING)) {
        hd_fail(&err, HD_EBUSY, "an upgrade is under way already");
    } else if (retiring) {
        hd_fail(&err, HD_EBUSY,
                "the last upgrade is not over: process %ld still has clients that could not be handed over; "
                "it ends with them, or after upgrade_timeout",
                (long)retiring->pid);
    } else if (!hd_supervisor_start(s, &err)) {
        hd_log(HD_LOG_INFO, "upgrade begins", HD_KV("old", (int64_t)serving->pid),
               HD_KV("new", (int64_t)hd_super_other(s, serving)->pid));
        return;
    }
    upgrade_failed(serving, err.text);
}

/* One that serves takes over from whoever did; but not one that has been killed since it said so. */
static void ready(struct hd_supervisor *s, struct hd_super_host *h)
{
    struct hd_super_host *old = hd_super_other(s, h);

    if (h->role != HD_ROLE_STARTING || h->late)
        return;
    h->role = HD_ROLE_SERVING;
    s->served = 1;
    if (old && s->peer_fd >= 0)
        hd_super_send(old->channel, HD_SUPER_PEER, 0, NULL, s->peer_fd);
    if (s->peer_fd >= 0)
        close(s->peer_fd);
    s->peer_fd = -1;
    if (old && old->role == HD_ROLE_SERVING) {
        old->role = HD_ROLE_RETIRING;
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
static void end_all(struct hd_supervisor *s, const struct hd_super_host *h)
{
    struct hd_super_host *other = hd_super_other(s, h);

    while (s->kept)
        hd_supervisor_drop(s, s->kept->name);
    if (other && other->role == HD_ROLE_STARTING)
        give_up(other);
    else if (other && !s->stopping)
        kill(other->pid, SIGTERM);
    s->stopping = 1;
}

static void on_message(struct hd_supervisor *s, struct hd_super_host *h, struct hd_super_message *m)
{
    int retires = h->role == HD_ROLE_RETIRING;

    switch (m->type) {
    case HD_SUPER_KEEP:
        hd_supervisor_keep(s, h->generation, m->text, m->fd);
        m->fd = -1;
        break;
    case HD_SUPER_DROP:
        if (h->role == HD_ROLE_SERVING) /* else it is another's */
            hd_supervisor_drop(s, m->text);
        break;
    case HD_SUPER_READY:
        ready(s, h);
        break;
    case HD_SUPER_STOPPING:
        h->stopping = 1;
        if (h->role == HD_ROLE_SERVING)
            end_all(s, h);
        break;
    case HD_SUPER_NOTIFY:
        if (!retires && !(h->role == HD_ROLE_STARTING && hd_super_host_in(s, HD_ROLE_SERVING)))
            hd_notify_text(m->text);
        break;
    case HD_SUPER_LOG:
        if (!retires)
            change_log(m);
        break;
    case HD_SUPER_UPGRADE:
        upgrade(s);
        break;
    case HD_SUPER_FAILED:
        snprintf(h->why, sizeof(h->why), "%.*s", HD_SUPER_WHY - 1, m->text);
        break;
    case HD_SUPER_START_MS:
        if (!retires && m->value)
            s->start_ms = m->value;
        break;
    case HD_SUPER_FORGIVE:
        hd_supervisor_forgive(s, m->text);
        break;
    default:
        break;
    }
    if (m->fd >= 0)
        close(m->fd);
}

/* All that it has said up to now. */
static void listen_to(struct hd_supervisor *s, struct hd_super_host *h)
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

static void reap(struct hd_supervisor *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++) {
            struct hd_super_host *h = &s->hosts[i], was;

            if (!h->role || h->pid != pid)
                continue;
            listen_to(s, h); /* its last words */
            was = *h;
            if (h->channel >= 0)
                close(h->channel);
            *h = (struct hd_super_host){.role = HD_ROLE_NONE, .channel = -1};
            hd_share_page_clear(s->share, (unsigned)i);
            ended(s, &was, status);
            hd_blame_page_free(was.page);
            break;
        }
}

/* Asked to stop. One that has not taken over is not waited for; nor is one that starts alone when asked
 * twice, for it may never hear. */
static void stop(struct hd_supervisor *s, int number)
{
    int again = s->stopping;

    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++)
        if (s->hosts[i].role)
            listen_to(s, &s->hosts[i]); /* one that is ready by now has taken over */
    for (size_t i = 0; i < HD_ARRAY_LEN(s->hosts); i++) {
        struct hd_super_host *h = &s->hosts[i];

        if (h->role == HD_ROLE_STARTING && hd_super_host_in(s, HD_ROLE_SERVING))
            give_up(h);
        else if (h->role)
            kill(h->pid, again && h->role == HD_ROLE_STARTING ? SIGKILL : number);
    }
    if (s->restart_ms)
        s->status = 0; /* none is there that could say how it ended */
    s->stopping = 1;
    s->restart_ms = 0;
}

static void on_signal(struct hd_supervisor *s, int number)
{
    struct hd_super_host *serving = hd_super_host_in(s, HD_ROLE_SERVING)
                                        ? hd_super_host_in(s, HD_ROLE_SERVING)
                                        : hd_super_host_in(s, HD_ROLE_STARTING);

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

static void read_signals(struct hd_supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        on_signal(s, (int)info.ssi_signo);
}

static int watch_signals(struct hd_supervisor *s)
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

/* The host whose start is waited for, but not for ever; the first one's is, for nobody would be better off.
 */
static struct hd_super_host *hurried(struct hd_supervisor *s)
{
    struct hd_super_host *h = s->served ? hd_super_host_in(s, HD_ROLE_STARTING) : NULL;

    return h && !h->late ? h : NULL;
}

/* Milliseconds until something is due; -1: nothing is. */
static int next_due(struct hd_supervisor *s)
{
    const struct hd_super_host *starting = hurried(s);
    uint64_t now = hd_super_now_ms(), due = s->restart_ms;

    if (!due && starting)
        due = starting->started_ms + s->start_ms;
    if (!due)
        return -1;
    return due > now ? (int)(due - now) : 0;
}

static void on_time(struct hd_supervisor *s)
{
    struct hd_super_host *starting = hurried(s);
    uint64_t now = hd_super_now_ms();

    if (s->restart_ms && now >= s->restart_ms) {
        restart(s);
    } else if (starting && now >= starting->started_ms + s->start_ms) {
        give_up(starting); /* its end is the failure of the upgrade */
    }
}

static int has_hosts(const struct hd_supervisor *s)
{
    return s->hosts[0].role || s->hosts[1].role;
}

static void loop(struct hd_supervisor *s)
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
static int exit_code(const struct hd_supervisor *s)
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

static int prepare(struct hd_supervisor *s, struct hd_error *err)
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
    struct hd_supervisor s = {.conf = conf,
                              .hosts = {{.channel = -1}, {.channel = -1}},
                              .signals = -1,
                              .ready_fd = conf->ready_fd,
                              .background = conf->ready_fd >= 0,
                              .peer_fd = -1,
                              .share_fd = -1,
                              .start_ms = START_MS,
                              .status = 1 << 8};
    struct hd_error err = HD_ERROR_INIT;
    int pid_fd = -1, code = HD_OK;

    if (conf->pid_file[0] && (pid_fd = hd_pid_file_take(conf->pid_file, &err)) < 0)
        code = pid_fd;
    if (!code)
        code = prepare(&s, &err);
    if (!code)
        code = hd_supervisor_start(&s, &err);
    if (code)
        fprintf(stderr, "howdahd: %s\n", err.text);
    else
        loop(&s);
    while (s.kept)
        hd_supervisor_drop(&s, s.kept->name);
    hd_share_page_free(s.share);
    while (s.blamed)
        hd_supervisor_forgive(&s, s.blamed->plugin);
    if (pid_fd >= 0)
        hd_pid_file_drop(conf->pid_file, pid_fd);
    return exit_code(&s);
}
