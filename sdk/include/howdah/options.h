/*
 * Options: one table describes every key of a section of the INI. The host parses, checks and defaults by it,
 * prints `howdahctl options`, the sample in conf.d and the manual page from it.
 */
#ifndef HOWDAH_OPTIONS_H
#define HOWDAH_OPTIONS_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Types of options, and the member that each fills in the configuration struct. Since ABI 0.1. */
#define HD_OPT_BOOL     1 /* yes|no|on|off|true|false|1|0 -> int32_t 0 or 1 */
#define HD_OPT_INT      2 /* decimal -> int64_t */
#define HD_OPT_REAL     3 /* decimal -> double */
#define HD_OPT_SIZE     4 /* 64K, 256M, 1G -> int64_t, bytes */
#define HD_OPT_DURATION 5 /* 200ms, 30s, 5m, 2h, 1d -> int64_t, milliseconds */
#define HD_OPT_STRING   6 /* text -> struct hd_str, NUL-terminated behind its length */
#define HD_OPT_SECRET   7 /* text that is never shown -> struct hd_str; KEY_file reads it from a file */
#define HD_OPT_ENUM     8 /* one of the choices -> int32_t, its index */
#define HD_OPT_LIST     9 /* values separated by commas -> struct hd_str_list */

/* Flags of an option. Since ABI 0.1. */
#define HD_OPTF_RELOADABLE                                                                                   \
    1u /* a new value takes effect on SIGHUP; without it a change is refused until restart */
#define HD_OPTF_REQUIRED 2u /* must be given */

/*
 * One key. Tables are `static const` arrays; a key that is not given takes `default_value`, parsed by the
 * same rules. Since ABI 0.1.
 */
struct hd_option {
    const char *key;           /* lower case, as written in the INI */
    const char *default_value; /* in the INI's own notation; NULL: empty string, empty list, 0 */
    const char *choices;       /* HD_OPT_ENUM: "warn|refuse"; else NULL */
    const char *doc;           /* one line: what it does */
    double min, max;           /* range of numbers, sizes and durations; both 0: any that is not negative */
    uint32_t type;             /* HD_OPT_… */
    uint32_t flags;            /* HD_OPTF_… */
    uint32_t offset;           /* offsetof the member in the configuration struct */
    uint32_t reserved;         /* 0 */
};

/* A table of options and the struct that it fills. Since ABI 0.1. */
struct hd_options {
    uint32_t size;      /* sizeof(struct hd_options) */
    uint32_t stride;    /* sizeof(struct hd_option) as compiled */
    uint32_t count;     /* entries in `table` */
    uint32_t conf_size; /* sizeof the configuration struct */
    const struct hd_option *table;
};

/* A kind of section that a plugin declares: `[KIND NAME]`, many named instances. Since ABI 0.1. */
struct hd_section_kind {
    const char *kind;          /* the word in front: "guard" in `[guard no-drop]` */
    const char *doc;           /* one line */
    struct hd_options options; /* keys of such a section */
};

/* One section of the INI, parsed. Belongs to the host. Since ABI 0.1. */
struct hd_section {
    const char *kind;   /* NUL-terminated */
    const char *name;   /* NUL-terminated */
    const void *conf;   /* the struct that the kind's options describe */
    const char *origin; /* "file.ini:12", for messages */
};

/*
 * The whole configuration of one plugin. Valid from `check` until the `reload` or `destroy` after the one
 * that replaced it, so that a plugin may keep pointers into it. Since ABI 0.1.
 */
struct hd_conf {
    uint32_t size;                     /* sizeof(struct hd_conf) */
    uint32_t section_count;            /* entries in `sections` */
    const void *conf;                  /* the struct of the plugin's own options */
    const struct hd_section *sections; /* of the kinds it declared, in the order of the files */
    const char *origin;                /* where `[plugin …]` stands */
};

/* Fills the table's head: HD_OPTIONS(struct my_conf, my_table). */
#define HD_OPTIONS(conf_type, tab)                                                                           \
    {                                                                                                        \
        (uint32_t)sizeof(struct hd_options), (uint32_t)sizeof(struct hd_option),                             \
            (uint32_t)(sizeof(tab) / sizeof((tab)[0])), (uint32_t)sizeof(conf_type), (tab)                   \
    }

#ifdef __cplusplus
}
#endif
#endif
