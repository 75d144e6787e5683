/*
 * The engine over Linux's io_uring: one ring a thread, and one system call a round of its loop, which hands
 * over all sends and all receives to arm, and sleeps until something completes.
 *
 * Receives are multishot: armed once, they complete for everything that arrives, in buffers that the thread
 * has lent to the kernel. A link has at most one send under way. The ring is what is waited for; libuv's
 * descriptor is polled in it, and libuv's next timer stands in it as a timeout. The ring belongs to the
 * thread that made it and does its work only when that thread asks (DEFER_TASKRUN), so nothing ever
 * interrupts a callback.
 *
 * A link that is closed or leaves stays known here until the last completion that names it has come. Entries
 * that name a descriptor are handed over before it is closed, so that they never meet another connection.
 */
#include "io/engine.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#ifdef HAVE_LIBURING

#include <poll.h>
#include <sys/socket.h>

#include "io/tls.h"
#include "io/uring_group.h"

#define SUBMISSIONS 512
#define COMPLETIONS 8192
#define MESSAGES    64 /* sends of several slices that are handed over together */

#define NEVER UINT64_MAX

/* Of a link's send. Most go at once, while they are handed over; those have no completion unless something is
 * wrong with them, so that a round of sends does not end the sleep that comes behind it. Where something
 * waits for the send, or the socket was full, its completion is awaited. */
enum { NOT_SENDING, SENDS_AT_ONCE, SENDS_IN_TIME };

/* What a completion belongs to stands in its user_data: a link and one of these, or one of these alone. */
enum { IGNORE = 0, RECEIVE, SEND, POLL, LIBUV, TIMER, KINDS = 7 };

struct message {
    struct msghdr head;
    struct iovec iov[HD_LINK_IOV];
};

struct hd_uring {
    struct hd_loop_waiter waiter;
    struct hd_io *io;
    struct io_uring ring;
    struct hd_uring_group group;
    struct hd_list todo;    /* links whose receiving or polling must change */
    struct hd_list leaving; /* closed or leaving links, looked at before the next sleep */
    uint32_t leaving_count; /* ... and those whose completions are awaited */
    uint32_t messages_used; /* by entries that are not handed over yet */
    struct hd_link *sent; /* links that send at once, until their sends have been handed over and looked at */
    int libuv_polled;     /* libuv's descriptor is watched */
    uint64_t timer_at;    /* when the ring's timeout ends, in libuv's time; NEVER: there is none */
    struct __kernel_timespec timer;
    struct message messages[MESSAGES];
};

static struct hd_uring *uring_of(const struct hd_link *l)
{
    return l->io->uring;
}

/* --- entries -----------------------------------------------------------------------------------------------
 */

/* Without sleeping, until the kernel has taken everything: it may be short of memory for a moment. */
static void submit(struct hd_uring *u)
{
    while (io_uring_sq_ready(&u->ring)) {
        int n = io_uring_submit(&u->ring);

        HD_CHECK(n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY);
    }
    u->messages_used = 0;
}

static struct io_uring_sqe *entry(struct hd_uring *u)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&u->ring);

    if (!e) {
        submit(u);
        e = io_uring_get_sqe(&u->ring);
        HD_CHECK(e);
    }
    return e;
}

static uint64_t name(const struct hd_link *l, unsigned kind)
{
    return (uint64_t)(uintptr_t)l | kind;
}

static void cancel(struct hd_uring *u, uint64_t what)
{
    struct io_uring_sqe *e = entry(u);

    io_uring_prep_cancel64(e, what, 0);
    io_uring_sqe_set_data64(e, IGNORE);
    io_uring_sqe_set_flags(e, IOSQE_CQE_SKIP_SUCCESS);
}

/* --- what a link waits for ---------------------------------------------------------------------------------
 */

static int wants_receive(const struct hd_link *l)
{
    const struct hd_link_ring *r = &l->on.ring;

    return !l->paused && !l->ended && !r->receiving && !r->end && hd_list_empty(&l->starved);
}

/* A pause shows only once bytes have come during it: most pauses end before that. */
static int wants_cancel(const struct hd_link *l)
{
    const struct hd_link_ring *r = &l->on.ring;

    if (!r->receiving || r->cancelling)
        return 0;
    return (l->paused && r->full) || !hd_list_empty(&l->starved);
}

static int wants_poll(const struct hd_link *l)
{
    const struct hd_link_ring *r = &l->on.ring;

    return l->paused && l->watch_end && !l->ended && !r->receiving && !r->polling;
}

static int wants_end(const struct hd_link *l)
{
    return l->on.ring.end && !l->ended && (!l->paused || l->watch_end);
}

static void update(struct hd_link *l)
{
    struct hd_link_ring *r = &l->on.ring;

    if (!l->closed && hd_list_empty(&r->node) &&
        (wants_receive(l) || wants_cancel(l) || wants_poll(l) || wants_end(l)))
        hd_list_push_back(&uring_of(l)->todo, &r->node);
}

static void arm_receive(struct hd_uring *u, struct hd_link *l)
{
    struct io_uring_sqe *e = entry(u);

    io_uring_prep_recv_multishot(e, l->fd, NULL, 0, 0);
    e->flags |= IOSQE_BUFFER_SELECT;
    e->buf_group = HD_URING_GROUP_ID;
    io_uring_sqe_set_data64(e, name(l, RECEIVE));
    l->on.ring.receiving = 1;
    l->on.ring.full = 0;
    l->io->recv_calls++;
}

static void arm_poll(struct hd_uring *u, struct hd_link *l)
{
    struct io_uring_sqe *e = entry(u);

    io_uring_prep_poll_add(e, l->fd, POLLRDHUP);
    io_uring_sqe_set_data64(e, name(l, POLL));
    l->on.ring.polling = 1;
}

static void do_todo(struct hd_uring *u, struct hd_link *l)
{
    if (wants_end(l)) {
        hd_link_report_end(l, l->on.ring.end_error);
        return;
    }
    if (wants_receive(l)) {
        if (hd_uring_group_any(&u->group))
            arm_receive(u, l);
        else
            hd_link_starve(l);
    }
    if (wants_cancel(l)) {
        cancel(u, name(l, RECEIVE));
        l->on.ring.cancelling = 1;
    }
    if (wants_poll(l))
        arm_poll(u, l);
}

/* --- leaving -----------------------------------------------------------------------------------------------
 */

static int under_way(const struct hd_link *l)
{
    const struct hd_link_ring *r = &l->on.ring;

    return r->receiving || r->sending || r->polling;
}

static void detach(struct hd_link *l)
{
    struct hd_uring *u = uring_of(l);

    if (io_uring_sq_ready(&u->ring))
        submit(u);
    hd_list_remove(&l->on.ring.node);
    hd_list_push_back(&u->leaving, &l->on.ring.node);
    u->leaving_count++;
}

/* Asks once for the end of all that is under way; the completions bring the link back here. */
static void do_leaving(struct hd_uring *u, struct hd_link *l)
{
    struct hd_link_ring *r = &l->on.ring;

    if (!under_way(l)) {
        u->leaving_count--;
        hd_buf_drop(r->raw);
        r->raw = NULL;
        l->pinned = l->blocked = 0;
        hd_link_released(l);
        return;
    }
    if (r->receiving && !r->cancelling)
        cancel(u, name(l, RECEIVE));
    r->cancelling = 1;
    if (r->sending)
        cancel(u, name(l, SEND));
    if (r->polling)
        cancel(u, name(l, POLL));
}

/* A completion of a closed link has come. */
static void maybe_gone(struct hd_link *l)
{
    if (l->closed && !under_way(l) && hd_list_empty(&l->on.ring.node))
        hd_list_push_back(&uring_of(l)->leaving, &l->on.ring.node);
}

/* --- sending -----------------------------------------------------------------------------------------------
 */

/* Will nothing be left to do for the link when this send has gone? */
static int sends_all(const struct hd_link *l)
{
    if (l->high)
        return 0;
    return l->tls ? !l->out_count && !hd_tls_wants_send(l->tls) : l->out_count <= HD_LINK_IOV;
}

/* The rest of a send's entry. One that is to go at once fails, and tells how much has gone, where the socket
 * does not take all of it. */
static void fill_send(struct hd_uring *u, struct hd_link *l, struct io_uring_sqe *e, size_t len)
{
    struct hd_link_ring *r = &l->on.ring;

    io_uring_sqe_set_data64(e, name(l, SEND));
    e->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    r->send_len = (uint32_t)len;
    r->sending = r->crowded || !sends_all(l) ? SENDS_IN_TIME : SENDS_AT_ONCE;
    if (r->sending == SENDS_IN_TIME)
        return;
    e->msg_flags |= MSG_DONTWAIT;
    io_uring_sqe_set_flags(e, IOSQE_CQE_SKIP_SUCCESS);
    r->next_sent = u->sent;
    u->sent = l;
}

static void queue_send(struct hd_uring *u, struct hd_link *l, const void *bytes, size_t len)
{
    struct io_uring_sqe *e = entry(u);

    io_uring_prep_send(e, l->fd, bytes, len, 0);
    fill_send(u, l, e, len);
}

static void queue_slices(struct hd_uring *u, struct hd_link *l)
{
    struct io_uring_sqe *e;
    struct message *m;
    size_t len = 0;

    if (l->out_count == 1) {
        const struct hd_slice *s = &l->out[l->out_head & (l->out_cap - 1)];

        queue_send(u, l, s->ptr, s->len);
        return;
    }
    if (u->messages_used == MESSAGES)
        submit(u);
    e = entry(u);
    m = &u->messages[u->messages_used++];
    m->head = (struct msghdr){.msg_iov = m->iov, .msg_iovlen = hd_link_iov(l, m->iov, HD_LINK_IOV)};
    io_uring_prep_sendmsg(e, l->fd, &m->head, 0);
    for (size_t i = 0; i < m->head.msg_iovlen; i++)
        len += m->iov[i].iov_len;
    fill_send(u, l, e, len);
}

/* Fills a buffer with records, as many as it takes; it stays the same until it has gone. 1: there are some.
 */
static int encrypt(struct hd_link *l)
{
    struct hd_link_ring *r = &l->on.ring;
    struct hd_buf *b = NULL;
    const uint8_t *raw;
    int64_t len;

    while ((len = hd_link_encrypt(l, &raw)) > 0) {
        uint32_t room, n;

        if (!b && !(b = hd_buf_new(&l->io->bufs, HD_BUF_STANDARD))) {
            hd_link_report_end(l, ENOMEM);
            return 0;
        }
        room = b->cap - b->len;
        n = len < room ? (uint32_t)len : room;
        memcpy(b->data + b->len, raw, n);
        b->len += n;
        hd_tls_sent(l->tls, n);
        if (b->len == b->cap)
            break;
    }
    if (len < 0) {
        hd_buf_drop(b);
        hd_link_report_end(l, EPROTO);
        return 0;
    }
    r->raw = b;
    r->raw_off = 0;
    return b != NULL;
}

static void engine_send(struct hd_link *l)
{
    struct hd_link_ring *r = &l->on.ring;
    struct hd_uring *u = uring_of(l);

    if (l->tls) {
        if (!r->raw && !encrypt(l))
            return;
        queue_send(u, l, r->raw->data + r->raw_off, r->raw->len - r->raw_off);
    } else if (l->out_count) {
        queue_slices(u, l);
    } else {
        return;
    }
    l->io->send_calls++;
    l->blocked = l->pinned = 1;
}

/* By hand it did not go: the ring waits for room better. */
static void blocked(struct hd_link *l)
{
    hd_link_mark_dirty(l);
}

static void sent(struct hd_link *l, uint32_t n)
{
    struct hd_link_ring *r = &l->on.ring;

    l->io->send_bytes += n;
    if (!r->raw) {
        hd_link_sent(l, n);
        return;
    }
    r->raw_off += n;
    if (r->raw_off == r->raw->len) {
        hd_buf_drop(r->raw);
        r->raw = NULL;
    }
}

/* Records that have begun to go are finished before anything else can be sent. */
static void on_sent(struct hd_link *l, int res)
{
    struct hd_link_ring *r = &l->on.ring;

    r->crowded = r->sending == SENDS_AT_ONCE && res != (int)r->send_len;
    r->sending = NOT_SENDING;
    l->blocked = l->pinned = 0;
    if (l->closed)
        return;
    if (res > 0) {
        sent(l, (uint32_t)res);
    } else if (res < 0 && res != -EINTR && res != -EAGAIN) {
        hd_buf_drop(r->raw);
        r->raw = NULL;
        if (res == -EPIPE || res == -ECONNRESET)
            hd_link_go_deaf(l, -res);
        else
            hd_link_report_end(l, -res);
        return;
    }
    if (r->raw && !l->ended)
        engine_send(l);
    else if (l->out_count || (l->tls && hd_tls_wants_send(l->tls)))
        hd_link_mark_dirty(l);
    hd_link_check_drained(l);
}

/* After entries were handed over and what came of them was looked at: the sends that were not heard of have
 * gone. */
static void settle_sends(struct hd_uring *u)
{
    struct hd_link *l = u->sent;

    u->sent = NULL;
    while (l) {
        struct hd_link *next = l->on.ring.next_sent;

        if (l->on.ring.sending == SENDS_AT_ONCE)
            on_sent(l, (int)l->on.ring.send_len);
        maybe_gone(l);
        l = next;
    }
}

/* --- receiving ---------------------------------------------------------------------------------------------
 */

static void on_stream_end(struct hd_link *l, int error)
{
    struct hd_link_ring *r = &l->on.ring;

    if (l->closed)
        return;
    r->end = 1;
    r->end_error = error;
}

static void on_bytes(struct hd_uring *u, struct hd_link *l, uint32_t place, int res)
{
    struct hd_buf *b = hd_uring_group_take(&u->group, place);

    if (res > 0 && l->leaving) {
        if (hd_link_carry(l, b->data, (size_t)res))
            shutdown(l->fd, SHUT_RDWR); /* its bytes are lost: where it arrives, it has ended */
    } else if (res > 0 && !l->closed && !l->ended) {
        l->io->recv_bytes += (uint64_t)res;
        l->on.ring.full = l->paused;
        b->len = (uint32_t)res;
        hd_link_arrived(l, b, b->len);
    }
    hd_uring_group_give(&u->group, b);
}

static void on_received(struct hd_uring *u, struct hd_link *l, int res, uint32_t flags)
{
    if (!(flags & IORING_CQE_F_MORE))
        l->on.ring.receiving = l->on.ring.cancelling = 0;
    if (flags & IORING_CQE_F_BUFFER)
        on_bytes(u, l, flags >> IORING_CQE_BUFFER_SHIFT, res);
    if (res == 0)
        on_stream_end(l, 0);
    else if (res < 0 && res != -ENOBUFS && res != -ECANCELED && res != -EINTR && res != -EAGAIN)
        on_stream_end(l, -res);
    update(l);
}

static void on_polled(struct hd_link *l, int res)
{
    l->on.ring.polling = 0;
    if (res > 0 && !l->closed && l->paused && l->watch_end)
        hd_link_report_end(l, 0);
    else
        update(l);
}

/* --- the loop ----------------------------------------------------------------------------------------------
 */

static void prepare(struct hd_loop_waiter *w)
{
    struct hd_uring *u = HD_CONTAINER_OF(w, struct hd_uring, waiter);
    struct hd_list *n;

    do {
        hd_uring_group_refill(&u->group);
        while ((n = hd_list_pop_front(&u->todo)))
            do_todo(u, HD_LIST_ITEM(n, struct hd_link, on.ring.node));
        while ((n = hd_list_pop_front(&u->leaving)))
            do_leaving(u, HD_LIST_ITEM(n, struct hd_link, on.ring.node));
        hd_io_flush(u->io);
    } while (!hd_list_empty(&u->todo) || !hd_list_empty(&u->leaving)); /* owners were told of an end */
}

static void watch_libuv(struct hd_uring *u)
{
    struct io_uring_sqe *e;

    if (u->libuv_polled)
        return;
    e = entry(u);
    io_uring_prep_poll_add(e, uv_backend_fd(&u->io->loop->uv), POLLIN);
    io_uring_sqe_set_data64(e, LIBUV);
    u->libuv_polled = 1;
}

/* Sets the one timeout, or moves it to an earlier time; one that ends too early does no harm. */
static void watch_time(struct hd_uring *u, int timeout_ms)
{
    uint64_t at = uv_now(&u->io->loop->uv) + (uint64_t)timeout_ms;
    struct io_uring_sqe *e;

    if (timeout_ms < 0 || at >= u->timer_at)
        return;
    u->timer = (struct __kernel_timespec){timeout_ms / 1000, (long long)(timeout_ms % 1000) * 1000000};
    e = entry(u);
    if (u->timer_at == NEVER) {
        io_uring_prep_timeout(e, &u->timer, 0, 0);
        io_uring_sqe_set_data64(e, TIMER);
    } else {
        io_uring_prep_timeout_update(e, &u->timer, TIMER, 0);
        io_uring_sqe_set_data64(e, IGNORE);
        io_uring_sqe_set_flags(e, IOSQE_CQE_SKIP_SUCCESS);
    }
    u->timer_at = at;
}

/* 1: it was libuv's. */
static int complete(struct hd_uring *u, uint64_t data, int res, uint32_t flags)
{
    struct hd_link *l = (struct hd_link *)(uintptr_t)(data & ~(uint64_t)KINDS);

    switch (data & KINDS) {
    case RECEIVE:
        on_received(u, l, res, flags);
        break;
    case SEND:
        on_sent(l, res);
        break;
    case POLL:
        on_polled(l, res);
        break;
    case LIBUV:
        u->libuv_polled = 0;
        return 1;
    case TIMER:
        u->timer_at = NEVER;
        return 1;
    default:
        return 0;
    }
    maybe_gone(l);
    return 0;
}

/* Those that are there now; callbacks hand nothing over, except before they close a descriptor. */
static int complete_all(struct hd_uring *u)
{
    unsigned ready = io_uring_cq_ready(&u->ring);
    int due = 0;

    while (ready--) {
        struct io_uring_cqe *found;
        struct io_uring_cqe c;

        if (io_uring_peek_cqe(&u->ring, &found))
            break;
        c = *found;
        io_uring_cqe_seen(&u->ring, found);
        due |= complete(u, c.user_data, c.res, c.flags);
    }
    return due;
}

static int wait_ring(struct hd_loop_waiter *w, int timeout_ms)
{
    struct hd_uring *u = HD_CONTAINER_OF(w, struct hd_uring, waiter);
    int n, due;

    watch_libuv(u);
    if (timeout_ms)
        watch_time(u, timeout_ms);
    n = timeout_ms ? io_uring_submit_and_wait(&u->ring, 1) : io_uring_submit_and_get_events(&u->ring);
    HD_CHECK(n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY);
    submit(u); /* mostly all has been taken, and this does nothing */
    due = complete_all(u);
    while (io_uring_cq_has_overflow(&u->ring)) {
        (void)io_uring_get_events(&u->ring);
        due |= complete_all(u);
    }
    settle_sends(u);
    return due;
}

static void drain(struct hd_loop_waiter *w)
{
    struct hd_uring *u = HD_CONTAINER_OF(w, struct hd_uring, waiter);

    prepare(w);
    while (u->leaving_count) {
        wait_ring(w, -1);
        prepare(w);
    }
}

/* --- life --------------------------------------------------------------------------------------------------
 */

static int attach(struct hd_link *l)
{
    memset(&l->on.ring, 0, sizeof(l->on.ring));
    hd_list_init(&l->on.ring.node);
    update(l);
    return HD_OK;
}

/* Does a ring that could be made also work? A filter of system calls may allow one and forbid the other. */
static int prove(struct io_uring *ring)
{
    struct io_uring_sqe *e = io_uring_get_sqe(ring);
    struct io_uring_cqe *c;
    int n;

    io_uring_prep_nop(e);
    io_uring_sqe_set_data64(e, IGNORE);
    n = io_uring_submit_and_wait(ring, 1);
    if (n < 0)
        return n;
    n = io_uring_peek_cqe(ring, &c);
    if (!n)
        io_uring_cqe_seen(ring, c);
    return n;
}

static int uring_open(struct hd_io *io, struct hd_error *err)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
                                .cq_entries = COMPLETIONS};
    struct hd_uring *u = hd_calloc(1, sizeof(*u));
    int code;

    if (!u)
        return hd_fail(err, HD_ENOMEM, "no memory for an io_uring");
    code = io_uring_queue_init_params(SUBMISSIONS, &u->ring, &p);
    if (code) {
        hd_free(u);
        return hd_fail(err, HD_EUNSUPP, "%s%s", strerror(-code),
                       code == -EINVAL ? ": io_uring needs Linux 6.1" : "");
    }
    code = prove(&u->ring);
    if (code) {
        code = hd_fail(err, HD_EUNSUPP, "io_uring does not work: %s", strerror(-code));
        goto fail;
    }
    code = hd_uring_group_open(&u->group, &u->ring, &io->bufs);
    if (code) {
        hd_fail(err, code, "io_uring takes no buffers: %s", strerror(errno));
        goto fail;
    }
    (void)io_uring_register_ring_fd(&u->ring); /* saves a look-up per call, where it can be had */
    u->io = io;
    u->timer_at = NEVER;
    u->waiter = (struct hd_loop_waiter){prepare, wait_ring, drain};
    hd_list_init(&u->todo);
    hd_list_init(&u->leaving);
    io->uring = u;
    io->loop->waiter = &u->waiter;
    return HD_OK;
fail:
    io_uring_queue_exit(&u->ring);
    hd_free(u);
    return code;
}

static void uring_shut(struct hd_io *io)
{
    struct hd_uring *u = io->uring;

    HD_CHECK(u->leaving_count == 0);
    io->loop->waiter = NULL;
    io_uring_queue_exit(&u->ring);
    hd_uring_group_close(&u->group);
    hd_free(u);
    io->uring = NULL;
}

const struct hd_engine hd_engine_uring = {"uring", uring_open, uring_shut,  attach,
                                          detach,  update,     engine_send, blocked};

#else

static int uring_open(struct hd_io *io, struct hd_error *err)
{
    (void)io;
    return hd_fail(err, HD_EUNSUPP, "this build is without liburing");
}

const struct hd_engine hd_engine_uring = {.name = "uring", .open = uring_open};

#endif
