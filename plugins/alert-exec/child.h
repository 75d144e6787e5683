/*
 * A program that is run for a message: no shell, an environment of its own, a time, and an end in any case.
 */
#ifndef ALERT_EXEC_CHILD_H
#define ALERT_EXEC_CHILD_H

#include <howdah/howdah.h>

struct child {
    char *const *argv; /* the first is the program's whole path */
    char *const *environment;
    const char *input; /* what it reads */
    size_t input_size;
    uint64_t timeout_ms;
    const volatile int32_t *stop;
    int status;      /* how it ended, where the code is HD_OK: its exit status */
    char words[200]; /* what it wrote to its standard error, the beginning, in one line */
    size_t words_len;
};

/* HD_OK: it ended by itself. HD_ETIMEOUT, HD_ECANCELLED: it was killed. HD_EIO: it could not be run, or died
 * of a signal. Whatever it has started and left running in its session is killed, too. */
int32_t child_run(struct child *c, struct hd_error *err);

#endif
