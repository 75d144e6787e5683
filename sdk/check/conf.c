/* From an INI's text to struct hd_conf; see conf.h. */
#include "conf.h"
#include "base/error.h"
#include "host/sections.h"

#include <string.h>

static const struct hd_section_kind *find_kind(const struct hd_plugin *p, const char *kind)
{
    for (uint32_t i = 0; i < p->section_count; i++)
        if (strcmp(p->sections[i].kind, kind) == 0)
            return &p->sections[i];
    return NULL;
}

static void read_section(struct check_conf *c, const struct hd_section_kind *kind,
                         const struct hd_raw_section *raw, struct hd_section *out)
{
    out->kind = raw->kind;
    out->name = raw->name;
    out->origin = raw->origin;
    out->conf = hd_options_parse(&kind->options, raw, &c->ini.arena, &c->problems);
    c->conf.section_count++;
}

/* The [plugin ID] section; an empty one where there is none. */
static const struct hd_raw_section *find_own(struct check_conf *c, const struct hd_plugin *p)
{
    static const struct hd_raw_section none = {
        .kind = "plugin", .name = "", .label = "[plugin]", .origin = "defaults:1", .dir = "."};

    for (uint32_t i = 0; i < c->ini.count; i++)
        if (strcmp(c->ini.sections[i].kind, "plugin") == 0 && strcmp(c->ini.sections[i].name, p->id) == 0) {
            c->ini.sections[i].also = &hd_kinds[HD_KIND_PLUGIN].options; /* enabled, priority … */
            return &c->ini.sections[i];
        }
    return &none;
}

static void read_all(struct check_conf *c, const struct hd_plugin *p)
{
    const struct hd_raw_section *own = find_own(c, p);
    struct hd_section *sections = hd_arena_alloc(&c->ini.arena, (c->ini.count + 1) * sizeof(*sections));

    if (!sections) {
        hd_problem_memory(&c->problems);
        return;
    }
    c->conf.size = (uint32_t)sizeof(c->conf);
    c->conf.origin = own->origin;
    c->conf.sections = sections;
    if (p->options.count)
        c->conf.conf = hd_options_parse(&p->options, own, &c->ini.arena, &c->problems);
    for (uint32_t i = 0; i < c->ini.count; i++) {
        const struct hd_raw_section *raw = &c->ini.sections[i];
        const struct hd_section_kind *kind = find_kind(p, raw->kind);

        if (kind)
            read_section(c, kind, raw, &sections[c->conf.section_count]);
        else if (raw != own)
            hd_problem(&c->problems, raw->origin, "%s is no section of plugin %s", raw->label, p->id);
    }
}

int check_conf_read(struct check_conf *c, const struct hd_plugin *p, const char *ini, struct hd_error *err)
{
    static const struct hd_problems none = HD_PROBLEMS_INIT;

    memset(c, 0, sizeof(*c));
    c->problems = none;
    hd_ini_parse(&c->ini, "test.ini", ".", ini, strlen(ini), &c->problems);
    read_all(c, p);
    if (hd_problems_any(&c->problems))
        return hd_fail(err, HD_EINVAL, "%s", hd_problems_first(&c->problems));
    return HD_OK;
}

void check_conf_free(struct check_conf *c)
{
    hd_problems_free(&c->problems);
    hd_ini_free(&c->ini);
}
