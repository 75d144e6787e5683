/*
 * The options engine: one table of hd_option describes a section's keys, and everything about them is done by
 * it: parsing into a configuration struct, defaults, the comparison of a reload, and all that is printed.
 *
 * Tables come from plugins too, compiled against an older or newer hd_option: hd_options_check looks at a
 * table before anything else here may use it, and entries are read by the stride that the table names.
 */
#ifndef HD_PLUG_OPTIONS_H
#define HD_PLUG_OPTIONS_H

#include <howdah/options.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "plug/problems.h"

/* What stands for a secret wherever a configuration is shown. */
#define HD_SECRET_MASK "********"

/* One key as it was read: continuation lines joined, ${…} expanded. */
struct hd_raw_key {
    const char *key;
    const char *value;
    const char *origin; /* "file.ini:12" */
};

/* One section as it was read. */
struct hd_raw_section {
    const char *kind;   /* "listener"; "host" */
    const char *name;   /* "main"; "" where the header has one word */
    const char *label;  /* "[listener main]", for messages */
    const char *origin; /* of its header */
    const char *dir;    /* the folder of its file: relative paths start there */
    const struct hd_raw_key *keys;
    uint32_t count;
    uint32_t reserved;
    const struct hd_options *also; /* or NULL: keys that somebody else reads from this section; skipped, but
                                    * known when a name is looked for */
};

/* The section's key of that name, or NULL where it is not given. */
const struct hd_raw_key *hd_raw_find(const struct hd_raw_section *section, const char *key);
/* Where the key stands; where the section begins when the key is not given. */
const char *hd_raw_origin(const struct hd_raw_section *section, const char *key);

/* Is the table fit to be used? `what` names it in the error. Everything below takes checked tables only. */
int hd_options_check(const struct hd_options *o, const char *what, struct hd_error *err);

/* Copies entry i, as far as its stride reaches, into a zeroed hd_option of our own. */
void hd_option_at(const struct hd_options *o, uint32_t i, struct hd_option *out);
/* Finds an entry by its key; 0 when there is none. */
int hd_option_find(const struct hd_options *o, const char *key, struct hd_option *out);

/*
 * Parses a section into a zeroed struct of o->conf_size bytes in the arena; keys that are not given take
 * their defaults. Every fault becomes a line in `problems`. Returns the struct, complete when no error was
 * added, or NULL when there is no memory.
 */
void *hd_options_parse(const struct hd_options *o, const struct hd_raw_section *section,
                       struct hd_arena *arena, struct hd_problems *problems);

/* Is the value of this option the same in both structs? */
int hd_option_equal(const struct hd_option *opt, const void *a, const void *b);
/* Adds an error for each option that differs and may not change while the host runs. */
void hd_options_compare(const struct hd_options *o, const void *running, const void *wanted,
                        const struct hd_raw_section *section, struct hd_problems *problems);
/* Are all values the same? */
int hd_options_equal(const struct hd_options *o, const void *a, const void *b);

/* --- printing ------------------------------------------------------------------------------------------ */

/* "duration", "list" … */
const char *hd_option_type_name(uint32_t type);
/* The value in `conf` in the INI's notation; secrets are masked. */
void hd_option_print_value(const struct hd_option *opt, const void *conf, struct hd_strbuf *out);
/* The choices or the range: "warn|refuse", "1 to 10000"; nothing when every value is allowed. */
void hd_option_print_range(const struct hd_option *opt, struct hd_strbuf *out);

/* One "key = value" line, escaped and continued so that reading it gives the value again. */
void hd_option_print_line(const char *key, const char *value, struct hd_strbuf *out);
/* The struct as lines of an INI, all keys; secrets are masked. */
void hd_options_print(const struct hd_options *o, const void *conf, struct hd_strbuf *out);
/* The keys as a commented sample with their defaults; what must be given stands uncommented. */
void hd_options_print_sample(const struct hd_options *o, struct hd_strbuf *out);
/* The keys as tagged paragraphs of a manual page. */
void hd_options_print_manual(const struct hd_options *o, struct hd_strbuf *out);

/* --- files --------------------------------------------------------------------------------------------- */

/* A path that is not absolute starts at `dir`. In the arena; NULL when there is no memory. */
const char *hd_path_from(struct hd_arena *arena, const char *dir, const char *path);
/* Reads a small secret from a regular file, one trailing newline taken off. Faults, and a warning when others
 * may read the file, go to `problems` under `origin`. NULL after an error. */
const char *hd_secret_read(struct hd_arena *arena, const char *path, const char *origin,
                           struct hd_problems *problems);

#endif
