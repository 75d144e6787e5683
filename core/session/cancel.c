/*
 * Cancelling; see cancel.h. The key's process number says which worker has the session; there it is looked
 * for.
 */
#include "session/cancel.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/alloc.h"
#include "base/random.h"
#include "session/client.h"
#include "session/connect.h"
#include "session/console.h"
#include "session/pool.h"
#include "session/server.h"
#include "session/tunnel.h"

/* Process numbers are positive, and drivers show them: (session number × 64 + worker), without the sign. */
#define WORKER_BITS 6
#define WORKER_MASK ((1u << WORKER_BITS) - 1)

/* A request on its way: from the asker's worker to the session's, to the server, and back. */
struct request {
    struct hd_post post;
    struct hd_cancel_job job;
    struct hd_worker *asker_worker, *target_worker;
    struct hd_server *server;
    uint64_t asker; /* session id; 0: nobody waits */
    uint32_t pid;
    uint8_t key[4];
};

void hd_cancel_new_key(struct hd_session *s)
{
    s->cancel_pid = (uint32_t)((s->id << WORKER_BITS) | (uint32_t)s->w->index) & 0x7fffffffu;
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
    if (v->freed) {
        if (!v->cancels)
            hd_server_free(v);
    } else if (v->state == HD_SERVER_CLEANING && !v->expects.count) {
        hd_pool_cleaned(v);
    }
    finish(r);
}

static void send_by(PGconn *pg, struct hd_worker *w, struct hd_server *v, struct request *r)
{
    r->job.cancel = PQgetCancel(pg);
    if (!r->job.cancel) {
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
    send_by(v->pg, v->w, v, r);
}

static void on_target(struct hd_post *p)
{
    struct request *r = HD_CONTAINER_OF(p, struct request, post);
    struct hd_worker *w = r->target_worker;
    struct hd_session *s = find_session(w, r);

    if (!s) {
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
            send_by(hd_tunnel_connection(s), w, NULL, r);
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

void hd_cancel_request(struct hd_session *asker, const struct hd_startup *req)
{
    struct hd_workers *all = asker->w->all;
    unsigned worker = req->cancel_pid & WORKER_MASK;
    struct request *r;

    if (req->cancel_key_len != sizeof(r->key) || worker >= (unsigned)all->count ||
        !(r = hd_calloc(1, sizeof(*r)))) {
        asker->w->stats.cancels_unknown++;
        hd_session_close(asker);
        return;
    }
    r->asker_worker = asker->w;
    r->target_worker = &all->worker[worker];
    r->asker = asker->id;
    r->pid = req->cancel_pid;
    memcpy(r->key, req->cancel_key, sizeof(r->key));
    r->post.fn = on_target;
    hd_link_pause(&asker->link);
    hd_loop_post(&r->target_worker->loop, &r->post);
}

void hd_cancel_server(struct hd_server *v)
{
    struct request *r = hd_calloc(1, sizeof(*r));

    if (r)
        send_to(v, r);
}
