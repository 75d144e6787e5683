/*
 * Counts that two hosts share; see share.h.
 */
#include "session/share.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"

/* How many wait on one side, for anything: all that the statement's path asks. A line of the cache each. */
struct waiting {
    _Atomic int count;
    char apart[60];
};

struct hd_share_page {
    struct waiting waiting[2];
    struct hd_share entries[HD_SHARE_ENTRIES];
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
    if (!page)
        return;
    atomic_store(&page->waiting[side & 1].count, 0);
    for (size_t i = 0; i < HD_SHARE_ENTRIES; i++) {
        struct hd_share *e = &page->entries[i];

        if (!atomic_load(&e->name))
            continue;
        atomic_store(&e->held[side & 1], 0);
        atomic_store(&e->waits[side & 1], 0);
        atomic_store(&e->owed[side & 1], 0);
        atomic_store(&e->owed[!(side & 1)], 0);
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

    for (uint64_t i = 0; ours && i < HD_SHARE_ENTRIES; i++) {
        struct hd_share *e = &ours->entries[(wanted + i) % HD_SHARE_ENTRIES];
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&e->name, &there, wanted) || there == wanted)
            return e;
    }
    return NULL;
}

/* What was given up for the other side is not ours, as long as somebody waits there. */
static int promised(const struct hd_share *share)
{
    return atomic_load(&share->waits[!our_side]) > 0 ? atomic_load(&share->owed[!our_side]) : 0;
}

/* One less that is owed to us, if there was one. */
static void collect(struct hd_share *share)
{
    int owed = atomic_load(&share->owed[our_side]);

    while (owed > 0 && !atomic_compare_exchange_weak(&share->owed[our_side], &owed, owed - 1))
        ;
}

/* What is too many is taken back at once: of two that come at the same time both may have to try again. */
int hd_share_enter(struct hd_share *share, int64_t max)
{
    int64_t held;

    if (!share)
        return 1;
    held = (int64_t)atomic_fetch_add(&share->held[our_side], 1) + 1 + atomic_load(&share->held[!our_side]);
    if (!max || held + promised(share) <= max) {
        collect(share);
        return 1;
    }
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
    if (!share)
        return;
    atomic_fetch_add(&ours->waiting[our_side].count, by);
    if (atomic_fetch_add(&share->waits[our_side], by) + by == 0)
        atomic_store(&share->owed[our_side], 0); /* nobody needs it any more */
}

int hd_share_other_waits(const struct hd_share *share)
{
    return share && atomic_load_explicit(&share->waits[!our_side], memory_order_relaxed) > 0;
}

int hd_share_others_wait(void)
{
    return ours && atomic_load_explicit(&ours->waiting[!our_side].count, memory_order_relaxed) > 0;
}

void hd_share_yield(struct hd_share *share)
{
    if (hd_share_other_waits(share))
        atomic_fetch_add(&share->owed[!our_side], 1);
}
