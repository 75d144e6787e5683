/*
 * One look at the clock for all that one piece of a link's bytes brings: a client's messages, or a server's
 * rows and ends, came at the same time. The clock is read when the first of them asks; outside of such a
 * piece it is read each time.
 */
#ifndef HD_SESSION_MOMENT_H
#define HD_SESSION_MOMENT_H

#include "base/units.h"
#include "session/session.h"

/* What hd_worker.moment_ns is within a piece before the clock was read; 0: there is no piece. */
#define HD_MOMENT_UNREAD 1

static inline void hd_moment_begins(struct hd_worker *w)
{
    w->moment_ns = HD_MOMENT_UNREAD;
}

static inline void hd_moment_ends(struct hd_worker *w)
{
    w->moment_ns = 0;
}

static inline uint64_t hd_moment(struct hd_worker *w)
{
    if (w->moment_ns > HD_MOMENT_UNREAD)
        return w->moment_ns;
    if (!w->moment_ns)
        return hd_now_ns();
    return w->moment_ns = hd_now_ns();
}

/* The same for what began at `since`, which may have been within this very piece. */
static inline uint64_t hd_moment_after(struct hd_worker *w, uint64_t since)
{
    uint64_t at = hd_moment(w);

    return at > since ? at : hd_now_ns();
}

#endif
