/*
 * Fuzz target: whatever bytes stand in an INI file, the reader neither crashes nor leaks, what it read is
 * whole, and what the options engine prints of a value reads back as that value.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "host/ini.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Can a value be written as it is? One that begins or ends with a blank, or holds a comment or a run of
 * blanks, cannot. */
static int is_plain(const char *value)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < ' ' || (*p == ' ' && (p == value || !p[1] || strchr(" ;#", p[1]))) ||
            *p == 127)
            return 0;
    return *value != ';' && *value != '#';
}

static void read_back(const char *value)
{
    struct hd_strbuf text = HD_STRBUF_INIT;
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_ini ini = {.count = 0};

    hd_strbuf_puts(&text, "[a]\n");
    hd_option_print_line("k", value, &text);
    hd_ini_parse(&ini, "again", "", text.data, text.len, &problems);
    /* A word that is longer than a line cannot be written; everything else can. */
    if (!hd_problems_any(&problems)) {
        HD_CHECK(ini.count == 1 && ini.sections[0].count == 1);
        HD_CHECK(!strcmp(ini.sections[0].keys[0].value, value));
    }
    hd_ini_free(&ini);
    hd_problems_free(&problems);
    hd_strbuf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_ini ini = {.count = 0};

    hd_ini_parse(&ini, "fuzz.ini", "/nowhere", (const char *)data, size, &problems);
    for (uint32_t i = 0; i < ini.count; i++) {
        const struct hd_raw_section *s = &ini.sections[i];

        HD_CHECK(*s->kind && s->name && strstr(s->origin, "fuzz.ini:") && s->label[0] == '[');
        for (uint32_t k = 0; k < s->count; k++) {
            HD_CHECK(*s->keys[k].key && s->keys[k].value && strstr(s->keys[k].origin, "fuzz.ini:"));
            if (is_plain(s->keys[k].value))
                read_back(s->keys[k].value);
        }
    }
    hd_ini_free(&ini);
    hd_problems_free(&problems);
    return 0;
}
