/*
 * What a link has to send: a ring of slices, and sending them by hand. See link.h.
 *
 * Writes wait until the event that caused them has been handled and then leave in one call. An engine that
 * can do better than a system call for each link takes the queue through hd_link_iov and hd_link_sent.
 */
#include "io/engine.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "io/tls.h"

/* A slice of no more bytes is copied behind the last one where it can be. */
#define COPIED 512

/* --- the queue ---------------------------------------------------------------------------------------------
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

void hd_link_mark_dirty(struct hd_link *l)
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
        hd_link_mark_dirty(l);
}

/* Copies bytes to where the last copy ended, if its buffer has room and nobody else fills it. 1: done. */
static int append(struct hd_link *l, const void *bytes, size_t len)
{
    struct hd_slice *last;
    struct hd_buf *b;

    if (!l->out_count)
        return 0;
    last = &l->out[(l->out_head + l->out_count - 1) & (l->out_cap - 1)];
    b = last->buf;
    if (b->refs != 1 || b == l->in || b == l->io->scratch || last->ptr + last->len != b->data + b->len ||
        b->cap - b->len < len)
        return 0;
    memcpy(b->data + b->len, bytes, len);
    b->len += (uint32_t)len;
    last->len += (uint32_t)len;
    queued(l, len);
    return 1;
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
    /* One call for one piece of memory costs less than one for two, and the copy less than that. */
    if (len <= COPIED && append(l, ptr, len))
        return HD_OK;
    if (l->out_count == l->out_cap && more_slices(l))
        return HD_ENOMEM;
    l->out[(l->out_head + l->out_count++) & (l->out_cap - 1)] = (struct hd_slice){hd_buf_hold(buf), ptr, len};
    queued(l, len);
    return HD_OK;
}

int hd_link_send_copy(struct hd_link *l, const void *bytes, size_t len)
{
    struct hd_buf *b;
    int code;

    if (l->closed || l->ended || l->deaf || !len)
        return HD_OK;
    if (append(l, bytes, len))
        return HD_OK;
    b = hd_buf_new(&l->io->bufs, (uint32_t)len);
    if (!b)
        return HD_ENOMEM;
    memcpy(b->data, bytes, len);
    b->len = (uint32_t)len;
    code = hd_link_send(l, b, b->data, b->len);
    hd_buf_drop(b);
    return code;
}

void hd_link_sent(struct hd_link *l, size_t n)
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

void hd_link_drop_out(struct hd_link *l)
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

int hd_link_may_send(const struct hd_link *l)
{
    return !l->closed && !l->ended && !l->deaf && !l->blocked;
}

int hd_link_unsent(const struct hd_link *l)
{
    return l->out_count || l->blocked;
}

uint32_t hd_link_iov(struct hd_link *l, struct iovec *iov, uint32_t max)
{
    uint32_t n = l->out_count < max ? l->out_count : max;

    for (uint32_t i = 0; i < n; i++) {
        struct hd_slice *s = &l->out[(l->out_head + i) & (l->out_cap - 1)];

        iov[i] = (struct iovec){(void *)(uintptr_t)s->ptr, s->len};
    }
    return n;
}

int64_t hd_link_encrypt(struct hd_link *l, const uint8_t **raw)
{
    size_t len = hd_tls_pending_send(l->tls, raw);
    struct hd_slice *s = &l->out[l->out_head];
    int n;

    if (len || !l->out_count || !hd_tls_ready(l->tls))
        return (int64_t)len;
    n = hd_tls_write(l->tls, s->ptr, s->len);
    if (n < 0)
        return n;
    if (n > 0)
        hd_link_sent(l, (size_t)n);
    return (int64_t)hd_tls_pending_send(l->tls, raw);
}

void hd_link_check_drained(struct hd_link *l)
{
    if (!l->high || l->out_bytes >= HD_LINK_LOW || l->closed || l->ended)
        return;
    l->high = 0;
    if (l->ops->on_drained)
        l->ops->on_drained(l);
}

/* --- by hand -----------------------------------------------------------------------------------------------
 */

/* Sends once; the socket taking less than was offered, or failing, ends the flush: -1. */
static ssize_t send_once(struct hd_link *l, struct iovec *iov, uint32_t n)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t done;

    l->io->send_calls++;
    do
        done = n == 1 ? send(l->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                      : sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (done < 0 && errno == EINTR);
    if (done >= 0)
        l->io->send_bytes += (uint64_t)done;
    else if (errno == EAGAIN)
        l->io->engine->blocked(l);
    else if (errno == EPIPE || errno == ECONNRESET)
        hd_link_go_deaf(l, errno);
    else
        hd_link_report_end(l, errno);
    return done;
}

static void by_hand_plain(struct hd_link *l)
{
    struct iovec iov[HD_LINK_IOV];

    while (l->out_count) {
        ssize_t done = send_once(l, iov, hd_link_iov(l, iov, HD_LINK_IOV));

        if (done < 0)
            return;
        hd_link_sent(l, (size_t)done);
    }
}

static void by_hand_tls(struct hd_link *l)
{
    const uint8_t *raw;
    int64_t len;

    while ((len = hd_link_encrypt(l, &raw)) > 0) {
        struct iovec iov = {(void *)(uintptr_t)raw, (size_t)len};
        ssize_t done = send_once(l, &iov, 1);

        if (done < 0)
            return;
        hd_tls_sent(l->tls, (size_t)done);
    }
    if (len < 0)
        hd_link_report_end(l, EPROTO);
}

void hd_link_send_by_hand(struct hd_link *l)
{
    if (l->tls)
        by_hand_tls(l);
    else
        by_hand_plain(l);
    hd_link_check_drained(l);
}

void hd_link_flush(struct hd_link *l)
{
    hd_list_remove(&l->dirty);
    if (hd_link_may_send(l))
        hd_link_send_by_hand(l);
}
