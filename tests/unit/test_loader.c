/*
 * The loader: what is a plugin, and what is refused with which words.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plug/loader.h"

static const char *plugin_dir(void)
{
    static char dir[4096];
    const char *build = getenv("HD_BUILDDIR");

    snprintf(dir, sizeof(dir), "%s/tests/unit/plugins/.libs", build ? build : ".");
    return dir;
}

static char path_text[8192];

static const char *path_of(const char *dir, const char *id)
{
    snprintf(path_text, sizeof(path_text), "%s/%s.so", dir, id);
    return path_text;
}

/* Must be refused with all these words (NULL ends them). */
static void expect_refusal(const char *path, const char *id, int code, const char *const *words)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_library *lib = NULL;

    CU_ASSERT_EQUAL(hd_library_load(path, id, &lib, &err), code);
    CU_ASSERT_PTR_NULL(lib);
    CU_ASSERT_EQUAL(strncmp(err.text, path, strlen(path)), 0);
    CU_ASSERT_PTR_NULL(strchr(err.text, '\n'));
    for (; *words; words++) {
        if (!strstr(err.text, *words))
            printf("# wanted \"%s\" in: %s\n", *words, err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, *words));
    }
}

#define REFUSED(id, code, ...)                                                                               \
    expect_refusal(path_of(plugin_dir(), id), id, code, (const char *const[]){__VA_ARGS__, NULL})

static void good_ones_load(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_library *alpha = NULL, *again = NULL, *store = NULL;

    CU_ASSERT_EQUAL_FATAL(hd_library_load(path_of(plugin_dir(), "alpha"), "alpha", &alpha, &err), HD_OK);
    CU_ASSERT_STRING_EQUAL(alpha->desc.id, "alpha");
    CU_ASSERT_STRING_EQUAL(alpha->desc.version, "1.0");
    CU_ASSERT_STRING_EQUAL(alpha->capabilities, HD_CAP_FILTER);
    CU_ASSERT(alpha->is_filter);
    CU_ASSERT_PTR_NOT_NULL(alpha->filter.statement);
    CU_ASSERT_PTR_NOT_NULL(hd_library_kind(alpha, "alpha-rule"));
    CU_ASSERT_PTR_NULL(hd_library_kind(alpha, "rule"));
    CU_ASSERT_EQUAL(hd_library_load(path_of(plugin_dir(), "alpha"), "alpha", &again, &err), HD_OK);
    CU_ASSERT_PTR_EQUAL(alpha, again);
    CU_ASSERT_EQUAL_FATAL(hd_library_load(path_of(plugin_dir(), "store"), "store", &store, &err), HD_OK);
    CU_ASSERT(!store->is_filter);
    CU_ASSERT_STRING_EQUAL(store->capabilities, "");
}

static void descriptors_are_checked(void)
{
    REFUSED("bad-magic", HD_EINVAL, "expected the magic number 48574448", "found deadbeef", "HD_PLUGIN_HEAD");
    REFUSED("bad-short", HD_EINVAL, "expected a descriptor of", "found size 40", "rebuild");
    REFUSED("bad-huge", HD_EINVAL, "expected a descriptor of", "to 65536 bytes", "found size 1073741824");
    REFUSED("bad-past-end", HD_EINVAL, "expected a descriptor of", "within its symbol's");
    REFUSED("bad-major", HD_EVERSION, "expected ABI 0.x", "found 1.1", "rebuild the plugin");
    REFUSED("bad-host-minor", HD_EVERSION, "works with host ABI 0.1", "needs 0.2", "upgrade the host");
    REFUSED("bad-id", HD_EINVAL, "expected the plugin bad-id", "found the id other", "rename");
    REFUSED("bad-letters", HD_EINVAL, "expected an id of lower case letters", "found \"Bad_Letters\"");
    REFUSED("bad-stop", HD_EINVAL, "expected a function stop", "found none", "add it");
    REFUSED("bad-options", HD_EINVAL, "bad-options", "number", "offset 4096");
    REFUSED("bad-kind", HD_EINVAL, "not the host's", "found \"listener\"");
    REFUSED("bad-filter", HD_EINVAL, "expected a howdah.filter/1 of at least", "found 8");
    REFUSED("bad-tiny", HD_EINVAL, "expected the magic number", "found 00000000");
    REFUSED("bad-function", HD_EINVAL, "expected the magic number", "found 00000000");
    REFUSED("bad-no-symbol", HD_EINVAL, "expected the data symbol howdah_plugin", "found none");
    REFUSED("bad-undefined", HD_EINVAL, "not a library", "nobody_defines_this", "rebuild");
}

/* --- files --------------------------------------------------------------------------------------------- */

static char folder[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/howdah-test-loader.XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

/* Copies a plugin, or writes text where `from` is NULL. */
static void put_file(const char *name, const char *from, mode_t mode)
{
    char path[8192], buffer[65536];
    FILE *in = from ? fopen(path_of(plugin_dir(), from), "r") : NULL, *out;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    out = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    for (int i = 0; !in && i < 100; i++)
        fputs("this is no library\n", out);
    while (in && (n = fread(buffer, 1, sizeof(buffer), in)) > 0)
        CU_ASSERT_EQUAL(fwrite(buffer, 1, n, out), n);
    if (in)
        fclose(in);
    fclose(out);
    CU_ASSERT_EQUAL(chmod(path, mode), 0);
}

static void remove_folder(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

#define REFUSED_FILE(id, code, ...)                                                                          \
    expect_refusal(path_of(folder, id), id, code, (const char *const[]){__VA_ARGS__, NULL})

static void files_are_checked(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_library *lib = NULL;
    char dir[128];

    make_folder();
    put_file("junk.so", NULL, 0644);
    put_file("beta.so", "beta", 0666);
    put_file("alpha.so", "alpha", 0644);
    snprintf(dir, sizeof(dir), "%s/folder.so", folder);
    CU_ASSERT_EQUAL(mkdir(dir, 0755), 0);
    REFUSED_FILE("junk", HD_EINVAL, "not a library", "invalid ELF header");
    REFUSED_FILE("folder", HD_EPERM, "expected a regular file");
    REFUSED_FILE("nothing", HD_ENOENT, "found no such file", "plugin_dir");
    REFUSED_FILE("beta", HD_EPERM, "only its owner writes", "mode 0666", "chmod go-w");
    CU_ASSERT_EQUAL(chmod(path_of(folder, "beta"), 0664), 0);
    CU_ASSERT_EQUAL(chown(path_of(folder, "beta"), (uid_t)-1, getegid()), 0);
    if (geteuid() == 0) { /* only root can give files away */
        CU_ASSERT_EQUAL(chown(path_of(folder, "beta"), 0, getegid() + 1), 0);
        CU_ASSERT_EQUAL(chmod(path_of(folder, "beta"), 0664), 0);
        REFUSED_FILE("beta", HD_EPERM, "only its owner writes", "mode 0664", "chmod g-w");
        CU_ASSERT_EQUAL(chown(path_of(folder, "beta"), 12345, 0), 0);
        CU_ASSERT_EQUAL(chmod(path_of(folder, "beta"), 0644), 0);
        REFUSED_FILE("beta", HD_EPERM, "expected a file of root", "found uid 12345", "chown");
    }
    expect_refusal(path_of(folder, "alpha"), "gamma", HD_EINVAL,
                   (const char *const[]){"expected a file named gamma.so", "[plugin gamma]", NULL});
    CU_ASSERT_EQUAL(hd_library_load(path_of(folder, "alpha"), "alpha", &lib, &err), HD_OK);
    CU_ASSERT_PTR_NOT_NULL(lib);
    remove_folder();
}

static void collect(void *arg, const char *id, const char *path)
{
    char *to = arg;

    CU_ASSERT_EQUAL(strncmp(path, folder, strlen(folder)), 0);
    strcat(strcat(to, id), " ");
}

static void folders_are_scanned(void)
{
    struct hd_error err = HD_ERROR_INIT;
    char found[256] = "";

    make_folder();
    put_file("two.so", NULL, 0644);
    put_file("one.so", NULL, 0644);
    put_file("notes.txt", NULL, 0644);
    put_file(".hidden.so", NULL, 0644);
    put_file("so", NULL, 0644);
    CU_ASSERT_EQUAL(hd_library_scan(folder, collect, found, &err), HD_OK);
    CU_ASSERT_STRING_EQUAL(found, "one two ");
    remove_folder();
    CU_ASSERT_EQUAL(hd_library_scan(folder, collect, found, &err), HD_ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "plugin_dir"));
}

static void ids_are_checked(void)
{
    CU_ASSERT(hd_plugin_id_ok("guard"));
    CU_ASSERT(hd_plugin_id_ok("cache-redis2"));
    CU_ASSERT(!hd_plugin_id_ok(""));
    CU_ASSERT(!hd_plugin_id_ok("2cache"));
    CU_ASSERT(!hd_plugin_id_ok("Guard"));
    CU_ASSERT(!hd_plugin_id_ok("../guard"));
    CU_ASSERT(!hd_plugin_id_ok("a234567890123456789012345678901234567890123456789"));
}

UNIT_MAIN("loader", {"good ones load", good_ones_load}, {"descriptors are checked", descriptors_are_checked},
          {"files are checked", files_are_checked}, {"folders are scanned", folders_are_scanned},
          {"ids are checked", ids_are_checked})
