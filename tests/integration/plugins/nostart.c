/*
 * A plugin that loads, is created and takes every configuration, and then does not start: for what a host
 * does when only the last step of a change fails.
 */
#include "skeleton.h"

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self;
    (void)conf;
    strcpy(err->text, "not today");
    return err->code = HD_EFAIL;
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,      TEST_PLUGIN_QUIET,     .id = "nostart", .summary = "does not start",
    .options = NO_OPTIONS, .create = create_base, .start = start,
};
