/*
 * File descriptors and timers on the loop of the calling thread: a worker's or the control thread's. Made so
 * that hiredis' adapter hooks and curl's multi interface attach to it. Service "howdah.loop/1".
 */
#ifndef HOWDAH_LOOP_H
#define HOWDAH_LOOP_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_LOOP "howdah.loop/1"

/* Events of a descriptor. Since ABI 0.1. */
#define HD_READABLE 1u
#define HD_WRITABLE 2u
#define HD_HANGUP   4u /* reported even when not asked for */

/* Service "howdah.loop/1". Watches and timers belong to the thread that made them, and are used and ended
 * there, also from inside their own callback. A stop of the plugin ends those that are left. Since ABI 0.1.
 */
struct hd_loop_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Calls fn when fd is ready for one of `events` (0: none now). NULL when the thread has no loop, or there
     * is no memory. The descriptor stays the caller's. [worker] [control] */
    hd_watch *(*watch)(hd_host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                       void *arg);
    void (*rewatch)(hd_watch *w, uint32_t events);
    void (*unwatch)(hd_watch *w); /* fn is not called again; call it before closing the descriptor */
    /* Calls fn once after `ms`, or every `ms` if `repeat`. [worker] [control] */
    hd_timer *(*timer)(hd_host *host, uint64_t ms, uint32_t repeat, void (*fn)(void *arg), void *arg);
    void (*retime)(hd_timer *t, uint64_t ms); /* starts it anew */
    void (*untimer)(hd_timer *t);
    /* Runs fn(arg) on the control thread, or on worker number `worker` (>= 0), soon. HD_EFULL at the bound.
     * [any] */
    int32_t (*post)(hd_host *host, int32_t worker, void (*fn)(void *arg), void *arg);
};

/* The control thread, for post(). Since ABI 0.1. */
#define HD_LOOP_CONTROL (-1)

#ifdef __cplusplus
}
#endif
#endif
