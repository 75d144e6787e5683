/*
 * Messages that are kept back; see held.h.
 */
#include "session/held.h"

#include <string.h>

#include "base/alloc.h"
#include "session/client.h"
#include "session/extended_parts.h"
#include "session/forward.h"
#include "session/prepared.h"
#include "session/reply.h"

const struct hd_held_message *hd_held_find(const struct hd_session *s, uint8_t type)
{
    for (uint32_t i = 0; s->held && i < s->held->count; i++)
        if (s->held->m[i].type == type)
            return &s->held->m[i];
    return NULL;
}

/* Parse, then Bind, then Describe of the portal; each at most once. */
static int fits(const struct hd_session *s, const struct hd_frame *f)
{
    static const char order[] = {HD_MSG_PARSE, HD_MSG_BIND, HD_MSG_DESCRIBE};
    const struct hd_held *h = s->held;
    const char *at = memchr(order, f->type, sizeof(order));
    const char *last = h && h->count ? memchr(order, h->m[h->count - 1].type, sizeof(order)) : NULL;

    return at && (last ? at > last : f->type != HD_MSG_DESCRIBE);
}

int hd_held_add(struct hd_session *s, const struct hd_frame *f, uint32_t seq)
{
    struct hd_held *h = s->held;
    uint32_t used = h ? h->buf->len : 0;
    struct hd_buf *b;

    if (!fits(s, f) || used + f->total > (uint32_t)s->w->settings->host.max_statement_length)
        return 0;
    if (!h) {
        h = hd_calloc(1, sizeof(*h));
        if (!h || !(h->buf = hd_buf_new(&s->w->io.bufs, f->total))) {
            hd_free(h);
            return 0;
        }
        s->held = h;
    }
    if (h->buf->cap - used < f->total) {
        b = hd_buf_new(&s->w->io.bufs, used + f->total);
        if (!b)
            return 0;
        memcpy(b->data, h->buf->data, used);
        hd_buf_drop(h->buf);
        h->buf = b;
    }
    memcpy(h->buf->data + used, f->data, f->total);
    h->buf->len = used + f->total;
    h->m[h->count++] = (struct hd_held_message){used, f->total, seq, f->type};
    return 1;
}

int hd_held_parse(struct hd_session *s, const struct hd_frame *f, uint32_t seq, struct hd_prep *unnamed)
{
    if (!hd_held_add(s, f, seq))
        return 0;
    if (unnamed) {
        s->held->unnamed = 1;
        s->held->before = s->unnamed;
        s->unnamed = hd_prep_hold(unnamed);
    }
    return 1;
}

/* The client's unnamed statement is again what it was in front of the Parse. Returns what the Parse made it,
 * with its reference. */
static struct hd_prep *unnamed_as_before(struct hd_session *s, struct hd_held *h)
{
    struct hd_prep *now = s->unnamed;

    s->unnamed = h->before;
    h->before = NULL;
    h->unnamed = 0;
    return now;
}

static void free_held(struct hd_session *s, struct hd_held *h)
{
    hd_prep_drop(hd_session_preps(s), h->before);
    hd_buf_drop(h->buf);
    hd_free(h);
}

void hd_held_drop(struct hd_session *s, int undo)
{
    struct hd_held *h = s->held;

    if (!h)
        return;
    for (uint32_t i = 0; undo && i < h->count; i++)
        if (h->m[i].type == HD_MSG_PARSE)
            hd_names_undo(&s->names, hd_session_preps(s), h->m[i].seq);
    if (undo && h->unnamed)
        hd_prep_drop(hd_session_preps(s), unnamed_as_before(s, h));
    s->held = NULL;
    free_held(s, h);
}

void hd_held_skip(struct hd_session *s)
{
    s->exporting = 0;
    hd_held_drop(s, 1);
    hd_finish_pending(s, 0, "25P02");
}

struct hd_frame hd_held_frame(const struct hd_held *h, const struct hd_held_message *m)
{
    return (struct hd_frame){.type = m->type, .data = h->buf->data + m->off, .here = m->len, .total = m->len};
}

static enum hd_taken forward_held_parse(struct hd_session *s, struct hd_held *h,
                                        const struct hd_held_message *m, const struct hd_name *instead)
{
    struct hd_frame f = hd_held_frame(h, m);
    enum hd_taken taken = HD_TAKEN;
    struct hd_prep *prep;
    struct hd_name *n;

    if (instead)
        return hd_reply_bare(s, HD_MSG_PARSE_COMPLETE, m->seq) ? hd_no_memory(s) : HD_TAKEN;
    if (!h->unnamed) {
        n = hd_names_of_seq(&s->names, m->seq);
        return n ? hd_forward_named_parse(s, &f, h->buf, n) : HD_TAKEN;
    }
    prep = unnamed_as_before(s, h);
    if (hd_unnamed_parse(s, prep))
        taken = hd_no_memory(s);
    hd_prep_drop(hd_session_preps(s), prep);
    return taken;
}

static enum hd_taken forward_held(struct hd_session *s, struct hd_held *h, const struct hd_held_message *m,
                                  struct hd_name *instead)
{
    struct hd_frame f = hd_held_frame(h, m);
    struct hd_bind_message b;

    switch (m->type) {
    case HD_MSG_PARSE:
        return forward_held_parse(s, h, m, instead);
    case HD_MSG_BIND:
        hd_read_bind(&f, &b);
        return hd_forward_bind(s, &f, h->buf, &b, instead ? instead : hd_names_find(&s->names, b.name));
    default:
        return hd_forward_describe(s, &f, h->buf, s->pending ? HD_EXPECT_SHOWN : 0);
    }
}

int hd_held_release_as(struct hd_session *s, struct hd_name *instead)
{
    struct hd_held *h = s->held;
    enum hd_taken taken = HD_TAKEN;

    if (!h)
        return 1;
    if (!s->server && !hd_session_want_server(s))
        return 0;
    s->held = NULL; /* what follows forwards, and never holds */
    while (taken == HD_TAKEN && h->released < h->count) {
        taken = forward_held(s, h, &h->m[h->released], instead);
        h->released += taken == HD_TAKEN;
    }
    if (taken == HD_TAKE_LATER) {
        s->held = h;
        return 0;
    }
    free_held(s, h);
    return taken == HD_TAKEN;
}

int hd_held_release(struct hd_session *s)
{
    return hd_held_release_as(s, NULL);
}
