/*
 * The filter chain of one worker; see chain.h.
 *
 * A filter takes a numbered slot here while anything still needs it: the snapshot that the chain runs, or a
 * plan that names it. The last use gone, its session states are closed and worker_stop() is called. Plans of
 * an older snapshot are hollowed: idle ones at once, those with executions in flight when the last completes.
 * A hollow plan names no filter; its shell stays until the template lets go of it.
 */
#include "plug/chain.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/thread.h"
#include "plug/chain_parts.h"

/* How long a filter is watched after a call that took too long. */
#define WATCH_NS UINT64_C(60000000000)
/* What a filter may ask for. */
#define WANT_ALL                                                                                             \
    (HD_WANT_DECIDE | HD_WANT_COMPLETE | HD_WANT_BEFORE | HD_WANT_DATA | HD_WANT_REPLACE |                   \
     HD_WANT_TRANSACTION)

/* The plan of every template that nobody wants. Has no owner and is never written. */
static struct hd_chain_full_plan nothing;

/* --- time budgets -------------------------------------------------------------------------------------- */

static uint64_t coarse_tick(void)
{
    struct timespec ts = {0, 4000000};

    clock_getres(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* What the thread has used, and how often it has given up the processor by itself. */
static void read_usage(uint64_t *cpu_us, long *blocked)
{
    struct rusage u;

    getrusage(RUSAGE_THREAD, &u);
    *cpu_us = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
              (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    *blocked = u.ru_nvcsw;
}

void hd_chain_watch(struct hd_chain_slot *s, struct hd_chain_call *call)
{
    if (call->start > s->watched_until) {
        s->watched_until = 0;
        return;
    }
    call->watched = 1;
    read_usage(&call->cpu_us, &call->blocked);
}

void hd_chain_overrun(struct hd_chain_slot *s, const struct hd_chain_call *call, uint64_t took,
                      const char *what)
{
    uint64_t cpu_us;
    char text[80];
    long blocked;

    s->watched_until = call->start + took + WATCH_NS;
    if (!call->watched)
        return;
    read_usage(&cpu_us, &blocked);
    if (blocked == call->blocked && (cpu_us - call->cpu_us) * 1000u <= s->budget_ns)
        return; /* somebody else had the processor */
    snprintf(text, sizeof(text), "%s took %llu ms", what, (unsigned long long)(took / HD_NS_PER_MS));
    hd_instance_failed(s->instance, text);
}

/* --- slots --------------------------------------------------------------------------------------------- */

static void slot_use(struct hd_chain *c, const struct hd_chain_filter *f)
{
    struct hd_chain_slot *s = &c->slots[f->slot];
    struct hd_chain_call call;

    if (s->uses++) {
        HD_CHECK(s->instance == f->instance);
        s->budget_ns = f->budget_ns;
        return;
    }
    *s = (struct hd_chain_slot){.uses = 1, .budget_ns = f->budget_ns};
    s->instance = f->instance;
    s->f = &f->instance->lib->filter;
    s->self = f->instance->self;
    atomic_fetch_add(&f->instance->workers, 1);
    if (s->f->worker_start) {
        hd_chain_call_begins(s, &call);
        s->ws = s->f->worker_start(s->self, c->worker);
        hd_chain_call_ended(c, s, &call, "worker_start");
    }
    if (s->f->session_open)
        c->keeps |= 1u << f->slot;
}

static void close_state(struct hd_chain *c, struct hd_chain_states *st, uint32_t n)
{
    struct hd_chain_slot *s = &c->slots[n];

    if (!(st->open & (1u << n)))
        return;
    st->open &= ~(1u << n);
    if (s->f->session_close)
        s->f->session_close(s->self, s->ws, st->state[n]);
    st->state[n] = NULL;
}

void hd_chain_slot_unuse(struct hd_chain *c, struct hd_chain_slot *s)
{
    uint32_t n = (uint32_t)(s - c->slots);
    struct hd_instance *i = s->instance;

    if (--s->uses)
        return;
    hd_parks_drop_early(c->parks);
    HD_LIST_EACH(node, &c->sessions)
    {
        close_state(c, HD_LIST_ITEM(node, struct hd_chain_states, node), n);
    }
    if (s->f->worker_stop)
        s->f->worker_stop(s->self, s->ws);
    c->keeps &= ~(1u << n);
    s->instance = NULL;
    atomic_fetch_sub(&i->workers, 1);
    hd_plugins_poke(c->plugins);
}

/* --- snapshots ----------------------------------------------------------------------------------------- */

void hd_chain_snapshot_release(struct hd_chain_snapshot *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1)
        hd_free(s);
}

void hd_chain_set(struct hd_chain *c, struct hd_chain_snapshot *s)
{
    struct hd_chain_snapshot *old = c->current;

    if (old && old->generation == s->generation) {
        hd_chain_snapshot_release(s);
        return;
    }
    for (uint32_t i = 0; i < s->count; i++)
        slot_use(c, &s->filters[i]);
    c->current = s;
    c->head = (struct hd_chain_head){s->generation, s->count};
    HD_LIST_EACH(node, &c->plans)
    {
        struct hd_chain_full_plan *p = HD_LIST_ITEM(node, struct hd_chain_full_plan, node);

        if (!p->users)
            hd_chain_hollow(p);
    }
    for (uint32_t i = 0; old && i < old->count; i++)
        hd_chain_slot_unuse(c, &c->slots[old->filters[i].slot]);
    hd_chain_snapshot_release(old);
    atomic_store(&c->seat->generation, s->generation);
    hd_plugins_poke(c->plugins);
}

/* --- plans --------------------------------------------------------------------------------------------- */

void hd_chain_hollow(struct hd_chain_full_plan *p)
{
    struct hd_chain *c = p->chain;

    hd_list_remove(&p->node);
    p->chain = NULL;
    for (uint32_t i = 0; i < p->head.count; i++) {
        struct hd_chain_entry *e = &p->entries[i];

        if (e->destroy)
            e->destroy(e->data);
        hd_chain_slot_unuse(c, e->slot);
    }
    p->head.want = p->head.count = 0;
    if (!p->kept)
        hd_free(p);
}

void hd_chain_plan_drop(void *plan)
{
    struct hd_chain_full_plan *p = plan;

    if (!p || p == &nothing)
        return;
    p->kept = 0;
    if (!p->chain)
        hd_free(p);
    else if (!p->users)
        hd_chain_hollow(p);
}

/* What a filter may have asked for, made consistent with what it is able to do. */
static uint32_t sane_want(const struct hd_filter_v1 *f, uint32_t want)
{
    want &= WANT_ALL;
    if (!f->statement)
        want &= ~(HD_WANT_DECIDE | HD_WANT_REPLACE);
    if (!(want & HD_WANT_DECIDE))
        want &= ~HD_WANT_REPLACE;
    if (want & HD_WANT_BEFORE)
        want |= HD_WANT_COMPLETE;
    if (!f->complete)
        want &= ~(HD_WANT_COMPLETE | HD_WANT_BEFORE);
    if (!f->data)
        want &= ~HD_WANT_DATA;
    if (!f->transaction)
        want &= ~HD_WANT_TRANSACTION;
    return want;
}

/* A filter that cannot say what it wants: passed by, or refusing, and asked again next time. */
static int plan_without(const struct hd_chain_filter *f, struct hd_chain_entry *e)
{
    if (!f->reject || f->observe)
        return 0;
    e->broken = 1;
    e->want = HD_WANT_DECIDE;
    return 1;
}

/* Asks one filter; 1 when the entry is wanted. `*again` is set when the answer is not to be kept. */
static int plan_entry(struct hd_chain *c, const struct hd_chain_filter *f, const hd_template *tmpl,
                      struct hd_chain_entry *e, int *again)
{
    struct hd_chain_slot *s = &c->slots[f->slot];
    struct hd_plan out = {.size = sizeof(out)};
    struct hd_chain_call call;
    int32_t code;

    *e = (struct hd_chain_entry){.slot = s, .observe = (uint8_t)f->observe, .reject = (uint8_t)f->reject};
    if (hd_instance_quarantined(f->instance))
        return plan_without(f, e); /* lifting it makes a new snapshot */
    hd_chain_call_begins(s, &call);
    code = s->f->plan(s->self, s->ws, tmpl, &out);
    hd_chain_call_ended(c, s, &call, "plan");
    if (code != HD_OK) {
        hd_instance_failed(f->instance, "plan returned an error");
        *again = 1;
        return plan_without(f, e);
    }
    e->want = sane_want(s->f, out.want);
    e->data = out.data;
    e->destroy = out.destroy;
    if (!e->want && e->destroy)
        e->destroy(e->data);
    return e->want != 0;
}

static struct hd_chain_full_plan *new_plan(struct hd_chain *c, uint32_t count)
{
    struct hd_chain_full_plan *p = hd_calloc(1, sizeof(*p) + count * sizeof(p->entries[0]));

    if (!p)
        return NULL;
    p->chain = c;
    p->generation = c->head.generation;
    p->kept = 1;
    hd_list_push_back(&c->plans, &p->node);
    return p;
}

static struct hd_chain_full_plan *make_plan(struct hd_chain *c, const hd_template *tmpl, int *again)
{
    struct hd_chain_full_plan *p = new_plan(c, c->current->count);

    if (!p)
        return NULL;
    for (uint32_t i = 0; i < c->current->count; i++) {
        struct hd_chain_entry *e = &p->entries[p->head.count];

        if (!plan_entry(c, &c->current->filters[i], tmpl, e, again))
            continue;
        e->slot->uses++;
        p->head.want |= e->want;
        p->head.count++;
    }
    if (p->head.count)
        return p;
    p->kept = 0;
    hd_chain_hollow(p);
    return &nothing;
}

struct hd_chain_plan *hd_chain_replan(struct hd_chain *c, const hd_template *tmpl, void **slot,
                                      uint32_t *generation)
{
    struct hd_chain_full_plan *p;
    int again = 0;

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    hd_chain_plan_drop(*slot);
    *slot = NULL;
    *generation = 0;
    p = c->head.filters ? make_plan(c, tmpl, &again) : &nothing;
    if (!p)
        return NULL;
    *slot = p;
    *generation = again ? 0 : c->head.generation;
    return &p->head;
}

/* --- session states ------------------------------------------------------------------------------------ */

static void open_state(struct hd_chain *c, struct hd_chain_states *st, uint32_t n, struct hd_str database,
                       struct hd_str user)
{
    struct hd_chain_slot *s = &c->slots[n];
    struct hd_chain_call call;

    hd_chain_call_begins(s, &call);
    st->state[n] = s->f->session_open(s->self, s->ws, st->session_id, database, user);
    st->open |= 1u << n;
    hd_chain_call_ended(c, s, &call, "session_open");
}

/* Makes room for the state of slot n. */
static int make_room(struct hd_chain *c, struct hd_chain_session *cs, uint32_t n, uint64_t session_id)
{
    struct hd_chain_states *old = cs->states, *st;
    uint32_t room = n + 1;

    if (old && n < old->room)
        return HD_OK;
    st = hd_calloc(1, sizeof(*st) + room * sizeof(st->state[0]));
    if (!st)
        return HD_ENOMEM;
    st->room = room;
    st->session_id = session_id;
    if (old) {
        st->open = old->open;
        memcpy(st->state, old->state, old->room * sizeof(st->state[0]));
        hd_list_remove(&old->node);
        hd_free(old);
    }
    hd_list_push_back(&c->sessions, &st->node);
    cs->states = st;
    return HD_OK;
}

void hd_chain_session_open(struct hd_chain *c, struct hd_chain_session *cs, uint64_t session_id,
                           struct hd_str database, struct hd_str user)
{
    *cs = (struct hd_chain_session){NULL, 0, NULL};
    if (HD_LIKELY(!c->keeps))
        return;
    for (uint32_t n = HD_CHAIN_MAX; n-- > 0;) {
        if (!(c->keeps & (1u << n)) || hd_instance_quarantined(c->slots[n].instance))
            continue;
        if (make_room(c, cs, n, session_id) == HD_OK) /* else: at the first execution */
            open_state(c, cs->states, n, database, user);
    }
}

void hd_chain_session_close(struct hd_chain *c, struct hd_chain_session *cs)
{
    struct hd_chain_states *st = cs->states;

    hd_chain_end_forget(c, cs);
    if (HD_LIKELY(!st))
        return;
    for (uint32_t n = 0; n < st->room; n++)
        close_state(c, st, n);
    hd_list_remove(&st->node);
    hd_free(st);
    cs->states = NULL;
}

int hd_chain_find_state(struct hd_chain *c, struct hd_chain_session *cs, const struct hd_chain_slot *s,
                        struct hd_statement *st)
{
    uint32_t n = (uint32_t)(s - c->slots);

    st->session_state = NULL;
    if (HD_LIKELY(!s->f->session_open))
        return HD_OK;
    if (make_room(c, cs, n, st->session_id))
        return HD_ENOMEM;
    if (!(cs->states->open & (1u << n)))
        open_state(c, cs->states, n, st->database, st->user);
    st->session_state = cs->states->state[n];
    return HD_OK;
}

/* --- the chain ----------------------------------------------------------------------------------------- */

static void on_ready(void *arg, struct hd_chain_exec *exec)
{
    struct hd_chain *c = arg;

    c->resume(c->resume_arg, exec);
}

static int start_timer(struct hd_chain *c)
{
    c->timer = hd_calloc(1, sizeof(*c->timer));
    if (!c->timer)
        return HD_ENOMEM;
    c->timer->chain = c;
    hd_loop_timer_init(hd_loop_current(), &c->timer->timer, hd_chain_on_deadline);
    return HD_OK;
}

static void timer_closed(struct hd_loop_timer *t)
{
    hd_free(HD_CONTAINER_OF(t, struct hd_chain_timer, timer));
}

int hd_chain_new(struct hd_plugins *plugins, uint32_t worker, struct hd_chain **out)
{
    struct hd_chain *c = hd_calloc(1, sizeof(*c));

    if (!c || start_timer(c)) {
        hd_free(c);
        return HD_ENOMEM;
    }
    c->plugins = plugins;
    c->seat = &plugins->seats[worker];
    c->worker = worker;
    c->parks = &c->seat->parks;
    c->sequence = c->seat->sequence;
    c->tick_ns = coarse_tick();
    hd_list_init(&c->plans);
    hd_list_init(&c->sessions);
    hd_list_init(&c->deadlines);
    hd_parks_attach(c->parks, hd_loop_current(), on_ready, c);
    hd_chain_set(c, hd_chain_seat_take(c->seat, c, hd_loop_current()));
    *out = c;
    return HD_OK;
}

void hd_chain_free(struct hd_chain *c)
{
    HD_LIST_EACH(node, &c->plans)
    {
        struct hd_chain_full_plan *p = HD_LIST_ITEM(node, struct hd_chain_full_plan, node);

        HD_CHECK(!p->users);
        hd_chain_hollow(p);
    }
    HD_CHECK(hd_list_empty(&c->sessions));
    hd_parks_detach(c->parks);
    for (uint32_t i = 0; i < c->current->count; i++)
        hd_chain_slot_unuse(c, &c->slots[c->current->filters[i].slot]);
    c->seat->sequence = c->sequence;
    hd_chain_seat_leave(c->seat);
    hd_chain_snapshot_release(c->current);
    hd_loop_timer_close(&c->timer->timer, timer_closed);
    hd_values_free(&c->values);
    hd_free(c);
}

void hd_chain_set_resume(struct hd_chain *c, void (*fn)(void *arg, struct hd_chain_exec *exec), void *arg)
{
    c->resume = fn;
    c->resume_arg = arg;
}
