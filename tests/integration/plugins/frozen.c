/*
 * A disk that hangs, for LD_PRELOAD: while the file FROZEN_FLAG is there, whoever writes to a file below the
 * folder FROZEN_FOLDER, or asks for its file system, waits, as on a server of files that has gone.
 * FROZEN_FLAG with .waiting at its end is made when somebody waits.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Those that are replaced here, as the C library has them. */
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at);
int ftruncate64(int fd, off64_t size);

static int is_below(const char *path)
{
    const char *folder = getenv("FROZEN_FOLDER");
    size_t len = folder ? strlen(folder) : 0;

    return len && strncmp(path, folder, len) == 0 && (path[len] == '/' || !path[len]);
}

static void wait_for_thaw(void)
{
    const char *flag = getenv("FROZEN_FLAG");
    struct timespec moment = {.tv_nsec = 10000000};
    char waiting[4096];
    int fd;

    snprintf(waiting, sizeof(waiting), "%s.waiting", flag);
    fd = open(waiting, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    while (access(flag, F_OK) == 0)
        nanosleep(&moment, NULL);
}

static int is_frozen(void)
{
    const char *flag = getenv("FROZEN_FLAG");

    return flag && access(flag, F_OK) == 0;
}

static void meet(int fd)
{
    char link[40], path[4096];
    ssize_t n;

    if (!is_frozen())
        return;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0)
        return;
    path[n] = 0;
    if (is_below(path))
        wait_for_thaw();
}

/* What follows is seen by everybody, whatever the build hides. */
#pragma GCC visibility push(default)

/* Of the same type as the pointer. */
#define REAL(pointer, name) (*(void **)&(pointer) = dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t (*real)(int, const void *, size_t);

    REAL(real, "write");
    meet(fd);
    return real(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    ssize_t (*real)(int, const void *, size_t, off_t);

    REAL(real, "pwrite");
    meet(fd);
    return real(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t);

    REAL(real, "pwrite64");
    meet(fd);
    return real(fd, bytes, size, at);
}

int fdatasync(int fd)
{
    int (*real)(int);

    REAL(real, "fdatasync");
    meet(fd);
    return real(fd);
}

int fsync(int fd)
{
    int (*real)(int);

    REAL(real, "fsync");
    meet(fd);
    return real(fd);
}

int ftruncate(int fd, off_t size)
{
    int (*real)(int, off_t);

    REAL(real, "ftruncate");
    meet(fd);
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    int (*real)(int, off64_t);

    REAL(real, "ftruncate64");
    meet(fd);
    return real(fd, size);
}

int statvfs(const char *path, struct statvfs *out)
{
    int (*real)(const char *, struct statvfs *);

    REAL(real, "statvfs");
    if (is_below(path) && is_frozen())
        wait_for_thaw();
    return real(path, out);
}

#pragma GCC visibility pop
