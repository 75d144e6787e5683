/*
 * The log; see log.h. A line is built on the stack and written with one write(2), so lines of several threads
 * never mix and nothing is buffered when the process dies.
 */
#include "base/log.h"
#include "base/alloc.h"
#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static _Atomic int current_level = HD_LOG_INFO;
static _Atomic int log_fd = STDERR_FILENO;
static _Atomic uint64_t lost_lines;
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static char *log_path;

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void put(struct line *l, const char *s, size_t n)
{
    size_t room = sizeof(l->text) - 1 - l->len; /* one byte stays for the newline */

    if (n > room)
        n = room;
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static int needs_quotes(const char *s)
{
    if (!*s)
        return 1;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || *s == 127)
            return 1;
    return 0;
}

static void put_value(struct line *l, const char *s)
{
    char esc[5];

    if (!s)
        s = "";
    if (!needs_quotes(s)) {
        put(l, s, strlen(s));
        return;
    }
    put(l, "\"", 1);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\') {
            put(l, "\\", 1);
            put(l, s, 1);
        } else if (c < ' ' || c == 127) {
            snprintf(esc, sizeof(esc), "\\x%02x", c);
            put(l, esc, 4);
        } else {
            put(l, s, 1);
        }
    }
    put(l, "\"", 1);
}

static void put_kv(struct line *l, const struct hd_kv *kv)
{
    char num[40];

    put(l, " ", 1);
    put(l, kv->key, strlen(kv->key));
    put(l, "=", 1);
    switch (kv->kind) {
    case HD_KV_STR:
        put_value(l, kv->s);
        return;
    case HD_KV_INT:
        snprintf(num, sizeof(num), "%lld", (long long)kv->i);
        break;
    case HD_KV_UINT:
        snprintf(num, sizeof(num), "%llu", (unsigned long long)kv->u);
        break;
    case HD_KV_REAL:
        snprintf(num, sizeof(num), "%.6g", kv->d);
        break;
    }
    put(l, num, strlen(num));
}

static void put_time(struct line *l)
{
    struct timespec ts;
    struct tm tm;
    char text[48];
    size_t n;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = strftime(text, sizeof(text), "ts=%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof(text) - n, ".%03ldZ", ts.tv_nsec / 1000000);
    put(l, text, n);
}

void hd_log_write(enum hd_log_level level, const char *msg, const struct hd_kv *kv, size_t n)
{
    struct line l = {.len = 0};
    ssize_t done;

    put_time(&l);
    put(&l, " level=", 7);
    put(&l, level_names[level], strlen(level_names[level]));
    put(&l, " msg=", 5);
    put_value(&l, msg);
    for (size_t i = 1; i < n; i++)
        put_kv(&l, &kv[i]);
    l.text[l.len++] = '\n';
    do
        done = write(atomic_load_explicit(&log_fd, memory_order_relaxed), l.text, l.len);
    while (done < 0 && errno == EINTR);
    if (done != (ssize_t)l.len)
        atomic_fetch_add_explicit(&lost_lines, 1, memory_order_relaxed);
}

enum hd_log_level hd_log_level(void)
{
    return (enum hd_log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

void hd_log_set_level(enum hd_log_level level)
{
    atomic_store(&current_level, (int)level);
}

/* Points the log at `path`. The new file takes over the old descriptor's number (dup3), so that a thread in
 * the middle of a write never meets a closed one. */
static int switch_to(const char *path)
{
    int fd, cur = atomic_load(&log_fd);

    if (!path) {
        atomic_store(&log_fd, STDERR_FILENO);
        if (cur != STDERR_FILENO)
            close(cur);
        return 0;
    }
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return errno;
    if (cur == STDERR_FILENO) {
        atomic_store(&log_fd, fd);
        return 0;
    }
    if (dup3(fd, cur, O_CLOEXEC) < 0) {
        int e = errno;

        close(fd);
        return e;
    }
    close(fd);
    return 0;
}

int hd_log_open(const char *path)
{
    char *copy = path ? hd_strdup(path) : NULL;
    int e;

    if (path && !copy)
        return ENOMEM;
    pthread_mutex_lock(&open_lock);
    e = switch_to(path);
    if (!e) {
        hd_free(log_path);
        log_path = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&open_lock);
    hd_free(copy);
    return e;
}

int hd_log_reopen(void)
{
    int e = 0;

    pthread_mutex_lock(&open_lock);
    if (log_path)
        e = switch_to(log_path);
    pthread_mutex_unlock(&open_lock);
    return e;
}

uint64_t hd_log_lost(void)
{
    return atomic_load(&lost_lines);
}

const char *hd_log_level_name(enum hd_log_level level)
{
    return level_names[level];
}

int hd_log_level_parse(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(level_names); i++)
        if (!strcmp(name, level_names[i]))
            return (int)i;
    return -1;
}

void hd_check_failed(const char *file, int line, const char *what)
{
    hd_log(HD_LOG_ERROR, "check failed", HD_KV("file", file), HD_KV("line", line), HD_KV("check", what));
    abort();
}
