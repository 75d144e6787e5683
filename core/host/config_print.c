/*
 * Printing configurations: what is in force, with defaults and without secrets, and commented samples. All
 * from the tables of options, the plugins' too.
 */
#include "base/error.h"
#include "host/config.h"
#include "plug/nearest.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

/* Room for "[plugin NAME]". */
#define HD_LABEL_BYTES 160

static const struct hd_options no_options = {.size = sizeof(struct hd_options)};

/* --- conninfo --------------------------------------------------------------------------------------------
 */

static void quote(const char *value, struct hd_strbuf *out)
{
    if (*value && !strpbrk(value, " \t'\\")) {
        hd_strbuf_puts(out, value);
        return;
    }
    hd_strbuf_putc(out, '\'');
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\')
            hd_strbuf_putc(out, '\\');
        hd_strbuf_putc(out, *value);
    }
    hd_strbuf_putc(out, '\'');
}

void hd_conninfo_mask(const char *conninfo, struct hd_strbuf *out)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *blank = "";

    if (!options) {
        hd_strbuf_puts(out, HD_SECRET_MASK);
        return;
    }
    for (PQconninfoOption *o = options; o->keyword; o++) {
        if (!o->val)
            continue;
        hd_strbuf_printf(out, "%s%s=", blank, o->keyword);
        if (o->dispchar[0] == '*') /* libpq's mark of a password */
            hd_strbuf_puts(out, HD_SECRET_MASK);
        else
            quote(o->val, out);
        blank = " ";
    }
    PQconninfoFree(options);
}

/* --- walking ---------------------------------------------------------------------------------------------
 */

struct walk {
    struct hd_plugins *plugins;
    hd_config_visit *visit;
    void *arg;
};

static void visit_node(const struct walk *w, const struct hd_config_section *s)
{
    struct hd_node_keys masked = *(const struct hd_node_keys *)s->keys;
    struct hd_strbuf conninfo = HD_STRBUF_INIT;

    hd_conninfo_mask(masked.conninfo.ptr, &conninfo);
    masked.conninfo = (struct hd_str){hd_strbuf_str(&conninfo), conninfo.len};
    w->visit(w->arg, s->raw, 1, &hd_kinds[HD_KIND_NODE].options, &masked);
    hd_strbuf_free(&conninfo);
}

/* Keys of a plugin's section or of a kind of section that it declares. What is wrong with them has been said
 * when they were checked. */
static void visit_parsed(const struct walk *w, const struct hd_raw_section *raw, int begins,
                         const struct hd_options *o)
{
    struct hd_problems ignored = HD_PROBLEMS_INIT;
    struct hd_arena arena = HD_ARENA_INIT;
    void *keys = o->count ? hd_options_parse(o, raw, &arena, &ignored) : NULL;

    if (keys)
        w->visit(w->arg, raw, begins, o, keys);
    else
        w->visit(w->arg, raw, begins, &no_options, NULL);
    hd_arena_free(&arena);
    hd_problems_free(&ignored);
}

static const struct hd_plugin *describe(struct hd_plugins *plugins, const char *id)
{
    struct hd_error err = HD_ERROR_INIT;

    return plugins ? hd_plugins_describe(plugins, id, &err) : NULL;
}

static void visit_section(const struct walk *w, const struct hd_config_section *s)
{
    const struct hd_plugin *d;

    if (s->kind == HD_KIND_NODE) {
        visit_node(w, s);
        return;
    }
    w->visit(w->arg, s->raw, 1, &hd_kinds[s->kind].options, s->keys);
    if (s->kind != HD_KIND_PLUGIN)
        return;
    d = describe(w->plugins, s->raw->name);
    if (d)
        visit_parsed(w, s->raw, 0, &d->options);
    else
        w->visit(w->arg, s->raw, 0, NULL, NULL);
}

/* A kind that some plugin of `plugins` declares, and that plugin. */
struct search {
    struct hd_plugins *plugins;
    const char *kind;
    const struct hd_section_kind *found;
    struct hd_nearest *near; /* or NULL; is offered every kind */
};

static void search_plugin(void *arg, const struct hd_plugin_info *info)
{
    struct search *s = arg;
    const struct hd_plugin *d = describe(s->plugins, info->id);

    for (uint32_t i = 0; d && i < d->section_count; i++) {
        if (!strcmp(d->sections[i].kind, s->kind))
            s->found = &d->sections[i];
        if (s->near)
            hd_nearest_offer(s->near, d->sections[i].kind);
    }
    if (s->near)
        hd_nearest_offer(s->near, info->id);
}

static const struct hd_section_kind *find_kind(struct hd_plugins *plugins, const char *kind,
                                               struct hd_nearest *near)
{
    struct search s = {.plugins = plugins, .kind = kind, .near = near};

    if (plugins)
        hd_plugins_list(plugins, search_plugin, &s);
    return s.found;
}

void hd_config_walk(const struct hd_config *c, struct hd_plugins *plugins, hd_config_visit *visit, void *arg)
{
    const struct walk w = {plugins, visit, arg};

    for (uint32_t i = 0; i < c->count; i++)
        visit_section(&w, &c->sections[i]);
    for (uint32_t i = 0; i < c->plugins.section_count; i++) {
        const struct hd_raw_section *raw = c->plugins.sections[i];
        const struct hd_section_kind *kind = find_kind(plugins, raw->kind, NULL);

        if (kind)
            visit_parsed(&w, raw, 1, &kind->options);
        else
            visit(arg, raw, 1, NULL, NULL);
    }
}

/* --- what is in force ------------------------------------------------------------------------------------
 */

static void print_visited(void *arg, const struct hd_raw_section *raw, int begins, const struct hd_options *o,
                          const void *keys)
{
    struct hd_strbuf *out = arg;

    if (begins)
        hd_strbuf_printf(out, "\n; %s\n%s\n", raw->origin, raw->label);
    if (o)
        hd_options_print(o, keys, out);
    else
        hd_strbuf_puts(out, "; keys of a plugin are not shown: it is not loaded\n");
}

void hd_config_print(const struct hd_config *c, struct hd_plugins *plugins, struct hd_strbuf *out)
{
    hd_strbuf_puts(out,
                   "; The configuration as howdahd understands it: defaults filled in, secrets masked.\n");
    hd_config_walk(c, plugins, print_visited, out);
}

/* --- options ---------------------------------------------------------------------------------------------
 */

static void options_of_plugin(const struct hd_plugin *d, const char *id, hd_options_visit *visit, void *arg)
{
    char label[HD_LABEL_BYTES];

    snprintf(label, sizeof(label), "[plugin %s]", id);
    visit(arg, label, &hd_kinds[HD_KIND_PLUGIN].options);
    visit(arg, label, &d->options);
    for (uint32_t i = 0; i < d->section_count; i++) {
        snprintf(label, sizeof(label), "[%s NAME]", d->sections[i].kind);
        visit(arg, label, &d->sections[i].options);
    }
}

static int nothing_of_that_name(const char *name, struct hd_nearest *near, struct hd_error *err)
{
    const char *best;

    for (int k = 0; k < HD_KINDS; k++)
        hd_nearest_offer(near, hd_kinds[k].word);
    best = hd_nearest_end(near);
    return hd_fail(err, HD_ENOENT, "there is neither a kind of section nor a plugin of the name \"%s\"%s%s%s",
                   name, best ? "; did you mean \"" : "", best ? best : "", best ? "\"?" : "");
}

int hd_config_options(const char *name, struct hd_plugins *plugins, hd_options_visit *visit, void *arg,
                      struct hd_error *err)
{
    struct hd_nearest near = hd_nearest_start(name);
    const struct hd_plugin *d;
    const struct hd_section_kind *kind;
    char label[HD_LABEL_BYTES];
    int k = hd_kind_find(name);

    if (k >= 0) {
        snprintf(label, sizeof(label), k == HD_KIND_HOST || k == HD_KIND_HTTP ? "[%s]" : "[%s NAME]", name);
        visit(arg, label, &hd_kinds[k].options);
        return HD_OK;
    }
    d = describe(plugins, name);
    if (d) {
        options_of_plugin(d, name, visit, arg);
        return HD_OK;
    }
    kind = find_kind(plugins, name, &near);
    if (!kind)
        return nothing_of_that_name(name, &near, err);
    snprintf(label, sizeof(label), "[%s NAME]", name);
    visit(arg, label, &kind->options);
    return HD_OK;
}

/* --- samples ---------------------------------------------------------------------------------------------
 */

static void sample_of_kind(enum hd_kind kind, const char *name, struct hd_strbuf *out)
{
    hd_strbuf_printf(out, "; %s.\n[%s%s%s]\n", hd_kinds[kind].doc, hd_kinds[kind].word, *name ? " " : "",
                     name);
    hd_options_print_sample(&hd_kinds[kind].options, out);
}

/* Uncommented keys that are required would not do without their section: its header stays uncommented too. */
static void sample_of_section(const struct hd_section_kind *kind, struct hd_strbuf *out)
{
    hd_strbuf_printf(out, "; %s.\n[%s NAME]\n", kind->doc, kind->kind);
    hd_options_print_sample(&kind->options, out);
}

static void sample_of_plugin(const struct hd_plugin *d, const char *id, struct hd_strbuf *out)
{
    hd_strbuf_printf(out, "; %s.\n[plugin %s]\n", d->summary, id);
    hd_options_print_sample(&hd_kinds[HD_KIND_PLUGIN].options, out);
    if (d->options.count)
        hd_options_print_sample(&d->options, out);
    for (uint32_t i = 0; i < d->section_count; i++) {
        hd_strbuf_putc(out, '\n');
        sample_of_section(&d->sections[i], out);
    }
}

int hd_config_print_sample(const char *kind, struct hd_plugins *plugins, struct hd_strbuf *out,
                           struct hd_error *err)
{
    static const char *const names[HD_KINDS] = {
        [HD_KIND_HOST] = "",         [HD_KIND_LISTENER] = "main", [HD_KIND_USER] = "app",
        [HD_KIND_DATABASE] = "shop", [HD_KIND_NODE] = "main",     [HD_KIND_PEER] = "2",
        [HD_KIND_HTTP] = "",         [HD_KIND_PLUGIN] = "NAME"};
    struct hd_nearest near = hd_nearest_start(kind);
    const struct hd_section_kind *own;
    const struct hd_plugin *d;
    int k = hd_kind_find(kind);

    for (int each = 0; !*kind && each < HD_KINDS; each++) {
        sample_of_kind((enum hd_kind)each, names[each], out);
        hd_strbuf_putc(out, '\n');
    }
    if (!*kind)
        return HD_OK;
    d = k < 0 ? describe(plugins, kind) : NULL;
    own = k < 0 && !d ? find_kind(plugins, kind, &near) : NULL;
    if (k >= 0)
        sample_of_kind((enum hd_kind)k, names[k], out);
    else if (d)
        sample_of_plugin(d, kind, out);
    else if (own)
        sample_of_section(own, out);
    else
        return nothing_of_that_name(kind, &near, err);
    return HD_OK;
}
