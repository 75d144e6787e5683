/* A slow statement as it is remembered: what its record shows, and what its plan hangs on. */
#ifndef MONITOR_SLOW_PARTS_H
#define MONITOR_SLOW_PARTS_H

#include "monitor.h"

#define MON_SLOW_TEXT 2000

/* What its plan hangs on and is not known. */
#define MON_UNSURE_PATH     1u /* search_path: the user's default is assumed */
#define MON_UNSURE_SETTINGS 2u /* the planner's settings of the session, or temporary tables */

struct mon_slow_record {
    uint64_t number; /* 0: empty */
    int64_t time_us;
    uint64_t fingerprint, total_ns, queue_ns, first_ns, rows, bytes, usual_ns;
    uint32_t kind, statements, params, answered, unsure;
    uint64_t facts;
    char database[HD_EVENT_NAME], user[HD_EVENT_NAME], application[HD_EVENT_NAME], node[HD_EVENT_NAME],
        dbname[HD_EVENT_NAME], sqlstate[8];
    char role[HD_EVENT_NAME]; /* in whose rights it ran: the user, or the session's SET ROLE */
    char search_path[256];    /* empty: not known */
    char settings[512];       /* of the planner, which the client has set: NAME=VALUE, a line each */
    uint32_t text_len;        /* of all of it; MON_SLOW_TEXT are kept */
    char text[MON_SLOW_TEXT];
};

/* Notes what of the session the plan hangs on. [worker] */
void mon_slow_context(struct mon_slow_record *r, const struct hd_statement *st);

/* Those recorded after number `after`, the oldest first. [control] */
void mon_slow_each(struct mon_slow *s, uint64_t after, void (*fn)(void *arg, const struct mon_slow_record *r),
                   void *arg);

#endif
