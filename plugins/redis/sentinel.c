/*
 * One question to one sentinel at a time; the one that did not answer well is asked last the next time.
 */
#include "redis/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rds_sentinel {
    const struct rds_url *url;
    struct rds_conn *conn;
    void (*found)(void *arg, const struct rds_address *master, const char *why);
    void *arg;
    uint32_t next;  /* sentinel to ask */
    uint32_t tries; /* of this question */
    int answered;
    struct rds_address master;
};

static void ask_next(struct rds_sentinel *s)
{
    s->tries++;
    rds_conn_open(s->conn, &s->url->host[s->next % s->url->hosts]);
}

void rds_sentinel_ask(struct rds_sentinel *s)
{
    s->tries = 0;
    s->answered = 0;
    ask_next(s);
}

/* ["127.0.0.1", "6379"] */
static int read_address(const redisReply *r, struct rds_address *out)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[0]->type == REDIS_REPLY_STRING &&
           r->element[1]->type == REDIS_REPLY_STRING &&
           rds_address_set(out, (struct hd_str){r->element[0]->str, strlen(r->element[0]->str)},
                           strtoull(r->element[1]->str, NULL, 10)) == HD_OK;
}

static void on_master(void *arg, int32_t code, const redisReply *r)
{
    struct rds_sentinel *s = arg;
    char why[200] = "a sentinel's answer is not an address";

    if (code == HD_EIO)
        return;
    s->answered = code == HD_OK && read_address(r, &s->master);
    if (code != HD_OK)
        snprintf(why, sizeof(why), "a sentinel does not answer");
    else if (r->type == REDIS_REPLY_ERROR)
        snprintf(why, sizeof(why), "a sentinel says %.150s", r->str);
    else if (r->type == REDIS_REPLY_NIL)
        snprintf(why, sizeof(why), "a sentinel does not know the master %s", s->url->master);
    rds_conn_drop(s->conn, why);
}

static void on_up(void *arg)
{
    struct rds_sentinel *s = arg;
    const struct hd_str words[] = {
        RDS_WORD("SENTINEL"), RDS_WORD("get-master-addr-by-name"), {s->url->master, strlen(s->url->master)}};

    rds_conn_send(s->conn, 3, words, on_master, s);
}

/* The end of a conversation: the answer has come, or the next sentinel is asked. */
static void on_down(void *arg, const char *why)
{
    struct rds_sentinel *s = arg;

    if (s->answered) {
        s->found(s->arg, &s->master, NULL);
        return;
    }
    s->next++;
    if (s->tries < s->url->hosts)
        ask_next(s);
    else
        s->found(s->arg, NULL, why);
}

struct rds_sentinel *
rds_sentinel_new(struct rds_env *env, int32_t thread, const struct rds_limits *limits,
                 const struct rds_login *login, const struct rds_url *url,
                 void (*found)(void *arg, const struct rds_address *master, const char *why), void *arg)
{
    struct rds_sentinel *s = calloc(1, sizeof(*s));
    struct rds_conn_events events = {.up = on_up, .down = on_down, .arg = s};

    if (!s)
        return NULL;
    s->url = url;
    s->found = found;
    s->arg = arg;
    s->conn = rds_conn_new(env, thread, limits, login, &events);
    if (!s->conn) {
        free(s);
        return NULL;
    }
    return s;
}

void rds_sentinel_free(struct rds_sentinel *s)
{
    rds_conn_free(s->conn);
    free(s);
}
