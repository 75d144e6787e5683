/*
 * Answers in the stead of plugins that do not run: which plugin it is, its state, and why.
 */
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/plugins.h"

#include <string.h>

int hd_http_is_down(struct http_request *rq, const char *plugin, int may_say_why)
{
    struct hd_plugin_info info;

    if (!plugin || hd_plugins_get(rq->engine->http->rt->parts.plugins, plugin, &info) ||
        !strcmp(info.state, "running") || !strcmp(info.state, "observing") ||
        !strcmp(info.state, "available"))
        return 0;
    if (!may_say_why)
        info.reason = "";
    hd_http_problem(rq, MHD_HTTP_SERVICE_UNAVAILABLE, "the plugin %s, which has this, is %s%s%s", plugin,
                    info.state, info.reason[0] ? ": " : "", info.reason);
    return 1;
}
