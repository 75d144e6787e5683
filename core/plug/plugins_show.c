/*
 * What is told of plugins: their list, one's descriptor or configuration, and the nearest name where there is
 * no such plugin.
 */
#include "plug/plugins.h"

#include "base/error.h"
#include "plug/instance.h"
#include "plug/nearest.h"

struct hd_plugin_entry *hd_plugins_known(struct hd_plugins *p, const char *id, struct hd_error *err)
{
    struct hd_plugin_entry *e = hd_plugins_find(p, id);
    struct hd_nearest near = hd_nearest_start(id);

    if (e)
        return e;
    hd_plugins_scan(p);
    e = hd_plugins_find(p, id);
    if (e)
        return e;
    for (struct hd_plugin_entry *other = p->entries; other; other = other->next) {
        hd_nearest_offer(&near, other->id);
    }
    hd_fail(err, HD_ENOENT, "there is no plugin %s in %s%s%s%s", id, p->plugin_dir,
            hd_nearest_end(&near) ? "; did you mean " : "",
            hd_nearest_end(&near) ? hd_nearest_end(&near) : "", hd_nearest_end(&near) ? "?" : "");
    return NULL;
}

static void sum_counts(const struct hd_instance *i, struct hd_plugin_info *info)
{
    for (uint32_t w = 0; w < i->plugins->workers; w++) {
        info->acted += atomic_load_explicit(&i->counts[w].acted, memory_order_relaxed);
        info->observed += atomic_load_explicit(&i->counts[w].observed, memory_order_relaxed);
    }
}

static void describe(struct hd_plugins *p, struct hd_plugin_entry *e, struct hd_plugin_info *info)
{
    static const char *const modes[] = {"off", "on", "observe"};
    const struct hd_plugin_conf *conf = hd_plugin_set_find(p->set, e->id);
    const struct hd_library *lib = e->lib;

    *info = (struct hd_plugin_info){
        .id = e->id,
        .version = lib ? lib->desc.version : "",
        .summary = lib ? lib->desc.summary : "",
        .vendor = lib ? lib->desc.vendor : "",
        .licence = lib ? lib->desc.licence : "",
        .state = hd_plugins_state(e),
        .mode = modes[e->mode],
        .reason = e->reason,
        .library = lib                     ? lib->path
                   : conf && conf->library ? conf->library
                                           : "",
        .capabilities = lib ? lib->capabilities : "",
        .priority = conf ? conf->priority : 100,
        .on_failure = conf && conf->on_failure == HD_ON_FAILURE_REJECT ? "reject" : "bypass",
    };
    if (!e->instance)
        return;
    info->failures = hd_instance_failures(e->instance, NULL, 0);
    sum_counts(e->instance, info);
}

void hd_plugins_list(struct hd_plugins *p, void (*fn)(void *arg, const struct hd_plugin_info *info),
                     void *arg)
{
    hd_plugins_scan(p);
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        struct hd_plugin_info info;

        describe(p, e, &info);
        fn(arg, &info);
    }
}

int hd_plugins_get(struct hd_plugins *p, const char *id, struct hd_plugin_info *out)
{
    struct hd_plugin_entry *e = hd_plugins_find(p, id);

    if (!e)
        return HD_ENOENT;
    describe(p, e, out);
    return HD_OK;
}

const char *hd_plugins_owner(struct hd_plugins *p, const void *owner)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next)
        if (e->instance && &e->instance->host == owner)
            return e->id;
    return NULL;
}

const struct hd_plugin *hd_plugins_describe(struct hd_plugins *p, const char *id, struct hd_error *err)
{
    struct hd_plugin_entry *e = hd_plugins_known(p, id, err);

    if (!e)
        return NULL;
    if (e->lib)
        return &e->lib->desc;
    if (e->prepared && e->next_lib) /* where nothing runs, nothing is ever committed */
        return &e->next_lib->desc;
    hd_fail(err, HD_ENOENT, "%s", e->reason);
    return NULL;
}

const struct hd_conf *hd_plugins_conf(struct hd_plugins *p, const char *id)
{
    struct hd_plugin_entry *e = hd_plugins_find(p, id);

    return e && e->instance ? &e->instance->settings->conf : NULL;
}
