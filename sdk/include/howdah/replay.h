/*
 * Replays: statements that the host runs as a client of its own would send them, through pools and filters,
 * with their answers thrown away. Service "howdah.replay/1".
 *
 * A replay logs in as a user without his password, so what it may do is bounded: the user must be one whom
 * the configuration lets in, and the host must hold what logs him in to the server by itself (the node's
 * user, his password, or keys that his own login has shown). Only replay what that user has sent.
 */
#ifndef HOWDAH_REPLAY_H
#define HOWDAH_REPLAY_H

#include <howdah/filter.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_REPLAY "howdah.replay/1"

/* What is to be run, as hd_statement has it. Borrowed for the call. Since ABI 0.1. */
struct hd_replay {
    uint32_t size;
    uint32_t flags;         /* HD_STMT_EXTENDED, HD_STMT_DESCRIBED; others mean nothing */
    struct hd_str database; /* as clients ask for it; not the console's */
    struct hd_str user;
    struct hd_str sql; /* without a NUL */
    /* The session's settings, as its startup packet would say; those that no client can set are left out. */
    const struct hd_session_setting *settings;
    const struct hd_param *params;
    const uint16_t *result_formats;
    uint32_t setting_count;
    uint32_t param_count;
    uint32_t result_format_count;
    uint32_t timeout_ms; /* for all of it; 0: ten seconds */
};

/* How it ended. Valid during the call. Since ABI 0.1. */
struct hd_replayed {
    uint32_t size;
    int32_t code;     /* HD_OK; HD_EPERM: the login was refused; HD_EFAIL: the statement failed; HD_ETIMEOUT;
                       * HD_EIO: the connection was ended */
    char sqlstate[8]; /* of the first error; empty: there was none */
};

/* Service "howdah.replay/1". Since ABI 0.1. */
struct hd_replay_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Runs one. HD_PENDING: done(arg, how) comes once, on the control thread, unless the plugin stops first.
     * HD_EFULL: too many are under way, or it is too long; HD_EBUSY: the host does not take clients (yet, or
     * any more); HD_EINVAL; HD_ENOMEM. [control] */
    int32_t (*run)(hd_host *host, const struct hd_replay *what,
                   void (*done)(void *arg, const struct hd_replayed *how), void *arg);
};

#ifdef __cplusplus
}
#endif
#endif
