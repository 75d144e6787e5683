/*
 * A plugin that loads, is created and takes every configuration, and then does not start: for what a host
 * does when only the last step of a change fails.
 */
#include <howdah/howdah.h>

#include <string.h>

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)host;
    (void)err;
    *self = NULL;
    return HD_OK;
}

static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self;
    (void)conf;
    (void)err;
    return HD_OK;
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self;
    (void)conf;
    strcpy(err->text, "not today");
    return err->code = HD_EFAIL;
}

static void reload(void *self, const struct hd_conf *conf)
{
    (void)self;
    (void)conf;
}

static int32_t stop(void *self)
{
    (void)self;
    return HD_OK;
}

static void destroy(void *self)
{
    (void)self;
}

static const void *capability(const char *name)
{
    (void)name;
    return NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "nostart",
    .version = "1",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "does not start",
    .options = {.size = sizeof(struct hd_options)},
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
