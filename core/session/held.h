/*
 * Messages of the extended protocol that are kept back until a filter has decided: Parse, Bind and Describe
 * of one portal, up to its Execute. Kept only where a filter may answer, rewrite or route, so most sessions
 * never have any.
 */
#ifndef HD_SESSION_HELD_H
#define HD_SESSION_HELD_H

#include "session/session.h"

struct hd_held_message {
    uint32_t off, len; /* in buf */
    uint32_t seq;      /* PARSE: the client's number */
    uint8_t type;
};

#define HD_HELD_MAX 3

struct hd_held {
    struct hd_buf *buf;
    uint32_t count, released; /* so many; the next waits */
    struct hd_prep
        *before;     /* the unnamed statement's content in front of the Parse, where that is of it; held */
    uint8_t unnamed; /* it is */
    struct hd_held_message m[HD_HELD_MAX];
};

/* Keeps a whole message (a copy). 1, or 0 when it does not fit the pattern or the bound: release, then go on.
 */
int hd_held_add(struct hd_session *s, const struct hd_frame *f, uint32_t seq);
/* Begins with a Parse; `unnamed`: the content that the unnamed statement has from now on, or NULL. */
int hd_held_parse(struct hd_session *s, const struct hd_frame *f, uint32_t seq, struct hd_prep *unnamed);
/* The kept message of that type, or NULL. */
const struct hd_held_message *hd_held_find(const struct hd_session *s, uint8_t type);
/* Forwards what is kept, in order. 0: it waits, offer the present message again. */
int hd_held_release(struct hd_session *s);
/* The same, with another statement where `instead` is not NULL. */
int hd_held_release_as(struct hd_session *s, struct hd_name *instead);
/* A kept message as it came. */
struct hd_frame hd_held_frame(const struct hd_held *h, const struct hd_held_message *m);
/* Throws it away; `undo`: the Parse in it never happened. */
void hd_held_drop(struct hd_session *s, int undo);
/* An error has come while it waited: what is kept back is skipped with the batch. */
void hd_held_skip(struct hd_session *s);

#endif
