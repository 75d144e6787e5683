/*
 * The plugin host as the control thread sees it: two-step changes, switching at run time, failures,
 * quarantine, and ends that take their time. Workers run all the while.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "plug/instance.h"
#include "plug/services.h"
#include "base/thread.h"
#include "plug_harness.h"

static struct rig rig;

static int says(const char *words)
{
    int found = strstr(hd_strbuf_str(&rig.problems), words) != NULL;

    if (!found)
        printf("# wanted \"%s\" in: %s\n", words, hd_strbuf_str(&rig.problems));
    return found;
}

static int told(const char *id, const char *state)
{
    for (uint32_t i = 0; i < rig.event_count; i++)
        if (!strcmp(rig.events[i].plugin, id) && !strcmp(rig.events[i].state, state))
            return 1;
    return 0;
}

/* --- applying ------------------------------------------------------------------------------------------ */

static void plugins_start_and_stop(void)
{
    struct probe a = {.want = 0}, s = {.want = 0};

    rig_open(&rig, 2, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_key(&rig, "number", "12");
    rig_plugin(&rig, "store", HD_MODE_ON);
    rig_probe(&rig, &s);
    rig_plugin(&rig, "beta", HD_MODE_OFF);
    rig_section(&rig, "alpha-rule", "one", "weight", "5");
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(rig.problems.len, 0);
    CU_ASSERT_EQUAL(a.starts, 1);
    CU_ASSERT_EQUAL(a.checks, 1);
    CU_ASSERT_EQUAL(a.number, 12);
    CU_ASSERT_EQUAL(a.sections, 1);
    CU_ASSERT_EQUAL(s.starts, 1);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    CU_ASSERT_STRING_EQUAL(rig.info.version, "1.0");
    CU_ASSERT_STRING_EQUAL(rig.info.mode, "on");
    CU_ASSERT_STRING_EQUAL(rig.info.capabilities, HD_CAP_FILTER);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "running");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "stopped");
    CU_ASSERT(RIG_WAIT(&rig, a.worker_starts == 2));
    CU_ASSERT(told("alpha", "running"));
    CU_ASSERT_STRING_EQUAL(hd_host_id(a.host), "alpha");
    rig_close(&rig);
    CU_ASSERT_EQUAL(a.worker_stops, 2);
    CU_ASSERT_EQUAL(a.stops, 1);
    CU_ASSERT_EQUAL(a.destroys, 1);
    CU_ASSERT_EQUAL(s.stops, 1);
    CU_ASSERT_EQUAL(s.destroys, 1);
    CU_ASSERT(told("alpha", "stopped"));
}

static void those_in_the_folder_are_listed(void)
{
    rig_open(&rig, 1, NULL);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "available");
    CU_ASSERT_STRING_EQUAL(rig.info.summary, "does what a test says");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "bad-magic"), "refused");
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.info.reason, "magic"));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "bad-create"), "available");
    CU_ASSERT_PTR_NULL(rig_info(&rig, "nothing"));
    rig_close(&rig);
}

static void wrong_configurations_are_refused(void)
{
    struct probe a = {.want = 0};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_key(&rig, "nubmer", "12");
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("test.ini:2: "));
    CU_ASSERT(says("number"));

    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_OFF); /* what is off is checked all the same */
    rig_key(&rig, "number", "5000");
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("number"));

    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_section(&rig, "alfa-rule", "one", NULL, NULL);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("test.ini:20: [section]: no plugin has sections of the kind \"alfa-rule\""));
    CU_ASSERT(says("did you mean \"alpha-rule\"?"));

    rig_clear(&rig);
    rig_section(&rig, "beta-rule", "one", "weight", "heavy"); /* beta has no section: still its kind */
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("test.ini:21: "));

    rig_clear(&rig);
    rig_plugin(&rig, "store", HD_MODE_OBSERVE);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("plugin store is no filter and has nothing to observe"));

    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("[plugin alpha] stands there twice"));

    rig_clear(&rig);
    a.check_code = HD_EINVAL;
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("test.ini:1: plugin alpha refuses its configuration (invalid): the test says so"));
    CU_ASSERT_EQUAL(a.starts, 0);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "available");
    rig_close(&rig);
}

static void the_host_runs_without_what_it_cannot_have(void)
{
    struct probe a = {.want = 0}, b = {.start_code = HD_EIO};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_plugin(&rig, "bad-major", HD_MODE_ON);
    rig_plugin(&rig, "bad-create", HD_MODE_ON);
    rig_plugin(&rig, "missing", HD_MODE_ON);
    rig_plugin(&rig, "beta", HD_MODE_ON);
    rig_probe(&rig, &b);
    rig_section(&rig, "missing-rule", "one", NULL, NULL);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(says("warning: test.ini:1: plugin bad-major is left out: "));
    CU_ASSERT(says("expected ABI 0.x, found 1.1"));
    CU_ASSERT(says("plugin bad-create is left out: create failed (failed): no luck"));
    CU_ASSERT(says("plugin missing is left out: "));
    CU_ASSERT(says("warning: test.ini:20: [section] is not checked"));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "bad-major"), "refused");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "bad-create"), "refused");
    CU_ASSERT_STRING_EQUAL(rig.info.reason, "create failed (failed): no luck");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "missing"), "refused");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "refused");
    CU_ASSERT_STRING_EQUAL(rig.info.reason, "start failed (i/o error): it gave no reason");
    CU_ASSERT_EQUAL(b.destroys, 1);
    CU_ASSERT_EQUAL(b.stops, 0);
    CU_ASSERT(told("beta", "refused"));
    rig_close(&rig);
}

static void what_is_required_must_come_up(void)
{
    struct probe a = {.want = 0}, b = {.start_code = HD_EIO};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "bad-magic", HD_MODE_ON)->required = 1;
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("test.ini:1: plugin bad-magic is required: "));

    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_plugin(&rig, "beta", HD_MODE_ON)->required = 1;
    rig_probe(&rig, &b);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EIO);
    CU_ASSERT(says("commit: plugin beta is required: start failed"));
    CU_ASSERT_EQUAL(a.starts, 1);
    CU_ASSERT(RIG_WAIT(&rig, a.destroys == 1)); /* what had started has stopped again */
    CU_ASSERT_EQUAL(a.stops, 1);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "available");

    b.start_code = HD_OK;
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "running");
    rig_close(&rig);
}

/* --- reloading ----------------------------------------------------------------------------------------- */

static void reloads_are_all_or_nothing(void)
{
    struct probe a = {.want = 0}, b = {.want = 0};

    rig_open(&rig, 2, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);

    rig_clear(&rig); /* a good change of alpha, a bad one of beta */
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_key(&rig, "number", "20");
    rig_plugin(&rig, "beta", HD_MODE_ON);
    rig_probe(&rig, &b);
    b.check_code = HD_EINVAL;
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT_EQUAL(a.reloads, 0);
    CU_ASSERT_EQUAL(a.number, 7);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");

    b.check_code = HD_OK;
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(a.reloads, 1);
    CU_ASSERT_EQUAL(a.starts, 1);
    CU_ASSERT_EQUAL(a.number, 20);
    CU_ASSERT_EQUAL(b.starts, 1);

    rig_key(&rig, "fixed", "3"); /* beta's */
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("fixed"));
    CU_ASSERT(says("test.ini:2"));
    CU_ASSERT_EQUAL(a.reloads, 1);
    rig_close(&rig);
}

static void a_reload_switches_plugins(void)
{
    struct probe a = {.want = 0}, b = {.want = 0};

    rig_open(&rig, 2, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_plugin(&rig, "beta", HD_MODE_ON);
    rig_probe(&rig, &b);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_OFF);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK); /* beta has no section any more */
    CU_ASSERT(RIG_WAIT(&rig, a.destroys == 1 && b.destroys == 1));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "stopped");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "available");
    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_OBSERVE);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(a.starts, 2);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "observing");
    rig_close(&rig);
}

static void a_reload_while_it_stops_starts_it_again(void)
{
    struct probe a = {.stop_code = HD_PENDING};
    hd_host *old;

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    old = a.host;
    rig_clear(&rig);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, a.stops == 1));
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "stopping");
    CU_ASSERT_EQUAL(a.starts, 1);
    hd_host_api(old)->stopped(old);
    CU_ASSERT(RIG_WAIT(&rig, a.starts == 2));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    a.stop_code = HD_OK;
    rig_close(&rig);
    CU_ASSERT_EQUAL(a.destroys, 2);
}

static void aborting_changes_nothing(void)
{
    struct probe a = {.want = 0};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_prepare(&rig), HD_OK);
    CU_ASSERT_EQUAL(rig_prepare(&rig), HD_OK); /* drops the first */
    hd_plugins_abort(rig.plugins);
    CU_ASSERT_EQUAL(a.starts, 0);
    CU_ASSERT_EQUAL(hd_plugins_commit(rig.plugins, NULL), HD_EBUSY);
    rig_close(&rig);
}

static void checking_needs_no_loop(void)
{
    struct hd_plugins_env env = {.workers = 1, .plugin_dir = rig_plugin_dir()};
    struct hd_error err = HD_ERROR_INIT;

    memset(&rig, 0, sizeof(rig));
    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_plugins_new(&env, &rig.plugins, &err), HD_OK);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_plugin(&rig, "bad-create", HD_MODE_ON);
    CU_ASSERT_EQUAL(rig_prepare(&rig), HD_OK);
    CU_ASSERT(says("bad-create is left out"));
    hd_plugins_abort(rig.plugins);
    hd_plugins_free(rig.plugins);
    hd_strbuf_free(&rig.problems);
}

/* --- at run time --------------------------------------------------------------------------------------- */

static int set_mode(const char *id, uint32_t mode)
{
    struct hd_error err = HD_ERROR_INIT;
    int code = hd_plugins_set_mode(rig.plugins, id, mode, &err);

    hd_strbuf_reset(&rig.problems);
    hd_strbuf_puts(&rig.problems, err.text);
    return code;
}

static void modes_change_at_run_time(void)
{
    struct probe a = {.want = 0};

    rig_open(&rig, 2, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_OFF);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_OBSERVE), HD_OK);
    CU_ASSERT_EQUAL(a.starts, 1);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "observing");
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_ON), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    CU_ASSERT_EQUAL(a.starts, 1);
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_OFF), HD_OK);
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_OFF), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, a.destroys == 1));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "stopped");
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_ON), HD_OK);
    CU_ASSERT_EQUAL(a.starts, 2);
    CU_ASSERT_EQUAL(set_mode("beta", HD_MODE_ON), HD_OK); /* has no section: defaults */
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "running");
    CU_ASSERT_EQUAL(set_mode("betta", HD_MODE_ON), HD_ENOENT);
    CU_ASSERT(says("there is no plugin betta in "));
    CU_ASSERT(says("did you mean beta?"));
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OBSERVE), HD_EINVAL);
    CU_ASSERT_EQUAL(set_mode("bad-create", HD_MODE_ON), HD_EFAIL);
    CU_ASSERT(says("no luck"));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "bad-create"), "refused");
    rig_close(&rig);
    CU_ASSERT(told("alpha", "observing"));
    CU_ASSERT(told("alpha", "stopping"));
}

static void failures_quarantine(void)
{
    struct probe s = {.want = 0};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "store", HD_MODE_ON)->failures = 3;
    rig_probe(&rig, &s);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    hd_host_api(s.host)->failed(s.host, "once");
    hd_host_api(s.host)->failed(s.host, "twice");
    rig_turn(&rig);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "running");
    CU_ASSERT_EQUAL(rig.info.failures, 2);
    hd_host_api(s.host)->failed(s.host, "thrice");
    CU_ASSERT(RIG_WAIT(&rig, told("store", "quarantined")));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "quarantined");
    CU_ASSERT_STRING_EQUAL(rig.info.reason, "failed 3 times within a minute, last: thrice");
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_ON), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "running");
    CU_ASSERT_STRING_EQUAL(rig.info.reason, "");
    hd_host_api(s.host)->failed(s.host, "again");
    rig_turn(&rig);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "running");
    rig_close(&rig);
}

/* --- ends ---------------------------------------------------------------------------------------------- */

static void a_stop_may_end_later(void)
{
    struct probe s = {.stop_code = HD_PENDING};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "store", HD_MODE_ON);
    rig_probe(&rig, &s);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OFF), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, s.stops == 1));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "stopping");
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_ON), HD_EBUSY);
    CU_ASSERT(says("still stopping"));
    CU_ASSERT_EQUAL(s.destroys, 0);
    hd_host_api(s.host)->stopped(s.host);
    CU_ASSERT(RIG_WAIT(&rig, s.destroys == 1));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "stopped");
    rig_close(&rig);
}

static void what_never_stops_is_left_behind(void)
{
    struct hd_plugins_env env = {.drain_timeout = 50, .plugin_failures = 5, .park_timeout = 5000};
    struct probe s = {.stop_code = HD_PENDING}, t = {.want = 0};

    rig_open(&rig, 1, &env);
    rig_plugin(&rig, "store", HD_MODE_ON);
    rig_probe(&rig, &s);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OFF), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, told("store", "stopped")));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "store"), "stopped");
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.info.reason, "did not end within the drain timeout"));
    CU_ASSERT_EQUAL(s.destroys, 0);
    rig_clear(&rig); /* a new instance may start all the same */
    rig_plugin(&rig, "store", HD_MODE_ON);
    rig_probe(&rig, &t);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(t.starts, 1);
    hd_host_api(s.host)->stopped(s.host); /* too late, and harmless */
    rig_close(&rig);
    CU_ASSERT_EQUAL(s.destroys, 0);
    CU_ASSERT_EQUAL(t.destroys, 1);
}

static _Atomic int cleaned;

static void on_clean(struct hd_on_stop *n)
{
    (void)n;
    cleaned++;
}

static void what_it_leaves_is_cleaned_up(void)
{
    struct probe s = {.want = 0};
    struct hd_on_stop one, two;
    hd_host *host;

    cleaned = 0;
    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "store", HD_MODE_ON);
    rig_probe(&rig, &s);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    host = s.host;
    hd_host_on_stop(host, &one, on_clean);
    hd_host_on_stop(host, &two, on_clean);
    CU_ASSERT_EQUAL(hd_host_off_stop(host, &one), HD_OK);
    CU_ASSERT_EQUAL(hd_host_off_stop(host, &one), HD_ENOENT);
    hd_host_hold(host);
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OFF), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, cleaned == 1));
    rig_turn(&rig);
    CU_ASSERT_EQUAL(s.stops, 1);
    CU_ASSERT_EQUAL(s.destroys, 0); /* held */
    hd_host_release(host);
    CU_ASSERT(RIG_WAIT(&rig, s.destroys == 1));
    rig_close(&rig);
}

/* --- capabilities -------------------------------------------------------------------------------------- */

static const void *store_vtable;

static int32_t ask_for_store(struct probe *p, struct hd_error *err)
{
    void *self;

    return hd_host_api(p->host)->capability(p->host, "test.store/1", NULL, &store_vtable, &self, err);
}

static void providers_outlive_those_who_use_them(void)
{
    struct probe a = {.on_start = ask_for_store, .stop_code = HD_PENDING}, s = {.want = 0};

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK); /* nobody provides it yet */
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "refused");
    CU_ASSERT_PTR_NOT_NULL(
        strstr(rig.info.reason, "plugin store, which provides test.store/1, is not enabled"));

    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_plugin(&rig, "store", HD_MODE_ON); /* behind alpha in the file, and by its name */
    rig_probe(&rig, &s);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    CU_ASSERT_PTR_NOT_NULL(store_vtable);
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OFF), HD_EBUSY);
    CU_ASSERT(says("plugin store is used by alpha; disable that first"));

    rig_clear(&rig);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EINVAL);
    CU_ASSERT(says("plugin alpha uses plugin store, which this configuration switches off"));

    rig_clear(&rig); /* both go: the store waits */
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, a.stops == 1));
    rig_turn(&rig);
    CU_ASSERT_EQUAL(s.stops, 0);
    hd_host_api(a.host)->stopped(a.host);
    CU_ASSERT(RIG_WAIT(&rig, s.destroys == 1));
    CU_ASSERT_EQUAL(a.destroys, 2);
    rig_close(&rig);
}

static void what_is_given_back_is_free_to_stop(void)
{
    struct probe a = {.on_start = ask_for_store}, s = {.want = 0};
    struct hd_error err = HD_ERROR_INIT;
    const void *vtable = NULL;
    void *self = NULL;

    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_plugin(&rig, "store", HD_MODE_ON);
    rig_probe(&rig, &s);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_EQUAL(hd_host_api(a.host)->capability(a.host, "test.store/1", "store", &vtable, &self, &err),
                    HD_OK);
    CU_ASSERT_PTR_EQUAL(vtable, store_vtable);
    hd_host_api(a.host)->release(a.host, vtable, &a); /* another's: nothing is given back */
    hd_host_api(a.host)->release(a.host, &a, self);
    hd_host_api(a.host)->release(a.host, vtable, self);
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OFF), HD_EBUSY); /* it was asked for twice */
    hd_host_api(a.host)->release(a.host, vtable, self);
    hd_host_api(a.host)->release(a.host, vtable, self); /* there is nothing left */
    CU_ASSERT_EQUAL(set_mode("store", HD_MODE_OFF), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, s.destroys == 1));
    CU_ASSERT_EQUAL(a.stops, 0);
    CU_ASSERT_EQUAL(hd_host_api(a.host)->capability(a.host, "test.store/1", NULL, &vtable, &self, &err),
                    HD_ENOENT);
    rig_close(&rig);
}

/* Asks the plugin that `arg` names for its filter. */
static int32_t ask_for_filter(struct probe *p, struct hd_error *err)
{
    const void *vtable = NULL;
    void *self = NULL;
    int32_t code = hd_host_api(p->host)->capability(p->host, HD_CAP_FILTER, p->arg, &vtable, &self, err);

    CU_ASSERT_EQUAL(code == HD_OK, vtable != NULL && self != NULL);
    return code;
}

static int reason_of(const char *id, const char *words)
{
    int found = !strcmp(rig_state(&rig, id), "refused") && strstr(rig.info.reason, words);

    if (!found)
        printf("# plugin %s is %s: %s\n", id, rig.info.state, rig.info.reason);
    return found;
}

/* A configuration with both filters, in either order. */
static void write_both(struct probe *a, struct probe *b, int turned)
{
    rig_clear(&rig);
    for (int i = 0; i < 2; i++) {
        rig_plugin(&rig, i == turned ? "alpha" : "beta", HD_MODE_ON);
        rig_probe(&rig, i == turned ? a : b);
    }
}

static void what_is_asked_for_starts_first(void)
{
    for (int turned = 0; turned < 2; turned++) {
        struct probe a = {.on_start = ask_for_filter, .arg = "beta"}, b = {.want = 0};

        rig_open(&rig, 1, NULL);
        write_both(&a, &b, turned);
        CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK); /* by its name alpha would start first */
        CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
        CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "running");
        CU_ASSERT_EQUAL(a.starts, 1);
        CU_ASSERT_EQUAL(b.starts, 1);
        CU_ASSERT_EQUAL(set_mode("beta", HD_MODE_OFF), HD_EBUSY);
        CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_OFF), HD_OK);
        CU_ASSERT(RIG_WAIT(&rig, a.destroys == 1));
        CU_ASSERT_EQUAL(set_mode("beta", HD_MODE_OFF), HD_OK);
        CU_ASSERT(RIG_WAIT(&rig, b.destroys == 1));
        CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_ON), HD_ENOENT);
        CU_ASSERT(says("plugin beta, which provides howdah.filter/1, is not enabled"));
        rig_close(&rig);
    }
}

static void those_that_ask_for_each_other_do_not_start(void)
{
    struct probe a = {.on_start = ask_for_filter, .arg = "beta"};
    struct probe b = {.on_start = ask_for_filter, .arg = "alpha"};

    rig_open(&rig, 1, NULL);
    write_both(&a, &b, 0);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(
        reason_of("beta", "start failed (invalid): plugins ask for each other: alpha -> beta -> alpha"));
    CU_ASSERT(reason_of("alpha", "plugin beta, which provides howdah.filter/1, cannot be used: start failed "
                                 "(invalid): plugins ask for each other: alpha -> beta -> alpha"));
    CU_ASSERT_EQUAL(a.starts, 1);
    CU_ASSERT_EQUAL(b.starts, 1);
    rig_close(&rig);
}

static void askers_say_why_they_cannot(void)
{
    struct probe a = {.on_start = ask_for_filter, .arg = "beta"}, b = {.start_code = HD_EIO};

    rig_open(&rig, 1, NULL);
    write_both(&a, &b, 0);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(reason_of("alpha", "plugin beta, which provides howdah.filter/1, cannot be used: start failed "
                                 "(i/o error): it gave no reason"));
    CU_ASSERT_EQUAL(b.starts, 1);
    CU_ASSERT_EQUAL(b.destroys, 1);

    write_both(&a, &b, 0);
    rig.confs[0].required = 1; /* alpha */
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_ENOENT);
    CU_ASSERT(says("plugin alpha is required: start failed (not found): plugin beta, which provides"));

    write_both(&a, &b, 0);
    rig.confs[1].required = 1; /* beta, which is only started because alpha asks */
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EFAIL);
    CU_ASSERT(says("plugin beta is required: start failed (i/o error)"));

    b.start_code = HD_OK;
    a.start_code = HD_EIO;
    a.on_start = NULL;
    write_both(&a, &b, 0);
    rig.confs[0].required = 1;
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_EIO);
    a.on_start = ask_for_filter;
    a.arg = "bad-create";
    write_both(&a, &b, 0);
    rig_plugin(&rig, "bad-create", HD_MODE_ON);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(reason_of("alpha", "plugin bad-create"));
    CU_ASSERT(reason_of("alpha", "no luck"));
    a.arg = "nobody";
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_ON), HD_ENOENT);
    CU_ASSERT(says("there is no plugin nobody to provide howdah.filter/1"));
    a.arg = "store";
    CU_ASSERT_EQUAL(set_mode("alpha", HD_MODE_ON), HD_ENOENT);
    CU_ASSERT(says("plugin store does not provide howdah.filter/1"));
    rig_close(&rig);
}

static void what_is_asked_for_may_have_to_stop_first(void)
{
    struct probe a = {.on_start = ask_for_filter, .arg = "beta"}, b = {.stop_code = HD_PENDING};
    hd_host *old;

    rig_open(&rig, 1, NULL);
    write_both(&a, &b, 0);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    old = b.host;
    rig_clear(&rig);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT(RIG_WAIT(&rig, b.stops == 1 && a.destroys == 1));
    write_both(&a, &b, 1);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "stopped");
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.info.reason, "waits for plugin beta"));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "stopping");
    hd_host_api(old)->stopped(old);
    CU_ASSERT(RIG_WAIT(&rig, b.starts == 2));
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "beta"), "running");
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    CU_ASSERT_STRING_EQUAL(rig.info.reason, "");
    b.stop_code = HD_OK;
    rig_close(&rig);
    CU_ASSERT_EQUAL(a.destroys, 3);
    CU_ASSERT_EQUAL(b.destroys, 2);
}

static void services_are_found(void)
{
    static const struct hd_statement_v1 fake = {.size = sizeof(fake)};
    hd_host *host = hd_host_new_plain("tests");
    struct hd_on_stop n;

    CU_ASSERT_PTR_NOT_NULL_FATAL(host);
    CU_ASSERT_EQUAL(hd_service_add("test.fake/1", &fake), HD_OK);
    CU_ASSERT_EQUAL(hd_service_add("test.fake/1", &fake), HD_EEXIST);
    CU_ASSERT_PTR_EQUAL(hd_host_api(host)->service(host, "test.fake/1"), &fake);
    CU_ASSERT_PTR_NULL(hd_host_api(host)->service(host, "test.fake/2"));
    CU_ASSERT_PTR_NULL(hd_host_api(host)->service(host, NULL));
    CU_ASSERT_STRING_EQUAL(hd_host_id(host), "tests");
    hd_host_api(host)->failed(host, "nobody counts");
    hd_host_api(host)->log(host, HD_LEVEL_INFO, "a line", (const char *const[]){"key", "value", NULL});
    cleaned = 0;
    hd_host_on_stop(host, &n, on_clean);
    hd_host_free_plain(host);
    CU_ASSERT_EQUAL(cleaned, 1);
}

/* --- without memory ------------------------------------------------------------------------------------ */

static void change(void *arg)
{
    (void)arg;
    (void)rig_apply(&rig);
    (void)hd_plugins_set_mode(rig.plugins, "beta", HD_MODE_ON, NULL);
    (void)hd_plugins_set_mode(rig.plugins, "beta", HD_MODE_OFF, NULL);
    RIG_WAIT(&rig, strcmp(rig_state(&rig, "beta"), "stopping") != 0);
}

static void changes_survive_without_memory(void)
{
    struct probe a = {.want = 0};

    if (!unit_can_fail_alloc())
        return;
    rig_open(&rig, 1, NULL);
    rig_plugin(&rig, "alpha", HD_MODE_ON);
    rig_probe(&rig, &a);
    rig_section(&rig, "alpha-rule", "one", "weight", "5");
    unit_each_alloc_failure(change, NULL);
    CU_ASSERT_EQUAL(rig_apply(&rig), HD_OK);
    CU_ASSERT_STRING_EQUAL(rig_state(&rig, "alpha"), "running");
    rig_close(&rig);
    CU_ASSERT_EQUAL(a.worker_starts, a.worker_stops);
}

UNIT_MAIN("plugins", {"plugins start and stop", plugins_start_and_stop},
          {"those in the folder are listed", those_in_the_folder_are_listed},
          {"wrong configurations are refused", wrong_configurations_are_refused},
          {"the host runs without what it cannot have", the_host_runs_without_what_it_cannot_have},
          {"what is required must come up", what_is_required_must_come_up},
          {"reloads are all or nothing", reloads_are_all_or_nothing},
          {"a reload switches plugins", a_reload_switches_plugins},
          {"a reload while it stops starts it again", a_reload_while_it_stops_starts_it_again},
          {"aborting changes nothing", aborting_changes_nothing},
          {"checking needs no loop", checking_needs_no_loop},
          {"modes change at run time", modes_change_at_run_time},
          {"failures quarantine", failures_quarantine}, {"a stop may end later", a_stop_may_end_later},
          {"what never stops is left behind", what_never_stops_is_left_behind},
          {"what it leaves is cleaned up", what_it_leaves_is_cleaned_up},
          {"providers outlive those who use them", providers_outlive_those_who_use_them},
          {"what is asked for starts first", what_is_asked_for_starts_first},
          {"those that ask for each other do not start", those_that_ask_for_each_other_do_not_start},
          {"what is given back is free to stop", what_is_given_back_is_free_to_stop},
          {"askers say why they cannot", askers_say_why_they_cannot},
          {"what is asked for may have to stop first", what_is_asked_for_may_have_to_stop_first},
          {"services are found", services_are_found},
          {"changes survive without memory", changes_survive_without_memory})
