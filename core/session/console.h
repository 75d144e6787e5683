/*
 * The SQL console: sessions on the host's own database, whose statements are commands of the registry.
 */
#ifndef HD_SESSION_CONSOLE_H
#define HD_SESSION_CONSOLE_H

#include "session/extended.h"

int hd_console_open(struct hd_session *s, const char *user);
void hd_console_free(struct hd_session *s);
/* Who logged in; valid while the session is. */
const char *hd_console_user(const struct hd_session *s);
/* The command that runs is given up (it may take effect yet); its session goes on. */
void hd_console_cancel(struct hd_session *s);
/* What a console session's greeting reports. NULL: no memory. */
struct hd_params *hd_console_params(struct hd_worker *w, const char *user);

/* sql NULL: not a text, or too long. */
enum hd_taken hd_console_query(struct hd_session *s, const char *sql, size_t len);
enum hd_taken hd_console_extended(struct hd_session *s, const struct hd_frame *f);

#endif
