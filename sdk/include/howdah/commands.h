/*
 * Commands: one registry serves the SQL console, howdahctl and HTTP. Service "howdah.commands/1".
 */
#ifndef HOWDAH_COMMANDS_H
#define HOWDAH_COMMANDS_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_COMMANDS "howdah.commands/1"

/* Types of a result's columns. Since ABI 0.1. */
#define HD_COL_TEXT 1
#define HD_COL_INT  2
#define HD_COL_REAL 3
#define HD_COL_BOOL 4
#define HD_COL_TIME 5 /* int64 microseconds since 1970 */

/* Flags of a command. Since ABI 0.1. */
#define HD_CMDF_READ_ONLY 1u /* changes nothing; GET over HTTP */
/* All that stands behind the name is one argument, whatever is in it, but for blanks around it and semicolons
 * at its end: a statement in SQL. Where it is one quoted word, without the quotes. */
#define HD_CMDF_RAW 2u
/* A second, shorter name of a command of the plugin's. It gives way to a command that another plugin has
 * under that name, whichever comes first, and is back when that one has gone. */
#define HD_CMDF_ALIAS 4u

/* A call of a command; borrowed for the call. Since ABI 0.1. */
struct hd_call {
    uint32_t size;
    uint32_t arg_count;
    const struct hd_str *args; /* words after the name, each NUL-terminated; quotes are taken off */
    struct hd_str user;        /* who asks; empty over the control socket */
    hd_result *result;         /* to fill; completed by returning HD_OK or an error */
};

/* Service "howdah.commands/1". Since ABI 0.1. */
struct hd_commands_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Registers `name` (one to three upper-case words: "SHOW STATEMENTS", "CACHE STATS"). `usage` shows the
     * arguments: "[TOP n]"; where it is empty or NULL, the host refuses a call with any. The handler fills
     * call->result and returns HD_OK or an error with text; or HD_PENDING, and later finish(): then the
     * result stays valid until that, also when whoever asked has gone. Handlers run one at a time [control].
     * Removed when the plugin stops. HD_EEXIST when the name is taken; `err` says by whom. A line means the
     * command whose name has the most words of it. [control] */
    int32_t (*add)(hd_host *host, const char *name, const char *usage, const char *doc, uint32_t flags,
                   int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err), void *arg,
                   struct hd_error *err);
    /* Building a result: all columns first, then cell by cell; a row is full when it has as many cells as
     * there are columns. Texts are copied. Handlers and whoever finishes later call these, one thread at a
     * time [any]. */
    void (*column)(hd_result *r, const char *name, uint32_t type);
    void (*text)(hd_result *r, struct hd_str value);
    void (*integer)(hd_result *r, int64_t value); /* INT, BOOL, TIME */
    void (*real)(hd_result *r, double value);
    void (*null)(hd_result *r);
    /* The line that a command without rows answers with; "OK" if never set. */
    void (*message)(hd_result *r, const char *text);
    /* Completes a call that had returned HD_PENDING, exactly once. [any] */
    void (*finish)(hd_result *r, int32_t code, const struct hd_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
