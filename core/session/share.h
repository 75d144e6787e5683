/*
 * Counts that two hosts share while one takes over from the other, so that the limit of a pool holds over
 * both: on a page that both have, by the pool's name, what each side holds and whether it waits. Without a
 * page nothing is shared.
 */
#ifndef HD_SESSION_SHARE_H
#define HD_SESSION_SHARE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* One pool's counts, by side. */
struct hd_share {
    _Atomic uint64_t name; /* 0: free */
    _Atomic int held[2], waits[2];
};

/* The page, for whoever makes it. */
struct hd_share_page;
int hd_share_page_make(struct hd_share_page **page, int *fd); /* 0, or an errno */
void hd_share_page_free(struct hd_share_page *page);          /* NULL is allowed */
/* A side's process is gone, and all that it held. */
void hd_share_page_clear(struct hd_share_page *page, unsigned side);

/* Uses the page behind the descriptor, as this side. 0, or an errno. [control] before other threads run */
int hd_share_use(int fd, unsigned side);
/* The pool's counts; NULL: nothing is shared, or the page is full. [any] */
struct hd_share *hd_share_of(const char *name);
/* Counts one in unless both sides together hold `max`; 1, or 0. `share` may be NULL. [any] */
int hd_share_enter(struct hd_share *share, int64_t max);
void hd_share_leave(struct hd_share *share);
/* Somebody waits on this side (by is 1), or no longer (-1); does anybody on the other? */
void hd_share_wait(struct hd_share *share, int by);
int hd_share_other_waits(const struct hd_share *share);

#endif
