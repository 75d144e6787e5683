/*
 * The whole configuration: INI files become a settings snapshot for the workers and raw sections for the
 * plugins. Loading never stops at the first fault; every fault has its place.
 */
#ifndef HD_HOST_CONFIG_H
#define HD_HOST_CONFIG_H

#include <howdah/error.h>

#include "host/ini.h"
#include "host/sections.h"
#include "plug/plugins.h"
#include "session/settings.h"

/* One section of the host's own kinds. */
struct hd_config_section {
    const struct hd_raw_section *raw;
    enum hd_kind kind;
    void *keys; /* the struct that the kind's table describes */
};

struct hd_config {
    struct hd_ini ini;
    struct hd_settings *settings; /* counted; lives longer than this where it is held */
    struct hd_config_section *sections;
    uint32_t count;
    const struct hd_raw_section *host; /* [host]; a made-up empty one where it is not written */
    struct hd_plugin_confs plugins;
};

#define HD_CONFIG_CHECK 1u /* only to be looked at: leaves out what costs time (making verifiers) */

/*
 * Reads `path`. `running` (may be NULL) is the configuration in force: what cannot change while the host runs
 * is checked against it, and verifiers of unchanged passwords are taken over. NULL after any error, and then
 * `problems` says which.
 */
struct hd_config *hd_config_load(const char *path, const struct hd_config *running, unsigned flags,
                                 struct hd_problems *problems);
void hd_config_free(struct hd_config *c);

/*
 * Visits every section of the effective configuration, secrets in conninfos masked. A plugin's section comes
 * twice, with the host's keys and (begins = 0) its own. `o` is NULL where nobody knows the keys: no plugin
 * that is loaded declares them. `plugins` may be NULL.
 */
typedef void hd_config_visit(void *arg, const struct hd_raw_section *raw, int begins,
                             const struct hd_options *o, const void *keys);
void hd_config_walk(const struct hd_config *c, struct hd_plugins *plugins, hd_config_visit *visit, void *arg);
/* Visits the tables of a kind of section, of the host or of a plugin; or those of a plugin: the host's keys,
 * its own, and its kinds of sections. `label` is "[guard NAME]". HD_ENOENT says what was probably meant. */
typedef void hd_options_visit(void *arg, const char *label, const struct hd_options *o);
int hd_config_options(const char *name, struct hd_plugins *plugins, hd_options_visit *visit, void *arg,
                      struct hd_error *err);

/* The effective configuration as an INI: defaults filled in, secrets masked. `plugins` (may be NULL) knows
 * the plugins' own keys. */
void hd_config_print(const struct hd_config *c, struct hd_plugins *plugins, struct hd_strbuf *out);
/* A commented sample of every kind of section of the host, or of one ("listener", "guard"). HD_ENOENT. */
int hd_config_print_sample(const char *kind, struct hd_plugins *plugins, struct hd_strbuf *out,
                           struct hd_error *err);

/* A conninfo without its passwords. */
void hd_conninfo_mask(const char *conninfo, struct hd_strbuf *out);

#endif
