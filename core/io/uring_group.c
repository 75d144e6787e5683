/*
 * Buffers lent to io_uring; see uring_group.h.
 */
#ifdef HAVE_LIBURING

#include "io/uring_group.h"

#include <errno.h>
#include <howdah/error.h>
#include <string.h>
#include <sys/mman.h>

#define RING_BYTES (HD_URING_GROUP_MAX * sizeof(struct io_uring_buf))

/* A small pool lends a quarter of itself. */
static uint32_t places_for(const struct hd_bufs *pool)
{
    uint32_t n = HD_URING_GROUP_MAX;

    while (n > 4 && (size_t)n * HD_BUF_STANDARD > pool->limit / 4)
        n /= 2;
    return n;
}

int hd_uring_group_open(struct hd_uring_group *g, struct io_uring *ring, struct hd_bufs *pool)
{
    struct io_uring_buf_reg reg = {.ring_entries = HD_URING_GROUP_MAX, .bgid = HD_URING_GROUP_ID};
    void *memory = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    int code;

    if (memory == MAP_FAILED)
        return HD_ENOMEM;
    reg.ring_addr = (uintptr_t)memory;
    code = io_uring_register_buf_ring(ring, &reg, 0);
    if (code) {
        munmap(memory, RING_BYTES);
        errno = -code;
        return HD_EUNSUPP;
    }
    memset(g, 0, sizeof(*g));
    g->pool = pool;
    g->ring = memory;
    g->places = places_for(pool);
    io_uring_buf_ring_init(g->ring);
    while (g->vacant_count < g->places) {
        g->vacant[g->vacant_count] = (uint16_t)g->vacant_count;
        g->vacant_count++;
    }
    hd_uring_group_refill(g);
    return HD_OK;
}

void hd_uring_group_close(struct hd_uring_group *g)
{
    for (uint32_t i = 0; i < g->places; i++)
        hd_buf_drop(g->lent[i]);
    munmap(g->ring, RING_BYTES);
}

struct hd_buf *hd_uring_group_take(struct hd_uring_group *g, uint32_t place)
{
    struct hd_buf *b = g->lent[place];

    HD_ASSERT(b);
    g->lent[place] = NULL;
    g->vacant[g->vacant_count++] = (uint16_t)place;
    return b;
}

static void lend(struct hd_uring_group *g, struct hd_buf *b)
{
    uint16_t place = g->vacant[--g->vacant_count];

    g->lent[place] = b;
    io_uring_buf_ring_add(g->ring, b->data, b->cap, place, io_uring_buf_ring_mask(HD_URING_GROUP_MAX),
                          (int)g->added++);
}

void hd_uring_group_give(struct hd_uring_group *g, struct hd_buf *b)
{
    if (b->refs > 1) {
        hd_buf_drop(b);
        return;
    }
    b->len = 0;
    lend(g, b);
}

void hd_uring_group_refill(struct hd_uring_group *g)
{
    struct hd_buf *b;

    while (g->vacant_count && (b = hd_buf_new(g->pool, HD_BUF_STANDARD)))
        lend(g, b);
    if (g->added)
        io_uring_buf_ring_advance(g->ring, (int)g->added);
    g->added = 0;
}

#endif
