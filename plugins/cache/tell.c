/*
 * Events of what was written, out and in; see tell.h. What comes from other hosts is not told on.
 */
#include "tell.h"

#include <stdio.h>
#include <string.h>

/* --- out ----------------------------------------------------------------------------------------------- */

static void publish(struct cache *self, const struct hd_event_written *ev)
{
    if (self->written_topic > 0 && self->bus->wanted(self->host, self->written_topic))
        (void)self->bus->publish(self->host, self->written_topic, ev, sizeof(*ev));
}

/* Longer names are cut, here as there. */
static void put_name(char *to, struct hd_str name)
{
    snprintf(to, HD_EVENT_NAME, "%.*s", (int)name.len, name.ptr ? name.ptr : "");
}

void cache_tell_written(struct cache *self, const struct cache_footprint *what, struct hd_str node,
                        struct hd_str dbname)
{
    struct hd_event_written ev = {.size = sizeof(ev), .count = what->count};

    put_name(ev.node, node);
    put_name(ev.database, dbname);
    if ((what->flags & CACHE_TXN_ANYTHING) || what->count > HD_WRITTEN_PARTS) {
        ev.flags |= HD_WRITTEN_ANYTHING;
        ev.count = 0;
    }
    if (what->flags & CACHE_TXN_DEFINES)
        ev.flags |= HD_WRITTEN_SCHEMA;
    for (uint32_t i = 0; i < ev.count; i++)
        ev.parts[i] = (struct hd_written_part){what->cells[i]->oid, what->cells[i]->part};
    if (ev.flags || ev.count)
        publish(self, &ev);
}

void cache_tell_everywhere(struct cache *self)
{
    const struct hd_event_written ev = {.size = sizeof(ev), .flags = HD_WRITTEN_EVERYWHERE};

    publish(self, &ev);
}

/* --- in ------------------------------------------------------------------------------------------------ */

static void end_cells(struct cache *self, struct cache_cell *const *cells, uint32_t count)
{
    cache_shared_raise(self, cells, count);
    for (uint32_t i = 0; i < count; i++)
        cache_bump(cells[i]);
}

/* Whatever it was. */
static void end_everything(struct cache *self)
{
    cache_shared_lose(self);
    cache_bump(&self->epochs.everything);
}

/* Of a name that was cut it cannot be told whose it is. */
static int is_cut(const char *name)
{
    return strnlen(name, HD_EVENT_NAME) >= HD_EVENT_NAME - 1;
}

static void end_schemas(struct cache *self, const struct hd_event_written *ev)
{
    struct cache_database *db;

    pthread_mutex_lock(&self->epochs.lock);
    db = self->epochs.databases;
    pthread_mutex_unlock(&self->epochs.lock);
    for (; db; db = db->next) { /* they live as long as the cache, and stay where they are in the list */
        struct cache_cell *cells[] = {&db->written, &db->schema};

        if (!strcmp(db->node.ptr, ev->node))
            end_cells(self, cells, 2);
    }
    self->catalog->changed(self->host, (struct hd_str){ev->node, strlen(ev->node)}, (struct hd_str){"", 0});
}

static void end_parts(struct cache *self, struct cache_database *db, const struct hd_event_written *ev)
{
    struct cache_cell *cells[HD_WRITTEN_PARTS] = {NULL}, *anything = &db->written;
    uint32_t count = ev->count <= HD_WRITTEN_PARTS ? ev->count : 0, n = 0;
    int known = !(ev->flags & HD_WRITTEN_ANYTHING) && count == ev->count;

    for (uint32_t i = 0; known && i < count; i++) {
        struct cache_table *t = cache_database_table(db, ev->parts[i].oid, self->epochs.max_tables);

        cells[n] = t ? cache_table_part(t, ev->parts[i].part) : NULL;
        known = cells[n++] != NULL;
    }
    if (known)
        end_cells(self, cells, n);
    else
        end_cells(self, &anything, 1);
}

/* Cells of tags have no table, and are the same for all databases. */
static void end_tags(struct cache *self, const struct hd_event_written *ev)
{
    for (uint32_t i = 0; i < ev->count && i < HD_WRITTEN_PARTS; i++) {
        struct cache_cell *cell = &self->epochs.tags[ev->parts[i].part % CACHE_TAG_CELLS];

        end_cells(self, &cell, 1);
    }
}

/* [control] */
static void on_written(void *arg, const struct hd_event *event)
{
    struct cache *self = arg;
    const struct hd_event_written *ev = event->data;
    struct cache_database *db = NULL;

    if (!event->remote)
        return;
    self->metrics->add(self->host, self->stats.heard, 1);
    if (event->overflow || !ev || event->data_size < sizeof(*ev) || (ev->flags & HD_WRITTEN_EVERYWHERE) ||
        is_cut(ev->node) || is_cut(ev->database)) {
        end_everything(self);
        return;
    }
    if (!*ev->node) {
        end_tags(self, ev);
        return;
    }
    if (ev->flags & HD_WRITTEN_SCHEMA)
        end_schemas(self, ev);
    db = cache_epochs_database(&self->epochs, (struct hd_str){ev->node, strnlen(ev->node, HD_EVENT_NAME)},
                               (struct hd_str){ev->database, strnlen(ev->database, HD_EVENT_NAME)});
    if (db)
        end_parts(self, db, ev);
    else
        end_everything(self);
}

/* Only where somebody carries the topic: else nobody wants it, and nothing is published. What was told until
 * now was not heard. */
static void hear(struct cache *self)
{
    struct hd_error err = HD_ERROR_INIT;

    if (self->listens)
        return;
    self->listens = self->bus->subscribe(self->host, HD_TOPIC_TABLE_WRITTEN, on_written, self, &err) > 0;
    if (!self->listens)
        hd_host_api(self->host)->failed(self->host, err.text);
    end_everything(self);
}

/* [control] */
static void on_link(void *arg, const struct hd_event *event)
{
    (void)event;
    hear(arg);
}

int32_t cache_tell_start(struct cache *self, struct hd_error *err)
{
    int64_t there = self->bus->topic(self->host, HD_TOPIC_BUS_LINK);
    int32_t code = self->bus->declare(self->host, HD_TOPIC_TABLE_WRITTEN, sizeof(struct hd_event_written),
                                      HD_TOPIC_MUST_KNOW, err);

    if (code == HD_OK)
        code = self->bus->declare(self->host, HD_TOPIC_BUS_LINK, sizeof(struct hd_event_link),
                                  HD_TOPIC_MUST_KNOW, err);
    if (code != HD_OK)
        return code;
    self->written_topic = self->bus->topic(self->host, HD_TOPIC_TABLE_WRITTEN);
    if (there > 0)
        hear(self);
    return self->bus->subscribe(self->host, HD_TOPIC_BUS_LINK, on_link, self, err) > 0 ? HD_OK : HD_EFULL;
}
