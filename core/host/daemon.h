/*
 * What makes a process a service: going to the background, the pid file that keeps a second one out,
 * systemd's notifications, the limit of open files.
 */
#ifndef HD_HOST_DAEMON_H
#define HD_HOST_DAEMON_H

#include <howdah/error.h>

#include "io/loop.h"

/*
 * Goes to the background before any thread runs. In the child it returns the descriptor to tell readiness by;
 * the process that was started waits for that and exits: 0 when the child got ready, else 1. A code after an
 * error.
 */
int hd_daemon_start(struct hd_error *err);
/* The child is ready: the waiting process may exit. Output goes to /dev/null where it went to a terminal. */
void hd_daemon_ready(int fd);

/* Creates and locks the pid file; the lock is the kernel's, so that a file left behind by a crash does no
 * harm. Returns a descriptor to be kept open, HD_EBUSY when another process holds it, or another code. */
int hd_pid_file_take(const char *path, struct hd_error *err);
/* Removes it. */
void hd_pid_file_drop(const char *path, int fd);

/* Raises the limit of open files as far as may be; returns the limit. */
unsigned long hd_daemon_raise_files(void);

/* The process leaves its terminal: output that goes there goes to /dev/null. */
void hd_daemon_leave_terminal(void);

/* For systemd; nothing where it is not there. A host that has a supervisor tells systemd through that. */
void hd_notify_through(void (*send)(void *arg, const char *text), void *arg);
void hd_notify_text(const char *text);
void hd_notify_status(const char *status);
void hd_notify_ready(const char *status);
void hd_notify_reloading(void);
void hd_notify_stopping(void);
/* Tells the watchdog from the loop that it turns, at half the interval that systemd wants. */
void hd_notify_watchdog(struct hd_loop *loop);
void hd_notify_watchdog_stop(void);

#endif
