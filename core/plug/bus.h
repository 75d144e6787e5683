/*
 * The event bus: threads publish small structs, subscribers get them on the control thread.
 *
 * Each thread of the host has a bounded ring of its own, which only it writes and only the control thread
 * reads; all other threads share one ring behind a mutex. What an overflow means is the topic's: a lossy one
 * counts, a must-know one gives each subscriber one mark. Within a thread the order is kept, among threads
 * there is none. The last events of each of the host's topics are kept for SHOW EVENTS.
 */
#ifndef HD_PLUG_BUS_H
#define HD_PLUG_BUS_H

#include <howdah/events.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "io/loop.h"

struct hd_bus;
struct hd_commands;

/* Numbers of the host's own topics, which need no look-up. */
enum hd_bus_topic {
    HD_BUS_SESSION_OPENED = 1,
    HD_BUS_SESSION_CLOSED,
    HD_BUS_STATEMENT_FINISHED,
    HD_BUS_STATEMENT_REFUSED,
    HD_BUS_DDL_OBSERVED,
    HD_BUS_NODE_HEALTH,
    HD_BUS_CONFIG_RELOADED,
    HD_BUS_PLUGIN_STATE,
    HD_BUS_HOST_RETIRING,
};

/* `queue` events fit into each ring. NULL: no memory. [control] */
struct hd_bus *hd_bus_new(struct hd_loop *control, size_t queue);
/* Delivers nothing more; every publishing thread has ended by now. [control] */
void hd_bus_free(struct hd_bus *bus);

/* As hd_bus_v1's; `owner` is what hd_bus_drop_owner names, NULL for the host itself. */
int hd_bus_declare(struct hd_bus *bus, const char *topic, uint32_t data_size, uint32_t overflow,
                   struct hd_error *err);
int hd_bus_find(struct hd_bus *bus, const char *topic);
int hd_bus_wanted(struct hd_bus *bus, int topic);
int hd_bus_publish(struct hd_bus *bus, int topic, const void *data, uint32_t data_size);
int hd_bus_relay(struct hd_bus *bus, int topic, const void *data, uint32_t data_size);
int hd_bus_lost(struct hd_bus *bus, int topic);
int64_t hd_bus_subscribe(struct hd_bus *bus, const void *owner, const char *topic,
                         void (*fn)(void *arg, const struct hd_event *ev), void *arg, struct hd_error *err);
void hd_bus_unsubscribe(struct hd_bus *bus, int64_t id);
/* Ends all subscriptions of an owner. [control] */
void hd_bus_drop_owner(struct hd_bus *bus, const void *owner);

/* Delivers all that is queued now, without waiting for the loop to come round. [control], in no subscriber.
 */
void hd_bus_drain(struct hd_bus *bus);

/* What happened to a topic since the start. */
struct hd_bus_topic_stats {
    const char *name;
    uint32_t data_size, overflow;
    uint64_t published, dropped, delivered, marks; /* `delivered` counts each subscriber */
    uint64_t subscribers;
};
/* HD_ENOENT past the last topic; numbers start at 1. [control] */
int hd_bus_topic_stats(struct hd_bus *bus, int topic, struct hd_bus_topic_stats *out);

/* The last events of the host's own topics, oldest first. [control] */
void hd_bus_history(struct hd_bus *bus,
                    void (*fn)(void *arg, int topic, const char *name, int64_t wall_us, const void *data),
                    void *arg);
/* One line that says what an event of one of the host's topics is. */
void hd_bus_event_text(struct hd_strbuf *out, int topic, const void *data);
/* Adds SHOW EVENTS and SHOW TOPICS. [control] */
int hd_bus_add_commands(struct hd_bus *bus, struct hd_commands *commands, struct hd_error *err);
/* Offers it to plugins as "howdah.bus/1". [control] */
int hd_bus_serve(struct hd_bus *bus);

#endif
