/*
 * Executions on a worker's filter chain: asking the filters in order, what is made of their verdicts, parks
 * and their deadlines, and the end. See chain.h.
 */
#include "plug/chain.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/units.h"
#include "plug/chain_parts.h"
#include "plug/services.h"

#define SQLSTATE_REFUSE "42501"
#define SQLSTATE_FAILED "58000"
#define SQLSTATE_FULL   "53400"
#define SQLSTATE_MEMORY "53200"
#define SQLSTATE_PARKED "57014"

/* --- executions ---------------------------------------------------------------------------------------- */

static inline struct hd_chain_full_plan *plan_of(const struct hd_chain_exec *exec)
{
    return (struct hd_chain_full_plan *)(void *)exec->plan;
}

int hd_chain_begin(struct hd_chain *c, struct hd_chain_plan *plan, struct hd_chain_exec *exec)
{
    struct hd_chain_full_plan *p = (struct hd_chain_full_plan *)(void *)plan;

    exec->plan = NULL;
    exec->park = NULL;
    exec->called = exec->next = 0;
    if (!plan->count)
        return HD_OK;
    HD_ASSERT(p->chain == c);
    exec->slots = exec->few;
    if (HD_UNLIKELY(plan->count > HD_CHAIN_INLINE)) {
        exec->slots = hd_calloc(plan->count, sizeof(*exec->slots));
        if (!exec->slots)
            return HD_ENOMEM;
    } else {
        for (uint32_t i = 0; i < plan->count; i++)
            exec->few[i] = NULL;
    }
    exec->plan = plan;
    exec->handle = ((uint64_t)c->worker << HD_HANDLE_SEQUENCE_BITS) | ++c->sequence;
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
    return hd_chain_state_of(c, cs, plan_of(exec)->entries[i].slot, st);
}

static void refuse(struct hd_verdict *v, const char *sqlstate, const char *message, const char *hint)
{
    *v = (struct hd_verdict){.size = sizeof(*v), .kind = HD_VERDICT_REFUSE};
    memcpy(v->sqlstate, sqlstate, 6);
    v->message = hd_str_of(message);
    v->hint = hd_str_of(hint);
}

static void go_on(struct hd_verdict *v)
{
    *v = (struct hd_verdict){.size = sizeof(*v), .kind = HD_VERDICT_CONTINUE};
}

/* The filter did not decide: it is passed by, or refuses. */
static void without(const struct hd_chain_entry *e, struct hd_verdict *v)
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
static const char *find_fault(const struct hd_chain_entry *e, struct hd_verdict *v)
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

static inline void count(struct hd_chain *c, const struct hd_chain_entry *e)
{
    struct hd_verdict_counts *n = &e->slot->instance->counts[c->worker];
    _Atomic uint64_t *which = e->observe ? &n->observed : &n->acted;

    /* One writer: no locked addition is needed. */
    atomic_store_explicit(which, atomic_load_explicit(which, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Notes what an observing filter would have done; one line a second, however many there are. */
static void observe(const struct hd_chain_entry *e, struct hd_verdict *v)
{
    struct hd_chain_slot *s = e->slot;
    uint64_t second = hd_chain_coarse_ns() / 1000000000u;

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

void hd_chain_arm(struct hd_chain *c, uint64_t due_ns)
{
    uint64_t now = hd_now_ns();

    if (c->timer->due_ns && c->timer->due_ns <= due_ns)
        return;
    c->timer->due_ns = due_ns;
    hd_loop_timer_start(&c->timer->timer, due_ns > now ? (due_ns - now) / HD_NS_PER_MS + 1 : 1, 0);
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

void hd_chain_on_deadline(struct hd_loop_timer *t)
{
    struct hd_chain *c = HD_CONTAINER_OF(t, struct hd_chain_timer, timer)->chain;
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
        hd_chain_arm(c, next);
    /* resume() may end other executions, which then leave this list by themselves. */
    for (struct hd_list *n; (n = hd_list_pop_front(&due));)
        expire(c, HD_LIST_ITEM(n, struct hd_park, order));
}

static void park(struct hd_chain *c, const struct hd_chain_entry *e, struct hd_chain_exec *exec,
                 struct hd_verdict *v)
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
    exec->park->deadline_ns = hd_now_ns() + (exec->park->own_limit ? ms : limit) * HD_NS_PER_MS;
    hd_list_push_back(&c->deadlines, &exec->park->order);
    hd_chain_arm(c, exec->park->deadline_ns);
}

static void end_park(struct hd_chain_exec *exec)
{
    if (exec->park)
        hd_park_drop(exec->park);
    exec->park = NULL;
}

/* --- deciding ------------------------------------------------------------------------------------------ */

/* Makes of what a filter said what is to be done. */
static void settle(struct hd_chain *c, const struct hd_chain_entry *e, struct hd_chain_exec *exec,
                   int32_t code, struct hd_verdict *v)
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
    struct hd_chain_entry *e = &plan_of(exec)->entries[i];
    struct hd_chain_slot *s = e->slot;
    struct hd_chain_call call;
    int32_t code;

    if (HD_UNLIKELY(e->broken || hd_instance_quarantined(s->instance) || show(c, cs, exec, i, st))) {
        without(e, v);
        return;
    }
    go_on(v);
    exec->called |= 1u << i;
    atomic_store_explicit(&c->parks->deciding, exec->handle, memory_order_relaxed);
    hd_chain_call_begins(s, &call);
    code = s->f->statement(s->self, s->ws, e->data, st, v);
    hd_chain_call_ended(c, s, &call, "statement");
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
    struct hd_chain_entry *e = &plan_of(exec)->entries[exec->next - 1];
    const char *fault;

    HD_ASSERT(p->state == HD_PARK_READY);
    hd_list_remove(&p->order);
    *v = p->verdict;
    p->verdict.release = NULL; /* the caller's from here on */
    p->state = HD_PARK_TAKEN;
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
    struct hd_chain_full_plan *p = plan_of(exec);

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    if (HD_UNLIKELY(exec->park)) {
        if (exec->park->state != HD_PARK_TAKEN) { /* else it was not carried out: ask on */
            take_resumed(c, exec, v);
            if (v->kind != HD_VERDICT_CONTINUE)
                return v->kind;
        }
        end_park(exec);
    }
    while (p && exec->next < p->head.count) {
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
    struct hd_chain_full_plan *p = plan_of(exec);

    for (uint32_t i = 0; p && i < p->head.count; i++) {
        struct hd_chain_entry *e = &p->entries[i];
        struct hd_chain_call call;

        if (!(e->want & HD_WANT_DATA) || !(exec->called & (1u << i)) ||
            hd_instance_quarantined(e->slot->instance) || show(c, cs, exec, i, st))
            continue;
        hd_chain_call_begins(e->slot, &call);
        e->slot->f->data(e->slot->self, e->slot->ws, e->data, st, bytes);
        hd_chain_call_ended(c, e->slot, &call, "data");
    }
}

static void call_complete(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                          uint32_t i, struct hd_statement *st, const struct hd_outcome *outcome)
{
    struct hd_chain_entry *e = &plan_of(exec)->entries[i];
    struct hd_chain_call call;

    if (!(e->want & HD_WANT_COMPLETE) || !(exec->called & (1u << i)) || show(c, cs, exec, i, st))
        return;
    hd_chain_call_begins(e->slot, &call);
    e->slot->f->complete(e->slot->self, e->slot->ws, e->data, st, outcome);
    hd_chain_call_ended(c, e->slot, &call, "complete");
}

void hd_chain_complete(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                       struct hd_statement *st, const struct hd_outcome *outcome)
{
    struct hd_chain_full_plan *p = plan_of(exec);

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    if (!p)
        return;
    end_park(exec);
    for (uint32_t i = 0; i < p->head.count; i++)
        call_complete(c, cs, exec, i, st, outcome);
    if (exec->slots != exec->few)
        hd_free(exec->slots);
    exec->plan = NULL;
    if (--p->users == 0 && (!p->kept || p->generation != c->head.generation))
        hd_chain_hollow(p);
}

/* --- howdah.statement/1 -------------------------------------------------------------------------------- */

static int32_t statement_resume(hd_host *host, uint64_t handle, const struct hd_verdict *v)
{
    struct hd_instance *i = hd_host_instance(host);
    uint64_t worker = handle >> HD_HANDLE_SEQUENCE_BITS;

    if (!i || !v || v->size < offsetof(struct hd_verdict, park_ms))
        return HD_EINVAL;
    if (worker >= i->plugins->workers)
        return HD_ENOENT;
    return hd_parks_resume(&i->plugins->seats[worker].parks, i, handle, v);
}

static int32_t statement_value(hd_host *host, const struct hd_statement *st, uint32_t n, struct hd_value *out)
{
    struct hd_instance *i = hd_host_instance(host);
    uint64_t worker = st ? st->handle >> HD_HANDLE_SEQUENCE_BITS : 0;
    struct hd_value value;
    int code;

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    if (!i || !st || !st->handle || !out || worker >= i->plugins->workers)
        return HD_EINVAL;
    code = hd_values_get(&i->plugins->seats[worker].chain->values, st, n, &value);
    return code ? code : hd_service_give(out, out->size, &value, sizeof(value));
}

const struct hd_statement_v1 hd_statement_service = {
    .size = sizeof(struct hd_statement_v1),
    .resume = statement_resume,
    .value = statement_value,
};
