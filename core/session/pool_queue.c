/*
 * Handing servers to sessions: who waits, which server is next, and what becomes of one that comes free. All
 * state changes of a server with regard to its pool are here.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/units.h"
#include "session/client.h"
#include "session/moment.h"
#include "session/pool_parts.h"
#include "session/server.h"
#include "session/settle.h"

/* An idle server that was used within this time is not asked whether it still lives. */
#define FRESH_NS 50000000u

/* --- states of a server
 * ------------------------------------------------------------------------------------- */

/* Tells the other workers how it stands here, when that has changed. */
static void publish(struct hd_pool *p)
{
    unsigned flags = (p->waiting_count ? HD_PLACE_WAITS : 0) | (p->busy_count ? HD_PLACE_BUSY : 0);

    if (flags == p->published)
        return;
    if ((flags ^ p->published) & HD_PLACE_WAITS)
        hd_share_wait(p->shared->share, flags & HD_PLACE_WAITS ? 1 : -1);
    p->published = flags;
    atomic_store_explicit(&p->shared->places[p->w->index].flags, flags, memory_order_relaxed);
}

void hd_pool_set_state(struct hd_server *v, enum hd_server_state to)
{
    struct hd_pool *p = v->pool;

    p->checking -= v->checking;
    v->checking = 0;
    if (v->state == HD_SERVER_IDLE)
        p->idle_count--;
    else if (v->state == HD_SERVER_LINKED || v->state == HD_SERVER_CLEANING)
        p->busy_count--;
    hd_list_remove(&v->node);
    v->state = to;
    if (to == HD_SERVER_IDLE) {
        hd_list_push_front(&p->idle, &v->node); /* the last used is the next used: its caches are warm */
        p->idle_count++;
        v->idle_ns = hd_moment(v->w);
    } else if (to == HD_SERVER_LINKED || to == HD_SERVER_CLEANING) {
        hd_list_push_back(&p->busy, &v->node);
        p->busy_count++;
    }
    publish(p);
}

/* --- waiting
 * ------------------------------------------------------------------------------------------------ */

static void enqueue(struct hd_pool *p, struct hd_session *s)
{
    s->since_ns = hd_now_ns();
    hd_list_push_back(&p->waiting, &s->waiting);
    s->queue = p;
    p->waiting_count++;
    p->stats.waits++;
    publish(p);
}

void hd_pool_dequeue(struct hd_pool *p, struct hd_session *s)
{
    hd_list_remove(&s->waiting);
    s->queue = NULL;
    p->waiting_count--;
    p->stats.wait_ns += hd_now_ns() - s->since_ns;
    publish(p);
}

static void link_up(struct hd_server *v, struct hd_session *s)
{
    hd_pool_set_state(v, HD_SERVER_LINKED);
    v->session = s;
    s->server = v;
}

/* Is the connection still there, as far as the socket tells? An error that waits to be read is its last word.
 */
static int alive(struct hd_server *v)
{
    char c;
    ssize_t n;

    if (hd_elapsed_ns(hd_moment(v->w), v->idle_ns) < FRESH_NS)
        return 1;
    n = recv(v->link.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) /* what TLS carries cannot be seen */
        return v->link.tls || c != HD_MSG_ERROR_RESPONSE;
    return n < 0 && errno == EAGAIN;
}

struct hd_server *hd_pool_take_idle(struct hd_pool *p)
{
    struct hd_list *n;

    while ((n = hd_list_first(&p->idle))) {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (!v->must_close && !v->cancels && alive(v))
            return v;
        hd_server_close(v, "found dead in the pool");
    }
    return NULL;
}

/* The one where it drew from sequences, else the one that was used last. */
static struct hd_server *idle_for(struct hd_pool *p, const struct hd_session *s)
{
    struct hd_server *v = s->drew_at;

    if (v && v->pool == p && v->state == HD_SERVER_IDLE && !v->must_close && !v->cancels && alive(v))
        return v;
    return hd_pool_take_idle(p);
}

static void wait_for_one(struct hd_pool *p, struct hd_session *s)
{
    enqueue(p, s);
    hd_pool_connect_more(p, 0);
    if (p->waiting_count <= hd_pool_coming(p))
        return;
    hd_pool_ask_others(p);
    hd_pool_make_room(p);
}

int hd_pool_check(struct hd_server *v)
{
    uint64_t now = uv_now(&v->w->loop.uv) * 1000000; /* near enough, and no look at the clock */

    if (HD_LIKELY(hd_elapsed_ns(now, v->idle_ns) < v->pool->check_ns))
        return 0;
    if (hd_server_inject_sync(v)) {
        hd_server_close(v, "out of memory");
        return 1;
    }
    hd_pool_set_state(v, HD_SERVER_CLEANING);
    v->checking = 1;
    v->pool->checking++;
    return 1;
}

/* One that may be used at once; those that must be asked first are, one for each session that waits. (Where
 * one waits, no idle server is so fresh that it need not be asked.) */
static struct hd_server *ready_for(struct hd_pool *p, const struct hd_session *s)
{
    struct hd_server *v;

    if (p->paused || p->waiting_count > p->checking)
        return NULL;
    v = idle_for(p, s);
    return v && !hd_pool_check(v) ? v : NULL;
}

int hd_pool_acquire(struct hd_pool *p, struct hd_session *s)
{
    struct hd_server *v = ready_for(p, s);

    if (v) {
        link_up(v, s);
        hd_session_linked(s, v);
        return 1;
    }
    wait_for_one(p, s);
    return 0;
}

void hd_pool_give_up(struct hd_pool *p, struct hd_session *s)
{
    hd_pool_dequeue(p, s);
}

void hd_pool_want_welcome(struct hd_pool *p, struct hd_session *s)
{
    wait_for_one(p, s);
}

int hd_pool_serve_waiting(struct hd_pool *p, struct hd_server *v)
{
    struct hd_list *n;
    struct hd_session *s;

    if (p->paused || !(n = hd_list_first(&p->waiting)))
        return 0;
    s = HD_LIST_ITEM(n, struct hd_session, waiting);
    p->turns++;
    if (HD_UNLIKELY(hd_share_others_wait()))
        atomic_fetch_add(&p->shared->turns, 1);
    hd_pool_dequeue(p, s);
    link_up(v, s);
    hd_session_granted(s, v);
    return 1;
}

/* --- coming free
 * -------------------------------------------------------------------------------------------- */

int hd_pool_expired(const struct hd_pool *p, const struct hd_server *v, uint64_t now)
{
    return p->conf->server_lifetime &&
           hd_elapsed_ns(now, v->connected_ns) > (uint64_t)p->conf->server_lifetime * 1000000;
}

/* A server that is inside its own event cannot leave this worker yet. It stays in nobody's hands until the
 * loop comes round; held, as by a cancel, so that it does not go meanwhile. */
static void on_put_later(struct hd_post *post)
{
    struct hd_server *v = HD_CONTAINER_OF(post, struct hd_server, later);

    v->cancels--;
    if (v->freed && !v->cancels)
        hd_server_free(v);
    else if (v->state == HD_SERVER_CLEANING && !v->expects.count)
        hd_pool_cleaned(v);
}

static void put_later(struct hd_server *v)
{
    hd_pool_set_state(v, HD_SERVER_CLEANING);
    v->cancels++;
    v->later.fn = on_put_later;
    hd_loop_post(&v->w->loop, &v->later);
}

/* Does the pool keep a server that comes free? Those of the reserve stay while somebody waits; an old one
 * goes when nobody does, or else while no other is being made, so that they go one by one. */
static int wanted(struct hd_pool *p, struct hd_server *v, int needed_elsewhere)
{
    int over = hd_pool_total(p) - (int)hd_pool_limit(p);
    int waits = p->waiting_count || needed_elsewhere;

    if (HD_UNLIKELY(hd_share_others_wait()) && hd_pool_yields(p, waits))
        return 0;
    if (v->must_close || over > (waits ? p->conf->reserve_pool_size : 0) || hd_pool_owes_room(p))
        return 0;
    return (waits && p->connecting) || !hd_pool_expired(p, v, hd_moment(v->w));
}

void hd_pool_put(struct hd_server *v)
{
    struct hd_pool *p = v->pool, *to;

    HD_ASSERT(!v->session && !v->expects.count && v->txn == HD_TXN_IDLE);
    v->orphan = 0;
    if (HD_UNLIKELY(v->settling))
        hd_settle_drained(v);
    to = hd_pool_needier(p);
    if (!wanted(p, v, to != NULL)) {
        hd_server_close(v, "not wanted any more");
        return;
    }
    if (v->cancels) { /* the cancel must not hit the next one's statement */
        hd_pool_set_state(v, HD_SERVER_CLEANING);
        return;
    }
    if (to && v->link.busy) {
        put_later(v);
        return;
    }
    hd_pool_set_state(v, HD_SERVER_IDLE);
    if (!to || !hd_pool_give_away(to, v))
        hd_pool_serve_waiting(p, v);
}

void hd_pool_put_cleaning(struct hd_server *v)
{
    hd_pool_set_state(v, HD_SERVER_CLEANING);
}

void hd_pool_cleaned(struct hd_server *v)
{
    if (v->cancels)
        return;
    if (v->txn != HD_TXN_IDLE)
        hd_server_close(v, "left in a transaction");
    else
        hd_pool_put(v);
}

/* Who waited for a server that has ended gets another idle one. */
static void check_others(struct hd_pool *p)
{
    struct hd_server *v;

    while (!p->paused && p->waiting_count > hd_pool_coming(p) && (v = hd_pool_take_idle(p)))
        if (!hd_pool_check(v))
            hd_pool_serve_waiting(p, v);
}

void hd_pool_ended_idle(struct hd_server *v)
{
    uint64_t idled = hd_elapsed_ns(hd_now_ns(), v->idle_ns);

    if (idled / 2 < v->pool->check_ns)
        v->pool->check_ns = idled / 2;
}

void hd_pool_remove(struct hd_server *v)
{
    struct hd_pool *p = v->pool;

    hd_pool_set_state(v, HD_SERVER_CLOSED);
    hd_pool_unreserve(p);
    if (!p->waiting_count || p->w->stopping)
        return;
    check_others(p);
    hd_pool_connect_more(p, 0);
}
