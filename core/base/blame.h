/*
 * Who is to blame for a crash. Each thread notes which plugin it is in, on a page that another process can
 * read when this one is gone. A crash is caught just long enough to write down who it was: the innermost
 * plugin whose code is on the crashing thread's stack, else the one that the thread has noted.
 *
 * Without a page (a host without supervisor, a test) notes go nowhere, and no signal is touched.
 */
#ifndef HD_BASE_BLAME_H
#define HD_BASE_BLAME_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HD_BLAME_NAME 64

/* The calling thread's note: a plugin's number, or 0. */
extern _Thread_local _Atomic uint32_t *hd_blame_note;

/* Around a call into a plugin: enter returns what leave wants back. [any] */
static inline uint32_t hd_blame_enter(uint32_t plugin)
{
    uint32_t was = atomic_load_explicit(hd_blame_note, memory_order_relaxed);

    atomic_store_explicit(hd_blame_note, plugin, memory_order_relaxed);
    return was;
}

static inline void hd_blame_leave(uint32_t was)
{
    atomic_store_explicit(hd_blame_note, was, memory_order_relaxed);
}

/* --- the process that may crash --- */

/* Uses the page behind the descriptor, which may be closed then, and catches crashes from here on. Before any
 * other thread runs; for the rest of the process's life. 0, or an errno. */
int hd_blame_use(int fd);
/* Gives the calling thread a note of its own. Each thread once, at its beginning. */
void hd_blame_thread(void);
/* The number of a plugin; 0 where there is no page, or no room on it. [control] */
uint32_t hd_blame_number(const char *plugin);
/* The code of the library that holds this address is the plugin's. [control] */
void hd_blame_library(const char *plugin, const void *address);

/* --- the process that looks --- */

struct hd_blame_page;

/* Makes a page: memory that is shared, with a descriptor to hand on. 0, or an errno. */
int hd_blame_page_make(struct hd_blame_page **page, int *fd);
void hd_blame_page_free(struct hd_blame_page *page); /* NULL is allowed */
/* The plugin to blame for the end of the process, if it was a crash: who was written down. `silent`: it ended
 * without a signal, where nothing is caught; then the plugin that one thread was in, if no other was in any.
 * Writes "" where nobody is to blame; `out` has HD_BLAME_NAME bytes. Believes nothing on the page. */
void hd_blame_page_read(const struct hd_blame_page *page, int silent, char *out);

#endif
