/*
 * The filter chain on workers' threads: order, verdicts, observing, failures, parks, and filters that are
 * switched while executions are in flight.
 */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "base/units.h"
#include "plug/instance.h"
#include "plug_harness.h"

static struct rig rig;

/* Two filters, alpha before beta unless priorities say otherwise; both steered by a probe. */
static struct probe alpha, beta;

static struct hd_plugin_conf *conf_alpha, *conf_beta;

static void configure(uint32_t mode_alpha, uint32_t mode_beta)
{
    rig_clear(&rig);
    conf_alpha = rig_plugin(&rig, "alpha", mode_alpha);
    rig_probe(&rig, &alpha);
    conf_beta = rig_plugin(&rig, "beta", mode_beta);
    rig_probe(&rig, &beta);
}

static void apply(void)
{
    int generation = (int)rig.plugins->snapshot->generation;

    CU_ASSERT_EQUAL_FATAL(rig_apply(&rig), HD_OK);
    CU_ASSERT((int)rig.plugins->snapshot->generation > generation);
    for (uint32_t i = 0; i < rig.worker_count; i++)
        CU_ASSERT(RIG_WAIT(&rig, rig.plugins->seats[i].generation == rig.plugins->snapshot->generation));
}

static void set_mode(const char *id, uint32_t mode)
{
    CU_ASSERT_EQUAL(hd_plugins_set_mode(rig.plugins, id, mode, NULL), HD_OK);
}

/* Waits until worker 0 runs the newest snapshot. */
static int up_to_date(void)
{
    return RIG_WAIT(&rig, rig.plugins->seats[0].generation == rig.plugins->snapshot->generation);
}

static void open_rig(uint32_t workers, uint32_t want_alpha, uint32_t want_beta)
{
    memset(&alpha, 0, sizeof(alpha));
    memset(&beta, 0, sizeof(beta));
    alpha.want = want_alpha;
    beta.want = want_beta;
    rig_open(&rig, workers, NULL);
    configure(HD_MODE_ON, HD_MODE_ON);
}

/* Every callback that opens something was followed by the one that closes it. */
static void close_rig(void)
{
    rig_close(&rig);
    for (struct probe *p = &alpha;; p = &beta) {
        CU_ASSERT_EQUAL(p->worker_starts, p->worker_stops);
        CU_ASSERT_EQUAL(p->opens, p->closes);
        CU_ASSERT_EQUAL(p->plans, p->plan_destroys);
        CU_ASSERT_EQUAL(p->starts, p->destroys);
        if (p == &beta)
            break;
    }
}

/* --- scripts that run on worker 0 ---------------------------------------------------------------------- */

static struct rig_session session;
static uint32_t kind; /* of the last verdict */

static void do_open(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_session_open(w, &session, 42);
}

static void do_execute(struct rig_worker *w, void *arg)
{
    (void)arg;
    kind = rig_execute(w, &session);
}

static void do_decide_again(struct rig_worker *w, void *arg)
{
    (void)arg;
    kind = hd_chain_decide(w->chain, &session.cs, &session.exec, &session.st, &session.verdict);
}

static void do_complete(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_complete(w, &session);
}

static void do_close(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_session_close(w, &session);
}

static void do_data(struct rig_worker *w, void *arg)
{
    (void)arg;
    hd_chain_data(w->chain, &session.cs, &session.exec, &session.st, (struct hd_str){"x", 1});
}

static void worker(void (*fn)(struct rig_worker *w, void *arg))
{
    rig_on(&rig, 0, fn, NULL);
}

/* One whole execution; `kind` says how it was decided. */
static void do_one(struct rig_worker *w, void *arg)
{
    do_execute(w, arg);
    do_complete(w, arg);
}

/* --- hooks --------------------------------------------------------------------------------------------- */

static int32_t say_refuse(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    (void)p;
    (void)st;
    v->kind = HD_VERDICT_REFUSE;
    strcpy(v->sqlstate, "42501");
    v->message = hd_str_of("not today");
    return HD_OK;
}

static int32_t say_error(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    (void)p;
    (void)st;
    (void)v;
    return HD_EFAIL;
}

static _Atomic int released;

static void on_release(void *arg)
{
    (void)arg;
    released++;
}

static int32_t say_answer(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    (void)p;
    (void)st;
    v->kind = HD_VERDICT_ANSWER;
    v->bytes = hd_str_of("bytes");
    v->release = on_release;
    return HD_OK;
}

static _Atomic uint64_t parked_handle;

static int32_t say_park(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    v->kind = HD_VERDICT_PARK;
    v->park_ms = p->arg ? (uint64_t)(uintptr_t)p->arg : 0;
    parked_handle = st->handle;
    return HD_OK;
}

static int32_t resume(struct probe *p, uint64_t handle, const struct hd_verdict *v)
{
    const struct hd_statement_v1 *s = hd_host_api(p->host)->service(p->host, HD_SERVICE_STATEMENT);

    return s->resume(p->host, handle, v);
}

static const struct hd_verdict go_on = {.size = sizeof(go_on), .kind = HD_VERDICT_CONTINUE};

/* --- without filters ----------------------------------------------------------------------------------- */

static void begin_anyway(struct rig_worker *w, void *arg)
{
    (void)arg;
    CU_ASSERT_EQUAL(hd_chain_begin(w->chain, session.plan, &session.exec), HD_OK);
    CU_ASSERT_PTR_NULL(session.exec.plan);
    do_decide_again(w, NULL);
    do_data(w, NULL);
    hd_chain_complete(w->chain, &session.cs, &session.exec, &session.st, NULL);
}

static void nobody_wants_anything(void)
{
    open_rig(1, 0, 0);
    worker(do_open);
    CU_ASSERT_PTR_NULL(session.cs.states);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(session.plan->want, 0);
    apply(); /* now there are two, who want nothing of this template */
    worker(do_execute);
    CU_ASSERT_EQUAL(session.plan->want, 0);
    CU_ASSERT_EQUAL(alpha.plans, 1);
    CU_ASSERT_EQUAL(alpha.plan_destroys, 1);
    worker(do_execute);
    CU_ASSERT_EQUAL(alpha.plans, 1);
    worker(begin_anyway);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    worker(do_close);
    close_rig();
    CU_ASSERT_EQUAL(alpha.statements + alpha.completes, 0);
}

/* --- order and verdicts -------------------------------------------------------------------------------- */

static char trace[64];

static int32_t trace_alpha(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    (void)p;
    (void)st;
    (void)v;
    strcat(trace, "a");
    return HD_OK;
}

static int32_t trace_beta(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    (void)p;
    (void)st;
    (void)v;
    strcat(trace, "b");
    return HD_OK;
}

static void priorities_order_filters(void)
{
    open_rig(1, HD_WANT_DECIDE, HD_WANT_DECIDE);
    alpha.statement = trace_alpha;
    beta.statement = trace_beta;
    trace[0] = 0;
    apply();
    worker(do_open);
    worker(do_one);
    CU_ASSERT_STRING_EQUAL(trace, "ab");
    configure(HD_MODE_ON, HD_MODE_ON);
    conf_alpha->priority = 200;
    apply();
    worker(do_one);
    CU_ASSERT_STRING_EQUAL(trace, "abba");
    worker(do_close);
    close_rig();
    CU_ASSERT_EQUAL(alpha.plans, 2);
}

static int32_t check_slot_statement(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    (void)v;
    *st->slot = p;
    return HD_OK;
}

static void check_slot_complete(struct probe *p, const struct hd_statement *st, const struct hd_outcome *o)
{
    CU_ASSERT_PTR_EQUAL(*st->slot, p);
    CU_ASSERT_STRING_EQUAL(o->sqlstate, "00000");
    CU_ASSERT_EQUAL(*(uint64_t *)st->session_state, 42);
}

static void filters_have_their_own_slots(void)
{
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_DECIDE | HD_WANT_COMPLETE | HD_WANT_DATA);
    alpha.statement = beta.statement = check_slot_statement;
    alpha.complete = beta.complete = check_slot_complete;
    apply();
    worker(do_open);
    CU_ASSERT_EQUAL(alpha.opens, 1);
    worker(do_execute);
    worker(do_data);
    worker(do_data);
    worker(do_complete);
    CU_ASSERT_EQUAL(alpha.completes, 1);
    CU_ASSERT_EQUAL(beta.completes, 1);
    CU_ASSERT_EQUAL(alpha.datas, 0);
    CU_ASSERT_EQUAL(beta.datas, 2);
    worker(do_close);
    close_rig();
}

static void the_first_verdict_ends_the_chain(void)
{
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_DECIDE | HD_WANT_COMPLETE);
    alpha.statement = say_refuse;
    apply();
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    CU_ASSERT_STRING_EQUAL(session.verdict.sqlstate, "42501");
    CU_ASSERT_EQUAL(session.verdict.message.len, 9);
    worker(do_complete);
    CU_ASSERT_EQUAL(beta.statements, 0);
    CU_ASSERT_EQUAL(alpha.completes, 1);
    CU_ASSERT_EQUAL(beta.completes, 0); /* it was not asked */
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "alpha"));
    CU_ASSERT_EQUAL(rig.info.acted, 1);
    worker(do_close);
    close_rig();
}

static void counting_filters_see_what_others_refuse(void)
{
    open_rig(1, HD_WANT_DECIDE, HD_WANT_COMPLETE);
    alpha.statement = say_refuse;
    apply();
    worker(do_open);
    worker(do_one);
    CU_ASSERT_EQUAL(beta.completes, 1);
    worker(do_close);
    close_rig();
}

static void answers_must_have_been_asked_for(void)
{
    released = 0;
    open_rig(1, HD_WANT_DECIDE, HD_WANT_DECIDE | HD_WANT_REPLACE);
    alpha.statement = say_answer; /* without HD_WANT_REPLACE: a failure, bypassed */
    beta.statement = say_answer;
    apply();
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_ANSWER);
    CU_ASSERT_EQUAL(session.verdict.bytes.len, 5);
    CU_ASSERT_EQUAL(released, 1); /* alpha's */
    session.verdict.release(session.verdict.release_arg);
    worker(do_complete);
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "alpha"));
    CU_ASSERT_EQUAL(rig.info.failures, 1);
    CU_ASSERT_EQUAL(rig.info.acted, 0);
    worker(do_close);
    close_rig();
}

static int32_t say_nonsense(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    static int n;

    (void)p;
    (void)st;
    v->kind = n % 2 ? HD_VERDICT_REFUSE : 99;
    strcpy(v->sqlstate, "what?");
    n++;
    return HD_OK;
}

static void nonsense_is_a_failure(void)
{
    open_rig(1, HD_WANT_DECIDE, 0);
    alpha.statement = say_nonsense;
    apply();
    worker(do_open);
    worker(do_one);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    worker(do_one);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "alpha"));
    CU_ASSERT_EQUAL(rig.info.failures, 2);
    worker(do_close);
    close_rig();
}

static void observing_does_not_act(void)
{
    released = 0;
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE | HD_WANT_REPLACE, HD_WANT_DECIDE);
    configure(HD_MODE_OBSERVE, HD_MODE_ON);
    alpha.statement = say_answer;
    apply();
    worker(do_open);
    worker(do_one);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(released, 1);
    CU_ASSERT_EQUAL(beta.statements, 1);
    CU_ASSERT_EQUAL(alpha.completes, 1);
    alpha.statement = say_park; /* not carried out either; resuming it is too late */
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &go_on), HD_ENOENT);
    worker(do_complete);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "observing");
    CU_ASSERT_EQUAL(rig.info.acted, 0);
    CU_ASSERT_EQUAL(rig.info.observed, 2);
    alpha.statement = say_refuse;
    set_mode("alpha", HD_MODE_ON);
    CU_ASSERT(up_to_date());
    worker(do_one);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    worker(do_close);
    close_rig();
}

/* --- failures ------------------------------------------------------------------------------------------ */

static void failing_filters_are_passed_by_then_quarantined(void)
{
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_DECIDE);
    alpha.statement = say_error;
    apply();
    worker(do_open);
    for (int i = 0; i < 5; i++) { /* the rig's limit */
        worker(do_one);
        CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    }
    CU_ASSERT_EQUAL(alpha.statements, 5);
    CU_ASSERT_EQUAL(alpha.completes, 5); /* it was asked each time */
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "quarantined");
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.statements, 5);
    CU_ASSERT_EQUAL(alpha.completes, 5);
    CU_ASSERT_EQUAL(beta.statements, 6);
    alpha.statement = NULL;
    set_mode("alpha", HD_MODE_ON);
    CU_ASSERT(up_to_date());
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.statements, 6);
    worker(do_close);
    close_rig();
}

static void rejecting_filters_refuse_when_they_fail(void)
{
    open_rig(1, HD_WANT_DECIDE, HD_WANT_DECIDE);
    conf_alpha->on_failure = HD_ON_FAILURE_REJECT;
    alpha.statement = say_error;
    apply();
    worker(do_open);
    for (int i = 0; i < 7; i++) {
        worker(do_one);
        CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
        CU_ASSERT_STRING_EQUAL(session.verdict.sqlstate, "58000");
    }
    CU_ASSERT_EQUAL(alpha.statements, 5);
    CU_ASSERT_EQUAL(beta.statements, 0);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "quarantined");
    CU_ASSERT_STRING_EQUAL(rig.info.on_failure, "reject");
    worker(do_close);
    worker(do_open); /* also templates that it has never planned */
    worker(do_one);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    worker(do_close);
    close_rig();
}

static int32_t plan_fails(struct probe *p, const hd_template *t, struct hd_plan *out)
{
    (void)p;
    (void)t;
    (void)out;
    return HD_EFAIL;
}

static void a_failing_plan_is_asked_again(void)
{
    open_rig(1, HD_WANT_DECIDE, 0);
    alpha.plan = plan_fails;
    apply();
    worker(do_open);
    worker(do_one);
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.plans, 2);
    CU_ASSERT_EQUAL(alpha.statements, 0);
    alpha.plan = NULL;
    worker(do_one);
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.plans, 3);
    CU_ASSERT_EQUAL(alpha.statements, 2);
    worker(do_close);
    alpha.plan_destroys += 2; /* the two that failed made nothing */
    close_rig();
}

static int32_t dawdle(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    struct timespec ms = {0, 30 * 1000000};

    (void)p;
    (void)st;
    (void)v;
    nanosleep(&ms, NULL);
    return HD_OK;
}

static int32_t compute(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    clock_t until = clock() + CLOCKS_PER_SEC / 25;

    (void)p;
    (void)st;
    (void)v;
    while (clock() < until) /* of all threads, and the others sleep */
        ;
    return HD_OK;
}

static uint64_t failures_of_alpha(void)
{
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "alpha"));
    return rig.info.failures;
}

static void slow_callbacks_are_failures(void)
{
    open_rig(1, HD_WANT_DECIDE, 0);
    alpha.statement = dawdle;
    apply();
    worker(do_open);
    worker(do_one);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(failures_of_alpha(), 0); /* from now on it is watched */
    worker(do_one);
    CU_ASSERT_EQUAL(failures_of_alpha(), 1);
    alpha.statement = compute;
    worker(do_one);
    CU_ASSERT_EQUAL(failures_of_alpha(), 2);
    alpha.statement = dawdle;
    configure(HD_MODE_ON, HD_MODE_ON);
    conf_alpha->time_budget = 5000;
    apply();
    worker(do_one);
    CU_ASSERT_EQUAL(failures_of_alpha(), 2);
    worker(do_close);
    close_rig();
}

/* --- parks --------------------------------------------------------------------------------------------- */

static void park_and_continue(void)
{
    open_rig(2, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_DECIDE);
    alpha.statement = say_park;
    apply();
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_PARK);
    CU_ASSERT_EQUAL(parked_handle, session.exec.handle);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle + 1, &go_on), HD_ENOENT);
    CU_ASSERT_EQUAL(resume(&beta, parked_handle, &go_on), HD_ENOENT); /* not its own */
    CU_ASSERT_EQUAL(resume(&alpha, UINT64_MAX, &go_on), HD_ENOENT);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(beta.statements, 0);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &go_on), HD_OK);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &go_on), HD_ENOENT); /* twice */
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumed == &session.exec));
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(alpha.statements, 1);
    CU_ASSERT_EQUAL(beta.statements, 1);
    worker(do_complete);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &go_on), HD_ENOENT); /* late */
    worker(do_close);
    close_rig();
    CU_ASSERT_EQUAL(alpha.completes, 1);
}

static void park_and_refuse(void)
{
    char message[] = "after thinking", sqlstate[] = "57000";
    struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_REFUSE};

    open_rig(1, HD_WANT_DECIDE, HD_WANT_DECIDE);
    alpha.statement = say_park;
    apply();
    worker(do_open);
    worker(do_execute);
    strcpy(v.sqlstate, sqlstate);
    v.message = hd_str_of(message);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &v), HD_OK);
    memset(message, 'x', sizeof(message) - 1); /* it was copied */
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 1));
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    CU_ASSERT_STRING_EQUAL(session.verdict.sqlstate, "57000");
    CU_ASSERT_EQUAL(session.verdict.message.len, 14);
    CU_ASSERT_EQUAL(memcmp(session.verdict.message.ptr, "after thinking", 14), 0);
    worker(do_complete);
    CU_ASSERT_EQUAL(beta.statements, 0);
    worker(do_close);
    close_rig();
}

static void park_and_answer(void)
{
    struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_ANSWER, .release = on_release};

    released = 0;
    open_rig(1, HD_WANT_DECIDE | HD_WANT_REPLACE, HD_WANT_DECIDE);
    alpha.statement = say_park;
    beta.statement = say_park;
    apply();
    v.bytes = hd_str_of("bytes");
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &v), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 1));
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_ANSWER);
    CU_ASSERT_PTR_EQUAL(session.verdict.bytes.ptr, v.bytes.ptr); /* not copied: there is a release */
    CU_ASSERT_EQUAL(released, 0);
    session.verdict.release(session.verdict.release_arg);
    worker(do_complete);
    CU_ASSERT_EQUAL(released, 1);

    beta.statement = NULL; /* the session cannot carry it out, and asks on */
    worker(do_execute);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &v), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 2));
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_ANSWER);
    session.verdict.release(session.verdict.release_arg);
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(beta.statements, 1);
    worker(do_complete);
    beta.statement = say_park;
    CU_ASSERT_EQUAL(released, 2);

    worker(do_execute); /* resumed, but the client is gone before the worker hears of it */
    CU_ASSERT_EQUAL(kind, HD_VERDICT_PARK);
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &v), HD_OK);
    worker(do_complete);
    worker(do_complete);
    CU_ASSERT_EQUAL(released, 3);

    set_mode("alpha", HD_MODE_OFF); /* beta may park, but not answer */
    CU_ASSERT(up_to_date());
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_PARK);
    CU_ASSERT_EQUAL(resume(&beta, parked_handle, &v), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes >= 3));
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(released, 4);
    worker(do_complete);
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "beta"));
    CU_ASSERT_EQUAL(rig.info.failures, 1);
    worker(do_close);
    close_rig();
}

static void parks_have_deadlines(void)
{
    open_rig(1, HD_WANT_DECIDE, HD_WANT_DECIDE);
    alpha.statement = say_park;
    alpha.arg = (void *)(uintptr_t)30; /* ms */
    apply();
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_PARK);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 1));
    CU_ASSERT_EQUAL(resume(&alpha, parked_handle, &go_on), HD_ENOENT);
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    CU_ASSERT_STRING_EQUAL(session.verdict.sqlstate, "57014");
    worker(do_complete);
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "alpha"));
    CU_ASSERT_EQUAL(rig.info.failures, 0); /* its own deadline */
    rig.plugins->park_timeout = 20;        /* the host's */
    alpha.arg = NULL;
    worker(do_execute);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 2));
    worker(do_decide_again);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    worker(do_complete);
    CU_ASSERT_PTR_NOT_NULL(rig_info(&rig, "alpha"));
    CU_ASSERT_EQUAL(rig.info.failures, 1);
    worker(do_close);
    close_rig();
}

static void parks_are_bounded(void)
{
    struct hd_plugins_env env = {
        .drain_timeout = 2000, .plugin_failures = 5, .park_timeout = 5000, .max_parked = 1};
    struct rig_session other;

    memset(&alpha, 0, sizeof(alpha));
    memset(&beta, 0, sizeof(beta));
    alpha.want = HD_WANT_DECIDE;
    alpha.statement = say_park;
    rig_open(&rig, 1, &env);
    configure(HD_MODE_ON, HD_MODE_OFF);
    apply();
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_PARK);
    other = session;
    worker(do_open);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_REFUSE);
    CU_ASSERT_STRING_EQUAL(session.verdict.sqlstate, "53400");
    worker(do_complete);
    worker(do_close);
    session = other;
    session.exec.slots = session.exec.few;
    worker(do_complete);
    worker(do_execute);
    CU_ASSERT_EQUAL(kind, HD_VERDICT_PARK);
    worker(do_complete);
    worker(do_close);
    close_rig();
}

/* Resumes from a thread of its own, as fast as it can, before or after statement() has returned. */
struct racer {
    pthread_t thread;
    _Atomic uint64_t handle;
    _Atomic int stop, resumed, late;
};

static struct racer racer;

static void *race(void *arg)
{
    struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE, .release = on_release};

    (void)arg;
    while (!racer.stop) {
        uint64_t handle = atomic_exchange(&racer.handle, 0);

        if (!handle)
            continue;
        if (resume(&alpha, handle, &v) == HD_OK)
            racer.resumed++;
        else
            racer.late++;
    }
    return NULL;
}

static int32_t say_park_and_race(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    static unsigned n;

    (void)p;
    racer.handle = st->handle;
    for (volatile unsigned i = 0; i < n % 2000; i++)
        ;
    n += 7;
    v->kind = n % 10 ? HD_VERDICT_PARK : HD_VERDICT_CONTINUE; /* now and then it does not park after all */
    return HD_OK;
}

static struct rig_session racing;
static int rounds;               /* the worker's */
static uint64_t rounds_until_ns; /* a busy machine has had enough of them by then */
static _Atomic int rounds_done;

/* The chain's resume callback of this test, and the start of the next round. */
static void next_round(struct rig_worker *w)
{
    while (rounds > 0 && hd_now_ns() < rounds_until_ns) {
        rounds--;
        if (rig_execute(w, &racing) == HD_VERDICT_PARK)
            return;
        rig_complete(w, &racing);
    }
    rounds_done = 1;
}

static void on_raced(void *arg, struct hd_chain_exec *exec)
{
    struct rig_worker *w = arg;

    CU_ASSERT_PTR_EQUAL(exec, &racing.exec);
    CU_ASSERT_EQUAL(hd_chain_decide(w->chain, &racing.cs, exec, &racing.st, &racing.verdict),
                    HD_VERDICT_CONTINUE);
    rig_complete(w, &racing);
    next_round(w);
}

static void start_racing(struct rig_worker *w, void *arg)
{
    (void)arg;
    hd_chain_set_resume(w->chain, on_raced, w);
    rig_session_open(w, &racing, 42);
    next_round(w);
}

static void stop_racing(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_session_close(w, &racing);
}

static void resumes_race_with_parking(void)
{
    released = rounds_done = 0;
    memset(&racer, 0, sizeof(racer));
    open_rig(1, HD_WANT_DECIDE, 0);
    alpha.statement = say_park_and_race;
    apply();
    rounds = 20000;
    rounds_until_ns = hd_now_ns() + 10 * (uint64_t)1000000000;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&racer.thread, NULL, race, NULL), 0);
    rig_on(&rig, 0, start_racing, NULL);
    CU_ASSERT(RIG_WAIT(&rig, rounds_done));
    racer.stop = 1;
    pthread_join(racer.thread, NULL);
    rig_on(&rig, 0, stop_racing, NULL);
    close_rig();
    CU_ASSERT(racer.resumed > 0);             /* how often is the scheduler's to say */
    CU_ASSERT_EQUAL(released, racer.resumed); /* each that was taken is let go exactly once */
}

/* --- switching while executions are in flight ----------------------------------------------------------- */

static void what_began_is_completed(void)
{
    open_rig(2, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_COMPLETE);
    apply();
    worker(do_open);
    worker(do_execute);
    set_mode("alpha", HD_MODE_OFF);
    CU_ASSERT(up_to_date());
    for (int i = 0; i < 20; i++)
        rig_turn(&rig);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "stopping");
    CU_ASSERT_EQUAL(alpha.stops, 0);
    CU_ASSERT_EQUAL(alpha.closes, 0);
    worker(do_complete);
    CU_ASSERT_EQUAL(alpha.completes, 1);
    CU_ASSERT_EQUAL(alpha.closes, 1);
    CU_ASSERT_EQUAL(alpha.worker_stops, 2);
    CU_ASSERT(RIG_WAIT(&rig, alpha.destroys == 1));
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.statements, 1);
    CU_ASSERT_EQUAL(beta.completes, 2);
    worker(do_close);
    close_rig();
}

static void a_filter_on_its_way_out_can_come_back(void)
{
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE, 0);
    apply();
    worker(do_open);
    worker(do_execute);
    set_mode("alpha", HD_MODE_OFF);
    CU_ASSERT(up_to_date());
    set_mode("alpha", HD_MODE_ON);
    CU_ASSERT(up_to_date());
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    worker(do_complete);
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.starts, 1);
    CU_ASSERT_EQUAL(alpha.worker_starts, 1);
    CU_ASSERT_EQUAL(alpha.statements, 2);
    CU_ASSERT_EQUAL(alpha.completes, 2);
    worker(do_close);
    close_rig();
}

static void filters_that_come_later_open_old_sessions(void)
{
    open_rig(1, HD_WANT_DECIDE, HD_WANT_COMPLETE);
    worker(do_open);
    CU_ASSERT_PTR_NULL(session.cs.states);
    apply();
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.opens, 1);
    CU_ASSERT_EQUAL(beta.opens, 1);
    worker(do_one);
    CU_ASSERT_EQUAL(alpha.opens, 1);
    set_mode("alpha", HD_MODE_OFF);
    CU_ASSERT(RIG_WAIT(&rig, alpha.destroys == 1));
    CU_ASSERT_EQUAL(alpha.closes, 1);
    worker(do_close);
    close_rig();
}

/* A template that nobody executes any more must not keep a filter from stopping. */
static void idle_templates_let_go(void)
{
    open_rig(1, HD_WANT_DECIDE, 0);
    apply();
    worker(do_open);
    worker(do_one);
    set_mode("alpha", HD_MODE_OFF);
    CU_ASSERT(RIG_WAIT(&rig, alpha.destroys == 1));
    CU_ASSERT_EQUAL(alpha.plan_destroys, 1);
    worker(do_close); /* drops the hollow shell */
    close_rig();
}

static void drop_while_in_flight(struct rig_worker *w, void *arg)
{
    (void)w;
    (void)arg;
    hd_chain_plan_drop(session.slot);
    session.slot = NULL;
    session.generation = 0;
}

static void templates_may_go_while_executions_last(void)
{
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE, 0);
    apply();
    worker(do_open);
    worker(do_execute);
    worker(drop_while_in_flight);
    CU_ASSERT_EQUAL(alpha.plan_destroys, 0);
    worker(do_complete);
    CU_ASSERT_EQUAL(alpha.plan_destroys, 1);
    CU_ASSERT_EQUAL(alpha.completes, 1);
    worker(do_close);
    close_rig();
}

static _Atomic int loading;

struct load {
    struct rig_session sessions[16];
    unsigned n;
    struct hd_post post;
    struct rig_worker *w;
};

static struct load loads[RIG_WORKERS];

/* A few executions on this worker, some of them left open for a while, and then again. */
static void load_more(struct hd_post *post)
{
    struct load *l = HD_CONTAINER_OF(post, struct load, post);

    for (int i = 0; i < 32; i++) {
        struct rig_session *s = &l->sessions[l->n++ % 16];

        rig_complete(l->w, s);
        rig_execute(l->w, s);
        if (l->n % 5 == 0)
            rig_complete(l->w, s);
    }
    if (loading) {
        hd_loop_post(&l->w->loop, post);
        return;
    }
    for (int i = 0; i < 16; i++) {
        rig_complete(l->w, &l->sessions[i]);
        rig_session_close(l->w, &l->sessions[i]);
    }
    l->w = NULL;
}

static void start_load(struct rig_worker *w, void *arg)
{
    struct load *l = &loads[w->number];

    (void)arg;
    l->w = w;
    l->post.fn = load_more;
    for (int i = 0; i < 16; i++)
        rig_session_open(w, &l->sessions[i], (uint64_t)i);
    hd_loop_post(&w->loop, &l->post);
}

static int load_ended(struct rig_worker *w)
{
    return !loads[w->number].w;
}

struct ended {
    int value;
};

static void ask_ended(struct rig_worker *w, void *arg)
{
    ((struct ended *)arg)->value = load_ended(w);
}

static void switching_under_load(void)
{
    static const uint32_t modes[] = {HD_MODE_ON, HD_MODE_OFF, HD_MODE_OBSERVE, HD_MODE_OFF};

    open_rig(3, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_COMPLETE);
    apply();
    loading = 1;
    for (uint32_t i = 0; i < 3; i++)
        rig_on(&rig, i, start_load, NULL);
    for (int i = 0; i < 200; i++) {
        (void)hd_plugins_set_mode(rig.plugins, i % 3 ? "alpha" : "beta", modes[i % 4], NULL);
        rig_turn(&rig);
        if (i % 25 == 0)
            (void)rig_apply(&rig);
    }
    loading = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct ended e = {0};

        do
            rig_on(&rig, i, ask_ended, &e);
        while (!e.value);
    }
    close_rig();
    CU_ASSERT_EQUAL(alpha.statements, alpha.completes);
    CU_ASSERT(alpha.statements > 0);
}

/* --- without memory ------------------------------------------------------------------------------------ */

static void execute_with_failures(void *arg)
{
    struct rig_worker *w = arg;
    struct rig_session s;
    struct hd_chain_plan *plan;

    rig_session_open(w, &s, 42);
    plan = hd_chain_plan(w->chain, NULL, &s.slot, &s.generation);
    if (plan && plan->want && hd_chain_begin(w->chain, plan, &s.exec) == HD_OK) {
        hd_chain_decide(w->chain, &s.cs, &s.exec, &s.st, &s.verdict);
        rig_complete(w, &s);
    }
    rig_session_close(w, &s);
}

static void run_with_failures(struct rig_worker *w, void *arg)
{
    (void)arg;
    unit_each_alloc_failure(execute_with_failures, w);
}

static int32_t say_park_without_state(struct probe *p, const struct hd_statement *st, struct hd_verdict *v)
{
    return say_park(p, st, v);
}

static void executions_survive_without_memory(void)
{
    if (!unit_can_fail_alloc())
        return;
    open_rig(1, HD_WANT_DECIDE | HD_WANT_COMPLETE, HD_WANT_COMPLETE);
    alpha.statement = say_park_without_state;
    apply();
    rig_on(&rig, 0, run_with_failures, NULL);
    close_rig();
}

UNIT_MAIN("chain", {"nobody wants anything", nobody_wants_anything},
          {"priorities order filters", priorities_order_filters},
          {"filters have their own slots", filters_have_their_own_slots},
          {"the first verdict ends the chain", the_first_verdict_ends_the_chain},
          {"counting filters see what others refuse", counting_filters_see_what_others_refuse},
          {"answers must have been asked for", answers_must_have_been_asked_for},
          {"nonsense is a failure", nonsense_is_a_failure},
          {"observing does not act", observing_does_not_act},
          {"failing filters are passed by, then quarantined", failing_filters_are_passed_by_then_quarantined},
          {"rejecting filters refuse when they fail", rejecting_filters_refuse_when_they_fail},
          {"a failing plan is asked again", a_failing_plan_is_asked_again},
          {"slow callbacks are failures", slow_callbacks_are_failures},
          {"park and continue", park_and_continue}, {"park and refuse", park_and_refuse},
          {"park and answer", park_and_answer}, {"parks have deadlines", parks_have_deadlines},
          {"parks are bounded", parks_are_bounded}, {"resumes race with parking", resumes_race_with_parking},
          {"what began is completed", what_began_is_completed},
          {"a filter on its way out can come back", a_filter_on_its_way_out_can_come_back},
          {"filters that come later open old sessions", filters_that_come_later_open_old_sessions},
          {"idle templates let go", idle_templates_let_go},
          {"templates may go while executions last", templates_may_go_while_executions_last},
          {"switching under load", switching_under_load},
          {"executions survive without memory", executions_survive_without_memory})
