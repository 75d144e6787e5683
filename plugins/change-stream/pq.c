/*
 * libpq without blocking, for the steps of a start: each waits on the socket and on the stream's wake, so
 * that a stop is never kept waiting. One thing can still block: resolving a host name.
 */
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_NS (UINT64_C(30000) * NS_PER_MS)
#define EXEC_NS    (UINT64_C(60000) * NS_PER_MS)
#define STEP_MS    1000

/* Copies the first line. */
const char *cs_pq_reason(const char *message, char *why)
{
    static const char *const levels[] = {"ERROR:  ", "FATAL:  "};
    int len;

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (!strncmp(message, levels[i], strlen(levels[i])))
            message += strlen(levels[i]);
    len = (int)strcspn(message, "\n");

    snprintf(why, 200, "%.*s", len ? len : 16, len ? message : "connection lost");
    return why;
}

static void drain_wake(struct stream *s)
{
    uint64_t n;

    atomic_store(&s->waking, 0);
    if (read(s->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        cs_log(s->plugin, HD_LEVEL_ERROR, "a stream's wake cannot be read", s, strerror(errno));
}

/* HD_OK: the socket is ready, or it may be. */
static int wait_on(struct stream *s, int fd, short events, uint64_t deadline, char *why)
{
    struct pollfd fds[2] = {{.fd = s->wake_fd, .events = POLLIN}, {.fd = fd, .events = events}};

    for (;;) {
        uint64_t now = cs_now();
        uint64_t left = deadline > now ? (deadline - now) / NS_PER_MS + 1 : 0;

        if (atomic_load(&s->stop))
            return HD_ECANCELLED;
        if (!left) {
            snprintf(why, 200, "the server does not answer in time");
            return HD_ETIMEOUT;
        }
        if (poll(fds, fd >= 0 ? 2 : 1, left > STEP_MS ? STEP_MS : (int)left) < 0 && errno != EINTR)
            return HD_EIO;
        if (fds[0].revents)
            drain_wake(s);
        if (fd >= 0 && fds[1].revents)
            return HD_OK;
    }
}

int cs_pause(struct stream *s, uint64_t ms)
{
    char why[200];
    int code = wait_on(s, -1, 0, cs_now() + ms * NS_PER_MS, why);

    return code == HD_ETIMEOUT ? HD_OK : code;
}

/* What a server says by the way does not go to stderr. */
static void ignore_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

static void append(char *to, size_t room, const char *key, const char *value, size_t len)
{
    size_t at = strlen(to);

    if (at + strlen(key) + 2 * len + 5 > room)
        return;
    at += (size_t)sprintf(to + at, " %s='", key);
    for (size_t i = 0; i < len; i++) {
        if (value[i] == '\'' || value[i] == '\\')
            to[at++] = '\\';
        to[at++] = value[i];
    }
    memcpy(to + at, "'", 2);
}

/* The node's own connection string, with what the plugin's options say instead. */
static int conninfo(struct stream *s, int replication, char *out, uint32_t room, char *why)
{
    const struct conf *c = s->plugin->conf;
    struct hd_error err = HD_ERROR_INIT;
    int code = s->plugin->nodes->conninfo(s->plugin->host, (struct hd_str){s->node, strlen(s->node)},
                                          (struct hd_str){s->dbname, strlen(s->dbname)}, out, room, &err);

    if (code) {
        snprintf(why, 200, "%.199s", err.text);
        return code;
    }
    if (c->user.len) {
        append(out, room, "user", c->user.ptr, c->user.len);
        append(out, room, "password", c->password.ptr, c->password.len);
    }
    append(out, room, "application_name", "howdah change-stream", 20);
    append(out, room, "keepalives_idle", "10", 2);
    if (replication)
        append(out, room, "replication", "database", 8);
    return HD_OK;
}

static int establish(struct stream *s, PGconn *pg, char *why)
{
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    uint64_t deadline = cs_now() + CONNECT_NS;

    if (PQstatus(pg) == CONNECTION_BAD) {
        cs_pq_reason(PQerrorMessage(pg), why);
        return HD_EIO;
    }
    while (step != PGRES_POLLING_OK) {
        int code = wait_on(s, PQsocket(pg), step == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, why);

        if (code)
            return code;
        step = PQconnectPoll(pg);
        if (step == PGRES_POLLING_FAILED) {
            cs_pq_reason(PQerrorMessage(pg), why);
            return HD_EIO;
        }
    }
    return HD_OK;
}

int cs_connect(struct stream *s, int replication, PGconn **out, char *why)
{
    char text[4096];
    PGconn *pg;
    int code = conninfo(s, replication, text, sizeof(text), why);

    if (code)
        return code;
    pg = PQconnectStart(text);
    explicit_bzero(text, sizeof(text));
    if (!pg) {
        snprintf(why, 200, "no memory to connect");
        return HD_ENOMEM;
    }
    PQsetNoticeReceiver(pg, ignore_notice, NULL);
    code = establish(s, pg, why);
    if (!code && PQsetnonblocking(pg, 1)) {
        cs_pq_reason(PQerrorMessage(pg), why);
        code = HD_EIO;
    }
    if (code)
        PQfinish(pg);
    else
        *out = pg;
    return code;
}

static int finish_sending(struct stream *s, PGconn *pg, uint64_t deadline, char *why)
{
    int left;

    while ((left = PQflush(pg)) == 1) {
        int code = wait_on(s, PQsocket(pg), POLLIN | POLLOUT, deadline, why);

        if (code)
            return code;
        if (!PQconsumeInput(pg))
            break;
    }
    if (!left)
        return HD_OK;
    cs_pq_reason(PQerrorMessage(pg), why);
    return HD_EIO;
}

static int next_result(struct stream *s, PGconn *pg, uint64_t deadline, PGresult **out, char *why)
{
    while (PQisBusy(pg)) {
        int code = wait_on(s, PQsocket(pg), POLLIN, deadline, why);

        if (code)
            return code;
        if (!PQconsumeInput(pg))
            break; /* the next result says what happened */
    }
    *out = PQgetResult(pg);
    return HD_OK;
}

/* Takes the first result; the others are read away, but for those of a copy, which does not end. */
static int collect(struct stream *s, PGconn *pg, PGresult **out, char *why)
{
    uint64_t deadline = cs_now() + EXEC_NS;
    int code = finish_sending(s, pg, deadline, why);
    PGresult *res;

    *out = NULL;
    while (!code && !(code = next_result(s, pg, deadline, &res, why)) && res) {
        ExecStatusType status = PQresultStatus(res);

        if (*out)
            PQclear(*out);
        *out = res;
        if (status == PGRES_COPY_BOTH || PQstatus(pg) == CONNECTION_BAD)
            break;
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            cs_pq_reason(PQresultErrorMessage(res), why);
            code = HD_ESQL;
        }
    }
    if (!code && !*out) {
        cs_pq_reason(PQerrorMessage(pg), why);
        code = HD_EIO;
    }
    if (code) {
        PQclear(*out);
        *out = NULL;
    }
    return code;
}

int cs_exec(struct stream *s, PGconn *pg, const char *sql, PGresult **out, char *why)
{
    PGresult *res = NULL;
    int code;

    if (!PQsendQuery(pg, sql)) {
        cs_pq_reason(PQerrorMessage(pg), why);
        return HD_EIO;
    }
    code = collect(s, pg, &res, why);
    if (out)
        *out = res;
    else
        PQclear(res);
    return code;
}

int cs_prepare(struct stream *s, PGconn *pg, const char *name, const char *sql, char *why)
{
    PGresult *res = NULL;
    int code;

    if (!PQsendPrepare(pg, name, sql, 0, NULL)) {
        cs_pq_reason(PQerrorMessage(pg), why);
        return HD_EIO;
    }
    code = collect(s, pg, &res, why);
    PQclear(res);
    return code;
}

uint64_t cs_lsn(const char *text)
{
    unsigned high = 0, low = 0;

    return sscanf(text, "%X/%X", &high, &low) == 2 ? (uint64_t)high << 32 | low : 0;
}
