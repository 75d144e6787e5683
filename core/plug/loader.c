/*
 * The loader; see loader.h.
 */
#include "plug/loader.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/blame.h"
#include "base/check.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "base/thread.h"
#include "plug/options.h"

#define SYMBOL       "howdah_plugin"
#define ID_MAX       48
#define SECTIONS_MAX 64

/* The descriptor of ABI 0.1, the smallest there is, and more than any will ever be. */
#define SIZE_MIN           (offsetof(struct hd_plugin, capability) + sizeof(((struct hd_plugin *)0)->capability))
#define SIZE_MAX_PLAUSIBLE (64 * 1024)
/* What must be there before `size` can be believed. */
#define SIZE_HEAD (offsetof(struct hd_plugin, size) + sizeof(uint32_t))
/* The smallest hd_filter_v1. */
#define FILTER_MIN (offsetof(struct hd_filter_v1, complete) + sizeof(((struct hd_filter_v1 *)0)->complete))

static struct hd_library *loaded; /* all good ones, for ever */

/* Capabilities that the host knows by name, for showing what a plugin provides. */
static const char *const capability_names[] = {HD_CAP_FILTER, HD_CAP_CACHE_STORE};

int hd_plugin_id_ok(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n > 0 && n <= ID_MAX && !id[n] && id[0] >= 'a' && id[0] <= 'z';
}

/* --- the file ------------------------------------------------------------------------------------------ */

/* May this file's content be trusted as much as the host's own? */
static int check_mode(const char *path, const struct stat *st, struct hd_error *err)
{
    if (!S_ISREG(st->st_mode))
        return hd_fail(err, HD_EPERM, "%s: expected a regular file, found none; name the plugin's .so", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return hd_fail(err, HD_EPERM,
                       "%s: expected a file of root or of uid %ld, found uid %ld; chown it to root", path,
                       (long)geteuid(), (long)st->st_uid);
    if (st->st_mode & S_IWOTH)
        return hd_fail(err, HD_EPERM,
                       "%s: expected a file that only its owner writes, found mode %04o (everybody may); "
                       "chmod go-w it",
                       path, (unsigned)(st->st_mode & 07777));
    if ((st->st_mode & S_IWGRP) && st->st_gid != getegid())
        return hd_fail(err, HD_EPERM,
                       "%s: expected a file that only its owner writes, found mode %04o (group %ld may); "
                       "chmod g-w it",
                       path, (unsigned)(st->st_mode & 07777), (long)st->st_gid);
    return HD_OK;
}

static int check_file(const char *path, struct hd_error *err)
{
    struct stat st;

    if (stat(path, &st))
        return hd_fail(err, errno == ENOENT ? HD_ENOENT : HD_EIO,
                       "%s: expected a plugin's library there, found %s; check plugin_dir or `library`", path,
                       errno == ENOENT ? "no such file" : strerror(errno));
    return check_mode(path, &st, err);
}

/* --- the descriptor ------------------------------------------------------------------------------------ */

/* Bytes that the symbol says it has; 0 when it is not data. */
static size_t symbol_size(const void *symbol)
{
    Dl_info info;
    ElfW(Sym) *sym = NULL;

    if (!dladdr1(symbol, &info, (void **)&sym, RTLD_DL_SYMENT) || !sym || info.dli_saddr != symbol)
        return 0;
    return ELF64_ST_TYPE(sym->st_info) == STT_OBJECT ? sym->st_size : 0;
}

static int check_numbers(const char *path, const struct hd_plugin *p, size_t room, struct hd_error *err)
{
    if (room < SIZE_HEAD || p->magic != HD_PLUGIN_MAGIC)
        return hd_fail(err, HD_EINVAL,
                       "%s: expected the magic number %08x in " SYMBOL
                       ", found %08x; start the descriptor with "
                       "HD_PLUGIN_HEAD",
                       path, HD_PLUGIN_MAGIC, room < SIZE_HEAD ? 0 : p->magic);
    if (p->size < SIZE_MIN || p->size > SIZE_MAX_PLAUSIBLE || p->size > room)
        return hd_fail(
            err, HD_EINVAL,
            "%s: expected a descriptor of %zu to %d bytes that lies within its symbol's %zu, found size "
            "%u; start the descriptor with HD_PLUGIN_HEAD and rebuild it",
            path, SIZE_MIN, SIZE_MAX_PLAUSIBLE, room, p->size);
    if (p->abi_major != HD_ABI_MAJOR)
        return hd_fail(err, HD_EVERSION,
                       "%s: expected ABI %d.x, found %u.%u; rebuild the plugin with this host's headers",
                       path, HD_ABI_MAJOR, p->abi_major, p->abi_minor);
    if (p->host_minor > HD_ABI_MINOR)
        return hd_fail(err, HD_EVERSION,
                       "%s: expected a plugin that works with host ABI %d.%d, found one that needs %d.%u; "
                       "upgrade the host or take an older plugin",
                       path, HD_ABI_MAJOR, HD_ABI_MINOR, HD_ABI_MAJOR, p->host_minor);
    return HD_OK;
}

static int check_id(const char *path, const char *id, const struct hd_plugin *p, struct hd_error *err)
{
    if (!p->id || !hd_plugin_id_ok(p->id))
        return hd_fail(err, HD_EINVAL,
                       "%s: expected an id of lower case letters, digits and '-', found \"%s\"", path,
                       p->id ? p->id : "");
    if (strcmp(p->id, id))
        return hd_fail(
            err, HD_EINVAL,
            "%s: expected the plugin %s, found the id %s; the file, the section and the id bear one "
            "name: rename the file to %s.so and the section to [plugin %s]",
            path, id, p->id, p->id, p->id);
    return HD_OK;
}

static int check_functions(const char *path, const struct hd_plugin *p, struct hd_error *err)
{
    const struct {
        const char *name;
        int there;
    } need[] = {{"create", p->create != NULL}, {"check", p->check != NULL}, {"start", p->start != NULL},
                {"reload", p->reload != NULL}, {"stop", p->stop != NULL},   {"destroy", p->destroy != NULL}};

    for (size_t i = 0; i < HD_ARRAY_LEN(need); i++)
        if (!need[i].there)
            return hd_fail(err, HD_EINVAL, "%s: expected a function %s in the descriptor, found none; add it",
                           path, need[i].name);
    return HD_OK;
}

/* Kinds that are the host's own; a plugin cannot take them. */
static int is_host_kind(const char *kind)
{
    static const char *const names[] = {"host", "listener", "user", "database", "node", "plugin", "peer"};

    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (!strcmp(kind, names[i]))
            return 1;
    return 0;
}

static int check_tables(const char *path, const struct hd_plugin *p, struct hd_error *err)
{
    if (hd_options_check(&p->options, p->id, err))
        return hd_fail_prefix(err, "%s", path);
    if (p->section_count > SECTIONS_MAX || (p->section_count && !p->sections))
        return hd_fail(err, HD_EINVAL, "%s: expected at most %d kinds of sections, found %u", path,
                       SECTIONS_MAX, p->section_count);
    for (uint32_t i = 0; i < p->section_count; i++) {
        const struct hd_section_kind *k = &p->sections[i];

        if (!k->kind || !hd_plugin_id_ok(k->kind) || is_host_kind(k->kind))
            return hd_fail(err, HD_EINVAL,
                           "%s: expected a name for its kind of section that is not the host's, found \"%s\"",
                           path, k->kind ? k->kind : "");
        if (hd_options_check(&k->options, k->kind, err))
            return hd_fail_prefix(err, "%s", path);
    }
    return HD_OK;
}

/* --- one library --------------------------------------------------------------------------------------- */

/* Copies what both sides know and gives every text a value. */
static void copy_descriptor(struct hd_plugin *to, const struct hd_plugin *from)
{
    memcpy(to, from, from->size < sizeof(*to) ? from->size : sizeof(*to));
    if (!to->version)
        to->version = "";
    if (!to->vendor)
        to->vendor = "";
    if (!to->licence)
        to->licence = "";
    if (!to->summary)
        to->summary = "";
}

static int take_filter(struct hd_library *lib, struct hd_error *err)
{
    const struct hd_filter_v1 *f = lib->desc.capability ? lib->desc.capability(HD_CAP_FILTER) : NULL;

    if (!f)
        return HD_OK;
    if (f->size < FILTER_MIN || f->size > SIZE_MAX_PLAUSIBLE)
        return hd_fail(err, HD_EINVAL, "%s: expected a " HD_CAP_FILTER " of at least %zu bytes, found %u",
                       lib->path, FILTER_MIN, f->size);
    memcpy(&lib->filter, f, f->size < sizeof(lib->filter) ? f->size : sizeof(lib->filter));
    if (!lib->filter.plan)
        return hd_fail(err, HD_EINVAL, "%s: expected a function plan in its filter, found none; add it",
                       lib->path);
    lib->is_filter = 1;
    return HD_OK;
}

static int list_capabilities(struct hd_library *lib, struct hd_error *err)
{
    struct hd_strbuf b = HD_STRBUF_INIT;

    for (size_t i = 0; lib->desc.capability && i < HD_ARRAY_LEN(capability_names); i++)
        if (lib->desc.capability(capability_names[i]))
            hd_strbuf_printf(&b, "%s%s", b.len ? ", " : "", capability_names[i]);
    hd_strbuf_puts(&b, "");
    lib->capabilities = hd_strbuf_take(&b);
    return lib->capabilities ? HD_OK : hd_fail(err, HD_ENOMEM, "%s: no memory", lib->path);
}

static int check_descriptor(const char *path, const char *id, void *handle, struct hd_plugin *out,
                            struct hd_error *err)
{
    const struct hd_plugin *found = dlsym(handle, SYMBOL);
    int code;

    if (!found)
        return hd_fail(err, HD_EINVAL,
                       "%s: expected the data symbol " SYMBOL
                       ", found none; this library is no plugin, or it "
                       "was linked without exporting it",
                       path);
    code = check_numbers(path, found, symbol_size(found), err);
    if (code)
        return code;
    copy_descriptor(out, found);
    code = check_id(path, id, out, err);
    if (!code)
        code = check_functions(path, out, err);
    return code ? code : check_tables(path, out, err);
}

static void *open_library(const char *path, struct hd_error *err)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *why, *colon;

    if (handle)
        return handle;
    why = dlerror();
    if (!why)
        why = "unknown reason";
    /* The loader's message starts with the path, which stands there already. */
    colon = strncmp(why, path, strlen(path)) ? NULL : strstr(why + strlen(path), ": ");
    hd_fail(err, HD_EINVAL,
            "%s: expected a shared library of this machine with all its symbols, found: not a library (%s); "
            "rebuild the plugin",
            path, colon ? colon + 2 : why);
    return NULL;
}

static struct hd_library *find_loaded(const char *path)
{
    struct hd_library *l = loaded;

    while (l && strcmp(l->path, path))
        l = l->next;
    return l;
}

static void drop(struct hd_library *lib)
{
    if (lib->handle)
        dlclose(lib->handle); /* it was refused before any of its functions was called */
    hd_free((char *)lib->capabilities);
    hd_free((char *)lib->path);
    hd_free(lib);
}

/* The id must be the file's name too, so that nobody runs one plugin under another's name. */
static int check_name(const char *path, const char *id, struct hd_error *err)
{
    const char *base = strrchr(path, '/');
    size_t n = strlen(id);

    base = base ? base + 1 : path;
    if (strncmp(base, id, n) || strcmp(base + n, ".so"))
        return hd_fail(err, HD_EINVAL, "%s: expected a file named %s.so for [plugin %s]; rename one of them",
                       path, id, id);
    return HD_OK;
}

int hd_library_load(const char *path, const char *id, struct hd_library **out, struct hd_error *err)
{
    struct hd_library *lib = find_loaded(path);
    int code;

    code = check_name(path, id, err);
    if (code)
        return code;
    if (lib) {
        *out = lib;
        return HD_OK;
    }
    code = check_file(path, err);
    if (code)
        return code;
    lib = hd_calloc(1, sizeof(*lib));
    if (!lib || !(lib->path = hd_strdup(path))) {
        hd_free(lib);
        return hd_fail(err, HD_ENOMEM, "%s: no memory", path);
    }
    lib->handle = open_library(path, err);
    code = lib->handle ? check_descriptor(path, id, lib->handle, &lib->desc, err) : HD_EINVAL;
    if (!code)
        code = take_filter(lib, err);
    if (!code)
        code = list_capabilities(lib, err);
    if (code) {
        drop(lib);
        return code;
    }
    lib->next = loaded;
    loaded = lib;
    hd_blame_library(lib->desc.id, dlsym(lib->handle, SYMBOL));
    *out = lib;
    return HD_OK;
}

const struct hd_section_kind *hd_library_kind(const struct hd_library *lib, const char *kind)
{
    for (uint32_t i = 0; i < lib->desc.section_count; i++)
        if (!strcmp(lib->desc.sections[i].kind, kind))
            return &lib->desc.sections[i];
    return NULL;
}

/* --- a folder ------------------------------------------------------------------------------------------ */

static int is_library_name(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return n > 3 && !strcmp(d->d_name + n - 3, ".so") && d->d_name[0] != '.';
}

int hd_library_scan(const char *dir, void (*fn)(void *arg, const char *id, const char *path), void *arg,
                    struct hd_error *err)
{
    struct dirent **names;
    int n = scandir(dir, &names, is_library_name, alphasort);

    if (n < 0)
        return hd_fail(err, HD_ENOENT, "%s: expected a folder of plugins: %s; set plugin_dir", dir,
                       strerror(errno));
    for (int i = 0; i < n; i++) {
        struct hd_strbuf path = HD_STRBUF_INIT;
        size_t len = strlen(names[i]->d_name);

        hd_strbuf_printf(&path, "%s/%s", dir, names[i]->d_name);
        names[i]->d_name[len - 3] = 0;
        if (!path.failed)
            fn(arg, names[i]->d_name, hd_strbuf_str(&path));
        hd_strbuf_free(&path);
        free(names[i]);
    }
    free(names);
    return HD_OK;
}
