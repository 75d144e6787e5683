/*
 * The manual page of the configuration says of every key what the options' tables say.
 *
 * The page has each table's paragraphs between two comments. The test writes the page anew into the build
 * tree and compares; where they differ, the new one is to be copied over the old.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "host/sections.h"
#include "plug/loader.h"
#include "plug/options.h"

#define PAGE  "contrib/man/howdah.ini.5"
#define BEGIN ".\\\" keys: "
#define END   ".\\\" end\n"

static const char *folder(const char *variable)
{
    const char *dir = getenv(variable);

    return dir ? dir : ".";
}

static void read_page(struct hd_strbuf *out)
{
    char path[4096], piece[4096];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", folder("HD_SRCDIR"), PAGE);
    f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        hd_strbuf_add(out, piece, n);
    fclose(f);
}

static void write_page(const char *path, const struct hd_strbuf *page)
{
    FILE *f = fopen(path, "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(page->data, 1, page->len, f), page->len);
    CU_ASSERT_EQUAL(fclose(f), 0);
}

static const struct hd_library *plugin(const char *id)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_library *lib = NULL;
    char path[4096];

    snprintf(path, sizeof(path), "%s/.libs/%s.so", folder("HD_BUILDDIR"), id);
    if (hd_library_load(path, id, &lib, &err))
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(lib);
    return lib;
}

/* The table that a comment of the page names: "host", "plugin guard", "guard", or "alert of alerts" where a
 * kind of section is not called as its plugin. */
static const struct hd_options *table_of(const char *name)
{
    int kind = hd_kind_find(name);
    const struct hd_section_kind *section;
    const char *of = strstr(name, " of ");
    char alone[64];

    if (kind >= 0)
        return &hd_kinds[kind].options;
    if (!strncmp(name, "plugin ", 7))
        return &plugin(name + 7)->desc.options;
    snprintf(alone, sizeof(alone), "%.*s", of ? (int)(of - name) : (int)strlen(name), name);
    section = hd_library_kind(plugin(of ? of + 4 : name), alone);
    CU_ASSERT_PTR_NOT_NULL_FATAL(section);
    return &section->options;
}

/* Copies the page with the paragraphs of every table made anew; returns how many tables it has. */
static int renew(const char *page, struct hd_strbuf *out)
{
    const char *begin;
    char name[64];
    int tables = 0;

    while ((begin = strstr(page, BEGIN))) {
        const char *line_end = strchr(begin, '\n'), *end = strstr(begin, END);

        CU_ASSERT_FATAL(line_end && end && line_end < end);
        snprintf(name, sizeof(name), "%.*s", (int)(line_end - begin - strlen(BEGIN)), begin + strlen(BEGIN));
        hd_strbuf_add(out, page, (size_t)(line_end + 1 - page));
        hd_options_print_manual(table_of(name), out);
        page = end;
        tables++;
    }
    hd_strbuf_puts(out, page);
    return tables;
}

static void manual_is_in_step(void)
{
    struct hd_strbuf page = HD_STRBUF_INIT, wanted = HD_STRBUF_INIT;
    char path[4096];
    int tables, same;

    read_page(&page);
    tables = renew(hd_strbuf_str(&page), &wanted);
    CU_ASSERT(tables >= HD_KINDS);
    same = !strcmp(hd_strbuf_str(&page), hd_strbuf_str(&wanted));
    CU_ASSERT(same);
    if (!same) {
        snprintf(path, sizeof(path), "%s/howdah.ini.5", folder("HD_BUILDDIR"));
        write_page(path, &wanted);
        printf("# %s does not say what the options' tables say; %s does: copy it there\n", PAGE, path);
    }
    hd_strbuf_free(&page);
    hd_strbuf_free(&wanted);
}

UNIT_MAIN("manual", {"the page names every key of every table", manual_is_in_step})
