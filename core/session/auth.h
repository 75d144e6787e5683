/*
 * Users that the configuration does not know: a database's auth_query asks the server for their verifiers, in
 * a job, as the node's control user. Answers are kept for a while, also that there is no such user; however
 * many wait for the same user, the server is asked once.
 */
#ifndef HD_SESSION_AUTH_H
#define HD_SESSION_AUTH_H

#include "session/session.h"
#include "wire/scram.h"

struct hd_auth_cache;
struct hd_auth_wait;

struct hd_auth_stats {
    uint64_t asked, failed;
    uint32_t entries;
};

/* `most` answers are kept; the oldest gives way. NULL: no memory. */
struct hd_auth_cache *hd_auth_new(size_t most);
/* Answers that come later reach nobody, and nothing more is asked. While the workers' loops run. */
void hd_auth_close(struct hd_auth_cache *a);
/* No session is left. */
void hd_auth_free(struct hd_auth_cache *a);

/* What is known of `user` in the database. HD_OK with *out; HD_ENOENT: nobody who may log in by a password;
 * HD_PENDING: `done` gets code and verifier on the session's worker, unless hd_auth_give_up came before;
 * anything else: it cannot be asked now. */
typedef void hd_auth_done(struct hd_session *s, int code, const struct hd_scram_verifier *v);
int hd_auth_find(struct hd_session *s, const struct hd_database_conf *conf, const char *user,
                 hd_auth_done *done, struct hd_scram_verifier *out, struct hd_auth_wait **wait) HD_MUST_USE;
/* The session waits no longer. */
void hd_auth_give_up(struct hd_auth_wait *w);
/* The answer has proved to be wrong, or is suspected to be: the next login asks again. */
void hd_auth_forget(struct hd_auth_cache *a, const struct hd_database_conf *conf, const char *user);

void hd_auth_get_stats(struct hd_auth_cache *a, struct hd_auth_stats *out);

#endif
