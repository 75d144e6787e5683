/*
 * The end of transactions on the filter chain: who is told, in what order, how often; and ends that are held
 * back, let go, forgotten, and held for too long.
 */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "plug/instance.h"
#include "plug_harness.h"

static struct rig rig;
static struct probe alpha, beta;
static struct rig_session session;
static int code; /* of the last hd_chain_end */

static const struct hd_verdict go_on = {.size = sizeof(go_on), .kind = HD_VERDICT_CONTINUE};

static uint64_t handle;
static char order[16]; /* who was told; of one rig */

static void note(const struct probe *p)
{
    size_t n = strlen(order);

    if (n + 1 < sizeof(order))
        order[n] = p == &alpha ? 'a' : 'b';
}

static void open_rig(uint32_t want_alpha, uint32_t want_beta)
{
    memset(&alpha, 0, sizeof(alpha));
    memset(&beta, 0, sizeof(beta));
    alpha.want = want_alpha;
    beta.want = want_beta;
    memset(order, 0, sizeof(order));
    rig_open(&rig, 1, NULL);
    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &alpha);
    rig_plugin(&rig, "beta", HD_MODE_ON);
    rig_probe(&rig, &beta);
    CU_ASSERT_EQUAL_FATAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.plugins->seats[0].generation == rig.plugins->snapshot->generation));
}

static void close_rig(void)
{
    rig_close(&rig);
    CU_ASSERT_EQUAL(alpha.worker_starts, alpha.worker_stops);
    CU_ASSERT_EQUAL(alpha.starts, alpha.destroys);
    CU_ASSERT_EQUAL(alpha.opens, alpha.closes);
}

/* --- on worker 0 --------------------------------------------------------------------------------------- */

static void do_open(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_session_open(w, &session, 42);
}

/* A whole execution, as the session has it. */
static void do_run(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_execute(w, &session);
    hd_chain_touch(&session.cs, session.plan);
    rig_complete(w, &session);
}

static void end(struct rig_worker *w, int hold)
{
    const struct hd_transaction t = {.size = sizeof(t),
                                     .end = HD_END_COMMITTED,
                                     .session_id = 42,
                                     .database = {"shop", 4},
                                     .user = {"app", 3}};

    code = hd_chain_end(w->chain, &session.cs, &t, hold);
}

static void do_end(struct rig_worker *w, void *arg)
{
    (void)arg;
    end(w, 1);
}

static void do_end_at_once(struct rig_worker *w, void *arg)
{
    (void)arg;
    end(w, 0);
}

static void do_close(struct rig_worker *w, void *arg)
{
    (void)arg;
    rig_session_close(w, &session);
}

static void worker(void (*fn)(struct rig_worker *w, void *arg))
{
    rig_on(&rig, 0, fn, NULL);
}

/* --- hooks --------------------------------------------------------------------------------------------- */

static int32_t say_hold(struct probe *p, const struct hd_transaction *t)
{
    note(p);
    handle = t->handle;
    CU_ASSERT_EQUAL(t->end, HD_END_COMMITTED);
    return HD_PENDING;
}

static int32_t say_ok(struct probe *p, const struct hd_transaction *t)
{
    (void)t;
    note(p);
    return HD_OK;
}

static int32_t resume(struct probe *p, uint64_t of)
{
    const struct hd_statement_v1 *v1 = hd_host_api(p->host)->service(p->host, HD_SERVICE_STATEMENT);

    return v1->resume(p->host, of, &go_on);
}

/* It is resumed before transaction() has returned. */
static int32_t say_hold_and_resume(struct probe *p, const struct hd_transaction *t)
{
    handle = t->handle;
    CU_ASSERT_EQUAL(resume(p, t->handle), HD_OK);
    return HD_PENDING;
}

static int32_t say_resume_only(struct probe *p, const struct hd_transaction *t)
{
    CU_ASSERT_EQUAL(resume(p, t->handle), HD_OK);
    return HD_OK;
}

static int32_t say_fail(struct probe *p, const struct hd_transaction *t)
{
    (void)p;
    (void)t;
    return HD_EFAIL;
}

static uint64_t failures_of(const char *id)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig_info(&rig, id));
    return rig.info.failures;
}

/* --- cases --------------------------------------------------------------------------------------------- */

static void who_wants_it_is_told_once(void)
{
    open_rig(HD_WANT_TRANSACTION, HD_WANT_COMPLETE);
    worker(do_open);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(alpha.transactions, 0); /* nothing ran */
    worker(do_run);
    worker(do_run);
    worker(do_end);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(alpha.transactions, 1);
    CU_ASSERT_EQUAL(beta.transactions, 0);
    alpha.transaction = say_fail;
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(failures_of("alpha"), 1);
    worker(do_close);
    close_rig();
}

static void an_end_is_held_and_let_go(void)
{
    open_rig(HD_WANT_TRANSACTION, HD_WANT_TRANSACTION);
    alpha.transaction = say_hold;
    beta.transaction = say_ok;
    worker(do_open);
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_PENDING);
    CU_ASSERT_STRING_EQUAL(order, "a"); /* the other waits */
    CU_ASSERT_EQUAL(resume(&beta, handle), HD_ENOENT);
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_OK);
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_ENOENT);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 1));
    CU_ASSERT_PTR_EQUAL(hd_chain_ending_session(rig.workers[0].resumed), &session.cs);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_STRING_EQUAL(order, "ab");
    CU_ASSERT_EQUAL(failures_of("alpha"), 0);
    worker(do_close);
    close_rig();
}

static void resumes_race_with_holding(void)
{
    open_rig(HD_WANT_TRANSACTION, 0);
    alpha.transaction = say_hold_and_resume;
    worker(do_open);
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_PENDING);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 1));
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    alpha.transaction = say_resume_only;
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_ENOENT);
    worker(do_close);
    close_rig();
    CU_ASSERT_EQUAL(alpha.transactions, 2);
}

static void holds_have_a_deadline(void)
{
    open_rig(HD_WANT_TRANSACTION, 0);
    alpha.transaction = say_hold;
    rig.plugins->park_timeout = 20;
    worker(do_open);
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_PENDING);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumes == 1));
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_ENOENT);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(failures_of("alpha"), 1);
    worker(do_close);
    close_rig();
}

static void who_only_observes_or_comes_too_late_holds_nothing(void)
{
    open_rig(HD_WANT_TRANSACTION, 0);
    alpha.transaction = say_hold;
    worker(do_open);
    worker(do_run);
    worker(do_end_at_once);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_ENOENT);
    CU_ASSERT_EQUAL(hd_plugins_set_mode(rig.plugins, "alpha", HD_MODE_OBSERVE, NULL), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.plugins->seats[0].generation == rig.plugins->snapshot->generation));
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(alpha.transactions, 2);
    worker(do_close);
    close_rig();
}

static void sessions_and_filters_may_go_meanwhile(void)
{
    open_rig(HD_WANT_TRANSACTION, 0);
    alpha.transaction = say_hold;
    worker(do_open);
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_PENDING);
    worker(do_close);
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_ENOENT);
    worker(do_open);
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_PENDING);
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_OK); /* its post may find nobody */
    worker(do_close);
    worker(do_open);
    worker(do_run);
    worker(do_end);
    CU_ASSERT_EQUAL(hd_plugins_set_mode(rig.plugins, "alpha", HD_MODE_OFF, NULL), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.plugins->seats[0].generation == rig.plugins->snapshot->generation));
    CU_ASSERT_EQUAL(alpha.worker_stops, 0); /* it still has something to let go */
    CU_ASSERT_EQUAL(resume(&alpha, handle), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, rig.workers[0].resumed && rig.workers[0].resumes));
    worker(do_end);
    CU_ASSERT_EQUAL(code, HD_OK);
    worker(do_run); /* drops the plan */
    worker(do_close);
    CU_ASSERT(RIG_WAIT(&rig, alpha.worker_stops == 1));
    close_rig();
}

/* --- no memory ----------------------------------------------------------------------------------------- */

static void run_and_end(void *arg)
{
    struct rig_worker *w = arg;

    do_run(w, NULL);
    end(w, 1);
    if (code == HD_PENDING)
        end(w, 1); /* as if it had been resumed */
    CU_ASSERT_EQUAL(code, HD_OK);
    hd_chain_session_close(w->chain, &session.cs);
}

/* --- ends that may not be ones yet --------------------------------------------------------------------- */

static struct hd_chain_told *told;
static uint64_t open_handle[2], settled_about[2];

static int32_t say_open(struct probe *p, const struct hd_transaction *t)
{
    int i = p == &beta;

    note(p);
    if (t->end == HD_END_SETTLED) {
        CU_ASSERT_PTR_NULL(t->session_state);
        CU_ASSERT_EQUAL(t->flags, 0);
        settled_about[i] = t->about;
    } else {
        CU_ASSERT_EQUAL(t->flags, HD_TRANSACTION_OPEN);
        CU_ASSERT_EQUAL(t->about, 0);
        open_handle[i] = t->handle;
    }
    return HD_PENDING; /* nothing is held */
}

static void do_lose(struct rig_worker *w, void *arg)
{
    const struct hd_transaction t = {.size = sizeof(t),
                                     .end = HD_END_ABANDONED,
                                     .session_id = 42,
                                     .database = {"shop", 4},
                                     .user = {"app", 3},
                                     .flags = HD_TRANSACTION_OPEN};

    (void)arg;
    told = hd_chain_told_new(&session.cs);
    hd_chain_lost(w->chain, &session.cs, &t, told);
    CU_ASSERT_PTR_NULL(hd_chain_told_new(&session.cs)); /* nobody is left to tell */
}

static void do_settle(struct rig_worker *w, void *arg)
{
    const struct hd_transaction t = {
        .size = sizeof(t), .session_id = 42, .database = {"shop", 4}, .user = {"app", 3}};

    (void)arg;
    hd_chain_settled(w->chain, told, &t);
}

static void who_was_told_is_told_again(void)
{
    open_rig(HD_WANT_TRANSACTION, HD_WANT_TRANSACTION);
    alpha.transaction = beta.transaction = say_open;
    worker(do_open);
    worker(do_run);
    worker(do_lose);
    CU_ASSERT_PTR_NOT_NULL_FATAL(told);
    CU_ASSERT_EQUAL(told->count, 2);
    worker(do_close);
    worker(do_settle);
    CU_ASSERT_STRING_EQUAL(order, "abab");
    CU_ASSERT_EQUAL(settled_about[0], open_handle[0]);
    CU_ASSERT_EQUAL(settled_about[1], open_handle[1]);
    CU_ASSERT_NOT_EQUAL(open_handle[0], open_handle[1]);
    /* Who has gone is not told. */
    CU_ASSERT_EQUAL(hd_plugins_set_mode(rig.plugins, "beta", HD_MODE_OFF, NULL), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, beta.destroys == 1));
    worker(do_settle);
    CU_ASSERT_STRING_EQUAL(order, "ababa");
    hd_free(told);
    close_rig();
}

static void with_failures(struct rig_worker *w, void *arg)
{
    (void)arg;
    do_open(w, NULL);
    do_run(w, NULL); /* the plan is there */
    hd_chain_session_close(w->chain, &session.cs);
    CU_ASSERT(unit_each_alloc_failure(run_and_end, w) > 0);
    rig_session_close(w, &session);
}

static void ends_survive_without_memory(void)
{
    if (!unit_can_fail_alloc())
        return;
    open_rig(HD_WANT_TRANSACTION, 0);
    alpha.transaction = say_hold;
    rig_on(&rig, 0, with_failures, NULL);
    close_rig();
}

UNIT_MAIN("chain end", {"who wants it is told once", who_wants_it_is_told_once},
          {"an end is held and let go", an_end_is_held_and_let_go},
          {"resumes race with holding", resumes_race_with_holding},
          {"holds have a deadline", holds_have_a_deadline},
          {"who only observes or comes too late holds nothing",
           who_only_observes_or_comes_too_late_holds_nothing},
          {"sessions and filters may go meanwhile", sessions_and_filters_may_go_meanwhile},
          {"who was told is told again", who_was_told_is_told_again},
          {"ends survive without memory", ends_survive_without_memory})
