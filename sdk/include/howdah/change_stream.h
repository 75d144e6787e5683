/*
 * The change stream: what transactions change in a database, whoever ran them, in the order of their commits,
 * read from its server by logical replication. Capability "howdah.change-stream/1".
 *
 * A consumer opens a stream on a node and database, says which tables it wants covered, and is called for
 * each change on the stream's own thread. It may wait until the stream has passed a position of the server's
 * log, or ask for a check: one question to the server that says which position a read that starts now must
 * wait for, to see all that was acknowledged before it started.
 *
 * A stream says nothing of the time before it runs, and after a gap: between RUNNING and the next LOST it is
 * complete for the tables that are covered, else nothing that was concluded from it holds.
 */
#ifndef HOWDAH_CHANGE_STREAM_H
#define HOWDAH_CHANGE_STREAM_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_CHANGE_STREAM "howdah.change-stream/1"

/* One consumer's hold on a stream. Since ABI 0.1. */
typedef struct hd_stream hd_stream;

/* How a table's rows are told from each other in changes. Since ABI 0.1. */
#define HD_IDENTITY_NOTHING 'n'
#define HD_IDENTITY_DEFAULT 'd' /* the primary key */
#define HD_IDENTITY_INDEX   'i' /* another unique index */
#define HD_IDENTITY_FULL    'f' /* all columns */

/* Flags of a column. Since ABI 0.1. */
#define HD_STREAM_COLUMN_KEY 1u /* part of the identity */

/* A column of a table as its changes have it: generated ones are left out. Since ABI 0.1. */
struct hd_stream_column {
    struct hd_str name; /* NUL-terminated */
    uint32_t type;      /* OID */
    int32_t typmod;
    uint32_t flags; /* HD_STREAM_COLUMN_… */
    uint32_t reserved;
};

/* A table. Told again whenever it may have changed. Borrowed for the call. Since ABI 0.1. */
struct hd_stream_relation {
    uint32_t size;
    uint32_t oid;
    uint32_t identity; /* HD_IDENTITY_… */
    uint32_t column_count;
    struct hd_str schema; /* NUL-terminated, these two */
    struct hd_str name;
    const struct hd_stream_column *columns;
};

/* Kinds of value. Since ABI 0.1. */
#define HD_STREAM_NULL      1
#define HD_STREAM_TEXT      2 /* as the type's output function gives it */
#define HD_STREAM_UNCHANGED 3 /* a long one that an UPDATE has left as it was: not told */
#define HD_STREAM_ABSENT    4 /* of the old row, a column outside of the identity: not told */

/* A column's value. Since ABI 0.1. */
struct hd_stream_value {
    uint32_t kind; /* HD_STREAM_… */
    uint32_t reserved;
    struct hd_str text; /* of TEXT; NUL does not follow */
};

/* Kinds of change. Since ABI 0.1. */
#define HD_STREAM_INSERT 1
#define HD_STREAM_UPDATE 2
#define HD_STREAM_DELETE 3

/* A changed row. Borrowed for the call. Since ABI 0.1. */
struct hd_stream_row {
    uint32_t size;
    uint32_t kind; /* HD_STREAM_INSERT, … */
    uint32_t xid;  /* the transaction's */
    uint32_t reserved;
    const struct hd_stream_relation *relation;
    /* Both have column_count values. DELETE: `old` alone. INSERT: `new_row` alone. UPDATE: `new_row`; and
     * `old` where the identity has changed, or is FULL; NULL: the identity's columns are as in `new_row`. */
    const struct hd_stream_value *old;
    const struct hd_stream_value *new_row;
};

/* States of a stream, as consumers see it. Since ABI 0.1. */
#define HD_STREAM_STARTING 1 /* connecting, or making its slot; nothing can be concluded */
#define HD_STREAM_RUNNING  2 /* from the position on that comes with it, it is complete for covered tables */
#define HD_STREAM_STOPPED  3 /* for good: the plugin stops */

/* What else may have changed, as an observation of the server's catalogs shows. Since ABI 0.1. */
#define HD_STREAM_CHANGED_ROLES 1u /* roles, their memberships or settings */
#define HD_STREAM_CHANGED_DDL   2u /* the event triggers that tell of DDL have come, gone or been changed */

/* The prefix of messages that tell of DDL around the host, where setup() was run. Their content is the
 * command's tag and, where all that it touched are relations, a blank and their OIDs with blanks between.
 * Since ABI 0.1. */
#define HD_STREAM_DDL_PREFIX "howdah-ddl"

/*
 * A consumer's callbacks; those that are NULL are not called. All of them run on the stream's thread, one at
 * a time, between open() and the return of close(); they must not block, and may call position(), wait(),
 * check(), cover(), covered() and info(). Rows, truncates and transactional messages come between begin() and
 * commit(); a transaction that is rolled back is never told. Since ABI 0.1.
 */
struct hd_stream_consumer {
    uint32_t size;
    uint32_t reserved;
    void (*state)(void *arg, uint32_t state, uint64_t lsn);
    /* There is a gap: nothing that was concluded from the stream holds any more, transactions that were not
     * settled never will be, and no table is covered. Comes before another STARTING or STOPPED. */
    void (*lost)(void *arg, const char *reason);
    void (*relation)(void *arg, const struct hd_stream_relation *r);
    void (*begin)(void *arg, uint32_t xid);
    void (*row)(void *arg, const struct hd_stream_row *row);
    void (*truncate)(void *arg, uint32_t xid, const uint32_t *oids, uint32_t count);
    /* pg_logical_emit_message. xid 0: it was not transactional, and is told at once. */
    void (*message)(void *arg, uint32_t xid, struct hd_str prefix, struct hd_str content);
    /* The transaction has been written to the log. Others may not see it yet! Until settled(), whoever reads
     * may still get what was before it. */
    void (*commit)(void *arg, uint32_t xid, uint64_t commit_lsn, uint64_t end_lsn);
    /* Every snapshot that is taken from now on sees that transaction's changes. Comes once for each commit(),
     * unless the stream is lost before. */
    void (*settled)(void *arg, uint32_t xid);
    /* A table that was asked for is covered, or why it cannot be (reason; covered 0). Comes again when that
     * changes. */
    void (*coverage)(void *arg, uint32_t oid, uint32_t covered, const char *reason);
    void (*changed)(void *arg, uint32_t what); /* HD_STREAM_CHANGED_… */
};

/* Flags of a stream. Since ABI 0.1. */
#define HD_STREAM_TELLS_DDL 1u /* the event triggers of setup() are there and enabled */

/* What a stream is doing. The caller sets `size`. Since ABI 0.1. */
struct hd_stream_info {
    uint32_t size;
    uint32_t state;      /* HD_STREAM_… */
    uint32_t flags;      /* HD_STREAM_TELLS_… */
    uint32_t unsettled;  /* transactions told, but not settled */
    uint64_t position;   /* everything up to here was told */
    uint64_t server_lsn; /* the server's log, when it was asked last */
    uint64_t held_bytes; /* of the log, that the server keeps for this stream */
    uint64_t commits;    /* told since the stream was opened, these two */
    uint64_t changes;
    uint64_t restarts; /* gaps */
    /* The server as it was when the stream last began: its system identifier, and the timeline of its log.
     * Positions of others than these mean nothing here. 0: it has not begun. */
    uint64_t system;
    uint32_t timeline;
    uint32_t reserved;
};

/* Capability "howdah.change-stream/1". `self` is the plugin's instance. Since ABI 0.1. */
struct hd_change_stream_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Opens the stream of a node's database; starts it if this is its first consumer. `consumer` stays the
     * caller's and must outlive the hold. The first call is state(). HD_EFULL past max_streams. Not from a
     * callback. [any] */
    int32_t (*open)(void *self, struct hd_str node, struct hd_str dbname,
                    const struct hd_stream_consumer *consumer, void *arg, hd_stream **out,
                    struct hd_error *err);
    /* After it returns no callback comes, and no `done`: those that are due have come with HD_ECANCELLED. Due
     * before the caller's plugin has stopped. Not from a callback. [any] */
    void (*close)(hd_stream *s);
    /* Asks for tables to be covered; what comes of it says coverage(). One that was refused is looked at
     * again, also by itself now and then. They are added to the publication
     * where that is managed. A table must be an ordinary one (of a partitioned one, name the leaves), logged,
     * and have an identity. HD_EFULL past max_tables. [any] */
    int32_t (*cover)(hd_stream *s, const uint32_t *oids, uint32_t count);
    /* 1 while the stream runs and all changes of that table are told by it. One look-up under a lock. [any]
     */
    int32_t (*covered)(hd_stream *s, uint32_t oid);
    /* Everything up to here was told to the consumers; 0 while it does not run. Wait-free. [any] */
    uint64_t (*position)(hd_stream *s);
    /* Waits until everything up to `lsn` was told. HD_OK: it was. HD_PENDING: done(arg, code, lsn) comes
     * once, on the stream's thread, with HD_OK, HD_ETIMEOUT, HD_EIO (lost) or HD_ECANCELLED. Else done does
     * not come: HD_EIO, it does not run; HD_EFULL past max_waiting; HD_ENOMEM. [any] */
    int32_t (*wait)(hd_stream *s, uint64_t lsn, uint64_t timeout_ms,
                    void (*done)(void *arg, int32_t code, uint64_t lsn), void *arg);
    /* Asks the server how far its log is, and waits until everything up to there was told. All calls that
     * were waiting when the question is sent share it. HD_PENDING and done as above, where HD_OK says: every
     * commit that was acknowledged to anyone before this call was told. Never HD_OK at once. [any] */
    int32_t (*check)(hd_stream *s, uint64_t timeout_ms, void (*done)(void *arg, int32_t code, uint64_t lsn),
                     void *arg);
    int32_t (*info)(hd_stream *s, struct hd_stream_info *out); /* [any] */
    /* SQL that makes the server tell of DDL, and that takes it back: for a superuser, in each database; may
     * be run again. NUL-terminated, constant. [any] */
    const char *(*setup)(void *self);
    const char *(*unsetup)(void *self);
};

#ifdef __cplusplus
}
#endif
#endif
