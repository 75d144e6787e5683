/*
 * One control connection; see sqlconn.h.
 */
#include "plug/sqlconn.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/units.h"

#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MAX_KEYS        64   /* of a conninfo, with ours */
#define CANCEL_GRACE_MS 5000 /* a cancelled statement's answer is waited for so long */
#define MAX_CANCELLERS  8
#define PEER_TIMEOUT_MS "10000" /* a peer that acknowledges nothing for so long is gone */
#define NS_PER_MS       1000000u

struct hd_sqlconn {
    PGconn *pg;
};

/* --- waiting ----------------------------------------------------------------------------------------------
 */

static int is_cancelled(const struct hd_sql_wait *w)
{
    return w->cancelled && atomic_load(w->cancelled);
}

/* Milliseconds to the deadline, rounded up; 0 when it has passed. */
static int64_t ms_left(uint64_t deadline_ns)
{
    uint64_t now = hd_now_ns();

    return now >= deadline_ns ? 0 : (int64_t)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* Waits until the socket is ready for `events`. HD_OK, HD_ETIMEOUT, HD_ECANCELLED or HD_EIO. */
static int wait_for(PGconn *pg, short events, const struct hd_sql_wait *w)
{
    struct pollfd fds[2] = {{.fd = PQsocket(pg), .events = events}, {.fd = w->cancel_fd, .events = POLLIN}};

    if (fds[0].fd < 0)
        return HD_EIO;
    for (;;) {
        int64_t left = ms_left(w->deadline_ns);
        int n;

        if (is_cancelled(w))
            return HD_ECANCELLED;
        if (!left)
            return HD_ETIMEOUT;
        n = poll(fds, w->cancelled && w->cancel_fd >= 0 ? 2 : 1, left > 1000 ? 1000 : (int)left);
        if (n > 0 && fds[0].revents)
            return HD_OK;
    }
}

/* --- connecting -------------------------------------------------------------------------------------------
 */

struct keys {
    const char *key[MAX_KEYS + 1], *value[MAX_KEYS + 1];
    int count;
};

static void put(struct keys *k, const char *key, const char *value)
{
    if (k->count == MAX_KEYS)
        return;
    k->key[k->count] = key;
    k->value[k->count++] = value;
}

static const char *given(const PQconninfoOption *options, const char *key)
{
    for (const PQconninfoOption *o = options; o->keyword; o++) {
        if (strcmp(o->keyword, key) == 0)
            return o->val;
    }
    return NULL;
}

/* What the session starts with, behind what the node's own conninfo asks for. */
static char *session_options(const char *own)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    char *text;

    hd_strbuf_printf(&b,
                     "%s%s-c search_path=pg_catalog -c jit=off -c lock_timeout=%d -c statement_timeout=%d",
                     own ? own : "", own ? " " : "", HD_SQL_LOCK_TIMEOUT_MS, HD_SQL_STATEMENT_TIMEOUT_MS);
    text = b.failed ? NULL : hd_strbuf_take(&b);
    hd_strbuf_free(&b);
    return text;
}

static PGconn *start(const struct hd_job_node *node, const char *database, const PQconninfoOption *options,
                     const char *session)
{
    struct keys k = {.count = 0};

    for (const PQconninfoOption *o = options; o->keyword; o++) {
        if (o->val)
            put(&k, o->keyword, o->val);
    }
    /* Of a key that stands twice the later one counts. */
    put(&k, "user", node->user);
    if (node->password)
        put(&k, "password", node->password);
    if (database)
        put(&k, "dbname", database);
    else if (!given(options, "dbname"))
        put(&k, "dbname", "postgres");
    put(&k, "application_name", "howdah");
    put(&k, "client_encoding", "UTF8");
    put(&k, "gssencmode", "disable");
    put(&k, "options", session);
    if (!given(options, "tcp_user_timeout"))
        put(&k, "tcp_user_timeout", PEER_TIMEOUT_MS);
    k.key[k.count] = k.value[k.count] = NULL;
    return PQconnectStartParams(k.key, k.value, 0);
}

/* Polls a connection that was started until it stands. */
static int establish(PGconn *pg, const struct hd_sql_wait *w)
{
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;

    if (PQstatus(pg) == CONNECTION_BAD)
        return HD_EIO;
    while (step != PGRES_POLLING_OK) {
        int code = wait_for(pg, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, w);

        if (code)
            return code;
        step = PQconnectPoll(pg);
        if (step == PGRES_POLLING_FAILED)
            return HD_EIO;
    }
    return HD_OK;
}

static int refuse(struct hd_error *err, int code, const struct hd_job_node *node, PGconn *pg)
{
    const char *text = pg ? PQerrorMessage(pg) : "";
    int len = (int)strcspn(text, "\n");

    if (code == HD_ETIMEOUT)
        return hd_fail(err, code, "node %s: it cannot be reached in time", node->name);
    if (code == HD_ECANCELLED)
        return hd_fail(err, code, "node %s: connecting was cancelled", node->name);
    return hd_fail(err, code, "node %s: %.*s", node->name, len ? len : 14, len ? text : "cannot connect");
}

/* Server messages of a control connection do not go to stderr. */
static void ignore_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

static int connect_pg(const struct hd_job_node *node, const char *database, const PQconninfoOption *options,
                      const struct hd_sql_wait *w, PGconn **out, struct hd_error *err)
{
    char *session = session_options(given(options, "options"));
    struct hd_sql_wait until = *w;
    uint64_t limit = hd_now_ns() + node->connect_timeout * NS_PER_MS;
    PGconn *pg = session ? start(node, database, options, session) : NULL;
    int code = HD_ENOMEM;

    hd_free(session);
    if (!pg)
        return hd_fail(err, HD_ENOMEM, "node %s: no memory to connect", node->name);
    if (node->connect_timeout && limit < until.deadline_ns)
        until.deadline_ns = limit;
    PQsetNoticeReceiver(pg, ignore_notice, NULL);
    code = establish(pg, &until);
    if (!code && PQsetnonblocking(pg, 1))
        code = HD_EIO;
    if (code) {
        refuse(err, code, node, pg);
        PQfinish(pg);
        return code;
    }
    *out = pg;
    return HD_OK;
}

int hd_sqlconn_open(const struct hd_job_node *node, const char *database, const struct hd_sql_wait *w,
                    struct hd_sqlconn **out, struct hd_error *err)
{
    PQconninfoOption *options;
    struct hd_sqlconn *c;
    char *why = NULL;
    int code;

    if (!node->user)
        return hd_fail(
            err, HD_EINVAL,
            "node %s: statements need a control_user, a user in conninfo or a [user] with admin = yes",
            node->name);
    options = PQconninfoParse(node->conninfo, &why);
    if (!options) {
        PQfreemem(why); /* may quote what it could not read: not to be shown */
        return hd_fail(err, HD_EINVAL, "node %s: its conninfo cannot be read", node->name);
    }
    c = hd_calloc(1, sizeof(*c));
    code = c ? connect_pg(node, database, options, w, &c->pg, err)
             : hd_fail(err, HD_ENOMEM, "node %s: no memory to connect", node->name);
    PQconninfoFree(options);
    if (code)
        hd_free(c);
    else
        *out = c;
    return code;
}

void hd_sqlconn_close(struct hd_sqlconn *c)
{
    if (!c)
        return;
    PQfinish(c->pg);
    hd_free(c);
}

/* --- cancelling -------------------------------------------------------------------------------------------
 */

static _Atomic int cancellers;

/* PQcancel blocks, for ever where a server accepts and says nothing: it has a thread of its own. */
static void *send_cancel(void *arg)
{
    char why[256];

    PQcancel(arg, why, sizeof(why));
    PQfreeCancel(arg);
    atomic_fetch_sub(&cancellers, 1);
    return NULL;
}

/* Asks the server to end what runs on the connection; does not wait. */
static void ask_to_cancel(PGconn *pg)
{
    PGcancel *cancel = PQgetCancel(pg);
    pthread_t thread;

    if (!cancel)
        return;
    if (atomic_fetch_add(&cancellers, 1) >= MAX_CANCELLERS ||
        pthread_create(&thread, NULL, send_cancel, cancel)) {
        atomic_fetch_sub(&cancellers, 1);
        PQfreeCancel(cancel);
        hd_log(HD_LOG_WARNING, "a statement on a control connection could not be cancelled");
        return;
    }
    pthread_detach(thread);
}

/* --- running ----------------------------------------------------------------------------------------------
 */

static int flush(PGconn *pg, const struct hd_sql_wait *w)
{
    int left;

    while ((left = PQflush(pg)) == 1) {
        int code = wait_for(pg, POLLIN | POLLOUT, w);

        if (code)
            return code;
        if (!PQconsumeInput(pg))
            return HD_EIO;
    }
    return left ? HD_EIO : HD_OK;
}

/* The next result, NULL at the end. */
static int next_result(PGconn *pg, const struct hd_sql_wait *w, PGresult **out)
{
    while (PQisBusy(pg)) {
        int code = wait_for(pg, POLLIN, w);

        if (code)
            return code;
        if (!PQconsumeInput(pg))
            break; /* the next result says what happened */
    }
    *out = PQgetResult(pg);
    return HD_OK;
}

/* What one statement's answers are gathered in. */
struct gather {
    struct hd_sql_answer *a;
    int failed;    /* the answer has its code and text */
    int ended;     /* the last result closed a statement: the next one begins anew */
    int abandoned; /* what else comes is not read: the connection is of no more use */
};

static void take_failure(struct gather *g, int code)
{
    g->abandoned = g->failed = 1;
    hd_sql_answer_end(g->a, code, code == HD_EFULL ? "54000" : "53200",
                      code == HD_EFULL ? "the answer is larger than 64 MiB" : "no memory for the answer");
}

/* Adds one result. The first failure stays. */
static void take_result(struct gather *g, const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    int code = HD_OK;

    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
        g->abandoned = g->failed = 1;
        hd_sql_answer_end(g->a, HD_EUNSUPP, "0A000", "COPY is not for control connections");
        return;
    }
    if (g->failed)
        return;
    if (g->ended)
        hd_sql_answer_restart(g->a);
    g->ended = status != PGRES_SINGLE_TUPLE;
    switch (status) {
    case PGRES_SINGLE_TUPLE:
        code = hd_sql_answer_rows(g->a, res);
        break;
    case PGRES_TUPLES_OK:
        code = hd_sql_answer_rows(g->a, res);
        if (!code)
            hd_sql_answer_end(g->a, HD_OK, "00000", PQcmdStatus((PGresult *)res));
        break;
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        hd_sql_answer_end(g->a, HD_OK, "00000", PQcmdStatus((PGresult *)res));
        break;
    default:
        g->failed = 1;
        hd_sql_answer_error(g->a, res);
    }
    if (code)
        take_failure(g, code);
}

/* Reads all results of what was sent. */
static int collect(PGconn *pg, const struct hd_sql_wait *w, struct gather *g)
{
    PGresult *res;
    int code = flush(pg, w);

    while (!code && !g->abandoned) {
        code = next_result(pg, w, &res);
        if (code || !res)
            break;
        take_result(g, res);
        PQclear(res);
    }
    return code;
}

/* Sends and reads; a cancel on the way is passed on to the server, whose word then counts. */
static int converse(PGconn *pg, const struct hd_sql_wait *w, struct gather *g)
{
    struct hd_sql_wait rest = {.deadline_ns = w->deadline_ns, .cancel_fd = -1};
    uint64_t grace;
    int code = collect(pg, w, g);

    if (code != HD_ECANCELLED)
        return code;
    ask_to_cancel(pg);
    grace = hd_now_ns() + (uint64_t)CANCEL_GRACE_MS * NS_PER_MS;
    if (grace < rest.deadline_ns)
        rest.deadline_ns = grace;
    code = collect(pg, &rest, g);
    if (code == HD_ETIMEOUT)
        return HD_ECANCELLED;
    if (!code && g->a->result.code == HD_ESQL && strcmp(g->a->result.sqlstate, "57014") == 0)
        hd_sql_answer_end(g->a, HD_ECANCELLED, "57014", "cancelled");
    return code;
}

/* Sends one text and fills the answer. */
static int ask(PGconn *pg, const struct hd_sql *sql, const char *text, const struct hd_sql_wait *w,
               struct hd_sql_answer *a)
{
    struct gather g = {.a = a};
    int code = HD_EIO;

    hd_sql_answer_restart(a);
    if (sql && sql->param_count
            ? PQsendQueryParams(pg, text, (int)sql->param_count, NULL, sql->params, NULL, NULL, 0)
            : PQsendQuery(pg, text)) {
        PQsetSingleRowMode(pg);
        code = converse(pg, w, &g);
    }
    if (code == HD_ETIMEOUT)
        return hd_sql_answer_end(a, code, "57014", "the deadline has passed");
    if (code == HD_ECANCELLED)
        return hd_sql_answer_end(a, code, "57014", "cancelled");
    if (code)
        return hd_sql_answer_end(a, code, "08006", PQerrorMessage(pg));
    return a->result.code;
}

/* Sets the timeouts where they differ from what the session starts with. */
static int set_timeouts(PGconn *pg, const struct hd_sql *sql, const struct hd_sql_wait *w,
                        struct hd_sql_answer *a)
{
    int64_t left = ms_left(w->deadline_ns);
    int64_t lock = sql->lock_timeout_ms ? (int64_t)sql->lock_timeout_ms : HD_SQL_LOCK_TIMEOUT_MS;
    int64_t statement =
        sql->statement_timeout_ms ? (int64_t)sql->statement_timeout_ms : HD_SQL_STATEMENT_TIMEOUT_MS;
    char text[128];

    if (!left)
        return hd_sql_answer_end(a, HD_ETIMEOUT, "57014", "the deadline has passed");
    if (statement > left)
        statement = left;
    if (lock == HD_SQL_LOCK_TIMEOUT_MS && statement == HD_SQL_STATEMENT_TIMEOUT_MS)
        return HD_OK;
    if (lock > INT32_MAX)
        lock = INT32_MAX;
    if (statement > INT32_MAX)
        statement = INT32_MAX;
    snprintf(text, sizeof(text), "SET lock_timeout = %d; SET statement_timeout = %d", (int)lock,
             (int)statement);
    return ask(pg, NULL, text, w, a);
}

int hd_sqlconn_run(struct hd_sqlconn *c, const struct hd_sql *sql, const struct hd_sql_wait *w,
                   struct hd_sql_answer *a)
{
    int code = set_timeouts(c->pg, sql, w, a);

    return code ? code : ask(c->pg, sql, sql->text, w, a);
}

/* --- keeping ----------------------------------------------------------------------------------------------
 */

int hd_sqlconn_reset(struct hd_sqlconn *c)
{
    if (PQstatus(c->pg) != CONNECTION_OK || PQtransactionStatus(c->pg) != PQTRANS_IDLE)
        return HD_EBUSY;
    return PQsendQuery(c->pg, "DISCARD ALL") && PQflush(c->pg) == 0 ? HD_OK : HD_EIO;
}

int hd_sqlconn_ready(struct hd_sqlconn *c, const struct hd_sql_wait *w)
{
    PGresult *res;
    int code, failed = 0;

    while (!(code = next_result(c->pg, w, &res)) && res) {
        failed |= PQresultStatus(res) != PGRES_COMMAND_OK;
        PQclear(res);
    }
    if (code || failed)
        return HD_EIO;
    /* What came since: a server that went away has closed it. */
    if (!PQconsumeInput(c->pg) || PQstatus(c->pg) != CONNECTION_OK)
        return HD_EIO;
    return PQtransactionStatus(c->pg) == PQTRANS_IDLE ? HD_OK : HD_EIO;
}
