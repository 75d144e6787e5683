/*
 * The bus as people see it: SHOW EVENTS, SHOW TOPICS, and what an event of the host's topics says in one
 * line.
 */
#include "plug/bus.h"

#include "plug/commands.h"

#include <inttypes.h>
#include <string.h>

/* A text member, which its publisher may have forgotten to close. */
#define TEXT(member) (int)strnlen((member), sizeof(member)), (member)

static void session_text(struct hd_strbuf *out, const struct hd_event_session *e, const char *what)
{
    hd_strbuf_printf(out, "session %" PRIu64 " of %.*s on %.*s %s", e->session_id, TEXT(e->user),
                     TEXT(e->database), what);
}

static void statements_text(struct hd_strbuf *out, const struct hd_event_statements *e)
{
    hd_strbuf_printf(out,
                     "statement %016" PRIx64 " on %.*s: %" PRIu64 " calls, %" PRIu64 " errors, %" PRIu64
                     " rows, mean %.3f ms, max %.3f ms",
                     e->fingerprint, TEXT(e->database), e->calls, e->errors, e->rows,
                     e->calls ? (double)e->total_ns / (double)e->calls / 1e6 : 0.0, (double)e->max_ns / 1e6);
}

static void refused_text(struct hd_strbuf *out, const struct hd_event_refused *e)
{
    hd_strbuf_printf(out, "%.*s %s statement %016" PRIx64 " of %.*s on %.*s by %.*s (%.*s)", TEXT(e->plugin),
                     e->observed ? "would have refused" : "refused", e->fingerprint, TEXT(e->user),
                     TEXT(e->database), TEXT(e->rule), TEXT(e->sqlstate));
}

static void ddl_text(struct hd_strbuf *out, const struct hd_event_ddl *e)
{
    hd_strbuf_printf(out, "%.*s on %.*s, session %" PRIu64, TEXT(e->tag), TEXT(e->database), e->session_id);
}

static void node_text(struct hd_strbuf *out, const struct hd_event_node *e)
{
    hd_strbuf_printf(out, "node %.*s is %s", TEXT(e->node), e->up ? "up" : "down");
    if (e->reason[0])
        hd_strbuf_printf(out, ": %.*s", TEXT(e->reason));
}

static void reload_text(struct hd_strbuf *out, const struct hd_event_reload *e)
{
    if (e->ok)
        hd_strbuf_puts(out, "a new configuration is in force");
    else
        hd_strbuf_printf(out, "a new configuration was refused: %.*s", TEXT(e->reason));
}

static void plugin_text(struct hd_strbuf *out, const struct hd_event_plugin *e)
{
    hd_strbuf_printf(out, "plugin %.*s is %.*s", TEXT(e->plugin), TEXT(e->state));
    if (e->reason[0])
        hd_strbuf_printf(out, ": %.*s", TEXT(e->reason));
}

void hd_bus_event_text(struct hd_strbuf *out, int topic, const void *data)
{
    switch (topic) {
    case HD_BUS_SESSION_OPENED:
        session_text(out, data, "opened");
        break;
    case HD_BUS_SESSION_CLOSED:
        session_text(out, data, "closed");
        break;
    case HD_BUS_STATEMENT_FINISHED:
        statements_text(out, data);
        break;
    case HD_BUS_STATEMENT_REFUSED:
        refused_text(out, data);
        break;
    case HD_BUS_DDL_OBSERVED:
        ddl_text(out, data);
        break;
    case HD_BUS_NODE_HEALTH:
        node_text(out, data);
        break;
    case HD_BUS_CONFIG_RELOADED:
        reload_text(out, data);
        break;
    case HD_BUS_PLUGIN_STATE:
        plugin_text(out, data);
        break;
    case HD_BUS_HOST_RETIRING:
        hd_strbuf_puts(out, "another host serves");
        break;
    }
}

static void show_event(void *arg, int topic, const char *name, int64_t wall_us, const void *data)
{
    struct hd_strbuf text = HD_STRBUF_INIT;
    hd_result *r = arg;

    hd_bus_event_text(&text, topic, data);
    hd_result_integer(r, wall_us);
    hd_result_cstr(r, name);
    hd_result_cstr(r, hd_strbuf_str(&text));
    hd_strbuf_free(&text);
}

static int32_t show_events(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)err;
    hd_result_columns(call->result, "time", HD_COL_TIME, "topic", HD_COL_TEXT, "event", HD_COL_TEXT, NULL);
    hd_bus_history(arg, show_event, call->result);
    return HD_OK;
}

static int32_t show_topics(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result *r = call->result;
    struct hd_bus_topic_stats s;

    (void)err;
    hd_result_columns(r, "topic", HD_COL_TEXT, "overflow", HD_COL_TEXT, "bytes", HD_COL_INT, "published",
                      HD_COL_INT, "delivered", HD_COL_INT, "dropped", HD_COL_INT, "marks", HD_COL_INT,
                      "subscribers", HD_COL_INT, NULL);
    for (int i = 1; hd_bus_topic_stats(arg, i, &s) == HD_OK; i++) {
        hd_result_cstr(r, s.name);
        hd_result_cstr(r, s.overflow == HD_TOPIC_LOSSY ? "lossy" : "must-know");
        hd_result_integer(r, s.data_size);
        hd_result_integer(r, (int64_t)s.published);
        hd_result_integer(r, (int64_t)s.delivered);
        hd_result_integer(r, (int64_t)s.dropped);
        hd_result_integer(r, (int64_t)s.marks);
        hd_result_integer(r, (int64_t)s.subscribers);
    }
    return HD_OK;
}

int hd_bus_add_commands(struct hd_bus *bus, struct hd_commands *commands, struct hd_error *err)
{
    int code = hd_commands_add(commands, NULL, "SHOW EVENTS", "", "The last events on the bus, oldest first",
                               HD_CMDF_READ_ONLY, show_events, bus, err);

    return code ? code
                : hd_commands_add(commands, NULL, "SHOW TOPICS", "", "What went over the bus, by topic",
                                  HD_CMDF_READ_ONLY, show_topics, bus, err);
}
