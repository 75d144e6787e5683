/*
 * Answers on their way from a server to its client. They are relayed as runs: messages that follow each other
 * in the receive buffer leave as one slice, cut only where the host keeps a message to itself or puts one of
 * its own in between. relay.c moves the bytes, answers.c says what each message means.
 */
#ifndef HD_SESSION_RELAY_H
#define HD_SESSION_RELAY_H

#include "session/session.h"

/* One buffer's worth of answers. */
struct hd_relay {
    struct hd_server *v;
    const uint8_t *run; /* from here on nothing was relayed yet */
};

enum hd_fate { HD_RELAY, HD_DROP };

extern const struct hd_link_ops hd_server_ops;

/* Decides about one message. Messages that are looked into are whole here. */
enum hd_fate hd_relay_message(struct hd_relay *r, const struct hd_frame *f);

/* Do messages of this type answer what the host asks about a statement? */
int hd_relay_asked(uint8_t type);

/* Sends the run up to `to`, and begins the next there. */
void hd_relay_flush(struct hd_relay *r, const uint8_t *to);
/* Replies of the host's own whose turn has come; `at` is the end of the server's reply before them. */
void hd_relay_locals(struct hd_relay *r, const uint8_t *at);
/* What the client reads instead of the server's message, which is to be dropped. */
void hd_relay_instead(struct hd_relay *r, const struct hd_frame *f, struct hd_buf *b);

#endif
