/*
 * What the files of the extended protocol share among themselves: parse.c, bind.c, execute.c, held.c and
 * extended.c.
 */
#ifndef HD_SESSION_EXTENDED_PARTS_H
#define HD_SESSION_EXTENDED_PARTS_H

#include "session/extended.h"

struct hd_parse_message {
    const char *name, *sql;
    size_t sql_len;
    const uint8_t *body; /* from the SQL on */
    uint32_t body_len;
};

struct hd_bind_message {
    const char *portal, *name;
    size_t portal_len, name_len;
};

/* 1, or 0 where the message cannot be understood. */
int hd_read_parse(const uint8_t *body, uint32_t len, struct hd_parse_message *out);
int hd_read_bind(const struct hd_frame *f, struct hd_bind_message *out);
/* 'S' or 'P' and one string: Describe and Close. */
int hd_target_readable(const struct hd_frame *f);

/* Looking at a message: what it means for the session. */
enum hd_taken hd_on_parse(struct hd_session *s, const struct hd_frame *f);
enum hd_taken hd_on_bind(struct hd_session *s, const struct hd_frame *f);
enum hd_taken hd_on_describe(struct hd_session *s, const struct hd_frame *f);
enum hd_taken hd_on_execute(struct hd_session *s, const struct hd_frame *f);

/* Forwarding it: what it means for the server. `n`: the name that it is about; NULL: not one of the client's,
 * or the unnamed statement. */
enum hd_taken hd_forward_named_parse(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                     struct hd_name *n);
enum hd_taken hd_forward_bind(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                              const struct hd_bind_message *b, struct hd_name *n);
/* `flags`: HD_EXPECT_SHOWN, or 0. */
enum hd_taken hd_forward_describe(struct hd_session *s, const struct hd_frame *f, struct hd_buf *buf,
                                  uint16_t flags);
/* What cannot be understood goes to the server as it is, which says what is wrong. */
enum hd_taken hd_forward_unread(struct hd_session *s, const struct hd_frame *f, enum hd_expect_kind kind);

/* PostgreSQL's words about a name; there is no other way to say them, since its server knows other names. */
void hd_refuse_name(struct hd_session *s, const char *sqlstate, const char *name, const char *what);
/* Ends the session for want of memory. */
enum hd_taken hd_no_memory(struct hd_session *s);

#endif
