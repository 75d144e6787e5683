/*
 * What servers have for settings that nobody has set and that they do not tell of by themselves: search_path,
 * bytea_output and the like, as the server's configuration, the database and the role say. Filters that keep
 * answers have to know them, so where there are filters each new connection is asked once, together with its
 * making, and one of a pool's every ten seconds, for a configuration that is reloaded changes connections
 * that are there.
 *
 * The sessions of a pool that have no server at the moment rely on all of its servers being alike. The newest
 * answer counts: servers that say otherwise when they are asked again are closed. Where answers change all
 * the time, as behind an address of several servers, none is taken for the pool's until that has calmed down.
 */
#ifndef HD_SESSION_DEFAULTS_H
#define HD_SESSION_DEFAULTS_H

#include "session/session.h"

/* What a connection of the pool is asked when it is made; NULL: nothing. */
const char *hd_defaults_question(const struct hd_pool *p);
/* A server has just been made, and this is what it has answered: its settings, and who it is (settle.h). */
void hd_defaults_learn(struct hd_server *v, PGresult *const *answers);
/* The server owes nothing, is in no transaction, and is to be asked again: 1 when the question is on its way.
 */
int hd_defaults_ask(struct hd_server *v);
/* The row that answers it, and the end of the answer. */
void hd_defaults_row(struct hd_server *v, const struct hd_frame *f);
void hd_defaults_answered(struct hd_server *v);
/* It has come from another worker, with what it is known to have there. Takes the copy; NULL: nothing. */
void hd_defaults_moved(struct hd_server *v, struct hd_params_copy *copy);
/* Each tick: what other workers have learned, and who is to be asked. */
void hd_defaults_tick(struct hd_pool *p, uint64_t now);

/* What the session's next statement in this pool will find: of its own server, or of any of the pool. NULL:
 * not known. */
static inline const struct hd_params *hd_defaults_of(const struct hd_session *s, const struct hd_pool *p)
{
    return s->server && s->server->pool == p ? s->server->defaults : p->defaults;
}

#endif
