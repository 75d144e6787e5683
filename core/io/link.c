/*
 * Links over libuv's poll handles: recv and send by hand, no allocation per read or write. See link.h.
 *
 * A read goes behind what is left over from before or, mostly, into the thread's scratch buffer, which stays
 * hot in the cache; what on_data does not take is copied out of it. Writes wait until the event that caused
 * them has been handled and then leave in one call.
 */
#include "io/link.h"

#include <errno.h>
#include <howdah/error.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/tls.h"

#define IOV_MAX_SLICES 32

static void on_ready(struct hd_loop_watch *w, int status, int events);

/* --- the thread's side -------------------------------------------------------------------------------------
 */

static void on_flush(struct hd_deferred *d)
{
    hd_io_flush(HD_CONTAINER_OF(d, struct hd_io, flush));
}

int hd_io_init(struct hd_io *io, struct hd_loop *loop, size_t buffer_limit)
{
    memset(io, 0, sizeof(*io));
    io->loop = loop;
    hd_bufs_init(&io->bufs, buffer_limit);
    hd_list_init(&io->dirty);
    hd_list_init(&io->starved);
    hd_list_init(&io->flush.node);
    io->flush.fn = on_flush;
    io->scratch = hd_buf_new(&io->bufs, HD_BUF_STANDARD);
    return io->scratch ? HD_OK : HD_ENOMEM;
}

void hd_io_close(struct hd_io *io)
{
    HD_CHECK(hd_list_empty(&io->dirty));
    hd_list_remove(&io->flush.node);
    hd_buf_drop(io->scratch);
    hd_bufs_close(&io->bufs);
}

void hd_io_flush(struct hd_io *io)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&io->dirty)))
        hd_link_flush(HD_LIST_ITEM(n, struct hd_link, dirty));
}

void hd_io_retry(struct hd_io *io)
{
    struct hd_list again;
    struct hd_list *n;

    hd_bufs_trim(&io->bufs);
    hd_list_init(&again);
    while ((n = hd_list_pop_front(&io->starved)))
        hd_list_push_back(&again, n);
    while ((n = hd_list_pop_front(&again))) {
        struct hd_link *l = HD_LIST_ITEM(n, struct hd_link, starved);

        if (!l->paused)
            hd_link_resume(l);
    }
}

/* --- what the descriptor is watched for --------------------------------------------------------------------
 */

static void rewatch(struct hd_link *l)
{
    int events = 0;

    if (l->closed)
        return;
    if (!l->paused && !l->ended && hd_list_empty(&l->starved))
        events |= UV_READABLE;
    if (l->paused && l->watch_end && !l->ended)
        events |= UV_DISCONNECT;
    if (l->blocked)
        events |= UV_WRITABLE;
    hd_loop_watch_set(&l->watch, events);
}

static void drop_out(struct hd_link *l)
{
    for (uint32_t i = 0; i < l->out_count; i++)
        hd_buf_drop(l->out[(l->out_head + i) & (l->out_cap - 1)].buf);
    if (l->out != l->few)
        hd_free(l->out);
    l->out = l->few;
    l->out_count = l->out_head = 0;
    l->out_cap = HD_LINK_INLINE;
    l->out_bytes = 0;
}

static void report_drained(struct hd_link *l)
{
    l->high = 0;
    if (l->ops->on_drained)
        l->ops->on_drained(l);
}

static void report_end(struct hd_link *l, int error)
{
    if (l->ended || l->closed)
        return;
    l->ended = 1;
    rewatch(l);
    l->ops->on_end(l, error);
}

/* The peer is gone as a reader. What it had to say before (why it ends, above all) may still wait to be read,
 * so the end is reported by the read that finds it; whoever feeds the link must not wait for it. */
static void go_deaf(struct hd_link *l, int error)
{
    if (l->paused && l->watch_end) {
        report_end(l, error);
        return;
    }
    l->deaf = 1;
    l->blocked = 0;
    hd_list_remove(&l->dirty);
    drop_out(l);
    rewatch(l);
    if (l->high)
        report_drained(l);
}

/* Reading stops until hd_io_retry: there is no buffer. */
static void starve(struct hd_link *l)
{
    if (hd_list_empty(&l->starved))
        hd_list_push_back(&l->io->starved, &l->starved);
    rewatch(l);
}

/* --- receiving ---------------------------------------------------------------------------------------------
 */

/* Makes leftovers stand in a buffer with room for `want` bytes from their start, and for one more at least.
 */
static int grow_leftovers(struct hd_link *l)
{
    uint32_t need = l->want > l->in_len           ? l->want
                    : l->in_len < HD_BUF_STANDARD ? l->in_len + 1
                                                  : l->in_len + HD_BUF_STANDARD;
    struct hd_buf *b;

    if (l->in->cap - l->in_off >= need)
        return HD_OK;
    if (need < HD_BUF_STANDARD)
        need = HD_BUF_STANDARD;
    b = hd_buf_new(&l->io->bufs, need);
    if (!b)
        return HD_ENOMEM;
    memcpy(b->data, l->in->data + l->in_off, l->in_len);
    b->len = l->in_len;
    hd_buf_drop(l->in);
    l->in = b;
    l->in_off = 0;
    return HD_OK;
}

/* The scratch buffer, empty; a new one if slices of the old are still waiting to be sent. */
static struct hd_buf *scratch(struct hd_io *io)
{
    struct hd_buf *b;

    if (io->scratch->refs > 1) {
        b = hd_buf_new(&io->bufs, HD_BUF_STANDARD);
        if (!b)
            return NULL;
        hd_buf_drop(io->scratch);
        io->scratch = b;
    }
    io->scratch->len = 0;
    return io->scratch;
}

/* Where the next bytes go: behind the leftovers, or into scratch. */
static struct hd_buf *room(struct hd_link *l, uint8_t **ptr, uint32_t *cap)
{
    struct hd_buf *b;

    if (l->in_len) {
        if (grow_leftovers(l))
            return NULL;
        *ptr = l->in->data + l->in_off + l->in_len;
        *cap = l->in->cap - l->in_off - l->in_len;
        return l->in;
    }
    b = scratch(l->io);
    if (!b)
        return NULL;
    *ptr = b->data;
    *cap = b->cap;
    return b;
}

/* Keeps `len` bytes of `buf` as leftovers; out of the scratch buffer they are copied. */
static int keep(struct hd_link *l, struct hd_buf *buf, const uint8_t *ptr, uint32_t len)
{
    uint32_t need = l->want > len ? l->want : len;

    if (buf == l->in) {
        l->in_off = (uint32_t)(ptr - buf->data);
        l->in_len = len;
        return HD_OK;
    }
    l->in = hd_buf_new(&l->io->bufs, need);
    if (!l->in)
        return HD_ENOMEM;
    memcpy(l->in->data, ptr, len);
    l->in->len = len;
    l->in_off = 0;
    l->in_len = len;
    return HD_OK;
}

static void drop_leftovers(struct hd_link *l)
{
    hd_buf_drop(l->in);
    l->in = NULL;
    l->in_off = l->in_len = 0;
}

/* Hands bytes to the owner and keeps what it leaves. Returns how many it took. */
static size_t deliver_once(struct hd_link *l, struct hd_buf *buf, const uint8_t *ptr, uint32_t len)
{
    size_t taken = 0;
    int code = HD_OK;

    hd_buf_hold(buf);
    l->busy = 1;
    l->again = 0;
    if (!l->paused && len >= l->want) {
        l->want = 0;
        l->current = buf;
        taken = l->ops->on_data(l, ptr, len);
        HD_ASSERT(taken <= len);
    }
    l->busy = 0;
    if (l->closed || taken == len)
        drop_leftovers(l);
    else
        code = keep(l, buf, ptr + taken, len - (uint32_t)taken);
    hd_buf_drop(buf);
    if (code)
        report_end(l, ENOMEM);
    return taken;
}

/* The same, and again when the owner paused the link and resumed it in one go. */
static void deliver(struct hd_link *l, struct hd_buf *buf, const uint8_t *ptr, uint32_t len)
{
    size_t taken = deliver_once(l, buf, ptr, len);

    while (!l->closed && !l->ended && l->again && !l->paused && l->in_len) {
        if (!taken) { /* no progress: not in a circle, but with the next tick */
            starve(l);
            return;
        }
        taken = deliver_once(l, l->in, l->in->data + l->in_off, l->in_len);
    }
}

struct hd_buf *hd_link_buf(struct hd_link *l)
{
    HD_ASSERT(l->busy);
    return l->current;
}

void hd_link_offer(struct hd_link *l)
{
    if (l->closed || l->busy || !l->in_len)
        return;
    deliver(l, l->in, l->in->data + l->in_off, l->in_len);
}

static void received(struct hd_link *l, struct hd_buf *b, uint32_t n)
{
    if (b == l->in)
        deliver(l, b, b->data + l->in_off, l->in_len + n);
    else
        deliver(l, b, b->data, n);
}

/* One read: level-triggered polling brings us back if there is more, and other links have their turn. Returns
 * 0 when there was nothing to read. */
static int read_plain(struct hd_link *l)
{
    uint8_t *ptr;
    uint32_t cap;
    struct hd_buf *b = room(l, &ptr, &cap);
    ssize_t n;

    if (!b) {
        starve(l);
        return 1;
    }
    l->io->recv_calls++;
    do
        n = recv(l->fd, ptr, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        l->io->recv_bytes += (uint64_t)n;
        b->len = (uint32_t)(ptr - b->data) + (uint32_t)n;
        received(l, b, (uint32_t)n);
    } else if (n == 0) {
        report_end(l, 0);
    } else if (errno != EAGAIN) {
        report_end(l, errno);
    } else {
        return 0;
    }
    return 1;
}

/* Takes what TLS has decrypted, until there is no more or the owner pauses. */
static void drain_tls(struct hd_link *l)
{
    while (!l->closed && !l->paused && !l->ended) {
        uint8_t *ptr;
        uint32_t cap;
        struct hd_buf *b = room(l, &ptr, &cap);
        int n;

        if (!b) {
            starve(l);
            return;
        }
        n = hd_tls_read(l->tls, ptr, cap);
        if (n == 0)
            break;
        if (n < 0) {
            hd_link_flush(l); /* the alert that says why */
            report_end(l, n == HD_ECANCELLED ? 0 : EPROTO);
            return;
        }
        b->len = (uint32_t)(ptr - b->data) + (uint32_t)n;
        received(l, b, (uint32_t)n);
    }
    /* Handshake, alerts, key updates; and what had to wait for the handshake. */
    if (!l->closed && (l->out_count || hd_tls_wants_send(l->tls)))
        hd_link_flush(l);
}

static int read_tls(struct hd_link *l)
{
    uint8_t raw[HD_BUF_STANDARD];
    ssize_t n;

    l->io->recv_calls++;
    do
        n = recv(l->fd, raw, sizeof(raw), MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        report_end(l, n ? errno : 0);
        return 1;
    }
    l->io->recv_bytes += (uint64_t)n;
    if (hd_tls_feed(l->tls, raw, (size_t)n))
        report_end(l, ENOMEM);
    else
        drain_tls(l);
    return 1;
}

/* The socket has failed. What had arrived before is read all the same, and finds the reason at its end. */
static void on_broken(struct hd_link *l, int error)
{
    if (l->paused)
        go_deaf(l, error);
    else if (!(l->tls ? read_tls(l) : read_plain(l)))
        report_end(l, error);
}

static void on_ready(struct hd_loop_watch *w, int status, int events)
{
    struct hd_link *l = HD_CONTAINER_OF(w, struct hd_link, watch);
    struct hd_io *io = l->io;

    if (status < 0) {
        if (!l->ended)
            on_broken(l, -status);
    } else {
        if (events & UV_WRITABLE) {
            l->blocked = 0;
            hd_link_flush(l);
        }
        if ((events & UV_READABLE) && !l->closed && !l->paused && !l->ended) {
            if (l->tls)
                read_tls(l);
            else
                read_plain(l);
        }
        if ((events & UV_DISCONNECT) && l->paused && l->watch_end)
            report_end(l, 0);
    }
    if (!l->closed)
        rewatch(l);
    hd_io_flush(io);
}

/* --- sending -----------------------------------------------------------------------------------------------
 */

static int more_slices(struct hd_link *l)
{
    uint32_t cap = l->out_cap * 2;
    struct hd_slice *ring = hd_malloc(cap * sizeof(*ring));

    if (!ring)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < l->out_count; i++)
        ring[i] = l->out[(l->out_head + i) & (l->out_cap - 1)];
    if (l->out != l->few)
        hd_free(l->out);
    l->out = ring;
    l->out_head = 0;
    l->out_cap = cap;
    return HD_OK;
}

static void mark_dirty(struct hd_link *l)
{
    if (hd_list_empty(&l->dirty))
        hd_list_push_back(&l->io->dirty, &l->dirty);
    hd_loop_defer(l->io->loop, &l->io->flush);
}

static void queued(struct hd_link *l, size_t len)
{
    l->out_bytes += len;
    if (l->out_bytes > HD_LINK_HIGH)
        l->high = 1;
    if (!l->blocked && hd_list_empty(&l->dirty))
        mark_dirty(l);
}

int hd_link_send(struct hd_link *l, struct hd_buf *buf, const uint8_t *ptr, uint32_t len)
{
    struct hd_slice *last;

    if (l->closed || l->ended || l->deaf || !len)
        return HD_OK; /* nobody is there to read it; the owner hears of the end by itself */
    if (l->out_count) {
        last = &l->out[(l->out_head + l->out_count - 1) & (l->out_cap - 1)];
        if (last->buf == buf && last->ptr + last->len == ptr && last->len + len > last->len) {
            last->len += len;
            queued(l, len);
            return HD_OK;
        }
    }
    if (l->out_count == l->out_cap && more_slices(l))
        return HD_ENOMEM;
    l->out[(l->out_head + l->out_count++) & (l->out_cap - 1)] = (struct hd_slice){hd_buf_hold(buf), ptr, len};
    queued(l, len);
    return HD_OK;
}

int hd_link_send_copy(struct hd_link *l, const void *bytes, size_t len)
{
    struct hd_buf *b;
    struct hd_slice *last;
    int code;

    if (l->closed || l->ended || l->deaf || !len)
        return HD_OK;
    if (l->out_count) { /* append where the last copy ended, if its buffer has room and nobody else fills it
                         */
        last = &l->out[(l->out_head + l->out_count - 1) & (l->out_cap - 1)];
        b = last->buf;
        if (b != l->in && b != l->io->scratch && last->ptr + last->len == b->data + b->len &&
            b->cap - b->len >= len && b->refs == 1) {
            memcpy(b->data + b->len, bytes, len);
            b->len += (uint32_t)len;
            last->len += (uint32_t)len;
            queued(l, len);
            return HD_OK;
        }
    }
    b = hd_buf_new(&l->io->bufs, (uint32_t)len);
    if (!b)
        return HD_ENOMEM;
    memcpy(b->data, bytes, len);
    b->len = (uint32_t)len;
    code = hd_link_send(l, b, b->data, b->len);
    hd_buf_drop(b);
    return code;
}

/* n bytes have gone out. */
static void sent(struct hd_link *l, size_t n)
{
    l->out_bytes -= n;
    while (n) {
        struct hd_slice *s = &l->out[l->out_head & (l->out_cap - 1)];

        if (n < s->len) {
            s->ptr += n;
            s->len -= (uint32_t)n;
            break;
        }
        n -= s->len;
        hd_buf_drop(s->buf);
        l->out_head = (l->out_head + 1) & (l->out_cap - 1);
        l->out_count--;
    }
    if (!l->out_count && l->out != l->few) { /* an idle link owns nothing but itself */
        hd_free(l->out);
        l->out = l->few;
        l->out_cap = HD_LINK_INLINE;
    }
    if (!l->out_count)
        l->out_head = 0;
}

static ssize_t send_slices(struct hd_link *l)
{
    struct iovec iov[IOV_MAX_SLICES];
    struct msghdr m = {.msg_iov = iov};
    uint32_t n = l->out_count < IOV_MAX_SLICES ? l->out_count : IOV_MAX_SLICES;
    ssize_t done;

    l->io->send_calls++;
    do {
        if (n == 1) {
            struct hd_slice *s = &l->out[l->out_head];

            done = send(l->fd, s->ptr, s->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            for (uint32_t i = 0; i < n; i++) {
                struct hd_slice *s = &l->out[(l->out_head + i) & (l->out_cap - 1)];

                iov[i] = (struct iovec){(void *)(uintptr_t)s->ptr, s->len};
            }
            m.msg_iovlen = n;
            done = sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    } while (done < 0 && errno == EINTR);
    return done;
}

/* The socket took less than was offered, or failed. Returns 1 when flushing must stop. */
static int stop_sending(struct hd_link *l, ssize_t done)
{
    if (done >= 0)
        return 0;
    if (errno == EAGAIN) {
        l->blocked = 1;
        rewatch(l);
    } else if (errno == EPIPE || errno == ECONNRESET) {
        go_deaf(l, errno);
    } else {
        report_end(l, errno);
    }
    return 1;
}

static void flush_plain(struct hd_link *l)
{
    while (l->out_count) {
        ssize_t done = send_slices(l);

        if (stop_sending(l, done))
            return;
        l->io->send_bytes += (uint64_t)done;
        sent(l, (size_t)done);
    }
}

/* Encrypts slices as long as the socket takes records. */
static void flush_tls(struct hd_link *l)
{
    for (;;) {
        const uint8_t *raw;
        size_t len = hd_tls_pending_send(l->tls, &raw);
        ssize_t done;

        if (!len && l->out_count && hd_tls_ready(l->tls)) {
            struct hd_slice *s = &l->out[l->out_head];
            int n = hd_tls_write(l->tls, s->ptr, s->len);

            if (n < 0) {
                report_end(l, EPROTO);
                return;
            }
            if (n > 0)
                sent(l, (size_t)n);
            len = hd_tls_pending_send(l->tls, &raw);
        }
        if (!len)
            return;
        l->io->send_calls++;
        do
            done = send(l->fd, raw, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (done < 0 && errno == EINTR);
        if (stop_sending(l, done))
            return;
        l->io->send_bytes += (uint64_t)done;
        hd_tls_sent(l->tls, (size_t)done);
    }
}

void hd_link_flush(struct hd_link *l)
{
    hd_list_remove(&l->dirty);
    if (l->closed || l->ended || l->deaf || l->blocked)
        return;
    if (l->tls)
        flush_tls(l);
    else
        flush_plain(l);
    if (l->high && l->out_bytes < HD_LINK_LOW && !l->closed && !l->ended)
        report_drained(l);
}

/* --- life --------------------------------------------------------------------------------------------------
 */

static void init_fields(struct hd_link *l, struct hd_io *io, int fd, const struct hd_link_ops *ops)
{
    memset(l, 0, sizeof(*l));
    l->ops = ops;
    l->io = io;
    l->fd = fd;
    l->out = l->few;
    l->out_cap = HD_LINK_INLINE;
    hd_list_init(&l->dirty);
    hd_list_init(&l->starved);
}

int hd_link_init(struct hd_link *l, struct hd_io *io, int fd, const struct hd_link_ops *ops)
{
    int code;

    init_fields(l, io, fd, ops);
    code = hd_loop_watch_init(io->loop, &l->watch, fd, on_ready);
    if (!code)
        rewatch(l);
    return code;
}

static void on_watch_closed(struct hd_loop_watch *w)
{
    struct hd_link *l = HD_CONTAINER_OF(w, struct hd_link, watch);
    void (*released)(struct hd_link *) = (void (*)(struct hd_link *))(uintptr_t)w->uv.data;

    if (released)
        released(l);
}

void hd_link_close(struct hd_link *l, void (*released)(struct hd_link *l))
{
    HD_ASSERT(!l->closed);
    l->closed = 1;
    hd_list_remove(&l->dirty);
    hd_list_remove(&l->starved);
    drop_out(l);
    if (!l->busy)
        drop_leftovers(l);
    hd_tls_free(l->tls);
    l->tls = NULL;
    l->watch.uv.data = (void *)(uintptr_t)released;
    hd_loop_watch_close(&l->watch, on_watch_closed);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void hd_link_pause(struct hd_link *l)
{
    l->paused = 1;
    if (!l->busy)
        rewatch(l);
}

void hd_link_resume(struct hd_link *l)
{
    l->paused = 0;
    if (l->busy)
        l->again = 1;
    if (l->closed || l->busy)
        return;
    hd_link_offer(l);
    if (l->tls && !l->closed && !l->paused)
        drain_tls(l);
    rewatch(l);
    hd_loop_defer(l->io->loop, &l->io->flush);
}

int hd_link_quiet(const struct hd_link *l)
{
    return !l->out_count && !l->in_len && !l->blocked && !l->deaf && !l->ended && !l->busy &&
           hd_list_empty(&l->dirty);
}

void hd_link_detach(struct hd_link *l, void (*detached)(struct hd_link *l))
{
    HD_ASSERT(hd_link_quiet(l) && !l->closed);
    hd_list_remove(&l->starved);
    l->closed = 1; /* no event of the old thread counts any more */
    l->watch.uv.data = (void *)(uintptr_t)detached;
    hd_loop_watch_close(&l->watch, on_watch_closed);
}

int hd_link_attach(struct hd_link *l, struct hd_io *io)
{
    int code = hd_loop_watch_init(io->loop, &l->watch, l->fd, on_ready);

    if (code)
        return code;
    l->io = io;
    l->closed = 0;
    l->paused = 0;
    rewatch(l);
    return HD_OK;
}

void hd_link_set_tls(struct hd_link *l, struct hd_tls *tls)
{
    HD_ASSERT(!l->tls && !l->out_count);
    l->tls = tls;
}
