/*
 * The supervisor: the process that outlives the host. It starts the host as its child and holds the listening
 * sockets, so that a host that crashes is replaced at once and no connection attempt is refused meanwhile;
 * and it starts a new host beside the old one when it is asked to upgrade.
 *
 * It is small so that it cannot fail: one thread, no plugins, no libuv, no database, no configuration beside
 * what is given here. Sockets are opened by the hosts, which hand copies over.
 */
#ifndef HD_HOST_SUPERVISOR_H
#define HD_HOST_SUPERVISOR_H

/* What it needs to know. */
struct hd_supervisor_conf {
    const char *path;     /* of the configuration, for the hosts */
    const char *pid_file; /* empty: none */
    const char *log_file; /* empty: stderr */
    int log_level;        /* enum hd_log_level */
    int ready_fd;         /* hd_daemon_start's, or -1 */
};

/* Runs until the host has stopped for good; returns the exit code of the process, or ends it by the signal
 * that ended the host. */
int hd_supervisor_run(const struct hd_supervisor_conf *conf);

#endif
