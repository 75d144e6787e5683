/*
 * What the pool's files share: pool.c finds, makes and frees pools; pool_limit.c counts their servers and
 * makes room; pool_connect.c makes connections; pool_queue.c hands servers to who waits; pool_move.c gives
 * them to other workers; pool_tick.c is for what time does; pool_meter.c tells the metrics.
 */
#ifndef HD_SESSION_POOL_PARTS_H
#define HD_SESSION_POOL_PARTS_H

#include "session/pool.h"
#include "session/share.h"
#include "session/tally.h"

/* The counts of servers that have limits beside the pool's own. */
#define HD_POOL_TALLIES 3

/* A server that has idled longer is asked whether it still lives before a statement goes to it, unless
 * servers here are known to end sooner. */
#define HD_POOL_CHECK_NS UINT64_C(500000000)

/* What all workers' pools of one key share. */
struct hd_pool_shared {
    struct hd_pool_shared *next;
    char *key;
    uint32_t refs;              /* pools; under the workers' lock */
    _Atomic unsigned forgotten; /* how often `welcome` has proved to be out of date */
    _Atomic int64_t limit, reserve;
    _Atomic int total;                         /* servers and connects under way, all workers */
    struct hd_share *share;                    /* with another host; NULL: there is none */
    _Atomic int turns;                         /* sessions served since that one had a server of ours */
    _Atomic int clients;                       /* sessions, all workers */
    struct hd_tally *tallies[HD_POOL_TALLIES]; /* of servers: the database's, the user's, the node's */
    struct hd_scram_keys keys; /* of the user, where he has no password here; under the workers' lock */
    int has_keys;
    struct hd_params_copy *welcome; /* what a new server has, by the settings numbered `generation`; under the
                                     * workers' lock */
    uint64_t generation;
    struct hd_params_copy *defaults;   /* what servers have beside that; under the workers' lock */
    _Atomic uint64_t defaults_seen_ns; /* when a server has said so last */
    _Atomic unsigned defaults_seq;     /* numbers its changes; written under that lock */
    int64_t metrics[HD_POOL_METRICS];  /* its own, or those of all others together */
    int metered_apart;
    _Atomic int64_t told_limit; /* what the limit's metric has been told */
    struct hd_pool_place {
        _Atomic(struct hd_pool *) pool;
        _Atomic unsigned flags;      /* HD_PLACE_…, kept by the pool's own worker */
        _Atomic uint64_t longest_ns; /* how long somebody waits there, each second */
    } places[];                      /* by worker */
};

#define HD_PLACE_WAITS 1u /* sessions wait here */
#define HD_PLACE_BUSY  2u /* and it has servers at work, so that its turn will come */

/* pool.c */
uint64_t hd_pool_node_hash(const struct hd_pool *p);
void hd_pool_learn_welcome(struct hd_pool *p, struct hd_params *welcome);
void hd_pool_forget_welcome(struct hd_pool *p);
void hd_pool_ask_for_welcome(struct hd_pool *p);
/* Pools that nobody has used for a while, and nobody can be about to use, are freed. Each second. */
void hd_pools_sweep(struct hd_worker *w, uint64_t now);

/* The user's keys, if a login has shown them. 1, or 0. */
int hd_pool_keys(struct hd_pool *p, struct hd_scram_keys *out);

/* pool_meter.c */
/* The pool's metrics, or the common ones past `most` pools; and their end. Under the workers' lock. */
void hd_pool_meter_open(struct hd_workers *all, struct hd_pool_shared *s, int64_t most, const char *database,
                        const char *user, const char *node);
void hd_pool_meter_close(struct hd_workers *all, struct hd_pool_shared *s);
/* This worker's part is about to go. */
void hd_pool_meter_leave(struct hd_pool *p);

/* pool_limit.c */
/* How many servers there may be, in all workers: the least of the limits that they count in. */
int64_t hd_pool_room(const struct hd_pool *p);
/* Counts one more server in, under every limit, of `extra` above pool_size. 0: there is no room. */
int hd_pool_reserve(struct hd_pool *p, int64_t extra);
void hd_pool_unreserve(struct hd_pool *p);
/* A limit that other pools count in, too, leaves no room: one of their idle servers is closed, here or on
 * another worker, and who waits gets its place. */
void hd_pool_make_room(struct hd_pool *p);
/* Should this server, which comes free, make room for a pool that has none and waits for the same limit? */
int hd_pool_owes_room(struct hd_pool *p);
/* Somebody waits on another host: should a server here make room for him, under this pool's limit or a common
 * one? `waits`: somebody waits for it here, too. If 1, one must be closed. */
int hd_pool_yields(struct hd_pool *p, int waits);
/* The pool waits for room no longer. */
void hd_pool_waive_room(struct hd_pool *p);

/* pool_connect.c */
/* Fills in where the pool's servers are, and as whom: everything but `done`. What is given lives until that.
 */
void hd_pool_where(struct hd_pool *p, struct hd_connect *c, struct hd_scram_keys *keys, const char *database,
                   const char *user);
/* One more of libpq's keywords; none where the value is NULL. */
void hd_connect_add(struct hd_connect *c, const char *key, const char *value);
/* As many connections as sessions wait, under the limits, and not while the node refuses. `extra`: how many
 * above pool_size there may be. */
void hd_pool_connect_more(struct hd_pool *p, int64_t extra);
/* One more, though nobody waits, up to min_pool_size. */
void hd_pool_keep_minimum(struct hd_pool *p, uint64_t now);

/* pool_queue.c */
/* The one place where a server changes state and list. */
void hd_pool_set_state(struct hd_server *v, enum hd_server_state to);
/* Out of the queue. */
void hd_pool_dequeue(struct hd_pool *p, struct hd_session *s);
/* Servers that are about to come for who waits. */
static inline uint32_t hd_pool_coming(const struct hd_pool *p)
{
    return p->connecting + p->checking;
}
/* A server that has idled for a while is asked first, for PostgreSQL may be ending it at this moment. 1: it
 * is being asked, and comes back clean, or ends. */
int hd_pool_check(struct hd_server *v);
/* Gives a free server to whoever waits here. 1 when somebody took it. */
int hd_pool_serve_waiting(struct hd_pool *p, struct hd_server *v);
/* An idle server that may be used; those found dead are closed. NULL: none. */
struct hd_server *hd_pool_take_idle(struct hd_pool *p);
/* Has it stood open longer than server_lifetime? */
int hd_pool_expired(const struct hd_pool *p, const struct hd_server *v, uint64_t now);

/* pool_move.c */
/* The limit is reached and servers may idle elsewhere. */
void hd_pool_ask_others(struct hd_pool *p);
/* Another worker that should have this server rather than us; NULL: none. */
struct hd_pool *hd_pool_needier(struct hd_pool *p);
/* Another worker's sessions wait: it gets this server. The count of servers stays. 0: it cannot leave. */
int hd_pool_give_away(struct hd_pool *to, struct hd_server *v);

#endif
