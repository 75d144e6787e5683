/*
 * Counts that two hosts share; see share.h.
 */
#include "session/share.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"

#define ENTRIES 4096u

struct hd_share_page {
    struct hd_share entries[ENTRIES];
};

static struct hd_share_page *ours;
static unsigned our_side;

static int map(int fd, struct hd_share_page **out)
{
    void *at = mmap(NULL, sizeof(**out), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (at == MAP_FAILED)
        return errno;
    *out = at;
    return 0;
}

int hd_share_page_make(struct hd_share_page **page, int *fd)
{
    int e;

    *fd = memfd_create("howdah-share", MFD_CLOEXEC);
    if (*fd < 0)
        return errno;
    e = ftruncate(*fd, sizeof(**page)) ? errno : map(*fd, page);
    if (e) {
        close(*fd);
        *fd = -1;
    }
    return e;
}

void hd_share_page_free(struct hd_share_page *page)
{
    if (page)
        munmap(page, sizeof(*page));
}

void hd_share_page_clear(struct hd_share_page *page, unsigned side)
{
    for (size_t i = 0; page && i < ENTRIES; i++) {
        if (!atomic_load(&page->entries[i].name))
            continue;
        atomic_store(&page->entries[i].held[side & 1], 0);
        atomic_store(&page->entries[i].waits[side & 1], 0);
    }
}

int hd_share_use(int fd, unsigned side)
{
    our_side = side & 1;
    return map(fd, &ours);
}

struct hd_share *hd_share_of(const char *name)
{
    uint64_t wanted = hd_fingerprint64(name, strlen(name)) | 1;

    for (uint64_t i = 0; ours && i < ENTRIES; i++) {
        struct hd_share *e = &ours->entries[(wanted + i) % ENTRIES];
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&e->name, &there, wanted) || there == wanted)
            return e;
    }
    return NULL;
}

/* What is too many is taken back at once: of two that come at the same time both may have to try again. */
int hd_share_enter(struct hd_share *share, int64_t max)
{
    if (!share)
        return 1;
    atomic_fetch_add(&share->held[our_side], 1);
    if ((int64_t)atomic_load(&share->held[0]) + atomic_load(&share->held[1]) <= max)
        return 1;
    atomic_fetch_sub(&share->held[our_side], 1);
    return 0;
}

void hd_share_leave(struct hd_share *share)
{
    if (share)
        atomic_fetch_sub(&share->held[our_side], 1);
}

void hd_share_wait(struct hd_share *share, int by)
{
    if (share)
        atomic_fetch_add(&share->waits[our_side], by);
}

int hd_share_other_waits(const struct hd_share *share)
{
    return share && atomic_load_explicit(&share->waits[!our_side], memory_order_relaxed) > 0;
}
