/*
 * What a connection to Redis needs of its plugin: the host's services, the thread that it lives on, and the
 * account of errands. An errand is something on its way between threads that will come back to the plugin's
 * code; a plugin must not say that it has stopped before the last one has ended.
 */
#ifndef HD_PLUGINS_REDIS_ENV_H
#define HD_PLUGINS_REDIS_ENV_H

#include <howdah/howdah.h>

#include <stdatomic.h>

/* Shared by all threads of a plugin. */
struct rds_env {
    hd_host *host;
    const struct hd_loop_v1 *loop;
    const struct hd_jobs_v1 *jobs;
    _Atomic uint32_t errands; /* 1 for the plugin itself while it runs */
};

/* Finds the services. */
int32_t rds_env_start(struct rds_env *e, hd_host *host, struct hd_error *err);

void rds_errand_begin(struct rds_env *e);
/* The last one tells the host that the plugin has stopped. */
void rds_errand_end(struct rds_env *e);
/* For stop(): ends the plugin's own errand. HD_OK, or HD_PENDING. */
int32_t rds_env_stop(struct rds_env *e);

/* Monotonic, milliseconds. */
uint64_t rds_now_ms(void);

#endif
