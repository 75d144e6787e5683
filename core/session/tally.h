/*
 * How many clients a database and a user have, counted over all workers, for their max_clients.
 */
#ifndef HD_SESSION_TALLY_H
#define HD_SESSION_TALLY_H

#include "session/session.h"

enum hd_tally_kind { HD_TALLY_DATABASE, HD_TALLY_USER };

/* Counts one client in, unless there are `max` already (0: no limit). HD_OK with *out, which leave() wants
 * back; HD_EFULL or HD_ENOMEM. [worker] */
int hd_tally_enter(struct hd_workers *all, enum hd_tally_kind kind, const char *name, int64_t max,
                   struct hd_tally **out) HD_MUST_USE;
void hd_tally_leave(struct hd_tally *t); /* NULL is allowed [worker] */
/* Everybody has left. */
void hd_tallies_free(struct hd_workers *all);

#endif
