/*
 * The runner of unit tests; see unit.h. CUnit keeps the assertions and their failures; TAP is printed here,
 * so that `make check` counts each case.
 */
#include "unit.h"
#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A test that hangs is ended by the kernel, so that the others still run. */
#define SECONDS_AT_MOST 240
/* More failing runs than this mean that the failure never ends, not that the body allocates so often. */
#define RUNS_AT_MOST 100000

static int chosen(const char *name, int argc, char **argv)
{
    if (argc < 2)
        return 1;
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]))
            return 1;
    return 0;
}

static void print_failures(void)
{
    for (CU_pFailureRecord f = CU_get_failure_list(); f; f = f->pNext)
        printf("# %s:%u: %s\n", f->strFileName ? f->strFileName : "?", f->uiLineNumber,
               f->strCondition ? f->strCondition : "?");
}

/* Runs one case and prints its line; returns 1 when it failed. */
static int run_case(CU_pSuite suite, CU_pTest test, int number, const char *label, const char *name)
{
    int failed;

    CU_run_test(suite, test);
    failed = CU_get_number_of_failure_records() > 0;
    print_failures();
    printf("%s %d - %s: %s\n", failed ? "not ok" : "ok", number, label, name);
    CU_clear_previous_results();
    return failed;
}

int unit_run(const char *suite, const struct unit_case *cases, size_t n, int argc, char **argv)
{
    CU_pSuite s;
    int count = 0, number = 0, failures = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(SECONDS_AT_MOST);
    for (size_t i = 0; i < n; i++)
        count += chosen(cases[i].name, argc, argv);
    printf("1..%d\n", count);
    if (CU_initialize_registry() != CUE_SUCCESS || !(s = CU_add_suite(suite, NULL, NULL))) {
        printf("Bail out! CUnit: %s\n", CU_get_error_msg());
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        CU_pTest t;

        if (!chosen(cases[i].name, argc, argv))
            continue;
        t = CU_add_test(s, cases[i].name, cases[i].run);
        if (!t) {
            printf("Bail out! CUnit: %s: %s\n", cases[i].name, CU_get_error_msg());
            return 1;
        }
        failures += run_case(s, t, ++number, suite, cases[i].name);
    }
    CU_cleanup_registry();
    return failures ? 1 : 0;
}

int unit_each_alloc_failure(void (*body)(void *), void *arg)
{
    int runs = 0;

    while (runs < RUNS_AT_MOST) {
        int failed;

        hd_alloc_fail_at(runs + 1);
        body(arg);
        failed = hd_alloc_failed();
        hd_alloc_fail_at(0);
        if (!failed)
            break;
        runs++;
    }
    CU_ASSERT(runs < RUNS_AT_MOST);
    return runs;
}

int unit_can_fail_alloc(void)
{
    void *p;
    int failed;

    hd_alloc_fail_at(1);
    p = hd_malloc(1);
    failed = hd_alloc_failed();
    hd_alloc_fail_at(0);
    hd_free(p);
    return failed;
}
