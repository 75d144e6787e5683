/*
 * The host's side of its supervisor: what it was given, what it gives back, and the upgrade, which is the
 * supervisor's work and begins and ends here. [control]
 */
#ifndef HD_HOST_UPGRADE_H
#define HD_HOST_UPGRADE_H

#include <howdah/error.h>
#include <sys/types.h>

#include "io/loop.h"
#include "session/keeper.h"

struct hd_supervised;

/* What the host does when the supervisor speaks. */
struct hd_supervised_ops {
    void *arg;
    /* Another host serves from now on. */
    void (*retire)(void *arg);
    /* The upgrade that was asked for is over: the other's pid, or 0 and why not. */
    void (*upgraded)(void *arg, pid_t pid, const char *why);
    /* A way to the other generation; the host's. */
    void (*peer)(void *arg, int fd);
};

/* Is there a supervisor that has started this process? */
int hd_supervised_is(void);
/* Takes what it has for us. HD_OK with *out, or why this host cannot run under it. */
int hd_supervised_attach(struct hd_supervised **out, struct hd_error *err);
/* Frees it; its sockets stay with the supervisor. NULL is allowed. */
void hd_supervised_free(struct hd_supervised *s);

/* Which host this is, counted from 1; how many crashed before it; is it the first to serve; is the terminal
 * to be left.
 */
unsigned hd_supervised_generation(const struct hd_supervised *s);
unsigned hd_supervised_crashes(const struct hd_supervised *s);
int hd_supervised_first(const struct hd_supervised *s);
int hd_supervised_background(const struct hd_supervised *s);
const struct hd_keeper *hd_supervised_keeper(struct hd_supervised *s);
/* How often hosts have crashed in a plugin; and that is forgotten. */
uint32_t hd_supervised_blamed(const struct hd_supervised *s, const char *plugin);
void hd_supervised_forgive(struct hd_supervised *s, const char *plugin);
void hd_supervised_each_blamed(const struct hd_supervised *s,
                               void (*fn)(void *arg, const char *plugin, uint32_t times), void *arg);

/* Hears the supervisor from here on. HD_OK or HD_EIO. */
int hd_supervised_watch(struct hd_supervised *s, struct hd_loop *loop, const struct hd_supervised_ops *ops);
void hd_supervised_unwatch(struct hd_supervised *s);

/* The host serves. What was kept under names that nobody took is given up. */
void hd_supervised_ready(struct hd_supervised *s);
/* The host cannot start, and says why. */
void hd_supervised_failed(struct hd_supervised *s, const char *why);
/* The host ends because it was told to. */
void hd_supervised_stopping(struct hd_supervised *s);
/* Where the log goes, for the supervisor's own lines; and how long a new host may take. */
void hd_supervised_log(struct hd_supervised *s, const char *file, int level);
void hd_supervised_start_timeout(struct hd_supervised *s, int64_t ms);
/* Asks for an upgrade; `upgraded` says how it went. HD_OK, or HD_EIO. */
int hd_supervised_upgrade(struct hd_supervised *s);

#endif
