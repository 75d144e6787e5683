/*
 * Printing configurations: what is in force, with defaults and without secrets, and commented samples. All
 * from the tables of options, the plugins' too.
 */
#include "base/error.h"
#include "host/config.h"
#include "plug/nearest.h"

#include <libpq-fe.h>
#include <string.h>

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

/* --- what is in force ------------------------------------------------------------------------------------
 */

static void print_node(const struct hd_config_section *s, struct hd_strbuf *out)
{
    struct hd_node_keys masked = *(const struct hd_node_keys *)s->keys;
    struct hd_strbuf conninfo = HD_STRBUF_INIT;

    hd_conninfo_mask(masked.conninfo.ptr, &conninfo);
    masked.conninfo = (struct hd_str){hd_strbuf_str(&conninfo), conninfo.len};
    hd_options_print(&hd_kinds[HD_KIND_NODE].options, &masked, out);
    if (conninfo.failed)
        out->failed = 1;
    hd_strbuf_free(&conninfo);
}

/* Keys of a plugin's section or of a kind of section that it declares. What is wrong with them has been said
 * when they were checked. */
static void print_by_table(const struct hd_raw_section *raw, const struct hd_options *o,
                           struct hd_strbuf *out)
{
    struct hd_problems ignored = HD_PROBLEMS_INIT;
    struct hd_arena arena = HD_ARENA_INIT;
    void *keys = o->count ? hd_options_parse(o, raw, &arena, &ignored) : NULL;

    if (keys)
        hd_options_print(o, keys, out);
    hd_arena_free(&arena);
    hd_problems_free(&ignored);
}

static const struct hd_plugin *describe(struct hd_plugins *plugins, const char *id)
{
    struct hd_error err = HD_ERROR_INIT;

    return plugins ? hd_plugins_describe(plugins, id, &err) : NULL;
}

static void print_section(const struct hd_config_section *s, struct hd_plugins *plugins,
                          struct hd_strbuf *out)
{
    const struct hd_plugin *d;

    hd_strbuf_printf(out, "\n; %s\n%s\n", s->raw->origin, s->raw->label);
    if (s->kind == HD_KIND_NODE) {
        print_node(s, out);
        return;
    }
    hd_options_print(&hd_kinds[s->kind].options, s->keys, out);
    if (s->kind != HD_KIND_PLUGIN)
        return;
    d = describe(plugins, s->raw->name);
    if (d)
        print_by_table(s->raw, &d->options, out);
    else
        hd_strbuf_puts(out, "; its own keys are not shown: the plugin is not loaded\n");
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

static void print_foreign(const struct hd_raw_section *raw, struct hd_plugins *plugins, struct hd_strbuf *out)
{
    const struct hd_section_kind *kind = find_kind(plugins, raw->kind, NULL);

    hd_strbuf_printf(out, "\n; %s\n%s\n", raw->origin, raw->label);
    if (kind)
        print_by_table(raw, &kind->options, out);
    else
        hd_strbuf_puts(out,
                       "; its keys are not shown: no plugin that is loaded declares this kind of section\n");
}

void hd_config_print(const struct hd_config *c, struct hd_plugins *plugins, struct hd_strbuf *out)
{
    hd_strbuf_puts(out,
                   "; The configuration as howdahd understands it: defaults filled in, secrets masked.\n");
    for (uint32_t i = 0; i < c->count; i++)
        print_section(&c->sections[i], plugins, out);
    for (uint32_t i = 0; i < c->plugins.section_count; i++)
        print_foreign(c->plugins.sections[i], plugins, out);
}

/* --- samples ---------------------------------------------------------------------------------------------
 */

static void sample_of_kind(enum hd_kind kind, const char *name, struct hd_strbuf *out)
{
    hd_strbuf_printf(out, "; %s.\n[%s%s%s]\n", hd_kinds[kind].doc, hd_kinds[kind].word, *name ? " " : "",
                     name);
    hd_options_print_sample(&hd_kinds[kind].options, out);
}

static void sample_of_plugin(const struct hd_plugin *d, const char *id, struct hd_strbuf *out)
{
    hd_strbuf_printf(out, "; %s.\n[plugin %s]\n", d->summary, id);
    hd_options_print_sample(&hd_kinds[HD_KIND_PLUGIN].options, out);
    if (d->options.count)
        hd_options_print_sample(&d->options, out);
    for (uint32_t i = 0; i < d->section_count; i++) {
        hd_strbuf_printf(out, "\n; %s.\n;[%s NAME]\n", d->sections[i].doc, d->sections[i].kind);
        if (d->sections[i].options.count)
            hd_options_print_sample(&d->sections[i].options, out);
    }
}

int hd_config_print_sample(const char *kind, struct hd_plugins *plugins, struct hd_strbuf *out,
                           struct hd_error *err)
{
    static const char *const names[HD_KINDS] = {"", "main", "app", "shop", "main", "NAME"};
    struct hd_nearest near = hd_nearest_start(kind);
    const struct hd_plugin *d;
    const char *best;
    int k = hd_kind_find(kind);

    if (!*kind) {
        for (k = 0; k < HD_KINDS; k++) {
            sample_of_kind((enum hd_kind)k, names[k], out);
            hd_strbuf_putc(out, '\n');
        }
        return HD_OK;
    }
    if (k >= 0) {
        sample_of_kind((enum hd_kind)k, names[k], out);
        return HD_OK;
    }
    d = describe(plugins, kind);
    if (d) {
        sample_of_plugin(d, kind, out);
        return HD_OK;
    }
    for (k = 0; k < HD_KINDS; k++)
        hd_nearest_offer(&near, hd_kinds[k].word);
    (void)find_kind(plugins, kind, &near);
    best = hd_nearest_end(&near);
    return hd_fail(err, HD_ENOENT, "there is neither a kind of section nor a plugin of the name \"%s\"%s%s%s",
                   kind, best ? "; did you mean \"" : "", best ? best : "", best ? "\"?" : "");
}
