/*
 * The public headers' layout, frozen: every struct's size, every member's place and type, every number. What
 * was released must never move, because plugins that were built with it are still around. Most of this is
 * checked by the compiler; sdk/check/layout.py tells how sdk_layout.h is made.
 */
#include "unit.h"

#include <howdah/howdah.h>
#include <stddef.h>
#include <string.h>

#define SIZE(name, bytes) _Static_assert(sizeof(struct name) == (bytes), "size of struct " #name);
#define AT(name, member, offset, ...)                                                                        \
    _Static_assert(offsetof(struct name, member) == (offset), "offset of " #name "." #member);               \
    _Static_assert(_Generic(&((struct name *)0)->member, __typeof__(__VA_ARGS__) * : 1, default : 0),        \
                   "type of " #name "." #member);
#define VALUE(name, value) _Static_assert((long long)(name) == (value), "value of " #name);
#include "sdk_layout.h"
#undef SIZE
#undef AT
#undef VALUE

/* The same again as data, for what the compiler cannot say: that members fill their struct. */
struct extent {
    const char *name;
    size_t size;
    size_t end; /* of the last member */
};

#define SIZE(name, bytes)             {#name, bytes, 0},
#define AT(name, member, offset, ...) {#name, 0, (offset) + sizeof(((struct name *)0)->member)},
#define VALUE(name, value)
static const struct extent extents[] = {
#include "sdk_layout.h"
};

/* No struct ends in padding, which would make a member that is added later invisible to its size. */
static void members_fill_their_structs(void)
{
    const size_t n = sizeof(extents) / sizeof(extents[0]);

    for (size_t i = 0; i < n; i++) {
        size_t end = 0, first = i;

        while (i + 1 < n && !extents[i + 1].size)
            end = extents[++i].end;
        CU_ASSERT_EQUAL(end, extents[first].size);
    }
}

/* The host looks for the magic and the size before it knows which ABI it reads, so these two never move. */
static void descriptor_begins_as_ever(void)
{
    const uint32_t magic = HD_PLUGIN_MAGIC;

    CU_ASSERT_EQUAL(offsetof(struct hd_plugin, magic), 0);
    CU_ASSERT_EQUAL(offsetof(struct hd_plugin, size), 4);
    CU_ASSERT_EQUAL(memcmp(&magic, "HDWH", 4), 0);
}

static void macros_fill_heads(void)
{
    static const struct hd_option table[] = {{"a", NULL, NULL, "", 0, 0, HD_OPT_BOOL, 0, 0, 0}};
    const struct hd_options options = HD_OPTIONS(struct hd_str, table);
    const struct hd_plugin plugin = {HD_PLUGIN_HEAD, .id = "x"};
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(options.size, sizeof(struct hd_options));
    CU_ASSERT_EQUAL(options.stride, sizeof(struct hd_option));
    CU_ASSERT_EQUAL(options.count, 1);
    CU_ASSERT_EQUAL(options.conf_size, sizeof(struct hd_str));
    CU_ASSERT_EQUAL(plugin.magic, HD_PLUGIN_MAGIC);
    CU_ASSERT_EQUAL(plugin.size, sizeof(struct hd_plugin));
    CU_ASSERT_EQUAL(plugin.abi_major, HD_ABI_MAJOR);
    CU_ASSERT_EQUAL(err.size, sizeof(struct hd_error));
    CU_ASSERT_EQUAL(err.text[0], 0);
}

UNIT_MAIN("sdk_headers", {"descriptor begins as ever", descriptor_begins_as_ever},
          {"members fill their structs", members_fill_their_structs},
          {"macros fill heads", macros_fill_heads})
