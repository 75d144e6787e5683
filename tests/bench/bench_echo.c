/*
 * A bare echo on the host's own event loop, and a client that measures how long one request takes: what an
 * answer from the cache is compared with. tests/bench/cache runs both.
 *
 *   bench_echo serve REQUEST ANSWER ENGINE     prints its port; to one client answers each REQUEST bytes with
 *                                              ANSWER bytes, over ENGINE (uv or uring), until it leaves
 *   bench_echo ask PORT COUNT REQUEST ANSWER   COUNT requests of it
 *   bench_echo sql PORT COUNT USER DATABASE TEXT
 *                                              the same of a PostgreSQL that lets USER in, by simple queries
 *
 * `ask` and `sql` print: bytes of the request, bytes of the answer, and the 50th, 95th and 99th percentile in
 * nanoseconds.
 */
#include "io/link.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP   2000
#define BYTES_MAX (1 << 20)

static uint8_t bytes[BYTES_MAX];

static void die(const char *what)
{
    fprintf(stderr, "bench_echo: %s\n", what);
    exit(1);
}

static size_t number(const char *text)
{
    long n = strtol(text, NULL, 10);

    if (n <= 0 || n > BYTES_MAX)
        die("a number is out of its range");
    return (size_t)n;
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void no_delay(int fd)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
        die("setsockopt failed");
}

/* --- the echo
 * ------------------------------------------------------------------------------------------------- */

static size_t request_len, answer_len;
static struct hd_loop loop; /* what lives as long as the process is not taken down */

/* As many answers as there are requests in it. */
static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    size_t used = 0;

    (void)data;
    for (; len - used >= request_len; used += request_len)
        if (hd_link_send_copy(l, bytes, answer_len) != HD_OK)
            die("no memory");
    return used;
}

static void on_end(struct hd_link *l, int error)
{
    (void)l;
    (void)error;
    hd_loop_stop(&loop);
}

/* Waits for the one client. */
static int accept_one(void)
{
    struct sockaddr_in a = loopback(0);
    socklen_t size = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&a, &size))
        die("no port to listen on");
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        die("accept failed");
    no_delay(fd);
    close(listener);
    return fd;
}

static void serve(const char *engine)
{
    static const struct hd_link_ops ops = {.on_data = on_data, .on_end = on_end};
    static struct hd_link link;
    static struct hd_io io;
    struct hd_error err = HD_ERROR_INIT;

    if (hd_loop_init(&loop) || hd_io_init(&io, &loop, 64 << 20))
        die("no event loop");
    if (strcmp(engine, "uring") == 0 && hd_io_use_uring(&io, &err) != HD_OK)
        die(err.text);
    if (hd_link_init(&link, &io, accept_one(), &ops) != HD_OK)
        die("no link");
    hd_loop_run(&loop);
}

/* --- the client
 * ------------------------------------------------------------------------------------------------- */

static int connect_to(const char *port)
{
    struct sockaddr_in a = loopback((uint16_t)number(port));
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
        die("cannot connect");
    no_delay(fd);
    return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
    if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send failed");
}

static size_t receive(int fd, void *to, size_t room)
{
    ssize_t n = recv(fd, to, room, 0);

    if (n <= 0)
        die("the connection ended");
    return (size_t)n;
}

/* Reads until ReadyForQuery stands at the end; returns how much came. */
static size_t receive_ready(int fd)
{
    static const uint8_t ready[6] = {'Z', 0, 0, 0, 5, 'I'};
    size_t n = 0;

    do {
        if (n == BYTES_MAX)
            die("the answer is too long");
        n += receive(fd, bytes + n, BYTES_MAX - n);
        if (bytes[0] == 'E')
            die("the server says an error");
    } while (n < sizeof(ready) || memcmp(bytes + n - sizeof(ready), ready, sizeof(ready)) != 0);
    return n;
}

static size_t put_text(uint8_t *to, const char *text)
{
    size_t n = strlen(text) + 1;

    memcpy(to, text, n);
    return n;
}

static void log_in(int fd, const char *user, const char *database)
{
    uint8_t m[1024] = {0, 0, 0, 0, 0, 3, 0, 0};
    size_t n = 8;
    uint32_t len;

    if (strlen(user) + strlen(database) > 900)
        die("the names are too long");
    n += put_text(m + n, "user");
    n += put_text(m + n, user);
    n += put_text(m + n, "database");
    n += put_text(m + n, database);
    n++;
    len = htonl((uint32_t)n);
    memcpy(m, &len, sizeof(len));
    send_all(fd, m, n);
    (void)receive_ready(fd);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Sends one request after the other; every answer has the same length. */
static void measure(int fd, const void *request, size_t asked, size_t answered, size_t count)
{
    uint64_t *took = calloc(count, sizeof(*took));

    if (!took)
        die("no memory");
    for (size_t i = 0; i < WARM_UP + count; i++) {
        uint64_t start = now_ns();

        send_all(fd, request, asked);
        for (size_t n = 0; n < answered;)
            n += receive(fd, bytes, answered - n);
        if (i >= WARM_UP)
            took[i - WARM_UP] = now_ns() - start;
    }
    qsort(took, count, sizeof(*took), by_value);
    printf("%zu %zu %llu %llu %llu\n", asked, answered, (unsigned long long)took[count / 2],
           (unsigned long long)took[count * 95 / 100], (unsigned long long)took[count * 99 / 100]);
    free(took);
}

static void ask_echo(char **argv)
{
    size_t asked = number(argv[4]);
    uint8_t *request = calloc(1, asked);

    if (!request)
        die("no memory");
    measure(connect_to(argv[2]), request, asked, number(argv[5]), number(argv[3]));
    free(request);
}

static void ask_sql(char **argv)
{
    uint8_t query[2048] = {'Q'};
    size_t len = strlen(argv[6]) + 6;
    uint32_t word = htonl((uint32_t)len - 1);
    int fd = connect_to(argv[2]);
    size_t answered;

    if (len > sizeof(query))
        die("the query is too long");
    memcpy(query + 1, &word, sizeof(word));
    memcpy(query + 5, argv[6], len - 5);
    log_in(fd, argv[4], argv[5]);
    send_all(fd, query, len);
    answered = receive_ready(fd);
    measure(fd, query, len, answered, number(argv[3]));
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "serve") == 0) {
        request_len = number(argv[2]);
        answer_len = number(argv[3]);
        serve(argv[4]);
    } else if (argc == 6 && strcmp(argv[1], "ask") == 0) {
        ask_echo(argv);
    } else if (argc == 7 && strcmp(argv[1], "sql") == 0) {
        ask_sql(argv);
    } else {
        fprintf(stderr, "usage: bench_echo serve|ask|sql …; see the head of bench_echo.c\n");
        return 2;
    }
    return 0;
}
