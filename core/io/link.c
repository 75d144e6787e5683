/*
 * Links, as far as it does not matter which engine carries them: leftovers, back-pressure, TLS, life and
 * moving. See link.h.
 *
 * A read goes behind what is left over from before or, mostly, into the thread's scratch buffer (or one of
 * the engine's), which stays hot in the cache; what on_data does not take is copied out of it.
 */
#include "io/link.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/engine.h"
#include "io/tls.h"

/* Bytes that belong to no thread's pool. */
struct hd_link_carry {
    uint32_t len;
    uint8_t data[];
};

/* --- the thread's side -------------------------------------------------------------------------------------
 */

static void on_flush(struct hd_deferred *d)
{
    hd_io_flush(HD_CONTAINER_OF(d, struct hd_io, flush));
}

int hd_io_init(struct hd_io *io, struct hd_loop *loop, size_t buffer_limit)
{
    int code;

    memset(io, 0, sizeof(*io));
    io->loop = loop;
    io->engine = &hd_engine_uv;
    hd_bufs_init(&io->bufs, buffer_limit);
    hd_list_init(&io->dirty);
    hd_list_init(&io->starved);
    hd_list_init(&io->flush.node);
    io->flush.fn = on_flush;
    code = hd_engine_uv.open(io, NULL);
    if (code)
        return code;
    io->scratch = hd_buf_new(&io->bufs, HD_BUF_STANDARD);
    if (io->scratch)
        return HD_OK;
    hd_engine_uv.close(io);
    return HD_ENOMEM;
}

int hd_io_use_uring(struct hd_io *io, struct hd_error *err)
{
    struct hd_loop_waiter *ring;
    int code = hd_engine_uring.open(io, err);

    if (code)
        return code;
    ring = io->loop->waiter;
    hd_engine_uv.close(io);
    io->loop->waiter = ring;
    io->engine = &hd_engine_uring;
    return HD_OK;
}

const char *hd_io_engine(const struct hd_io *io)
{
    return io->engine->name;
}

void hd_io_close(struct hd_io *io)
{
    HD_CHECK(hd_list_empty(&io->dirty));
    io->engine->close(io);
    hd_list_remove(&io->flush.node);
    hd_buf_drop(io->scratch);
    hd_bufs_close(&io->bufs);
}

void hd_io_flush(struct hd_io *io)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&io->dirty))) {
        struct hd_link *l = HD_LIST_ITEM(n, struct hd_link, dirty);

        if (hd_link_may_send(l))
            io->engine->send(l);
    }
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

void hd_link_report_end(struct hd_link *l, int error)
{
    if (l->ended || l->closed)
        return;
    l->ended = 1;
    l->io->engine->update(l);
    l->ops->on_end(l, error);
}

void hd_link_go_deaf(struct hd_link *l, int error)
{
    if (l->ended || l->closed || l->deaf)
        return;
    if (l->paused && l->watch_end) {
        hd_link_report_end(l, error);
        return;
    }
    l->deaf = 1;
    l->blocked = 0;
    hd_list_remove(&l->dirty);
    hd_link_drop_out(l);
    l->io->engine->update(l);
    hd_link_check_drained(l);
}

void hd_link_starve(struct hd_link *l)
{
    if (hd_list_empty(&l->starved))
        hd_list_push_back(&l->io->starved, &l->starved);
    l->io->engine->update(l);
}

/* --- receiving ---------------------------------------------------------------------------------------------
 */

/* Makes leftovers stand in a buffer with room for `want` bytes from their start, and for `more` at least. */
static int grow_leftovers(struct hd_link *l, uint32_t more)
{
    uint32_t need = l->in_len + more;
    struct hd_buf *b;

    if (need < l->want)
        need = l->want;
    else if (l->in_len >= HD_BUF_STANDARD && need < l->in_len + HD_BUF_STANDARD)
        need = l->in_len + HD_BUF_STANDARD;
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
static struct hd_buf *find_room(struct hd_link *l, uint8_t **ptr, uint32_t *cap)
{
    struct hd_buf *b;

    if (l->in_len) {
        if (grow_leftovers(l, 1))
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
        hd_link_report_end(l, ENOMEM);
    return taken;
}

static void drain_tls(struct hd_link *l);

/* The same, and again when the owner paused the link and resumed it in one go. */
static void deliver(struct hd_link *l, struct hd_buf *buf, const uint8_t *ptr, uint32_t len)
{
    const struct hd_tls *tls = l->tls;
    size_t taken = deliver_once(l, buf, ptr, len);

    while (!l->closed && !l->ended && l->again && !l->paused && l->in_len) {
        if (!taken) { /* no progress: not in a circle, but with the next tick */
            hd_link_starve(l);
            return;
        }
        taken = deliver_once(l, l->in, l->in->data + l->in_off, l->in_len);
    }
    if (!tls && l->tls && !l->closed && !l->ended) /* put under it just now, with bytes that it was fed */
        drain_tls(l);
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

struct hd_buf *hd_link_room(struct hd_link *l, uint8_t **ptr, uint32_t *cap)
{
    struct hd_buf *b = find_room(l, ptr, cap);

    if (!b)
        hd_link_starve(l);
    return b;
}

void hd_link_filled(struct hd_link *l, struct hd_buf *b, uint8_t *ptr, uint32_t n)
{
    b->len = (uint32_t)(ptr - b->data) + n;
    if (b == l->in)
        deliver(l, b, b->data + l->in_off, l->in_len + n);
    else
        deliver(l, b, b->data, n);
}

/* Takes what TLS has decrypted, until there is no more or the owner pauses. */
static void drain_tls(struct hd_link *l)
{
    while (!l->closed && !l->paused && !l->ended) {
        uint8_t *ptr;
        uint32_t cap;
        struct hd_buf *b = hd_link_room(l, &ptr, &cap);
        int n;

        if (!b)
            return;
        n = hd_tls_read(l->tls, ptr, cap);
        if (n == 0)
            break;
        if (n < 0) {
            hd_link_flush(l); /* the alert that says why */
            hd_link_report_end(l, n == HD_ECANCELLED ? 0 : EPROTO);
            return;
        }
        hd_link_filled(l, b, ptr, (uint32_t)n);
    }
    /* Handshake, alerts, key updates; and what had to wait for the handshake. */
    if (!l->closed && (l->out_count || hd_tls_wants_send(l->tls)))
        hd_link_mark_dirty(l);
}

void hd_link_arrived_raw(struct hd_link *l, const uint8_t *raw, size_t n)
{
    if (hd_tls_feed(l->tls, raw, n))
        hd_link_report_end(l, ENOMEM);
    else
        drain_tls(l);
}

void hd_link_arrived(struct hd_link *l, struct hd_buf *b, uint32_t n)
{
    if (l->tls) {
        hd_link_arrived_raw(l, b->data, n);
    } else if (!l->in_len) {
        deliver(l, b, b->data, n);
    } else if (grow_leftovers(l, n)) {
        hd_link_report_end(l, ENOMEM);
    } else {
        uint8_t *end = l->in->data + l->in_off + l->in_len;

        memcpy(end, b->data, n);
        hd_link_filled(l, l->in, end, n);
    }
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
    init_fields(l, io, fd, ops);
    return io->engine->attach(l);
}

void hd_link_released(struct hd_link *l)
{
    hd_link_drop_out(l);
    if (l->released)
        l->released(l);
}

void hd_link_close(struct hd_link *l, void (*released)(struct hd_link *l))
{
    HD_ASSERT(!l->closed);
    l->closed = 1;
    hd_list_remove(&l->dirty);
    hd_list_remove(&l->starved);
    if (!l->pinned)
        hd_link_drop_out(l);
    if (!l->busy)
        drop_leftovers(l);
    hd_tls_free(l->tls);
    l->tls = NULL;
    l->released = released;
    l->io->engine->detach(l);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void hd_link_pause(struct hd_link *l)
{
    l->paused = 1;
    if (!l->busy)
        l->io->engine->update(l);
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
    if (l->closed)
        return;
    l->io->engine->update(l);
    hd_loop_defer(l->io->loop, &l->io->flush);
}

int hd_link_quiet(const struct hd_link *l)
{
    return !l->out_count && !l->in_len && !l->blocked && !l->deaf && !l->ended && !l->busy &&
           hd_list_empty(&l->dirty);
}

void hd_link_set_tls(struct hd_link *l, struct hd_tls *tls)
{
    HD_ASSERT(!l->tls && !l->out_count);
    l->tls = tls;
}

/* --- moving ------------------------------------------------------------------------------------------------
 */

int hd_link_carry(struct hd_link *l, const uint8_t *data, size_t n)
{
    uint32_t had = l->carry ? l->carry->len : 0;
    struct hd_link_carry *c = hd_realloc(l->carry, sizeof(*c) + had + n);

    if (!c)
        return HD_ENOMEM;
    memcpy(c->data + had, data, n);
    c->len = had + (uint32_t)n;
    l->carry = c;
    return HD_OK;
}

/* What came on the way becomes leftovers here; hd_io_retry offers them, when the owner is ready. */
static int unload(struct hd_link *l)
{
    struct hd_link_carry *c = l->carry;

    l->in = hd_buf_new(&l->io->bufs, c->len);
    if (l->in) {
        memcpy(l->in->data, c->data, c->len);
        l->in->len = l->in_len = c->len;
        hd_list_push_back(&l->io->starved, &l->starved);
    }
    l->carry = NULL;
    hd_free(c);
    return l->in ? HD_OK : HD_ENOMEM;
}

void hd_link_detach(struct hd_link *l, void (*detached)(struct hd_link *l))
{
    HD_ASSERT(hd_link_quiet(l) && !l->closed);
    hd_list_remove(&l->starved);
    l->closed = 1; /* no event of the old thread counts any more */
    l->leaving = 1;
    l->released = detached;
    l->io->engine->detach(l);
}

int hd_link_attach(struct hd_link *l, struct hd_io *io)
{
    int code;

    l->io = io;
    l->closed = l->leaving = l->paused = 0;
    code = io->engine->attach(l);
    if (code) {
        l->closed = 1;
    } else if (l->carry) {
        code = unload(l);
        io->engine->update(l);
    }
    return code;
}
