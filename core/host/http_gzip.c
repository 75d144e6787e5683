/*
 * Answers that are worth it go out as gzip, to whoever takes that. Compressing happens on the control loop,
 * at zlib's fastest level; `compress_most` bounds how long one answer may hold it up.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <string.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* zlib's way to say: the largest window, in a gzip file */
#define MEMORY      8         /* zlib's default */

/* --- what is worth it -----------------------------------------------------------------------------------
 */

static int is_text(const char *type)
{
    static const char *const ends[] = {"json", "javascript", "xml", "openmetrics-text"};
    size_t n = strcspn(type, "; ");

    for (size_t i = 0; i < HD_ARRAY_LEN(ends); i++) {
        size_t k = strlen(ends[i]);

        if (n >= k && !memcmp(type + n - k, ends[i], k))
            return 1;
    }
    return !strncmp(type, "text/", 5);
}

int hd_http_may_pack(const struct http_request *rq, const char *type, size_t len)
{
    const struct hd_http_conf *conf = rq->engine->conf;

    return conf->compress_from && len >= (size_t)conf->compress_from && len <= (size_t)conf->compress_most &&
           is_text(type);
}

int hd_http_packs(const struct http_request *rq, const char *type, size_t len)
{
    return hd_http_may_pack(rq, type, len) && hd_http_takes_gzip(rq);
}

/* --- compressing ----------------------------------------------------------------------------------------
 */

static void *give(void *unused, uInt count, uInt size)
{
    (void)unused;
    return hd_calloc(count, size);
}

static void take_back(void *unused, void *p)
{
    (void)unused;
    hd_free(p);
}

int hd_http_pack(struct http_request *rq, const void *bytes, size_t len, struct hd_strbuf *out)
{
    struct hd_http *h = rq->engine->http;
    z_stream z = {.zalloc = give, .zfree = take_back};
    unsigned char block[16384];
    int code;

    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return HD_ENOMEM;
    z.next_in = (unsigned char *)(uintptr_t)bytes;
    z.avail_in = (uInt)len;
    do {
        z.next_out = block;
        z.avail_out = sizeof(block);
        code = deflate(&z, Z_FINISH);
        hd_strbuf_add(out, block, sizeof(block) - z.avail_out);
    } while (code == Z_OK);
    deflateEnd(&z);
    if (code != Z_STREAM_END || out->failed) {
        hd_strbuf_free(out);
        return HD_ENOMEM;
    }
    hd_metrics_add(h->rt->parts.metrics, h->counts.packed, 1);
    if (out->len < len)
        hd_metrics_add(h->rt->parts.metrics, h->counts.saved, (int64_t)(len - out->len));
    return HD_OK;
}
