/*
 * The end of transactions on a worker's filter chain: filters that were touched are told, one after the
 * other, and each may hold back what tells the client. A hold is a park (parks.c) without an execution. See
 * chain.h.
 */
#include "plug/chain.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/thread.h"
#include "base/units.h"
#include "plug/chain_parts.h"

uint32_t hd_chain_touching(const struct hd_chain_plan *plan)
{
    const struct hd_chain_full_plan *p = (const struct hd_chain_full_plan *)(const void *)plan;
    uint32_t slots = 0;

    for (uint32_t i = 0; i < plan->count; i++)
        if (p->entries[i].want & HD_WANT_TRANSACTION)
            slots |= 1u << (p->entries[i].slot - p->chain->slots);
    return slots;
}

struct hd_chain_session *hd_chain_ending_session(struct hd_chain_exec *exec)
{
    return exec->plan ? NULL : HD_CONTAINER_OF(exec, struct hd_chain_ending, exec)->session;
}

/* Nobody holds the end back any more. */
static void let_go(struct hd_chain *c, struct hd_chain_ending *e)
{
    if (e->exec.park)
        hd_park_drop(e->exec.park);
    e->exec.park = NULL;
    if (e->slot)
        hd_chain_slot_unuse(c, e->slot);
    e->slot = NULL;
}

void hd_chain_end_forget(struct hd_chain *c, struct hd_chain_session *cs)
{
    cs->touched = 0;
    if (HD_LIKELY(!cs->ending))
        return;
    let_go(c, cs->ending);
    hd_free(cs->ending);
    cs->ending = NULL;
}

/* Made for a session's first such end; without memory nothing can be held. */
static struct hd_chain_ending *ending_of(struct hd_chain_session *cs)
{
    if (!cs->ending && (cs->ending = hd_calloc(1, sizeof(*cs->ending))))
        cs->ending->session = cs;
    return cs->ending;
}

/* Does it only observe? Then it holds nothing. */
static int observes(const struct hd_chain *c, const struct hd_chain_slot *s)
{
    for (uint32_t i = 0; i < c->current->count; i++)
        if (&c->slots[c->current->filters[i].slot] == s)
            return c->current->filters[i].observe != 0;
    return 0;
}

/* The filter said that it will resume. HD_PENDING, or HD_OK where that is not waited for. */
static int hold_back(struct hd_chain *c, struct hd_chain_ending *e, struct hd_chain_slot *s)
{
    struct hd_park *park;

    if (hd_parks_add(c->parks, s->instance, &e->exec, &park)) {
        hd_instance_failed(s->instance, "a transaction's end could not be held back");
        return HD_OK;
    }
    e->exec.park = park;
    e->slot = s;
    s->uses++;
    park->deadline_ns = hd_now_ns() + (uint64_t)c->plugins->park_timeout * HD_NS_PER_MS;
    hd_list_push_back(&c->deadlines, &park->order);
    hd_chain_arm(c, park->deadline_ns);
    return HD_PENDING;
}

static uint64_t new_handle(struct hd_chain *c)
{
    return ((uint64_t)c->worker << HD_HANDLE_SEQUENCE_BITS) | ++c->sequence;
}

static int tell(struct hd_chain *c, struct hd_chain_session *cs, struct hd_chain_slot *s,
                const struct hd_transaction *what, int hold, struct hd_chain_told *told)
{
    struct hd_statement as_statement = {.size = sizeof(as_statement),
                                        .session_id = what->session_id,
                                        .database = what->database,
                                        .user = what->user};
    struct hd_chain_ending *e = ending_of(cs);
    struct hd_transaction t = *what;
    struct hd_chain_call call;
    int code;

    (void)hd_chain_state_of(c, cs, s, &as_statement); /* without memory it is told all the same */
    t.session_state = as_statement.session_state;
    t.handle = new_handle(c);
    if (told)
        told->of[told->count++] = (struct hd_chain_told_one){
            .slot = (uint32_t)(s - c->slots), .instance = s->instance, .handle = t.handle};
    if (e)
        e->exec.handle = t.handle;
    atomic_store_explicit(&c->parks->deciding, t.handle, memory_order_relaxed);
    hd_chain_call_begins(s, &call);
    code = s->f->transaction(s->self, s->ws, &t);
    hd_chain_call_ended(c, s, &call, "transaction");
    if (code == HD_PENDING)
        code = hold && e && !observes(c, s) ? hold_back(c, e, s) : HD_OK;
    else if (code != HD_OK)
        hd_instance_failed(s->instance, "transaction returned an error");
    atomic_store_explicit(&c->parks->deciding, 0, memory_order_relaxed);
    if (HD_UNLIKELY(atomic_load_explicit(&c->parks->early_there, memory_order_relaxed)))
        hd_parks_drop_early(c->parks);
    return code == HD_PENDING ? HD_PENDING : HD_OK;
}

/* May the filter in that slot be told of ends? */
static int hears(const struct hd_chain_slot *s)
{
    return s->uses && s->f->transaction && !hd_instance_quarantined(s->instance);
}

static int tell_all(struct hd_chain *c, struct hd_chain_session *cs, const struct hd_transaction *t, int hold,
                    struct hd_chain_told *told)
{
    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    if (cs->ending)
        let_go(c, cs->ending);
    while (cs->touched) {
        uint32_t n = (uint32_t)__builtin_ctz(cs->touched);
        struct hd_chain_slot *s = &c->slots[n];

        cs->touched &= ~(1u << n);
        if (hears(s) && tell(c, cs, s, t, hold, told) == HD_PENDING)
            return HD_PENDING;
    }
    return HD_OK;
}

int hd_chain_end(struct hd_chain *c, struct hd_chain_session *cs, const struct hd_transaction *t, int hold)
{
    return tell_all(c, cs, t, hold, NULL);
}

/* --- ends that may not be ones yet --------------------------------------------------------------------- */

struct hd_chain_told *hd_chain_told_new(const struct hd_chain_session *cs)
{
    size_t n = (size_t)__builtin_popcount(cs->touched);

    return n ? hd_calloc(1, sizeof(struct hd_chain_told) + n * sizeof(struct hd_chain_told_one)) : NULL;
}

void hd_chain_lost(struct hd_chain *c, struct hd_chain_session *cs, const struct hd_transaction *t,
                   struct hd_chain_told *told)
{
    (void)tell_all(c, cs, t, 0, told);
}

void hd_chain_settled(struct hd_chain *c, const struct hd_chain_told *told, const struct hd_transaction *what)
{
    struct hd_transaction t = *what;
    struct hd_chain_call call;

    HD_ASSERT_THREAD(HD_THREAD_WORKER);
    t.end = HD_END_SETTLED;
    t.session_state = NULL;
    for (uint32_t i = 0; i < told->count; i++) {
        struct hd_chain_slot *s = &c->slots[told->of[i].slot];
        int32_t code;

        if (s->instance != told->of[i].instance || !hears(s))
            continue;
        t.about = told->of[i].handle;
        t.handle = new_handle(c);
        hd_chain_call_begins(s, &call);
        code = s->f->transaction(s->self, s->ws, &t);
        hd_chain_call_ended(c, s, &call, "transaction");
        if (code != HD_OK && code != HD_PENDING)
            hd_instance_failed(s->instance, "transaction returned an error");
    }
}
