/*
 * The plugin "alert-smtp" as its files share it.
 */
#ifndef ALERT_SMTP_H
#define ALERT_SMTP_H

#include "sinks/base.h"

enum sm_tls { SM_STARTTLS, SM_IMPLICIT, SM_NONE };

/* [smtp NAME] */
struct sm_conf {
    struct hd_str server, from, subject, user, password, ca_file, helo;
    struct hd_str_list to;
    int32_t tls, verify;
};

/* A text as it may stand in a header, `out` of `room` bytes: one line, and what is not ASCII encoded. */
void sm_header_text(const char *text, char *out, size_t room);
/* Now, as mails say it. */
void sm_date(char out[64]);

#endif
