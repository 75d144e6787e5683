/*
 * Filters: plugins on the statement's path. Capability "howdah.filter/1", service "howdah.statement/1".
 *
 * The host asks each filter once per template what it wants of it (plan), and calls it per execution only
 * where it wants something. Filters run in the order of their INI's `priority`, low numbers first; the first
 * verdict other than continue ends the chain.
 */
#ifndef HOWDAH_FILTER_H
#define HOWDAH_FILTER_H

#include <howdah/types.h>

#include <strings.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_FILTER        "howdah.filter/1"
#define HD_SERVICE_STATEMENT "howdah.statement/1"

/* What a filter wants of a template; 0 is nothing at all. Since ABI 0.1. */
#define HD_WANT_DECIDE   1u /* call statement() before each execution */
#define HD_WANT_COMPLETE 2u /* call complete() after each execution */
#define HD_WANT_BEFORE   4u /* complete() must run before the client sees the end of the answer */
#define HD_WANT_DATA     8u /* call data() with the server's answer as it streams */
/* statement() may answer, rewrite or route: messages of the extended protocol are held back until it has
 * decided. Without it only continue, refuse and park are carried out. */
#define HD_WANT_REPLACE 16u
/* call transaction() when the transaction that this execution is a part of has ended, before the client is
 * told so. Not the same as HD_WANT_BEFORE: in the extended protocol a statement outside a block is answered
 * before the Sync that commits it. */
#define HD_WANT_TRANSACTION 32u

/* Verdicts. Since ABI 0.1. */
#define HD_VERDICT_CONTINUE 0
#define HD_VERDICT_ANSWER   1 /* these bytes are the answer; no server is asked */
#define HD_VERDICT_REWRITE  2 /* this text instead, with the same parameters and the same columns */
#define HD_VERDICT_ROUTE    3 /* this node instead */
#define HD_VERDICT_REFUSE   4 /* an ErrorResponse with this SQLSTATE */
#define HD_VERDICT_PARK                                                                                      \
    5 /* hd_statement_v1.resume() will say; at the deadline the host refuses with 57014                      \
       */

/* State of the client's transaction when the statement arrives. Since ABI 0.1. */
#define HD_TX_IDLE   'I'
#define HD_TX_ACTIVE 'T'
#define HD_TX_FAILED 'E'

/* Flags of an execution. Since ABI 0.1. */
#define HD_STMT_EXTENDED 1u /* extended protocol */
#define HD_STMT_LIMITED  2u /* Execute with a row limit */
#define HD_STMT_NO_TEXT  4u /* the text was too long to be gathered; `sql` is empty */
/* The client reads a description of the rows with this answer: always in the simple protocol; in the extended
 * one where it asked for it (Describe of the portal) between Bind and Execute. With HD_WANT_REPLACE only. */
#define HD_STMT_DESCRIBED 8u
/* `settings` and `defaults` may not be what the server has: the transaction has changed some that are not
 * known yet, something that the host cannot see through has run, what servers have by default is not known
 * (yet), or the pool_mode is not auto, where only settings that the server reports are followed. */
#define HD_STMT_SETTINGS_UNSURE 16u
#define HD_STMT_TEMP            32u /* the session may have temporary objects, which hide others of their name */

/* One parameter of an execution. Since ABI 0.1. */
struct hd_param {
    const uint8_t *data; /* NULL: SQL NULL */
    uint32_t len;
    uint32_t type;   /* OID as the client declared it; 0: left to the server */
    uint32_t format; /* 0 text, 1 binary */
    uint32_t reserved;
};

/* One of a session's settings. Both are NUL-terminated. Since ABI 0.1. */
struct hd_session_setting {
    const char *name; /* as the server or the client spells it; compare without regard to case */
    const char *value;
};

/* One execution. Valid during the call. Since ABI 0.1. */
struct hd_statement {
    uint32_t size;
    uint32_t flags;  /* HD_STMT_… */
    uint64_t handle; /* names this execution for resume(); never used twice */
    uint64_t session_id;
    const hd_template *tmpl;
    struct hd_str sql;      /* as the client sent it, literals included: never log it */
    struct hd_str database; /* as the client asked for it */
    struct hd_str user;
    struct hd_str application_name;
    const struct hd_param
        *params; /* extended protocol, with HD_WANT_REPLACE; no values that stood in the text */
    uint32_t param_count;
    uint32_t txn;                   /* HD_TX_… */
    const uint16_t *result_formats; /* as in Bind; none: all text */
    uint32_t result_format_count;
    uint32_t reserved;
    uint64_t arrived_ns; /* monotonic clock */
    void *session_state; /* what session_open returned */
    void **slot; /* the filter's own for this execution: set it in statement(), read it in complete() */
    struct hd_str node;   /* the [node …] that the statement goes to, unless a filter routes it elsewhere */
    struct hd_str dbname; /* the database's name there */
    /* What the server reports of its settings, and what the client has set by itself, in the order of their
     * names. `role` and `session_authorization` are among them where they were set. One that is missing has
     * its default, see `defaults`. SET LOCAL is not followed: see HD_KIND_SET_LOCAL and
     * HD_FACT_SET_CONFIG. */
    const struct hd_session_setting *settings;
    /* Names this very set of settings on this worker: two executions with the same number have the same
     * settings. So what a filter makes of them can be kept, in its session's state, and made anew only when
     * the number is another. Never 0. */
    uint64_t settings_id;
    uint32_t setting_count;
    uint32_t reserved2;
    /* What those have that are in `settings` neither set nor reported, among the settings that can change
     * what a query gives: the defaults that the server's configuration, the database and the role give this
     * user there (search_path, bytea_output, extra_float_digits …). NULL where they are not known, and then
     * the flag HD_STMT_SETTINGS_UNSURE is set; it is in complete(), too, where they have changed under way.
     */
    const struct hd_session_setting *defaults;
    uint64_t defaults_id; /* names this very set on this worker, as settings_id does; 0: not known */
    uint32_t default_count;
    uint32_t reserved3;
};

/* The value of a setting as the statement will find it, the client's or the default; NULL: not known. */
static inline const char *hd_statement_setting(const struct hd_statement *st, const char *name)
{
    for (uint32_t i = 0; i < st->setting_count; i++)
        if (!strcasecmp(st->settings[i].name, name))
            return st->settings[i].value;
    for (uint32_t i = 0; i < st->default_count; i++)
        if (!strcasecmp(st->defaults[i].name, name))
            return st->defaults[i].value;
    return NULL; /* also where SETTINGS_UNSURE stands */
}

/*
 * What a filter decides. The host zeroes it and sets `size` before the call; everything pointed to is
 * borrowed until statement() (or resume()) returns, except `bytes` when `release` is set. Since ABI 0.1.
 */
struct hd_verdict {
    uint32_t size;
    uint32_t kind; /* HD_VERDICT_… */
    /* HD_VERDICT_ANSWER: whole messages of the protocol. `describe` is a RowDescription, or empty if there is
     * none (the host sends NoData where it was asked to describe); `bytes` are DataRows and one
     * CommandComplete or EmptyQueryResponse. The host adds what the client's messages ask for around them. */
    struct hd_str describe;
    struct hd_str bytes;
    void (*release)(
        void *arg); /* [worker] called once when `describe` and `bytes` are no longer needed; NULL: copied */
    void *release_arg;
    struct hd_str text;    /* REWRITE: the statement; ROUTE: the node's name */
    char sqlstate[8];      /* REFUSE: five characters and a NUL */
    struct hd_str message; /* REFUSE */
    struct hd_str detail;  /* REFUSE; may be empty */
    struct hd_str hint;    /* REFUSE; may be empty */
    uint64_t park_ms;      /* PARK: the deadline from now; 0: the host's own limit */
};

/* How an execution ended. Since ABI 0.1. */
struct hd_outcome {
    uint32_t size;
    uint32_t failed;      /* 1: ended with an ErrorResponse, or its connection was lost */
    uint64_t rows;        /* DataRow messages, or the count in the command tag */
    uint64_t bytes;       /* of the answer, to the client */
    uint64_t total_ns;    /* from arrival to the end of the answer */
    uint64_t queue_ns;    /* of it, waiting for a server connection, or parked */
    uint64_t first_ns;    /* from arrival to the first byte of the answer; 0: there was none */
    char sqlstate[8];     /* "00000", or the error's */
    struct hd_str tag;    /* the last CommandComplete's tag: "SELECT 1" */
    uint32_t txn;         /* HD_TX_… after it, where it is known yet; else 0 */
    uint32_t answered_by; /* 0 the server; 1 a filter's answer; 2 a filter's or the host's refusal */
};

/* How a transaction ended. Since ABI 0.1. */
#define HD_END_COMMITTED   1 /* COMMIT, COMMIT PREPARED */
#define HD_END_ROLLED_BACK 2
#define HD_END_PREPARED    3 /* PREPARE TRANSACTION: it is committed or rolled back later, by whomever */
#define HD_END_UNKNOWN                                                                                       \
    4 /* outside a block: what ran well is committed; or the connection was lost meanwhile */
#define HD_END_ABANDONED 5 /* the client has left; the server may yet run and commit what was on its way */
/* What was told with HD_TRANSACTION_OPEN is over on the server: committed or not, it changes nothing from
 * here on. `about` is that call's handle. */
#define HD_END_SETTLED 6

/* Flags of a transaction's end. Since ABI 0.1. */
/* The server may still be at it, and commit at any time until HD_END_SETTLED is told about this handle: when
 * what was sent to it has been answered; or where the connection was lost, when a control connection finds
 * that its backend has gone. Where that cannot be found out (no control_user, connections made before there
 * was a filter, a node behind several addresses that has started anew) it is never told. */
#define HD_TRANSACTION_OPEN 1u

/* The end of a transaction. Valid during the call. Since ABI 0.1. */
struct hd_transaction {
    uint32_t size;
    uint32_t end;    /* HD_END_… */
    uint64_t handle; /* names this call for resume(); never used twice */
    uint64_t session_id;
    struct hd_str database; /* as in hd_statement, these five */
    struct hd_str user;
    struct hd_str node;
    struct hd_str dbname;
    void *session_state; /* what session_open returned; NULL also where there was no memory for it, and with
                          * HD_END_SETTLED */
    /* Executions with this handle and above are of a later transaction, or go on in one: such as have been
     * begun behind, in a pipeline, or a Query that holds a COMMIT in its midst. UINT64_MAX: there is none. */
    uint64_t behind;
    uint64_t about; /* HD_END_SETTLED: handle of the call that it is about; else 0 */
    uint32_t flags; /* HD_TRANSACTION_… */
    uint32_t reserved;
};

/* What a filter wants. The host zeroes it and sets `size`; plan() fills it. Since ABI 0.1. */
struct hd_plan {
    uint32_t size;
    uint32_t want;               /* HD_WANT_… */
    void *data;                  /* the filter's own per template and worker; passed back in every call */
    void (*destroy)(void *data); /* [worker] when the plan is dropped; NULL: nothing to free */
};

/* Capability "howdah.filter/1". Members that a filter does not need are NULL. Since ABI 0.1. */
struct hd_filter_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Per-worker state; [worker]. Returned pointer is `ws` below. */
    void *(*worker_start)(void *self, uint32_t worker);
    void (*worker_stop)(void *self, void *ws);
    /* Per-session state, opened after authentication; [worker]. */
    void *(*session_open)(void *self, void *ws, uint64_t session_id, struct hd_str database,
                          struct hd_str user);
    void (*session_close)(void *self, void *ws, void *session_state);
    /* What is wanted of a template; once per template and worker, and again when filters have changed or the
     * host had forgotten the template. HD_OK; any other code is a failure, and it is asked again. [worker] */
    int32_t (*plan)(void *self, void *ws, const hd_template *t, struct hd_plan *out);
    /* Before an execution. HD_OK and a verdict; any other code counts as a failure of the filter, and the
     * statement goes on (on_failure = bypass) or is refused (reject). [worker] */
    int32_t (*statement)(void *self, void *ws, void *plan, const struct hd_statement *st,
                         struct hd_verdict *v);
    /* Bytes of the server's answer, in order, as they pass: whole messages, or pieces of such as are longer
     * than a buffer. In the simple protocol everything up to ReadyForQuery; in the extended one, of
     * HD_STMT_DESCRIBED the RowDescription or NoData, then what Execute brings: DataRows and CommandComplete,
     * EmptyQueryResponse, PortalSuspended or ErrorResponse. Notices, ParameterStatus and notifications come
     * in between. Nothing of what a filter has answered. complete() follows. [worker] */
    void (*data)(void *self, void *ws, void *plan, const struct hd_statement *st, struct hd_str bytes);
    /* After an execution, exactly once: for each that statement() was called for, whatever became of it;
     * without HD_WANT_DECIDE for each of the template. st->sql and params are empty here. [worker] */
    void (*complete)(void *self, void *ws, void *plan, const struct hd_statement *st,
                     const struct hd_outcome *o);
    /* The end of a transaction in which something ran that wanted it (HD_WANT_TRANSACTION): always of that
     * one, and now and then of one that had nothing of the kind (behind others in a pipeline, or where the
     * filter was switched on meanwhile). What the server has done is done, and others may see it; the client
     * has not been told: not by the CommandComplete of a COMMIT or of a Query of one statement, and not by
     * the ReadyForQuery behind it. (Of a Query of several statements without BEGIN and COMMIT it has seen all
     * but ReadyForQuery.) HD_OK; or HD_PENDING, and that stays so until hd_statement_v1.resume() is called
     * with t->handle and HD_VERDICT_CONTINUE, or the host's park_timeout has passed, which counts as a
     * failure. Nothing is held for HD_END_ABANDONED, nor where the connection was lost, nor for
     * HD_END_SETTLED, which comes later, and once, for those that were told with HD_TRANSACTION_OPEN.
     * [worker] */
    int32_t (*transaction)(void *self, void *ws, const struct hd_transaction *t);
};

/* What a $n of an execution is. Since ABI 0.1. */
#define HD_VAL_NULL    1 /* a parameter that is NULL */
#define HD_VAL_PARAM   2 /* a parameter: its bytes as the client sent them, with their type and format */
#define HD_VAL_INTEGER 3 /* a literal: digits that fit 32 bits, a minus before them where there is one */
#define HD_VAL_NUMERIC 4 /* … any other number, as it is written: 5000000000, 1.50, -1e6 */
#define HD_VAL_STRING  5 /* … a string, without quotes and escapes, in the client's encoding */
#define HD_VAL_BITS    6 /* … B'' or X'', as so many 0 and 1 */

/* A value of an execution. Since ABI 0.1. */
struct hd_value {
    uint32_t size;
    uint32_t kind;      /* HD_VAL_… */
    uint32_t type;      /* PARAM: OID as the client declared it; 0: left to the server */
    uint32_t format;    /* PARAM: 0 text, 1 binary */
    struct hd_str data; /* not NUL-terminated; valid while statement() runs */
};

/* Service "howdah.statement/1". Since ABI 0.1. */
struct hd_statement_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Ends a park, or what transaction() holds, once. The verdict's strings are copied. HD_ENOENT: it is over
     * already (deadline, client gone, resumed before), and nothing happens. [any] */
    int32_t (*resume)(hd_host *host, uint64_t handle, const struct hd_verdict *v);
    /* The value of $n, as hd_template_comparison and hd_template_assignment number them: of a parameter with
     * HD_WANT_REPLACE, of a literal always. Within statement() alone. The first literal of an execution costs
     * a scan of its text; what is not asked for costs nothing. HD_ENOENT: there is none, or it is not at
     * hand; HD_EUNSUPP: a literal of which it cannot be told what PostgreSQL makes of it (N'', UESCAPE, bytes
     * above 127 by their number); HD_ENOMEM. Copies min(size) bytes. [worker] */
    int32_t (*value)(hd_host *host, const struct hd_statement *st, uint32_t n, struct hd_value *out);
};

#ifdef __cplusplus
}
#endif
#endif
