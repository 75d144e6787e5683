/*
 * Background, pid file, systemd, limits; see daemon.h.
 */
#include "host/daemon.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

/* --- background ------------------------------------------------------------------------------------------
 */

/* What the started process does: waits until the child is ready, or gone. */
static void wait_and_exit(int fd)
{
    char c;
    ssize_t n;

    do
        n = read(fd, &c, 1);
    while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

int hd_daemon_start(struct hd_error *err)
{
    int fds[2], null;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC))
        return hd_fail(err, HD_EIO, "cannot go to the background: pipe: %s", strerror(errno));
    pid = fork();
    if (pid < 0) {
        hd_fail(err, HD_EIO, "cannot go to the background: fork: %s", strerror(errno));
        close(fds[0]);
        close(fds[1]);
        return HD_EIO;
    }
    if (pid > 0) {
        close(fds[1]);
        wait_and_exit(fds[0]);
    }
    close(fds[0]);
    setsid();
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || chdir("/")) {
        close(fds[1]);
        return hd_fail(err, HD_EIO, "cannot go to the background: %s", strerror(errno));
    }
    if (null > STDERR_FILENO)
        close(null);
    return fds[1];
}

void hd_daemon_leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int out = STDOUT_FILENO; out <= STDERR_FILENO && null >= 0; out++)
        if (isatty(out))
            dup2(null, out);
    if (null > STDERR_FILENO)
        close(null);
}

void hd_daemon_ready(int fd)
{
    ssize_t n;

    hd_daemon_leave_terminal();
    do
        n = write(fd, "r", 1);
    while (n < 0 && errno == EINTR);
    close(fd);
}

/* --- the pid file ----------------------------------------------------------------------------------------
 */

/* Is the file that we have locked still the one of that name? Its last holder may have removed it meanwhile.
 */
static int is_same(int fd, const char *path)
{
    struct stat a, b;

    return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int taken(const char *path, int fd, struct hd_error *err)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
    close(fd);
    return hd_fail(err, HD_EBUSY, "%s is held by process %s: howdahd runs already with this configuration",
                   path, *pid ? pid : "?");
}

int hd_pid_file_take(const char *path, struct hd_error *err)
{
    char pid[24];
    int fd, len;

    for (;;) {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return hd_fail(err, HD_EIO, "cannot open the pid file %s: %s", path, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB))
            return taken(path, fd, err);
        if (is_same(fd, path))
            break;
        close(fd);
    }
    len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)len, 0) != len) {
        hd_fail(err, HD_EIO, "cannot write the pid file %s: %s", path, strerror(errno));
        hd_pid_file_drop(path, fd);
        return HD_EIO;
    }
    return fd;
}

void hd_pid_file_drop(const char *path, int fd)
{
    if (fd < 0)
        return;
    unlink(path); /* while it is locked, so that it is ours */
    close(fd);
}

/* --- limits ----------------------------------------------------------------------------------------------
 */

unsigned long hd_daemon_raise_files(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l))
        return 0;
    if (l.rlim_cur < l.rlim_max) {
        rlim_t was = l.rlim_cur;

        l.rlim_cur = l.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &l))
            l.rlim_cur = was;
    }
    return (unsigned long)l.rlim_cur;
}

/* --- systemd ---------------------------------------------------------------------------------------------
 */

static void (*notify_send)(void *arg, const char *text);
static void *notify_arg;

void hd_notify_through(void (*send)(void *arg, const char *text), void *arg)
{
    notify_send = send;
    notify_arg = arg;
}

void hd_notify_status(const char *status)
{
    char text[200];

    snprintf(text, sizeof(text), "STATUS=%s", status);
    hd_notify_text(text);
}

#ifdef HAVE_LIBSYSTEMD

static struct hd_loop_timer watchdog;
static int watching;

void hd_notify_text(const char *text)
{
    if (notify_send)
        notify_send(notify_arg, text);
    else
        sd_notify(0, text);
}

void hd_notify_ready(const char *status)
{
    char text[200];

    snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
    hd_notify_text(text);
}

void hd_notify_reloading(void)
{
    struct timespec ts;
    char text[80];

    clock_gettime(CLOCK_MONOTONIC, &ts);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
    hd_notify_text(text);
}

void hd_notify_stopping(void)
{
    hd_notify_text("STOPPING=1");
}

static void alive(struct hd_loop_timer *t)
{
    (void)t;
    hd_notify_text("WATCHDOG=1");
}

void hd_notify_watchdog(struct hd_loop *loop)
{
    uint64_t us;

    if (sd_watchdog_enabled(0, &us) <= 0)
        return;
    hd_loop_timer_init(loop, &watchdog, alive);
    hd_loop_timer_start(&watchdog, us / 2000, us / 2000);
    watching = 1;
}

void hd_notify_watchdog_stop(void)
{
    if (watching)
        hd_loop_timer_close(&watchdog, NULL);
    watching = 0;
}

#else

void hd_notify_text(const char *text)
{
    (void)text;
}

void hd_notify_ready(const char *status)
{
    (void)status;
}

void hd_notify_reloading(void)
{
}

void hd_notify_stopping(void)
{
}

void hd_notify_watchdog(struct hd_loop *loop)
{
    (void)loop;
}

void hd_notify_watchdog_stop(void)
{
}

#endif
