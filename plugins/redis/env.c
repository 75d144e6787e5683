/*
 * The account of errands, and small helpers; see env.h.
 */
#include "redis/env.h"

#include <time.h>

int32_t rds_env_start(struct rds_env *e, hd_host *host, struct hd_error *err)
{
    const void *loop, *jobs;
    int32_t code;

    e->host = host;
    if ((code = hd_host_need(host, HD_SERVICE_LOOP, &loop, err)) ||
        (code = hd_host_need(host, HD_SERVICE_JOBS, &jobs, err)))
        return code;
    e->loop = loop;
    e->jobs = jobs;
    atomic_store(&e->errands, 1);
    return HD_OK;
}

void rds_errand_begin(struct rds_env *e)
{
    atomic_fetch_add_explicit(&e->errands, 1, memory_order_relaxed);
}

void rds_errand_end(struct rds_env *e)
{
    hd_host *host = e->host;

    if (atomic_fetch_sub_explicit(&e->errands, 1, memory_order_acq_rel) == 1)
        hd_host_api(host)->stopped(host);
}

int32_t rds_env_stop(struct rds_env *e)
{
    return atomic_fetch_sub_explicit(&e->errands, 1, memory_order_acq_rel) == 1 ? HD_OK : HD_PENDING;
}

uint64_t rds_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
