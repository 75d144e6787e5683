/*
 * How the host is: /livez, /readyz and /health.
 *
 * Alive is whoever answers. Ready is a host that serves and reaches at least one node. /health lists every
 * part with its state and, where it does not work, the reason; one that an operator has switched off is no
 * part.
 */
#include "base/check.h"
#include "base/error.h"
#include "host/health.h"
#include "host/http_parts.h"
#include "host/nodes.h"
#include "host/render.h"
#include "host/runtime.h"
#include "plug/jobs.h"
#include "plug/plugins.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define TEXT "text/plain; charset=utf-8"

void hd_http_livez(struct http_request *rq)
{
    hd_http_answer_static(rq, MHD_HTTP_OK, TEXT, "ok\n");
}

/* --- ready ----------------------------------------------------------------------------------------------
 */

struct reach {
    int nodes, reached;
};

static void count_node(void *arg, const struct hd_node_info *n)
{
    struct reach *r = arg;

    r->nodes++;
    r->reached += n->up || !n->usable;
}

/* NULL, or why no client should be sent here. */
static const char *not_ready(struct hd_runtime *rt)
{
    struct reach r = {0, 0};

    if (rt->retiring)
        return "another host serves";
    if (rt->state != HD_RUNNING)
        return hd_runtime_state_name(rt->state);
    hd_nodes_each(rt->parts.nodes, count_node, &r);
    return r.nodes && !r.reached ? "no node is reachable" : NULL;
}

void hd_http_readyz(struct http_request *rq)
{
    const char *why = not_ready(rq->engine->http->rt);
    struct hd_strbuf body = HD_STRBUF_INIT;

    hd_strbuf_printf(&body, "%s\n", why ? why : "ok");
    hd_http_answer(rq, why ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, TEXT, &body);
}

/* --- health ---------------------------------------------------------------------------------------------
 */

struct report {
    json_t *components;
    int total, active;
};

static void add(struct report *r, const char *kind, const char *name, const char *state, int active,
                const char *reason)
{
    json_t *c = json_pack("{s:s, s:o, s:s, s:b}", "kind", kind, "name", hd_render_text(name, strlen(name)),
                          "state", state, "active", active);

    r->total++;
    r->active += active;
    if (c && reason && reason[0])
        json_object_set_new(c, "reason", hd_render_text(reason, strlen(reason)));
    json_array_append_new(r->components, c);
}

static void add_node(void *arg, const struct hd_node_info *n)
{
    if (n->usable)
        add(arg, "node", n->name, n->state, n->up, n->up || n->reason[0] ? n->reason : "not asked yet");
    else
        add(arg, "node", n->name, "unchecked", 1, "it has no user for the host's own statements");
}

static void add_plugin(void *arg, const struct hd_plugin_info *p)
{
    int active = !strcmp(p->state, "running") || !strcmp(p->state, "observing");

    if (active || strcmp(p->mode, "off"))
        add(arg, "plugin", p->id, p->state, active, p->reason);
}

/* "change-stream: stream main" */
static void add_part(void *arg, const struct hd_health_part *p)
{
    char name[160];

    snprintf(name, sizeof(name), "%s: %s", p->plugin, p->name);
    add(arg, "part", name, p->state, p->well, p->reason);
}

static void add_listeners(struct report *r, const struct hd_runtime *rt)
{
    const struct hd_settings *s = rt->config->settings;
    int open = rt->state == HD_RUNNING && !rt->retiring;

    for (uint32_t l = 0; l < s->listener_count; l++)
        for (uint32_t i = 0; i < s->listeners[l].address_count; i++)
            add(r, "listener", s->listeners[l].addresses[i].text, open ? "open" : "closed", open, NULL);
}

static void add_jobs(struct report *r, const struct hd_runtime *rt)
{
    uint64_t most = (uint64_t)rt->config->settings->host.max_jobs;
    struct hd_jobs_stats stats;
    int full;

    if (!rt->parts.jobs)
        return;
    hd_jobs_stats(rt->parts.jobs, &stats);
    full = stats.waiting >= most;
    add(r, "jobs", "jobs", full ? "full" : "running", !full,
        full ? "as many jobs wait as max_jobs allows" : NULL);
}

static json_t *report(struct hd_runtime *rt, int *healthy)
{
    struct report r = {json_array(), 0, 0};
    const char *why = not_ready(rt);
    json_t *out;

    if (!r.components)
        return NULL;
    add(&r, "host", "howdahd", hd_runtime_state_name(rt->state), rt->state == HD_RUNNING && !rt->retiring,
        rt->retiring ? "another host serves" : NULL);
    add_listeners(&r, rt);
    hd_nodes_each(rt->parts.nodes, add_node, &r);
    hd_plugins_list(rt->parts.plugins, add_plugin, &r);
    hd_health_each(add_part, &r);
    add_jobs(&r, rt);
    *healthy = r.active == r.total;
    out = json_pack("{s:s, s:b, s:i, s:i, s:s, s:o}", "status", *healthy ? "ok" : "degraded", "ready", !why,
                    "active", r.active, "total", r.total, "version", PACKAGE_VERSION, "components",
                    r.components);
    if (out && why)
        json_object_set_new(out, "reason", json_string(why));
    return out;
}

void hd_http_health(struct http_request *rq)
{
    int healthy = 0;
    json_t *j = report(rq->engine->http->rt, &healthy);

    hd_http_json(rq, healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, j);
}
