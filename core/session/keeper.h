/*
 * Whoever outlives the host and keeps its listening sockets, so that a host that comes after has them: the
 * supervisor. Sockets go by names.
 */
#ifndef HD_SESSION_KEEPER_H
#define HD_SESSION_KEEPER_H

struct hd_keeper {
    void *arg;
    /* The socket of that name, which is the caller's from now on; -1: there is none, or it was taken.
     * [control] */
    int (*take)(void *arg, const char *name);
    /* Keeps a copy. [control] */
    void (*keep)(void *arg, const char *name, int fd);
    /* Nobody needs it any more. [control] */
    void (*drop)(void *arg, const char *name);
};

#endif
