/*
 * The steps of loading a configuration, each in a file of its own: sections become settings
 * (config_settings.c), and settings are held against each other (config_check.c).
 */
#ifndef HD_HOST_CONFIG_BUILD_H
#define HD_HOST_CONFIG_BUILD_H

#include "host/config.h"

struct hd_build {
    struct hd_config *config;
    const struct hd_config *running; /* or NULL */
    struct hd_settings *settings;    /* being filled */
    struct hd_arena *arena;          /* the settings' */
    struct hd_problems *problems;
    unsigned flags;
};

/* Memory in the arena; notes it where there is none. */
void *hd_build_alloc(struct hd_build *b, size_t size);
const char *hd_build_strdup(struct hd_build *b, const char *s);
/* Text of an option, or NULL where it is empty. */
const char *hd_build_text(const struct hd_str *s);

/* Fills the settings' arrays from the parsed sections. */
void hd_build_settings(struct hd_build *b);
/* What no section can know by itself. */
void hd_build_check(struct hd_build *b);

/* The addresses and networks of a section with `listen` and `allow`. */
void hd_build_addresses(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_str_list *texts,
                        struct hd_listener_conf *l);
void hd_build_networks(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_str_list *texts,
                       struct hd_listener_conf *l);
/* A path of the section, as it is from here; NULL where it is empty. */
const char *hd_build_file(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_str *path);
/* Are the certificate and the key of a listener there, and do they belong together? */
void hd_check_certificate(struct hd_build *b, const struct hd_listener_conf *l,
                          const struct hd_raw_section *raw);
/* Is address `i` of `l` one of those of `other`, below `count`? Says so. 1: it is. */
int hd_check_address(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_address *a,
                     const struct hd_listener_conf *other, uint32_t count);

/* [http] */
void hd_build_http(struct hd_build *b);
void hd_check_http(struct hd_build *b);

/* Walks the sections of one kind. */
#define HD_EACH_SECTION(s, config, wanted)                                                                   \
    for (struct hd_config_section *s = (config)->sections; s < (config)->sections + (config)->count; s++)    \
        if (s->kind == (wanted))

#endif
