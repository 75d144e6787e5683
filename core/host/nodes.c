/*
 * The PostgreSQL nodes as the control side sees them; see nodes.h.
 */
#include "host/nodes.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "base/units.h"
#include "host/host_metrics.h"
#include "plug/bus.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/scheduler.h"
#include "session/settings.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PING_INTERVAL_MS 10000
#define PING_JITTER_MS   1000
#define PING_DEADLINE_MS 5000

enum health { HEALTH_UNKNOWN = 0, HEALTH_UP, HEALTH_DOWN };

struct node {
    struct hd_list list; /* in hd_nodes.nodes */
    char *name;
    int defined; /* by the settings that are being set */
    int usable;  /* statements can run there */
    enum health health;
    int64_t since_us, checked_us; /* wall clock; 0: never */
    uint64_t latency_ns;
    char version[32];
    int standby;
    double lag; /* seconds; below 0: not known */
    char reason[128];
};

/* A NODE PING that waits for its answers. */
struct question {
    hd_result *result;
    char *name; /* NULL: every node */
    int left;   /* pings under way, and one while they are being sent */
};

struct ping {
    struct hd_nodes *nodes;
    struct question *question; /* or NULL */
    uint64_t sent_ns;
    char name[]; /* of the node, which may be gone when the answer comes */
};

struct hd_nodes {
    struct hd_nodes_env env;
    struct hd_list nodes;
    struct hd_post post; /* the schedule's: pings all */
    _Atomic int posted;
    int closing;
};

static const char *const health_names[] = {"unknown", "up", "down"};

static struct node *find(struct hd_nodes *all, const char *name)
{
    HD_LIST_EACH(n, &all->nodes)
    {
        struct node *node = HD_LIST_ITEM(n, struct node, list);

        if (strcmp(node->name, name) == 0)
            return node;
    }
    return NULL;
}

/* --- health -----------------------------------------------------------------------------------------------
 */

/* A node's health is changed here alone, and told. */
static void set_health(struct hd_nodes *all, struct node *node, enum health health)
{
    struct hd_event_node ev = {.size = sizeof(ev), .up = health == HEALTH_UP};

    if (node->health == health)
        return;
    node->health = health;
    node->since_us = hd_wall_us();
    snprintf(ev.node, sizeof(ev.node), "%s", node->name);
    snprintf(ev.reason, sizeof(ev.reason), "%s", node->reason);
    hd_host_metrics_node(all->env.metrics, &ev);
    hd_bus_publish(all->env.bus, HD_BUS_NODE_HEALTH, &ev, sizeof(ev));
    if (health == HEALTH_UP)
        hd_log(HD_LOG_INFO, "node is up", HD_KV("node", node->name), HD_KV("version", node->version));
    else
        hd_log(HD_LOG_WARNING, "node is down", HD_KV("node", node->name), HD_KV("reason", node->reason));
}

/* Copies a cell, cut to fit. */
static void copy_cell(char *out, size_t size, struct hd_str cell)
{
    snprintf(out, size, "%.*s", cell.ptr ? (int)cell.len : 0, cell.ptr ? cell.ptr : "");
}

static void take_answer(struct hd_nodes *all, struct node *node, const struct hd_sql_result *r, uint64_t ns)
{
    char text[32];

    node->checked_us = hd_wall_us();
    if (r->code != HD_OK || r->rows != 1 || r->columns != 3) {
        copy_cell(node->reason, sizeof(node->reason), r->message);
        set_health(all, node, HEALTH_DOWN);
        return;
    }
    node->latency_ns = ns;
    node->reason[0] = 0;
    copy_cell(node->version, sizeof(node->version), r->cells[0]);
    node->version[strcspn(node->version, " ")] = 0; /* less the packager's words */
    node->standby = r->cells[1].ptr && r->cells[1].ptr[0] == 't';
    copy_cell(text, sizeof(text), r->cells[2]);
    node->lag = text[0] ? strtod(text, NULL) : -1;
    set_health(all, node, HEALTH_UP);
}

/* --- asking -----------------------------------------------------------------------------------------------
 */

static void answer_question(struct hd_nodes *all, struct question *q);

static void on_pong(void *arg, const struct hd_sql_result *r)
{
    struct ping *p = arg;
    struct node *node = find(p->nodes, p->name);

    if (node && r->code != HD_ECANCELLED)
        take_answer(p->nodes, node, r, hd_now_ns() - p->sent_ns);
    if (p->question)
        answer_question(p->nodes, p->question);
    hd_free(p);
}

/* Sends a ping, unless the node cannot be asked. A code, and then nothing will come. */
static int ping(struct hd_nodes *all, struct node *node, struct question *q)
{
    static const char text[] = "SELECT pg_catalog.current_setting('server_version'),"
                               " pg_catalog.pg_is_in_recovery(),"
                               " CASE WHEN pg_catalog.pg_is_in_recovery() THEN"
                               " pg_catalog.date_part('epoch', pg_catalog.now() -"
                               " pg_catalog.pg_last_xact_replay_timestamp()) END";
    struct hd_sql sql = {.size = sizeof(sql),
                         .node = node->name,
                         .text = text,
                         .statement_timeout_ms = PING_DEADLINE_MS,
                         .deadline_ms = PING_DEADLINE_MS};
    struct ping *p;

    if (!node->usable)
        return HD_EUNSUPP;
    p = hd_calloc(1, sizeof(*p) + strlen(node->name) + 1);
    if (!p)
        return HD_ENOMEM;
    p->nodes = all;
    p->question = q;
    p->sent_ns = hd_now_ns();
    memcpy(p->name, node->name, strlen(node->name) + 1);
    if (hd_jobs_sql(all->env.jobs, NULL, &sql, on_pong, p) > 0)
        return HD_OK;
    hd_free(p);
    return HD_EFULL;
}

static void on_schedule(struct hd_post *post)
{
    struct hd_nodes *all = HD_CONTAINER_OF(post, struct hd_nodes, post);

    atomic_store(&all->posted, 0);
    if (all->closing) {
        hd_free(all);
        return;
    }
    HD_LIST_EACH(n, &all->nodes)
    ping(all, HD_LIST_ITEM(n, struct node, list), NULL);
}

/* The schedule's run, on a job thread: the nodes are the control thread's. */
static int32_t run_schedule(void *arg)
{
    struct hd_nodes *all = arg;

    if (!atomic_exchange(&all->posted, 1))
        hd_loop_post(all->env.control, &all->post);
    return HD_OK;
}

/* --- commands ---------------------------------------------------------------------------------------------
 */

static void show_time(hd_result *r, int64_t us)
{
    if (us)
        hd_result_integer(r, us);
    else
        hd_result_null(r);
}

/* What is only known of a node that is up. */
static void show_answer(hd_result *r, const struct node *node)
{
    if (node->health != HEALTH_UP) {
        for (int i = 0; i < 4; i++)
            hd_result_null(r);
        return;
    }
    hd_result_real(r, (double)(node->latency_ns / 1000) / 1000);
    hd_result_cstr(r, node->version);
    hd_result_cstr(r, node->standby ? "standby" : "primary");
    if (node->standby && node->lag >= 0)
        hd_result_real(r, node->lag);
    else
        hd_result_null(r);
}

/* All nodes, or one. */
static void show(struct hd_nodes *all, hd_result *r, const char *name)
{
    hd_result_columns(r, "node", HD_COL_TEXT, "state", HD_COL_TEXT, "since", HD_COL_TIME, "latency ms",
                      HD_COL_REAL, "version", HD_COL_TEXT, "role", HD_COL_TEXT, "lag seconds", HD_COL_REAL,
                      "checked", HD_COL_TIME, "reason", HD_COL_TEXT, NULL);
    HD_LIST_EACH(n, &all->nodes)
    {
        struct node *node = HD_LIST_ITEM(n, struct node, list);

        if (name && strcmp(node->name, name) != 0)
            continue;
        hd_result_cstr(r, node->name);
        hd_result_cstr(r, health_names[node->health]);
        show_time(r, node->since_us);
        show_answer(r, node);
        show_time(r, node->checked_us);
        hd_result_cstr(r, node->usable ? node->reason : "no control_user: statements cannot run here");
    }
}

static int32_t show_nodes(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)err;
    show(arg, call->result, NULL);
    return HD_OK;
}

/* One answer fewer is missing; the last one finishes the command. */
static void answer_question(struct hd_nodes *all, struct question *q)
{
    if (--q->left)
        return;
    show(all, q->result, q->name);
    hd_result_finish(q->result, HD_OK, NULL);
    hd_free(q->name);
    hd_free(q);
}

static int32_t ping_nodes(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_nodes *all = arg;
    const char *name = call->arg_count ? call->args[0].ptr : NULL;
    struct question *q;

    if (call->arg_count > 1)
        return hd_fail(err, HD_EINVAL, "NODE PING takes the name of one node, or none for all");
    if (name && !find(all, name))
        return hd_fail(err, HD_ENOENT, "there is no node %s; SHOW NODES lists them", name);
    q = hd_calloc(1, sizeof(*q));
    if (q && name)
        q->name = hd_strdup(name);
    if (!q || (name && !q->name)) {
        hd_free(q);
        return hd_fail(err, HD_ENOMEM, "no memory to ask the nodes");
    }
    q->result = call->result;
    q->left = 1;
    HD_LIST_EACH(n, &all->nodes)
    {
        struct node *node = HD_LIST_ITEM(n, struct node, list);

        if ((!name || strcmp(node->name, name) == 0) && ping(all, node, q) == HD_OK)
            q->left++;
    }
    answer_question(all, q);
    return HD_PENDING;
}

/* --- definitions ------------------------------------------------------------------------------------------
 */

static void free_node(struct node *node)
{
    hd_list_remove(&node->list);
    hd_free(node->name);
    hd_free(node);
}

/* Makes a node of a definition, or finds it again. */
static struct node *get_node(struct hd_nodes *all, const char *name)
{
    struct node *node = find(all, name);

    if (node)
        return node;
    node = hd_calloc(1, sizeof(*node));
    if (!node)
        return NULL;
    node->name = hd_strdup(name);
    if (!node->name) {
        hd_free(node);
        return NULL;
    }
    node->lag = -1;
    hd_list_push_back(&all->nodes, &node->list);
    return node;
}

int hd_nodes_set(struct hd_nodes *all, const struct hd_settings *s, struct hd_error *err)
{
    HD_LIST_EACH(n, &all->nodes)
    HD_LIST_ITEM(n, struct node, list)->defined = 0;
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct node *node = get_node(all, s->nodes[i].name);

        if (!node)
            return hd_fail(err, HD_ENOMEM, "no memory for the nodes");
        node->defined = 1;
        node->usable = s->nodes[i].control_user != NULL;
        if (!node->checked_us)
            ping(all, node, NULL);
    }
    HD_LIST_EACH(n, &all->nodes)
    {
        struct node *node = HD_LIST_ITEM(n, struct node, list);

        if (node->defined)
            continue;
        hd_host_metrics_node_gone(all->env.metrics, node->name);
        free_node(node);
    }
    return HD_OK;
}

void hd_nodes_each(const struct hd_nodes *all, void (*fn)(void *arg, const struct hd_node_info *node),
                   void *arg)
{
    HD_LIST_EACH(n, &all->nodes)
    {
        const struct node *node = HD_LIST_ITEM(n, struct node, list);
        struct hd_node_info info = {.name = node->name,
                                    .state = health_names[node->health],
                                    .reason = node->reason,
                                    .up = node->health == HEALTH_UP,
                                    .usable = node->usable};

        fn(arg, &info);
    }
}

/* --- start and end ----------------------------------------------------------------------------------------
 */

static int add_schedule(struct hd_nodes *all, struct hd_error *err)
{
    struct hd_schedule s = {.size = sizeof(s),
                            .name = "node-health",
                            .interval_ms = PING_INTERVAL_MS,
                            .jitter_ms = PING_JITTER_MS,
                            .fn = run_schedule,
                            .arg = all};
    int64_t id = hd_scheduler_add(all->env.scheduler, NULL, &s, err);

    return id > 0 ? HD_OK : (int)id;
}

int hd_nodes_new(const struct hd_nodes_env *env, struct hd_nodes **out, struct hd_error *err)
{
    struct hd_nodes *all = hd_calloc(1, sizeof(*all));
    int code;

    if (!all)
        return hd_fail(err, HD_ENOMEM, "no memory for the nodes");
    all->env = *env;
    all->post.fn = on_schedule;
    hd_list_init(&all->nodes);
    code = hd_commands_add(env->commands, NULL, "SHOW NODES", "", "The PostgreSQL servers and their health",
                           HD_CMDF_READ_ONLY, show_nodes, all, err);
    if (!code)
        code = hd_commands_add(env->commands, NULL, "NODE PING", "[NAME]", "Asks the nodes how they are, now",
                               HD_CMDF_READ_ONLY, ping_nodes, all, err);
    if (!code)
        code = add_schedule(all, err);
    *out = all;
    return code;
}

void hd_nodes_free(struct hd_nodes *all)
{
    if (!all)
        return;
    while (!hd_list_empty(&all->nodes))
        free_node(HD_LIST_ITEM(all->nodes.next, struct node, list));
    all->closing = 1;
    if (!atomic_load(&all->posted))
        hd_free(all); /* else the post that is on its way does it */
}
