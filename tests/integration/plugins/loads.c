/*
 * Uses the cache's service for values of one's own, as statements say. A comment
 *
 *     / * loads: WORD [ARGUMENTS] * /        (without the blanks)
 *
 * anywhere in the text chooses one of
 *
 *     get KEY
 *     set KEY VALUE TTL_MS
 *     erase KEY
 *     load KEY TTL_MS HOW      HOW: now, job, held, fail
 *     release                  completes the loads that are held
 *     stats
 *
 * Each is answered with one row: what came of it, and the value. A loaded value is "KEY#n", where n counts
 * the loads. What is found under a key must be its own: begin so, or have been set.
 */
#include "one_row.h"

#include <stdatomic.h>
#include <stdio.h>

#define MARK     "/* loads: "
#define KEY_MAX  200
#define TEXT_MAX 600
#define HELD_MAX 64
#define BUSY_MAX 64 /* keys that are being loaded at a time, as far as is looked */

struct self {
    struct base base;
    const struct hd_jobs_v1 *jobs;
    const struct hd_cache_v1 *cache;
    void *cache_self;
    _Atomic unsigned calls, loads, wrong;
    _Atomic unsigned twice;     /* loads that began while another one of the key was under way */
    _Atomic unsigned under_way; /* calls, and one for the plugin while it runs */
    /* Guarded by the base's lock: */
    uint64_t held[HELD_MAX];
    char held_key[HELD_MAX][KEY_MAX];
    unsigned held_count;
    char busy[BUSY_MAX][KEY_MAX];
};

/* A call that has not come back. */
struct call {
    struct self *self;
    uint64_t handle;
    int how; /* of a load: the first letter of the word */
    char key[KEY_MAX];
};

/* A load that another thread ends. */
struct work {
    struct self *self;
    uint64_t handle;
    char key[KEY_MAX];
};

static void leave(struct self *s)
{
    if (atomic_fetch_sub(&s->under_way, 1) == 1)
        hd_host_api(s->base.host)->stopped(s->base.host);
}

static void answer(struct call *c, int32_t code, struct hd_str value)
{
    struct hd_verdict v = {.size = sizeof(v)};
    char text[TEXT_MAX], room[TEXT_MAX + 200];
    struct self *s = c->self;

    snprintf(text, sizeof(text), "%s %.*s", name_of(code), (int)(value.len < 400 ? value.len : 400),
             value.len ? value.ptr : "");
    if (code == HD_OK && value.len > 400)
        snprintf(text, sizeof(text), "ok %llu bytes", (unsigned long long)value.len);
    fill_answer(&v, text, room);
    s->base.statement->resume(s->base.host, c->handle, &v);
    free(c);
    leave(s);
}

static void on_got(void *arg, int32_t code, struct hd_str value)
{
    struct call *c = arg;
    size_t len = strlen(c->key);

    if (code == HD_OK && c->how && (value.len < len || memcmp(value.ptr, c->key, len) != 0))
        c->self->wrong++;
    answer(c, code, value);
}

static void on_done(void *arg, int32_t code)
{
    answer(arg, code, (struct hd_str){NULL, 0});
}

/* --- loaders ------------------------------------------------------------------------------------------- */

static void note_busy(struct self *s, const char *key)
{
    int place = -1;

    pthread_mutex_lock(&s->base.lock);
    for (int i = 0; i < BUSY_MAX; i++) {
        if (!strcmp(s->busy[i], key))
            s->twice++;
        if (!s->busy[i][0])
            place = i;
    }
    if (place >= 0)
        strcpy(s->busy[place], key);
    pthread_mutex_unlock(&s->base.lock);
}

static void note_over(struct self *s, const char *key)
{
    pthread_mutex_lock(&s->base.lock);
    for (int i = 0; i < BUSY_MAX; i++)
        if (!strcmp(s->busy[i], key))
            s->busy[i][0] = 0;
    pthread_mutex_unlock(&s->base.lock);
}

static void complete(struct self *s, uint64_t handle, const char *key, int32_t code)
{
    char value[KEY_MAX + 20];
    struct hd_str v = {value, 0};

    v.len = (uint64_t)snprintf(value, sizeof(value), "%s#%u", key, ++s->loads);
    note_over(s, key);
    while (s->cache->loaded(s->cache_self, handle, code, v) == HD_EFULL)
        ;
}

static int32_t on_job(void *arg)
{
    struct work *w = arg;

    complete(w->self, w->handle, w->key, HD_OK);
    free(w);
    return HD_OK;
}

static void begin_job(struct self *s, uint64_t handle, const char *key)
{
    struct work *w = calloc(1, sizeof(*w));

    if (!w)
        abort();
    w->self = s;
    w->handle = handle;
    strcpy(w->key, key);
    if (s->jobs->run(s->base.host, "load", on_job, NULL, w) > 0)
        return;
    free(w);
    complete(s, handle, key, HD_EFULL);
}

static void hold(struct self *s, uint64_t handle, const char *key)
{
    pthread_mutex_lock(&s->base.lock);
    if (s->held_count == HELD_MAX)
        abort();
    s->held[s->held_count] = handle;
    strcpy(s->held_key[s->held_count++], key);
    pthread_mutex_unlock(&s->base.lock);
}

static void loader(void *arg, struct hd_str key, uint64_t handle)
{
    struct call *c = arg; /* whose own call waits for this load */
    struct self *s = c->self;
    char name[KEY_MAX];

    snprintf(name, sizeof(name), "%.*s", (int)key.len, key.ptr);
    note_busy(s, name);
    if (c->how == 'n')
        complete(s, handle, name, HD_OK);
    else if (c->how == 'f')
        complete(s, handle, name, HD_EBUSY);
    else if (c->how == 'h')
        hold(s, handle, name);
    else
        begin_job(s, handle, name);
}

static void release(struct self *s)
{
    for (;;) {
        uint64_t handle;
        char key[KEY_MAX];

        pthread_mutex_lock(&s->base.lock);
        if (!s->held_count) {
            pthread_mutex_unlock(&s->base.lock);
            return;
        }
        handle = s->held[--s->held_count];
        strcpy(key, s->held_key[s->held_count]);
        pthread_mutex_unlock(&s->base.lock);
        complete(s, handle, key, HD_OK);
        complete(s, handle, key, HD_OK); /* a second time is let pass */
        s->loads--;
    }
}

/* --- words --------------------------------------------------------------------------------------------- */

static int32_t begin(struct self *s, struct call *c, const char *words)
{
    char word[20], value[400], how[20] = "";
    unsigned long ttl = 0;
    int n = sscanf(words, "%19s %199s %399s", word, c->key, value);
    struct hd_str key = {c->key, strlen(c->key)};

    if (n >= 2 && !strcmp(word, "get"))
        return s->cache->get(s->cache_self, key, on_got, c);
    if (n >= 2 && !strcmp(word, "erase"))
        return s->cache->erase(s->cache_self, key, on_done, c);
    if (sscanf(words, "%*s %*s %*s %lu", &ttl) == 1 && !strcmp(word, "set"))
        return s->cache->set(s->cache_self, key, (struct hd_str){value, strlen(value)}, ttl, on_done, c);
    if (sscanf(words, "%*s %*s %lu %19s", &ttl, how) != 2 || strcmp(word, "load") != 0)
        abort();
    c->how = how[0];
    return s->cache->load(s->cache_self, key, ttl, loader, c, on_got, c);
}

/* Returns whether the statement is to be parked. */
static int call(struct self *s, const struct hd_statement *st, const char *words, char *out)
{
    struct call *c = calloc(1, sizeof(*c));
    int32_t code;

    if (!c)
        abort();
    c->self = s;
    c->handle = st->handle;
    s->calls++;
    s->under_way++;
    code = begin(s, c, words);
    if (code == HD_PENDING)
        return 1;
    snprintf(out, TEXT_MAX, "refused %s", name_of(code));
    free(c);
    leave(s);
    return 0;
}

static void stats(struct self *s, char *out)
{
    unsigned held;

    pthread_mutex_lock(&s->base.lock);
    held = s->held_count;
    pthread_mutex_unlock(&s->base.lock);
    snprintf(out, TEXT_MAX, "calls=%u loads=%u wrong=%u twice=%u held=%u", s->calls, s->loads, s->wrong,
             s->twice, held);
}

static int32_t statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    /* What an answer points to may be borrowed until this function has returned, and no longer. */
    static _Thread_local char text[TEXT_MAX], room[TEXT_MAX + 200];
    const char *words = after_mark(st, MARK);

    (void)ws;
    (void)plan;
    if (!words)
        return HD_OK;
    if (!strncmp(words, "stats", 5)) {
        stats(self, text);
    } else if (!strncmp(words, "release", 7)) {
        release(self);
        strcpy(text, "ok");
    } else if (call(self, st, words, text)) {
        v->kind = HD_VERDICT_PARK;
        return HD_OK;
    }
    fill_answer(v, text, room);
    return HD_OK;
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .plan = plan_to_decide,
    .statement = statement,
};

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;
    const void *vtable;
    int32_t code;

    (void)conf;
    if (get_services(&s->base))
        return HD_EVERSION;
    s->jobs = hd_host_api(s->base.host)->service(s->base.host, HD_SERVICE_JOBS);
    code = hd_host_api(s->base.host)
               ->capability(s->base.host, HD_CAP_CACHE, "cache", &vtable, &s->cache_self, err);
    if (code)
        return code;
    s->cache = vtable;
    s->under_way = 1;
    return HD_OK;
}

static int32_t stop(void *self)
{
    struct self *s = self;

    return atomic_fetch_sub(&s->under_way, 1) == 1 ? HD_OK : HD_PENDING;
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,           .id = "loads",          .summary = "uses the cache for values of its own",
    .create = create,           .check = check_nothing, .start = start,
    .reload = reload_nothing,   .stop = stop,           .destroy = free_self,
    .capability = filter_alone,
};
