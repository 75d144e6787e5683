/*
 * Ticks, and what is told by them; see shared.h.
 */
#include "shared.h"

#include <stdlib.h>
#include <time.h>

#include "answer.h"
#include "follow.h"
#include "lineage.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* A worker's that wait for one tick, which comes or fails within the store's timeout; more are not worth it.
 */
#define WAITING_MAX 4096
#define LOOK_MS     25                          /* between looks at what is to be done again */
#define AHEAD_US    (UINT64_C(86400) * 1000000) /* no clock is further ahead than that */

/* Cells that wait for a tick. */
struct cache_raise {
    struct cache_raise *next;
    uint64_t failures; /* of everything: what it makes up for */
    int32_t everything;
    uint32_t count;
    struct cache_cell *cells[];
};

static _Thread_local struct cache_worker *here;

static uint64_t load(const _Atomic uint64_t *n)
{
    return atomic_load_explicit(n, memory_order_acquire);
}

static void raise_to(_Atomic uint64_t *n, uint64_t to)
{
    uint64_t was = load(n);

    while (was < to &&
           !atomic_compare_exchange_weak_explicit(n, &was, to, memory_order_acq_rel, memory_order_acquire))
        ;
}

static void fail(struct cache_shared *s)
{
    atomic_fetch_add_explicit(&s->failures, 1, memory_order_acq_rel);
}

static int is_blind(const struct cache_shared *s)
{
    return load(&s->failures) != load(&s->sighted);
}

/* --- calls that come back ------------------------------------------------------------------------------ */

static void begin_call(struct cache *self)
{
    atomic_fetch_add_explicit(&self->shared.calls, 1, memory_order_acq_rel);
}

static void end_call(struct cache *self)
{
    if (atomic_fetch_sub_explicit(&self->shared.calls, 1, memory_order_acq_rel) == 1)
        cache_part_ended(self);
}

void cache_shared_call(struct cache_worker *w)
{
    w->drawing.calls++;
    begin_call(w->cache);
}

void cache_shared_called(struct cache_worker *w)
{
    struct cache *self = w->cache;

    if (!--w->drawing.calls && w->drawing.stopped)
        free(w);
    end_call(self);
}

/* --- drawing ------------------------------------------------------------------------------------------- */

/* With the tick, or 0: there is none. A cell's tick stands before it counts as told. */
static void end_raise(struct cache *self, struct cache_raise *r, uint64_t tick)
{
    struct cache_shared *s = &self->shared;

    if (!tick)
        fail(s);
    for (uint32_t i = 0; i < r->count; i++) {
        raise_to(&r->cells[i]->tick, tick);
        atomic_fetch_sub_explicit(&r->cells[i]->untold, 1, memory_order_acq_rel);
    }
    if (r->everything) {
        if (tick)
            raise_to(&s->sighted, r->failures);
        atomic_store_explicit(&s->redrawing, 0, memory_order_release);
    }
    free(r);
}

static void end_raises(struct cache *self, struct cache_raise *list, uint64_t tick)
{
    while (list) {
        struct cache_raise *r = list;

        list = r->next;
        end_raise(self, r, tick);
    }
}

/* Stores take the time of day, so that their clocks go on when they have lost what they were at. */
static int is_plausible(uint64_t tick)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return tick <= (uint64_t)now.tv_sec * 1000000 + AHEAD_US;
}

/* One that is not above what was known when it was asked for is of a clock that goes wrong: what is known of
 * it is worth nothing, nor is an answer that is on its way. */
static int take_tick(struct cache *self, uint64_t tick, uint64_t known)
{
    if (!is_plausible(tick))
        return 0;
    if (tick > known) {
        raise_to(&self->shared.known, tick);
        return 1;
    }
    atomic_store_explicit(&self->shared.known, tick, memory_order_release);
    cache_bump(&self->epochs.everything);
    return 0;
}

static void draw(struct cache_worker *w);

static void on_tick(void *arg, int32_t code, uint64_t tick)
{
    struct cache_worker *w = arg;
    struct cache_raise *list = w->drawing.asked;
    int good = code == HD_OK && take_tick(w->cache, tick, w->drawing.known);

    w->drawing.asked = NULL;
    end_raises(w->cache, list, good ? tick : 0);
    draw(w);
    cache_shared_called(w);
}

static void draw(struct cache_worker *w)
{
    struct cache_drawing *d = &w->drawing;
    const struct cache_tier *tier = w->cache->shared.tier;
    struct cache_raise *list;

    if (d->asked || !d->waiting || d->stopped)
        return;
    d->asked = d->waiting;
    d->waiting = NULL;
    d->waits = 0;
    d->known = load(&w->cache->shared.known);
    cache_shared_call(w);
    if (tier->store->tick(tier->self, on_tick, w) == HD_PENDING)
        return;
    list = d->asked;
    d->asked = NULL;
    end_raises(w->cache, list, 0);
    cache_shared_called(w);
}

static void push(struct cache_raise **list, struct cache_raise *r)
{
    r->next = *list;
    *list = r;
}

static void take_up(struct cache_worker *w, struct cache_raise *r)
{
    if (w->drawing.waits == WAITING_MAX) {
        end_raise(w->cache, r, 0);
        return;
    }
    w->drawing.waits++;
    push(&w->drawing.waiting, r);
}

/* [worker] Of worker 0: takes what others have left. Where it is not there yet, the timer tells it again. */
static void take_left(void *arg)
{
    struct cache *self = arg;
    struct cache_shared *s = &self->shared;
    struct cache_worker *w;
    struct cache_raise *list = NULL;

    pthread_mutex_lock(&s->lock);
    s->posted = 0;
    w = s->first;
    if (w) {
        list = s->left;
        s->left = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    while (list) {
        struct cache_raise *r = list;

        list = r->next;
        take_up(w, r);
    }
    if (w)
        draw(w);
    end_call(self);
}

/* With the lock. */
static void tell_first(struct cache *self)
{
    struct cache_shared *s = &self->shared;

    if (s->posted || !s->left)
        return;
    begin_call(self);
    s->posted = self->loop->post(self->host, 0, take_left, self) == HD_OK;
    if (!s->posted)
        atomic_fetch_sub_explicit(&s->calls, 1, memory_order_acq_rel); /* never the last one */
}

static void hand_over(struct cache *self, struct cache_raise *r)
{
    if (here && here->cache == self && !here->drawing.stopped) {
        take_up(here, r);
        draw(here);
        return;
    }
    pthread_mutex_lock(&self->shared.lock);
    push(&self->shared.left, r);
    tell_first(self);
    pthread_mutex_unlock(&self->shared.lock);
}

static struct cache_raise *new_raise(struct cache_cell *const *cells, uint32_t count)
{
    struct cache_raise *r = malloc(sizeof(*r) + count * sizeof(r->cells[0]));

    if (!r)
        return NULL;
    r->everything = 0;
    r->count = count;
    for (uint32_t i = 0; i < count; i++) {
        r->cells[i] = cells[i];
        atomic_fetch_add_explicit(&cells[i]->untold, 1, memory_order_acq_rel);
    }
    return r;
}

void cache_shared_raise(struct cache *self, struct cache_cell *const *cells, uint32_t count)
{
    struct cache_raise *r;

    if (!self->shared.tier)
        return;
    r = new_raise(cells, count);
    if (r)
        hand_over(self, r);
    else
        fail(&self->shared);
}

void cache_shared_lose(struct cache *self)
{
    if (self->shared.tier)
        fail(&self->shared);
}

void cache_shared_stir(struct cache *self)
{
    if (self->shared.tier && !atomic_load_explicit(&self->shared.dirty, memory_order_relaxed))
        atomic_store_explicit(&self->shared.dirty, 1, memory_order_release);
}

/* --- again and again ----------------------------------------------------------------------------------- */

/* Blind: a tick for everything. */
static void redraw(struct cache *self)
{
    struct cache_shared *s = &self->shared;
    struct cache_cell *everything = &self->epochs.everything;
    struct cache_raise *r;

    if (atomic_exchange_explicit(&s->redrawing, 1, memory_order_acq_rel))
        return;
    r = new_raise(&everything, 1);
    if (!r) {
        atomic_store_explicit(&s->redrawing, 0, memory_order_release);
        return;
    }
    r->everything = 1;
    r->failures = load(&s->failures);
    hand_over(self, r);
}

static void look(void *arg)
{
    struct cache *self = arg;
    struct cache_shared *s = &self->shared;
    int blind = is_blind(s);

    self->metrics->set(self->host, self->stats.blind, blind);
    if (blind)
        redraw(self);
    if (atomic_exchange_explicit(&s->dirty, 0, memory_order_acq_rel) && !blind)
        cache_shared_raise(self, NULL, 0);
    pthread_mutex_lock(&s->lock);
    tell_first(self);
    pthread_mutex_unlock(&s->lock);
}

/* --- life ---------------------------------------------------------------------------------------------- */

/* Blind until the first tick: what was stored before this host ran may have been ended unheard. */
void cache_shared_init(struct cache_shared *s)
{
    atomic_store(&s->failures, 1);
    atomic_store(&s->calls, 1);
    pthread_mutex_init(&s->lock, NULL);
}

void cache_shared_free(struct cache_shared *s)
{
    while (s->left) {
        struct cache_raise *r = s->left;

        s->left = r->next;
        free(r);
    }
    pthread_mutex_destroy(&s->lock);
}

int32_t cache_shared_start(struct cache *self, const struct cache_tier *tier, struct hd_error *err)
{
    self->shared.tier = tier;
    self->shared.timer = self->loop->timer(self->host, LOOK_MS, 1, look, self);
    return self->shared.timer ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for a timer");
}

int32_t cache_shared_stop(struct cache *self)
{
    struct cache_shared *s = &self->shared;

    if (s->timer)
        self->loop->untimer(s->timer);
    s->timer = NULL;
    return atomic_fetch_sub_explicit(&s->calls, 1, memory_order_acq_rel) == 1 ? HD_OK : HD_PENDING;
}

void cache_shared_worker_start(struct cache_worker *w, uint32_t number)
{
    struct cache_shared *s = &w->cache->shared;

    here = w;
    if (number)
        return;
    pthread_mutex_lock(&s->lock);
    s->first = w;
    pthread_mutex_unlock(&s->lock);
}

int cache_shared_worker_stop(struct cache_worker *w)
{
    struct cache_shared *s = &w->cache->shared;

    if (here == w)
        here = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->first == w)
        s->first = NULL;
    pthread_mutex_unlock(&s->lock);
    w->drawing.stopped = 1;
    end_raises(w->cache, w->drawing.waiting, 0);
    w->drawing.waiting = NULL;
    return w->drawing.calls != 0;
}

/* --- heads --------------------------------------------------------------------------------------------- */

void cache_shared_note(struct cache *self, struct cache_capture *c, const struct cache_mark *marks,
                       uint32_t count)
{
    struct cache_shared_head *h = &c->shared;
    XXH128_hash_t digest;

    if (!self->shared.tier)
        return;
    cache_shared_stir(self);
    h->tick = load(&self->shared.known);
    c->shared_start = cache_lineage_of(self, c->db, c->policy.mode, h);
    digest = XXH3_128bits(marks, count * sizeof(*marks));
    h->marks[0] = digest.low64;
    h->marks[1] = digest.high64;
}

void cache_shared_noted(struct cache *self, struct cache_capture *c, const struct cache_bound *b)
{
    struct cache_shared_head now;

    if (c->shared.lsn && (cache_lineage_of(self, c->db, c->policy.mode, &now) != c->shared_start ||
                          !cache_follow_covers(self, b)))
        c->shared.lsn = 0;
}

void cache_shared_note_again(struct cache *self, struct cache_capture *c)
{
    c->shared.tick = load(&self->shared.known);
}

int cache_shared_is_proved(const struct cache_capture *c)
{
    return c->shared.tick && c->shared.lineage;
}

/* Unsettled and untold are looked at first: whoever ends them has said by then what is compared. */
static int is_current(const struct cache_cell *cell, const struct cache_shared_head *h, int by_stream)
{
    return !cache_is_unsettled(cell) && !atomic_load_explicit(&cell->untold, memory_order_acquire) &&
           load(&cell->tick) <= h->tick && (!by_stream || load(&cell->lsn) <= h->lsn);
}

static int is_of_this_past(struct cache *self, const struct cache_capture *c,
                           const struct cache_shared_head *h)
{
    struct cache_shared_head now = {0};
    uint64_t start = cache_lineage_of(self, c->db, c->policy.mode, &now);

    return now.lineage && h->lineage == now.lineage &&
           (c->policy.mode == CACHE_TTL || (start && start <= h->lsn));
}

int cache_shared_accepts(struct cache *self, const struct cache_capture *c,
                         const struct hd_cache_value *value)
{
    int has_rows = value->bytes.len && *value->bytes.ptr == 'D';
    uint64_t count = c->head.count - (has_rows ? c->absences : 0);
    struct cache_shared_head h;

    if (cache_shared_head_read(value->head, &h) != HD_OK || !is_plausible(h.tick))
        return 0;
    /* Whoever has stored it has heard of that tick. */
    raise_to(&self->shared.known, h.tick);
    if (h.marks[0] != c->shared.marks[0] || h.marks[1] != c->shared.marks[1] || !is_of_this_past(self, c, &h))
        return 0;
    for (uint64_t i = 0; i < count; i++)
        if (!is_current(c->head.conditions[i].cell, &h, c->policy.mode != CACHE_TTL))
            return 0;
    return !is_blind(&self->shared) && cache_capture_holds(c);
}
