/*
 * What the files of logging in share: login.c reads the first packet, login_auth.c lets the client prove
 * itself, login_enter.c finds its pool and counts it in, login_settings.c settles its settings and greets it.
 */
#ifndef HD_SESSION_LOGIN_PARTS_H
#define HD_SESSION_LOGIN_PARTS_H

#include "base/arena.h"
#include "session/auth.h"
#include "session/session.h"
#include "wire/scram.h"
#include "wire/startup.h"

#define HD_CONSOLE_DATABASE   "howdah"
#define HD_LOGIN_SETTINGS_MAX (2 * HD_STARTUP_PARAMS_MAX)

struct hd_login {
    struct hd_arena arena; /* holds the strings below, and the options' */
    const char *user, *database;
    const char *replication; /* NULL: an ordinary session */
    struct hd_param_entry settings[HD_LOGIN_SETTINGS_MAX];
    uint32_t setting_count;
    const struct hd_user_conf *user_conf;
    struct hd_settings *config; /* held: user_conf points into it */
    struct hd_scram_server scram;
    struct hd_scram_verifier found;       /* by auth_query */
    struct hd_auth_wait *looking;         /* for it; the client's messages stay where they are */
    const struct hd_database_conf *asked; /* by whose auth_query; of `config` */
    char *cache_key;
    uint32_t cache_key_len;
};

/* Ends the login. Returns `len`. */
size_t hd_login_refuse(struct hd_session *s, const char *sqlstate, const char *message, size_t len);
/* Sends and frees what was built, unless building failed. */
int hd_login_send_built(struct hd_session *s, struct hd_strbuf *sb, int code);

/* login_auth.c */
void hd_login_authenticate(struct hd_session *s);
/* A SASLInitialResponse or SASLResponse. */
void hd_login_sasl(struct hd_session *s, const struct hd_frame *f);

/* login_enter.c: the client has proved itself. */
void hd_login_enter(struct hd_session *s);
/* The host is its own client: it needs no proof, but what logs the user in to the server. */
void hd_login_enter_own(struct hd_session *s);

/* login_settings.c */
/* The pool's servers are known: settles the session's settings, with a server's help if need be. */
void hd_login_settle(struct hd_session *s);

#endif
