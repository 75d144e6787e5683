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
#include <time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/units.h"
#include "io/loop.h"
#include "plug/instance.h"

#define NS_PER_MS       1000000u
#define SQLSTATE_REFUSE "42501"
#define SQLSTATE_FAILED "58000"
#define SQLSTATE_FULL   "53400"
#define SQLSTATE_MEMORY "53200"
#define SQLSTATE_PARKED "57014"
/* What a filter may ask for. */
#define WANT_ALL (HD_WANT_DECIDE | HD_WANT_COMPLETE | HD_WANT_BEFORE | HD_WANT_DATA | HD_WANT_REPLACE)
/* Handles: the worker's number above, its own sequence below. */
#define HANDLE_SEQUENCE_BITS 48

/* A filter on this worker. */
struct slot {
    struct hd_instance *instance;
    const struct hd_filter_v1 *f;
    void *self, *ws;
    uint64_t budget_ns;
    uint32_t uses;                            /* 1 for the snapshot, 1 for each plan that names it; 0: free */
    uint64_t observed_second, observed_quiet; /* so that observing logs one line a second */
};

/* A filter in a plan. */
struct entry {
    struct slot *slot;
    uint32_t want;
    uint8_t observe, reject;
    uint8_t broken; /* it could not plan and rejects: refuses in its stead */
    void *data;
    void (*destroy)(void *data);
};

struct plan {
    struct hd_chain_plan head; /* first */
    struct hd_chain *chain;    /* NULL: hollow */
    struct hd_list node;       /* in chain->plans */
    uint32_t generation;
    uint32_t users; /* executions in flight */
    int kept;       /* by a template */
    struct entry entries[];
};

/* What filters keep for one session, by slot. */
struct hd_chain_states {
    struct hd_list node;
    uint32_t open; /* bit n: state[n] was opened */
    uint32_t room;
    uint64_t session_id;
    void *state[];
};

struct hd_chain {
    struct hd_chain_head head; /* first */
    struct hd_plugins *plugins;
    struct hd_chain_seat *seat;
    uint32_t worker;
    uint32_t keeps; /* bit n: the filter in slot n keeps session states */
    struct hd_chain_snapshot *current;
    uint64_t sequence; /* of handles */
    uint64_t tick_ns;  /* of the clock that measures time budgets */
    struct hd_parks *parks;
    struct hd_list plans, sessions, deadlines;
    struct deadline_timer *timer;
    void (*resume)(void *arg, struct hd_chain_exec *exec);
    void *resume_arg;
    struct slot slots[HD_CHAIN_MAX];
};

struct deadline_timer {
    struct hd_loop_timer timer; /* first */
    struct hd_chain *chain;
    uint64_t due_ns; /* 0: not running */
};

/* The plan of every template that nobody wants. Has no owner and is never written. */
static struct plan nothing;

static void hollow(struct plan *p);

/* --- time budgets -------------------------------------------------------------------------------------- */

/* A clock that costs a few nanoseconds and is right to one tick: enough to see that a callback blocks. */
static inline uint64_t coarse_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t coarse_tick(void)
{
    struct timespec ts = {0, 4000000};

    clock_getres(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static __attribute__((cold, noinline)) void overrun(struct slot *s, const char *what, uint64_t ns)
{
    char text[80];

    snprintf(text, sizeof(text), "%s took %llu ms", what, (unsigned long long)(ns / NS_PER_MS));
    hd_instance_failed(s->instance, text);
}

/* After a call that began at `start`: counts it as a failure when it took too long. */
static inline void check_budget(struct hd_chain *c, struct slot *s, uint64_t start, const char *what)
{
    uint64_t took = coarse_ns() - start;

    if (HD_UNLIKELY(took > s->budget_ns + c->tick_ns))
        overrun(s, what, took);
}

/* --- slots --------------------------------------------------------------------------------------------- */

static void slot_use(struct hd_chain *c, const struct hd_chain_filter *f)
{
    struct slot *s = &c->slots[f->slot];
    uint64_t start;

    if (s->uses++) {
        HD_CHECK(s->instance == f->instance);
        s->budget_ns = f->budget_ns;
        return;
    }
    *s = (struct slot){.uses = 1, .budget_ns = f->budget_ns};
    s->instance = f->instance;
    s->f = &f->instance->lib->filter;
    s->self = f->instance->self;
    atomic_fetch_add(&f->instance->workers, 1);
    if (s->f->worker_start) {
        start = coarse_ns();
        s->ws = s->f->worker_start(s->self, c->worker);
        check_budget(c, s, start, "worker_start");
    }
    if (s->f->session_open)
        c->keeps |= 1u << f->slot;
}

static void close_state(struct hd_chain *c, struct hd_chain_states *st, uint32_t n)
{
    struct slot *s = &c->slots[n];

    if (!(st->open & (1u << n)))
        return;
    st->open &= ~(1u << n);
    if (s->f->session_close)
        s->f->session_close(s->self, s->ws, st->state[n]);
    st->state[n] = NULL;
}

static void slot_unuse(struct hd_chain *c, struct slot *s)
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
        struct plan *p = HD_LIST_ITEM(node, struct plan, node);

        if (!p->users)
            hollow(p);
    }
    for (uint32_t i = 0; old && i < old->count; i++)
        slot_unuse(c, &c->slots[old->filters[i].slot]);
    hd_chain_snapshot_release(old);
    atomic_store(&c->seat->generation, s->generation);
    hd_plugins_poke(c->plugins);
}

/* --- plans --------------------------------------------------------------------------------------------- */

/* Takes the filters out of a plan; frees it unless a template still keeps the shell. */
static void hollow(struct plan *p)
{
    struct hd_chain *c = p->chain;

    hd_list_remove(&p->node);
    p->chain = NULL;
    for (uint32_t i = 0; i < p->head.count; i++) {
        struct entry *e = &p->entries[i];

        if (e->destroy)
            e->destroy(e->data);
        slot_unuse(c, e->slot);
    }
    p->head.want = p->head.count = 0;
    if (!p->kept)
        hd_free(p);
}

void hd_chain_plan_drop(void *plan)
{
    struct plan *p = plan;

    if (!p || p == &nothing)
        return;
    p->kept = 0;
    if (!p->chain)
        hd_free(p);
    else if (!p->users)
        hollow(p);
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
    return want;
}

/* A filter that cannot say what it wants: passed by, or refusing, and asked again next time. */
static int plan_without(const struct hd_chain_filter *f, struct entry *e)
{
    if (!f->reject || f->observe)
        return 0;
    e->broken = 1;
    e->want = HD_WANT_DECIDE;
    return 1;
}

/* Asks one filter; 1 when the entry is wanted. `*again` is set when the answer is not to be kept. */
static int plan_entry(struct hd_chain *c, const struct hd_chain_filter *f, const hd_template *tmpl,
                      struct entry *e, int *again)
{
    struct slot *s = &c->slots[f->slot];
    struct hd_plan out = {.size = sizeof(out)};
    uint64_t start;
    int32_t code;

    *e = (struct entry){.slot = s, .observe = (uint8_t)f->observe, .reject = (uint8_t)f->reject};
    if (hd_instance_quarantined(f->instance))
        return plan_without(f, e); /* lifting it makes a new snapshot */
    start = coarse_ns();
    code = s->f->plan(s->self, s->ws, tmpl, &out);
    check_budget(c, s, start, "plan");
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

static struct plan *new_plan(struct hd_chain *c, uint32_t count)
{
    struct plan *p = hd_calloc(1, sizeof(*p) + count * sizeof(p->entries[0]));

    if (!p)
        return NULL;
    p->chain = c;
    p->generation = c->head.generation;
    p->kept = 1;
    hd_list_push_back(&c->plans, &p->node);
    return p;
}

static struct plan *make_plan(struct hd_chain *c, const hd_template *tmpl, int *again)
{
    struct plan *p = new_plan(c, c->current->count);

    if (!p)
        return NULL;
    for (uint32_t i = 0; i < c->current->count; i++) {
        struct entry *e = &p->entries[p->head.count];

        if (!plan_entry(c, &c->current->filters[i], tmpl, e, again))
            continue;
        e->slot->uses++;
        p->head.want |= e->want;
        p->head.count++;
    }
    if (p->head.count)
        return p;
    p->kept = 0;
    hollow(p);
    return &nothing;
}

struct hd_chain_plan *hd_chain_replan(struct hd_chain *c, const hd_template *tmpl, void **slot,
                                      uint32_t *generation)
{
    struct plan *p;
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
    struct slot *s = &c->slots[n];
    uint64_t start = coarse_ns();

    st->state[n] = s->f->session_open(s->self, s->ws, st->session_id, database, user);
    st->open |= 1u << n;
    check_budget(c, s, start, "session_open");
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
    cs->states = NULL;
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

    if (HD_LIKELY(!st))
        return;
    for (uint32_t n = 0; n < st->room; n++)
        close_state(c, st, n);
    hd_list_remove(&st->node);
    hd_free(st);
    cs->states = NULL;
}

/* Finds the session's state of one filter; opened now where it was not there when the session began. 0, or
 * HD_ENOMEM. */
static int find_state(struct hd_chain *c, struct hd_chain_session *cs, const struct slot *s,
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

/* --- executions ---------------------------------------------------------------------------------------- */

static inline struct plan *plan_of(const struct hd_chain_exec *exec)
{
    return (struct plan *)(void *)exec->plan;
}

int hd_chain_begin(struct hd_chain *c, struct hd_chain_plan *plan, struct hd_chain_exec *exec)
{
    struct plan *p = (struct plan *)(void *)plan;

    HD_ASSERT(p->chain == c);
    memset(exec, 0, sizeof(*exec));
    exec->slots = exec->few;
    if (HD_UNLIKELY(plan->count > HD_CHAIN_INLINE)) {
        exec->slots = hd_calloc(plan->count, sizeof(*exec->slots));
        if (!exec->slots)
            return HD_ENOMEM;
    }
    exec->plan = plan;
    exec->handle = ((uint64_t)c->worker << HANDLE_SEQUENCE_BITS) | ++c->sequence;
    p->users++;
    for (uint32_t i = 0; i < plan->count; i++)
        if (!(p->entries[i].want & HD_WANT_DECIDE) && !hd_instance_quarantined(p->entries[i].slot->instance))
            exec->called |= 1u << i;
    return HD_OK;
}

/* Fills what the filter in entry i sees of its own in the statement. 0, or HD_ENOMEM: it is not called. */
static inline int show(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                       uint32_t i, struct hd_statement *st)
{
    st->handle = exec->handle;
    st->slot = &exec->slots[i];
    return find_state(c, cs, plan_of(exec)->entries[i].slot, st);
}

static struct hd_str str(const char *s)
{
    return (struct hd_str){s, strlen(s)};
}

static void refuse(struct hd_verdict *v, const char *sqlstate, const char *message, const char *hint)
{
    *v = (struct hd_verdict){.size = sizeof(*v), .kind = HD_VERDICT_REFUSE};
    memcpy(v->sqlstate, sqlstate, 6);
    v->message = str(message);
    v->hint = str(hint);
}

static void go_on(struct hd_verdict *v)
{
    *v = (struct hd_verdict){.size = sizeof(*v), .kind = HD_VERDICT_CONTINUE};
}

/* The filter did not decide: it is passed by, or refuses. */
static void without(const struct entry *e, struct hd_verdict *v)
{
    if (e->reject && !e->observe)
        refuse(v, SQLSTATE_FAILED, e->slot->instance->refusal,
               "The administrator has chosen on_failure = reject for it; see SHOW PLUGINS.");
    else
        go_on(v);
}

static void let_go(struct hd_verdict *v)
{
    if (v->release)
        v->release(v->release_arg);
    v->release = NULL;
}

static int sqlstate_ok(const char *s)
{
    for (int i = 0; i < 5; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'Z')))
            return 0;
    return !s[5];
}

/* What is wrong with a verdict, or NULL. */
static const char *find_fault(const struct entry *e, struct hd_verdict *v)
{
    switch (v->kind) {
    case HD_VERDICT_CONTINUE:
    case HD_VERDICT_PARK:
        return NULL;
    case HD_VERDICT_ANSWER:
        if (!v->bytes.len)
            return "an answer without bytes";
        break;
    case HD_VERDICT_REWRITE:
    case HD_VERDICT_ROUTE:
        if (!v->text.len)
            return "a rewrite or route without a text";
        break;
    case HD_VERDICT_REFUSE:
        if (!v->sqlstate[0])
            memcpy(v->sqlstate, SQLSTATE_REFUSE, 6);
        return sqlstate_ok(v->sqlstate) ? NULL : "a refusal whose SQLSTATE is none";
    default:
        return "a verdict that does not exist";
    }
    return e->want & HD_WANT_REPLACE ? NULL : "a verdict that its plan had not asked for (HD_WANT_REPLACE)";
}

static const char *verdict_name(uint32_t kind)
{
    static const char *const names[] = {"continue", "answer", "rewrite", "route", "refuse", "park"};

    return kind < HD_ARRAY_LEN(names) ? names[kind] : "unknown";
}

static inline void count(struct hd_chain *c, const struct entry *e)
{
    struct hd_verdict_counts *n = &e->slot->instance->counts[c->worker];
    _Atomic uint64_t *which = e->observe ? &n->observed : &n->acted;

    /* One writer: no locked addition is needed. */
    atomic_store_explicit(which, atomic_load_explicit(which, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Notes what an observing filter would have done; one line a second, however many there are. */
static void observe(const struct entry *e, struct hd_verdict *v)
{
    struct slot *s = e->slot;
    uint64_t second = coarse_ns() / 1000000000u;

    if (s->observed_second == second) {
        s->observed_quiet++;
    } else {
        hd_log(HD_LOG_INFO, "observed", HD_KV("plugin", s->instance->host.id),
               HD_KV("verdict", verdict_name(v->kind)), HD_KV("sqlstate", v->sqlstate),
               HD_KV("not_logged", s->observed_quiet));
        s->observed_second = second;
        s->observed_quiet = 0;
    }
    let_go(v);
    go_on(v);
}

/* --- parking ------------------------------------------------------------------------------------------- */

static void arm_timer(struct hd_chain *c, uint64_t due_ns)
{
    uint64_t now = hd_now_ns();

    if (c->timer->due_ns && c->timer->due_ns <= due_ns)
        return;
    c->timer->due_ns = due_ns;
    hd_loop_timer_start(&c->timer->timer, due_ns > now ? (due_ns - now) / NS_PER_MS + 1 : 1, 0);
}

/* The deadline passed: the verdict is the host's. */
static void expire(struct hd_chain *c, struct hd_park *park)
{
    if (!hd_park_expire(park))
        return; /* resumed just now; its post is under way */
    if (!park->own_limit)
        hd_instance_failed(park->instance, "a parked statement was not resumed");
    refuse(&park->verdict, SQLSTATE_PARKED, "canceling statement because no plugin let it go on in time",
           "It was parked by a plugin; see SHOW PLUGINS.");
    c->resume(c->resume_arg, park->exec);
}

static void on_deadline(struct hd_loop_timer *t)
{
    struct hd_chain *c = HD_CONTAINER_OF(t, struct deadline_timer, timer)->chain;
    uint64_t now = hd_now_ns(), next = 0;
    struct hd_list due;

    hd_list_init(&due);
    c->timer->due_ns = 0;
    HD_LIST_EACH(n, &c->deadlines)
    {
        struct hd_park *park = HD_LIST_ITEM(n, struct hd_park, order);

        if (park->deadline_ns <= now) {
            hd_list_remove(n);
            hd_list_push_back(&due, n);
        } else if (!next || park->deadline_ns < next) {
            next = park->deadline_ns;
        }
    }
    if (next)
        arm_timer(c, next);
    /* resume() may end other executions, which then leave this list by themselves. */
    for (struct hd_list *n; (n = hd_list_pop_front(&due));)
        expire(c, HD_LIST_ITEM(n, struct hd_park, order));
}

static void park(struct hd_chain *c, const struct entry *e, struct hd_chain_exec *exec, struct hd_verdict *v)
{
    uint64_t limit = (uint64_t)c->plugins->park_timeout, ms = v->park_ms;
    int code = hd_parks_add(c->parks, e->slot->instance, exec, &exec->park);

    if (code) {
        exec->park = NULL;
        refuse(v, code == HD_EFULL ? SQLSTATE_FULL : SQLSTATE_MEMORY, "too many statements are parked",
               "A plugin holds statements back; try again later.");
        return;
    }
    exec->park->own_limit = ms && ms <= limit;
    exec->park->deadline_ns = hd_now_ns() + (exec->park->own_limit ? ms : limit) * NS_PER_MS;
    hd_list_push_back(&c->deadlines, &exec->park->order);
    arm_timer(c, exec->park->deadline_ns);
}

static void end_park(struct hd_chain_exec *exec)
{
    if (exec->park)
        hd_park_drop(exec->park);
    exec->park = NULL;
}

/* --- deciding ------------------------------------------------------------------------------------------ */

/* Makes of what a filter said what is to be done. */
static void settle(struct hd_chain *c, const struct entry *e, struct hd_chain_exec *exec, int32_t code,
                   struct hd_verdict *v)
{
    const char *fault;

    if (HD_LIKELY(code == HD_OK && v->kind == HD_VERDICT_CONTINUE)) {
        let_go(v);
        return;
    }
    fault = code == HD_OK ? find_fault(e, v) : "statement returned an error";
    if (fault) {
        hd_instance_failed(e->slot->instance, fault);
        let_go(v);
        without(e, v);
        return;
    }
    count(c, e);
    if (e->observe)
        observe(e, v);
    else if (v->kind == HD_VERDICT_PARK)
        park(c, e, exec, v);
}

static void ask(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec, uint32_t i,
                struct hd_statement *st, struct hd_verdict *v)
{
    struct entry *e = &plan_of(exec)->entries[i];
    struct slot *s = e->slot;
    uint64_t start;
    int32_t code;

    if (HD_UNLIKELY(e->broken || hd_instance_quarantined(s->instance) || show(c, cs, exec, i, st))) {
        without(e, v);
        return;
    }
    go_on(v);
    exec->called |= 1u << i;
    atomic_store_explicit(&c->parks->deciding, exec->handle, memory_order_relaxed);
    start = coarse_ns();
    code = s->f->statement(s->self, s->ws, e->data, st, v);
    check_budget(c, s, start, "statement");
    settle(c, e, exec, code, v);
    if (!exec->park)
        atomic_store_explicit(&c->parks->deciding, 0, memory_order_relaxed);
    if (HD_UNLIKELY(atomic_load_explicit(&c->parks->early_there, memory_order_relaxed)))
        hd_parks_drop_early(c->parks);
}

/* The verdict that ended a park. The park stays until complete(): the verdict points into it. */
static void take_resumed(struct hd_chain *c, struct hd_chain_exec *exec, struct hd_verdict *v)
{
    struct hd_park *p = exec->park;
    struct entry *e = &plan_of(exec)->entries[exec->next - 1];
    const char *fault;

    HD_ASSERT(p->state == HD_PARK_READY);
    hd_list_remove(&p->order);
    *v = p->verdict;
    p->verdict.release = NULL; /* the caller's from here on */
    p->state = HD_PARK_READY;
    fault = v->kind == HD_VERDICT_PARK ? "resumed with park" : find_fault(e, v);
    if (fault) {
        hd_instance_failed(e->slot->instance, fault);
        let_go(v);
        without(e, v);
    } else if (v->kind == HD_VERDICT_CONTINUE) {
        let_go(v);
    } else {
        count(c, e);
    }
}

uint32_t hd_chain_decide(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                         struct hd_statement *st, struct hd_verdict *v)
{
    struct plan *p = plan_of(exec);

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    if (HD_UNLIKELY(exec->park)) {
        take_resumed(c, exec, v);
        if (v->kind != HD_VERDICT_CONTINUE)
            return v->kind;
        end_park(exec);
    }
    while (exec->next < p->head.count) {
        uint32_t i = exec->next++;

        if (!(p->entries[i].want & HD_WANT_DECIDE))
            continue;
        ask(c, cs, exec, i, st, v);
        if (v->kind != HD_VERDICT_CONTINUE)
            return v->kind;
    }
    go_on(v);
    return HD_VERDICT_CONTINUE;
}

void hd_chain_data(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                   struct hd_statement *st, struct hd_str bytes)
{
    struct plan *p = plan_of(exec);

    for (uint32_t i = 0; i < p->head.count; i++) {
        struct entry *e = &p->entries[i];
        uint64_t start;

        if (!(e->want & HD_WANT_DATA) || !(exec->called & (1u << i)) ||
            hd_instance_quarantined(e->slot->instance) || show(c, cs, exec, i, st))
            continue;
        start = coarse_ns();
        e->slot->f->data(e->slot->self, e->slot->ws, e->data, st, bytes);
        check_budget(c, e->slot, start, "data");
    }
}

static void call_complete(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                          uint32_t i, struct hd_statement *st, const struct hd_outcome *outcome)
{
    struct entry *e = &plan_of(exec)->entries[i];
    uint64_t start;

    if (!(e->want & HD_WANT_COMPLETE) || !(exec->called & (1u << i)) || show(c, cs, exec, i, st))
        return;
    start = coarse_ns();
    e->slot->f->complete(e->slot->self, e->slot->ws, e->data, st, outcome);
    check_budget(c, e->slot, start, "complete");
}

void hd_chain_complete(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                       struct hd_statement *st, const struct hd_outcome *outcome)
{
    struct plan *p = plan_of(exec);

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    end_park(exec);
    for (uint32_t i = 0; i < p->head.count; i++)
        call_complete(c, cs, exec, i, st, outcome);
    if (exec->slots != exec->few)
        hd_free(exec->slots);
    memset(exec, 0, sizeof(*exec));
    if (--p->users == 0 && (!p->kept || p->generation != c->head.generation))
        hollow(p);
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
    hd_loop_timer_init(hd_loop_current(), &c->timer->timer, on_deadline);
    return HD_OK;
}

static void timer_closed(struct hd_loop_timer *t)
{
    hd_free(HD_CONTAINER_OF(t, struct deadline_timer, timer));
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
        struct plan *p = HD_LIST_ITEM(node, struct plan, node);

        HD_CHECK(!p->users);
        hollow(p);
    }
    HD_CHECK(hd_list_empty(&c->sessions));
    hd_parks_detach(c->parks);
    for (uint32_t i = 0; i < c->current->count; i++)
        slot_unuse(c, &c->slots[c->current->filters[i].slot]);
    c->seat->sequence = c->sequence;
    hd_chain_seat_leave(c->seat);
    hd_chain_snapshot_release(c->current);
    hd_loop_timer_close(&c->timer->timer, timer_closed);
    hd_free(c);
}

void hd_chain_set_resume(struct hd_chain *c, void (*fn)(void *arg, struct hd_chain_exec *exec), void *arg)
{
    c->resume = fn;
    c->resume_arg = arg;
}

/* --- howdah.statement/1 -------------------------------------------------------------------------------- */

static int32_t statement_resume(hd_host *host, uint64_t handle, const struct hd_verdict *v)
{
    struct hd_instance *i = hd_host_instance(host);
    uint64_t worker = handle >> HANDLE_SEQUENCE_BITS;

    if (!i || !v || v->size < offsetof(struct hd_verdict, park_ms))
        return HD_EINVAL;
    if (worker >= i->plugins->workers)
        return HD_ENOENT;
    return hd_parks_resume(&i->plugins->seats[worker].parks, i, handle, v);
}

const struct hd_statement_v1 hd_statement_service = {
    .size = sizeof(struct hd_statement_v1),
    .resume = statement_resume,
};
