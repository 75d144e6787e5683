/*
 * The loader: from a file to a checked descriptor. A file that others may write is never opened as a library;
 * a descriptor is looked at as data before anything in it is called. What is refused is refused with one line
 * that says what was expected, what was found and what to do.
 *
 * A library once loaded stays mapped until the process ends: a thread may still return into it. All of this
 * is [control].
 */
#ifndef HD_PLUG_LOADER_H
#define HD_PLUG_LOADER_H

#include <howdah/cache_store.h>
#include <howdah/filter.h>
#include <howdah/plugin.h>

/* A plugin's library; there is one of each path, and it lives as long as the process. */
struct hd_library {
    struct hd_library *next;
    const char *path;      /* as it was found */
    struct hd_plugin desc; /* a copy of ours; what the plugin did not know yet is zero, texts never NULL */
    struct hd_filter_v1 filter; /* a copy of its filter; zero when it is none */
    int is_filter;
    const char *capabilities; /* names with commas between */
    void *handle;
};

/* Loads ID.so, or finds it when it was loaded before. */
int hd_library_load(const char *path, const char *id, struct hd_library **out, struct hd_error *err);

/* Is this what a plugin may be called? Lower case letters, digits and '-', starting with a letter. */
int hd_plugin_id_ok(const char *id);

/* The kind of section that the plugin declares under this name, or NULL. */
const struct hd_section_kind *hd_library_kind(const struct hd_library *lib, const char *kind);

/* Calls fn for each NAME.so in a folder, by name. HD_ENOENT where the folder cannot be read. */
int hd_library_scan(const char *dir, void (*fn)(void *arg, const char *id, const char *path), void *arg,
                    struct hd_error *err);

#endif
