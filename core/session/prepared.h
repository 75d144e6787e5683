/*
 * What a client has prepared, and bringing it to the server that it has at the moment: prepared statements
 * live on servers under names of the host's (prep.h), the unnamed one as itself.
 */
#ifndef HD_SESSION_PREPARED_H
#define HD_SESSION_PREPARED_H

#include "session/session.h"
#include "session/statement.h"

static inline struct hd_prep_table *hd_session_preps(const struct hd_session *s)
{
    return s->w->all->preps;
}

/* The content that a name stands for; NULL: the client has no such name. */
struct hd_prep *hd_prepared_content(struct hd_session *s, const char *name);
/* A name that is nobody's goes to the server as it is, so that PostgreSQL answers; unless it is one of ours
 * there. */
int hd_prepared_foreign(const char *name);
/* Changes what an unnamed statement is, the client's or the server's. p may be NULL. */
void hd_prepared_set_unnamed(struct hd_prep_table *t, struct hd_prep **slot, struct hd_prep *p);

/* A Parse of the content under `name`. The rest of the message is the content's body as it is. */
int hd_prepared_send_parse(struct hd_session *s, struct hd_prep *p, const char *name, unsigned flags,
                           uint32_t seq) HD_MUST_USE;
/* Makes sure that the server has the content under its name. */
int hd_prepared_ensure(struct hd_session *s, struct hd_prep *p, unsigned flags, uint32_t seq) HD_MUST_USE;
/* The server must have what a message is about. HD_OK, or HD_ENOMEM. */
int hd_prepared_ready(struct hd_session *s, const char *name, struct hd_prep *p) HD_MUST_USE;
/* DEALLOCATE of a name that the client made by Parse: the server, which knows it by another, is given
 * something to deallocate. */
int hd_prepared_give(struct hd_session *s, const struct hd_text *t) HD_MUST_USE;

/* A name that the client closed, in case the server skips the Close. */
struct hd_closed_name {
    struct hd_prep *prep;
    uint32_t seq;
    char name[];
};
void hd_closed_name_free(struct hd_prep_table *t, struct hd_closed_name *c);
void hd_extended_unclose(struct hd_session *s, const struct hd_closed_name *c);

/* The unnamed statement is gone on both sides. s may be NULL. */
void hd_extended_unnamed_lost(struct hd_session *s, struct hd_server *v);

#endif
