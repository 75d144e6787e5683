/*
 * From statements to bytes and back; see warm_read.h.
 */
#include "warm_read.h"

#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "context.h"

#define NULL_VALUE UINT32_MAX

/* --- to bytes ------------------------------------------------------------------------------------------ */

static void put32(struct cache_bytes *b, uint32_t n)
{
    cache_put(b, &n, sizeof(n));
}

static void put_str(struct cache_bytes *b, struct hd_str s)
{
    put32(b, (uint32_t)s.len);
    cache_put(b, s.ptr, s.len);
}

/* With its NUL, which readers want. */
static void put_text(struct cache_bytes *b, const char *s)
{
    put_str(b, (struct hd_str){s, strlen(s) + 1});
}

static void put_settings(struct cache_bytes *b, const struct hd_statement *st)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < st->setting_count; i++)
        n += !cache_context_is_harmless(st->settings[i].name);
    put32(b, n);
    for (uint32_t i = 0; i < st->setting_count; i++) {
        if (cache_context_is_harmless(st->settings[i].name))
            continue;
        put_text(b, st->settings[i].name);
        put_text(b, st->settings[i].value);
    }
}

static void put_params(struct cache_bytes *b, const struct hd_statement *st)
{
    put32(b, st->param_count);
    for (uint32_t i = 0; i < st->param_count; i++) {
        const struct hd_param *p = &st->params[i];

        put32(b, p->type);
        put32(b, p->format);
        put32(b, p->data ? p->len : NULL_VALUE);
        if (p->data)
            cache_put(b, p->data, p->len);
    }
    put32(b, st->result_format_count);
    for (uint32_t i = 0; i < st->result_format_count; i++)
        put32(b, st->result_formats[i]);
}

static struct cache_warm_read *make(uint64_t hash, uint32_t hits, const void *bytes, size_t len)
{
    struct cache_warm_read *r = len <= CACHE_WARM_READ_MAX ? malloc(sizeof(*r) + len) : NULL;

    if (!r)
        return NULL;
    r->hash = hash;
    r->hits = hits;
    r->len = (uint32_t)len;
    memcpy(r->bytes, bytes, len);
    return r;
}

struct cache_warm_read *cache_warm_read_new(uint64_t hash, const struct hd_statement *st)
{
    struct cache_bytes b = {0};
    struct cache_warm_read *r;

    if (st->sql.len > CACHE_WARM_READ_MAX)
        return NULL;
    put32(&b, st->flags & (HD_STMT_EXTENDED | HD_STMT_DESCRIBED));
    put_str(&b, st->database);
    put_str(&b, st->user);
    put_str(&b, st->sql);
    put_settings(&b, st);
    put_params(&b, st);
    r = b.failed ? NULL : make(hash, 0, b.p, b.len);
    free(b.p);
    return r;
}

struct cache_warm_read *cache_warm_read_copy(const struct cache_warm_read *r)
{
    return make(r->hash, r->hits, r->bytes, r->len);
}

/* --- and back ------------------------------------------------------------------------------------------ */

struct reader {
    const uint8_t *p;
    size_t left;
    int failed;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *p = r->p;

    if (r->failed || n > r->left) {
        r->failed = 1;
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return p;
}

static uint32_t take32(struct reader *r)
{
    const uint8_t *p = take(r, sizeof(uint32_t));
    uint32_t n = 0;

    if (p)
        memcpy(&n, p, sizeof(n));
    return n;
}

static struct hd_str take_str(struct reader *r)
{
    uint32_t len = take32(r);
    const uint8_t *p = take(r, len);

    return p ? (struct hd_str){(const char *)p, len} : (struct hd_str){NULL, 0};
}

/* With one NUL, at its end. */
static const char *take_text(struct reader *r)
{
    struct hd_str s = take_str(r);

    if (!s.len || memchr(s.ptr, 0, s.len) != s.ptr + s.len - 1)
        r->failed = 1;
    return s.ptr;
}

/* How many things of at least `least` bytes follow. */
static uint32_t take_count(struct reader *r, size_t least)
{
    uint32_t n = take32(r);

    if (n > r->left / least) {
        r->failed = 1;
        return 0;
    }
    return n;
}

struct parts {
    struct hd_session_setting *settings;
    struct hd_param *params;
    uint16_t *formats;
};

static void take_settings(struct reader *r, struct hd_replay *out, struct hd_session_setting *to)
{
    for (uint32_t i = 0; i < out->setting_count && !r->failed; i++) {
        to[i].name = take_text(r);
        to[i].value = take_text(r);
    }
}

static void take_params(struct reader *r, struct hd_replay *out, struct hd_param *to)
{
    for (uint32_t i = 0; i < out->param_count && !r->failed; i++) {
        to[i].type = take32(r);
        to[i].format = take32(r);
        to[i].len = take32(r);
        if (to[i].len == NULL_VALUE)
            to[i].len = 0;
        else
            to[i].data = take(r, to[i].len);
        r->failed |= to[i].format > 1;
    }
}

/* Room for all three, of the largest alignment first. Counts are those of the bytes at hand, so it is little.
 */
static int32_t take_rest(struct reader *r, struct hd_replay *out, void **memory)
{
    const struct reader at_settings = *r;
    struct hd_session_setting *settings;
    struct hd_param *params;
    uint16_t *formats;

    /* Once to count, then to keep. */
    out->setting_count = take_count(r, 8);
    for (uint32_t i = 0; i < out->setting_count && !r->failed; i++) {
        (void)take_text(r);
        (void)take_text(r);
    }
    out->param_count = take_count(r, 12);
    if (r->failed || out->param_count > UINT16_MAX)
        return HD_EPROTO;
    *memory = calloc(1, out->setting_count * sizeof(*settings) + out->param_count * sizeof(*params) +
                            r->left / sizeof(uint32_t) * sizeof(*formats) + 1);
    if (!*memory)
        return HD_ENOMEM;
    settings = *memory;
    params = (struct hd_param *)(void *)(settings + out->setting_count);
    formats = (uint16_t *)(void *)(params + out->param_count);
    take_params(r, out, params);
    out->result_format_count = take_count(r, 4);
    for (uint32_t i = 0; i < out->result_format_count && !r->failed; i++) {
        formats[i] = (uint16_t)take32(r);
        r->failed |= formats[i] > 1;
    }
    r->failed |= r->left != 0;
    out->settings = settings;
    out->params = params;
    out->result_formats = formats;
    if (!r->failed) {
        struct reader again = at_settings;

        (void)take32(&again);
        take_settings(&again, out, settings);
        return HD_OK;
    }
    return HD_EPROTO;
}

int32_t cache_warm_read_replay(const struct cache_warm_read *read, struct hd_replay *out, void **memory)
{
    struct reader r = {read->bytes, read->len, 0};
    int32_t code;

    *memory = NULL;
    *out = (struct hd_replay){.size = sizeof(*out)};
    out->flags = take32(&r);
    out->database = take_str(&r);
    out->user = take_str(&r);
    out->sql = take_str(&r);
    if (r.failed || !out->database.len || !out->user.len || !out->sql.len ||
        (out->flags & ~(HD_STMT_EXTENDED | HD_STMT_DESCRIBED)) || memchr(out->sql.ptr, 0, out->sql.len) ||
        memchr(out->user.ptr, 0, out->user.len) || memchr(out->database.ptr, 0, out->database.len))
        return HD_EPROTO;
    code = take_rest(&r, out, memory);
    if (code == HD_OK)
        return HD_OK;
    free(*memory);
    *memory = NULL;
    return code;
}
