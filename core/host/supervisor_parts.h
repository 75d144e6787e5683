/*
 * What the supervisor's files share: supervisor.c is its loop and what follows from what it hears;
 * supervisor_start.c starts hosts; supervisor_keep.c holds what outlives them.
 *
 * There are one host, or two while one takes over from the other:
 *
 *     STARTING  made, and not ready yet
 *     SERVING   the one that accepts; at most one
 *     RETIRING  has been replaced, and serves those clients that could not be handed over
 */
#ifndef HD_HOST_SUPERVISOR_PARTS_H
#define HD_HOST_SUPERVISOR_PARTS_H

#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/blame.h"
#include "base/error.h"
#include "host/supervisor.h"
#include "session/share.h"

enum hd_super_role { HD_ROLE_NONE = 0, HD_ROLE_STARTING, HD_ROLE_SERVING, HD_ROLE_RETIRING };

#define HD_SUPER_WHY 512

struct hd_super_host {
    enum hd_super_role role;
    pid_t pid;
    int channel;
    int stopping;           /* it was told to end, or has said that it does */
    int late;               /* it was not waited for any longer */
    char why[HD_SUPER_WHY]; /* it has said that it cannot start; else empty */
    unsigned generation;
    uint64_t started_ms;
    struct hd_blame_page *page; /* NULL: it cannot be seen where it crashes */
};

/* A plugin in which hosts have crashed. */
struct hd_super_blamed {
    struct hd_super_blamed *next;
    uint32_t times;
    char plugin[HD_BLAME_NAME];
};

/* A socket that is kept. */
struct hd_super_kept {
    struct hd_super_kept *next;
    int fd;
    unsigned generation; /* who opened it */
    char name[];
};

struct hd_supervisor {
    const struct hd_supervisor_conf *conf;
    char program[PATH_MAX];
    struct hd_super_host hosts[2];
    struct hd_super_kept *kept;
    struct hd_super_blamed *blamed;
    struct hd_share_page *share; /* that two hosts count in */
    int share_fd;
    sigset_t before; /* the mask that we were started with */
    int signals;     /* descriptor */
    int ready_fd;
    int background;
    int peer_fd; /* the old host's end of the way to the one that starts */
    int stopping, served;
    int status; /* of wait(2), to be passed on */
    unsigned generation, crashes, in_succession;
    uint64_t restart_ms; /* when; 0: not waited for */
    uint64_t start_ms;   /* so long a new host may take until it serves */
};

/* The host in that role, or NULL. */
struct hd_super_host *hd_super_host_in(struct hd_supervisor *s, enum hd_super_role role);
/* The one beside it, or NULL. */
struct hd_super_host *hd_super_other(struct hd_supervisor *s, const struct hd_super_host *h);
uint64_t hd_super_now_ms(void);

/* supervisor_start.c: one more host, beside the one that there may be. */
int hd_supervisor_start(struct hd_supervisor *s, struct hd_error *err);

/* supervisor_keep.c: sockets by their names, */
void hd_supervisor_keep(struct hd_supervisor *s, unsigned generation, const char *name, int fd);
void hd_supervisor_drop(struct hd_supervisor *s, const char *name);
/* what a host opened that never came to serve, */
void hd_supervisor_drop_of(struct hd_supervisor *s, unsigned generation);
/* and plugins in which hosts have crashed. In which plugin has this one? */
void hd_supervisor_find_blame(struct hd_supervisor *s, const struct hd_super_host *h, int status);
void hd_supervisor_forgive(struct hd_supervisor *s, const char *plugin);

#endif
