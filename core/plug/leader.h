/*
 * One leader among several hosts: whoever holds the advisory lock HD_LOCK_LEADER in a node's own database, on
 * a connection that does nothing else. Losing the connection is losing the lock, which PostgreSQL then gives
 * to the next who asks.
 */
#ifndef HD_PLUG_LEADER_H
#define HD_PLUG_LEADER_H

#include <pthread.h>

#include "plug/jobs.h"

struct hd_leader {
    struct hd_jobs *jobs;
    char *node;
    pthread_mutex_t lock;    /* one thread at a time speaks on it */
    struct hd_sqlconn *conn; /* while this host is the leader */
};

int hd_leader_init(struct hd_leader *l, struct hd_jobs *jobs, const char *node);
/* Gives the lock back. No thread uses it any more. */
void hd_leader_free(struct hd_leader *l);
/* Is this host the leader, or has it become so now? 1, 0, or a negative code. Blocks for some seconds at
 * most. [job] */
int hd_leader_try(struct hd_leader *l, struct hd_error *err);
/* Gives the lock back, to be tried for again later. [job] */
void hd_leader_resign(struct hd_leader *l);

#endif
