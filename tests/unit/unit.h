/*
 * Unit tests: CUnit's assertions, a main() made from a list of cases, and TAP as its output.
 *
 * A test program is one file: functions that take and return nothing, and UNIT_MAIN at its end. Run with an
 * argument it runs only the cases whose name contains it.
 */
#ifndef HD_TESTS_UNIT_H
#define HD_TESTS_UNIT_H

#include <stddef.h>
#include <CUnit/CUnit.h>

/* CUnit does not tell the compiler that a failed _FATAL assertion never returns, so what the assertion made
 * sure of would be warned about. */
#define CU_assertImplementation(value, line, condition, file, function, fatal)                               \
    ({                                                                                                       \
        CU_BOOL unit_ok = (value);                                                                           \
                                                                                                             \
        CU_assertImplementation(unit_ok, line, condition, file, function, fatal);                            \
        if ((fatal) && !unit_ok)                                                                             \
            __builtin_unreachable();                                                                         \
        unit_ok;                                                                                             \
    })

struct unit_case {
    const char *name;
    void (*run)(void);
};

/* Runs the cases that argv chooses; returns main's exit status. */
int unit_run(const char *suite, const struct unit_case *cases, size_t n, int argc, char **argv);

/* Runs `body` again and again, each time with a later allocation failing, until none does. The body must
 * clean up after itself whatever fails. Returns how many runs saw a failure; 0 in builds that cannot inject
 * one. */
int unit_each_alloc_failure(void (*body)(void *), void *arg);

/* Do builds of this kind make allocations fail on demand? */
int unit_can_fail_alloc(void);

/* UNIT_MAIN("suite", {"case name", function}, …) */
#define UNIT_MAIN(suite, ...)                                                                                \
    int main(int argc, char **argv)                                                                          \
    {                                                                                                        \
        static const struct unit_case cases[] = {__VA_ARGS__};                                               \
                                                                                                             \
        return unit_run((suite), cases, sizeof(cases) / sizeof(cases[0]), argc, argv);                       \
    }

#endif
