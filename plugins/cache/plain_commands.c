/*
 * CACHE SET, CACHE GET, CACHE DELETE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "plain.h"

/* A call of a command until it is finished. */
struct reply {
    struct cache *cache;
    hd_result *result;
};

static void finish(struct reply *r, int32_t code, const char *why)
{
    struct hd_error err = HD_ERROR_INIT;

    if (code != HD_OK)
        hd_error_set(&err, code, "%s", why);
    r->cache->commands->finish(r->result, code, code == HD_OK ? NULL : &err);
    free(r);
}

static const char *why_not(int32_t code)
{
    switch (code) {
    case HD_EINVAL:
        return "the key is empty or longer than max_key_bytes, or the value longer than max_value_bytes";
    case HD_EFULL:
        return "not kept: the store has not admitted it, or max_calls are under way";
    case HD_EBUSY:
        return "no store could be asked";
    default:
        return "no memory";
    }
}

/* HD_PENDING, or the error in words; frees `r` then. */
static int32_t begun(struct reply *r, int32_t code, struct hd_error *err)
{
    if (code == HD_PENDING)
        return code;
    free(r);
    return hd_error_set(err, code, "%s", why_not(code));
}

static struct reply *make(struct cache *self, const struct hd_call *call)
{
    struct reply *r = malloc(sizeof(*r));

    if (r)
        *r = (struct reply){self, call->result};
    return r;
}

/* --- values as text ------------------------------------------------------------------------------------ */

/* Bytes of the character that begins there, of UTF-8 without NUL; 0: it is none. */
static uint64_t character(const unsigned char *p, uint64_t left)
{
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    uint64_t len = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
    uint32_t code = len == 1 ? *p : *p & (0x7fu >> len);

    if (!len || len > left)
        return 0;
    for (uint64_t i = 1; i < len; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    return code >= least[len] && code < 0x110000 && code >> 11 != 27 ? len : 0;
}

static int is_text(struct hd_str s)
{
    uint64_t at = 0, len = 1;

    while (at < s.len && (len = character((const unsigned char *)s.ptr + at, s.len - at)))
        at += len;
    return len != 0;
}

/* Other bytes as PostgreSQL shows a bytea. */
static int put_bytes(const struct reply *r, struct hd_str s)
{
    char *hex = malloc(s.len * 2 + 3);

    if (!hex)
        return HD_ENOMEM;
    strcpy(hex, "\\x");
    for (uint64_t i = 0; i < s.len; i++)
        snprintf(hex + 2 + i * 2, 3, "%02x", (unsigned char)s.ptr[i]);
    r->cache->commands->text(r->result, (struct hd_str){hex, s.len * 2 + 2});
    free(hex);
    return HD_OK;
}

/* --- CACHE GET ----------------------------------------------------------------------------------------- */

/* [worker] No row where it is not there. */
static void on_got(void *arg, int32_t code, struct hd_str value)
{
    struct reply *r = arg;

    r->cache->commands->column(r->result, "value", HD_COL_TEXT);
    if (code == HD_OK && is_text(value))
        r->cache->commands->text(r->result, value);
    else if (code == HD_OK)
        code = put_bytes(r, value);
    finish(r, code == HD_ENOENT ? HD_OK : code, why_not(code));
}

/* [control] */
static int32_t get_key(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct reply *r;

    if (call->arg_count != 1)
        return hd_error_set(err, HD_EINVAL, "name one key: CACHE GET KEY");
    r = make(arg, call);
    return r ? begun(r, cache_service.get(arg, call->args[0], on_got, r), err)
             : hd_error_set(err, HD_ENOMEM, "no memory");
}

/* --- CACHE SET, CACHE DELETE --------------------------------------------------------------------------- */

/* [worker] */
static void on_done(void *arg, int32_t code)
{
    finish(arg, code, why_not(code));
}

/* [control] */
static int32_t set_key(void *arg, const struct hd_call *call, struct hd_error *err)
{
    uint64_t ttl_ms = 0;
    struct reply *r;

    if (call->arg_count == 4 && !strcasecmp(call->args[2].ptr, "TTL"))
        ttl_ms = cache_read_duration(call->args[3]);
    if (call->arg_count != 2 && !ttl_ms)
        return hd_error_set(err, HD_EINVAL,
                            "CACHE SET KEY VALUE [TTL DURATION], such as CACHE SET a 1 TTL 5m");
    r = make(arg, call);
    return r ? begun(r, cache_service.set(arg, call->args[0], call->args[1], ttl_ms, on_done, r), err)
             : hd_error_set(err, HD_ENOMEM, "no memory");
}

/* [control] */
static int32_t delete_key(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct reply *r;

    if (call->arg_count != 1)
        return hd_error_set(err, HD_EINVAL, "name one key: CACHE DELETE KEY");
    r = make(arg, call);
    return r ? begun(r, cache_service.erase(arg, call->args[0], on_done, r), err)
             : hd_error_set(err, HD_ENOMEM, "no memory");
}

/* [worker] */
static void on_ended(void *arg, int32_t code)
{
    finish(arg, code, "answers are ended, but keys in the shared store are not: it could not be asked");
}

int32_t cache_plain_invalidate(struct cache *self, const struct hd_call *call, struct hd_error *err)
{
    struct reply *r = make(self, call);
    int32_t code = r ? cache_plain_end_like(self, call->args[0].ptr, on_ended, r) : HD_ENOMEM;

    if (code == HD_PENDING)
        return code;
    free(r);
    return code == HD_OK ? code : hd_error_set(err, code, "%s", why_not(code));
}

int32_t cache_plain_commands(struct cache *self, struct hd_error *err)
{
    const struct hd_commands_v1 *c = self->commands;
    int32_t code =
        c->add(self->host, "CACHE GET", "KEY", "The value of a plain key in the result cache's stores",
               HD_CMDF_READ_ONLY, get_key, self, err);

    if (code == HD_OK)
        code = c->add(self->host, "CACHE SET", "KEY VALUE [TTL DURATION]",
                      "Keeps a value under a plain key in the result cache's stores", 0, set_key, self, err);
    if (code == HD_OK)
        code = c->add(self->host, "CACHE DELETE", "KEY", "Drops the value of a plain key", 0, delete_key,
                      self, err);
    return code;
}
