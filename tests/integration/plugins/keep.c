/*
 * A filter that keeps the answers of reads and gives them again, whatever has been written since: for tests
 * of what a cache needs of the host. It keeps answers of texts that say so in a comment,
 *
 *     / * keep * /        (without the blanks)
 *
 * where the text's facts say that the answer hangs on tables, parameters and settings alone, outside a
 * transaction. The key is what the answer hangs on beside the tables. SHOW KEEP counts.
 */
#include "skeleton.h"

#include <stdatomic.h>
#include <strings.h>

#define MARK "/* keep */"

struct conf {
    int64_t max_bytes; /* of one answer */
};

/* Bytes that grow. */
struct bytes {
    char *p;
    size_t len, cap;
};

struct entry {
    struct entry *next;
    struct bytes key, describe, rows;
};

struct self {
    struct base base;
    _Atomic int64_t max_bytes;
    struct entry *entries; /* guarded by lock; never taken out before the end */
    _Atomic int64_t hits, misses, stored, dropped, passed, settings_read;
};

/* What a session has made of its settings. */
struct session {
    uint64_t settings_id, defaults_id;
    struct bytes settings;
};

/* An execution whose answer is being kept. */
struct capture {
    struct bytes key, answer;
    int described, too_long;
};

static const struct hd_option table[] = {
    {"max_bytes", "1M", NULL, "longest answer that is kept", 0, 1e9, HD_OPT_SIZE, HD_OPTF_RELOADABLE,
     offsetof(struct conf, max_bytes), 0},
};

static void add(struct bytes *b, const void *p, size_t len)
{
    if (b->len + len > b->cap) {
        size_t cap = (b->len + len) * 2;
        char *grown = realloc(b->p, cap);

        if (!grown)
            abort();
        b->p = grown;
        b->cap = cap;
    }
    if (len)
        memcpy(b->p + b->len, p, len);
    b->len += len;
}

static void add_number(struct bytes *b, uint64_t n)
{
    add(b, &n, sizeof(n));
}

static void add_str(struct bytes *b, struct hd_str s)
{
    add_number(b, s.len);
    add(b, s.ptr, s.len);
}

static int same(const struct bytes *a, const struct bytes *b)
{
    return a->len == b->len && !memcmp(a->p, b->p, a->len);
}

/* --- keys ---------------------------------------------------------------------------------------------- */

static void add_settings(struct bytes *to, const struct hd_session_setting *some, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!strcasecmp(some[i].name, "application_name"))
            continue;
        add(to, some[i].name, strlen(some[i].name) + 1);
        add(to, some[i].value, strlen(some[i].value) + 1);
    }
    add(to, "", 1);
}

/* Everything that the session has set, but for what it calls itself; and what it has not. */
static void read_settings(struct self *s, struct session *session, const struct hd_statement *st)
{
    session->settings.len = 0;
    add_settings(&session->settings, st->settings, st->setting_count);
    add_settings(&session->settings, st->defaults, st->default_count);
    session->settings_id = st->settings_id;
    session->defaults_id = st->defaults_id;
    s->settings_read++;
}

static struct bytes make_key(struct self *s, const struct hd_statement *st)
{
    struct session *session = st->session_state;
    struct bytes key = {0};

    if (session->settings_id != st->settings_id || session->defaults_id != st->defaults_id)
        read_settings(s, session, st);
    add_number(&key, st->flags & (HD_STMT_EXTENDED | HD_STMT_DESCRIBED));
    add_str(&key, st->node);
    add_str(&key, st->dbname);
    add_str(&key, st->user);
    add_str(&key, st->sql);
    add(&key, session->settings.p, session->settings.len);
    for (uint32_t i = 0; i < st->param_count; i++) {
        add_number(&key, st->params[i].type);
        add_number(&key, st->params[i].format);
        add_number(&key, st->params[i].data != NULL);
        add_str(&key, (struct hd_str){(const char *)st->params[i].data, st->params[i].len});
    }
    add_number(&key, st->result_format_count);
    add(&key, st->result_formats, st->result_format_count * sizeof(st->result_formats[0]));
    return key;
}

/* --- answers ------------------------------------------------------------------------------------------- */

static uint32_t length_at(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* Takes an answer apart; 0 where it is not one of rows that came to its end. */
static int sort_out(const struct capture *c, struct entry *e)
{
    int ended = 0, described = 0;

    for (size_t at = 0; at + 5 <= c->answer.len;) {
        const char *m = c->answer.p + at;
        size_t len = 1 + (size_t)length_at(m + 1);

        if (at + len > c->answer.len)
            return 0;
        at += len;
        switch (*m) {
        case 'T':
            add(&e->describe, m, len);
            described++;
            break;
        case 'D':
            add(&e->rows, m, len);
            break;
        case 'C':
            add(&e->rows, m, len);
            ended++;
            break;
        case 'N': /* what comes by the way is for those who were there */
        case 'S':
        case 'A':
        case 'Z':
            break;
        default:
            return 0;
        }
    }
    return ended == 1 && described == c->described;
}

static void free_entry(struct entry *e)
{
    free(e->key.p);
    free(e->describe.p);
    free(e->rows.p);
    free(e);
}

static void keep(struct self *s, struct capture *c)
{
    struct entry *e = calloc(1, sizeof(*e));

    if (!e)
        abort();
    if (!sort_out(c, e)) {
        s->dropped++;
        free_entry(e);
        return;
    }
    e->key = c->key;
    c->key = (struct bytes){0};
    pthread_mutex_lock(&s->base.lock);
    e->next = s->entries;
    s->entries = e;
    pthread_mutex_unlock(&s->base.lock);
    s->stored++;
}

static const struct entry *find(struct self *s, const struct bytes *key)
{
    const struct entry *e;

    pthread_mutex_lock(&s->base.lock);
    for (e = s->entries; e && !same(&e->key, key); e = e->next)
        ;
    pthread_mutex_unlock(&s->base.lock);
    return e;
}

/* --- the filter ---------------------------------------------------------------------------------------- */

static int32_t plan(void *self, void *ws, const hd_template *t, struct hd_plan *out)
{
    const uint64_t not_these = HD_FACT_UNSURE | HD_FACT_UNSURE_FUNCTION | HD_FACT_WRITES | HD_FACT_LOCKS |
                               HD_FACT_VOLATILE | HD_FACT_OUTSIDE | HD_FACT_SESSION | HD_FACT_MULTI;
    struct self *s = self;
    struct hd_template_info info = {.size = sizeof(info)};

    (void)ws;
    if (s->base.template->info(t, &info) == HD_OK && info.kinds == HD_KIND_BIT(SELECT) && info.tables &&
        !(info.facts & not_these))
        out->want = HD_WANT_DECIDE | HD_WANT_REPLACE | HD_WANT_DATA | HD_WANT_COMPLETE;
    return HD_OK;
}

static void *session_open(void *self, void *ws, uint64_t id, struct hd_str database, struct hd_str user)
{
    (void)self;
    (void)ws;
    (void)id;
    (void)database;
    (void)user;
    return calloc(1, sizeof(struct session));
}

static void session_close(void *self, void *ws, void *state)
{
    struct session *session = state;

    (void)self;
    (void)ws;
    if (session)
        free(session->settings.p);
    free(session);
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    struct self *s = self;
    const struct entry *e;
    struct bytes key;
    struct capture *c;

    (void)ws;
    (void)plan;
    if (!after_mark(st, MARK))
        return HD_OK;
    if (!st->session_state || st->txn != HD_TX_IDLE ||
        (st->flags & (HD_STMT_LIMITED | HD_STMT_SETTINGS_UNSURE | HD_STMT_TEMP))) {
        s->passed++;
        return HD_OK;
    }
    key = make_key(s, st);
    e = find(s, &key);
    if (e) {
        s->hits++;
        v->kind = HD_VERDICT_ANSWER;
        v->describe = (struct hd_str){e->describe.p, e->describe.len};
        v->bytes = (struct hd_str){e->rows.p, e->rows.len};
        free(key.p);
        return HD_OK;
    }
    s->misses++;
    c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->key = key;
    c->described = (st->flags & HD_STMT_DESCRIBED) != 0;
    *st->slot = c;
    return HD_OK;
}

static void on_data(void *self, void *ws, void *plan, const struct hd_statement *st, struct hd_str bytes)
{
    struct self *s = self;
    struct capture *c = *st->slot;

    (void)ws;
    (void)plan;
    if (!c || c->too_long)
        return;
    if (c->answer.len + bytes.len > (uint64_t)s->max_bytes)
        c->too_long = 1;
    else
        add(&c->answer, bytes.ptr, bytes.len);
}

static void complete(void *self, void *ws, void *plan, const struct hd_statement *st,
                     const struct hd_outcome *o)
{
    struct self *s = self;
    struct capture *c = *st->slot;

    (void)ws;
    (void)plan;
    if (!c)
        return;
    if (o->failed || o->answered_by || c->too_long)
        s->dropped++;
    else
        keep(s, c);
    free(c->key.p);
    free(c->answer.p);
    free(c);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .session_open = session_open,
    .session_close = session_close,
    .plan = plan,
    .statement = statement,
    .data = on_data,
    .complete = complete,
};

/* --- SHOW KEEP ----------------------------------------------------------------------------------------- */

static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    const struct hd_commands_v1 *c = s->base.commands;
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"hits", s->hits},       {"misses", s->misses}, {"stored", s->stored},
                  {"dropped", s->dropped}, {"passed", s->passed}, {"settings_read", s->settings_read}};

    (void)err;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        c->column(call->result, counts[i].name, HD_COL_INT);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        c->integer(call->result, counts[i].value);
    return HD_OK;
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static void reload(void *self, const struct hd_conf *conf)
{
    ((struct self *)self)->max_bytes = ((const struct conf *)conf->conf)->max_bytes;
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;

    reload(self, conf);
    if (get_services(&s->base))
        return HD_EVERSION;
    return s->base.commands->add(s->base.host, "SHOW KEEP", "", "what the test plugin has kept",
                                 HD_CMDF_READ_ONLY, show, s, err);
}

static void destroy(void *self)
{
    struct self *s = self;

    while (s->entries) {
        struct entry *e = s->entries;

        s->entries = e->next;
        free_entry(e);
    }
    free_self(s);
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    .id = "keep",
    .summary = "keeps answers",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .check = check_nothing,
    .start = start,
    .reload = reload,
    .stop = stop_nothing,
    .destroy = destroy,
    .capability = filter_alone,
};
