/*
 * The calling thread's role, kept in thread-local storage.
 */
#include "base/thread.h"
#include "base/blame.h"

#include <pthread.h>
#include <stdio.h>

static _Thread_local enum hd_thread_role thread_role;
static _Thread_local int thread_index = -1;

void hd_thread_name(enum hd_thread_role role, int index)
{
    static const char *const kind[] = {"hd-other", "hd-control", "hd-worker", "hd-job"};
    char name[16];

    hd_blame_thread();
    thread_role = role;
    thread_index = index;
    if (role == HD_THREAD_CONTROL)
        return; /* the main thread keeps the program's name: ps shows it for the whole process */
    snprintf(name, sizeof(name), "%s-%d", kind[role], index);
    pthread_setname_np(pthread_self(), name);
}

enum hd_thread_role hd_thread_role(void)
{
    return thread_role;
}

int hd_thread_worker(void)
{
    return thread_role == HD_THREAD_WORKER ? thread_index : -1;
}
