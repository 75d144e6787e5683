/*
 * Lines of the log about clients; see client_log.h.
 */
#include "session/client_log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "session/console.h"
#include "session/listener.h"
#include "session/login_parts.h"

#define ADDRESS 80

void hd_client_address(const struct hd_session *s, char *out, size_t cap)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[INET6_ADDRSTRLEN];

    snprintf(out, cap, "unix");
    if (s->link.fd < 0 || getpeername(s->link.fd, (struct sockaddr *)&sa, &len))
        return;
    if (sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&sa;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, cap, "%s:%u", host, ntohs(in->sin_port));
    } else if (sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&sa;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
    }
}

void hd_client_log_refused(const struct hd_session *s, const char *sqlstate, const char *reason)
{
    const struct hd_login *g = s->login;
    char address[ADDRESS];

    hd_client_address(s, address, sizeof(address));
    hd_log(HD_LOG_INFO, "login refused", HD_KV("listener", s->listener->conf->name),
           HD_KV("address", address), HD_KV("database", g && g->database ? g->database : ""),
           HD_KV("user", g && g->user ? g->user : ""), HD_KV("sqlstate", sqlstate), HD_KV("reason", reason));
}

static void log_session(const struct hd_session *s, const char *what)
{
    char address[ADDRESS];

    if (hd_log_level() < HD_LOG_DEBUG)
        return;
    hd_client_address(s, address, sizeof(address));
    hd_log(HD_LOG_DEBUG, what, HD_KV("session", s->id), HD_KV("address", address),
           HD_KV("database", s->pool ? s->pool->database : HD_CONSOLE_DATABASE),
           HD_KV("user", s->pool      ? s->pool->user
                         : s->console ? hd_console_user(s)
                                      : ""),
           HD_KV("worker", s->w->index));
}

void hd_client_log_opened(const struct hd_session *s)
{
    log_session(s, "client logged in");
}

void hd_client_log_closed(const struct hd_session *s)
{
    log_session(s, "client left");
}
