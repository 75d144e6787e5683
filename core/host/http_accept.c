/*
 * What a client takes and what it has: Accept, Accept-Encoding and If-None-Match, which are lists, and may
 * stand on several lines.
 */
#include "base/check.h"
#include "host/http_parts.h"

#include <string.h>
#include <strings.h>

/* --- lists ----------------------------------------------------------------------------------------------
 */

static enum MHD_Result on_line(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct hd_strbuf *out = ((void **)arg)[0];
    const char *wanted = ((void **)arg)[1];

    (void)kind;
    if (strcasecmp(name, wanted) || !value)
        return MHD_YES;
    if (out->len)
        hd_strbuf_puts(out, ", ");
    hd_strbuf_puts(out, value);
    return MHD_YES;
}

/* All lines of that header, as the one list that they are. */
static void all_lines(const struct http_request *rq, const char *name, struct hd_strbuf *out)
{
    void *arg[] = {out, (void *)(uintptr_t)name};

    MHD_get_connection_values(rq->connection, MHD_HEADER_KIND, on_line, arg);
}

/* Bytes up to one of `ends` that stands in no quoted string. */
static size_t until(const char *at, const char *ends)
{
    const char *p = at;
    int quoted = 0;

    for (; *p && (quoted || !strchr(ends, *p)); p++) {
        if (*p == '"')
            quoted = !quoted;
        else if (quoted && *p == '\\' && p[1])
            p++;
    }
    return (size_t)(p - at);
}

/* "0", "0.5", "1.000": in thousandths; what is none of these counts as 1. */
static int thousandths(const char *q)
{
    int n = 0;

    if (*q != '0')
        return 1000;
    q += q[1] == '.' ? 2 : 1;
    for (int unit = 100; unit && *q >= '0' && *q <= '9'; unit /= 10, q++)
        n += (*q - '0') * unit;
    return n;
}

/* The weight of an element such as "text/html;level=1;q=0.5". */
static int weight_of(const char *parameters, const char *end)
{
    while (parameters < end) {
        const char *p = parameters + 1 + strspn(parameters + 1, " \t");

        if (p < end && (*p == 'q' || *p == 'Q') && p[1] == '=')
            return thousandths(p + 2);
        parameters = p + until(p, ";,");
    }
    return 1000;
}

int hd_http_weight(const char *list, const char *name)
{
    int found = -1;

    for (const char *at = list; at && *at;) {
        size_t len, n;

        at += strspn(at, ", \t");
        len = until(at, ",");
        n = strcspn(at, ";, \t");
        if (n == strlen(name) && !strncasecmp(at, name, n))
            found = weight_of(at + n + strspn(at + n, " \t"), at + len);
        at += len;
    }
    return found;
}

/* --- what is taken --------------------------------------------------------------------------------------
 */

int hd_http_accepts_gzip(const char *accepted)
{
    int gzip = hd_http_weight(accepted, "gzip"), old = hd_http_weight(accepted, "x-gzip");
    int any = hd_http_weight(accepted, "*"), plain = hd_http_weight(accepted, "identity");

    if (gzip < 0)
        gzip = old >= 0 ? old : any;
    return gzip > 0 && gzip >= plain;
}

int hd_http_takes_gzip(const struct http_request *rq)
{
    struct hd_strbuf list = HD_STRBUF_INIT;
    int takes;

    all_lines(rq, MHD_HTTP_HEADER_ACCEPT_ENCODING, &list);
    takes = hd_http_accepts_gzip(hd_strbuf_str(&list));
    hd_strbuf_free(&list);
    return takes;
}

int hd_http_prefers(const struct http_request *rq, const char *const *types, const char *const *others)
{
    struct hd_strbuf list = HD_STRBUF_INIT;
    int best = 0, other = 0, w;

    all_lines(rq, MHD_HTTP_HEADER_ACCEPT, &list);
    for (; *types; types++)
        best = (w = hd_http_weight(hd_strbuf_str(&list), *types)) > best ? w : best;
    for (; *others; others++)
        other = (w = hd_http_weight(hd_strbuf_str(&list), *others)) > other ? w : other;
    hd_strbuf_free(&list);
    return best > 0 && best >= other;
}

/* --- what it has ----------------------------------------------------------------------------------------
 */

int hd_http_names_version(const char *list, const char *quoted)
{
    for (const char *at = list; *at;) {
        size_t len;

        at += strspn(at, ", \t");
        if (*at == '*')
            return 1;
        if (!strncmp(at, "W/", 2)) /* the weak comparison: what means the same will do */
            at += 2;
        len = until(at, ", \t");
        if (len == strlen(quoted) && !memcmp(at, quoted, len))
            return 1;
        at += len;
    }
    return 0;
}

int hd_http_has_version(const struct http_request *rq, const char *quoted)
{
    struct hd_strbuf list = HD_STRBUF_INIT;
    int has;

    all_lines(rq, MHD_HTTP_HEADER_IF_NONE_MATCH, &list);
    has = hd_http_names_version(hd_strbuf_str(&list), quoted);
    hd_strbuf_free(&list);
    return has;
}
