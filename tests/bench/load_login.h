/*
 * Opens the connections of the load: a startup packet and, where the other side asks for it, SCRAM.
 */
#ifndef HD_BENCH_LOAD_LOGIN_H
#define HD_BENCH_LOAD_LOGIN_H

#include <stdint.h>

struct load_target {
    const char *host; /* an IPv4 address */
    uint16_t port;
    const char *user, *database, *password;
};

/* Says why, and ends the program. */
_Noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Logs in and waits for ReadyForQuery; returns the socket, non-blocking. Fails the program when it cannot. */
int load_login(const struct load_target *to);

#endif
