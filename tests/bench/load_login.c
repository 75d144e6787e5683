/*
 * One login at a time, over a blocking socket with a time limit; see load_login.h.
 */
#include "load_login.h"

#include "wire/build.h"
#include "wire/read.h"
#include "wire/scram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define PATIENCE_S  30
#define MESSAGE_MAX 8192

struct message {
    uint8_t type;
    size_t len;
    uint8_t body[MESSAGE_MAX];
};

void load_fail(const char *format, ...)
{
    va_list args;

    fputs("load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void receive(int fd, void *to, size_t len)
{
    uint8_t *at = to;

    while (len) {
        ssize_t n = recv(fd, at, len, 0);

        if (n == 0)
            load_fail("disconnected while logging in");
        if (n < 0 && errno != EINTR)
            load_fail("logging in: %s", strerror(errno));
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void receive_message(int fd, struct message *m)
{
    uint8_t head[5];
    struct hd_reader r = hd_reader_on(head, sizeof(head));

    receive(fd, head, sizeof(head));
    m->type = hd_read_u8(&r);
    m->len = hd_read_u32(&r) - 4;
    if (m->len >= MESSAGE_MAX)
        load_fail("a message of %zu bytes while logging in", m->len);
    receive(fd, m->body, m->len);
    m->body[m->len] = 0;
}

/* An error's fields, each with a letter before it, for a human's eye. */
static _Noreturn void refused(const struct message *m)
{
    char text[MESSAGE_MAX];

    for (size_t i = 0; i < m->len; i++)
        text[i] = m->body[i] ? (char)m->body[i] : ' ';
    load_fail("login refused: %.*s", (int)m->len, text);
}

static void send_built(int fd, const struct hd_build *b)
{
    if (b->error || send(fd, b->buf, b->len, MSG_NOSIGNAL) != (ssize_t)b->len)
        load_fail("logging in: could not send");
}

static void answer(int fd, struct hd_scram_client *scram, const void *said, size_t len)
{
    uint8_t out[MESSAGE_MAX];
    struct hd_build b = hd_build_into(out, sizeof(out), 0);
    struct hd_scram_reply reply;
    struct hd_error err;
    int code = hd_scram_client_step(scram, said, len, &reply, &err);

    if (code != HD_PENDING)
        load_fail("logging in: %s", code ? err.text : "SCRAM ended too soon");
    code = said ? hd_build_sasl_response(&b, reply.text, reply.len)
                : hd_build_sasl_initial_response(&b, HD_SCRAM_SHA_256, reply.text, reply.len);
    if (code)
        load_fail("logging in: the answer does not fit");
    send_built(fd, &b);
}

static void check_final(struct hd_scram_client *scram, const void *said, size_t len)
{
    struct hd_scram_reply reply;
    struct hd_error err;

    if (hd_scram_client_step(scram, said, len, &reply, &err))
        load_fail("logging in: %s", err.text);
}

static void on_authentication(int fd, struct hd_scram_client *scram, const struct message *m)
{
    struct hd_reader r = hd_reader_on(m->body, m->len);
    uint32_t what = hd_read_u32(&r);

    switch (r.failed ? UINT32_MAX : what) {
    case HD_AUTH_OK:
        break;
    case HD_AUTH_SASL:
        answer(fd, scram, NULL, 0);
        break;
    case HD_AUTH_SASL_CONTINUE:
        answer(fd, scram, r.at, hd_reader_left(&r));
        break;
    case HD_AUTH_SASL_FINAL:
        check_final(scram, r.at, hd_reader_left(&r));
        break;
    default:
        load_fail("authentication of kind %u: only trust and SCRAM are spoken", what);
    }
}

static int connect_to(const struct load_target *to)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(to->port)};
    struct timeval patience = {PATIENCE_S, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;

    if (fd < 0 || inet_pton(AF_INET, to->host, &addr.sin_addr) != 1)
        load_fail("%s: %s", to->host, fd < 0 ? strerror(errno) : "not an IPv4 address");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
        load_fail("%s:%u: %s", to->host, to->port, strerror(errno));
    return fd;
}

int load_login(const struct load_target *to)
{
    const char *const params[] = {"user", to->user, "database", to->database, NULL};
    uint8_t out[1024];
    struct hd_build b = hd_build_into(out, sizeof(out), 0);
    struct hd_scram_client scram;
    struct message m;
    int fd = connect_to(to);

    if (hd_build_startup(&b, HD_PROTO_3_0, params))
        load_fail("names are too long");
    send_built(fd, &b);
    hd_scram_client_init(&scram, "", to->password, strlen(to->password));
    do {
        receive_message(fd, &m);
        if (m.type == HD_MSG_ERROR_RESPONSE)
            refused(&m);
        if (m.type == HD_MSG_AUTHENTICATION)
            on_authentication(fd, &scram, &m);
    } while (m.type != HD_MSG_READY_FOR_QUERY);
    hd_scram_client_wipe(&scram);
    if (fcntl(fd, F_SETFL, O_NONBLOCK))
        load_fail("fcntl: %s", strerror(errno));
    return fd;
}
