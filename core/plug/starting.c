/*
 * Starting what is prepared, and what plugins are to each other: in which order they start, who starts first
 * because another asks for it, and who uses whom.
 */
#include "plug/instance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/strbuf.h"

int hd_plugins_start_entry(struct hd_plugin_entry *e, struct hd_error *err)
{
    struct hd_instance *i = e->candidate;
    int code;

    e->candidate = NULL; /* nobody starts it twice, whoever asks meanwhile */
    e->waits = 0;
    e->starting = 1;
    code = hd_instance_start(i, e->settings, err);
    e->starting = 0;
    if (code) {
        hd_instance_discard(i);
        hd_plugin_settings_free(e->settings);
        e->settings = NULL;
        e->next_refused = !e->waits;
        snprintf(e->next_reason, sizeof(e->next_reason), "%s", err->text);
        return code;
    }
    e->settings = NULL;
    e->instance = i;
    i->mode = e->next_mode;
    return HD_OK;
}

/* --- all of them --------------------------------------------------------------------------------------- */

/* The prepared instances in the order in which they start: what is no filter first. */
static int by_start(const void *a, const void *b)
{
    const struct hd_plugin_entry *x = *(struct hd_plugin_entry *const *)a;
    const struct hd_plugin_entry *y = *(struct hd_plugin_entry *const *)b;

    if (x->next_lib->is_filter != y->next_lib->is_filter)
        return x->next_lib->is_filter ? 1 : -1;
    if (x->settings->priority != y->settings->priority)
        return x->settings->priority < y->settings->priority ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* What runs since this commit began has been in no snapshot: it can stop at once. */
static void undo_started(struct hd_plugins *p, struct hd_plugin_entry **order, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (order[i]->instance && order[i]->instance->state == HD_INSTANCE_RUNNING)
            hd_instance_retire(order[i]->instance, p->snapshot->generation);
    for (size_t i = 0; i < n; i++)
        if (order[i]->instance)
            hd_instance_advance(order[i]->instance);
    hd_plugins_poke(p);
}

static int is_required(const struct hd_plugins *p, const struct hd_plugin_entry *e)
{
    const struct hd_plugin_conf *conf = hd_plugin_set_find(p->prepared, e->id);

    return conf && conf->required;
}

/* Starts those that have not been started because others asked for them. */
static int start_each(struct hd_plugins *p, struct hd_plugin_entry **order, size_t n, struct hd_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct hd_error why = HD_ERROR_INIT;
        int code = order[i]->candidate  ? hd_plugins_start_entry(order[i], &why)
                   : order[i]->instance ? HD_OK
                                        : HD_EFAIL;

        if (code && is_required(p, order[i]))
            return hd_fail(err, code, "plugin %s is required: %s", order[i]->id, order[i]->next_reason);
    }
    return HD_OK;
}

int hd_plugins_start_all(struct hd_plugins *p, struct hd_plugin_entry **order, struct hd_error *err)
{
    size_t n = 0;
    int code;

    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (e->prepared && e->candidate && !e->instance)
            order[n++] = e;
    }
    qsort(order, n, sizeof(*order), by_start);
    p->starting = 1;
    code = start_each(p, order, n, err);
    p->starting = 0;
    if (code)
        undo_started(p, order, n);
    return code;
}

/* --- who provides what --------------------------------------------------------------------------------- */

static int provides(const struct hd_plugin_entry *e, const char *name)
{
    const struct hd_library *lib = e->instance ? e->instance->lib : e->next_lib ? e->next_lib : e->lib;

    return lib && lib->desc.capability && lib->desc.capability(name);
}

/* Runs, or will when this commit is through; and stays. */
static int is_usable(const struct hd_plugins *p, const struct hd_plugin_entry *e)
{
    const struct hd_instance *i = e->instance;

    if (!i)
        return 0;
    if (p->starting && (!e->prepared || e->next_mode == HD_MODE_OFF))
        return 0;
    return i->state == HD_INSTANCE_RUNNING || (i->state == HD_INSTANCE_RETIRING && i->pinned && p->starting);
}

/* Is it prepared, with nothing in its way? */
static int can_start(const struct hd_plugins *p, const struct hd_plugin_entry *e)
{
    return p->starting && !e->instance && e->candidate;
}

static struct hd_plugin_entry *
find_provider(struct hd_plugins *p, const struct hd_instance *asker, const char *name, const char *plugin_id,
              int (*fits)(const struct hd_plugins *p, const struct hd_plugin_entry *e))
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (e != asker->entry && (!plugin_id || !strcmp(plugin_id, e->id)) && fits(p, e) && provides(e, name))
            return e;
    }
    return NULL;
}

/* Starts those that provide it, until one comes up. */
static struct hd_plugin_entry *start_provider(struct hd_plugins *p, struct hd_instance *asker,
                                              const char *name, const char *plugin_id)
{
    struct hd_plugin_entry *e;

    while ((e = find_provider(p, asker, name, plugin_id, can_start))) {
        struct hd_error why = HD_ERROR_INIT;
        int code;

        e->asked_by = asker->entry;
        code = hd_plugins_start_entry(e, &why);
        e->asked_by = NULL;
        if (!code)
            return e;
    }
    return NULL;
}

/* --- why not ------------------------------------------------------------------------------------------- */

/* Who asked for whom, from `e` on to `last`. */
static void print_path(struct hd_strbuf *b, const struct hd_plugin_entry *e,
                       const struct hd_plugin_entry *last)
{
    if (last != e && last->asked_by)
        print_path(b, e, last->asked_by);
    hd_strbuf_printf(b, "%s -> ", last->id);
}

static int fail_cycle(const struct hd_plugin_entry *e, const struct hd_instance *asker, struct hd_error *err)
{
    struct hd_strbuf path = HD_STRBUF_INIT;
    int code;

    print_path(&path, e, asker->entry);
    hd_strbuf_puts(&path, e->id);
    code = path.failed ? hd_fail(err, HD_ENOMEM, "no memory")
                       : hd_fail(err, HD_EINVAL, "plugins ask for each other: %s", hd_strbuf_str(&path));
    hd_strbuf_free(&path);
    return code;
}

/* Is it to start later: once its old instance has ended, or what it waits for itself is there? */
static int comes_later(const struct hd_plugins *p, const struct hd_plugin_entry *e)
{
    if (!p->starting || !e->prepared)
        return e->restart != HD_MODE_OFF;
    return e->candidate || (e->waits && !e->instance && e->next_mode != HD_MODE_OFF && !e->next_refused);
}

/* Says why an entry does not give what it provides. */
static int fail_provider(struct hd_plugins *p, const struct hd_plugin_entry *e, struct hd_instance *asker,
                         const char *name, struct hd_error *err)
{
    int now = p->starting && e->prepared; /* what this commit has found counts */

    if (e->starting)
        return fail_cycle(e, asker, err);
    if (comes_later(p, e)) {
        asker->entry->waits = 1;
        return hd_fail(err, HD_EBUSY, "waits for plugin %s, which provides %s and has to %s first", e->id,
                       name, e->instance ? "stop" : "start");
    }
    if (now ? e->next_refused : e->refused)
        return hd_fail(err, HD_ENOENT, "plugin %s, which provides %s, cannot be used: %s", e->id, name,
                       now ? e->next_reason : e->reason);
    return hd_fail(err, HD_ENOENT, "plugin %s, which provides %s, is %s", e->id, name,
                   e->instance ? "stopping" : "not enabled");
}

static int fail_capability(struct hd_plugins *p, struct hd_instance *asker, const char *name,
                           const char *plugin_id, struct hd_error *err)
{
    struct hd_plugin_entry *named = NULL;

    hd_plugins_scan(p);
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (e == asker->entry || (plugin_id && strcmp(plugin_id, e->id)))
            continue;
        named = e;
        if (asker->entry && provides(e, name))
            return fail_provider(p, e, asker, name, err);
    }
    if (!plugin_id)
        return hd_fail(err, HD_ENOENT, "no running plugin provides %s", name);
    if (named && (named->next_refused || named->refused))
        return hd_fail(err, HD_ENOENT, "plugin %s, asked for %s, cannot be used: %s", plugin_id, name,
                       named->next_refused ? named->next_reason : named->reason);
    return hd_fail(err, HD_ENOENT,
                   named ? "plugin %s does not provide %s" : "there is no plugin %s to provide %s", plugin_id,
                   name);
}

/* --- using --------------------------------------------------------------------------------------------- */

int hd_plugins_capability(struct hd_instance *asker, const char *name, const char *plugin_id,
                          const void **vtable, void **self, struct hd_error *err)
{
    struct hd_plugins *p = asker->plugins;
    struct hd_plugin_entry *e = find_provider(p, asker, name, plugin_id, is_usable);
    struct hd_plugin_use *use;

    if (!e)
        e = start_provider(p, asker, name, plugin_id);
    if (!e)
        return fail_capability(p, asker, name, plugin_id, err);
    use = hd_malloc(sizeof(*use));
    if (!use)
        return hd_fail(err, HD_ENOMEM, "no memory");
    use->provider = e->instance;
    hd_list_push_back(&asker->uses, &use->node);
    e->instance->askers++;
    use->vtable = *vtable = e->instance->lib->desc.capability(name);
    *self = e->instance->self;
    return HD_OK;
}

static void drop_use(struct hd_instance *asker, struct hd_plugin_use *use)
{
    use->provider->askers--;
    hd_free(use);
    hd_plugins_poke(asker->plugins); /* the provider may have waited for this */
}

void hd_plugins_release(struct hd_instance *asker, const void *vtable, const void *self)
{
    struct hd_list *n = asker->uses.next;

    while (n != &asker->uses) {
        struct hd_plugin_use *use = HD_LIST_ITEM(n, struct hd_plugin_use, node);

        n = n->next;
        if (use->vtable != vtable || use->provider->self != self)
            continue;
        hd_list_remove(&use->node);
        drop_use(asker, use);
        return;
    }
}

void hd_plugins_drop_uses(struct hd_instance *i)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&i->uses)))
        drop_use(i, HD_LIST_ITEM(n, struct hd_plugin_use, node));
}
