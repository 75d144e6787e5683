/*
 * What carries links: an engine moves bytes between sockets and the links of one thread. Links keep
 * leftovers, queues and TLS to themselves (io/link.c, io/link_out.c); an engine only receives, sends and
 * waits. Owners of links never see which one runs.
 *
 * `uv` receives and sends by hand when an epoll set beside libuv's says so; it is always there. `uring` asks
 * Linux's io_uring to do both, and waits in the ring.
 */
#ifndef HD_IO_ENGINE_H
#define HD_IO_ENGINE_H

#include "io/link.h"

struct hd_engine {
    const char *name;
    /* Makes what one thread needs, on that thread. HD_OK, HD_ENOMEM, or HD_EUNSUPP with the reason. */
    int (*open)(struct hd_io *io, struct hd_error *err);
    void (*close)(struct hd_io *io);
    /* Takes a link on, which may have been another thread's. */
    int (*attach)(struct hd_link *l);
    /* Gives a link up (closed is set, the descriptor still open): calls hd_link_released when nothing of it
     * is under way any more, never from within. Afterwards the descriptor may be closed or moved. */
    void (*detach)(struct hd_link *l);
    /* paused, watch_end, ended or starved have changed: what the link waits for may have, too. */
    void (*update)(struct hd_link *l);
    /* The queue is to go out, and the link can send; many links are asked one after the other. */
    void (*send)(struct hd_link *l);
    /* Sending by hand met a full socket: go on when it has room. */
    void (*blocked)(struct hd_link *l);
};

extern const struct hd_engine hd_engine_uv;
extern const struct hd_engine hd_engine_uring;

/* --- what links offer to engines (io/link.c) --------------------------------------------------------------
 */

/* Where the next bytes may be received to: behind the leftovers, or into scratch. NULL: starve the link. */
struct hd_buf *hd_link_room(struct hd_link *l, uint8_t **ptr, uint32_t *cap);
/* n bytes stand where hd_link_room said. */
void hd_link_filled(struct hd_link *l, struct hd_buf *b, uint8_t *ptr, uint32_t n);
/* n bytes stand at the start of a buffer of the engine's own; a link that keeps it holds it. Raw bytes, where
 * there is TLS. */
void hd_link_arrived(struct hd_link *l, struct hd_buf *b, uint32_t n);
/* The same for raw bytes under TLS that stand anywhere. */
void hd_link_arrived_raw(struct hd_link *l, const uint8_t *raw, size_t n);
/* Bytes that came while the link leaves its thread; they are offered where it goes. HD_OK or HD_ENOMEM. */
int hd_link_carry(struct hd_link *l, const uint8_t *data, size_t n);
/* Ends the link: tells its owner, once. */
void hd_link_report_end(struct hd_link *l, int error);
/* The peer is gone as a reader. What it had to say before (why it ends, above all) may still wait to be read,
 * so the end is reported by the read that finds it; whoever feeds the link must not wait for it. Nothing of
 * the queue may be under way. */
void hd_link_go_deaf(struct hd_link *l, int error);
/* Stops reading until hd_io_retry: there is no buffer. */
void hd_link_starve(struct hd_link *l);
/* Nothing of a closed or leaving link is under way any more: tells its owner; the memory may be gone then. */
void hd_link_released(struct hd_link *l);

/* --- the queue (io/link_out.c) ----------------------------------------------------------------------------
 */

#define HD_LINK_IOV 32

/* Has something to send, and may try. */
int hd_link_may_send(const struct hd_link *l);
/* Fills iov with the front of the queue; how many. */
struct iovec;
uint32_t hd_link_iov(struct hd_link *l, struct iovec *iov, uint32_t max);
/* n bytes of the queue have gone. */
void hd_link_sent(struct hd_link *l, size_t n);
/* Encrypts slices until there are raw bytes to send. How many: they stand at *raw until hd_tls_sent.
 * Negative: TLS is broken. */
int64_t hd_link_encrypt(struct hd_link *l, const uint8_t **raw);
/* Sends until the queue is empty or the socket full. */
void hd_link_send_by_hand(struct hd_link *l);
/* Puts the link among those that are sent before the loop sleeps. */
void hd_link_mark_dirty(struct hd_link *l);
/* Calls on_drained where it is due. */
void hd_link_check_drained(struct hd_link *l);
void hd_link_drop_out(struct hd_link *l);

#endif
