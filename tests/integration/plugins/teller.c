/*
 * A plugin that has something to say: TELL SINKS TITLE TEXT gives it to the plugin alerts. The command may
 * have another name.
 */
#include "skeleton.h"

struct conf {
    struct hd_str command;
};

static const struct hd_option table[] = {
    {"command", "TELL", NULL, "Its name", 0, 0, HD_OPT_STRING, 0, offsetof(struct conf, command), 0}};

struct self {
    struct base base;
    const struct hd_alerts_v1 *alerts;
    void *instance;
};

static int32_t tell(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;

    if (call->arg_count != 3)
        return hd_error_set(err, HD_EINVAL, "three words are needed");
    return s->alerts->tell(s->instance, call->args[0].ptr, call->args[1].ptr, call->args[2].ptr, err);
}

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;
    const void *vtable;
    int32_t code = get_services(&s->base);

    if (!code)
        code = hd_host_api(s->base.host)
                   ->capability(s->base.host, HD_CAP_ALERTS, NULL, &vtable, &s->instance, err);
    if (code)
        return code;
    s->alerts = vtable;
    return s->base.commands->add(s->base.host, ((const struct conf *)conf->conf)->command.ptr,
                                 "SINKS TITLE TEXT", "says something", 0, tell, s, err);
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    TEST_PLUGIN_QUIET,
    .id = "teller",
    .summary = "says something",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .start = start,
    .capability = no_capability,
};
