/*
 * Many clients of one PostgreSQL endpoint, played by one thread: all log in and stay, then short statements
 * begin at even intervals, each on a client at random that is idle.
 *
 * The load is open-loop: a statement has a time when it is due, and what it takes is counted from then until
 * its ReadyForQuery is read, so that whoever falls behind is not spared the statements of that time. How late
 * this program was itself is measured beside it: in sending what was due, and in reading what had arrived
 * (the kernel notes when). So one can tell whose a slow statement was.
 *
 * The first second, in which pools are filled, is told apart.
 */
#include "load_login.h"

#include "base/alloc.h"
#include "base/units.h"
#include "wire/build.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define NS            1000000000u
#define EVENTS        256
#define DRAIN_NS      (30ull * NS)
#define STATEMENT_MAX 128

struct client {
    int fd;
    uint32_t left;   /* of the message that is being read, behind its head */
    uint8_t head[5]; /* of that message */
    uint8_t have;    /* bytes of it */
    uint8_t busy;
    uint64_t due;
};

/* Nanoseconds, one for each statement of a phase. */
struct samples {
    uint64_t *ns;
    size_t count, cap;
};

struct phase {
    const char *name;
    struct samples took;      /* from due to answered */
    struct samples sent_late; /* from due to sent */
    struct samples read_late; /* from arrived at the socket to read */
    double seconds, cpu;
    size_t begun;
};

static struct load {
    struct load_target to;
    uint32_t count, rate, rows;
    double seconds;
    int json, hold;

    struct client *clients;
    uint32_t *idle; /* indexes of clients; the first idle_count are */
    uint32_t idle_count;
    int poll;
    struct phase *phase;
} load = {
    .to = {"127.0.0.1", 6432, "postgres", "postgres", ""},
    .count = 1000,
    .rate = 1000,
    .rows = 100000,
    .seconds = 10,
};

/* --- figures
 * ------------------------------------------------------------------------------------------------ */

static void samples_init(struct samples *s, size_t cap)
{
    s->ns = hd_malloc(cap * sizeof(*s->ns));
    s->count = 0;
    s->cap = cap;
    if (!s->ns)
        load_fail("out of memory");
}

static void sample(struct samples *s, int64_t ns)
{
    if (s->count < s->cap)
        s->ns[s->count++] = ns > 0 ? (uint64_t)ns : 0;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Milliseconds; the samples are sorted. */
static double percentile(const struct samples *s, double share)
{
    size_t at = (size_t)((double)s->count * share);

    if (!s->count)
        return 0;
    return (double)s->ns[at < s->count ? at : s->count - 1] / 1e6;
}

static void print_samples(const char *name, struct samples *s)
{
    static const double shares[] = {0.5, 0.9, 0.95, 0.99, 0.999, 1};
    static const char *const names[] = {"p50", "p90", "p95", "p99", "p999", "max"};

    qsort(s->ns, s->count, sizeof(*s->ns), by_size);
    printf(load.json ? ", \"%s\": {" : "  %-10s", name);
    for (size_t i = 0; i < HD_ARRAY_LEN(shares); i++)
        printf(load.json ? "%s\"%s\": %.4f" : "%s %s %8.3f", i && load.json ? ", " : "", names[i],
               percentile(s, shares[i]));
    printf(load.json ? "}" : " ms\n");
}

static void print_phase(struct phase *p)
{
    double rate = (double)p->begun / p->seconds, cpu = p->cpu / p->seconds;

    if (load.json)
        printf("{\"phase\": \"%s\", \"seconds\": %.3f, \"statements\": %zu, \"rate\": %.1f, \"cpu\": %.4f",
               p->name, p->seconds, p->begun, rate, cpu);
    else
        printf("%s: %zu statements in %.3f s (%.1f a second), this program on %.0f %% of a core\n", p->name,
               p->begun, p->seconds, rate, cpu * 100);
    print_samples("took", &p->took);
    print_samples("sent_late", &p->sent_late);
    print_samples("read_late", &p->read_late);
    if (load.json)
        printf("}\n");
    fflush(stdout);
}

/* --- the clients
 * -------------------------------------------------------------------------------------------- */

static void open_client(uint32_t at)
{
    struct client *c = &load.clients[at];
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = at};
    int yes = 1;

    c->fd = load_login(&load.to);
    setsockopt(c->fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof(yes));
    if (epoll_ctl(load.poll, EPOLL_CTL_ADD, c->fd, &e))
        load_fail("epoll_ctl: %s", strerror(errno));
    load.idle[load.idle_count++] = at;
}

static void open_clients(void)
{
    uint64_t began = hd_now_ns();
    double seconds;

    load.clients = hd_calloc(load.count, sizeof(*load.clients));
    load.idle = hd_calloc(load.count, sizeof(*load.idle));
    load.poll = epoll_create1(EPOLL_CLOEXEC);
    if (!load.clients || !load.idle || load.poll < 0)
        load_fail("out of memory");
    for (uint32_t i = 0; i < load.count; i++)
        open_client(i);
    seconds = (double)(hd_now_ns() - began) / NS;
    printf(load.json ? "{\"phase\": \"open\", \"clients\": %u, \"seconds\": %.3f}\n"
                     : "%u clients in %.3f s\n",
           load.count, seconds);
    fflush(stdout);
}

static void send_statement(uint64_t due)
{
    uint32_t pick = (uint32_t)lrand48() % load.idle_count, at = load.idle[pick];
    struct client *c = &load.clients[at];
    uint8_t out[STATEMENT_MAX];
    char sql[STATEMENT_MAX];
    struct hd_build b = hd_build_into(out, sizeof(out), 0);
    int len = snprintf(sql, sizeof(sql), "SELECT abalance FROM pgbench_accounts WHERE aid = %u",
                       1 + (uint32_t)lrand48() % load.rows);

    load.idle[pick] = load.idle[--load.idle_count];
    c->busy = 1;
    c->due = due;
    sample(&load.phase->sent_late, (int64_t)(hd_now_ns() - due));
    load.phase->begun++;
    if (hd_build_query(&b, sql, (size_t)len) || send(c->fd, out, b.len, MSG_NOSIGNAL) != (ssize_t)b.len)
        load_fail("could not send a statement");
}

static void on_answered(struct client *c, uint64_t now)
{
    sample(&load.phase->took, (int64_t)(now - c->due));
    c->busy = 0;
    load.idle[load.idle_count++] = (uint32_t)(c - load.clients);
}

static uint32_t message_left(const uint8_t *head)
{
    return ((uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4]) - 4;
}

/* Walks over the messages. Returns 1 once ReadyForQuery has ended. */
static int walk(struct client *c, const uint8_t *at, size_t len)
{
    while (len) {
        if (c->have < sizeof(c->head)) {
            c->head[c->have++] = *at++;
            len--;
            if (c->have == sizeof(c->head))
                c->left = message_left(c->head);
        } else {
            size_t n = c->left < len ? c->left : len;

            at += n;
            len -= n;
            c->left -= (uint32_t)n;
        }
        if (c->have < sizeof(c->head) || c->left)
            continue;
        c->have = 0;
        if (c->head[0] == HD_MSG_READY_FOR_QUERY)
            return 1;
    }
    return 0;
}

/* How long ago did it arrive? The kernel tells with each piece when its last bytes did, by the wall clock. */
static void note_arrival(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        struct timespec ts;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&ts, CMSG_DATA(c), sizeof(ts));
        sample(&load.phase->read_late,
               (int64_t)(hd_clock_ns(CLOCK_REALTIME) - (uint64_t)ts.tv_sec * NS - (uint64_t)ts.tv_nsec));
    }
}

static void receive(struct client *c)
{
    uint8_t bytes[4096];
    union {
        struct cmsghdr align;
        uint8_t room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec iov = {bytes, sizeof(bytes)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(c->fd, &m, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        load_fail("a client was disconnected: %s", n ? strerror(errno) : "end of stream");
    if (!c->busy)
        load_fail("a client that was idle was spoken to: a message of type %c", bytes[0]);
    if (c->have == 0 && bytes[0] == HD_MSG_ERROR_RESPONSE)
        load_fail("a statement failed: %.*s", (int)n, (char *)bytes);
    note_arrival(&m);
    if (walk(c, bytes, (size_t)n))
        on_answered(c, hd_now_ns());
}

/* epoll_wait counts in milliseconds, which is too coarse. */
static void wait_until(uint64_t when)
{
    struct pollfd p = {load.poll, POLLIN, 0};
    uint64_t now = hd_now_ns(), ns = when > now ? when - now : 0;
    struct timespec ts = {(time_t)(ns / NS), (long)(ns % NS)};
    struct epoll_event events[EVENTS];
    int n = ppoll(&p, 1, &ts, NULL);

    if (n > 0)
        n = epoll_wait(load.poll, events, EVENTS, 0);
    for (int i = 0; i < n; i++)
        receive(&load.clients[events[i].data.u32]);
}

/* --- the load
 * ----------------------------------------------------------------------------------------------- */

static double own_cpu(void)
{
    return (double)hd_clock_ns(CLOCK_PROCESS_CPUTIME_ID) / NS;
}

static void drain(void)
{
    uint64_t end = hd_now_ns() + DRAIN_NS;

    while (load.idle_count < load.count) {
        if (hd_now_ns() > end)
            load_fail("%u statements have no answer", load.count - load.idle_count);
        wait_until(end);
    }
}

static void run_phase(const char *name, double seconds)
{
    size_t all = (size_t)(seconds * load.rate);
    struct phase p = {.name = name};
    uint64_t start = hd_now_ns();
    double cpu = own_cpu();

    samples_init(&p.took, all);
    samples_init(&p.sent_late, all);
    samples_init(&p.read_late, 2 * all);
    load.phase = &p;
    while (p.begun < all) {
        uint64_t due = start + p.begun * NS / load.rate;

        if (due <= hd_now_ns() && load.idle_count)
            send_statement(due);
        else
            wait_until(load.idle_count ? due : start + DRAIN_NS);
    }
    p.seconds = (double)(hd_now_ns() - start) / NS;
    p.cpu = own_cpu() - cpu;
    drain();
    print_phase(&p);
    hd_free(p.took.ns);
    hd_free(p.sent_late.ns);
    hd_free(p.read_late.ns);
}

/* --- from the command line
 * ---------------------------------------------------------------------------------- */

static const char usage[] =
    "load [option…]\n"
    "  --host ADDRESS --port N --user NAME --database NAME --password TEXT   where to log in, by trust or "
    "SCRAM\n"
    "  --clients N     that stay open (1000)\n"
    "  --rate N        statements a second among them (1000)\n"
    "  --seconds S     of statements, after a first second that is told apart (10)\n"
    "  --rows N        of pgbench_accounts (100000)\n"
    "  --hold          waits for a line on standard input before the statements, and before it ends\n"
    "  --json          prints one object a line instead of text\n";

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double v = strtod(text, &end);

    if (*end || end == text || !(v >= least && v <= most))
        load_fail("--%s %s: not a number from %g to %g", name, text, least, most);
    return v;
}

static void take_option(const char *name, const char *value)
{
    if (!strcmp(name, "host"))
        load.to.host = value;
    else if (!strcmp(name, "port"))
        load.to.port = (uint16_t)number(name, value, 1, UINT16_MAX);
    else if (!strcmp(name, "user"))
        load.to.user = value;
    else if (!strcmp(name, "database"))
        load.to.database = value;
    else if (!strcmp(name, "password"))
        load.to.password = value;
    else if (!strcmp(name, "clients"))
        load.count = (uint32_t)number(name, value, 1, 1000000);
    else if (!strcmp(name, "rate"))
        load.rate = (uint32_t)number(name, value, 1, 10000000);
    else if (!strcmp(name, "seconds"))
        load.seconds = number(name, value, 0.1, 86400);
    else if (!strcmp(name, "rows"))
        load.rows = (uint32_t)number(name, value, 1, 1e9);
    else if (!strcmp(name, "hold"))
        load.hold = 1;
    else if (!strcmp(name, "json"))
        load.json = 1;
}

static void parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"host", required_argument, NULL, 0},     {"port", required_argument, NULL, 0},
        {"user", required_argument, NULL, 0},     {"database", required_argument, NULL, 0},
        {"password", required_argument, NULL, 0}, {"clients", required_argument, NULL, 0},
        {"rate", required_argument, NULL, 0},     {"seconds", required_argument, NULL, 0},
        {"rows", required_argument, NULL, 0},     {"hold", no_argument, NULL, 0},
        {"json", no_argument, NULL, 0},           {NULL, 0, NULL, 0},
    };
    int found, at;

    while ((found = getopt_long(argc, argv, "", options, &at)) == 0)
        take_option(options[at].name, optarg);
    if (found != -1 || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

/* Without --hold, or at the end of the input, it goes on. */
static void hold(void)
{
    int c;

    if (!load.hold)
        return;
    while ((c = getchar()) != '\n' && c != EOF)
        ;
}

static void raise_limit(void)
{
    struct rlimit files;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    raise_limit();
    prctl(PR_SET_TIMERSLACK, 1ul); /* else the kernel may wake it 50 us late */
    open_clients();
    hold();
    run_phase("first", 1);
    run_phase("main", load.seconds);
    hold();
    return 0;
}
