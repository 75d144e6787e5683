/*
 * One leader among several hosts; see leader.h.
 */
#include "plug/leader.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "plug/scheduler.h"
#include "plug/sqlconn.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 5000

int hd_leader_init(struct hd_leader *l, struct hd_jobs *jobs, const char *node)
{
    l->jobs = jobs;
    l->conn = NULL;
    l->node = hd_strdup(node);
    if (!l->node)
        return HD_ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    return HD_OK;
}

void hd_leader_free(struct hd_leader *l)
{
    hd_sqlconn_close(l->conn);
    pthread_mutex_destroy(&l->lock);
    hd_free(l->node);
}

/* Runs a statement whose answer is one word. */
static int ask(struct hd_sqlconn *conn, const char *text, char *word, size_t size, struct hd_error *err)
{
    struct hd_sql sql = {.size = sizeof(sql), .text = text};
    struct hd_sql_answer *a = hd_sql_answer_new();
    struct hd_sql_wait w;
    int code = a->result.code;

    hd_jobs_wait(PATIENCE_MS, &w);
    if (!code)
        code = hd_sqlconn_run(conn, &sql, &w, a);
    if (code)
        hd_fail(err, code, "%.*s", (int)a->result.message.len, a->result.message.ptr);
    else if (a->result.rows == 1 && a->result.columns == 1 && a->result.cells[0].ptr)
        snprintf(word, size, "%s", a->result.cells[0].ptr);
    else
        code = hd_fail(err, HD_EPROTO, "an unexpected answer");
    hd_sql_answer_free(a);
    return code;
}

/* Is the connection with the lock still there? */
static int still_leads(struct hd_leader *l)
{
    char word[8] = "";

    if (!l->conn)
        return 0;
    if (ask(l->conn, "SELECT 1", word, sizeof(word), NULL) == HD_OK)
        return 1;
    hd_log(HD_LOG_WARNING, "the lead over a node is lost with its connection", HD_KV("node", l->node));
    hd_sqlconn_close(l->conn);
    l->conn = NULL;
    return 0;
}

/* Asks for the lock on a new connection, which is kept if it was given. */
static int campaign(struct hd_leader *l, struct hd_error *err)
{
    struct hd_sqlconn *conn = NULL;
    struct hd_sql_wait w;
    char text[64], word[8] = "";
    int code;

    hd_jobs_wait(PATIENCE_MS, &w);
    code = hd_jobs_connect(l->jobs, l->node, &w, &conn, err);
    if (code)
        return code;
    snprintf(text, sizeof(text), "SELECT pg_try_advisory_lock(%" PRId64 ")", HD_LOCK_LEADER);
    code = ask(conn, text, word, sizeof(word), err);
    if (code || word[0] != 't') {
        hd_sqlconn_close(conn);
        return code;
    }
    l->conn = conn;
    hd_log(HD_LOG_INFO, "this host leads over a node now", HD_KV("node", l->node));
    return 1;
}

int hd_leader_try(struct hd_leader *l, struct hd_error *err)
{
    int leads;

    pthread_mutex_lock(&l->lock);
    leads = still_leads(l);
    if (!leads)
        leads = campaign(l, err);
    pthread_mutex_unlock(&l->lock);
    return leads;
}

void hd_leader_resign(struct hd_leader *l)
{
    pthread_mutex_lock(&l->lock);
    hd_sqlconn_close(l->conn);
    l->conn = NULL;
    pthread_mutex_unlock(&l->lock);
}
