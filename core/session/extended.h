/*
 * Messages of the extended protocol from a client, with prepared statements renamed by content.
 */
#ifndef HD_SESSION_EXTENDED_H
#define HD_SESSION_EXTENDED_H

#include "session/session.h"

/* What became of a message that a client sent. */
enum hd_taken {
    HD_TAKEN,      /* done with these bytes */
    HD_TAKE_MORE,  /* wants link->want bytes first */
    HD_TAKE_LATER, /* the session waits or is parked: offer it again */
    HD_TAKE_END,   /* the session is closing */
};

enum hd_taken hd_extended_message(struct hd_session *s, const struct hd_frame *f);
/* Sync and Flush, which simple clients may send too. */
enum hd_taken hd_extended_sync(struct hd_session *s, const struct hd_frame *f);
enum hd_taken hd_extended_flush(struct hd_session *s, const struct hd_frame *f);

/* Portals end with their transaction. */
void hd_extended_transaction_ended(struct hd_session *s);
/* What a session holds of this file's. */
void hd_extended_free(struct hd_session *s);

#endif
