/*
 * A link: one connection's byte stream, to a client or to a node, whatever engine and TLS carry it.
 *
 * It is completion-style. Received bytes are handed to `on_data`, which says how many it has taken; the rest
 * is kept and handed over again, joined with what follows. Bytes to send are slices of counted buffers,
 * queued by hd_link_send and sent together when the event that produced them has been handled. A link never
 * closes itself: it reports the end by `on_end`, once, and its owner calls hd_link_close.
 *
 * A link belongs to the thread of its hd_io. It can be taken off one thread and put on another while it is
 * quiet (hd_link_detach, hd_link_attach).
 */
#ifndef HD_IO_LINK_H
#define HD_IO_LINK_H

#include <howdah/error.h>

#include "io/buf.h"
#include "io/loop.h"

struct hd_link;
struct hd_tls;
struct hd_engine; /* io/engine.h */
struct hd_poller; /* io/engine_uv.c */
struct hd_uring;  /* io/engine_uring.c */

struct hd_link_ops {
    /* Bytes have arrived (or are offered again). Returns how many of them, from the front, are done with. To
     * be called with at least n bytes next time, set link->want = n. May close the link. */
    size_t (*on_data)(struct hd_link *l, const uint8_t *data, size_t len);
    /* The queue has fallen below HD_LINK_LOW after having been above HD_LINK_HIGH. */
    void (*on_drained)(struct hd_link *l);
    /* The peer ended the stream (error 0) or it broke (an errno; EPROTO for TLS). Nothing follows. */
    void (*on_end)(struct hd_link *l, int error);
};

/* Past HD_LINK_HIGH queued bytes, whoever feeds the link should pause until on_drained. */
#define HD_LINK_HIGH (256u * 1024)
#define HD_LINK_LOW  (64u * 1024)

/* The reading side of one thread: its buffers, and the links that have something to send. */
struct hd_io {
    struct hd_loop *loop;
    const struct hd_engine *engine;
    struct hd_poller *poller; /* each is NULL with another engine */
    struct hd_uring *uring;
    struct hd_bufs bufs;
    struct hd_buf *scratch; /* what links without leftovers read into */
    struct hd_list dirty;   /* links with unsent slices */
    struct hd_deferred flush;
    struct hd_list starved; /* links that stopped reading for want of buffers */
    uint64_t recv_calls, send_calls, recv_bytes, send_bytes;
};

#define HD_LINK_INLINE 4

/* What the uv engine knows of a link. */
struct hd_link_poll {
    struct hd_list node;  /* ready, or gone */
    int fd;               /* as it is watched; the link's may have been taken from it */
    uint8_t readable;     /* there may be something to receive */
    uint8_t ending;       /* the peer has ended, or the socket is broken */
    uint8_t watches_room; /* for sending */
};

/* What the io_uring engine has under way for a link. */
struct hd_link_ring {
    struct hd_list node;       /* to be armed or cancelled, or leaving */
    struct hd_link *next_sent; /* in the list of those whose send has no completion if it goes well */
    struct hd_buf *raw;        /* under TLS: what is being sent */
    uint32_t raw_off;          /* of it, sent already */
    uint32_t send_len;         /* of the send that is under way */
    int32_t end_error;         /* with `end`: how the stream ended */
    uint8_t receiving;         /* a multishot receive is armed */
    uint8_t cancelling;        /* ... and asked to end */
    uint8_t sending;           /* enum in engine_uring.c */
    uint8_t crowded;           /* the socket did not take all of the last send: the next one waits for room */
    uint8_t polling;
    uint8_t full; /* bytes came while it was paused: no more of them */
    uint8_t end;  /* the stream has ended; to be told when the owner reads again */
};

struct hd_link {
    const struct hd_link_ops *ops;
    struct hd_io *io;
    union {
        struct hd_link_poll poll;
        struct hd_link_ring ring;
    } on; /* the engine's own */
    void (*released)(struct hd_link *l);
    struct hd_tls *tls; /* NULL: plaintext */
    struct hd_list dirty;
    struct hd_list starved;
    struct hd_buf *current;      /* in on_data: what holds the bytes */
    struct hd_buf *in;           /* leftovers: in_len bytes from in_off */
    struct hd_link_carry *carry; /* came while the link left its thread */
    uint32_t in_off, in_len;
    uint32_t want; /* on_data wants at least so many bytes; 0: any */
    uint32_t out_head, out_count, out_cap;
    struct hd_slice *out; /* ring of out_cap slices; `few` while they fit */
    struct hd_slice few[HD_LINK_INLINE];
    uint64_t out_bytes;
    int fd;
    uint8_t watch_end; /* hear of the peer's end even while paused */
    uint8_t paused;    /* by the owner */
    uint8_t high;      /* was above HD_LINK_HIGH */
    uint8_t ended;     /* on_end was reported */
    uint8_t closed;
    uint8_t leaving; /* closed, but to be attached elsewhere */
    uint8_t busy;    /* inside on_data: closing is completed after it */
    uint8_t again;   /* resumed while busy: leftovers are offered once more after it */
    uint8_t deaf;    /* the peer takes nothing more; what it has said is still read */
    uint8_t blocked; /* a send is under way or the socket is full: the engine goes on by itself */
    uint8_t pinned;  /* the kernel may still read the queue's buffers */
};

/* Begins with the engine `uv`. */
int hd_io_init(struct hd_io *io, struct hd_loop *loop, size_t buffer_limit);
/* Changes to io_uring before there is any link. HD_OK; else it stays with `uv`, and the error says why. */
int hd_io_use_uring(struct hd_io *io, struct hd_error *err);
/* "uv" or "uring". */
const char *hd_io_engine(const struct hd_io *io);
void hd_io_close(struct hd_io *io);
/* Sends what is queued on all links now. */
void hd_io_flush(struct hd_io *io);
/* Tries again for links that had no buffer to read into; called by the owner's timer. */
void hd_io_retry(struct hd_io *io);

/* Takes over a connected, non-blocking socket; starts reading. HD_OK, or a code and the socket stays the
 * caller's. */
int hd_link_init(struct hd_link *l, struct hd_io *io, int fd, const struct hd_link_ops *ops);
/* Closes the socket (unless the owner has taken it: fd -1), drops what is queued. `released` runs later, when
 * the memory may go; no other callback does. */
void hd_link_close(struct hd_link *l, void (*released)(struct hd_link *l));

/* Queues a slice; takes its own reference. Adjacent slices of one buffer are joined. HD_OK or HD_ENOMEM. */
int hd_link_send(struct hd_link *l, struct hd_buf *buf, const uint8_t *ptr, uint32_t len) HD_MUST_USE;
/* Copies bytes that stand in no buffer. */
int hd_link_send_copy(struct hd_link *l, const void *bytes, size_t len) HD_MUST_USE;
/* Does anything that was queued still wait to go out? */
int hd_link_unsent(const struct hd_link *l);
/* Sends this link's queue now, as far as the socket takes it. */
void hd_link_flush(struct hd_link *l);

/* Stops handing over bytes (and reading them), or goes on; leftovers are offered again soon. */
void hd_link_pause(struct hd_link *l);
void hd_link_resume(struct hd_link *l);
/* Offers the leftovers now. Not from inside on_data of the same link. */
void hd_link_offer(struct hd_link *l);

/* In on_data: the buffer that holds `data`, for keeping slices of it. */
struct hd_buf *hd_link_buf(struct hd_link *l);

/* Takes a quiet link (nothing queued, no leftovers) off its thread, and puts it on another. When attaching
 * fails, the link is closed already if `closed` says so, and else is to be closed. */
void hd_link_detach(struct hd_link *l, void (*detached)(struct hd_link *l));
int hd_link_attach(struct hd_link *l, struct hd_io *io);
int hd_link_quiet(const struct hd_link *l);

/* Puts TLS under the link, before any plaintext was sent on; takes ownership of `tls` (io/tls.h). */
void hd_link_set_tls(struct hd_link *l, struct hd_tls *tls);

#endif
