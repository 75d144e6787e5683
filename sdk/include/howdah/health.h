/*
 * Health: parts of a plugin that can be well or not, shown by the host at /health beside the plugin itself.
 * Service "howdah.health/1".
 */
#ifndef HOWDAH_HEALTH_H
#define HOWDAH_HEALTH_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_HEALTH "howdah.health/1"

/* Service "howdah.health/1". Since ABI 0.1. */
struct hd_health_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Says how a part is: "stream main" is "following", well, or "broken", not well, for that reason. The
     * same name says it anew. `state` is one word; `reason` may be NULL. At most 64 parts of a plugin; all
     * are copied, and gone when the plugin stops. HD_EFULL, HD_ENOMEM. [any] */
    int32_t (*set)(hd_host *host, const char *part, const char *state, uint32_t well, const char *reason);
    /* Forgets a part. [any] */
    void (*drop)(hd_host *host, const char *part);
};

#ifdef __cplusplus
}
#endif
#endif
