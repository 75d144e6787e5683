/*
 * The replies that a server owes: one entry for each message that was forwarded to it and will be answered,
 * in order. The protocol is counted, not guessed: a server is idle and clean exactly when this queue is
 * empty.
 */
#ifndef HD_SESSION_EXPECT_H
#define HD_SESSION_EXPECT_H

#include <howdah/error.h>
#include <stdint.h>
#include "base/alloc.h"

enum hd_expect_kind {
    HD_EXPECT_PARSE = 1,     /* ParseComplete */
    HD_EXPECT_BIND,          /* BindComplete */
    HD_EXPECT_DESCRIBE,      /* RowDescription or NoData; ParameterDescription may come before */
    HD_EXPECT_ASK,           /* ParameterDescription, then RowDescription or NoData: the host's own */
    HD_EXPECT_EXECUTE,       /* rows; CommandComplete, EmptyQueryResponse or PortalSuspended */
    HD_EXPECT_CLOSE,         /* CloseComplete */
    HD_EXPECT_SYNC,          /* ReadyForQuery */
    HD_EXPECT_QUERY,         /* anything up to ReadyForQuery */
    HD_EXPECT_FUNCTION_CALL, /* FunctionCallResponse, ReadyForQuery */
    HD_EXPECT_LOCAL, /* nothing from the server: `ref` is what to tell the client when it is its turn */
};

/* Flags. */
#define HD_EXPECT_SWALLOW   1u  /* the host's own message: the client sees no reply to it */
#define HD_EXPECT_REPLACE   2u  /* an ErrorResponse to it is replaced by `ref` */
#define HD_EXPECT_MAYBE     4u  /* a Sync sent during COPY IN: the server may have ignored it */
#define HD_EXPECT_DESCRIBES 4u  /* PARSE of the host's own: for a Describe */
#define HD_EXPECT_MUST      8u  /* the host's own message whose failure ends the server connection */
#define HD_EXPECT_UNNAMED   16u /* PARSE, CLOSE of the unnamed statement */
#define HD_EXPECT_BYTES     32u /* LOCAL: `ref` is a struct hd_buf with the messages, held */
#define HD_EXPECT_CLOSED                                                                                     \
    64u /* CLOSE, LOCAL CloseComplete: `ref` is the struct hd_closed_name, to be put back if discarded */
#define HD_EXPECT_TAKEN                                                                                      \
    64u /* PARSE: under a name that is taken, so it fails; with SWALLOW: the error too                       \
         */

#define HD_EXPECT_SHOWN                                                                                      \
    64u                      /* DESCRIBE: of the portal that the EXECUTE behind it runs; its filters see it  \
                              */
#define HD_EXPECT_ENDED 128u /* SYNC: the client had sent CopyDone or CopyFail before it */
/* QUERY of the host's own: */
#define HD_EXPECT_PROBE    256u  /* what the session has left on the server (track.c) */
#define HD_EXPECT_RESTORE  512u  /* what RESET goes back to (restore.c); its ReadyForQuery is the client's */
#define HD_EXPECT_FORGETS  1024u /* what the server has drawn from sequences (sequence.c) */
#define HD_EXPECT_AHEAD    4096u /* what the client's text does first (prepared_sql.c) */
#define HD_EXPECT_DEFAULTS 8192u /* what the server has by itself (defaults.c) */
/* QUERY, SYNC: it resets what is to be restored. */
#define HD_EXPECT_FENCE 2048u

struct hd_expect {
    uint8_t kind;
    uint8_t type; /* LOCAL without bytes: the reply's message type; UNNAMED: the server had the client's */
    uint16_t flags;
    uint32_t seq; /* PARSE, LOCAL ParseComplete: number of the client's Parse, 0 for the host's own; others:
                   * of  the Parse that made the statement which the message is about; UNNAMED: number of the
                   * change to the server's unnamed statement */
    union {
        void *ref; /* EXECUTE, QUERY: struct hd_stmt or NULL; UNNAMED: the struct hd_prep before, held, or
                    * NULL; ASK: struct hd_ask; LOCAL: what `flags` say; with REPLACE: struct hd_buf, held */
        uint64_t
            id; /* PARSE, or CLOSE with SWALLOW: number of the statement there; 0: under a client's name */
    };
};

#define HD_EXPECT_INLINE 8
#define HD_EXPECT_MAX    65536 /* past it the client is not read until replies have come */

struct hd_expects {
    uint32_t head, count, cap;
    struct hd_expect *ring; /* NULL: `few` */
    struct hd_expect few[HD_EXPECT_INLINE];
};

static inline void hd_expects_init(struct hd_expects *q)
{
    q->head = q->count = 0;
    q->cap = HD_EXPECT_INLINE;
    q->ring = NULL;
}

static inline struct hd_expect *hd_expects_at(struct hd_expects *q, uint32_t i)
{
    return (q->ring ? q->ring : q->few) + ((q->head + i) & (q->cap - 1));
}

static inline struct hd_expect *hd_expects_head(struct hd_expects *q)
{
    return q->count ? hd_expects_at(q, 0) : NULL;
}

static inline int hd_expects_grow(struct hd_expects *q)
{
    struct hd_expect *r = hd_malloc(2 * q->cap * sizeof(*r));

    if (!r)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < q->count; i++)
        r[i] = *hd_expects_at(q, i);
    hd_free(q->ring);
    q->ring = r;
    q->head = 0;
    q->cap *= 2;
    return HD_OK;
}

static inline int hd_expects_push(struct hd_expects *q, struct hd_expect e)
{
    if (q->count == q->cap && hd_expects_grow(q))
        return HD_ENOMEM;
    q->count++;
    *hd_expects_at(q, q->count - 1) = e;
    return HD_OK;
}

static inline struct hd_expect hd_expects_pop(struct hd_expects *q)
{
    struct hd_expect e = *hd_expects_at(q, 0);

    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    return e;
}

/* Takes away the Syncs that stand directly behind the head: a copy reads them as part of its data. */
static inline void hd_expects_drop_syncs(struct hd_expects *q)
{
    struct hd_expect head = *hd_expects_at(q, 0);
    uint32_t n = 0;

    while (1 + n < q->count && hd_expects_at(q, 1 + n)->kind == HD_EXPECT_SYNC &&
           !(hd_expects_at(q, 1 + n)->flags & HD_EXPECT_ENDED))
        n++;
    q->head = (q->head + n) & (q->cap - 1);
    q->count -= n;
    *hd_expects_at(q, 0) = head;
}

static inline void hd_expects_free(struct hd_expects *q)
{
    hd_free(q->ring);
    hd_expects_init(q);
}

#endif
