/*
 * The end of transactions that filters want to hear of: told before the client sees COMMIT's CommandComplete,
 * or the ReadyForQuery that says so, which a filter may hold back.
 */
#ifndef HD_SESSION_ENDING_H
#define HD_SESSION_ENDING_H

#include "session/settle.h"

/* The server's next message stands at the front of its link. 1: it is not to be looked at yet, and the link
 * is paused. */
int hd_ending_holds(struct hd_server *v, const struct hd_frame *f) HD_MUST_USE;
HD_MUST_USE static inline int hd_ending_hold(struct hd_server *v, const struct hd_frame *f)
{
    return v->session && HD_UNLIKELY(v->session->chain.touched || v->session->ending) &&
           hd_ending_holds(v, f);
}

/* The filter lets it go on. */
void hd_ending_resumed(struct hd_session *s);
/* The session ends, or its server has gone in the middle; `leaving` of before it left the server. */
void hd_ending_lost(struct hd_session *s, uint32_t end, struct hd_leaving leaving);

#endif
