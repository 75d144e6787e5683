/*
 * The servers behind one URL, as one thread sees them: one, the master that sentinels name, or a cluster's.
 */
#ifndef HD_PLUGINS_REDIS_SERVERS_H
#define HD_PLUGINS_REDIS_SERVERS_H

#include "redis/link.h"

struct rds_servers;

/* NULL: no memory. `conf` stays the caller's. */
struct rds_servers *rds_servers_new(const struct rds_link_conf *conf, int32_t thread);
/* Not from within a reply's callback. */
void rds_servers_free(struct rds_servers *s);

/* Where commands on a key go; NULL: not known now. */
struct rds_link *rds_servers_for(struct rds_servers *s, struct hd_str key);

/* Where an error reply from a link sends the command: MOVED, or ASK, which sets *asking (send ASKING before
 * the command). NULL: it is another error, or leads nowhere now. */
struct rds_link *rds_servers_follow(struct rds_servers *s, const struct rds_link *from,
                                    const redisReply *error, int *asking);

/* Have all servers that there are keys on a connection? */
int rds_servers_ready(const struct rds_servers *s);
/* One after the other, each that there are keys on; NULL behind the last one. */
struct rds_link *rds_servers_nth(struct rds_servers *s, uint32_t n);

/* Calls fn for each link, under a lock that keeps them there. [any] */
void rds_servers_each(struct rds_servers *s, void (*fn)(void *arg, struct rds_link *l), void *arg);

#endif
