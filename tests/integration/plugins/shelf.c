/*
 * Uses a cache store as statements say, for tests of stores by real clients. A comment
 *
 *     / * shelf: WORD [ARGUMENTS] * /        (without the blanks)
 *
 * anywhere in the text chooses one of
 *
 *     put KEY HEAD DESCRIBE SIZE SEED TTL_MS COST       SIZE bytes of the answer, made from SEED
 *     get KEY                                           parks until the store has answered
 *     erase KEY
 *     stats
 *
 * Each is answered with one row that says what came of it: a get with the value's parts, its bytes as their
 * length and a sum. SHELF FLUSH drops all.
 */
#include "one_row.h"

#include <stdatomic.h>
#include <stdio.h>

#define MARK     "/* shelf: "
#define WORD_MAX 100
#define TEXT_MAX 600

struct conf {
    struct hd_str store;
};

struct self {
    struct base base;
    const struct hd_cache_store_v1 *store;
    void *store_self;
};

/* A get that the store has not answered yet. */
struct lookup {
    struct self *self;
    uint64_t handle;
    char key[WORD_MAX];
};

static const struct hd_option table[] = {
    {"store", "cache-redis", NULL, "the plugin whose store it is", 0, 0, HD_OPT_STRING, 0,
     offsetof(struct conf, store), 0},
};

/* --- values: numbers of a simple generator; small seeds repeat, and can be compressed --------------------
 */

static void make_bytes(char *p, size_t size, unsigned seed)
{
    uint32_t x = seed;

    for (size_t i = 0; i < size; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = seed < 1000 ? (char)('a' + (i / 7 + seed) % 20) : (char)(x >> 24);
    }
}

static uint32_t sum(const char *p, uint64_t len)
{
    uint32_t h = 2166136261u;

    for (uint64_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h;
}

static struct hd_cache_key key_of(const char *word)
{
    return (struct hd_cache_key){.size = sizeof(struct hd_cache_key),
                                 .hash = sum(word, strlen(word)) * 0x9e3779b97f4a7c15u,
                                 .bytes = {word, strlen(word)}};
}

/* --- words --------------------------------------------------------------------------------------------- */

static void put(struct self *s, const char *words, char *out)
{
    char key[WORD_MAX], head[WORD_MAX], describe[WORD_MAX], *bytes;
    unsigned long size, ttl, cost;
    unsigned seed;
    struct hd_cache_value v = {.size = sizeof(v)};
    struct hd_cache_key k;

    if (sscanf(words, "%99s %99s %99s %lu %u %lu %lu", key, head, describe, &size, &seed, &ttl, &cost) != 7)
        abort();
    bytes = malloc(size + 1);
    if (!bytes)
        abort();
    make_bytes(bytes, size, seed);
    k = key_of(key);
    v.head = (struct hd_str){head, strlen(head)};
    v.describe = (struct hd_str){describe, strcmp(describe, "-") ? strlen(describe) : 0};
    v.bytes = (struct hd_str){bytes, size};
    v.left_ms = ttl;
    v.cost_ns = cost;
    snprintf(out, TEXT_MAX, "%s sum=%u", name_of(s->store->put(s->store_self, &k, &v)), sum(bytes, size));
    free(bytes);
}

static void print_value(char *out, const struct hd_cache_value *v)
{
    snprintf(out, TEXT_MAX, "ok head=%.*s describe=%.*s size=%llu sum=%u left=%llu cost=%llu",
             (int)v->head.len, v->head.ptr, (int)v->describe.len, v->describe.ptr,
             (unsigned long long)v->bytes.len, sum(v->bytes.ptr, v->bytes.len),
             (unsigned long long)v->left_ms, (unsigned long long)v->cost_ns);
}

static void got(void *arg, int32_t code, const struct hd_cache_value *value)
{
    struct lookup *l = arg;
    struct hd_verdict v = {.size = sizeof(v)};
    char text[TEXT_MAX], room[TEXT_MAX + 200];

    if (code == HD_OK)
        print_value(text, value);
    else
        snprintf(text, sizeof(text), "%s", name_of(code));
    fill_answer(&v, text, room);
    l->self->base.statement->resume(l->self->base.host, l->handle, &v);
    free(l);
}

/* Returns whether the statement is to be parked. */
static int get(struct self *s, const struct hd_statement *st, const char *words, char *out)
{
    struct lookup *l = calloc(1, sizeof(*l));
    struct hd_cache_value v = {.size = sizeof(v)};
    struct hd_cache_key k;
    int32_t code;

    if (!l || sscanf(words, "%99s", l->key) != 1)
        abort();
    l->self = s;
    l->handle = st->handle;
    k = key_of(l->key);
    code = s->store->get(s->store_self, &k, &v, got, l);
    if (code == HD_PENDING)
        return 1;
    if (code == HD_OK) {
        print_value(out, &v);
        s->store->release(s->store_self, &v);
    } else {
        snprintf(out, TEXT_MAX, "%s", name_of(code));
    }
    free(l);
    return 0;
}

static void erase(struct self *s, const char *words, char *out)
{
    char key[WORD_MAX];
    struct hd_cache_key k;

    if (sscanf(words, "%99s", key) != 1)
        abort();
    k = key_of(key);
    s->store->erase(s->store_self, &k);
    snprintf(out, TEXT_MAX, "ok");
}

static void stats(struct self *s, char *out)
{
    struct hd_cache_store_stats t = {.size = sizeof(t)};

    s->store->stats(s->store_self, &t);
    snprintf(out, TEXT_MAX, "up=%u hits=%llu misses=%llu puts=%llu rejected=%llu errors=%llu bypassed=%llu",
             t.up, (unsigned long long)t.hits, (unsigned long long)t.misses, (unsigned long long)t.puts,
             (unsigned long long)t.rejected, (unsigned long long)t.errors, (unsigned long long)t.bypassed);
}

static int starts(const char **words, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*words, word, n) != 0)
        return 0;
    *words += n;
    return 1;
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
    if (starts(&words, "get ")) {
        if (get(self, st, words, text)) {
            v->kind = HD_VERDICT_PARK;
            return HD_OK;
        }
    } else if (starts(&words, "put ")) {
        put(self, words, text);
    } else if (starts(&words, "erase ")) {
        erase(self, words, text);
    } else {
        stats(self, text);
    }
    fill_answer(v, text, room);
    return HD_OK;
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .plan = plan_to_decide,
    .statement = statement,
};

/* --- SHELF FLUSH --------------------------------------------------------------------------------------- */

struct flush {
    struct self *self;
    hd_result *result;
};

static void flushed(void *arg, int32_t code)
{
    struct flush *f = arg;
    struct hd_error err = HD_ERROR_INIT;

    snprintf(err.text, sizeof(err.text), "flush: code %d", code);
    err.code = code;
    f->self->base.commands->finish(f->result, code, code ? &err : NULL);
    free(f);
}

static int32_t flush(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    struct flush *f = calloc(1, sizeof(*f));

    (void)err;
    if (!f)
        return HD_ENOMEM;
    f->self = s;
    f->result = call->result;
    s->store->flush(s->store_self, flushed, f);
    return HD_PENDING;
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;
    const struct conf *c = conf->conf;
    const void *vtable;
    int32_t code;

    if (get_services(&s->base))
        return HD_EVERSION;
    code = hd_host_api(s->base.host)
               ->capability(s->base.host, HD_CAP_CACHE_STORE, c->store.ptr, &vtable, &s->store_self, err);
    if (code)
        return code;
    s->store = vtable;
    return s->base.commands->add(s->base.host, "SHELF FLUSH", "", "drops all", 0, flush, s, err);
}

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    TEST_PLUGIN_QUIET,
    .id = "shelf",
    .summary = "uses a cache store",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .start = start,
    .capability = filter_alone,
};
