/*
 * Counted buffers. Bytes are received into them and sent out of them without being copied on the way: whoever
 * needs the bytes for longer than the call holds a reference. A pool belongs to one thread, so counting is
 * plain.
 *
 * Three sizes: small ones keep what an idle or waiting link has left over, standard ones are what links read
 * into, and large ones are made to measure for one gathered message. The pool has a bound in bytes: past it
 * hd_buf_new says no, and the caller stops reading or ends the session that asked.
 */
#ifndef HD_IO_BUF_H
#define HD_IO_BUF_H

#include <stddef.h>
#include <stdint.h>
#include "base/check.h"

#define HD_BUF_SMALL    (1024 - 32)
#define HD_BUF_STANDARD (16384 - 32)

struct hd_bufs;

struct hd_buf {
    struct hd_bufs *pool;
    struct hd_buf *next_free;
    uint32_t refs;
    uint32_t cap;
    uint32_t len; /* bytes filled, from the start; only whoever fills it moves this */
    uint32_t magic;
    uint8_t data[];
};

struct hd_bufs {
    struct hd_buf *small, *standard; /* free lists */
    size_t free_small, free_standard;
    size_t bytes; /* held in buffers, free ones too */
    size_t used;  /* of it, in use */
    size_t limit; /* bound of `used` */
    uint64_t refused;
};

void hd_bufs_init(struct hd_bufs *p, size_t limit);
/* Every buffer must have come back. */
void hd_bufs_close(struct hd_bufs *p);
/* Gives free buffers back to the system, down to a small reserve. */
void hd_bufs_trim(struct hd_bufs *p);

/* A buffer of at least `cap` bytes with one reference; NULL at the bound or without memory. */
struct hd_buf *hd_buf_new(struct hd_bufs *p, uint32_t cap) HD_MUST_USE;
void hd_buf_free(struct hd_buf *b);

static inline struct hd_buf *hd_buf_hold(struct hd_buf *b)
{
    b->refs++;
    return b;
}

/* NULL is allowed. */
static inline void hd_buf_drop(struct hd_buf *b)
{
    if (b && --b->refs == 0)
        hd_buf_free(b);
}

/* Bytes in a counted buffer. */
struct hd_slice {
    struct hd_buf *buf;
    const uint8_t *ptr;
    uint32_t len;
};

#endif
