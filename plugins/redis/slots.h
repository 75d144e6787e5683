/*
 * How a Redis Cluster says where keys are: slots, the answer of CLUSTER SLOTS, and redirections.
 */
#ifndef HD_PLUGINS_REDIS_SLOTS_H
#define HD_PLUGINS_REDIS_SLOTS_H

#include "redis/url.h"

#include <hiredis/hiredis.h>

#define RDS_SLOTS 16384

/* A key's slot: CRC16 of it, or of what stands between its first { and the next }, if there is anything. */
uint32_t rds_slot(struct hd_str key);

/* Calls fn for each range of slots and the master that has it. `asked` is whom the answer is from: a server
 * that knows no name for itself means that. HD_OK, or HD_EPROTO: it is no such answer; then fn may have been
 * called. */
int32_t rds_slots_read(const redisReply *answer, const struct rds_address *asked,
                       void (*fn)(void *arg, uint32_t from, uint32_t to, const struct rds_address *master),
                       void *arg);

/* "MOVED 3999 127.0.0.1:6381", "ASK …". HD_OK, or HD_ENOENT: it is another error. */
int32_t rds_redirect_read(struct hd_str error, const struct rds_address *asked, uint32_t *slot, int *asking,
                          struct rds_address *where);

#endif
