/*
 * Programs; see child.h.
 */
#include "alert-exec/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS  100  /* how often it is looked whether to stop */
#define GRACE_MS 2000 /* that a program gets when the plugin has to stop */

/* The parent's ends, and the process. -1: closed. */
struct running {
    pid_t pid;
    int in, out, process;
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- starting --------------------------------------------------------------------------------------------
 */

static int set_files(posix_spawn_file_actions_t *files, const int in[2], const int out[2])
{
    return posix_spawn_file_actions_adddup2(files, in[0], 0) ||
           posix_spawn_file_actions_addopen(files, 1, "/dev/null", O_WRONLY, 0) ||
           posix_spawn_file_actions_adddup2(files, out[1], 2) ||
           posix_spawn_file_actions_addclosefrom_np(files, 3) ||
           posix_spawn_file_actions_addchdir_np(files, "/");
}

/* A session of its own, so that all that belongs to it can be killed; no signal blocked or ignored. */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    return posix_spawnattr_setsigmask(attr, &none) || posix_spawnattr_setsigdefault(attr, &all) ||
           posix_spawnattr_setflags(attr,
                                    POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(const struct child *c, const int in[2], const int out[2], pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int error;

    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    error = set_files(&files, in, out) || set_attributes(&attr)
                ? ENOMEM
                : posix_spawn(pid, c->argv[0], &files, &attr, c->argv, c->environment);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

static int32_t start(const struct child *c, struct running *r, struct hd_error *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, error = 0;

    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        error = errno;
    if (!error)
        error = spawn(c, in, out, &r->pid);
    shut(&in[0]);
    shut(&out[1]);
    r->in = in[1];
    r->out = out[0];
    r->process = error ? -1 : (int)syscall(SYS_pidfd_open, r->pid, 0);
    if (error) {
        shut(&r->in);
        shut(&r->out);
        return hd_error_set(err, HD_EIO, "%s cannot be run: %s", c->argv[0], strerror(error));
    }
    fcntl(r->in, F_SETFL, O_NONBLOCK);
    fcntl(r->out, F_SETFL, O_NONBLOCK);
    return HD_OK;
}

/* --- talking ---------------------------------------------------------------------------------------------
 */

static void give_input(struct child *c, struct running *r)
{
    ssize_t n = write(r->in, c->input, c->input_size);

    if (n > 0) {
        c->input += n;
        c->input_size -= (size_t)n;
    }
    if (!c->input_size || (n < 0 && errno != EAGAIN && errno != EINTR))
        shut(&r->in); /* it need not read all of it */
}

static void take_words(struct child *c, struct running *r)
{
    char bytes[512];
    ssize_t n = read(r->out, bytes, sizeof(bytes));

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        shut(&r->out);
    for (ssize_t i = 0; i < n && c->words_len + 1 < sizeof(c->words); i++)
        c->words[c->words_len++] = bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : ' ';
}

/* Looks after it until it has ended, or its time has. */
static int32_t attend(struct child *c, struct running *r)
{
    uint64_t end = now_ms() + c->timeout_ms, stop_ms = 0;

    while (1) {
        struct pollfd fds[] = {{.fd = r->process, .events = POLLIN},
                               {.fd = r->in, .events = POLLOUT},
                               {.fd = r->out, .events = POLLIN}};
        uint64_t now = now_ms();

        if (now >= end)
            return HD_ETIMEOUT;
        if (!stop_ms && __atomic_load_n(c->stop, __ATOMIC_RELAXED))
            stop_ms = now;
        if (stop_ms && now - stop_ms >= GRACE_MS)
            return HD_ECANCELLED;
        poll(fds, 3, end - now < LOOK_MS ? (int)(end - now) : LOOK_MS);
        if (fds[1].revents)
            give_input(c, r);
        if (fds[2].revents)
            take_words(c, r);
        if (fds[0].revents)
            return HD_OK;
    }
}

/* --- the end ---------------------------------------------------------------------------------------------
 */

static int32_t outcome(struct child *c, int32_t code, int status, struct hd_error *err)
{
    if (code == HD_ETIMEOUT)
        return hd_error_set(err, code, "it did not end within %llu ms, and was killed",
                            (unsigned long long)c->timeout_ms);
    if (code == HD_ECANCELLED)
        return hd_error_set(err, code, "it was killed: the host stops");
    if (!WIFEXITED(status))
        return hd_error_set(err, HD_EIO, "it died of signal %d", WTERMSIG(status));
    c->status = WEXITSTATUS(status);
    return HD_OK;
}

int32_t child_run(struct child *c, struct hd_error *err)
{
    struct running r = {.in = -1, .out = -1, .process = -1};
    int32_t code = start(c, &r, err);
    int status = 0;

    if (code)
        return code;
    code = r.process < 0 ? HD_ETIMEOUT : attend(c, &r);
    kill(-r.pid, SIGKILL); /* its session; it is not reaped yet, so that the number is still its own */
    kill(r.pid, SIGKILL);
    while (waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r.out >= 0)
        take_words(c, &r);
    shut(&r.in);
    shut(&r.out);
    shut(&r.process);
    return outcome(c, code, status, err);
}
