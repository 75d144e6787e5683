/*
 * The event bus: asynchronous, typed, versioned. Service "howdah.bus/1".
 *
 * Publishing never blocks and never allocates: each publishing thread has one bounded queue. A topic declares
 * what an overflow means: lossy topics count and drop; of a must-know topic each subscriber gets one overflow
 * mark and must assume the worst. What must happen before a client sees its answer is a filter's complete(),
 * not an event.
 */
#ifndef HOWDAH_EVENTS_H
#define HOWDAH_EVENTS_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_BUS "howdah.bus/1"

/* What an overflow of a topic means. Since ABI 0.1. */
#define HD_TOPIC_LOSSY     1 /* dropped, and counted */
#define HD_TOPIC_MUST_KNOW 2 /* dropped, and each subscriber is told that something was */

/* Bytes of the longest event struct, and of the text members below, their NUL included. Since ABI 0.1. */
#define HD_EVENT_MAX  512
#define HD_EVENT_NAME 64

/* Topics of the host, and of the plugins that come with it. The struct of each starts with its size; members
 * are only ever added at the end. Since ABI 0.1. */
#define HD_TOPIC_SESSION_OPENED "session.opened/1" /* lossy; struct hd_event_session */
#define HD_TOPIC_SESSION_CLOSED "session.closed/1" /* lossy; struct hd_event_session */
#define HD_TOPIC_STATEMENT_FINISHED                                                                          \
    "statement.finished/1" /* lossy; struct hd_event_statements: batches, per template */
#define HD_TOPIC_STATEMENT_REFUSED "statement.refused/1" /* lossy; struct hd_event_refused */
#define HD_TOPIC_DDL_OBSERVED      "ddl.observed/1"      /* must-know; struct hd_event_ddl */
#define HD_TOPIC_NODE_HEALTH       "node.health/1"       /* lossy; struct hd_event_node */
#define HD_TOPIC_CONFIG_RELOADED   "config.reloaded/1"   /* lossy; struct hd_event_reload */
#define HD_TOPIC_PLUGIN_STATE      "plugin.state/1"      /* lossy; struct hd_event_plugin */
#define HD_TOPIC_HOST_RETIRING     "host.retiring/1"     /* lossy; struct hd_event_retiring */
#define HD_TOPIC_ROW_CHANGED       "row.changed/1"       /* must-know; struct hd_event_row */
#define HD_TOPIC_BUS_LINK          "bus.link/1"          /* must-know; struct hd_event_link */
#define HD_TOPIC_TABLE_WRITTEN     "table.written/1"     /* must-know; struct hd_event_written */
#define HD_TOPIC_ALERT_RAISED      "alert.raised/1"      /* lossy; struct hd_event_alert */
#define HD_TOPIC_ALERT_CLEARED     "alert.cleared/1"     /* lossy; struct hd_event_alert */

/* A client has logged in, or left. Texts here and below are NUL-terminated and cut to fit. Since ABI 0.1. */
struct hd_event_session {
    uint32_t size;
    uint32_t worker;              /* that the session lives on */
    uint64_t session_id;          /* as in hd_statement */
    char database[HD_EVENT_NAME]; /* as the client asked for it */
    char user[HD_EVENT_NAME];     /* that it has logged in as */
};

/* What one template has done since the batch before; from the plugin `statements`, at its publish_interval.
 * Since ABI 0.1. */
struct hd_event_statements {
    uint32_t size;
    uint32_t worker;      /* that has counted */
    uint64_t fingerprint; /* the template's */
    uint64_t calls;
    uint64_t errors; /* of them, those that ended with an ErrorResponse */
    uint64_t rows;
    uint64_t total_ns; /* sum over the calls */
    uint64_t max_ns;   /* the longest of them */
    char database[HD_EVENT_NAME];
};

/* A statement was refused by a rule; from the plugin `guard`. Since ABI 0.1. */
struct hd_event_refused {
    uint32_t size;
    uint32_t observed;            /* 1: only noticed, not refused */
    uint64_t session_id;          /* as in hd_statement */
    uint64_t fingerprint;         /* the template's */
    char sqlstate[8];             /* that the client got */
    char plugin[HD_EVENT_NAME];   /* whose rule it is */
    char rule[HD_EVENT_NAME];     /* its name */
    char database[HD_EVENT_NAME]; /* as in hd_statement, these two */
    char user[HD_EVENT_NAME];
};

/* A command that changes the schema or privileges has run; its transaction may yet be rolled back. Since ABI
 * 0.1. */
struct hd_event_ddl {
    uint32_t size;
    uint32_t reserved;
    uint64_t session_id;          /* 0: its client has left */
    uint64_t fingerprint;         /* 0: not known */
    char tag[HD_EVENT_NAME];      /* the command's: "CREATE TABLE" */
    char database[HD_EVENT_NAME]; /* as the client asked for it */
};

/* A node's health has changed, as the host's pings find it. Since ABI 0.1. */
struct hd_event_node {
    uint32_t size;
    uint32_t up;              /* 1 reachable, 0 not */
    char node[HD_EVENT_NAME]; /* of its [node …] */
    char reason[128];         /* why not; empty when it is up */
};

/* The configuration was loaded anew, or could not be. Since ABI 0.1. */
struct hd_event_reload {
    uint32_t size;
    uint32_t ok;      /* 1: in force; 0: refused, the old one stays */
    char reason[256]; /* the first problem; empty when it is in force */
};

/* Another host serves in this one's place, which goes on for the clients that it still has: what only one
 * host may do is the other's from now on. Since ABI 0.1. */
struct hd_event_retiring {
    uint32_t size;
    uint32_t reserved;
};

/* A plugin has come into another state. Since ABI 0.1. */
struct hd_event_plugin {
    uint32_t size;
    uint32_t mode;              /* HD_MODE_… that was asked for */
    char plugin[HD_EVENT_NAME]; /* its id */
    char state[HD_EVENT_NAME];  /* "running", "stopped", "quarantined", "refused" … */
    char reason[128];           /* why, where there is something to say */
};

/* Kinds of hd_event_row: those of changed rows (change_stream.h), and these. Since ABI 0.1. */
#define HD_ROW_TRUNCATE 4 /* the table was emptied; its name is not told */
#define HD_ROW_GAP      5 /* of that database, changes may have been missed: assume the worst */

/* A row was changed by a transaction that has committed, whoever ran it; from the plugin `change-stream`, of
 * the databases and tables that it reads. Since ABI 0.1. */
struct hd_event_row {
    uint32_t size;
    uint32_t kind; /* HD_STREAM_INSERT, … or HD_ROW_… */
    uint32_t xid;
    uint32_t oid;             /* the table's */
    uint64_t lsn;             /* of its commit */
    char node[HD_EVENT_NAME]; /* of its [node …] */
    char database[HD_EVENT_NAME];
    char schema[HD_EVENT_NAME];
    char table[HD_EVENT_NAME];
};

/* Flags of hd_event_written. Since ABI 0.1. */
#define HD_WRITTEN_ANYTHING   1u /* any table of the database, and `parts` does not say which */
#define HD_WRITTEN_SCHEMA     2u /* the schema or privileges, of whatever is on that node, as well */
#define HD_WRITTEN_EVERYWHERE 4u /* anything in any database; node and database are empty */

/* Parts of hd_event_written. Since ABI 0.1. */
#define HD_WRITTEN_PARTS 44

/* A table, or some of its rows. Since ABI 0.1. */
struct hd_written_part {
    uint32_t oid;
    /* 0: it was written, some of its rows or all. 1: any of its rows. From 2 on: rows, as the publisher
     * numbers them; the same in every host of one version. A table with any part has 0, too. */
    uint32_t part;
};

/* A transaction through this host has been committed, or may have been; from the plugin `cache`, before the
 * client is told, where that is known by then. Since ABI 0.1. */
struct hd_event_written {
    uint32_t size;
    uint32_t flags; /* HD_WRITTEN_… */
    uint32_t count; /* of parts */
    uint32_t reserved;
    char node[HD_EVENT_NAME];     /* of its [node …]; empty: tags were ended, whose parts have no oid */
    char database[HD_EVENT_NAME]; /* its name there */
    struct hd_written_part parts[HD_WRITTEN_PARTS];
};

/* The way to the other hosts' buses has come up, or was lost: until it is up nothing is heard of what they
 * publish. From the plugin `bus-redis`. Since ABI 0.1. */
struct hd_event_link {
    uint32_t size;
    uint32_t up;      /* 1 or 0 */
    char reason[128]; /* why it was lost; empty when it is up */
};

/* An alert fires, or is over; from the plugin `alerts`. What is silenced or inhibited is told, too. Since ABI
 * 0.1. */
struct hd_event_alert {
    uint32_t size;
    uint32_t severity; /* HD_ALERT_… */
    double value;      /* of the rule's expression */
    double threshold;  /* that it has crossed */
    int64_t since_us;  /* when it began, microseconds since 1970 */
    char id[32];       /* as in hd_alert */
    char rule[HD_EVENT_NAME];
    char labels[192]; /* name="value",… */
    char summary[160];
};

/* An event as a subscriber gets it; borrowed for the call. Since ABI 0.1. */
struct hd_event {
    uint32_t size;
    uint32_t overflow; /* 1: events of this topic were lost before this one; `data` is then NULL */
    const char *topic; /* NUL-terminated */
    const void *data;  /* the topic's struct */
    uint32_t data_size;
    uint32_t remote; /* 1: another host has published or lost it; see relay() */
    int64_t wall_us; /* when it was published, microseconds since 1970 */
};

/* Service "howdah.bus/1". Since ABI 0.1. */
struct hd_bus_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Declares a topic of the plugin's own ("NAME/VERSION") with the size of its struct (at most
     * HD_EVENT_MAX) and its overflow rule. HD_EEXIST when it is there with another shape. [control] */
    int32_t (*declare)(hd_host *host, const char *topic, uint32_t data_size, uint32_t overflow,
                       struct hd_error *err);
    /* A number for publish(), or HD_ENOENT. [any], not on the statement's path. */
    int32_t (*topic)(hd_host *host, const char *topic);
    /* Is anybody listening? Cheap; ask before building an event. [any] */
    int32_t (*wanted)(hd_host *host, int32_t topic);
    /* Copies the struct into this thread's queue. HD_EFULL when it was dropped. [any] */
    int32_t (*publish)(hd_host *host, int32_t topic, const void *data, uint32_t data_size);
    /* Calls `fn` for each event, on the control thread, until unsubscribe or the plugin's stop. Positive id,
     * or an error code. [control] */
    int64_t (*subscribe)(hd_host *host, const char *topic, void (*fn)(void *arg, const struct hd_event *ev),
                         void *arg, struct hd_error *err);
    void (*unsubscribe)(hd_host *host, int64_t id); /* [control] */
    /* For plugins that carry topics between hosts: as publish(), of what another host has published. Whoever
     * carries them on knows by `remote` that it came from there. [any] */
    int32_t (*relay)(hd_host *host, int32_t topic, const void *data, uint32_t data_size);
    /* Events of that topic were lost on their way here from other hosts: what an overflow means happens.
     * HD_ENOENT: there is no such topic. [any] */
    int32_t (*lost)(hd_host *host, int32_t topic);
};

#ifdef __cplusplus
}
#endif
#endif
