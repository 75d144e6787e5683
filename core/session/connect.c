/*
 * The pool of threads that connects and cancels; see connect.h. A thread ends after some idle seconds, so a
 * host at rest has none.
 */
#include "session/connect_parts.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/thread.h"
#include "base/units.h"

#define IDLE_SECONDS 5
/* So long the other side has to take a cancel. */
/* So many threads connects leave to cancels. */
#define CANCEL_THREADS 4
#define CANCEL_NS      5000000000u
#define STACK_BYTES    (1024 * 1024)

/* A place for one thread. Threads are joined, so that none still tidies up (OpenSSL's per-thread state, above
 * all) while the process ends. */
struct place {
    struct hd_connector *k;
    pthread_t id;
    enum { FREE, RUNNING, ENDED } state;
};

struct hd_connector {
    pthread_mutex_t lock;
    pthread_cond_t work; /* something to do, or stopping */
    struct place *places;
    struct hd_connect *connects, **connects_tail;
    struct hd_cancel_job *cancels, **cancels_tail;
    int idle, max;
    int connecting; /* threads that connect; some are left for cancels */
    int queued;     /* connects and cancels that no thread has taken */
    int stopping;
    int stop_fd; /* readable once stopping, so that waiting for a server ends */
};

/* Does an SQLSTATE and a colon stand here? Every one has a digit, which keeps words like FATAL apart. */
static int is_sqlstate(const char *s)
{
    int digits = 0;

    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)s[i]) && !isupper((unsigned char)s[i]))
            return 0;
        digits += isdigit((unsigned char)s[i]) != 0;
    }
    return digits && s[5] == ':';
}

/* The first "SQLSTATE: message" in libpq's verbose text, else its first line. */
void hd_connect_read_failure(struct hd_connect *c, const char *text)
{
    const char *msg = text;
    size_t n;

    for (const char *p = text; (p = strchr(p, ':')); p++) {
        const char *s = p + 1 + strspn(p + 1, " ");

        if (s == p + 1 || !is_sqlstate(s))
            continue;
        memcpy(c->sqlstate, s, 5);
        msg = s + 6 + strspn(s + 6, " ");
        break;
    }
    n = strcspn(msg, "\n");
    if (n >= sizeof(c->message))
        n = sizeof(c->message) - 1;
    memcpy(c->message, msg, n);
    c->message[n] = 0;
}

int hd_connect_wait_fd(const struct hd_connect_wait *w, int fd, short events)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = w->stop_fd, .events = POLLIN}};
    uint64_t now = hd_now_ns();
    int n;

    if (now >= w->deadline_ns)
        return -1;
    do
        n = poll(p, 2, (int)((w->deadline_ns - now) / 1000000) + 1);
    while (n < 0 && errno == EINTR);
    if (p[1].revents)
        return -2;
    return n > 0 ? 0 : -1;
}

/* libpq keeps the cancel key to itself, but for its trace. Cancels of our own are not blocking, as libpq's
 * are: where the key cannot be read, libpq's will do. */
static void read_cancel_key(PGconn *conn, const char *trace, struct hd_cancel_key *out)
{
    static const char word[] = "BackendKeyData";
    const char *at = trace ? strstr(trace, word) : NULL;
    socklen_t len = sizeof(out->address);
    int pid, key, end = 0;

    out->address_len = 0;
    if (!at || sscanf(at + sizeof(word) - 1, "%d %d%n", &pid, &key, &end) != 2 || pid != PQbackendPID(conn) ||
        !strchr("\r\n", at[sizeof(word) - 1 + (size_t)end]) ||
        getpeername(PQsocket(conn), (struct sockaddr *)&out->address, &len))
        return;
    out->pid = (uint32_t)pid;
    out->key = (uint32_t)key;
    out->address_len = len;
}

/* libpq's own way. NULL: c says why. */
static PGconn *connect_by_libpq(struct hd_connect *c, const struct hd_connect_wait *w, FILE *trace)
{
    PostgresPollingStatusType s = PGRES_POLLING_WRITING;
    PGconn *conn = PQconnectStartParams(c->keywords, c->values, 1);
    int waited = 0;

    if (!conn) {
        snprintf(c->message, sizeof(c->message), "out of memory");
        return NULL;
    }
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    if (trace) {
        PQtrace(conn, trace);
        PQsetTraceFlags(conn, PQTRACE_SUPPRESS_TIMESTAMPS);
    }
    if (PQstatus(conn) == CONNECTION_BAD)
        s = PGRES_POLLING_FAILED;
    while (s != PGRES_POLLING_OK && s != PGRES_POLLING_FAILED) {
        waited = hd_connect_wait_fd(w, PQsocket(conn), s == PGRES_POLLING_READING ? POLLIN : POLLOUT);
        if (waited)
            break;
        s = PQconnectPoll(conn);
    }
    if (s == PGRES_POLLING_OK)
        return conn;
    if (waited == -1)
        snprintf(c->message, sizeof(c->message), "no answer within %llu ms",
                 (unsigned long long)c->timeout_ms);
    else if (waited == -2)
        snprintf(c->message, sizeof(c->message), "the host is stopping");
    else
        hd_connect_read_failure(c, PQerrorMessage(conn));
    if (!c->sqlstate[0] && PQconnectionNeedsPassword(conn)) /* libpq gave up, the server need not say it */
        memcpy(c->sqlstate, "28P01", 6);
    PQuntrace(conn);
    PQfinish(conn);
    return NULL;
}

static void no_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* Asks what is to be asked. 0, or the connection cannot be used: c says why. An error that the server
 * answers is an answer. */
static int put_question(struct hd_connect *c, const struct hd_connect_wait *w)
{
    PGresult *r;
    size_t n = 0;
    int bad;

    PQsetNoticeProcessor(c->conn, no_notice, NULL);
    bad = !PQsendQuery(c->conn, c->question);
    for (; !bad; n++) {
        while (!bad && PQisBusy(c->conn))
            bad = hd_connect_wait_fd(w, PQsocket(c->conn), POLLIN) || !PQconsumeInput(c->conn);
        r = bad ? NULL : PQgetResult(c->conn);
        if (!r)
            break;
        if (n < HD_ARRAY_LEN(c->answers))
            c->answers[n] = r;
        else
            PQclear(r);
    }
    if (bad || PQstatus(c->conn) != CONNECTION_OK) {
        snprintf(c->message, sizeof(c->message), "connection lost while its settings were asked for");
        return -1;
    }
    return 0;
}

static void run_connect(struct hd_connector *k, struct hd_connect *c)
{
    const struct hd_connect_wait w = {hd_now_ns() + c->timeout_ms * 1000000, k->stop_fd};
    char *trace = NULL;
    size_t trace_len = 0;
    FILE *f = open_memstream(&trace, &trace_len);

    c->conn = c->keys ? hd_connect_by_keys(c, &w, f) : connect_by_libpq(c, &w, f);
    if (f) {
        if (c->conn)
            PQuntrace(c->conn);
        fclose(f);
    }
    if (c->conn)
        read_cancel_key(c->conn, trace, &c->key);
    free(trace);
    if (c->conn && c->question && put_question(c, &w)) {
        PQfinish(c->conn);
        c->conn = NULL;
    }
}

static void connect_done(struct hd_post *p)
{
    struct hd_connect *c = HD_CONTAINER_OF(p, struct hd_connect, post);

    c->done(c);
}

static void cancel_done(struct hd_post *p)
{
    struct hd_cancel_job *c = HD_CONTAINER_OF(p, struct hd_cancel_job, post);

    c->done(c);
}

/* Sends the packet and waits until the other side closes. */
static void send_packet(struct hd_connector *k, struct hd_cancel_job *c)
{
    const struct hd_connect_wait w = {hd_now_ns() + CANCEL_NS, k->stop_fd};
    int fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ssize_t n = 1;
    char end[16];

    if (fd < 0)
        return;
    if ((!connect(fd, (const struct sockaddr *)&c->address, c->address_len) || errno == EINPROGRESS) &&
        !hd_connect_wait_fd(&w, fd, POLLOUT) &&
        send(fd, c->packet, c->packet_len, MSG_NOSIGNAL) == (ssize_t)c->packet_len) {
        c->sent = 1;
        while (n > 0 && !hd_connect_wait_fd(&w, fd, POLLIN))
            n = recv(fd, end, sizeof(end), 0);
        c->confirmed = n <= 0;
    }
    close(fd);
}

static void run_cancel(struct hd_connector *k, struct hd_cancel_job *c)
{
    char text[256];

    if (c->cancel) {
        c->sent = c->confirmed = PQcancel(c->cancel, text, sizeof(text));
        PQfreeCancel(c->cancel);
        c->cancel = NULL;
    } else {
        send_packet(k, c);
    }
    c->post.fn = cancel_done;
    hd_loop_post(c->loop, &c->post);
}

/* Does one piece of work; the lock is held on entry and on return. Cancels go first: somebody waits for the
 * server. */
static int run_one(struct hd_connector *k)
{
    struct hd_cancel_job *job = k->cancels;
    struct hd_connect *req = k->connects;

    if (job) {
        k->queued--;
        k->cancels = job->next;
        if (!k->cancels)
            k->cancels_tail = &k->cancels;
        pthread_mutex_unlock(&k->lock);
        run_cancel(k, job);
        pthread_mutex_lock(&k->lock);
        return 1;
    }
    if (!req || k->connecting >= k->max - CANCEL_THREADS)
        return 0;
    k->queued--;
    k->connecting++;
    k->connects = req->next;
    if (!k->connects)
        k->connects_tail = &k->connects;
    pthread_mutex_unlock(&k->lock);
    run_connect(k, req);
    req->post.fn = connect_done;
    hd_loop_post(req->loop, &req->post);
    pthread_mutex_lock(&k->lock);
    k->connecting--;
    return 1;
}

static void *thread_main(void *arg)
{
    struct place *at = arg;
    struct hd_connector *k = at->k;

    hd_thread_name(HD_THREAD_OTHER, 0);
    pthread_mutex_lock(&k->lock);
    for (;;) {
        struct timespec until;

        if (run_one(k))
            continue;
        if (k->stopping)
            break;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += IDLE_SECONDS;
        k->idle++;
        if (pthread_cond_timedwait(&k->work, &k->lock, &until) == ETIMEDOUT && !k->connects && !k->cancels) {
            k->idle--;
            break;
        }
        k->idle--;
    }
    OPENSSL_thread_stop(); /* what libpq's TLS keeps for a thread; exit() must not run beside its end */
    at->state = ENDED;
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

struct hd_connector *hd_connector_new(int threads)
{
    struct hd_connector *k = hd_calloc(1, sizeof(*k));

    if (!k)
        return NULL;
    k->places = hd_calloc((size_t)threads, sizeof(*k->places));
    k->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!k->places || k->stop_fd < 0) {
        if (k->stop_fd >= 0)
            close(k->stop_fd);
        hd_free(k->places);
        hd_free(k);
        return NULL;
    }
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->work, NULL);
    k->connects_tail = &k->connects;
    k->cancels_tail = &k->cancels;
    k->max = threads;
    return k;
}

void hd_connector_free(struct hd_connector *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stopping = 1;
    (void)!eventfd_write(k->stop_fd, 1);
    pthread_cond_broadcast(&k->work);
    for (int i = 0; i < k->max; i++) {
        if (k->places[i].state == FREE)
            continue;
        pthread_mutex_unlock(&k->lock);
        pthread_join(k->places[i].id, NULL);
        pthread_mutex_lock(&k->lock);
    }
    while (run_one(k)) /* what no thread took: connects fail at once, their done is posted */
        ;
    pthread_mutex_unlock(&k->lock);
    pthread_cond_destroy(&k->work);
    pthread_mutex_destroy(&k->lock);
    close(k->stop_fd);
    hd_free(k->places);
    hd_free(k);
}

/* A place that no thread has, or has any more. */
static struct place *place_for(struct hd_connector *k)
{
    for (int i = 0; i < k->max; i++) {
        struct place *p = &k->places[i];

        if (p->state == ENDED) /* it needs the lock no more: this does not wait for anything */
            pthread_join(p->id, NULL);
        if (p->state != RUNNING) {
            p->state = FREE;
            p->k = k;
            return p;
        }
    }
    return NULL;
}

/* Wakes or makes a thread; the lock is held. If none can be made now, one that ends its work will take it. */
static void want_thread(struct hd_connector *k)
{
    pthread_attr_t attr;
    struct place *p;

    if (++k->queued <= k->idle) {
        pthread_cond_signal(&k->work);
        return;
    }
    p = place_for(k);
    if (!p)
        return;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (pthread_create(&p->id, &attr, thread_main, p) == 0)
        p->state = RUNNING;
    pthread_attr_destroy(&attr);
}

void hd_connector_connect(struct hd_connector *k, struct hd_connect *req)
{
    req->next = NULL;
    req->conn = NULL;
    memset(req->answers, 0, sizeof(req->answers));
    req->sqlstate[0] = req->message[0] = 0;
    pthread_mutex_lock(&k->lock);
    *k->connects_tail = req;
    k->connects_tail = &req->next;
    want_thread(k);
    pthread_mutex_unlock(&k->lock);
}

void hd_connector_cancel(struct hd_connector *k, struct hd_cancel_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&k->lock);
    *k->cancels_tail = job;
    k->cancels_tail = &job->next;
    want_thread(k);
    pthread_mutex_unlock(&k->lock);
}
