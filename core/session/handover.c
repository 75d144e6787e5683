/*
 * Clients from one host to the next; see handover.h. The way between the hosts is a pair of Unix sockets that
 * keep packets apart: a worker sends a session in one packet, the other host's control thread reads it and
 * posts it to the worker that the session's cancel key names.
 */
#include "session/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/handover_state.h"
#include "session/listener.h"
#include "session/place.h"

/* A session that needs more stays where it is. */
#define PACKET_MAX (96u * 1024)

enum packet { PACKET_HELLO = 1, PACKET_SESSION, PACKET_CANCEL };

/* Both hosts are of this machine, perhaps of different versions: only the same version understands. */
struct head {
    uint32_t type, version;
    uint32_t pid;
    uint8_t key[4];
};
#define STATE_VERSION 2u

struct hd_handover {
    struct hd_workers *all;
    struct hd_loop_watch watch;
    int fd;
    _Atomic int understood; /* the other side has said that it is of the same version */
    uint8_t in[PACKET_MAX];
};

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* --- packets ---------------------------------------------------------------------------------------------
 */

/* 0, or an errno; EAGAIN: the other side is behind. [any] */
static int send_packet(int way, const struct head *head, const void *bytes, size_t len, int fd)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)head, sizeof(*head)}, {(void *)(uintptr_t)bytes, len}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    union control room = {.bytes = {0}};

    if (fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = room.bytes;
        msg.msg_controllen = sizeof(room.bytes);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    return sendmsg(way, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

/* Bytes of the body, or -1; *fd is -1 where none came. */
static ssize_t receive_packet(struct hd_handover *h, struct head *head, int *fd)
{
    struct iovec parts[2] = {{head, sizeof(*head)}, {h->in, sizeof(h->in)}};
    union control room;
    struct msghdr msg = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = room.bytes, .msg_controllen = sizeof(room.bytes)};
    ssize_t n = recvmsg(h->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *c;

    if (n < 0 &&
        errno == ECONNRESET) /* it went without reading all of ours; what it has sent is still there */
        n = recvmsg(h->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

    *fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(c), sizeof(int));
    if (n == 0) {
        errno = EPIPE;
        return -1;
    }
    if (n > 0 && (n < (ssize_t)sizeof(*head) || msg.msg_flags & MSG_TRUNC)) { /* nothing that is known */
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        *head = (struct head){.type = 0};
        return 0;
    }
    return n < 0 ? -1 : n - (ssize_t)sizeof(*head);
}

/* --- arriving --------------------------------------------------------------------------------------------
 */

struct arrival {
    struct hd_post post;
    struct hd_worker *w;
    struct head head;
    int fd;
    size_t len;
    uint8_t bytes[];
};

static void arrive(struct hd_post *p)
{
    struct arrival *a = HD_CONTAINER_OF(p, struct arrival, post);

    if (a->w->stopping || a->w->draining ||
        hd_handover_unpack(a->w, a->fd, a->head.pid, a->head.key, a->bytes, a->len))
        close(a->fd);
    hd_free(a);
}

static void on_session(struct hd_workers *all, const struct head *head, const void *bytes, size_t len, int fd)
{
    struct arrival *a = fd < 0 ? NULL : hd_malloc(sizeof(*a) + len);

    if (!a) {
        hd_log(HD_LOG_ERROR, "a client could not be taken over");
        if (fd >= 0)
            close(fd);
        return;
    }
    a->w = &all->worker[hd_cancel_worker(head->pid, all->count)];
    a->head = *head;
    a->fd = fd;
    a->len = len;
    memcpy(a->bytes, bytes, len);
    a->post.fn = arrive;
    hd_loop_post(&a->w->loop, &a->post);
}

static void on_packet(struct hd_handover *h, const struct head *head, size_t len, int fd)
{
    if (head->version == STATE_VERSION && head->type == PACKET_SESSION) {
        on_session(h->all, head, h->in, len, fd);
        return;
    }
    if (head->type == PACKET_HELLO)
        atomic_store(&h->understood, head->version == STATE_VERSION);
    else if (head->type == PACKET_CANCEL)
        hd_cancel_passed_on(h->all, head->pid, head->key);
    if (fd >= 0)
        close(fd);
}

static void on_ready(struct hd_loop_watch *watch, int status, int events)
{
    struct hd_handover *h = HD_CONTAINER_OF(watch, struct hd_handover, watch);
    struct head head;
    ssize_t n = -1;
    int fd;

    (void)status;
    (void)events;
    for (int i = 0; i < 64 && (n = receive_packet(h, &head, &fd)) >= 0; i++)
        on_packet(h, &head, (size_t)n, fd);
    if (n < 0 && errno != EAGAIN && errno != EINTR) { /* the other host is gone */
        atomic_store(&h->understood, 0);
        hd_loop_watch_set(watch, 0);
    }
}

/* --- the way ---------------------------------------------------------------------------------------------
 */

static void on_closed(struct hd_loop_watch *watch)
{
    hd_free(HD_CONTAINER_OF(watch, struct hd_handover, watch));
}

void hd_handover_close(struct hd_workers *all)
{
    struct hd_handover *h = all->handover;

    if (!h)
        return;
    all->handover = NULL;
    hd_loop_watch_close(&h->watch, on_closed);
    close(h->fd);
}

int hd_handover_open(struct hd_workers *all, int fd)
{
    struct hd_handover *h = all->handover;
    const struct head hello = {.type = PACKET_HELLO, .version = STATE_VERSION};
    int room = 4 << 20;

    if (h) { /* workers may hold it: the same place has the new way */
        hd_log(HD_LOG_WARNING, "the host that serves has changed");
        hd_loop_watch_set(&h->watch, 0);
        if (dup2(fd, h->fd) < 0)
            return HD_EIO;
        close(fd);
        hd_loop_watch_set(&h->watch, UV_READABLE);
        return send_packet(h->fd, &hello, NULL, 0, -1) ? HD_EIO : HD_OK;
    }
    h = hd_calloc(1, sizeof(*h));
    if (!h || hd_loop_watch_init(all->env.control, &h->watch, fd, on_ready)) {
        hd_free(h);
        close(fd);
        return HD_ENOMEM;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    h->all = all;
    h->fd = fd;
    all->handover = h;
    hd_loop_watch_set(&h->watch, UV_READABLE);
    return send_packet(fd, &hello, NULL, 0, -1) ? HD_EIO : HD_OK;
}

int hd_handover_cancel(struct hd_workers *all, uint32_t pid, const uint8_t key[4])
{
    struct head head = {.type = PACKET_CANCEL, .version = STATE_VERSION, .pid = pid};

    memcpy(head.key, key, sizeof(head.key));
    return all->handover && !send_packet(all->handover->fd, &head, NULL, 0, -1);
}

/* --- leaving ---------------------------------------------------------------------------------------------
 */

static void stay(struct hd_session *s)
{
    hd_list_push_back(&s->w->sessions, &s->all);
    if (!hd_link_attach(&s->link, &s->w->io))
        return;
    if (s->link.closed)
        hd_session_gone(s);
    else
        hd_session_close(s);
}

/* Nobody reads its socket any more: off it goes. */
static void on_detached(struct hd_link *l)
{
    struct hd_session *s = HD_CONTAINER_OF(l, struct hd_session, link);
    struct hd_worker *w = s->w;
    struct head head = {.type = PACKET_SESSION, .version = STATE_VERSION, .pid = s->cancel_pid};
    struct hd_strbuf out = HD_STRBUF_INIT;
    int e = EAGAIN;

    w->moving--;
    memcpy(head.key, s->cancel_key, sizeof(head.key));
    if (!l->carry && w->all->handover && !hd_handover_pack(s, &out) && out.len <= PACKET_MAX)
        e = send_packet(w->all->handover->fd, &head, out.data, out.len, l->fd);
    hd_strbuf_free(&out);
    if (e) {
        stay(s);
        return;
    }
    w->handed_over++;
    hd_session_gone(s);
}

/* Nothing of it is under way, and nothing of it is on a server. */
static int at_rest(const struct hd_session *s)
{
    return s->state == HD_SESSION_READY && s->logged_in && s->pool && !s->server &&
           !(s->pins & ~HD_PIN_MODE) && !s->link.tls && !s->console && !s->tunnel && !s->pending &&
           !s->held && !s->portals && !s->route && !s->unsynced && !s->skip_sync && !s->drop_rest &&
           !s->pass_rest && !s->cancelled && !s->paused_by_server && s->txn == HD_TXN_IDLE &&
           hd_frame_between(&s->scan) && hd_link_quiet(&s->link) && hd_handover_understandable(s);
}

static void sweep(struct hd_worker *w)
{
    if (!w->all->handover || !atomic_load(&w->all->handover->understood) || w->draining || w->stopping)
        return;
    HD_LIST_EACH(n, &w->sessions)
    {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);

        if (!at_rest(s))
            continue;
        hd_list_remove(&s->all); /* nobody finds it while it leaves */
        w->moving++;
        hd_link_detach(&s->link, on_detached);
    }
}

static void on_soon(struct hd_post *p)
{
    struct hd_worker *w = HD_CONTAINER_OF(p, struct hd_worker, sweep_post);

    w->sweep_posted = 0;
    sweep(w);
}

void hd_handover_soon(struct hd_worker *w)
{
    if (w->sweep_posted)
        return;
    w->sweep_posted = 1;
    w->sweep_post.fn = on_soon;
    hd_loop_post(&w->loop, &w->sweep_post);
}

static void on_retired(struct hd_post *p)
{
    struct hd_workers *all = HD_CONTAINER_OF(p, struct hd_workers, retired_post);

    all->retired(all->retired_arg);
}

void hd_handover_tick(struct hd_worker *w)
{
    sweep(w);
    if (w->session_count || hd_place_pending(w) || w->told_retired)
        return;
    w->told_retired = 1;
    hd_log(HD_LOG_INFO, "no client is left", HD_KV("worker", w->index), HD_KV("handed_over", w->handed_over));
    if (atomic_fetch_sub(&w->all->retiring_left, 1) == 1) {
        w->all->retired_post.fn = on_retired;
        hd_loop_post(w->all->env.control, &w->all->retired_post);
    }
}

static void begin_here(struct hd_worker *w, void *arg)
{
    (void)arg;
    w->retiring = 1;
    hd_listeners_close(w);
    sweep(w);
}

int hd_handover_begin(struct hd_workers *all, void (*done)(void *arg), void *arg)
{
    all->succeeded = 1;
    all->retired = done;
    all->retired_arg = arg;
    atomic_store(&all->retiring_left, all->count);
    return hd_workers_each(all, begin_here, NULL, NULL);
}
