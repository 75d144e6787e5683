/*
 * Counted buffers; see buf.h.
 */
#include "io/buf.h"
#include "base/alloc.h"

#include <string.h>

#define MAGIC         0x68644266u
#define KEEP_SMALL    256
#define KEEP_STANDARD 64

void hd_bufs_init(struct hd_bufs *p, size_t limit)
{
    memset(p, 0, sizeof(*p));
    p->limit = limit;
}

static void release(struct hd_bufs *p, struct hd_buf *b)
{
    p->bytes -= sizeof(*b) + b->cap;
    hd_free(b);
}

static void trim(struct hd_bufs *p, struct hd_buf **list, size_t *count, size_t keep)
{
    while (*count > keep) {
        struct hd_buf *b = *list;

        *list = b->next_free;
        --*count;
        release(p, b);
    }
}

void hd_bufs_trim(struct hd_bufs *p)
{
    trim(p, &p->small, &p->free_small, KEEP_SMALL);
    trim(p, &p->standard, &p->free_standard, KEEP_STANDARD);
}

void hd_bufs_close(struct hd_bufs *p)
{
    trim(p, &p->small, &p->free_small, 0);
    trim(p, &p->standard, &p->free_standard, 0);
    HD_CHECK(p->bytes == 0);
}

static struct hd_buf *pop(struct hd_buf **list, size_t *count)
{
    struct hd_buf *b = *list;

    if (b) {
        *list = b->next_free;
        --*count;
    }
    return b;
}

static struct hd_buf *make(struct hd_bufs *p, uint32_t cap)
{
    struct hd_buf *b = hd_malloc(sizeof(*b) + cap);

    if (!b)
        return NULL;
    b->pool = p;
    b->cap = cap;
    b->magic = MAGIC;
    p->bytes += sizeof(*b) + cap;
    return b;
}

struct hd_buf *hd_buf_new(struct hd_bufs *p, uint32_t cap)
{
    struct hd_buf *b;

    cap = cap <= HD_BUF_SMALL ? HD_BUF_SMALL : cap <= HD_BUF_STANDARD ? HD_BUF_STANDARD : cap;
    if (p->used + cap > p->limit) {
        p->refused++;
        return NULL;
    }
    if (cap == HD_BUF_SMALL)
        b = pop(&p->small, &p->free_small);
    else if (cap == HD_BUF_STANDARD)
        b = pop(&p->standard, &p->free_standard);
    else
        b = NULL;
    if (!b && !(b = make(p, cap)))
        return NULL;
    b->refs = 1;
    b->len = 0;
    b->next_free = NULL;
    p->used += cap;
    return b;
}

void hd_buf_free(struct hd_buf *b)
{
    struct hd_bufs *p = b->pool;

    HD_ASSERT(b->magic == MAGIC && b->refs == 0);
    p->used -= b->cap;
    if (b->cap == HD_BUF_SMALL) {
        b->next_free = p->small;
        p->small = b;
        p->free_small++;
    } else if (b->cap == HD_BUF_STANDARD) {
        b->next_free = p->standard;
        p->standard = b;
        p->free_standard++;
    } else {
        release(p, b);
    }
}
