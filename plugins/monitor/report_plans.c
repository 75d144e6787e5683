/* A report's statements whose plans have changed: when, and into what, where the history has such an event.
 */
#include "report_parts.h"

#include <howdah/events.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 20000

/* Statements by "FINGERPRINT DATABASE USER", as the event's subject says it, each with its last change. */
static int32_t take(void *arg, const struct mon_event *e)
{
    json_t *changes = arg, *o;

    if (strcmp(e->topic, "plan.changed") != 0)
        return HD_OK;
    o = json_object_get(changes, e->subject);
    if (o && (int64_t)mon_num(o, "time") >= e->time)
        return HD_OK;
    o = json_object();
    json_object_set_new(o, "time", json_integer((json_int_t)e->time));
    json_object_set_new(o, "text", json_string(e->text));
    return json_object_set_new(changes, e->subject, o) ? HD_ENOMEM : HD_OK;
}

int32_t mon_report_plans(const struct mon_frame *f, json_t *report)
{
    static const char *const lists[] = {"slowest", "changed", "regressions"};
    json_t *changes = json_object(), *e, *change;
    int32_t code = mon_store_read_events(f->store, f->before, f->to + 1, EVENTS_MAX, take, changes);
    size_t i;

    for (unsigned k = 0; !code && json_object_size(changes) && k < sizeof(lists) / sizeof(lists[0]); k++)
        json_array_foreach(json_object_get(report, lists[k]), i, e)
        {
            char subject[2 * HD_EVENT_NAME + 24];

            snprintf(subject, sizeof(subject), "%s %s %s", mon_str(e, "fingerprint"), mon_str(e, "database"),
                     mon_str(e, "user"));
            change = json_object_get(changes, subject);
            if (change)
                json_object_set(e, "plan_changed", change);
        }
    json_decref(changes);
    return code;
}
