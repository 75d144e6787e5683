/*
 * The dashboard's files, taken into the library by the assembler, and the answers to who asks for them; see
 * web.h. The files themselves stand in web/, and the plotting library where its package has put it.
 */
#include "web.h"

#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* ASSET(name, "file") is the bytes of the file, from name up to before name_end. */
#define ASSET(name, file)                                                                                    \
    __asm__(".section .rodata\n"                                                                             \
            ".balign 16\n" #name ":\n"                                                                       \
            ".incbin \"" file "\"\n" #name "_end:\n"                                                         \
            ".previous\n");                                                                                  \
    extern __attribute__((visibility("hidden"))) const char name[], name##_end[]

ASSET(mon_web_index, MON_WEB "/index.html");
ASSET(mon_web_colours, MON_WEB "/colours.css");
ASSET(mon_web_style, MON_WEB "/style.css");
ASSET(mon_web_icon, MON_WEB "/icon.svg");
ASSET(mon_web_theme, MON_WEB "/theme.js");
ASSET(mon_web_app, MON_WEB "/app.js");
ASSET(mon_web_alerts, MON_WEB "/alerts.js");
ASSET(mon_web_api, MON_WEB "/api.js");
ASSET(mon_web_charts, MON_WEB "/charts.js");
ASSET(mon_web_figures, MON_WEB "/figures.js");
ASSET(mon_web_format, MON_WEB "/format.js");
ASSET(mon_web_history, MON_WEB "/history.js");
ASSET(mon_web_plots, MON_WEB "/plots.js");
ASSET(mon_web_sections, MON_WEB "/sections.js");
ASSET(mon_web_servers, MON_WEB "/servers.js");
ASSET(mon_web_statements, MON_WEB "/statements.js");
ASSET(mon_web_tables, MON_WEB "/tables.js");
ASSET(mon_web_dygraph_js, MON_DYGRAPHS "/dygraph.min.js");
ASSET(mon_web_dygraph_css, MON_DYGRAPHS "/dygraph.min.css");
ASSET(mon_web_dygraph_licence, MON_DYGRAPHS_LICENCE);

#define HTML "text/html; charset=utf-8"
#define CSS  "text/css; charset=utf-8"
#define JS   "text/javascript; charset=utf-8"
#define TEXT "text/plain; charset=utf-8"

static const struct file {
    const char *path, *type, *bytes, *end;
} files[] = {
    {"", HTML, mon_web_index, mon_web_index_end},
    {"index.html", HTML, mon_web_index, mon_web_index_end},
    {"colours.css", CSS, mon_web_colours, mon_web_colours_end},
    {"style.css", CSS, mon_web_style, mon_web_style_end},
    {"icon.svg", "image/svg+xml", mon_web_icon, mon_web_icon_end},
    {"theme.js", JS, mon_web_theme, mon_web_theme_end},
    {"app.js", JS, mon_web_app, mon_web_app_end},
    {"alerts.js", JS, mon_web_alerts, mon_web_alerts_end},
    {"api.js", JS, mon_web_api, mon_web_api_end},
    {"charts.js", JS, mon_web_charts, mon_web_charts_end},
    {"figures.js", JS, mon_web_figures, mon_web_figures_end},
    {"format.js", JS, mon_web_format, mon_web_format_end},
    {"history.js", JS, mon_web_history, mon_web_history_end},
    {"plots.js", JS, mon_web_plots, mon_web_plots_end},
    {"sections.js", JS, mon_web_sections, mon_web_sections_end},
    {"servers.js", JS, mon_web_servers, mon_web_servers_end},
    {"statements.js", JS, mon_web_statements, mon_web_statements_end},
    {"tables.js", JS, mon_web_tables, mon_web_tables_end},
    {"dygraph.js", JS, mon_web_dygraph_js, mon_web_dygraph_js_end},
    {"dygraph.css", CSS, mon_web_dygraph_css, mon_web_dygraph_css_end},
    {"dygraphs-licence.txt", TEXT, mon_web_dygraph_licence, mon_web_dygraph_licence_end},
};

/* The service; the same for all instances of this process. */
static const struct hd_http_v1 *http;

static void answer(hd_http_request *request, const struct file *f)
{
    uint64_t len = (uint64_t)(f->end - f->bytes);
    struct hd_http_answer a = {.size = sizeof(a)};
    char etag[20];

    snprintf(etag, sizeof(etag), "%016llx", (unsigned long long)XXH3_64bits(f->bytes, len));
    a.flags = HD_HTTP_STATIC;
    a.type = f->type;
    a.etag = etag;
    a.body = (struct hd_str){f->bytes, len};
    http->answer(request, &a);
}

static int32_t on_request(void *arg, const struct hd_http_call *call, struct hd_error *err)
{
    (void)arg;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (call->path.len == strlen(files[i].path) &&
            !memcmp(call->path.ptr, files[i].path, call->path.len)) {
            answer(call->request, &files[i]);
            return HD_OK;
        }
    return hd_error_set(err, HD_ENOENT, "there is no such page");
}

int32_t mon_web_start(hd_host *host, struct hd_error *err)
{
    http = hd_host_api(host)->service(host, HD_SERVICE_HTTP);
    return http ? http->serve(host, "/", HD_HTTP_OPEN, on_request, NULL, err) : HD_OK;
}
