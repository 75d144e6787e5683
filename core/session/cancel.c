/*
 * Cancelling; see cancel.h. The key's process number says which host has the session, and which worker there,
 * where it is looked for. A request for another host is relayed to it, once.
 */
#include "session/cancel.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "session/client.h"
#include "session/connect.h"
#include "session/console.h"
#include "session/handover.h"
#include "session/pool.h"
#include "session/server.h"
#include "session/tunnel.h"
#include "wire/peer.h"

/* Process numbers are positive, and drivers show them: host (7 bits), session (18 bits), worker. */
#define WORKER_BITS 6
#define WORKER_MASK ((1u << WORKER_BITS) - 1)
#define HOST_SHIFT  24

/* A request on its way: from the asker's worker to the session's, to the server, and back. */
struct request {
    struct hd_post post;
    struct hd_cancel_job job;
    struct hd_worker *asker_worker, *target_worker;
    struct hd_server *server;
    uint64_t asker; /* session id; 0: nobody waits */
    uint32_t pid;
    uint8_t key[4];
    uint8_t passed_on;                  /* by the host that came before or after */
    uint8_t packet[HD_PEER_PACKET_MAX]; /* for the server, or for another host */
};

void hd_cancel_new_key(struct hd_session *s)
{
    uint32_t host = (uint32_t)s->w->settings->host.id << HOST_SHIFT;
    uint32_t session = (uint32_t)(s->id << WORKER_BITS) & ((1u << HOST_SHIFT) - 1);

    s->cancel_pid = host | session | (uint32_t)s->w->index;
    hd_random_bytes(s->cancel_key, sizeof(s->cancel_key));
}

static struct hd_session *find_session(struct hd_worker *w, const struct request *r)
{
    HD_LIST_EACH(n, &w->sessions)
    {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);

        if (s->logged_in && s->cancel_pid == r->pid && !CRYPTO_memcmp(s->cancel_key, r->key, sizeof(r->key)))
            return s;
    }
    return NULL;
}

static void end_asker(struct hd_post *p)
{
    struct request *r = HD_CONTAINER_OF(p, struct request, post);

    HD_LIST_EACH(n, &r->asker_worker->sessions)
    {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);

        if (s->id == r->asker) {
            hd_session_close(s);
            break;
        }
    }
    hd_free(r);
}

static void finish(struct request *r)
{
    if (!r->asker) {
        hd_free(r);
        return;
    }
    r->post.fn = end_asker;
    hd_loop_post(&r->asker_worker->loop, &r->post);
}

/* The server has the cancel (or cannot have it): it may be given to others again. */
static void on_sent(struct hd_cancel_job *job)
{
    struct request *r = HD_CONTAINER_OF(job, struct request, job);
    struct hd_server *v = r->server;

    if (!v) { /* on a connection that nobody shares */
        finish(r);
        return;
    }
    v->cancels--;
    if (job->sent && !job->confirmed) /* it may still arrive, and must not hit another's statement */
        v->must_close = 1;
    if (v->freed) {
        if (!v->cancels)
            hd_server_free(v);
    } else if (v->state == HD_SERVER_CLEANING && !v->expects.count) {
        hd_pool_cleaned(v);
    }
    finish(r);
}

/* To the server of that connection; `v` is held meanwhile, unless nobody shares it. */
static void send_by(PGconn *pg, const struct hd_cancel_key *key, struct hd_worker *w, struct hd_server *v,
                    struct request *r)
{
    if (key->address_len) {
        hd_put_u32(r->packet, 16);
        hd_put_u32(r->packet + 4, HD_CANCEL_REQUEST);
        hd_put_u32(r->packet + 8, key->pid);
        hd_put_u32(r->packet + 12, key->key);
        r->job.packet = r->packet;
        r->job.packet_len = 16;
        r->job.address = key->address;
        r->job.address_len = key->address_len;
    } else if (!(r->job.cancel = PQgetCancel(pg))) {
        finish(r);
        return;
    }
    r->server = v;
    r->job.loop = &w->loop;
    r->job.done = on_sent;
    if (v)
        v->cancels++;
    hd_connector_cancel(w->all->connector, &r->job);
}

static void send_to(struct hd_server *v, struct request *r)
{
    send_by(v->pg, &v->cancel_key, v->w, v, r);
}

static void on_target(struct hd_post *p)
{
    struct request *r = HD_CONTAINER_OF(p, struct request, post);
    struct hd_worker *w = r->target_worker;
    struct hd_session *s = find_session(w, r);

    if (!s) {
        if (r->passed_on || !hd_handover_cancel(w->all, r->pid, r->key))
            w->stats.cancels_unknown++;
        finish(r);
        return;
    }
    w->stats.cancels++;
    if (s->server && s->server->expects.count) {
        send_to(s->server, r);
        return;
    }
    if (s->tunnel) {
        if (hd_tunnel_connection(s)) {
            send_by(hd_tunnel_connection(s), hd_tunnel_key(s), w, NULL, r);
            return;
        }
    } else if (s->console) {
        hd_console_cancel(s);
    } else if (s->state == HD_SESSION_WAITING || s->state == HD_SESSION_PARKED) {
        if (s->state == HD_SESSION_WAITING)
            hd_pool_give_up(s->queue, s);
        s->cancelled = 1;
        hd_session_wake(s);
    }
    finish(r);
}

unsigned hd_cancel_worker(uint32_t pid, int workers)
{
    return (pid & WORKER_MASK) % (unsigned)workers;
}

void hd_cancel_passed_on(struct hd_workers *all, uint32_t pid, const uint8_t key[4])
{
    struct request *r = hd_calloc(1, sizeof(*r));

    if (!r)
        return;
    r->pid = pid;
    r->passed_on = 1;
    memcpy(r->key, key, sizeof(r->key));
    r->target_worker = &all->worker[hd_cancel_worker(pid, all->count)];
    r->post.fn = on_target;
    hd_loop_post(&r->target_worker->loop, &r->post);
}

static void unknown(struct hd_session *asker)
{
    asker->w->stats.cancels_unknown++;
    hd_session_close(asker);
}

static struct request *request_of(struct hd_session *asker, const struct hd_startup *req)
{
    struct request *r = req->cancel_key_len == sizeof(r->key) ? hd_calloc(1, sizeof(*r)) : NULL;

    if (!r)
        return NULL;
    r->asker_worker = asker->w;
    r->asker = asker->id;
    r->pid = req->cancel_pid;
    memcpy(r->key, req->cancel_key, sizeof(r->key));
    return r;
}

static void find_here(struct hd_session *asker, const struct hd_startup *req)
{
    struct hd_workers *all = asker->w->all;
    struct request *r = request_of(asker, req);

    if (!r) {
        unknown(asker);
        return;
    }
    r->target_worker = &all->worker[hd_cancel_worker(r->pid, all->count)];
    r->post.fn = on_target;
    hd_link_pause(&asker->link);
    hd_loop_post(&r->target_worker->loop, &r->post);
}

static void relay(struct hd_session *asker, const struct hd_startup *req, const struct hd_peer_conf *peer)
{
    struct request *r = request_of(asker, req);
    size_t len = 0;

    if (r)
        len = hd_peer_build(r->packet, (uint32_t)asker->w->settings->host.id, peer->secret, r->pid, r->key,
                            sizeof(r->key));
    if (!len) {
        hd_free(r);
        unknown(asker);
        return;
    }
    asker->w->stats.cancels_relayed++;
    r->job.address = peer->address.sa;
    r->job.address_len = peer->address.len;
    r->job.packet = r->packet;
    r->job.packet_len = len;
    r->job.loop = &asker->w->loop;
    r->job.done = on_sent;
    hd_link_pause(&asker->link);
    hd_connector_cancel(asker->w->all->connector, &r->job);
}

void hd_cancel_request(struct hd_session *asker, const struct hd_startup *req)
{
    const struct hd_settings *s = asker->w->settings;
    uint32_t host = req->cancel_pid >> HOST_SHIFT;
    const struct hd_peer_conf *peer = hd_settings_peer(s, host);

    if (host == (uint32_t)s->host.id)
        find_here(asker, req);
    else if (peer)
        relay(asker, req, peer);
    else
        unknown(asker);
}

void hd_cancel_relayed(struct hd_session *asker, const struct hd_startup *req)
{
    const struct hd_settings *s = asker->w->settings;
    const struct hd_peer_conf *peer = hd_settings_peer(s, req->peer);

    if (peer && hd_peer_verify(req, peer->secret) && req->cancel_pid >> HOST_SHIFT == (uint32_t)s->host.id)
        find_here(asker, req);
    else
        unknown(asker);
}

void hd_cancel_server(struct hd_server *v)
{
    struct request *r = hd_calloc(1, sizeof(*r));

    if (r)
        send_to(v, r);
}
