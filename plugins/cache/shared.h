/*
 * Values that other hosts have stored: which of them this host may give.
 *
 * The shared store gives out ticks: numbers, each greater than all before it. Whatever ends values here draws
 * one, after others can see the change; until it has come, what hangs on that is taken from no other host.
 * Then the cells that were bumped have it. A value has the highest tick that its host knew before it sent
 * the statement: it saw all changes of that tick and before. So a value whose tick is not below those of all
 * cells that a read hangs on is as new as this host can tell.
 *
 * What is written around the hosts has no tick. There the positions of the change stream are compared in the
 * same way: a cell has the end of the last commit that the stream has told of it, a value the position up to
 * which its host had been told before.
 *
 * Ticks are drawn on workers, one at a time on each: what comes meanwhile shares the next one. A tick that
 * does not come makes this host blind: it takes nothing of others until it has drawn one for everything.
 */
#ifndef CACHE_SHARED_H
#define CACHE_SHARED_H

#include <howdah/howdah.h>
#include <pthread.h>

#include "epochs.h"
#include "shared_head.h"

struct cache;
struct cache_bound;
struct cache_capture;
struct cache_raise;
struct cache_tier;
struct cache_worker;

struct cache_shared {
    const struct cache_tier *tier; /* NULL: no store is shared */
    _Atomic uint64_t known;        /* the highest tick that this host has heard of; 0: none */
    _Atomic uint64_t failures;     /* ticks that did not come, and whatever else makes blind */
    _Atomic uint64_t sighted;      /* the failures that are made up for; fewer: blind */
    _Atomic uint32_t dirty;        /* see cache_shared_stir() */
    _Atomic uint32_t redrawing;    /* a tick for everything is on its way */
    _Atomic uint32_t calls;        /* to come back, and one for the plugin itself while it runs */
    int32_t posted;                /* worker 0 is told of `left`; guarded by lock */
    pthread_mutex_t lock;
    struct cache_raise *left;   /* from threads that are no workers, for worker 0; guarded by lock */
    struct cache_worker *first; /* worker 0; guarded by lock */
    hd_timer *timer;            /* [control] */
};

/* A worker's part. */
struct cache_drawing {
    struct cache_raise *asked;   /* share the tick that is on its way */
    struct cache_raise *waiting; /* share the next one */
    uint64_t known;              /* when that was asked for */
    uint32_t calls;              /* to the shared store, that will come back */
    uint32_t waits;              /* how many are waiting */
    int32_t stopped;
};

void cache_shared_init(struct cache_shared *s);
void cache_shared_free(struct cache_shared *s);
/* [control] `tier` is that which is shared. */
int32_t cache_shared_start(struct cache *self, const struct cache_tier *tier, struct hd_error *err);
/* [control] HD_OK; HD_PENDING: cache_part_ended() comes when the last call has come back. */
int32_t cache_shared_stop(struct cache *self);
void cache_shared_worker_start(struct cache_worker *w, uint32_t number);
/* [worker] 1: it is in use still, and freed by the last call that comes back. */
int cache_shared_worker_stop(struct cache_worker *w);
/* [worker] Around calls to the shared store that come back. */
void cache_shared_call(struct cache_worker *w);
void cache_shared_called(struct cache_worker *w);

/* What hangs on these cells is about to end: others may have stored it before. To be called before they are
 * bumped. [any] */
void cache_shared_raise(struct cache *self, struct cache_cell *const *cells, uint32_t count);
/* Anything may have changed, anywhere. [any] */
void cache_shared_lose(struct cache *self);
/* A tick is worth having soon: others have written, as the change stream tells, or there will be values,
 * which other hosts refuse with one that is old. [any] */
void cache_shared_stir(struct cache *self);

/* Into the capture's head for shared stores; before its cells are looked at, and before its statement is
 * sent. [worker] */
void cache_shared_note(struct cache *self, struct cache_capture *c, const struct cache_mark *marks,
                       uint32_t count);
/* The cells have been looked at: were they told of by the same stream all the while? [worker] */
void cache_shared_noted(struct cache *self, struct cache_capture *c, const struct cache_bound *b);
/* The statement is sent only now: it will see what this host knows now. [worker] */
void cache_shared_note_again(struct cache *self, struct cache_capture *c);
/* May this host's values be kept for others? */
int cache_shared_is_proved(const struct cache_capture *c);
/* May this be given for the read of that capture, whose epochs were taken before the value was asked for?
 * [worker] */
int cache_shared_accepts(struct cache *self, const struct cache_capture *c,
                         const struct hd_cache_value *value);

#endif
