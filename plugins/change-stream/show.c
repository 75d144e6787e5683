/*
 * What streams are doing: SHOW STREAMS, metrics, and info() for consumers.
 */
#include "stream.h"

#include <stdio.h>
#include <string.h>

static uint64_t lag_of(const struct stream *s)
{
    uint64_t there = atomic_load(&s->server_lsn), here = atomic_load(&s->position);

    return here && there > here ? there - here : 0;
}

static const char *state_name(const struct stream *s)
{
    switch (atomic_load(&s->state)) {
    case HD_STREAM_RUNNING:
        return "running";
    case HD_STREAM_STOPPED:
        return "stopped";
    default:
        return "starting";
    }
}

/* --- info() -------------------------------------------------------------------------------------------- */

int32_t cs_info(hd_stream *h, struct hd_stream_info *out)
{
    const struct stream *s = h->stream;
    struct hd_stream_info info = {
        .state = atomic_load(&h->running) ? HD_STREAM_RUNNING : HD_STREAM_STARTING,
        .flags = atomic_load(&s->tells_ddl) ? HD_STREAM_TELLS_DDL : 0,
        .unsettled = atomic_load(&s->unsettled_count),
        .position = atomic_load(&h->running) ? atomic_load(&s->position) : 0,
        .server_lsn = atomic_load(&s->server_lsn),
        .held_bytes = atomic_load(&s->held),
        .commits = atomic_load(&s->commits),
        .changes = atomic_load(&s->changes),
        .restarts = atomic_load(&s->restarts),
        .system = atomic_load(&s->system),
        .timeline = atomic_load(&s->timeline),
    };
    uint32_t size = out->size < sizeof(info) ? out->size : (uint32_t)sizeof(info);

    if (size < sizeof(uint32_t))
        return HD_EINVAL;
    memcpy((char *)out + sizeof(uint32_t), (const char *)&info + sizeof(uint32_t), size - sizeof(uint32_t));
    return HD_OK;
}

/* --- SHOW STREAMS -------------------------------------------------------------------------------------- */

static void text_cell(const struct hd_commands_v1 *c, hd_result *r, const char *text)
{
    c->text(r, (struct hd_str){text, strlen(text)});
}

static void lsn_cell(const struct hd_commands_v1 *c, hd_result *r, uint64_t lsn)
{
    char text[24];

    snprintf(text, sizeof(text), "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    if (lsn)
        text_cell(c, r, text);
    else
        c->null(r);
}

static const struct {
    const char *name;
    uint32_t type;
} columns[] = {
    {"node", HD_COL_TEXT},     {"database", HD_COL_TEXT}, {"state", HD_COL_TEXT},
    {"position", HD_COL_TEXT}, {"lag_bytes", HD_COL_INT}, {"held_bytes", HD_COL_INT},
    {"tables", HD_COL_INT},    {"unsettled", HD_COL_INT}, {"commits", HD_COL_INT},
    {"changes", HD_COL_INT},   {"restarts", HD_COL_INT},  {"checks", HD_COL_INT},
    {"questions", HD_COL_INT}, {"flushes", HD_COL_INT},   {"tells_ddl", HD_COL_BOOL},
    {"reason", HD_COL_TEXT},
};

static void show_stream(const struct hd_commands_v1 *c, hd_result *r, struct stream *s)
{
    char reason[sizeof(s->reason)];

    pthread_mutex_lock(&s->lock);
    snprintf(reason, sizeof(reason), "%s", atomic_load(&s->state) == HD_STREAM_RUNNING ? "" : s->reason);
    pthread_mutex_unlock(&s->lock);
    text_cell(c, r, s->node);
    text_cell(c, r, s->dbname);
    text_cell(c, r, state_name(s));
    lsn_cell(c, r, atomic_load(&s->position));
    c->integer(r, (int64_t)lag_of(s));
    c->integer(r, (int64_t)atomic_load(&s->held));
    c->integer(r, cs_cover_count(s));
    c->integer(r, atomic_load(&s->unsettled_count));
    c->integer(r, (int64_t)atomic_load(&s->commits));
    c->integer(r, (int64_t)atomic_load(&s->changes));
    c->integer(r, (int64_t)atomic_load(&s->restarts));
    c->integer(r, (int64_t)atomic_load(&s->checks));
    c->integer(r, (int64_t)atomic_load(&s->questions));
    c->integer(r, (int64_t)atomic_load(&s->flushes));
    c->integer(r, atomic_load(&s->tells_ddl));
    text_cell(c, r, reason);
}

int32_t cs_show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct plugin *p = arg;

    (void)err;
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        p->commands->column(call->result, columns[i].name, columns[i].type);
    pthread_mutex_lock(&p->lock);
    for (struct stream *s = p->streams; s; s = s->next)
        show_stream(p->commands, call->result, s);
    pthread_mutex_unlock(&p->lock);
    return HD_OK;
}

/* --- metrics ------------------------------------------------------------------------------------------- */

static int64_t metric(struct stream *s, uint32_t type, const char *name, const char *help)
{
    const struct hd_label labels[] = {{"node", s->node}, {"database", s->dbname}};

    return s->plugin->metrics->get(s->plugin->host, type, name, help, labels, 2);
}

void cs_metrics_find(struct stream *s)
{
    s->m_running = metric(s, HD_METRIC_GAUGE, "howdah_stream_running", "1 while the change stream runs");
    s->m_lag = metric(s, HD_METRIC_GAUGE, "howdah_stream_lag_bytes",
                      "Of the server's log, what the change stream has not told yet");
    s->m_held = metric(s, HD_METRIC_GAUGE, "howdah_stream_held_bytes",
                       "Of its log, what the server keeps for the change stream");
    s->m_commits = metric(s, HD_METRIC_COUNTER, "howdah_stream_commits_total", "Transactions told");
    s->m_changes = metric(s, HD_METRIC_COUNTER, "howdah_stream_changes_total", "Changed rows told");
    s->m_restarts = metric(s, HD_METRIC_COUNTER, "howdah_stream_restarts_total", "Gaps in the change stream");
    s->m_checks = metric(s, HD_METRIC_COUNTER, "howdah_stream_checks_total", "Checks asked for");
    s->m_check_seconds =
        metric(s, HD_METRIC_SKETCH, "howdah_stream_check_seconds", "Time from a check's call to its end");
}

/* Brings a counter up to what was counted. */
static void catch_up(struct stream *s, int64_t id, uint64_t *told, uint64_t now)
{
    if (now != *told)
        s->plugin->metrics->add(s->plugin->host, id, (int64_t)(now - *told));
    *told = now;
}

static void part_name(const struct stream *s, char *out, size_t cap)
{
    snprintf(out, cap, "stream %s %s", s->node, s->dbname);
}

/* Tells the host how the stream is, when that has changed. */
static void tell_health(struct stream *s)
{
    uint32_t state = atomic_load(&s->state);
    char name[64], reason[sizeof(s->reason)];

    if (state + 1 == s->told_state)
        return;
    s->told_state = state + 1;
    pthread_mutex_lock(&s->lock);
    snprintf(reason, sizeof(reason), "%s", s->reason);
    pthread_mutex_unlock(&s->lock);
    part_name(s, name, sizeof(name));
    s->plugin->health->set(s->plugin->host, name, state_name(s), state == HD_STREAM_RUNNING,
                           state == HD_STREAM_RUNNING ? NULL : reason);
}

void cs_health_end(struct stream *s)
{
    char name[64];

    part_name(s, name, sizeof(name));
    s->plugin->health->drop(s->plugin->host, name);
}

void cs_metrics_set(struct stream *s)
{
    struct plugin *p = s->plugin;
    uint64_t now = cs_now();

    if (now - s->metrics_ns < UINT64_C(200) * NS_PER_MS)
        return;
    s->metrics_ns = now;
    tell_health(s);
    p->metrics->set(p->host, s->m_running, atomic_load(&s->state) == HD_STREAM_RUNNING);
    p->metrics->set(p->host, s->m_lag, (int64_t)lag_of(s));
    p->metrics->set(p->host, s->m_held, (int64_t)atomic_load(&s->held));
    catch_up(s, s->m_commits, &s->told_commits, atomic_load(&s->commits));
    catch_up(s, s->m_changes, &s->told_rows, atomic_load(&s->changes));
    catch_up(s, s->m_restarts, &s->told_restarts, atomic_load(&s->restarts));
    catch_up(s, s->m_checks, &s->told_checks, atomic_load(&s->checks));
}
