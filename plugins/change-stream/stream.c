/*
 * A stream's life, on its thread: it connects, makes a temporary slot of a name that nobody else has, and
 * reads until something fails; then all that was told is void, and it begins anew after a pause. The slot
 * ends with its connection, however this process ends.
 */
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define PING_NS       (1 * NS_PER_MS)  /* between questions how far the walsender is, while somebody waits */
#define PING_AGAIN_NS (50 * NS_PER_MS) /* where no answer came */
#define RETRY_MAX_MS  30000

uint64_t cs_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void cs_wake(struct stream *s)
{
    uint64_t one = 1;

    if (!atomic_exchange(&s->waking, 1) && write(s->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        cs_log(s->plugin, HD_LEVEL_ERROR, "a stream cannot be woken", s, strerror(errno));
}

/* --- beginning ----------------------------------------------------------------------------------------- */

/* 1: it is another one than the last time. */
static int set_reason(struct stream *s, const char *why)
{
    int changed;

    pthread_mutex_lock(&s->lock);
    changed = strncmp(s->reason, why, sizeof(s->reason) - 1) != 0;
    snprintf(s->reason, sizeof(s->reason), "%s", why);
    pthread_mutex_unlock(&s->lock);
    return changed;
}

/* Which server it is, and which of its pasts and futures. */
static int identify(struct stream *s, char *why)
{
    PGresult *res;
    int code = cs_exec(s, s->repl, "IDENTIFY_SYSTEM", &res, why);

    if (code)
        return code;
    if (PQntuples(res) == 1 && PQnfields(res) >= 2) {
        atomic_store(&s->system, strtoull(PQgetvalue(res, 0, 0), NULL, 10));
        atomic_store(&s->timeline, (uint32_t)strtoul(PQgetvalue(res, 0, 1), NULL, 10));
    } else {
        snprintf(why, 200, "the server does not say which it is");
        code = HD_EPROTO;
    }
    PQclear(res);
    return code;
}

static int make_slot(struct stream *s, char *why)
{
    uint32_t chance[2];
    char sql[160];
    PGresult *res;
    int code;

    if (getrandom(chance, sizeof(chance), 0) != sizeof(chance))
        return HD_EIO;
    snprintf(s->slot, sizeof(s->slot), "howdah_%d_%08x%08x", (int)getpid(), chance[0], chance[1]);
    snprintf(sql, sizeof(sql), "CREATE_REPLICATION_SLOT \"%s\" TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT",
             s->slot);
    code = cs_exec(s, s->repl, sql, &res, why);
    if (code)
        return code;
    s->start_lsn = PQntuples(res) == 1 ? cs_lsn(PQgetvalue(res, 0, 1)) : 0;
    PQclear(res);
    if (s->start_lsn)
        return HD_OK;
    snprintf(why, 200, "the server does not say where the slot begins");
    return HD_EPROTO;
}

static int start_replication(struct stream *s, char *why)
{
    const struct hd_str *name = &s->plugin->conf->publication;
    char quoted[160], sql[400], *at = quoted;
    PGresult *res;
    int code;

    for (uint64_t i = 0; i < name->len && i < 63; i++) { /* an identifier within a literal */
        if (name->ptr[i] == '"' || name->ptr[i] == '\'')
            *at++ = name->ptr[i];
        *at++ = name->ptr[i];
    }
    *at = 0;
    snprintf(sql, sizeof(sql),
             "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (proto_version '1', publication_names '\"%s\"',"
             " messages 'true')",
             s->slot, quoted);
    code = cs_exec(s, s->repl, sql, &res, why);
    if (code)
        return code;
    if (PQresultStatus(res) != PGRES_COPY_BOTH) {
        snprintf(why, 200, "the server does not start to replicate");
        code = HD_EPROTO;
    }
    PQclear(res);
    return code;
}

static int begin(struct stream *s, char *why)
{
    int code = cs_connect(s, 0, &s->ask, why);

    cs_ask_reset(s);
    pgo_reset(s->parser);
    if (!code)
        code = cs_ask_prepare(s, why);
    if (!code)
        code = cs_cover_begin(s, why);
    if (!code)
        code = cs_connect(s, 1, &s->repl, why);
    if (!code)
        code = identify(s, why);
    if (!code)
        code = make_slot(s, why);
    if (!code)
        code = start_replication(s, why);
    return code;
}

/* --- the loop ------------------------------------------------------------------------------------------ */

/* Asks the walsender how far it is while somebody waits for that, and tells it how far we are now and then.
 * *due: when to come back. */
static int keep_in_touch(struct stream *s, uint64_t *due, char *why)
{
    uint64_t now = cs_now(), interval = (uint64_t)s->plugin->conf->status_interval * NS_PER_MS;
    int code = HD_OK;

    if (cs_waiters_target(s)) {
        if (now >= s->next_ping_ns) {
            code = cs_send_status(s, 1);
            s->pinged = 1;
            s->next_ping_ns = now + PING_AGAIN_NS;
        } else if (!s->pinged && s->next_ping_ns > now + PING_NS) {
            s->next_ping_ns = now + PING_NS;
        }
        if (s->next_ping_ns < *due)
            *due = s->next_ping_ns;
    } else {
        s->next_ping_ns = 0;
    }
    if (!code && now - s->last_status_ns >= interval)
        code = cs_send_status(s, 1);
    if (s->last_status_ns + interval < *due)
        *due = s->last_status_ns + interval;
    if (code) {
        cs_pq_reason(PQerrorMessage(s->repl), why);
    } else if (now - s->last_received_ns > (uint64_t)s->plugin->conf->receive_timeout * NS_PER_MS) {
        snprintf(why, 200, "the server has sent nothing for too long");
        code = HD_ETIMEOUT;
    }
    return code;
}

/* One turn: everything that can be done without waiting. */
static int turn(struct stream *s, uint64_t *due, char *why)
{
    int code;

    pthread_mutex_lock(&s->calling);
    code = cs_receive(s, why);
    if (!code) {
        cs_holds_join(s);
        cs_waiters_step(s);
        code = cs_ask_step(s, why);
    }
    if (!code)
        code = cs_cover_step(s, why);
    if (!code) {
        cs_waiters_step(s);
        *due = cs_ask_due(s) < cs_waiters_due(s) ? cs_ask_due(s) : cs_waiters_due(s);
        code = keep_in_touch(s, due, why);
    }
    cs_metrics_set(s);
    pthread_mutex_unlock(&s->calling);
    return code;
}

static void sleep_until(struct stream *s, uint64_t due)
{
    struct pollfd fds[3] = {
        {.fd = s->wake_fd, .events = POLLIN},
        {.fd = PQsocket(s->repl), .events = POLLIN},
        {.fd = PQsocket(s->ask), .events = POLLIN},
    };
    uint64_t now = cs_now(), left = due > now && !s->more ? due - now : 0, n;
    struct timespec t = {(time_t)(left / UINT64_C(1000000000)), (long)(left % UINT64_C(1000000000))};

    if (PQflush(s->repl) == 1)
        fds[1].events |= POLLOUT;
    if (PQflush(s->ask) == 1)
        fds[2].events |= POLLOUT;
    ppoll(fds, 3, &t, NULL);
    atomic_store(&s->waking, 0);
    if (fds[0].revents && read(s->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        cs_log(s->plugin, HD_LEVEL_ERROR, "a stream's wake cannot be read", s, strerror(errno));
}

static int follow(struct stream *s, char *why)
{
    uint64_t due = 0;
    int code = HD_OK;

    s->last_received_ns = s->last_status_ns = cs_now();
    s->in_transaction = s->told_begin = s->pinged = 0;
    s->more = 1;
    atomic_store(&s->position, s->start_lsn);
    pthread_mutex_lock(&s->calling);
    cs_holds_begin(s);
    pthread_mutex_unlock(&s->calling);
    while (!code && !atomic_load(&s->stop)) {
        code = turn(s, &due, why);
        if (!code)
            sleep_until(s, due);
    }
    return code;
}

/* --- ending -------------------------------------------------------------------------------------------- */

static void disconnect(struct stream *s)
{
    PQfinish(s->repl);
    PQfinish(s->ask);
    s->repl = s->ask = NULL;
}

/* Nothing that was told holds any more. */
static void lose(struct stream *s, int code, const char *why)
{
    int was = s->told_start, news = set_reason(s, why);

    pthread_mutex_lock(&s->calling);
    atomic_store(&s->state, HD_STREAM_STARTING);
    atomic_store(&s->position, 0);
    cs_cover_lost(s);
    cs_holds_lost(s, why);
    cs_waiters_end(s, NULL, code == HD_ECANCELLED ? HD_ECANCELLED : HD_EIO);
    if (was) {
        atomic_fetch_add(&s->restarts, 1);
        cs_publish_gap(s);
    }
    s->told_start = s->in_transaction = 0;
    cs_ask_reset(s);
    cs_metrics_set(s);
    pthread_mutex_unlock(&s->calling);
    if (!atomic_load(&s->stop) && (was || news))
        cs_log(s->plugin, HD_LEVEL_WARNING, was ? "the change stream is lost" : "no change stream", s, why);
}

static void *run(void *arg)
{
    struct stream *s = arg;
    uint64_t pause = (uint64_t)s->plugin->conf->retry_interval;

    while (!atomic_load(&s->stop)) {
        char why[200] = "";
        int code, followed = 0;

        pthread_mutex_lock(&s->calling);
        cs_holds_join(s);
        pthread_mutex_unlock(&s->calling);
        code = begin(s, why);
        if (!code) {
            followed = 1;
            code = follow(s, why);
        }
        disconnect(s);
        if (followed)
            pause = (uint64_t)s->plugin->conf->retry_interval;
        lose(s, code, why);
        cs_cover_end(s);
        if (!atomic_load(&s->stop))
            cs_pause(s, pause);
        pause = pause * 2 < RETRY_MAX_MS ? pause * 2 : RETRY_MAX_MS;
    }
    pthread_mutex_lock(&s->calling);
    atomic_store(&s->state, HD_STREAM_STOPPED);
    cs_holds_end(s);
    cs_metrics_set(s);
    pthread_mutex_unlock(&s->calling);
    cs_stream_gone(s);
    return NULL;
}

/* --- made and freed ------------------------------------------------------------------------------------ */

int32_t cs_stream_new(struct plugin *p, struct hd_str node, struct hd_str dbname, struct stream **out,
                      struct hd_error *err)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (!s)
        return hd_error_set(err, HD_ENOMEM, "no memory for a stream");
    s->plugin = p;
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->node = hd_str_dup(node);
    s->dbname = hd_str_dup(dbname);
    s->parser = pgo_new();
    atomic_store(&s->state, HD_STREAM_STARTING);
    pthread_mutex_init(&s->calling, NULL);
    pthread_mutex_init(&s->lock, NULL);
    if (s->wake_fd < 0 || !s->node || !s->dbname || !s->parser) {
        cs_stream_free(s);
        return hd_error_set(err, HD_ENOMEM, "no memory, or no descriptor, for a stream");
    }
    cs_metrics_find(s);
    *out = s;
    return HD_OK;
}

int32_t cs_stream_run(struct stream *s, struct hd_error *err)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t blocked, before;
    int failed;

    sigfillset(&blocked); /* but for those that say who has crashed */
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&thread, &attr, run, s);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return hd_error_set(err, HD_EFULL, "no thread for a stream: %s", strerror(failed));
    pthread_setname_np(thread, "hd-stream");
    return HD_OK;
}

/* Those that were never closed. */
static void free_holds(struct hd_stream *h)
{
    while (h) {
        struct hd_stream *next = h->next;

        free(h);
        h = next;
    }
}

void cs_stream_free(struct stream *s)
{
    cs_waiters_free(s);
    cs_cover_free(s);
    free_holds(s->holds);
    free_holds(s->joining);
    free(s->unsettled.list);
    pgo_free(s->parser);
    free(s->node);
    free(s->dbname);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    pthread_mutex_destroy(&s->calling);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
