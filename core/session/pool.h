/*
 * The pool of one (database, user, node) on one worker, and its limit, which holds over all workers.
 *
 * Waiting is first come first served within a worker. A worker whose sessions wait while it has no server at
 * all is given the next one that another worker frees. Beside the pool's own limit there are those of the
 * database, the user and the node over several pools (max_servers). A pool that nobody uses is freed after
 * some seconds.
 */
#ifndef HD_SESSION_POOL_H
#define HD_SESSION_POOL_H

#include "session/session.h"

/* The pool, found or made; NULL: no memory. conf, user and node are of `settings`. Whoever keeps it counts
 * himself among its refs. */
struct hd_pool *hd_pool_get(struct hd_worker *w, struct hd_settings *settings,
                            const struct hd_database_conf *conf, const struct hd_user_conf *user,
                            const struct hd_node_conf *node, const char *database, const char *user_name);
/* The user has shown the keys of his password, which the configuration does not have. */
void hd_pool_set_keys(struct hd_pool *p, const struct hd_scram_keys *keys);
/* The same user on another node. */
void hd_pool_share_keys(struct hd_pool *from, struct hd_pool *to);
/* A client of the pool, counted in and out. */
void hd_pool_enter(struct hd_pool *p);
void hd_pool_leave(struct hd_pool *p);
/* A server connection of the pool's user that is not the pool's: counted where others count, too. 0: full. */
int hd_pool_enter_apart(struct hd_pool *p);
void hd_pool_leave_apart(struct hd_pool *p);
/* Goes over to new settings; pools whose database or user is gone keep the old until they are empty. */
void hd_pools_apply(struct hd_worker *w, struct hd_settings *s);
/* Closes all servers; no session is left. Own thread. */
void hd_pools_close(struct hd_worker *w);
/* Frees the pools, and with the last worker's what they shared; every worker's thread has ended. */
void hd_pools_free(struct hd_worker *w);

/* Gives the session a server now (1), or puts it in the queue (0). */
int hd_pool_acquire(struct hd_pool *p, struct hd_session *s);
/* Takes a waiting session out of the queue. */
void hd_pool_give_up(struct hd_pool *p, struct hd_session *s);
/* A linked server comes free and clean: to the next who waits, to another worker, or to the idle ones. */
void hd_pool_put(struct hd_server *v);
/* A linked server comes free but must be cleaned first: what was sent to it is answered before anybody gets
 * it. */
void hd_pool_put_cleaning(struct hd_server *v);
void hd_pool_cleaned(struct hd_server *v);
/* PostgreSQL has ended it for having idled too long: from now on others are asked in time. */
void hd_pool_ended_idle(struct hd_server *v);
/* The server is closing: out of all lists and counts. */
void hd_pool_remove(struct hd_server *v);
/* What a new server connection has; NULL: nobody knows yet. */
struct hd_params *hd_pool_welcome(struct hd_pool *p);
/* A session that logs in needs a server only to learn what one is like; see hd_session_welcomed. */
void hd_pool_want_welcome(struct hd_pool *p, struct hd_session *s);

/* Timeouts, retries, idle servers; called every tick (100 ms). */
void hd_pools_tick(struct hd_worker *w, uint64_t now_ns);
/* Brings the pools' metrics up to date with this worker; each second. Own thread. */
void hd_pools_meter(struct hd_worker *w, uint64_t now_ns);
void hd_pool_pause(struct hd_pool *p, int on);
/* Servers of this pool over all workers. */
int hd_pool_total(const struct hd_pool *p);
int64_t hd_pool_limit(const struct hd_pool *p);
void hd_pool_stats_add(struct hd_pool_stats *to, const struct hd_pool_stats *a);

#endif
