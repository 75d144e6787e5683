/*
 * Asks sentinels, one after the other, which server is the master.
 */
#ifndef HD_PLUGINS_REDIS_SENTINEL_H
#define HD_PLUGINS_REDIS_SENTINEL_H

#include "redis/conn.h"

struct rds_sentinel;

/* `found` comes once for each rds_sentinel_ask: the master's address, or NULL and why none is known. */
struct rds_sentinel *
rds_sentinel_new(struct rds_env *env, int32_t thread, const struct rds_limits *limits,
                 const struct rds_login *login, const struct rds_url *url,
                 void (*found)(void *arg, const struct rds_address *master, const char *why), void *arg);
/* Also from within `found`. */
void rds_sentinel_free(struct rds_sentinel *s);
void rds_sentinel_ask(struct rds_sentinel *s);

#endif
