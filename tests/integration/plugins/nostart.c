/*
 * A plugin that loads, is created and takes every configuration, and then does not start: for what a host
 * does when only the last step of a change fails.
 */
#include "skeleton.h"

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct base), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self;
    (void)conf;
    strcpy(err->text, "not today");
    return err->code = HD_EFAIL;
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    .id = "nostart",
    .summary = "does not start",
    .options = {.size = sizeof(struct hd_options)},
    .create = create,
    .check = check_nothing,
    .start = start,
    .reload = reload_nothing,
    .stop = stop_nothing,
    .destroy = free_self,
};
