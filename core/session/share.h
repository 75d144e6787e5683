/*
 * Counts that two hosts share while one takes over from the other, so that the limits of pools, and those of
 * databases, users and nodes, hold over both: on a page that both have, by name, what each side holds and
 * whether it waits. Without a page nothing is shared; where the page is full (HD_SHARE_ENTRIES names since
 * the supervisor started) the limit holds for each host alone.
 */
#ifndef HD_SESSION_SHARE_H
#define HD_SESSION_SHARE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HD_SHARE_ENTRIES 16384u

/* The counts under one limit, by side. */
struct hd_share {
    _Atomic uint64_t name; /* 0: free */
    _Atomic int held[2], waits[2];
    _Atomic int owed[2]; /* given up by the other side for this one, while this one waits */
};

/* The page, for whoever makes it. */
struct hd_share_page;
int hd_share_page_make(struct hd_share_page **page, int *fd); /* 0, or an errno */
void hd_share_page_free(struct hd_share_page *page);          /* NULL is allowed */
/* A side's process is gone, and all that it held. */
void hd_share_page_clear(struct hd_share_page *page, unsigned side);

/* Uses the page behind the descriptor, as this side. 0, or an errno. [control] before other threads run */
int hd_share_use(int fd, unsigned side);
/* The counts of that name; NULL: nothing is shared, or the page is full. [any] */
struct hd_share *hd_share_of(const char *name);
/* Counts one in, unless both sides together hold `max` (0: no limit) or what is left was given up for the
 * other side; 1, or 0. `share` may be NULL, here and below. [any] */
int hd_share_enter(struct hd_share *share, int64_t max);
void hd_share_leave(struct hd_share *share);
/* Somebody waits on this side (by is 1), or no longer (-1). [any] */
void hd_share_wait(struct hd_share *share, int by);
/* Does anybody wait on the other side, for this; for anything? */
int hd_share_other_waits(const struct hd_share *share);
int hd_share_others_wait(void);
/* One that is about to leave here is for the other side. */
void hd_share_yield(struct hd_share *share);

#endif
