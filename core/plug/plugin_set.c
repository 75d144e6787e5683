/*
 * First step of a change: from sections of the INI to settings that plugins have checked. A configuration is
 * copied, so that a plugin can be switched on later; what is prepared waits in the entries until plugins.c
 * commits or aborts it.
 */
#include "plug/instance.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "plug/nearest.h"

/* --- copies -------------------------------------------------------------------------------------------- */

static int copy_section(struct hd_arena *a, const struct hd_raw_section *from, struct hd_raw_section *to)
{
    struct hd_raw_key *keys = hd_arena_alloc(a, from->count * sizeof(*keys));

    *to = *from; /* `also` is a table of the host's and stays */
    to->kind = hd_arena_strdup(a, from->kind);
    to->name = hd_arena_strdup(a, from->name);
    to->label = hd_arena_strdup(a, from->label);
    to->origin = hd_arena_strdup(a, from->origin);
    to->dir = hd_arena_strdup(a, from->dir ? from->dir : "");
    to->keys = keys;
    if (!to->kind || !to->name || !to->label || !to->origin || !to->dir || !keys)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < from->count; i++) {
        keys[i].key = hd_arena_strdup(a, from->keys[i].key);
        keys[i].value = hd_arena_strdup(a, from->keys[i].value);
        keys[i].origin = hd_arena_strdup(a, from->keys[i].origin);
        if (!keys[i].key || !keys[i].value || !keys[i].origin)
            return HD_ENOMEM;
    }
    return HD_OK;
}

static int copy_plugin(struct hd_arena *a, const struct hd_plugin_conf *from, struct hd_plugin_conf *to)
{
    struct hd_raw_section *section = hd_arena_alloc(a, sizeof(*section));

    *to = *from;
    to->id = hd_arena_strdup(a, from->id);
    to->library = from->library && from->library[0] ? hd_arena_strdup(a, from->library) : NULL;
    to->section = section;
    if (!to->id || !section || (from->library && from->library[0] && !to->library))
        return HD_ENOMEM;
    return copy_section(a, from->section, section);
}

static int copy_all(struct hd_plugin_set *set, const struct hd_plugin_confs *confs)
{
    set->plugins = hd_arena_alloc(&set->arena, confs->plugin_count * sizeof(*set->plugins));
    set->sections = hd_arena_alloc(&set->arena, confs->section_count * sizeof(*set->sections));
    if (!set->plugins || !set->sections)
        return HD_ENOMEM;
    for (; set->plugin_count < confs->plugin_count; set->plugin_count++)
        if (copy_plugin(&set->arena, &confs->plugins[set->plugin_count], &set->plugins[set->plugin_count]))
            return HD_ENOMEM;
    for (; set->section_count < confs->section_count; set->section_count++)
        if (copy_section(&set->arena, confs->sections[set->section_count],
                         &set->sections[set->section_count]))
            return HD_ENOMEM;
    return HD_OK;
}

struct hd_plugin_set *hd_plugin_set_new(const struct hd_plugin_confs *confs)
{
    struct hd_plugin_set *set = hd_calloc(1, sizeof(*set));

    if (!set || !copy_all(set, confs))
        return set;
    hd_plugin_set_free(set);
    return NULL;
}

void hd_plugin_set_free(struct hd_plugin_set *set)
{
    if (!set)
        return;
    hd_arena_free(&set->arena);
    hd_free(set);
}

const struct hd_plugin_conf *hd_plugin_set_find(const struct hd_plugin_set *set, const char *id)
{
    for (uint32_t i = 0; set && i < set->plugin_count; i++)
        if (!strcmp(set->plugins[i].id, id))
            return &set->plugins[i];
    return NULL;
}

/* --- parsing ------------------------------------------------------------------------------------------- */

static struct hd_plugin_settings *new_settings(const struct hd_plugin_conf *conf)
{
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_plugin_settings *s = hd_arena_alloc(&arena, sizeof(*s));

    if (!s)
        return NULL;
    s->arena = arena;
    s->required = conf->required;
    s->priority = conf->priority;
    s->on_failure = conf->on_failure;
    s->failures = conf->failures;
    s->time_budget = conf->time_budget;
    s->conf.size = sizeof(s->conf);
    return s;
}

static uint32_t count_sections(const struct hd_plugin_set *set, const struct hd_library *lib)
{
    uint32_t n = 0;

    for (uint32_t i = 0; set && i < set->section_count; i++)
        n += hd_library_kind(lib, set->sections[i].kind) != NULL;
    return n;
}

/* Parses the sections of the kinds that the plugin declares; `raw` (as many) remembers which they were. */
static int parse_sections(struct hd_plugin_settings *s, const struct hd_plugin_set *set,
                          const struct hd_library *lib, const struct hd_raw_section **raw,
                          struct hd_section *out, struct hd_problems *problems)
{
    uint32_t n = 0;

    for (uint32_t i = 0; set && i < set->section_count; i++) {
        const struct hd_raw_section *r = &set->sections[i];
        const struct hd_section_kind *kind = hd_library_kind(lib, r->kind);

        if (!kind)
            continue;
        raw[n] = r;
        out[n].kind = hd_arena_strdup(&s->arena, r->kind);
        out[n].name = hd_arena_strdup(&s->arena, r->name);
        out[n].origin = hd_arena_strdup(&s->arena, r->origin);
        out[n].conf = hd_options_parse(&kind->options, r, &s->arena, problems);
        if (!out[n].kind || !out[n].name || !out[n].origin || !out[n].conf)
            return HD_ENOMEM;
        n++;
    }
    s->conf.section_count = n;
    s->conf.sections = out;
    return HD_OK;
}

static struct hd_plugin_settings *parse(const struct hd_plugin_set *set, const struct hd_plugin_conf *conf,
                                        const struct hd_library *lib, const struct hd_raw_section ***raw,
                                        struct hd_problems *problems)
{
    struct hd_plugin_settings *s = new_settings(conf);
    uint32_t n = count_sections(set, lib);
    struct hd_section *sections;

    if (!s)
        goto no_memory;
    *raw = hd_arena_alloc(&s->arena, n * sizeof(**raw));
    sections = hd_arena_alloc(&s->arena, n * sizeof(*sections));
    s->conf.origin = hd_arena_strdup(&s->arena, conf->section->origin);
    s->conf.conf = hd_options_parse(&lib->desc.options, conf->section, &s->arena, problems);
    if (!*raw || !sections || !s->conf.origin || !s->conf.conf ||
        parse_sections(s, set, lib, *raw, sections, problems))
        goto no_memory;
    return s;

no_memory:
    hd_problem_memory(problems);
    hd_plugin_settings_free(s);
    return NULL;
}

/* --- one plugin ---------------------------------------------------------------------------------------- */

/* The configuration of a plugin that has no section. */
static const struct hd_raw_section no_section = {
    .kind = "plugin", .name = "", .label = "[plugin]", .origin = "defaults", .dir = ""};
static const struct hd_plugin_conf no_conf = {.priority = 100, .section = &no_section};

/* The plugin cannot be used; whether the configuration can is a question of `required`. */
static void cannot(struct hd_plugin_entry *e, const struct hd_plugin_conf *conf, const char *why,
                   struct hd_problems *problems)
{
    e->next_refused = 1;
    snprintf(e->next_reason, sizeof(e->next_reason), "%s", why);
    if (conf->required && e->next_mode != HD_MODE_OFF)
        hd_problem(problems, conf->section->origin, "plugin %s is required: %s", e->id, why);
    else
        hd_problem_warning(problems, conf->section->origin, "plugin %s is left out: %s", e->id, why);
}

/* A plugin in which the host has crashed again and again is left out; but not one without which statements
 * must not go on: its host is started again with it, however often. */
static int may_start(struct hd_plugins *p, struct hd_plugin_entry *e, const struct hd_plugin_conf *conf,
                     struct hd_problems *problems)
{
    uint32_t times = p->blamed ? p->blamed(p->blamed_arg, e->id) : 0;
    char why[160];

    if (times < HD_BLAMED_TOO_OFTEN)
        return 1;
    snprintf(why, sizeof(why), "the host has crashed in it %u times; PLUGIN %s ENABLE takes it back", times,
             e->id);
    if (!conf->required && conf->on_failure != HD_ON_FAILURE_REJECT) {
        cannot(e, conf, why, problems);
        return 0;
    }
    hd_problem_warning(problems, conf->section->origin,
                       "the host has crashed in plugin %s %u times; it is kept, for it is %s", e->id, times,
                       conf->required ? "required" : "to reject statements when it fails");
    return 1;
}

static int can_reload(const struct hd_instance *i)
{
    return i && (i->state == HD_INSTANCE_RUNNING || i->state == HD_INSTANCE_RETIRING);
}

/* What may not change while the plugin runs, has it? */
static void compare(const struct hd_plugin_entry *e, const struct hd_plugin_conf *conf,
                    const struct hd_raw_section *const *raw, struct hd_problems *problems)
{
    const struct hd_conf *old = &e->instance->settings->conf, *new = &e->settings->conf;

    hd_options_compare(&e->lib->desc.options, old->conf, new->conf, conf->section, problems);
    for (uint32_t i = 0; i < new->section_count; i++)
        for (uint32_t k = 0; k < old->section_count; k++)
            if (!strcmp(new->sections[i].kind, old->sections[k].kind) &&
                !strcmp(new->sections[i].name, old->sections[k].name))
                hd_options_compare(&hd_library_kind(e->lib, old->sections[k].kind)->options,
                                   old->sections[k].conf, new->sections[i].conf, raw[i], problems);
}

static void check(const struct hd_plugin_entry *e, struct hd_instance *i, const struct hd_plugin_conf *conf,
                  struct hd_problems *problems)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = i->lib->desc.check(i->self, &e->settings->conf, &err);

    if (code != HD_OK)
        hd_problem(problems, conf->section->origin, "plugin %s refuses its configuration (%s): %s", e->id,
                   hd_code_name(code), err.text[0] ? err.text : "it gave no reason");
}

static void prepare_instance(struct hd_plugins *p, struct hd_plugin_entry *e,
                             const struct hd_plugin_conf *conf, const struct hd_raw_section *const *raw,
                             struct hd_problems *problems)
{
    struct hd_error err = HD_ERROR_INIT;

    if (can_reload(e->instance)) {
        e->instance->pinned = 1;
        compare(e, conf, raw, problems);
        check(e, e->instance, conf, problems);
        return;
    }
    if (hd_instance_new(p, e, e->next_lib, &e->candidate, &err))
        cannot(e, conf, err.text, problems);
    else
        check(e, e->candidate, conf, problems);
}

void hd_plugin_set_prepare(struct hd_plugins *p, const struct hd_plugin_set *set, struct hd_plugin_entry *e,
                           uint32_t mode, struct hd_problems *problems)
{
    const struct hd_plugin_conf *conf = hd_plugin_set_find(set, e->id);
    const struct hd_raw_section **raw = NULL;
    struct hd_error err = HD_ERROR_INIT;
    unsigned before = problems->errors;

    if (!conf)
        conf = &no_conf;
    e->prepared = 1;
    e->next_mode = mode;
    if (mode != HD_MODE_OFF && !e->instance && !may_start(p, e, conf, problems))
        return;
    if (hd_plugins_load(p, e->id, conf->library, &e->next_lib, &err)) {
        cannot(e, conf, err.text, problems);
        return;
    }
    if (can_reload(e->instance) && e->next_lib != e->lib)
        hd_problem(problems, conf->section->origin,
                   "plugin %s runs from %s; another library needs a restart of the host", e->id,
                   e->lib->path);
    if (mode == HD_MODE_OBSERVE && !e->next_lib->is_filter)
        hd_problem(problems, conf->section->origin,
                   "plugin %s is no filter and has nothing to observe; use enabled = yes or no", e->id);
    e->settings = parse(set, conf, e->next_lib, &raw, problems);
    if (e->settings && mode != HD_MODE_OFF && problems->errors == before)
        prepare_instance(p, e, conf, raw, problems);
}

void hd_plugin_entry_abort(struct hd_plugin_entry *e)
{
    if (!e->prepared)
        return;
    if (e->instance)
        e->instance->pinned = 0;
    if (e->candidate)
        hd_instance_discard(e->candidate);
    hd_plugin_settings_free(e->settings);
    e->candidate = NULL;
    e->settings = NULL;
    e->next_lib = NULL;
    e->next_reason[0] = 0;
    e->prepared = e->next_refused = 0;
}

/* --- the whole ----------------------------------------------------------------------------------------- */

/* Whose section is it, among the libraries that are loaded? */
static struct hd_plugin_entry *find_owner(struct hd_plugins *p, const char *kind)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        struct hd_library *lib = e->next_lib ? e->next_lib : e->lib;

        if (lib && hd_library_kind(lib, kind))
            return e;
    }
    return NULL;
}

/* A section of a plugin that is not configured is checked all the same. */
static void check_unused(const struct hd_plugin_entry *e, const struct hd_raw_section *s,
                         struct hd_problems *problems)
{
    struct hd_arena scratch = HD_ARENA_INIT;

    if (!e->prepared && !hd_options_parse(&hd_library_kind(e->lib, s->kind)->options, s, &scratch, problems))
        hd_problem_memory(problems);
    hd_arena_free(&scratch);
}

static const char *nearest_kind(struct hd_plugins *p, const char *kind)
{
    static const char *const own[] = {"host", "listener", "user", "database", "node", "plugin"};
    struct hd_nearest near = hd_nearest_start(kind);

    for (size_t i = 0; i < HD_ARRAY_LEN(own); i++)
        hd_nearest_offer(&near, own[i]);
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        struct hd_library *lib = e->next_lib ? e->next_lib : e->lib;

        for (uint32_t i = 0; lib && i < lib->desc.section_count; i++)
            hd_nearest_offer(&near, lib->desc.sections[i].kind);
    }
    return hd_nearest_end(&near);
}

/* A section that nobody declares: perhaps it belongs to a plugin that could not be loaded. */
static void orphan(struct hd_plugins *p, const struct hd_raw_section *s, struct hd_problems *problems)
{
    const char *near = nearest_kind(p, s->kind);

    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (e->prepared && !e->next_lib) {
            hd_problem_warning(problems, s->origin,
                               "%s is not checked: no plugin that could be loaded "
                               "has such sections",
                               s->label);
            return;
        }
    }
    hd_problem(problems, s->origin, "%s: no plugin has sections of the kind \"%s\"%s%s%s", s->label, s->kind,
               near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static void check_sections(struct hd_plugins *p, const struct hd_plugin_set *set,
                           struct hd_problems *problems)
{
    int scanned = 0;

    for (uint32_t i = 0; i < set->section_count; i++) {
        const struct hd_raw_section *s = &set->sections[i];
        struct hd_plugin_entry *owner = find_owner(p, s->kind);

        if (!owner && !scanned) {
            hd_plugins_scan(p);
            scanned = 1;
            owner = find_owner(p, s->kind);
        }
        if (owner)
            check_unused(owner, s, problems);
        else
            orphan(p, s, problems);
    }
}

/* Nobody may lose what it uses. */
static void check_uses(struct hd_plugins *p, struct hd_problems *problems)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (!e->instance || (e->prepared && e->next_mode == HD_MODE_OFF) || !e->prepared)
            continue;
        HD_LIST_EACH(u, &e->instance->uses)
        {
            struct hd_plugin_entry *of = HD_LIST_ITEM(u, struct hd_plugin_use, node)->provider->entry;

            if (of && (!of->prepared || of->next_mode == HD_MODE_OFF))
                hd_problem(problems, e->instance->settings->conf.origin,
                           "plugin %s uses plugin %s, which this configuration switches off", e->id, of->id);
        }
    }
}

int hd_plugins_prepare(struct hd_plugins *p, const struct hd_plugin_confs *confs,
                       struct hd_problems *problems)
{
    struct hd_plugin_set *set = hd_plugin_set_new(confs);

    hd_plugins_abort(p);
    p->prepared = set;
    if (!set)
        hd_problem_memory(problems);
    for (uint32_t i = 0; set && i < set->plugin_count; i++) {
        struct hd_plugin_entry *e = hd_plugins_entry(p, set->plugins[i].id);

        if (!e)
            hd_problem_memory(problems);
        else if (e->prepared)
            hd_problem(problems, set->plugins[i].section->origin, "[plugin %s] stands there twice", e->id);
        else
            hd_plugin_set_prepare(p, set, e, set->plugins[i].mode, problems);
    }
    if (set) {
        check_sections(p, set, problems);
        check_uses(p, problems);
    }
    if (!hd_problems_any(problems))
        return HD_OK;
    hd_plugins_abort(p);
    return HD_EINVAL;
}

void hd_plugins_abort(struct hd_plugins *p)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next)
        hd_plugin_entry_abort(e);
    hd_plugin_set_free(p->prepared);
    p->prepared = NULL;
}
