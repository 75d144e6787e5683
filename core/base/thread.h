/*
 * Which thread is this? Public callbacks carry a tag ([control], [worker], [job], [any]); the host names each
 * of its threads here once, and debug builds assert the tags where a call crosses into or out of a plugin.
 */
#ifndef HD_BASE_THREAD_H
#define HD_BASE_THREAD_H

#include "base/check.h"

enum hd_thread_role {
    HD_THREAD_OTHER = 0, /* not one of the host's: a plugin's own thread, a test */
    HD_THREAD_CONTROL,
    HD_THREAD_WORKER,
    HD_THREAD_JOB,
};

/* Names the calling thread: role, its number among its kind, and the name that ps and gdb show. */
void hd_thread_name(enum hd_thread_role role, int index);
enum hd_thread_role hd_thread_role(void);
/* The worker's number on a worker thread, else -1. */
int hd_thread_worker(void);

#define HD_ASSERT_THREAD(role) HD_ASSERT(hd_thread_role() == (role))

#endif
