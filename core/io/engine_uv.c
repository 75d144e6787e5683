/*
 * The engine that is always there: libuv's poll handles say when, recv and send are called by hand, with no
 * allocation per read or write.
 */
#include "io/engine.h"

#include <errno.h>
#include <sys/socket.h>

/* A pause shows in the watch only once something has arrived during it: most pauses end before that, and each
 * change costs two system calls. */
static int wanted_events(const struct hd_link *l)
{
    int events = l->blocked ? UV_WRITABLE : 0;

    if (l->ended)
        return events;
    if ((!l->paused || !l->on.poll.heard) && hd_list_empty(&l->starved))
        return events | UV_READABLE | UV_DISCONNECT;
    return l->paused && l->watch_end ? events | UV_DISCONNECT : events;
}

static void update(struct hd_link *l)
{
    if (l->closed)
        return;
    if (!l->paused)
        l->on.poll.heard = 0;
    hd_loop_watch_set(&l->on.poll.watch, wanted_events(l));
}

/* n <= 0: nothing was received; the end is reported, unless there is only nothing yet: 0. */
static int on_nothing(struct hd_link *l, ssize_t n)
{
    if (n < 0 && errno == EAGAIN)
        return 0;
    hd_link_report_end(l, n ? errno : 0);
    return 1;
}

static ssize_t receive(struct hd_link *l, void *to, size_t cap)
{
    ssize_t n;

    l->io->recv_calls++;
    do
        n = recv(l->fd, to, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        l->io->recv_bytes += (uint64_t)n;
    return n;
}

/* One read: level-triggered polling brings us back if there is more, and other links have their turn. Returns
 * 0 when there was nothing to read. */
static int read_plain(struct hd_link *l)
{
    uint8_t *ptr;
    uint32_t cap;
    struct hd_buf *b = hd_link_room(l, &ptr, &cap);
    ssize_t n;

    if (!b)
        return 1;
    n = receive(l, ptr, cap);
    if (n <= 0)
        return on_nothing(l, n);
    hd_link_filled(l, b, ptr, (uint32_t)n);
    return 1;
}

static int read_tls(struct hd_link *l)
{
    uint8_t raw[HD_BUF_STANDARD];
    ssize_t n = receive(l, raw, sizeof(raw));

    if (n <= 0)
        return on_nothing(l, n);
    hd_link_arrived_raw(l, raw, (size_t)n);
    return 1;
}

static int read_once(struct hd_link *l)
{
    return l->tls ? read_tls(l) : read_plain(l);
}

/* The socket has failed. What had arrived before is read all the same, and finds the reason at its end. */
static void on_broken(struct hd_link *l, int error)
{
    if (l->ended)
        return;
    if (l->paused)
        hd_link_go_deaf(l, error);
    else if (!read_once(l))
        hd_link_report_end(l, error);
}

static void on_events(struct hd_link *l, int events)
{
    if (events & UV_WRITABLE) {
        l->blocked = 0;
        hd_link_flush(l);
    }
    if ((events & UV_READABLE) && !l->closed && !l->paused && !l->ended)
        read_once(l);
    if ((events & UV_DISCONNECT) && l->paused && l->watch_end)
        hd_link_report_end(l, 0);
}

static void on_ready(struct hd_loop_watch *w, int status, int events)
{
    struct hd_link *l = HD_CONTAINER_OF(w, struct hd_link, on.poll.watch);
    struct hd_io *io = l->io;

    if (l->paused && (status < 0 || (events & (UV_READABLE | UV_DISCONNECT))))
        l->on.poll.heard = 1;
    if (status < 0)
        on_broken(l, -status);
    else
        on_events(l, events);
    update(l);
    hd_io_flush(io);
}

static int uv_open(struct hd_io *io, struct hd_error *err)
{
    (void)io;
    (void)err;
    return HD_OK;
}

static void uv_shut(struct hd_io *io)
{
    (void)io;
}

static int attach(struct hd_link *l)
{
    int code = hd_loop_watch_init(l->io->loop, &l->on.poll.watch, l->fd, on_ready);

    l->on.poll.heard = 0;
    if (!code)
        update(l);
    return code;
}

static void on_watch_closed(struct hd_loop_watch *w)
{
    hd_link_released(HD_CONTAINER_OF(w, struct hd_link, on.poll.watch));
}

static void detach(struct hd_link *l)
{
    hd_loop_watch_close(&l->on.poll.watch, on_watch_closed);
}

static void blocked(struct hd_link *l)
{
    l->blocked = 1;
    update(l);
}

const struct hd_engine hd_engine_uv = {"uv",   uv_open, uv_shut, attach, detach, update, hd_link_send_by_hand,
                                       blocked};
