/*
 * Which template and text each of a client's portals runs, as far as it is known.
 */
#ifndef HD_SESSION_PORTAL_H
#define HD_SESSION_PORTAL_H

#include "session/session.h"

/* Notes which template a portal runs; NULL: not known. `prep` where somebody will ask for its text, else
 * NULL. HD_OK or HD_ENOMEM. */
int hd_portal_set(struct hd_session *s, const char *name, struct hd_template *tmpl,
                  struct hd_prep *prep) HD_MUST_USE;
struct hd_template *hd_portal_template(const struct hd_session *s, const char *name);
struct hd_prep *hd_portal_prep(const struct hd_session *s, const char *name);
/* Forgets the named ones; or all. */
void hd_portals_forget(struct hd_session *s);
void hd_portals_free(struct hd_session *s);

#endif
