/*
 * Notes of who is where, and what is written down in a crash; see blame.h.
 */
#include "base/blame.h"

#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

#define MAGIC       0x4864426cu
#define THREADS_MAX 512
#define PLUGINS_MAX 255
#define NOBODY      UINT32_MAX
#define FRAMES      64
#define STACK_BYTES (128u * 1024)

/* A line of the cache each, so that threads do not wait for each other. */
struct note {
    _Atomic uint32_t plugin;
    char apart[60];
};

struct hd_blame_page {
    uint32_t magic;
    _Atomic uint32_t threads, plugins; /* in use */
    _Atomic uint32_t blamed;           /* 0: no crash was caught; NOBODY: one was, in no plugin */
    char names[PLUGINS_MAX][HD_BLAME_NAME];
    struct note notes[THREADS_MAX];
};

/* Where a plugin's code lies. */
struct range {
    uintptr_t from, to;
    uint32_t plugin;
};

static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

static _Atomic uint32_t nowhere;
static _Thread_local _Atomic uint32_t own; /* of a thread that has no room on the page */
static struct hd_blame_page *page;
static struct range ranges[PLUGINS_MAX];
static _Atomic uint32_t range_count;
static struct sigaction before[HD_ARRAY_LEN(caught)];

_Thread_local _Atomic uint32_t *hd_blame_note = &nowhere;

/* --- in a crash: nothing here may allocate, lock or fail --- */

static uint32_t owner_of(uintptr_t address)
{
    uint32_t n = atomic_load(&range_count);

    for (uint32_t i = 0; i < n; i++)
        if (address >= ranges[i].from && address < ranges[i].to)
            return ranges[i].plugin;
    return 0;
}

/* The innermost plugin on this thread's stack; 0: none. */
static uint32_t owner_of_stack(void)
{
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    uint32_t plugin = 0;

    for (int i = 0; i < n && !plugin; i++)
        plugin = owner_of((uintptr_t)frames[i]);
    return plugin;
}

/* The first to crash is the one. What is sure is written before the stack is walked, which may be broken. */
static void write_down(void)
{
    uint32_t none = 0, noted = atomic_load(hd_blame_note), found;

    if (!atomic_compare_exchange_strong(&page->blamed, &none, noted ? noted : NOBODY))
        return;
    found = owner_of_stack();
    if (found)
        atomic_store(&page->blamed, found);
}

/* What was in place before takes over: the default, which ends the process, or a sanitizer's report. */
static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    for (size_t i = 0; i < HD_ARRAY_LEN(caught); i++)
        if (caught[i] == number)
            sigaction(number, &before[i], NULL);
    write_down();
    if (info->si_code <= 0)
        raise(number); /* it was sent; a fault comes again by itself */
}

/* A plugin that calls exit() ends the host as surely as one that crashes. */
static void on_exit_called(void)
{
    if (atomic_load(hd_blame_note))
        write_down();
}

/* --- the process that may crash
 * ------------------------------------------------------------------------------ */

static int catch_crashes(void)
{
    struct sigaction act = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    void *frame[1];

    (void)backtrace(frame, 1); /* loads what it needs now */
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < HD_ARRAY_LEN(caught); i++)
        if (sigaction(caught[i], &act, &before[i]))
            return errno;
    return atexit(on_exit_called) ? ENOMEM : 0;
}

int hd_blame_use(int fd)
{
    void *at = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (at == MAP_FAILED)
        return errno;
    page = at;
    if (page->magic != MAGIC) {
        munmap(at, sizeof(*page));
        page = NULL;
        return EINVAL;
    }
    return catch_crashes();
}

/* So that even a stack that has run over can be told of. */
static void use_other_stack(void)
{
    stack_t stack = {.ss_size = STACK_BYTES};

    stack.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp != MAP_FAILED && sigaltstack(&stack, NULL))
        munmap(stack.ss_sp, STACK_BYTES);
}

void hd_blame_thread(void)
{
    uint32_t n;

    hd_blame_note = &own;
    if (!page)
        return;
    n = atomic_fetch_add(&page->threads, 1);
    if (n < THREADS_MAX)
        hd_blame_note = &page->notes[n].plugin;
    use_other_stack();
}

uint32_t hd_blame_number(const char *plugin)
{
    uint32_t n = page ? atomic_load(&page->plugins) : 0;

    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(page->names[i], plugin))
            return i + 1;
    if (!page || n == PLUGINS_MAX || strlen(plugin) >= HD_BLAME_NAME)
        return 0;
    strcpy(page->names[n], plugin);
    atomic_store(&page->plugins, n + 1);
    return n + 1;
}

/* Is this the object that holds the address? Then its range. */
static int look_at(struct dl_phdr_info *object, size_t size, void *arg)
{
    struct range *r = arg;
    uintptr_t from = UINTPTR_MAX, to = 0;

    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &object->dlpi_phdr[i];
        uintptr_t at = object->dlpi_addr + h->p_vaddr;

        if (h->p_type != PT_LOAD)
            continue;
        from = at < from ? at : from;
        to = at + h->p_memsz > to ? at + h->p_memsz : to;
    }
    if (r->from < from || r->from >= to)
        return 0;
    r->from = from;
    r->to = to;
    return 1;
}

void hd_blame_library(const char *plugin, const void *address)
{
    uint32_t n = atomic_load(&range_count);
    struct range r = {.from = (uintptr_t)address, .plugin = hd_blame_number(plugin)};

    if (!r.plugin || n == PLUGINS_MAX || owner_of(r.from) || !dl_iterate_phdr(look_at, &r))
        return;
    ranges[n] = r;
    atomic_store(&range_count, n + 1);
}

/* --- the process that looks
 * ---------------------------------------------------------------------------------- */

int hd_blame_page_make(struct hd_blame_page **out, int *fd)
{
    struct hd_blame_page *p;

    *fd = memfd_create("howdah-blame", MFD_CLOEXEC);
    if (*fd < 0)
        return errno;
    p = ftruncate(*fd, sizeof(*p)) ? MAP_FAILED
                                   : mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (p == MAP_FAILED) {
        int e = errno;

        close(*fd);
        *fd = -1;
        return e;
    }
    p->magic = MAGIC;
    *out = p;
    return 0;
}

void hd_blame_page_free(struct hd_blame_page *p)
{
    if (p)
        munmap(p, sizeof(*p));
}

/* The one plugin that threads were in; 0: none, or several. */
static uint32_t only_note(const struct hd_blame_page *p)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < THREADS_MAX; i++) {
        uint32_t here = atomic_load(&p->notes[i].plugin);

        if (here && found && here != found)
            return 0;
        found = here ? here : found;
    }
    return found;
}

void hd_blame_page_read(const struct hd_blame_page *p, int silent, char *out)
{
    uint32_t plugin = atomic_load(&p->blamed);

    out[0] = 0;
    if (!plugin && silent)
        plugin = only_note(p);
    if (!plugin || plugin > PLUGINS_MAX)
        return;
    memcpy(out, p->names[plugin - 1], HD_BLAME_NAME);
    out[HD_BLAME_NAME - 1] = 0;
}
