/*
 * Framing: where messages begin and end in a run of bytes that arrived in pieces of any size.
 *
 * The caller holds the bytes; the scan holds only how far into the current message they have been taken.
 * hd_frame_next looks and changes nothing, hd_frame_take moves on. So a caller streams a message by taking
 * each piece as it comes, or gathers it by not taking anything until it is whole; both with the same two
 * calls and without a copy. A head (type and length) that is split is left in the caller's buffer: at most 4
 * bytes.
 */
#ifndef HD_WIRE_FRAME_H
#define HD_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/error.h"
#include "wire/proto.h"

/* Bounds of one type's length word. A max of 0 means that there is no such message. */
struct hd_frame_rule {
    uint32_t min; /* 0: only the protocol's own minimum of 4 */
    uint32_t max; /* at most HD_MSG_LENGTH_MAX */
};

/* What a client may send once it is logged in, with the server's own limits. */
extern const struct hd_frame_rule hd_frame_frontend[256];
/* What a client may send between its StartupMessage and AuthenticationOk. */
extern const struct hd_frame_rule hd_frame_login[256];
/* What a server may send. Fixed-size messages are held to their size, so a reader may trust it. */
extern const struct hd_frame_rule hd_frame_backend[256];

struct hd_frame_scan {
    const struct hd_frame_rule *rules; /* 256 of them, borrowed */
    uint32_t total;                    /* of the message that is partly taken: its bytes, the type's too */
    uint32_t taken;                    /* of these, taken already; 0 between messages */
    uint8_t type;
};

/* The piece of one message that is here. */
struct hd_frame {
    const uint8_t *data; /* in the caller's buffer; the first piece starts with the head */
    uint32_t here;       /* bytes at data that belong to the message */
    uint32_t offset;     /* where in the message data stands */
    uint32_t total;      /* the whole message, head included */
    uint8_t type;
};

static inline void hd_frame_scan_init(struct hd_frame_scan *s, const struct hd_frame_rule *rules)
{
    *s = (struct hd_frame_scan){.rules = rules};
}

/* Does the next byte begin a message? */
static inline int hd_frame_between(const struct hd_frame_scan *s)
{
    return s->taken == 0;
}

static inline int hd_frame_whole(const struct hd_frame *f)
{
    return f->here == f->total;
}

/* Does this piece reach the message's end? */
static inline int hd_frame_last(const struct hd_frame *f)
{
    return f->offset + f->here == f->total;
}

/* The body of a whole frame. */
static inline const uint8_t *hd_frame_body(const struct hd_frame *f)
{
    return f->data + HD_MSG_HEAD;
}

static inline uint32_t hd_frame_body_len(const struct hd_frame *f)
{
    return f->total - HD_MSG_HEAD;
}

/* The rest of a message whose head was taken before. */
static inline int hd_frame_continue(const struct hd_frame_scan *s, const uint8_t *p, size_t len,
                                    struct hd_frame *f)
{
    uint32_t left = s->total - s->taken;

    *f = (struct hd_frame){.data = p, .offset = s->taken, .total = s->total, .type = s->type};
    f->here = len < left ? (uint32_t)len : left;
    return len ? HD_OK : HD_PENDING;
}

/*
 * Looks at the message at p, of which `len` bytes (and perhaps following messages) are here. HD_OK: f tells
 * the piece. HD_PENDING: more bytes are needed to know anything. HD_EPROTO: a type or length that cannot be;
 * hd_frame_fail puts it into words. Changes nothing in s.
 */
static inline int hd_frame_next(const struct hd_frame_scan *s, const uint8_t *p, size_t len,
                                struct hd_frame *f)
{
    const struct hd_frame_rule *rule;
    uint32_t length;

    if (HD_UNLIKELY(s->taken))
        return hd_frame_continue(s, p, len, f);
    if (HD_UNLIKELY(len < HD_MSG_HEAD))
        return len && !s->rules[p[0]].max ? HD_EPROTO : HD_PENDING;
    rule = &s->rules[p[0]];
    HD_ASSERT(rule->max <= HD_MSG_LENGTH_MAX);
    length = hd_get_u32(p + 1);
    if (HD_UNLIKELY(length < HD_MSG_LENGTH_MIN || length < rule->min || length > rule->max))
        return HD_EPROTO;
    f->type = p[0];
    f->data = p;
    f->offset = 0;
    f->total = length + 1;
    f->here = len < f->total ? (uint32_t)len : f->total;
    return HD_OK;
}

/* Moves on by the first n bytes of the frame that hd_frame_next gave last: with a first piece, its head at
 * least. The caller's pointer moves by as many. */
static inline void hd_frame_take(struct hd_frame_scan *s, const struct hd_frame *f, uint32_t n)
{
    HD_ASSERT(f->offset == s->taken && n <= f->here && f->offset + n >= HD_MSG_HEAD);
    s->type = f->type;
    s->total = f->total;
    s->taken = f->offset + n == f->total ? 0 : f->offset + n;
}

/* Says what was wrong with the head at p, after HD_EPROTO; returns HD_EPROTO. */
int hd_frame_fail(const struct hd_frame_scan *s, const uint8_t *p, size_t len, struct hd_error *err);

#endif
