/*
 * Plugins that the loader must refuse, or that fail when they are created; one fault each, chosen by BAD_… on
 * the compiler's command line. BAD_ID is the file's name.
 */
#include "skeleton.h"

#ifdef BAD_NO_SYMBOL

extern HD_EXPORT const int not_howdah_plugin;
const int not_howdah_plugin = 1;

#elif defined(BAD_TINY)

/* A symbol of that name, but not of that kind. Clang's address sanitizer would make the symbol larger, by
 * bytes that must not be read. */
#ifdef __clang__
__attribute__((no_sanitize("address")))
#endif
const uint32_t tiny __asm__("howdah_plugin") = HD_PLUGIN_MAGIC;

#elif defined(BAD_FUNCTION)

int32_t fn(void) __asm__("howdah_plugin");
int32_t fn(void)
{
    return 0;
}

#else

struct conf {
    int64_t number;
};

static const struct hd_option table[] = {
    {"number", "1", NULL, "some number", 0, 10, HD_OPT_INT, 0,
#ifdef BAD_OPTIONS
     4096,
#else
     offsetof(struct conf, number),
#endif
     0},
};

#ifdef BAD_KIND
static const struct hd_section_kind kinds[] = {{"listener", "not mine", HD_OPTIONS(struct conf, table)}};
#endif

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)host;
    *self = NULL;
#ifdef BAD_CREATE
    strcpy(err->text, "no luck");
    return HD_EFAIL;
#else
    (void)err;
    return HD_OK;
#endif
}

static void destroy(void *self)
{
    (void)self;
}

#ifdef BAD_FILTER
static const struct hd_filter_v1 filter = {.size = 8};
#endif

#ifdef BAD_UNDEFINED
extern int32_t nobody_defines_this(void *self, const struct hd_conf *conf, struct hd_error *err);
#define START nobody_defines_this
#else
#define START check_nothing
#endif

const struct hd_plugin howdah_plugin = {
#ifdef BAD_MAGIC
    .magic = 0xdeadbeef,
#else
    .magic = HD_PLUGIN_MAGIC,
#endif
#if defined(BAD_SHORT)
    .size = 40,
#elif defined(BAD_HUGE)
    .size = 1 << 30,
#elif defined(BAD_PAST_END)
    .size = sizeof(struct hd_plugin) + 64,
#else
    .size = sizeof(struct hd_plugin),
#endif
#ifdef BAD_MAJOR
    .abi_major = HD_ABI_MAJOR + 1,
#else
    .abi_major = HD_ABI_MAJOR,
#endif
    .abi_minor = HD_ABI_MINOR,
#ifdef BAD_HOST_MINOR
    .host_minor = HD_ABI_MINOR + 1,
#else
    .host_minor = 1,
#endif
#ifdef BAD_KIND
    .section_count = 1,
    .sections = kinds,
#endif
    .id = BAD_ID,
    .version = "1",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .check = check_nothing,
    .start = START,
    .reload = reload_nothing,
#ifndef BAD_STOP
    .stop = stop_nothing,
#endif
    .destroy = destroy,
#ifdef BAD_FILTER
    .capability = filter_alone,
#endif
};

#endif
