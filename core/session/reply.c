/*
 * Replies of the host's own; see reply.h.
 */
#include "session/reply.h"

#include <string.h>

#include "session/server.h"
#include "wire/build.h"
#include "wire/describe.h"

int hd_reply_now(const struct hd_session *s)
{
    return !s->server || !s->server->expects.count;
}

int hd_reply_buf(struct hd_session *s, struct hd_buf *b)
{
    int code;

    if (hd_reply_now(s))
        return hd_link_send(&s->link, b, b->data, b->len);
    code = hd_server_expect(
        s->server,
        (struct hd_expect){.kind = HD_EXPECT_LOCAL, .flags = HD_EXPECT_BYTES, .ref = hd_buf_hold(b)});
    if (code)
        hd_buf_drop(b);
    return code;
}

int hd_reply_bytes(struct hd_session *s, const void *bytes, size_t len)
{
    struct hd_buf *b;
    int code;

    if (hd_reply_now(s))
        return hd_link_send_copy(&s->link, bytes, len);
    b = hd_buf_new(&s->w->io.bufs, (uint32_t)len);
    if (!b)
        return HD_ENOMEM;
    memcpy(b->data, bytes, len);
    b->len = (uint32_t)len;
    code = hd_reply_buf(s, b);
    hd_buf_drop(b);
    return code;
}

int hd_reply_bare(struct hd_session *s, uint8_t type, uint32_t seq)
{
    const uint8_t bare[5] = {type, 0, 0, 0, 4};

    if (hd_reply_now(s))
        return hd_link_send_copy(&s->link, bare, sizeof(bare));
    return hd_server_expect(s->server, (struct hd_expect){.kind = HD_EXPECT_LOCAL, .type = type, .seq = seq});
}

struct hd_buf *hd_reply_error_buf(struct hd_session *s, const char *severity, const char *sqlstate,
                                  const char *message, const char *detail, const char *hint)
{
    const struct hd_report rep = {severity, sqlstate, message, detail, hint};
    size_t cap = 64 + strlen(message) + (detail ? strlen(detail) : 0) + (hint ? strlen(hint) : 0);
    struct hd_buf *b = hd_buf_new(&s->w->io.bufs, (uint32_t)cap);
    struct hd_build out;

    if (!b)
        return NULL;
    out = hd_build_into(b->data, b->cap, 0);
    if (hd_build_error(&out, &rep)) {
        hd_buf_drop(b);
        return NULL;
    }
    b->len = (uint32_t)out.len;
    return b;
}
