/*
 * The engine that is always there: an epoll set of the thread's own says which links can go on, recv and send
 * are called by hand, with no allocation per read or write. libuv's descriptor is one in the set, so that the
 * thread sleeps once for both, and libuv runs only when it has something to do.
 *
 * Sockets are watched edge-triggered and for good: a link costs epoll_ctl calls when it comes and when it
 * goes, not when it pauses, and the kernel does not look at it again before it sleeps. So what an edge has
 * told is kept with the link until recv says that it is used up; a link that may go on without a new edge
 * stands in the list `ready`.
 */
#include "io/engine.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

/* Events that are taken at once. */
#define BATCH 128

#define ENDINGS ((uint32_t)(EPOLLRDHUP | EPOLLHUP | EPOLLERR))

struct hd_poller {
    struct hd_loop_waiter waiter;
    struct hd_io *io;
    int fd;
    struct hd_list ready; /* links that can be read, or have ended, whatever edges come */
    struct hd_list gone;  /* closed or left, told of before the next sleep */
    int next, count;      /* of the batch that is being handled */
    struct epoll_event batch[BATCH];
};

static struct hd_poller *poller_of(const struct hd_link *l)
{
    return l->io->poller;
}

/* --- what a link can do ------------------------------------------------------------------------------------
 */

static int wants_read(const struct hd_link *l)
{
    return l->on.poll.readable && !l->paused && !l->ended && hd_list_empty(&l->starved);
}

static int wants_end(const struct hd_link *l)
{
    return l->on.poll.ending && l->paused && l->watch_end && !l->ended;
}

static void update(struct hd_link *l)
{
    if (!l->closed && (wants_read(l) || wants_end(l)) && hd_list_empty(&l->on.poll.node))
        hd_list_push_back(&poller_of(l)->ready, &l->on.poll.node);
}

/* --- receiving ---------------------------------------------------------------------------------------------
 */

/* Fewer bytes than there was room for were the last: an edge tells of more. Behind an end there is no edge.
 */
static ssize_t receive(struct hd_link *l, void *to, size_t cap)
{
    ssize_t n;

    l->io->recv_calls++;
    do
        n = recv(l->fd, to, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        l->io->recv_bytes += (uint64_t)n;
    if (n < 0 && errno == EAGAIN)
        l->on.poll.readable = 0;
    else if (n < (ssize_t)cap)
        l->on.poll.readable = l->on.poll.ending;
    return n;
}

/* n <= 0: nothing was received; the end is reported, unless there is only nothing yet. */
static void on_nothing(struct hd_link *l, ssize_t n)
{
    if (n == 0 || errno != EAGAIN)
        hd_link_report_end(l, n ? errno : 0);
}

/* One read: other links have their turn before the next. */
static void read_plain(struct hd_link *l)
{
    uint8_t *ptr;
    uint32_t cap;
    struct hd_buf *b = hd_link_room(l, &ptr, &cap);
    ssize_t n;

    if (!b)
        return;
    n = receive(l, ptr, cap);
    if (n > 0)
        hd_link_filled(l, b, ptr, (uint32_t)n);
    else
        on_nothing(l, n);
}

static void read_tls(struct hd_link *l)
{
    uint8_t raw[HD_BUF_STANDARD];
    ssize_t n = receive(l, raw, sizeof(raw));

    if (n > 0)
        hd_link_arrived_raw(l, raw, (size_t)n);
    else
        on_nothing(l, n);
}

/* What the link can do now, once; what is left of it stands in `ready` afterwards. */
static void serve(struct hd_link *l)
{
    if (wants_read(l)) {
        if (l->tls)
            read_tls(l);
        else
            read_plain(l);
    }
    if (!l->closed && wants_end(l))
        hd_link_report_end(l, 0);
    update(l);
}

/* --- events ------------------------------------------------------------------------------------------------
 */

static void on_writable(struct hd_link *l)
{
    l->blocked = 0;
    hd_link_flush(l);
}

/* The socket has failed. What had arrived before is read all the same, and finds the reason at its end. */
static void on_broken(struct hd_link *l)
{
    if (l->paused && !l->ended)
        hd_link_go_deaf(l, ECONNRESET);
}

static void on_event(struct hd_link *l, uint32_t events)
{
    if (events & (ENDINGS | EPOLLIN))
        l->on.poll.readable = 1;
    if (events & ENDINGS)
        l->on.poll.ending = 1;
    if ((events & EPOLLOUT) && l->blocked)
        on_writable(l);
    if ((events & EPOLLERR) && !l->closed)
        on_broken(l);
    if (!l->closed)
        serve(l);
    hd_io_flush(l->io);
}

static int handle_batch(struct hd_poller *p)
{
    int due = 0;

    while (p->next < p->count) {
        const struct epoll_event *e = &p->batch[p->next++];

        if (e->data.ptr == p)
            due = 1;
        else if (e->data.ptr)
            on_event(e->data.ptr, e->events);
    }
    p->next = p->count = 0;
    return due;
}

/* Those that were ready before, once each. */
static void serve_ready(struct hd_poller *p)
{
    struct hd_list now;
    struct hd_list *n;

    hd_list_init(&now);
    while ((n = hd_list_pop_front(&p->ready)))
        hd_list_push_back(&now, n);
    while ((n = hd_list_pop_front(&now))) {
        serve(HD_LIST_ITEM(n, struct hd_link, on.poll.node));
        hd_io_flush(p->io);
    }
}

/* --- the loop ----------------------------------------------------------------------------------------------
 */

static void release_gone(struct hd_poller *p)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&p->gone)))
        hd_link_released(HD_LIST_ITEM(n, struct hd_link, on.poll.node));
}

static void prepare(struct hd_loop_waiter *w)
{
    release_gone(HD_CONTAINER_OF(w, struct hd_poller, waiter));
}

static int wait_poll(struct hd_loop_waiter *w, int timeout_ms)
{
    struct hd_poller *p = HD_CONTAINER_OF(w, struct hd_poller, waiter);
    int ready = !hd_list_empty(&p->ready), due;

    p->count = epoll_wait(p->fd, p->batch, BATCH, ready ? 0 : timeout_ms);
    HD_CHECK(p->count >= 0 || errno == EINTR);
    due = handle_batch(p);
    if (ready)
        serve_ready(p);
    return due;
}

/* --- life --------------------------------------------------------------------------------------------------
 */

static int control(struct hd_poller *p, int what, int fd, uint32_t events, void *of)
{
    struct epoll_event e = {.events = events, .data.ptr = of};

    return epoll_ctl(p->fd, what, fd, &e);
}

static int attach(struct hd_link *l)
{
    memset(&l->on.poll, 0, sizeof(l->on.poll));
    hd_list_init(&l->on.poll.node);
    l->on.poll.fd = l->fd;
    return control(poller_of(l), EPOLL_CTL_ADD, l->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, l) ? HD_EIO : HD_OK;
}

/* Events of it that were fetched already count no more. */
static void detach(struct hd_link *l)
{
    struct hd_poller *p = poller_of(l);

    control(p, EPOLL_CTL_DEL, l->on.poll.fd, 0, NULL);
    for (int i = p->next; i < p->count; i++)
        if (p->batch[i].data.ptr == l)
            p->batch[i].data.ptr = NULL;
    hd_list_remove(&l->on.poll.node);
    hd_list_push_back(&p->gone, &l->on.poll.node);
}

/* From the first time on the link hears of room for good. */
static void blocked(struct hd_link *l)
{
    l->blocked = 1;
    if (l->on.poll.watches_room)
        return;
    if (control(poller_of(l), EPOLL_CTL_MOD, l->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, l))
        hd_link_report_end(l, errno);
    l->on.poll.watches_room = 1;
}

static int uv_open(struct hd_io *io, struct hd_error *err)
{
    struct hd_poller *p = hd_calloc(1, sizeof(*p));

    if (!p)
        return hd_fail(err, HD_ENOMEM, "no memory for an epoll set");
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->fd < 0 || control(p, EPOLL_CTL_ADD, uv_backend_fd(&io->loop->uv), EPOLLIN, p)) {
        hd_fail(err, HD_EIO, "epoll: %s", strerror(errno));
        if (p->fd >= 0)
            close(p->fd);
        hd_free(p);
        return HD_EIO;
    }
    p->io = io;
    p->waiter = (struct hd_loop_waiter){prepare, wait_poll, prepare};
    hd_list_init(&p->ready);
    hd_list_init(&p->gone);
    io->poller = p;
    io->loop->waiter = &p->waiter;
    return HD_OK;
}

static void uv_shut(struct hd_io *io)
{
    struct hd_poller *p = io->poller;

    if (!p)
        return;
    release_gone(p);
    io->loop->waiter = NULL;
    close(p->fd);
    hd_free(p);
    io->poller = NULL;
}

const struct hd_engine hd_engine_uv = {"uv",   uv_open, uv_shut, attach, detach, update, hd_link_send_by_hand,
                                       blocked};
