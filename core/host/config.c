/*
 * Loading a configuration; see config.h. This file sorts sections by kind and has each parsed by its table.
 */
#include "host/config.h"
#include "base/alloc.h"
#include "base/check.h"
#include "host/config_build.h"
#include "plug/loader.h"

#include <stdlib.h>
#include <string.h>

/* The database that is the console. */
#define CONSOLE_DATABASE "howdah"

void *hd_build_alloc(struct hd_build *b, size_t size)
{
    void *p = hd_arena_alloc(b->arena, size ? size : 1);

    if (!p)
        hd_problem_memory(b->problems);
    return p;
}

const char *hd_build_strdup(struct hd_build *b, const char *s)
{
    const char *copy = hd_arena_strdup(b->arena, s);

    if (!copy)
        hd_problem_memory(b->problems);
    return copy;
}

const char *hd_build_text(const struct hd_str *s)
{
    return s->len ? s->ptr : NULL;
}

/* --- sorting ---------------------------------------------------------------------------------------------
 */

static int section_order(const void *a, const void *b)
{
    const struct hd_raw_section *x = *(const struct hd_raw_section *const *)a,
                                *y = *(const struct hd_raw_section *const *)b;
    int c = strcmp(x->kind, y->kind);

    if (!c)
        c = strcmp(x->name, y->name);
    return c ? c : (x > y) - (x < y); /* the first in the files stays the first */
}

/* No section may be there twice, in whichever files. */
static void check_repeats(struct hd_build *b)
{
    const struct hd_ini *ini = &b->config->ini;
    const struct hd_raw_section **sorted = hd_calloc(ini->count + 1, sizeof(*sorted));

    if (!sorted) {
        hd_problem_memory(b->problems);
        return;
    }
    for (uint32_t i = 0; i < ini->count; i++)
        sorted[i] = &ini->sections[i];
    qsort(sorted, ini->count, sizeof(*sorted), section_order);
    for (uint32_t i = 1, first = 0; i < ini->count; i++) {
        if (strcmp(sorted[i]->kind, sorted[first]->kind) || strcmp(sorted[i]->name, sorted[first]->name))
            first = i;
        else
            hd_problem(b->problems, sorted[i]->origin, "%s is there twice; the first stands at %s",
                       sorted[i]->label, sorted[first]->origin);
    }
    hd_free(sorted);
}

/* Does the header say what a header of this kind must? */
static int check_header(struct hd_build *b, enum hd_kind kind, const struct hd_raw_section *s)
{
    if (kind == HD_KIND_HOST || kind == HD_KIND_HTTP) {
        if (*s->name)
            hd_problem(b->problems, s->origin, "%s: there is one [%s], and it has no name", s->label,
                       s->kind);
        return !*s->name;
    }
    if (!*s->name) {
        hd_problem(b->problems, s->origin, "%s needs a name: write [%s NAME]", s->label, s->kind);
        return 0;
    }
    if (kind == HD_KIND_DATABASE && !strcmp(s->name, CONSOLE_DATABASE)) {
        hd_problem(b->problems, s->origin, "the database %s is the console; give %s another name",
                   CONSOLE_DATABASE, s->label);
        return 0;
    }
    if (kind == HD_KIND_PLUGIN && !hd_plugin_id_ok(s->name)) {
        hd_problem(b->problems, s->origin, "%s: a plugin's name has lower case letters, digits and '-' only",
                   s->label);
        return 0;
    }
    if ((kind == HD_KIND_NODE || kind == HD_KIND_LISTENER) && !strcmp(s->name, "*")) {
        hd_problem(b->problems, s->origin,
                   "%s needs a name of its own; * stands only for any user or database", s->label);
        return 0;
    }
    return 1;
}

/* --- parsing ---------------------------------------------------------------------------------------------
 */

/* A copy of the section with the host's keys of a [plugin X] alone: the others are the plugin's affair. */
static int without_plugins_keys(struct hd_build *b, const struct hd_raw_section *s,
                                struct hd_raw_section *out)
{
    const struct hd_options *common = &hd_kinds[HD_KIND_PLUGIN].options;
    struct hd_raw_key *keys = hd_build_alloc(b, (s->count + 1) * sizeof(*keys));
    struct hd_option opt;

    *out = *s;
    out->count = 0;
    out->keys = keys;
    for (uint32_t i = 0; keys && i < s->count; i++)
        if (hd_option_find(common, s->keys[i].key, &opt))
            keys[out->count++] = s->keys[i];
    return keys != NULL;
}

static void parse_section(struct hd_build *b, enum hd_kind kind, struct hd_raw_section *s)
{
    struct hd_config_section *to = &b->config->sections[b->config->count];
    const struct hd_raw_section *from = s;
    struct hd_raw_section common;

    if (!check_header(b, kind, s))
        return;
    if (kind == HD_KIND_PLUGIN) {
        if (!without_plugins_keys(b, s, &common))
            return;
        s->also = &hd_kinds[HD_KIND_PLUGIN].options;
        from = &common;
    }
    to->raw = s;
    to->kind = kind;
    to->keys = hd_options_parse(&hd_kinds[kind].options, from, b->arena, b->problems);
    if (to->keys)
        b->config->count++;
    if (kind == HD_KIND_HOST)
        b->config->host = s;
}

/* Where no [host] is written, all its keys have their defaults. */
static void parse_absent_host(struct hd_build *b, const char *path)
{
    struct hd_raw_section *s;

    if (b->config->host)
        return;
    s = hd_build_alloc(b, sizeof(*s));
    if (!s)
        return;
    s->kind = "host";
    s->name = s->dir = "";
    s->label = "[host]";
    s->origin = hd_build_strdup(b, path);
    if (s->origin)
        parse_section(b, HD_KIND_HOST, s);
}

static void parse_sections(struct hd_build *b, const char *path)
{
    struct hd_ini *ini = &b->config->ini;
    const struct hd_raw_section **foreign = hd_build_alloc(b, ini->count * sizeof(*foreign));

    b->config->sections = hd_build_alloc(b, (ini->count + 1) * sizeof(*b->config->sections));
    if (!foreign || !b->config->sections)
        return;
    b->config->plugins.sections = foreign;
    for (uint32_t i = 0; i < ini->count; i++) {
        int kind = hd_kind_find(ini->sections[i].kind);

        if (kind >= 0)
            parse_section(b, (enum hd_kind)kind, &ini->sections[i]);
        else
            foreign[b->config->plugins.section_count++] = &ini->sections[i];
    }
    parse_absent_host(b, path);
}

/* --- plugins ---------------------------------------------------------------------------------------------
 */

static uint32_t mode_of(int32_t enabled)
{
    static const uint32_t modes[] = {
        [HD_ENABLED_NO] = HD_MODE_OFF, [HD_ENABLED_YES] = HD_MODE_ON, [HD_ENABLED_OBSERVE] = HD_MODE_OBSERVE};

    return modes[enabled];
}

static void build_plugins(struct hd_build *b)
{
    struct hd_plugin_conf *confs = hd_build_alloc(b, (b->config->count + 1) * sizeof(*confs));

    b->config->plugins.plugins = confs;
    if (!confs)
        return;
    HD_EACH_SECTION(s, b->config, HD_KIND_PLUGIN)
    {
        const struct hd_plugin_keys *k = s->keys;
        struct hd_plugin_conf *c = &confs[b->config->plugins.plugin_count++];

        c->id = s->raw->name;
        c->mode = mode_of(k->enabled);
        c->required = k->required;
        c->priority = k->priority;
        c->on_failure = (enum hd_on_failure)k->on_failure;
        c->failures = k->failures;
        c->time_budget = k->time_budget;
        c->section = s->raw;
        if (k->library.len)
            c->library = hd_path_from(b->arena, s->raw->dir, k->library.ptr);
        if (k->library.len && !c->library)
            hd_problem_memory(b->problems);
    }
}

/* --- loading ---------------------------------------------------------------------------------------------
 */

static struct hd_settings *new_settings(const struct hd_config *running)
{
    struct hd_settings *s = hd_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->generation = running ? running->settings->generation + 1 : 1;
    return s;
}

struct hd_config *hd_config_load(const char *path, const struct hd_config *running, unsigned flags,
                                 struct hd_problems *problems)
{
    struct hd_build b = {.running = running, .problems = problems, .flags = flags};
    unsigned errors = problems->errors;

    b.config = hd_calloc(1, sizeof(*b.config));
    b.settings = new_settings(running);
    if (!b.config || !b.settings) {
        hd_free(b.settings);
        hd_free(b.config);
        hd_problem_memory(problems);
        return NULL;
    }
    b.config->settings = b.settings;
    b.arena = &b.settings->arena;
    hd_ini_read(&b.config->ini, path, problems);
    check_repeats(&b);
    parse_sections(&b, path);
    build_plugins(&b);
    if (!problems->no_memory && b.config->host)
        hd_build_settings(&b);
    if (!problems->no_memory && b.config->host)
        hd_build_check(&b);
    if (problems->errors > errors || problems->no_memory) {
        hd_config_free(b.config);
        return NULL;
    }
    return b.config;
}

void hd_config_free(struct hd_config *c)
{
    if (!c)
        return;
    hd_settings_release(c->settings);
    hd_ini_free(&c->ini);
    hd_free(c);
}
