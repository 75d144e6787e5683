/*
 * The buffers that io_uring receives into: a ring of the thread's own counted buffers, lent to the kernel.
 * What the kernel has filled is an ordinary buffer again; the place is filled with the same one if nobody has
 * kept it, else with another of the pool. So the ring is short of buffers only when the pool is at its bound.
 */
#ifndef HD_IO_URING_GROUP_H
#define HD_IO_URING_GROUP_H

#include <liburing.h>

#include "io/buf.h"

#define HD_URING_GROUP_MAX 128
#define HD_URING_GROUP_ID  1

struct hd_uring_group {
    struct hd_bufs *pool;
    struct io_uring_buf_ring *ring;
    struct hd_buf *lent[HD_URING_GROUP_MAX]; /* by place */
    uint16_t vacant[HD_URING_GROUP_MAX];     /* places without a buffer: a stack */
    uint32_t places, vacant_count, added;
};

/* HD_OK, HD_ENOMEM, or HD_EUNSUPP and errno. */
int hd_uring_group_open(struct hd_uring_group *g, struct io_uring *ring, struct hd_bufs *pool);
/* The kernel must have ended all receiving. */
void hd_uring_group_close(struct hd_uring_group *g);
/* The buffer that a completion names; its place is vacant from now on. */
struct hd_buf *hd_uring_group_take(struct hd_uring_group *g, uint32_t place);
/* Gives it back: lent again, unless somebody else holds it. */
void hd_uring_group_give(struct hd_uring_group *g, struct hd_buf *b);
/* Fills vacant places, as far as the pool allows, and shows them to the kernel. */
void hd_uring_group_refill(struct hd_uring_group *g);
/* Is anything lent? */
static inline int hd_uring_group_any(const struct hd_uring_group *g)
{
    return g->vacant_count < g->places;
}

#endif
