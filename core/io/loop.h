/*
 * One thread's event loop: libuv's loop, a bounded inbox that any thread may post to, descriptor watches,
 * timers, and a list of things to do before the loop sleeps. Workers and the control thread each own one.
 *
 * Nobody outside core/io and the loop service touches the uv_loop_t.
 */
#ifndef HD_IO_LOOP_H
#define HD_IO_LOOP_H

#include <pthread.h>
#include <stdint.h>
#include <uv.h>

#include "base/list.h"

/* Something to run on a loop's thread. Embed it, so that posting never allocates; it is free again when fn
 * runs. */
struct hd_post {
    struct hd_post *next;
    void (*fn)(struct hd_post *post);
};

/* Work to be done once, just before the loop next sleeps (flushing written links). */
struct hd_deferred {
    struct hd_list node; /* hd_list_init before the first use */
    void (*fn)(struct hd_deferred *d);
};

/* An engine that sleeps in libuv's stead; libuv's own descriptors and timers then are looked after by it. */
struct hd_loop_waiter {
    /* Gets ready what is to be done before sleeping; may queue deferred work, and is called again then. */
    void (*prepare)(struct hd_loop_waiter *w);
    /* Does it and sleeps until something has happened, at most that long (-1: without end), and handles what
     * is the engine's. Returns 1 when libuv may have something to do. */
    int (*wait)(struct hd_loop_waiter *w, int timeout_ms);
    /* Waits until nothing that was closed is under way. */
    void (*drain)(struct hd_loop_waiter *w);
};

struct hd_loop {
    uv_loop_t uv;
    struct hd_loop_waiter *waiter; /* NULL: libuv itself */
    uv_async_t wake;
    uv_prepare_t before_sleep;
    pthread_mutex_t lock;        /* guards the inbox */
    struct hd_post *head, *tail; /* the inbox */
    struct hd_list deferred;
    int stopping;
};

/* Makes the loop and makes it the calling thread's own. 0, or a negative code. */
int hd_loop_init(struct hd_loop *l);
/* Runs until hd_loop_stop. */
void hd_loop_run(struct hd_loop *l);
/* One round of it: sleeps until something happens, unless something is due. */
void hd_loop_turn(struct hd_loop *l);
/* The same without sleeping. */
void hd_loop_turn_awake(struct hd_loop *l);
/* Asks the loop to end after this iteration. Own thread. */
void hd_loop_stop(struct hd_loop *l);
/* Runs what is left in the inbox, closes all handles that the loop itself owns and frees it. Own thread. */
void hd_loop_close(struct hd_loop *l);
/* The calling thread's loop, or NULL. */
struct hd_loop *hd_loop_current(void);

/* Runs post->fn on the loop's thread, soon, in order of posting. [any] Never fails: the node is the caller's.
 */
void hd_loop_post(struct hd_loop *l, struct hd_post *post);
/* Runs fn(arg) there; allocates. HD_OK or HD_ENOMEM. [any] */
int hd_loop_call(struct hd_loop *l, void (*fn)(void *arg), void *arg);

/* Queues d to run before the loop sleeps; does nothing if it is queued already. Own thread. */
void hd_loop_defer(struct hd_loop *l, struct hd_deferred *d);

/* A timer that is embedded. uv_timer_t is large (152 bytes) but hot structs have none: they stand in lists
 * that one worker timer walks. */
struct hd_loop_timer {
    uv_timer_t uv;
    void (*fn)(struct hd_loop_timer *t);
    void (*closed)(struct hd_loop_timer *t); /* set by hd_loop_timer_close; may free t */
};
void hd_loop_timer_init(struct hd_loop *l, struct hd_loop_timer *t, void (*fn)(struct hd_loop_timer *t));
void hd_loop_timer_start(struct hd_loop_timer *t, uint64_t ms, uint64_t repeat_ms);
void hd_loop_timer_stop(struct hd_loop_timer *t);
/* Closes it; `closed` (may be NULL) runs when the memory may go. */
void hd_loop_timer_close(struct hd_loop_timer *t, void (*closed)(struct hd_loop_timer *t));

/* A watched descriptor that is embedded; events are UV_READABLE | UV_WRITABLE. */
struct hd_loop_watch {
    uv_poll_t uv;
    void (*fn)(struct hd_loop_watch *w, int status, int events); /* status < 0: broken, and stopped */
    void (*closed)(struct hd_loop_watch *w);
    int fd;
    int events; /* asked for now */
};
int hd_loop_watch_init(struct hd_loop *l, struct hd_loop_watch *w, int fd,
                       void (*fn)(struct hd_loop_watch *w, int status, int events));
/* 0 stops it. Cheap when nothing changes. */
void hd_loop_watch_set(struct hd_loop_watch *w, int events);
/* Ends it; after this call the descriptor may be closed or moved to another loop. `closed` may free w. */
void hd_loop_watch_close(struct hd_loop_watch *w, void (*closed)(struct hd_loop_watch *w));

#endif
