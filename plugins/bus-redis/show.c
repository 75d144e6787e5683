/*
 * SHOW BUS REDIS: this host's own row first, then the others'.
 */
#include "bus-redis/bus-redis.h"

#include <stdio.h>
#include <string.h>

/* The first bytes of a host's name; they are random. */
static void show_host(const struct br *self, hd_result *r, const struct br_host_id *h)
{
    char text[17];

    for (int i = 0; i < 8; i++)
        snprintf(text + 2 * i, 3, "%02x", h->bytes[i]);
    self->commands->text(r, (struct hd_str){text, 16});
}

static void show_text(const struct br *self, hd_result *r, const char *s)
{
    self->commands->text(r, (struct hd_str){s, strlen(s)});
}

static void show_self(const struct br *self, hd_result *r)
{
    struct rds_link_state in, out;

    rds_link_show(self->in, &in);
    rds_link_show(self->out, &out);
    show_host(self, r, &self->host);
    show_text(self, r, self->joined ? "here" : "alone");
    self->commands->integer(r, (int64_t)self->number);
    self->commands->integer(r, (int64_t)self->count[BR_RECEIVED]);
    self->commands->integer(r, (int64_t)self->count[BR_GAPS]);
    self->commands->integer(r, (int64_t)self->count[BR_DROPPED]);
    self->commands->integer(r, (int64_t)self->count[BR_WRONG]);
    self->commands->null(r);
    show_text(self, r, in.up ? out.why : in.why);
}

static void show_peer(const struct br *self, hd_result *r, const struct br_peer *p)
{
    show_host(self, r, &p->host);
    show_text(self, r, p->silent > BR_SILENT_BEATS ? "silent" : "heard");
    self->commands->integer(r, (int64_t)p->next - 1);
    self->commands->integer(r, (int64_t)p->received);
    self->commands->integer(r, (int64_t)p->gaps);
    self->commands->null(r);
    self->commands->null(r);
    self->commands->integer(r, (int64_t)(rds_now_ms() - p->heard_ms));
    show_text(self, r, "");
}

static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    const struct br *self = arg;
    const struct hd_commands_v1 *c = self->commands;

    (void)err;
    c->column(call->result, "host", HD_COL_TEXT);
    c->column(call->result, "state", HD_COL_TEXT);
    c->column(call->result, "number", HD_COL_INT);
    c->column(call->result, "received", HD_COL_INT);
    c->column(call->result, "gaps", HD_COL_INT);
    c->column(call->result, "dropped", HD_COL_INT);
    c->column(call->result, "wrong", HD_COL_INT);
    c->column(call->result, "heard_ms", HD_COL_INT);
    c->column(call->result, "reason", HD_COL_TEXT);
    if (self->in && self->out)
        show_self(self, call->result);
    for (int i = 0; i < BR_PEERS_MAX; i++)
        if (self->peers.peer[i].next)
            show_peer(self, call->result, &self->peers.peer[i]);
    return HD_OK;
}

int32_t br_show_start(struct br *self, struct hd_error *err)
{
    return self->commands->add(self->env.host, "SHOW BUS REDIS", "",
                               "This host and the others on the bus, and what was missed", HD_CMDF_READ_ONLY,
                               show, self, err);
}
