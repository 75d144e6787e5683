/*
 * How parts of plugins are, as they say themselves.
 */
#ifndef HD_HOST_HEALTH_H
#define HD_HOST_HEALTH_H

/* Borrowed for the call. */
struct hd_health_part {
    const char *plugin, *name, *state, *reason;
    int well;
};

/* Offers "howdah.health/1" to plugins. [control] */
int hd_health_serve(void);
/* All parts; fn must not ask for more. [any] */
void hd_health_each(void (*fn)(void *arg, const struct hd_health_part *part), void *arg);

#endif
