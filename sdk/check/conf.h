/*
 * A plugin's configuration from the text of an INI, read by the host's own reader and options engine, so that
 * what is tested is what howdahd would give the plugin.
 */
#ifndef HOWDAH_CHECK_CONF_H
#define HOWDAH_CHECK_CONF_H

#include <howdah/plugin.h>

#include "host/ini.h"

struct check_conf {
    struct hd_conf conf; /* for check, start and reload */
    struct hd_ini ini;
    struct hd_problems problems;
};

/* Reads `[plugin ID]` and the sections of the plugin's own kinds; the section, or a key, that is not there
 * takes defaults. HD_OK, or an error with the first problem in err. Freed by the caller in either case. */
int check_conf_read(struct check_conf *c, const struct hd_plugin *p, const char *ini, struct hd_error *err);
void check_conf_free(struct check_conf *c);

#endif
