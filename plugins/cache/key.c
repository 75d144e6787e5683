/*
 * Bytes of a key; see key.h.
 */
#include "key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static void put_params(struct cache_bytes *key, const struct hd_statement *st)
{
    cache_put_number(key, st->param_count);
    for (uint32_t i = 0; i < st->param_count; i++) {
        const struct hd_param *p = &st->params[i];

        cache_put_number(key, (uint64_t)p->type << 32 | (uint64_t)(p->data != NULL) << 16 | p->format);
        cache_put_str(key, (struct hd_str){(const char *)p->data, p->data ? p->len : 0});
    }
}

int32_t cache_key_make(struct cache_worker *w, const struct cache_session *s, const struct hd_statement *st,
                       struct hd_cache_key *key)
{
    struct cache_bytes *b = &w->key;

    b->len = 0;
    cache_put(b, s->context.digest, sizeof(s->context.digest));
    cache_put_number(b, st->flags & (HD_STMT_EXTENDED | HD_STMT_DESCRIBED));
    cache_put_number(b, st->result_format_count);
    cache_put(b, st->result_formats, st->result_format_count * sizeof(st->result_formats[0]));
    put_params(b, st);
    cache_put_str(b, st->sql);
    if (b->failed) {
        b->failed = 0;
        return HD_ENOMEM;
    }
    *key = (struct hd_cache_key){
        .size = sizeof(*key), .hash = XXH3_64bits(b->p, b->len), .bytes = {(const char *)b->p, b->len}};
    return HD_OK;
}
