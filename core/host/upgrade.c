/*
 * The host's side of its supervisor; see upgrade.h.
 */
#include "host/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/blame.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "host/daemon.h"
#include "host/supervisor_wire.h"
#include "session/share.h"

/* A socket that an earlier host has left. */
struct left {
    struct left *next;
    int fd;
    char name[];
};

/* A plugin in which earlier hosts have crashed. */
struct blamed {
    struct blamed *next;
    uint32_t times;
    char plugin[];
};

struct hd_supervised {
    struct blamed *blamed;
    int channel;
    struct hd_super_begin begin;
    struct left *left;
    int peer_fd; /* that came before anybody could take it */
    struct hd_keeper keeper;
    struct hd_supervised_ops ops;
    struct hd_loop_watch watch;
    int watching;
};

/* --- the beginning ---------------------------------------------------------------------------------------
 */

static int channel_number(void)
{
    const char *text = getenv(HD_SUPER_VARIABLE);
    char *end;
    long n = text ? strtol(text, &end, 10) : -1;

    return text && *text && !*end && n > STDERR_FILENO && n < 1 << 20 ? (int)n : -1;
}

int hd_supervised_is(void)
{
    int fd = channel_number(), type = 0;
    socklen_t len = sizeof(type);

    /* A variable that was left in somebody's environment names nothing of that kind. */
    return fd >= 0 && !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

static int add_left(struct hd_supervised *s, struct hd_super_message *m)
{
    struct left *l = hd_malloc(sizeof(*l) + strlen(m->text) + 1);

    if (!l)
        return HD_ENOMEM;
    l->fd = m->fd;
    strcpy(l->name, m->text);
    l->next = s->left;
    s->left = l;
    m->fd = -1;
    return HD_OK;
}

static int add_blamed(struct hd_supervised *s, const struct hd_super_message *m)
{
    struct blamed *b = hd_malloc(sizeof(*b) + strlen(m->text) + 1);

    if (!b)
        return HD_ENOMEM;
    b->times = m->value;
    strcpy(b->plugin, m->text);
    b->next = s->blamed;
    s->blamed = b;
    return HD_OK;
}

/* 1: that was the last of the beginning. */
static int take_beginning(struct hd_supervised *s, struct hd_super_message *m, struct hd_error *err)
{
    int code = HD_OK;

    switch (m->type) {
    case HD_SUPER_KEPT:
        if (m->fd >= 0)
            code = add_left(s, m);
        break;
    case HD_SUPER_PEER:
        s->peer_fd = m->fd;
        m->fd = -1;
        break;
    case HD_SUPER_PAGE:
        if (m->fd < 0 || hd_blame_use(m->fd))
            hd_log(HD_LOG_WARNING, "crashes cannot be blamed on plugins");
        break;
    case HD_SUPER_SHARE:
        if (m->fd < 0 || hd_share_use(m->fd, m->value))
            hd_log(HD_LOG_WARNING, "pools are not shared with another host");
        break;
    case HD_SUPER_BLAMED:
        code = add_blamed(s, m);
        break;
    case HD_SUPER_BEGIN:
        if (m->value != HD_SUPER_VERSION)
            return hd_fail(err, HD_EVERSION,
                           "the supervisor that runs is of another version (%u instead of %u): stop it and "
                           "start howdahd "
                           "anew",
                           m->value, HD_SUPER_VERSION);
        sscanf(m->text, "%u %u %u %u", &s->begin.generation, &s->begin.crashes, &s->begin.first,
               &s->begin.background);
        return 1;
    default:
        break;
    }
    if (m->fd >= 0)
        close(m->fd);
    return code ? hd_fail(err, code, "no memory for what the supervisor keeps") : 0;
}

static int take(void *arg, const char *name)
{
    struct hd_supervised *s = arg;

    for (struct left **at = &s->left; *at; at = &(*at)->next) {
        struct left *l = *at;
        int fd = l->fd;

        if (strcmp(l->name, name))
            continue;
        *at = l->next;
        hd_free(l);
        return fd;
    }
    return -1;
}

static void keep(void *arg, const char *name, int fd)
{
    const struct hd_supervised *s = arg;
    int e = hd_super_send(s->channel, HD_SUPER_KEEP, 0, name, fd);

    if (e)
        hd_log(HD_LOG_WARNING, "the supervisor does not have a socket", HD_KV("socket", name),
               HD_KV("reason", strerror(e)));
}

static void drop(void *arg, const char *name)
{
    const struct hd_supervised *s = arg;

    hd_super_send(s->channel, HD_SUPER_DROP, 0, name, -1);
}

static void notify(void *arg, const char *text)
{
    const struct hd_supervised *s = arg;

    hd_super_send(s->channel, HD_SUPER_NOTIFY, 0, text, -1);
}

int hd_supervised_attach(struct hd_supervised **out, struct hd_error *err)
{
    struct hd_supervised *s = hd_calloc(1, sizeof(*s));
    struct hd_super_message m;
    int code = 0, got = 1;

    if (!s)
        return hd_fail(err, HD_ENOMEM, "no memory");
    s->channel = channel_number();
    s->peer_fd = -1;
    s->keeper = (struct hd_keeper){s, take, keep, drop};
    unsetenv(HD_SUPER_VARIABLE);
    fcntl(s->channel, F_SETFD, FD_CLOEXEC);
    while (!code && (got = hd_super_receive(s->channel, 1, &m)) > 0)
        code = take_beginning(s, &m, err);
    if (!code)
        code = hd_fail(err, HD_EIO, "the supervisor is gone");
    if (code < 0) {
        hd_supervised_failed(s, err->text);
        hd_supervised_free(s);
        return code;
    }
    hd_notify_through(notify, s);
    *out = s;
    return HD_OK;
}

void hd_supervised_free(struct hd_supervised *s)
{
    if (!s)
        return;
    HD_CHECK(!s->watching);
    hd_notify_through(NULL, NULL);
    while (s->left) {
        struct left *l = s->left;

        s->left = l->next;
        close(l->fd);
        hd_free(l);
    }
    while (s->blamed) {
        struct blamed *b = s->blamed;

        s->blamed = b->next;
        hd_free(b);
    }
    if (s->peer_fd >= 0)
        close(s->peer_fd);
    close(s->channel);
    hd_free(s);
}

unsigned hd_supervised_generation(const struct hd_supervised *s)
{
    return s->begin.generation;
}

unsigned hd_supervised_crashes(const struct hd_supervised *s)
{
    return s->begin.crashes;
}

int hd_supervised_first(const struct hd_supervised *s)
{
    return (int)s->begin.first;
}

int hd_supervised_background(const struct hd_supervised *s)
{
    return (int)s->begin.background;
}

const struct hd_keeper *hd_supervised_keeper(struct hd_supervised *s)
{
    return &s->keeper;
}

uint32_t hd_supervised_blamed(const struct hd_supervised *s, const char *plugin)
{
    for (const struct blamed *b = s->blamed; b; b = b->next)
        if (!strcmp(b->plugin, plugin))
            return b->times;
    return 0;
}

void hd_supervised_forgive(struct hd_supervised *s, const char *plugin)
{
    for (struct blamed *b = s->blamed; b; b = b->next)
        if (!strcmp(b->plugin, plugin))
            b->times = 0;
    hd_super_send(s->channel, HD_SUPER_FORGIVE, 0, plugin, -1);
}

void hd_supervised_each_blamed(const struct hd_supervised *s,
                               void (*fn)(void *arg, const char *plugin, uint32_t times), void *arg)
{
    for (const struct blamed *b = s->blamed; b; b = b->next)
        fn(arg, b->plugin, b->times);
}

/* --- while it runs ----------------------------------------------------------------------------------------
 */

static void on_message(struct hd_supervised *s, struct hd_super_message *m)
{
    switch (m->type) {
    case HD_SUPER_PEER:
        s->ops.peer(s->ops.arg, m->fd);
        m->fd = -1;
        break;
    case HD_SUPER_RETIRE:
        s->ops.retire(s->ops.arg);
        break;
    case HD_SUPER_UPGRADED:
        s->ops.upgraded(s->ops.arg, (pid_t)m->value, NULL);
        break;
    case HD_SUPER_NOT_UPGRADED:
        s->ops.upgraded(s->ops.arg, 0, m->text);
        break;
    default:
        break;
    }
    if (m->fd >= 0)
        close(m->fd);
}

static void on_ready(struct hd_loop_watch *w, int status, int events)
{
    struct hd_supervised *s = HD_CONTAINER_OF(w, struct hd_supervised, watch);
    struct hd_super_message m;
    int got = 0;

    (void)status;
    (void)events;
    while (s->watching && (got = hd_super_receive(s->channel, 0, &m)) > 0)
        on_message(s, &m);
    if (got < 0) /* it is gone, and the kernel ends us with it */
        hd_loop_watch_set(w, 0);
}

int hd_supervised_watch(struct hd_supervised *s, struct hd_loop *loop, const struct hd_supervised_ops *ops)
{
    s->ops = *ops;
    if (hd_loop_watch_init(loop, &s->watch, s->channel, on_ready))
        return HD_EIO;
    s->watching = 1;
    hd_loop_watch_set(&s->watch, UV_READABLE);
    if (s->peer_fd >= 0)
        s->ops.peer(s->ops.arg, s->peer_fd);
    s->peer_fd = -1;
    return HD_OK;
}

void hd_supervised_unwatch(struct hd_supervised *s)
{
    if (s->watching)
        hd_loop_watch_close(&s->watch, NULL);
    s->watching = 0;
}

/* The file of a Unix socket goes with the socket; "unix:/path#0". */
static void remove_file(const char *name)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

    if (strncmp(name, "unix:", 5))
        return;
    snprintf(path, sizeof(path), "%.*s", (int)strcspn(name + 5, "#"), name + 5);
    unlink(path);
}

/* Addresses that are configured no more: nobody would ever accept there. */
static void give_up_rest(struct hd_supervised *s)
{
    while (s->left) {
        struct left *l = s->left;

        s->left = l->next;
        drop(s, l->name);
        remove_file(l->name);
        close(l->fd);
        hd_free(l);
    }
}

void hd_supervised_ready(struct hd_supervised *s)
{
    hd_super_send(s->channel, HD_SUPER_READY, 0, NULL, -1);
    give_up_rest(s);
}

void hd_supervised_failed(struct hd_supervised *s, const char *why)
{
    hd_super_send(s->channel, HD_SUPER_FAILED, 0, why, -1);
}

void hd_supervised_stopping(struct hd_supervised *s)
{
    hd_super_send(s->channel, HD_SUPER_STOPPING, 0, NULL, -1);
}

void hd_supervised_log(struct hd_supervised *s, const char *file, int level)
{
    hd_super_send(s->channel, HD_SUPER_LOG, (uint32_t)level, file, -1);
}

void hd_supervised_start_timeout(struct hd_supervised *s, int64_t ms)
{
    hd_super_send(s->channel, HD_SUPER_START_MS, (uint32_t)ms, NULL, -1);
}

int hd_supervised_upgrade(struct hd_supervised *s)
{
    return hd_super_send(s->channel, HD_SUPER_UPGRADE, 0, NULL, -1) ? HD_EIO : HD_OK;
}
