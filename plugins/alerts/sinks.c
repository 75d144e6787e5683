/*
 * Sinks: the plugins that are named, asked for when alerts starts and again when one of them comes later;
 * their targets, and how these are.
 */
#include <howdah/howdah.h>
#include <stdio.h>
#include <string.h>

#include "alerts/alerts.h"

#define PLUGIN_PREFIX "alert-"

/* --- which there are -------------------------------------------------------------------------------------
 */

/* HD_OK: it is there. */
static int32_t ask(struct al *self, struct al_sink *s, struct hd_error *err)
{
    const void *vtable = NULL;
    char plugin[64];
    int32_t code;

    snprintf(plugin, sizeof(plugin), PLUGIN_PREFIX "%s", s->name);
    code = hd_host_api(self->host)->capability(self->host, HD_CAP_ALERT_SINK, plugin, &vtable, &s->self, err);
    s->v1 = code ? NULL : vtable;
    snprintf(s->problem, sizeof(s->problem), "%s", code ? err->text : "");
    return code;
}

/* A sink that was enabled later is used from then on. */
static void on_plugin(void *arg, const struct hd_event *ev)
{
    const struct hd_event_plugin *p = ev->data;
    struct al *self = arg;

    if (!p || self->stopping || strcmp(p->state, "running") != 0 ||
        strncmp(p->plugin, PLUGIN_PREFIX, strlen(PLUGIN_PREFIX)) != 0)
        return;
    for (uint32_t i = 0; i < self->sink_count; i++) {
        struct hd_error why = HD_ERROR_INIT;

        if (self->sinks[i].v1 || strcmp(self->sinks[i].name, p->plugin + strlen(PLUGIN_PREFIX)) != 0)
            continue;
        if (ask(self, &self->sinks[i], &why) == HD_OK)
            al_log(self, HD_LEVEL_INFO, "a sink of alerts has come", "sink", p->plugin, NULL, NULL);
    }
}

int32_t al_sinks_find(struct al *self, struct hd_error *err)
{
    const struct hd_str_list *names = &self->conf->sinks;

    for (uint64_t i = 0; i < names->count; i++) {
        struct al_sink *s = &self->sinks[self->sink_count++];
        struct hd_error why = HD_ERROR_INIT;
        int32_t code;

        snprintf(s->name, sizeof(s->name), "%s", names->items[i].ptr);
        code = ask(self, s, &why);
        if (code == HD_EBUSY || code == HD_EINVAL)
            return hd_error_set(err, code, "%s", why.text);
        if (code)
            al_log(self, HD_LEVEL_ERROR, "a sink of alerts is not there", "sink", s->name, "reason",
                   why.text);
    }
    if (self->bus->subscribe(self->host, HD_TOPIC_PLUGIN_STATE, on_plugin, self, err) < 0)
        al_log(self, HD_LEVEL_DEBUG, "this host does not tell when plugins come", NULL, NULL, NULL, NULL);
    return HD_OK;
}

/* --- their targets ---------------------------------------------------------------------------------------
 */

void al_sinks_look(struct al *self)
{
    uint32_t before = self->lanes.left_out;
    char count[16];

    al_lanes_update(&self->lanes, self->sinks, self->sink_count);
    snprintf(count, sizeof(count), "%u", self->lanes.left_out);
    if (self->lanes.left_out > before)
        al_log(self, HD_LEVEL_ERROR, "too many targets for alerts; some get nothing", "left_out", count, NULL,
               NULL);
}

/* --- how they are ----------------------------------------------------------------------------------------
 */

static int has_part(const struct al_parts *p, const char *name)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (strcmp(p->names[i], name) == 0)
            return 1;
    return 0;
}

static void tell(struct al *self, struct al_parts *told, const char *name, const char *state,
                 const char *problem)
{
    if (told->count == AL_PARTS_MAX || has_part(told, name))
        return;
    snprintf(told->names[told->count++], AL_TARGET_MAX, "%s", name);
    self->health->set(self->host, name, state, !*problem, problem);
}

void al_sinks_health(struct al *self)
{
    struct al_parts told = {.count = 0};
    struct al_lane_stats s;

    if (!self->health)
        return;
    if (self->conf->state_file.len)
        tell(self, &told, "state",
             *self->save_error ? "failing"
             : self->standby   ? "standby"
                               : "kept",
             self->save_error);
    for (uint32_t i = 0; i < self->sink_count; i++)
        if (!self->sinks[i].v1)
            tell(self, &told, self->sinks[i].name, "missing", self->sinks[i].problem);
    for (uint32_t i = 0; al_lanes_stats(&self->lanes, i, &s); i++)
        tell(self, &told, s.name, *s.error ? "failing" : "delivering", s.error);
    for (uint32_t i = 0; i < self->parts.count; i++)
        if (!has_part(&told, self->parts.names[i]))
            self->health->drop(self->host, self->parts.names[i]);
    self->parts = told;
}
