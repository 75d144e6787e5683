/*
 * Who is blamed for a crash: children that crash in every way, and what is then on the page.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/blame.h"
#include "base/check.h"
#include "unit.h"

static char blamed[HD_BLAME_NAME];

/* Runs `fn` in a child that uses a page, and returns whom the page blames for its end. */
static const char *blame_for(void (*fn)(void))
{
    struct hd_blame_page *page = NULL;
    int fd, status = 0;
    pid_t pid;

    CU_ASSERT_EQUAL_FATAL(hd_blame_page_make(&page, &fd), 0);
    fflush(NULL);
    pid = fork();
    if (!pid) {
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); /* a sanitizer has something to say */
        alarm(60);
        if (hd_blame_use(fd))
            _exit(100);
        hd_blame_thread();
        fn();
        _exit(99);
    }
    CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 100);
    hd_blame_page_read(page, WIFEXITED(status), blamed);
    hd_blame_page_free(page);
    close(fd);
    return blamed;
}

static void fault(void)
{
    volatile uintptr_t nowhere = 8;

    *(volatile int *)nowhere = 1;
}

static void in_alpha(void)
{
    hd_blame_enter(hd_blame_number("alpha"));
    fault();
}

static void abort_in_alpha(void)
{
    hd_blame_enter(hd_blame_number("alpha"));
    abort();
}

static void exit_in_alpha(void)
{
    hd_blame_enter(hd_blame_number("alpha"));
    exit(3);
}

static void leave_in_alpha(void)
{
    hd_blame_enter(hd_blame_number("alpha"));
    _exit(0);
}

static void in_beta_of_alpha(void)
{
    hd_blame_enter(hd_blame_number("alpha"));
    hd_blame_enter(hd_blame_number("beta"));
    fault();
}

static void back_in_alpha(void)
{
    uint32_t was;

    hd_blame_enter(hd_blame_number("alpha"));
    was = hd_blame_enter(hd_blame_number("beta"));
    hd_blame_leave(was);
    fault();
}

static void behind_alpha(void)
{
    hd_blame_leave(hd_blame_enter(hd_blame_number("alpha")));
    fault();
}

static void exit_behind_alpha(void)
{
    hd_blame_leave(hd_blame_enter(hd_blame_number("alpha")));
    exit(3);
}

static void kill_in_alpha(void)
{
    hd_blame_enter(hd_blame_number("alpha"));
    raise(SIGKILL);
}

static void who_is_noted_is_blamed(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(in_alpha), "alpha");
    CU_ASSERT_STRING_EQUAL(blame_for(abort_in_alpha), "alpha");
    CU_ASSERT_STRING_EQUAL(blame_for(in_beta_of_alpha), "beta");
    CU_ASSERT_STRING_EQUAL(blame_for(back_in_alpha), "alpha");
    CU_ASSERT_STRING_EQUAL(blame_for(behind_alpha), "");
}

static void ends_without_a_signal(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(exit_in_alpha), "alpha");
    CU_ASSERT_STRING_EQUAL(blame_for(leave_in_alpha), "alpha");
    CU_ASSERT_STRING_EQUAL(blame_for(exit_behind_alpha), "");
    CU_ASSERT_STRING_EQUAL(blame_for(kill_in_alpha), ""); /* nobody's fault that can be told */
}

/* --- several threads -------------------------------------------------------------------------------------
 */

static pthread_barrier_t all_in;

static void *stay_in(void *plugin)
{
    hd_blame_thread();
    hd_blame_enter(hd_blame_number(plugin));
    pthread_barrier_wait(&all_in);
    while (pause()) /* a signal ends it */
        ;
    return NULL;
}

static void two_in(const char *a, const char *b)
{
    const char *plugins[] = {a, b};
    pthread_t t;

    pthread_barrier_init(&all_in, NULL, 3);
    hd_blame_number(a);
    hd_blame_number(b);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&t, NULL, stay_in, (void *)(uintptr_t)plugins[i]))
            _exit(100);
    pthread_barrier_wait(&all_in);
}

static void both_in_alpha(void)
{
    two_in("alpha", "alpha");
    _exit(1);
}

static void one_each(void)
{
    two_in("alpha", "beta");
    _exit(1);
}

static void crash_beside_others(void)
{
    two_in("alpha", "alpha");
    hd_blame_enter(hd_blame_number("beta"));
    fault();
}

static void host_crashes_beside_others(void)
{
    two_in("alpha", "alpha");
    fault();
}

static void of_several_threads_the_one_that_crashed(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(both_in_alpha), "alpha");
    CU_ASSERT_STRING_EQUAL(blame_for(one_each), "");
    CU_ASSERT_STRING_EQUAL(blame_for(crash_beside_others), "beta");
    CU_ASSERT_STRING_EQUAL(blame_for(host_crashes_beside_others), "");
}

static void *note_and_leave(void *arg)
{
    (void)arg;
    hd_blame_thread();
    hd_blame_leave(hd_blame_enter(1));
    return NULL;
}

static void *crash_in_gamma(void *arg)
{
    hd_blame_thread();
    hd_blame_enter(hd_blame_number("gamma"));
    fault();
    return arg;
}

/* More threads than have room on the page. */
static void many_threads(void)
{
    pthread_t t;

    hd_blame_number("gamma");
    for (int i = 0; i < 700; i++)
        if (pthread_create(&t, NULL, note_and_leave, NULL) || pthread_join(t, NULL))
            _exit(100);
    pthread_create(&t, NULL, crash_in_gamma, NULL);
    pthread_join(t, NULL);
}

static void a_thread_without_room_is_blamed_too(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(many_threads), "gamma");
}

/* --- whose code is on the stack --------------------------------------------------------------------------
 */

static void crash_in_known_code(void)
{
    hd_blame_library("whole", (const void *)(uintptr_t)crash_in_known_code);
    hd_blame_enter(hd_blame_number("alpha"));
    fault();
}

static void abort_in_known_code(void)
{
    hd_blame_library("whole", (const void *)(uintptr_t)abort_in_known_code);
    abort();
}

/* The library is mapped, and nothing of it runs here. */
static void code_elsewhere(void)
{
    void *library = dlopen("libm.so.6", RTLD_NOW), *address = library ? dlsym(library, "cos") : NULL;

    if (!address)
        _exit(100);
    hd_blame_library("elsewhere", address);
    hd_blame_library("nowhere", NULL);
    hd_blame_enter(hd_blame_number("alpha"));
    fault();
}

static void code_on_the_stack_goes_before_notes(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(crash_in_known_code), "whole");
    CU_ASSERT_STRING_EQUAL(blame_for(abort_in_known_code), "whole");
}

static void code_that_is_not_on_the_stack(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(code_elsewhere), "alpha");
}

/* --- bounds ----------------------------------------------------------------------------------------------
 */

/* Ends with 0 where all is as it should be. */
static void numbers(void)
{
    char name[HD_BLAME_NAME + 1];
    int wrong =
        hd_blame_number("alpha") != 1 || hd_blame_number("beta") != 2 || hd_blame_number("alpha") != 1;

    memset(name, 'x', sizeof(name) - 1);
    name[HD_BLAME_NAME] = 0;
    wrong |= hd_blame_number(name) != 0;
    name[HD_BLAME_NAME - 1] = 0;
    wrong |= hd_blame_number(name) != 3;
    for (uint32_t i = 4; i <= 255; i++) {
        snprintf(name, sizeof(name), "plugin %u", i);
        wrong |= hd_blame_number(name) != i;
    }
    wrong |= hd_blame_number("one more") != 0 || hd_blame_number("beta") != 2;
    hd_blame_enter(wrong ? 1 : 255);
    _exit(1);
}

static void names_have_a_bound(void)
{
    CU_ASSERT_STRING_EQUAL(blame_for(numbers), "plugin 255");
}

static void without_a_page_nothing_happens(void)
{
    CU_ASSERT_EQUAL(hd_blame_number("alpha"), 0);
    hd_blame_library("alpha", (const void *)(uintptr_t)fault);
    hd_blame_leave(hd_blame_enter(7));
    CU_ASSERT_NOT_EQUAL(hd_blame_use(-1), 0);
    hd_blame_page_free(NULL);
}

static void nothing_on_the_page_is_believed(void)
{
    struct hd_blame_page *page;
    struct stat st;
    int fd;
    uint8_t *bytes;

    CU_ASSERT_EQUAL_FATAL(hd_blame_page_make(&page, &fd), 0);
    CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CU_ASSERT_FATAL(bytes != MAP_FAILED);
    for (int value = 0; value < 256; value++) {
        memset(bytes, value, (size_t)st.st_size);
        for (int silent = 0; silent < 2; silent++) {
            memset(blamed, 'x', sizeof(blamed));
            hd_blame_page_read(page, silent, blamed);
            CU_ASSERT(memchr(blamed, 0, sizeof(blamed)) != NULL);
        }
    }
    /* "the last plugin", and a name that does not end */
    memset(bytes, 'y', (size_t)st.st_size);
    memcpy(bytes + 12, &(uint32_t){255}, 4);
    hd_blame_page_read(page, 0, blamed);
    CU_ASSERT_EQUAL(strlen(blamed), HD_BLAME_NAME - 1);
    CU_ASSERT_EQUAL(hd_blame_use(fd), EINVAL); /* it does not look like one */
    munmap(bytes, (size_t)st.st_size);
    hd_blame_page_free(page);
    close(fd);
}

UNIT_MAIN("blame", {"without a page nothing happens", without_a_page_nothing_happens},
          {"who is noted is blamed", who_is_noted_is_blamed},
          {"ends without a signal", ends_without_a_signal},
          {"of several threads the one that crashed", of_several_threads_the_one_that_crashed},
          {"a thread without room on the page is blamed too", a_thread_without_room_is_blamed_too},
          {"code on the stack goes before notes", code_on_the_stack_goes_before_notes},
          {"code that is not on the stack", code_that_is_not_on_the_stack},
          {"names have a bound", names_have_a_bound},
          {"nothing on the page is believed", nothing_on_the_page_is_believed})
