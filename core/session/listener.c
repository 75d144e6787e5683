/*
 * Listening sockets; see listener.h.
 */
#include "session/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "session/client.h"
#include "session/keeper.h"
#include "session/place.h"

#define ACCEPT_BATCH 32
#define SOCKET_NAME  300

/* One address with its sockets. */
struct bound {
    char *text;
    char *path;     /* of a Unix socket, to be removed at the end; else NULL */
    int *fds;       /* `count`; number i is for worker i % workers; -1 once that has it */
    int count;      /* one per worker, or more where an earlier host had more workers */
    int room;       /* of fds */
    int inherited;  /* so many of them were kept */
    int sockets;    /* that the keeper knows, from whichever table */
    int taken_over; /* the numbers are another table's now */
};

struct hd_sockets {
    int workers;
    uint32_t listener_count, bound_count;
    struct hd_tls_context **tls; /* by listener */
    struct bound *bound;         /* in the order of listeners and their addresses */
};

/* --- opening
 * ------------------------------------------------------------------------------------------------- */

/* A socket file that nobody listens on is left over from a host that died. */
static int remove_stale(const struct sockaddr_un *sa)
{
    struct stat st;
    int fd, busy;

    if (lstat(sa->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    busy = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno != ECONNREFUSED;
    close(fd);
    if (busy)
        return EADDRINUSE;
    return unlink(sa->sun_path) ? errno : 0;
}

static int open_one(const struct hd_listener_conf *c, const struct hd_address *a, int *out)
{
    int on = 1, e = 0;
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return errno;
    if (a->sa.ss_family == AF_UNIX) {
        e = remove_stale((const struct sockaddr_un *)(const void *)&a->sa);
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
        if (a->sa.ss_family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (!e && bind(fd, (const struct sockaddr *)&a->sa, a->len))
        e = errno;
    if (!e && a->sa.ss_family == AF_UNIX &&
        chmod(((const struct sockaddr_un *)(const void *)&a->sa)->sun_path, (mode_t)c->unix_mode))
        e = errno;
    if (!e && listen(fd, (int)(c->backlog ? c->backlog : 4096)))
        e = errno;
    if (e)
        close(fd);
    else
        *out = fd;
    return e;
}

/* Is any other process on this TCP address? With SO_REUSEPORT bind would not say. */
static int in_use(const struct hd_address *a)
{
    int fd, e = 0, on = 1;

    if (a->sa.ss_family == AF_UNIX)
        return 0;
    fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len))
        e = errno;
    close(fd);
    return e;
}

static const char *unix_path(const struct hd_address *a)
{
    return ((const struct sockaddr_un *)(const void *)&a->sa)->sun_path;
}

/* The name that the keeper knows a socket by. */
static int name_socket(char *out, size_t cap, const char *address, int number)
{
    return snprintf(out, cap, "%s#%d", address, number);
}

/* Takes up what an earlier host has left under this address: sockets that are open, and have never been
 * anything else since. */
static int take_kept(const struct hd_listener_conf *c, const struct hd_address *a,
                     const struct hd_keeper *keeper, struct bound *b)
{
    char name[SOCKET_NAME];
    int fd;

    for (;;) {
        name_socket(name, sizeof(name), a->text, b->count);
        fd = keeper ? keeper->take(keeper->arg, name) : -1;
        if (fd < 0)
            break;
        if (b->count == b->room) {
            int *more = hd_realloc(b->fds, (size_t)b->room * 2 * sizeof(*more));

            if (!more) {
                close(fd);
                return ENOMEM;
            }
            b->fds = more;
            b->room *= 2;
        }
        b->fds[b->count++] = fd;
        listen(fd, (int)(c->backlog ? c->backlog : 4096));
    }
    b->inherited = b->count;
    if (b->count && a->sa.ss_family == AF_UNIX)
        (void)!chmod(unix_path(a), (mode_t)c->unix_mode);
    return 0;
}

static int open_all(const struct hd_listener_conf *c, const struct hd_address *a, int workers,
                    const struct hd_keeper *keeper, struct bound *b)
{
    int e = take_kept(c, a, keeper, b);

    if (!e && !b->count)
        e = in_use(a);
    for (int i = b->count; i < workers && !e; i++) {
        if (i && a->sa.ss_family == AF_UNIX) {
            b->fds[i] = fcntl(b->fds[0], F_DUPFD_CLOEXEC, 0);
            e = b->fds[i] < 0 ? errno : 0;
        } else {
            e = open_one(c, a, &b->fds[i]);
        }
        b->count = e ? b->count : i + 1;
    }
    b->sockets = b->count;
    if (!e && a->sa.ss_family == AF_UNIX)
        b->path = hd_strdup(unix_path(a));
    return e;
}

static const struct bound *find(const struct hd_sockets *k, const char *text)
{
    for (uint32_t i = 0; k && i < k->bound_count; i++)
        if (!strcmp(k->bound[i].text, text))
            return &k->bound[i];
    return NULL;
}

static int prepare_bound(const struct hd_listener_conf *c, const struct hd_address *a,
                         const struct hd_sockets *old, int workers, const struct hd_keeper *keeper,
                         struct bound *b, struct hd_error *err)
{
    int e;

    b->text = hd_strdup(a->text);
    b->fds = hd_malloc((size_t)workers * sizeof(int));
    if (!b->text || !b->fds)
        return hd_fail(err, HD_ENOMEM, "no memory for listener \"%s\"", c->name);
    b->room = workers;
    if (find(old, a->text)) {
        b->taken_over = 1;
        return HD_OK;
    }
    e = open_all(c, a, workers, keeper, b);
    if (e)
        return hd_fail(
            err, HD_EIO,
            "%s: listener \"%s\" cannot listen on %s: %s; choose another address or stop who has it",
            c->origin, c->name, a->text, strerror(e));
    return HD_OK;
}

static int prepare_tls(const struct hd_listener_conf *c, struct hd_tls_context **out, struct hd_error *err)
{
    int code;

    if (c->tls == HD_TLS_OFF)
        return HD_OK;
    code = hd_tls_context_new(c->tls_cert, c->tls_key, c->tls_client_ca, c->auth == HD_AUTH_CERT, out, err);
    if (code)
        hd_fail_prefix(err, "%s", c->origin);
    return code;
}

int hd_sockets_open(const struct hd_settings *s, const struct hd_sockets *old, int workers,
                    const struct hd_keeper *keeper, struct hd_sockets **out, struct hd_error *err)
{
    struct hd_sockets *k = hd_calloc(1, sizeof(*k));
    uint32_t total = 0;
    int code = HD_OK;

    for (uint32_t i = 0; i < s->listener_count; i++)
        total += s->listeners[i].address_count;
    if (!k || !(k->bound = hd_calloc(total, sizeof(*k->bound))) ||
        !(k->tls = hd_calloc(s->listener_count, sizeof(*k->tls)))) {
        if (k)
            hd_free(k->bound);
        hd_free(k);
        return hd_fail(err, HD_ENOMEM, "no memory for listeners");
    }
    k->workers = workers;
    k->listener_count = s->listener_count;
    for (uint32_t i = 0; i < s->listener_count && !code; i++) {
        const struct hd_listener_conf *c = &s->listeners[i];

        code = prepare_tls(c, &k->tls[i], err);
        for (uint32_t j = 0; j < c->address_count && !code; j++)
            code = prepare_bound(c, &c->addresses[j], old, workers, keeper, &k->bound[k->bound_count++], err);
    }
    if (code) {
        hd_sockets_drop(k);
        return code;
    }
    *out = k;
    return HD_OK;
}

static void free_table(struct hd_sockets *k)
{
    for (uint32_t i = 0; i < k->bound_count; i++) {
        hd_free(k->bound[i].text);
        hd_free(k->bound[i].path);
        hd_free(k->bound[i].fds);
    }
    for (uint32_t i = 0; i < k->listener_count; i++)
        hd_tls_context_release(k->tls[i]);
    hd_free(k->tls);
    hd_free(k->bound);
    hd_free(k);
}

void hd_sockets_drop(struct hd_sockets *k)
{
    for (uint32_t i = 0; i < k->bound_count; i++) {
        struct bound *b = &k->bound[i];

        for (int n = 0; n < b->count; n++)
            if (b->fds[n] >= 0)
                close(b->fds[n]);
        if (b->path && !b->inherited)
            unlink(b->path);
    }
    free_table(k);
}

void hd_sockets_keep(const struct hd_sockets *k, const struct hd_keeper *keeper)
{
    char name[SOCKET_NAME];

    for (uint32_t i = 0; i < k->bound_count && keeper; i++)
        for (int n = k->bound[i].inherited; n < k->bound[i].count; n++) {
            name_socket(name, sizeof(name), k->bound[i].text, n);
            keeper->keep(keeper->arg, name, k->bound[i].fds[n]);
        }
}

/* Nobody listens on this address any more. */
static void forget(const struct bound *b, const struct hd_keeper *keeper)
{
    char name[SOCKET_NAME];

    for (int n = 0; n < b->sockets && keeper; n++) {
        name_socket(name, sizeof(name), b->text, n);
        keeper->drop(keeper->arg, name);
    }
    if (b->path)
        unlink(b->path);
}

void hd_sockets_retire(struct hd_sockets *k, const struct hd_sockets *next, const struct hd_keeper *keeper)
{
    for (uint32_t i = 0; i < k->bound_count; i++) {
        struct bound *b = &k->bound[i];
        struct bound *to = (struct bound *)(uintptr_t)find(next, b->text);

        if (to) { /* who has the address removes its file */
            to->path = b->path;
            to->sockets = b->sockets;
            b->path = NULL;
        } else {
            forget(b, keeper);
        }
    }
    free_table(k);
}

void hd_sockets_leave(struct hd_sockets *k)
{
    free_table(k);
}

/* --- accepting
 * ----------------------------------------------------------------------------------------------- */

struct hd_listener *hd_listener_hold(struct hd_listener *l)
{
    l->refs++;
    return l;
}

void hd_listener_drop(struct hd_listener *l)
{
    if (!l || --l->refs)
        return;
    hd_tls_context_release(l->tls);
    hd_settings_release(l->settings);
    hd_free(l);
}

/* Refused before anything is said: as a server that does not listen there. */
static int welcome(const struct hd_listener *l, const struct sockaddr_storage *peer)
{
    return l->is_unix || hd_listener_allows(l->conf, (const struct sockaddr *)peer);
}

/* No descriptors or memory: leave the rest in the queue for a moment rather than spin. */
static void pause_accepting(struct hd_listener *l, int error)
{
    hd_log(HD_LOG_WARNING, "accepting paused", HD_KV("reason", strerror(error)),
           HD_KV("listener", l->conf->name));
    hd_loop_watch_set(&l->watch, 0);
    l->w->accept_paused = 1;
}

static void on_ready(struct hd_loop_watch *watch, int status, int events)
{
    struct hd_listener *l = HD_CONTAINER_OF(watch, struct hd_listener, watch);

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting(l, errno);
            return;
        }
        if (welcome(l, &peer)) {
            hd_place_client(l, fd);
        } else {
            l->w->stats.refused_clients++;
            close(fd);
        }
    }
}

static void on_closed(struct hd_loop_watch *watch)
{
    hd_listener_drop(HD_CONTAINER_OF(watch, struct hd_listener, watch));
}

/* Stops accepting; the socket is closed unless it is taken over. Returns its number if so. */
static int stop_listener(struct hd_listener *l, int keep)
{
    int fd = l->fd;

    hd_loop_watch_close(&l->watch, on_closed);
    l->open = 0;
    l->fd = -1;
    if (keep)
        return fd;
    close(fd);
    return -1;
}

static struct hd_listener *make(struct hd_worker *w, struct hd_settings *s, const struct hd_listener_conf *c,
                                const struct hd_address *a, struct hd_tls_context *tls, int fd)
{
    struct hd_listener *l = hd_calloc(1, sizeof(*l));

    if (!l || hd_loop_watch_init(&w->loop, &l->watch, fd, on_ready)) {
        hd_free(l);
        close(fd);
        hd_log(HD_LOG_ERROR, "cannot watch a listening socket", HD_KV("address", a->text));
        return NULL;
    }
    l->refs = 1;
    l->w = w;
    l->settings = hd_settings_hold(s);
    l->conf = c;
    l->tls = hd_tls_context_hold(tls);
    l->fd = fd;
    l->is_unix = a->sa.ss_family == AF_UNIX;
    l->open = 1;
    hd_loop_watch_set(&l->watch, UV_READABLE);
    return l;
}

/* Which of the worker's present listeners has this address? It gives its socket up. */
static int take_over(struct hd_worker *w, const char *text)
{
    for (struct hd_listener **at = &w->listeners; *at; at = &(*at)->next) {
        struct hd_listener *l = *at;

        if (strcmp(l->address, text))
            continue;
        *at = l->next;
        return stop_listener(l, 1);
    }
    return -1;
}

/* The next socket of an address for this worker: one that it has already, or one that is for it in the table.
 */
static int next_socket(struct hd_worker *w, struct bound *b, const char *text, int *number, int workers)
{
    int fd = -1;

    if (b->taken_over)
        return take_over(w, text);
    if (*number < b->count) {
        fd = b->fds[*number];
        b->fds[*number] = -1;
    }
    *number += workers;
    return fd;
}

void hd_listeners_apply(struct hd_worker *w, struct hd_settings *s, struct hd_sockets *k)
{
    struct hd_listener *fresh = NULL;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->listener_count; i++) {
        for (uint32_t j = 0; j < s->listeners[i].address_count; j++, n++) {
            const struct hd_address *a = &s->listeners[i].addresses[j];
            int fd, number = w->index;

            while ((fd = next_socket(w, &k->bound[n], a->text, &number, k->workers)) >= 0) {
                struct hd_listener *l = make(w, s, &s->listeners[i], a, k->tls[i], fd);

                if (!l)
                    continue;
                l->address = a->text;
                l->next = fresh;
                fresh = l;
            }
        }
    }
    hd_listeners_close(w);
    w->listeners = fresh;
}

void hd_listeners_close(struct hd_worker *w)
{
    while (w->listeners) {
        struct hd_listener *l = w->listeners;

        w->listeners = l->next;
        stop_listener(l, 0);
    }
}
