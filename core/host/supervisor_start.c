/*
 * How the supervisor starts a host: a child that becomes the program, and what it is told on its way; see
 * supervisor_parts.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "host/environment.h"
#include "host/supervisor_parts.h"
#include "host/supervisor_wire.h"

/* So long the supervisor waits for a new host that does not read what it is told. The socket holds hundreds
 * of messages, so that this is one with very many addresses that hangs. */
#define SEND_S 5

/* The last words of the child. */
static void cannot_run(const struct hd_supervisor *s, int channel, int e)
{
    char text[HD_SUPER_WHY];

    snprintf(text, sizeof(text), "cannot run %s: %s", s->program, strerror(e));
    fprintf(stderr, "howdahd: %s\n", text);
    hd_super_send(channel, HD_SUPER_FAILED, 0, text, -1);
    _exit(127);
}

/* In the child: becomes the host. It stays deaf to signals until it can handle them. */
static void become_host(const struct hd_supervisor *s, int channel, pid_t parent)
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
    cannot_run(s, channel, errno);
}

/* All that it has to know before it starts. 0, or an errno: it does not listen. */
static int tell_beginning(const struct hd_supervisor *s, const struct hd_super_host *h, int peer, int page)
{
    char text[64];
    int e = 0;

    for (const struct hd_super_kept *k = s->kept; k && !e; k = k->next)
        e = hd_super_send(h->channel, HD_SUPER_KEPT, 0, k->name, k->fd);
    if (!e && s->share_fd >= 0)
        e = hd_super_send(h->channel, HD_SUPER_SHARE, (uint32_t)(h - s->hosts), NULL, s->share_fd);
    if (!e && page >= 0)
        e = hd_super_send(h->channel, HD_SUPER_PAGE, 0, NULL, page);
    for (const struct hd_super_blamed *b = s->blamed; b && !e; b = b->next)
        e = hd_super_send(h->channel, HD_SUPER_BLAMED, b->times, b->plugin, -1);
    if (!e && peer >= 0)
        e = hd_super_send(h->channel, HD_SUPER_PEER, 0, NULL, peer);
    snprintf(text, sizeof(text), "%u %u %u %u", h->generation, s->crashes, (unsigned)!s->served,
             (unsigned)s->background);
    return e ? e : hd_super_send(h->channel, HD_SUPER_BEGIN, HD_SUPER_VERSION, text, -1);
}

static void close_pair(int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    fds[0] = fds[1] = -1;
}

/* The process, and our end of the way to it. */
static pid_t spawn(struct hd_supervisor *s, int *channel, struct hd_error *err)
{
    const struct timeval patience = {.tv_sec = SEND_S};
    int ends[2], e = hd_super_pair(ends);
    pid_t parent = getpid(), pid;

    if (e) {
        hd_fail(err, HD_EIO, "no way to talk to a new host: %s", strerror(e));
        return -1;
    }
    setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    pid = fork();
    if (!pid)
        become_host(s, ends[1], parent);
    if (pid < 0) {
        hd_fail(err, HD_EIO, "cannot start a new host: fork: %s", strerror(errno));
        close_pair(ends);
        return -1;
    }
    close(ends[1]);
    *channel = ends[0];
    return pid;
}

/* What it is told on its way, and where it will note who it is in. One that does not listen is ended; all the
 * rest follows from its end. */
static void equip(struct hd_supervisor *s, struct hd_super_host *h, int peer)
{
    int page = -1, e = hd_blame_page_make(&h->page, &page);

    if (e)
        hd_log(HD_LOG_WARNING, "crashes cannot be blamed on plugins", HD_KV("reason", strerror(e)));
    if (tell_beginning(s, h, peer, page) == EAGAIN) {
        h->late = 1;
        kill(h->pid, SIGKILL);
    }
    if (page >= 0)
        close(page);
}

int hd_supervisor_start(struct hd_supervisor *s, struct hd_error *err)
{
    struct hd_super_host *h = s->hosts[0].role ? &s->hosts[1] : &s->hosts[0];
    int channel, peers[2] = {-1, -1}, e;
    pid_t pid = spawn(s, &channel, err);

    if (pid < 0)
        return err->code;
    if (hd_super_other(s, h) && (e = hd_super_pair(peers)))
        hd_log(HD_LOG_WARNING, "no way between the hosts", HD_KV("reason", strerror(e)));
    *h = (struct hd_super_host){.role = HD_ROLE_STARTING,
                                .pid = pid,
                                .channel = channel,
                                .generation = ++s->generation,
                                .started_ms = hd_super_now_ms()};
    equip(s, h, peers[1]);
    if (peers[1] >= 0)
        close(peers[1]);
    if (s->peer_fd >= 0)
        close(s->peer_fd);
    s->peer_fd = peers[0];
    return HD_OK;
}
