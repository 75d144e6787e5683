/*
 * A filter that does what the statement says: for tests of the host with real clients. A comment
 *
 *     / * verdict: WORD [ARGUMENTS] * /        (without the blanks)
 *
 * anywhere in the text chooses one of
 *
 *     refuse SQLSTATE MESSAGE      answer TEXT            one row, one column
 *     rewrite STATEMENT            done TAG               CommandComplete and no row
 *     route NODE                   echo                   answers with the first parameter
 *     fail                         slow MS                blocks, then goes on
 *     crash segv|abort|exit|stack  takes the host with it
 *     thread MS VERDICT            timer MS VERDICT       parks; resumed from a thread of the plugin's own,
 * or from a timer on the worker's loop, with that verdict never [MS]                   parks and never
 * resumes; MS is a deadline of its own twice MS VERDICT             like thread, but resumes twice
 *
 * Any other text goes on. SHOW VERDICTS counts what was called, and what was open and is closed.
 */
#include "skeleton.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define MARK     "/* verdict: "
#define TEXT_MAX 1024

struct conf {
    int32_t data;   /* look at the answers' bytes too */
    int32_t before; /* complete() before the client sees the end */
};

/* A park that is to be resumed; on the thread's list, or a timer's argument. */
struct later {
    struct later *next;
    struct self *self;
    uint64_t handle;
    uint64_t due_ms; /* monotonic */
    int times;
    hd_timer *timer;
    char text[TEXT_MAX]; /* the verdict's own */
};

struct self {
    struct base base;
    uint32_t want;
    pthread_t thread;
    pthread_cond_t wake;
    struct later *list; /* guarded by lock, like `ending` */
    int ending, running;
    _Atomic int64_t sessions, statements, completes, failures, datas, bytes, rows, resumed, late, released;
    char last_sqlstate[8]; /* guarded by lock */
};

static const struct hd_option table[] = {
    {"data", "no", NULL, "look at the bytes of answers", 0, 0, HD_OPT_BOOL, HD_OPTF_RELOADABLE,
     offsetof(struct conf, data), 0},
    {"before", "no", NULL, "complete before the client sees the end", 0, 0, HD_OPT_BOOL, HD_OPTF_RELOADABLE,
     offsetof(struct conf, before), 0},
};

/* --- verdicts from words ------------------------------------------------------------------------------- */

/* Bytes of a verdict, let go when the host is done with them. */
struct owned {
    struct self *self;
    size_t len, describe_len;
    char bytes[TEXT_MAX + 128];
};

static void release(void *arg)
{
    struct owned *o = arg;

    o->self->released++;
    free(o);
}

static void put_u16(struct owned *o, unsigned v)
{
    o->bytes[o->len++] = (char)(v >> 8);
    o->bytes[o->len++] = (char)v;
}

static void put_u32(struct owned *o, unsigned v)
{
    put_u16(o, v >> 16);
    put_u16(o, v & 0xffff);
}

static void put(struct owned *o, const void *bytes, size_t len)
{
    memcpy(o->bytes + o->len, bytes, len);
    o->len += len;
}

static void put_complete(struct owned *o, const char *tag)
{
    put(o, "C", 1);
    put_u32(o, (unsigned)(4 + strlen(tag) + 1));
    put(o, tag, strlen(tag) + 1);
}

static void put_row(struct owned *o, const char *text, size_t len)
{
    put(o, "T", 1); /* one column named "verdict", of type text */
    put_u32(o, 4 + 2 + 8 + 18);
    put_u16(o, 1);
    put(o, "verdict", 8);
    put_u32(o, 0);
    put_u16(o, 0);
    put_u32(o, 25);
    put_u16(o, 0xffff);
    put_u32(o, 0xffffffff);
    put_u16(o, 0);
    o->describe_len = o->len;
    put(o, "D", 1);
    put_u32(o, (unsigned)(4 + 2 + 4 + len));
    put_u16(o, 1);
    put_u32(o, (unsigned)len);
    put(o, text, len);
    put_complete(o, "SELECT 1");
}

static int32_t answer(struct self *s, struct hd_verdict *v, const char *row, size_t len, const char *tag)
{
    struct owned *o = calloc(1, sizeof(*o));

    if (!o)
        return HD_ENOMEM;
    o->self = s;
    if (row)
        put_row(o, row, len);
    else
        put_complete(o, tag);
    v->kind = HD_VERDICT_ANSWER;
    v->describe = (struct hd_str){o->bytes, o->describe_len};
    v->bytes = (struct hd_str){o->bytes + o->describe_len, o->len - o->describe_len};
    v->release = release;
    v->release_arg = o;
    return HD_OK;
}

/* The word that `text` starts with? Then what follows it. */
static char *after(char *text, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(text, word, n) || (text[n] && text[n] != ' '))
        return NULL;
    return text[n] ? text + n + 1 : text + n;
}

static int32_t refuse(struct hd_verdict *v, char *text)
{
    size_t n = strcspn(text, " ");

    v->kind = HD_VERDICT_REFUSE;
    memcpy(v->sqlstate, text, n < 5 ? n : 5);
    text += text[n] ? n + 1 : n;
    v->message = (struct hd_str){text, strlen(text)};
    v->hint = (struct hd_str){"the test wants it so", 20};
    return HD_OK;
}

static volatile char hole[1 << 14];

/* Until there is no more stack. */
static int run_over(int depth)
{
    volatile char room[1 << 12];

    room[0] = (char)depth;
    hole[depth % (1 << 14)] = room[0];
    return depth < 1 << 30 ? run_over(depth + 1) + room[0] : 0;
}

static void crash(const char *how)
{
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "exit"))
        exit(3);
    if (!strcmp(how, "stack"))
        hole[0] = (char)run_over(0);
    *(volatile int *)(uintptr_t)(hole[1] + 8) = 1;
}

/* Verdicts that need no park. `text` lives as long as the verdict. */
static int32_t plain_verdict(struct self *s, char *text, struct hd_verdict *v)
{
    char *rest;

    if ((rest = after(text, "refuse")))
        return refuse(v, rest);
    if ((rest = after(text, "crash")))
        crash(rest);
    if ((rest = after(text, "answer")))
        return answer(s, v, rest, strlen(rest), NULL);
    if ((rest = after(text, "done")))
        return answer(s, v, NULL, 0, rest);
    if ((rest = after(text, "rewrite")) || (rest = after(text, "route"))) {
        v->kind = text[1] == 'e' ? HD_VERDICT_REWRITE : HD_VERDICT_ROUTE;
        v->text = (struct hd_str){rest, strlen(rest)};
    }
    return HD_OK;
}

/* --- parks --------------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Resumes and frees `l`. */
static void resume(struct later *l)
{
    struct self *s = l->self;

    for (int i = 0; i < l->times; i++) {
        struct hd_verdict v = {.size = sizeof(v)};

        if (plain_verdict(s, l->text, &v) == HD_OK &&
            s->base.statement->resume(s->base.host, l->handle, &v) == HD_OK) {
            s->resumed++;
        } else {
            s->late++;
            if (v.release)
                v.release(v.release_arg); /* the host has not taken it */
        }
    }
    free(l);
}

static struct later *take_due(struct self *s)
{
    uint64_t now = now_ms();

    for (struct later **at = &s->list; *at; at = &(*at)->next)
        if ((*at)->due_ms <= now) {
            struct later *l = *at;

            *at = l->next;
            return l;
        }
    return NULL;
}

static void *run(void *arg)
{
    struct self *s = arg;

    pthread_mutex_lock(&s->base.lock);
    while (!s->ending) {
        struct later *l = take_due(s);
        struct timespec until;

        if (l) {
            pthread_mutex_unlock(&s->base.lock);
            resume(l);
            pthread_mutex_lock(&s->base.lock);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (s->list)
            pthread_cond_timedwait(&s->wake, &s->base.lock, &until);
        else
            pthread_cond_wait(&s->wake, &s->base.lock);
    }
    pthread_mutex_unlock(&s->base.lock);
    return NULL;
}

static void on_timer(void *arg)
{
    struct later *l = arg;

    l->self->base.loop->untimer(l->timer);
    resume(l);
}

/* "MS VERDICT": parks, and has it resumed by the thread or by a timer. */
static int32_t park(struct self *s, const struct hd_statement *st, char *text, int by_timer, int times,
                    struct hd_verdict *v)
{
    struct later *l = calloc(1, sizeof(*l));
    uint64_t ms = strtoull(text, &text, 10);

    if (!l)
        return HD_ENOMEM;
    l->self = s;
    l->handle = st->handle;
    l->times = times;
    snprintf(l->text, sizeof(l->text), "%s", *text ? text + 1 : text);
    v->kind = HD_VERDICT_PARK;
    if (by_timer) {
        l->timer = s->base.loop->timer(s->base.host, ms, 0, on_timer, l);
        if (l->timer)
            return HD_OK;
        free(l);
        return HD_ENOMEM;
    }
    pthread_mutex_lock(&s->base.lock);
    l->due_ms = now_ms() + ms;
    l->next = s->list;
    s->list = l;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->base.lock);
    return HD_OK;
}

/* --- the filter ---------------------------------------------------------------------------------------- */

static void sleep_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

static int32_t decide(struct self *s, const struct hd_statement *st, char *text, struct hd_verdict *v)
{
    char *rest;

    if (after(text, "fail"))
        return HD_EFAIL;
    if ((rest = after(text, "slow")))
        sleep_ms(strtol(rest, NULL, 10));
    else if ((rest = after(text, "thread")))
        return park(s, st, rest, 0, 1, v);
    else if ((rest = after(text, "twice")))
        return park(s, st, rest, 0, 2, v);
    else if ((rest = after(text, "timer")))
        return park(s, st, rest, 1, 1, v);
    else if ((rest = after(text, "never"))) {
        v->kind = HD_VERDICT_PARK;
        v->park_ms = strtoull(rest, NULL, 10);
    } else if (after(text, "echo") && st->param_count && st->params[0].data && st->params[0].len < TEXT_MAX)
        return answer(s, v, (const char *)st->params[0].data, st->params[0].len, NULL);
    else
        return plain_verdict(s, text, v);
    return HD_OK;
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    static _Thread_local char text[TEXT_MAX]; /* lives until this worker's next call */
    struct self *s = self;
    const char *mark = after_mark(st, MARK), *end;

    (void)ws;
    (void)plan;
    s->statements++;
    *st->slot = s;
    if (!mark)
        return HD_OK;
    end = memmem(mark, (size_t)(st->sql.ptr + st->sql.len - mark), " */", 3);
    if (!end || end - mark >= TEXT_MAX)
        return HD_OK;
    memcpy(text, mark, (size_t)(end - mark));
    text[end - mark] = 0;
    return decide(s, st, text, v);
}

static int32_t plan(void *self, void *ws, const hd_template *t, struct hd_plan *out)
{
    (void)ws;
    (void)t;
    out->want = ((struct self *)self)->want;
    return HD_OK;
}

static void *session_open(void *self, void *ws, uint64_t id, struct hd_str database, struct hd_str user)
{
    struct self *s = self;

    (void)ws;
    (void)id;
    (void)database;
    (void)user;
    s->sessions++;
    return s;
}

static void session_close(void *self, void *ws, void *state)
{
    (void)ws;
    (void)state;
    ((struct self *)self)->sessions--;
}

static void on_data(void *self, void *ws, void *data, const struct hd_statement *st, struct hd_str bytes)
{
    (void)ws;
    (void)data;
    (void)st;
    ((struct self *)self)->datas += (int64_t)bytes.len;
}

static void complete(void *self, void *ws, void *data, const struct hd_statement *st,
                     const struct hd_outcome *o)
{
    struct self *s = self;

    (void)ws;
    (void)data;
    if (*st->slot != s)
        hd_host_api(s->base.host)->failed(s->base.host, "complete without a statement before it");
    s->completes++;
    s->failures += o->failed;
    s->rows += (int64_t)o->rows;
    s->bytes += (int64_t)o->bytes;
    pthread_mutex_lock(&s->base.lock);
    memcpy(s->last_sqlstate, o->sqlstate, sizeof(s->last_sqlstate));
    pthread_mutex_unlock(&s->base.lock);
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

/* --- SHOW VERDICTS ------------------------------------------------------------------------------------- */

static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    const struct hd_commands_v1 *c = s->base.commands;
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"sessions", s->sessions}, {"statements", s->statements}, {"completes", s->completes},
                  {"failures", s->failures}, {"data_bytes", s->datas},      {"bytes", s->bytes},
                  {"rows", s->rows},         {"resumed", s->resumed},       {"late", s->late},
                  {"released", s->released}};

    (void)err;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        c->column(call->result, counts[i].name, HD_COL_INT);
    c->column(call->result, "sqlstate", HD_COL_TEXT);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        c->integer(call->result, counts[i].value);
    pthread_mutex_lock(&s->base.lock);
    c->text(call->result, (struct hd_str){s->last_sqlstate, strlen(s->last_sqlstate)});
    pthread_mutex_unlock(&s->base.lock);
    return HD_OK;
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    int32_t code = make_self(host, sizeof(struct self), self);
    pthread_condattr_t attr;

    (void)err;
    if (code)
        return code;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&((struct self *)*self)->wake, &attr);
    pthread_condattr_destroy(&attr);
    return HD_OK;
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    const struct conf *c = conf->conf;
    struct self *s = self;

    s->want = HD_WANT_DECIDE | HD_WANT_COMPLETE | HD_WANT_REPLACE | (c->data ? HD_WANT_DATA : 0) |
              (c->before ? HD_WANT_BEFORE : 0);
    if (get_services(&s->base))
        return HD_EVERSION;
    if (s->base.commands->add(s->base.host, "SHOW VERDICTS", "", "what the test plugin has counted",
                              HD_CMDF_READ_ONLY, show, s, err))
        return HD_EEXIST;
    if (pthread_create(&s->thread, NULL, run, s))
        return HD_EFAIL;
    s->running = 1;
    return HD_OK;
}

static int32_t stop(void *self)
{
    struct self *s = self;

    pthread_mutex_lock(&s->base.lock);
    s->ending = 1;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->base.lock);
    if (s->running)
        pthread_join(s->thread, NULL);
    while (s->list) {
        struct later *l = s->list;

        s->list = l->next;
        free(l);
    }
    return HD_OK;
}

static void destroy(void *self)
{
    pthread_cond_destroy(&((struct self *)self)->wake);
    free_self(self);
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    .id = "verdicts",
    .summary = "decides as the statement says",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .check = check_nothing,
    .start = start,
    .reload = reload_nothing,
    .stop = stop,
    .destroy = destroy,
    .capability = filter_alone,
};
