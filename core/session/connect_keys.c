/*
 * Logging in to a server by SCRAM keys. A client's proof shows us its key, and the verifier has the server's;
 * with both, whoever does not know the password can log in where the same verifier is kept. libpq cannot: it
 * wants the password. So it talks to us, through a socket of our own, while we talk to the server; we pass on
 * all but the SCRAM exchange, and when the login is done the server's socket takes the place of ours in
 * libpq's hands.
 *
 * The server is reached in plaintext: what TLS would need here is libpq's. Nodes that ask for TLS are
 * refused.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/random.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "session/connect_parts.h"
#include "wire/build.h"
#include "wire/proto.h"
#include "wire/scram.h"

/* Longer messages do not belong to a login. */
#define MESSAGE_MAX 65536u

/* One login. */
struct login {
    struct hd_connect *c;
    const struct hd_connect_wait *wait;
    int listener, inside, outside; /* ours, the end towards libpq, the server's; -1: none */
    PGconn *conn;
    struct hd_scram_client scram;
    struct sockaddr_un address;
    socklen_t address_len;
    size_t len; /* of the message that was read last */
    char message[MESSAGE_MAX + 8];
};

static int failed(struct login *g, const char *what, int error)
{
    if (!g->c->message[0])
        snprintf(g->c->message, sizeof(g->c->message), "%s%s%s", what, error ? ": " : "",
                 error ? strerror(error) : "");
    return -1;
}

static int ready(struct login *g, int fd, short events)
{
    int n = hd_connect_wait_fd(g->wait, fd, events);

    if (n == -1)
        return failed(g, "no answer in time", 0);
    return n ? failed(g, "the host is stopping", 0) : 0;
}

/* --- the server's socket
 * ------------------------------------------------------------------------------------- */

static int try_address(struct login *g, const struct sockaddr *sa, socklen_t len)
{
    int on = 1, error = 0;
    socklen_t size = sizeof(error);

    g->outside = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (g->outside < 0)
        return -1;
    setsockopt(g->outside, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(g->outside, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (connect(g->outside, sa, len) && errno != EINPROGRESS)
        error = errno;
    else if (!ready(g, g->outside, POLLOUT))
        getsockopt(g->outside, SOL_SOCKET, SO_ERROR, &error, &size);
    else
        error = ETIMEDOUT;
    if (!error)
        return 0;
    failed(g, "could not connect to the server", error);
    close(g->outside);
    g->outside = -1;
    return -1;
}

static int reach_unix(struct login *g, const char *host, const char *port)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/.s.PGSQL.%s", host, port) >=
        sizeof(sa.sun_path))
        return failed(g, "the path of the server's socket is too long", 0);
    return try_address(g, (const struct sockaddr *)&sa, sizeof(sa));
}

static int reach(struct login *g, const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *list;
    int n, code = -1;

    if (*host == '/')
        return reach_unix(g, host, port);
    n = getaddrinfo(host, port, &hints, &list);
    if (n)
        return failed(g, gai_strerror(n), 0);
    for (const struct addrinfo *a = list; a && code; a = a->ai_next) {
        g->c->message[0] = 0;
        code = try_address(g, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(list);
    return code;
}

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o->keyword; o++)
        if (!strcmp(o->keyword, keyword))
            return o->val ? o->val : "";
    return "";
}

const char *hd_connect_keys_refuse(const char *conninfo)
{
    PQconninfoOption *o = PQconninfoParse(conninfo, NULL);
    const char *why = NULL, *tls, *target;

    if (!o)
        return "its conninfo cannot be read";
    tls = value_of(o, "sslmode");
    target = value_of(o, "target_session_attrs");
    if (!strcmp(tls, "require") || !strncmp(tls, "verify", 6))
        why = "its conninfo asks for TLS";
    else if (*target && strcmp(target, "any"))
        why = "its conninfo has target_session_attrs";
    else if (*value_of(o, "service"))
        why = "its conninfo names a service";
    PQconninfoFree(o);
    return why;
}

/* The n-th of a list with commas; the last where there are fewer, as libpq takes ports. */
static void pick(const char *list, int n, char *out, size_t cap)
{
    const char *end;

    while (n-- && (end = strchr(list, ',')))
        list = end + 1;
    snprintf(out, cap, "%.*s", (int)strcspn(list, ","), list);
}

static int reach_any(struct login *g, const char *conninfo)
{
    PQconninfoOption *o = PQconninfoParse(conninfo, NULL);
    const char *hosts = o ? value_of(o, "hostaddr") : "";
    char host[256], port[32];
    int code = -1, count = 1;

    if (o && !*hosts)
        hosts = value_of(o, "host");
    for (const char *p = hosts; *p; p++)
        count += *p == ',';
    for (int i = 0; o && i < count && code; i++) {
        g->c->message[0] = 0;
        pick(hosts, i, host, sizeof(host));
        pick(value_of(o, "port"), i, port, sizeof(port));
        code = reach(g, *host ? host : "localhost", *port ? port : "5432");
    }
    PQconninfoFree(o);
    return code;
}

/* --- libpq's side
 * -------------------------------------------------------------------------------------------- */

/* A socket that only this process can find: libpq connects to it. */
static int open_inside(struct login *g, char *host, size_t cap)
{
    uint8_t random[8];
    int n;

    hd_random_bytes(random, sizeof(random));
    snprintf(host, cap, "@howdah-%d-%02x%02x%02x%02x%02x%02x%02x%02x", (int)getpid(), random[0], random[1],
             random[2], random[3], random[4], random[5], random[6], random[7]);
    g->address.sun_family = AF_UNIX;
    n = snprintf(g->address.sun_path + 1, sizeof(g->address.sun_path) - 1, "%s/.s.PGSQL.5432", host + 1);
    g->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (g->listener < 0 || bind(g->listener, (const struct sockaddr *)&g->address, g->address_len) ||
        listen(g->listener, 1))
        return failed(g, "could not open a socket", errno);
    return 0;
}

static void set(struct hd_connect *c, const char *key, const char *value)
{
    int n = 0;

    while (c->keywords[n])
        n++;
    c->keywords[n] = key;
    c->values[n] = value;
}

/* libpq connects, and says its first packet. */
static int begin_libpq(struct login *g, const char *host, FILE *trace)
{
    static const char *const plain[][2] = {
        {"hostaddr", ""}, {"port", "5432"}, {"sslmode", "disable"}, {"password", ""}, {"requirepeer", ""}};
    struct ucred peer;
    socklen_t size = sizeof(peer);

    set(g->c, "host", host);
    for (size_t i = 0; i < HD_ARRAY_LEN(plain); i++)
        set(g->c, plain[i][0], plain[i][1]);
    g->conn = PQconnectStartParams(g->c->keywords, g->c->values, 1);
    if (!g->conn)
        return failed(g, "out of memory", 0);
    PQsetErrorVerbosity(g->conn, PQERRORS_VERBOSE);
    if (trace) {
        PQtrace(g->conn, trace);
        PQsetTraceFlags(g->conn, PQTRACE_SUPPRESS_TIMESTAMPS);
    }
    while (PQstatus(g->conn) != CONNECTION_BAD && PQconnectPoll(g->conn) == PGRES_POLLING_WRITING)
        if (ready(g, PQsocket(g->conn), POLLOUT))
            return -1;
    if (PQstatus(g->conn) == CONNECTION_BAD || ready(g, g->listener, POLLIN))
        return failed(g, "libpq does not connect", 0);
    g->inside = accept4(g->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (g->inside < 0 || getsockopt(g->inside, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.pid != getpid())
        return failed(g, "libpq does not connect", 0);
    return 0;
}

/* --- messages
 * ------------------------------------------------------------------------------------------------ */

static int read_all(struct login *g, int fd, void *to, size_t len)
{
    uint8_t *p = to;

    while (len) {
        ssize_t n = recv(fd, p, len, 0);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (!n || (errno != EAGAIN && errno != EINTR)) {
            return failed(g, "the server closed the connection unexpectedly", 0);
        } else if (ready(g, fd, POLLIN)) {
            return -1;
        }
    }
    return 0;
}

static int write_all(struct login *g, int fd, const void *from, size_t len)
{
    const uint8_t *p = from;

    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return failed(g, "the connection broke", errno);
        } else if (ready(g, fd, POLLOUT)) {
            return -1;
        }
    }
    return 0;
}

/* A whole message, with its head of `head` bytes (the length word last). */
static int read_message(struct login *g, int fd, size_t head)
{
    uint32_t len;

    if (read_all(g, fd, g->message, head))
        return -1;
    len = hd_get_u32(g->message + head - 4);
    if (len < 4 || len > MESSAGE_MAX)
        return failed(g, "the server broke the protocol", 0);
    g->len = head + len - 4;
    return read_all(g, fd, g->message + head, len - 4);
}

static int say_scram(struct login *g, int first, const struct hd_scram_reply *r)
{
    struct hd_strbuf sb = HD_STRBUF_INIT;
    struct hd_build b = hd_build_onto(&sb);
    int code = first ? hd_build_sasl_initial_response(&b, HD_SCRAM_SHA_256, r->text, r->len)
                     : hd_build_sasl_response(&b, r->text, r->len);

    if (code)
        code = failed(g, "out of memory", 0);
    else
        code = write_all(g, g->outside, sb.data, sb.len);
    hd_strbuf_free(&sb);
    return code;
}

static int offers_scram(const struct login *g)
{
    const char *p = g->message + 9, *end = g->message + g->len;

    for (; p < end && *p; p += strnlen(p, (size_t)(end - p)) + 1)
        if (!strncmp(p, HD_SCRAM_SHA_256, (size_t)(end - p)) && strnlen(p, (size_t)(end - p)) == 13)
            return 1;
    return 0;
}

/* An Authentication message. 1: it is libpq's; 0: it was answered. */
static int authentication(struct login *g)
{
    const char *body = g->message + 5;
    size_t len = g->len - 5;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_scram_reply reply;
    uint32_t kind = len < 4 ? UINT32_MAX : hd_get_u32(body);
    int code;

    if (kind == HD_AUTH_OK)
        return 1;
    if (kind == HD_AUTH_SASL && offers_scram(g))
        code = hd_scram_client_step(&g->scram, NULL, 0, &reply, &err);
    else if (kind == HD_AUTH_SASL_CONTINUE || kind == HD_AUTH_SASL_FINAL)
        code = hd_scram_client_step(&g->scram, body + 4, len - 4, &reply, &err);
    else
        return failed(
            g, "the server does not ask for SCRAM, and nothing else can be done without the password", 0);
    if (code == HD_PENDING)
        return say_scram(g, kind == HD_AUTH_SASL, &reply);
    return code ? failed(g, err.text, 0) : 0;
}

/* From the first packet to ReadyForQuery, or an error; libpq hears all but SCRAM. */
static int converse(struct login *g)
{
    if (read_message(g, g->inside, 4) || write_all(g, g->outside, g->message, g->len))
        return -1;
    for (;;) {
        int n = 1;
        char type;

        if (read_message(g, g->outside, 5))
            return -1;
        type = g->message[0];
        if (type == HD_MSG_AUTHENTICATION && (n = authentication(g)) < 0)
            return -1;
        if (n && write_all(g, g->inside, g->message, g->len))
            return -1;
        if (type == HD_MSG_READY_FOR_QUERY || type == HD_MSG_ERROR_RESPONSE)
            return 0;
    }
}

/* libpq reads what it was told; then the server's socket becomes its own. */
static int hand_over(struct login *g)
{
    PostgresPollingStatusType s = PGRES_POLLING_READING;

    while (s == PGRES_POLLING_READING || s == PGRES_POLLING_WRITING) {
        if (ready(g, PQsocket(g->conn), s == PGRES_POLLING_READING ? POLLIN : POLLOUT))
            return -1;
        s = PQconnectPoll(g->conn);
    }
    if (s != PGRES_POLLING_OK) {
        hd_connect_read_failure(g->c, PQerrorMessage(g->conn));
        return -1;
    }
    if (dup3(g->outside, PQsocket(g->conn), O_CLOEXEC) < 0)
        return failed(g, "could not hand the connection over", errno);
    return 0;
}

static void close_one(int fd)
{
    if (fd >= 0)
        close(fd);
}

PGconn *hd_connect_by_keys(struct hd_connect *c, const struct hd_connect_wait *w, FILE *trace)
{
    struct login g = {.c = c, .wait = w, .listener = -1, .inside = -1, .outside = -1};
    const char *why = hd_connect_keys_refuse(c->values[0]);
    char host[64];
    int code;

    hd_scram_client_init_keys(&g.scram, "", c->keys->client_key, c->keys->server_key);
    if (why) {
        snprintf(c->message, sizeof(c->message),
                 "a user without a password in the configuration cannot log in to this node: %s", why);
        code = -1;
    } else {
        code = reach_any(&g, c->values[0]);
    }
    if (!code)
        code = open_inside(&g, host, sizeof(host));
    if (!code)
        code = begin_libpq(&g, host, trace);
    if (!code)
        code = converse(&g);
    if (!code)
        code = hand_over(&g);
    hd_scram_client_wipe(&g.scram);
    close_one(g.listener);
    close_one(g.inside);
    close_one(g.outside);
    if (code && g.conn) {
        PQuntrace(g.conn);
        PQfinish(g.conn);
        g.conn = NULL;
    }
    return g.conn;
}
