/*
 * The parts of the plugin, and what they share. A stream is one server's database, with a thread of its own
 * that does all of its work: it reads the replication connection, puts questions on an ordinary one, and
 * calls consumers. Others only leave it something to do, under its lock, and wake it.
 *
 *     plugin.c      options, services, life; the list of streams
 *     stream.c      a stream's life: connecting, its slot, the loop
 *     receive.c     what the walsender sends, told to consumers
 *     ask.c         questions to the server: positions, snapshots, fingerprints
 *     wait.c        who waits for a position or a check
 *     cover.c       tables, and whether they are still published
 *     cover_look.c  looking at them, and adding them to the publication
 *     holds.c       consumers
 *     pq.c          libpq without blocking
 *     show.c        SHOW STREAMS, metrics
 *     setup.c       the SQL that makes a server tell of DDL
 */
#ifndef CHANGE_STREAM_STREAM_H
#define CHANGE_STREAM_STREAM_H

#include <howdah/howdah.h>

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "pgoutput.h"

#define NS_PER_MS UINT64_C(1000000)

struct conf {
    struct hd_str user, password, publication;
    int32_t manage_publication, watch_roles;
    int64_t max_streams, max_tables, max_waiting;
    int64_t max_lag;
    int64_t status_interval, receive_timeout, retry_interval;
};

struct plugin {
    hd_host *host;
    const struct hd_nodes_v1 *nodes;
    const struct hd_jobs_v1 *jobs;
    const struct hd_bus_v1 *bus;
    const struct hd_commands_v1 *commands;
    const struct hd_metrics_v1 *metrics;
    const struct hd_health_v1 *health;
    const struct conf *_Atomic conf; /* no value of it can be reloaded */
    int32_t topic;                   /* row.changed */
    pthread_mutex_t lock;            /* for what follows */
    struct stream *streams;
    uint32_t stream_count;
    int stopping;
};

/* --- waiting: wait.c ----------------------------------------------------------------------------------- */

struct waiter {
    struct waiter *next;
    struct hd_stream *hold;
    uint64_t lsn; /* 0: not known yet */
    uint64_t since_ns, deadline_ns;
    int is_check;
    void (*done)(void *arg, int32_t code, uint64_t lsn);
    void *arg;
};

/* --- a consumer's hold: holds.c ------------------------------------------------------------------------ */

struct hd_stream {
    struct hd_stream *next;
    struct stream *stream;
    const struct hd_stream_consumer *consumer;
    void *arg;
    uint64_t fence;      /* its number: until_xid is of a snapshot after it */
    uint64_t until_xid;  /* it runs once all transactions below have ended; 0: not known yet */
    _Atomic int running; /* it was told RUNNING */
    int joined;          /* it is told of changes; the stream's thread alone uses this */
    int told;            /* its first state() has come */
};

/* --- tables: cover.c ----------------------------------------------------------------------------------- */

enum cover_state {
    COVER_WANTED = 0, /* to be looked at */
    COVER_MEMBER,     /* in the publication, not in the fingerprint yet */
    COVER_WATCHED,    /* in both; transactions that may have written it before have to end */
    COVERED,
    COVER_REFUSED, /* looked at again after a while */
};

struct table {
    uint32_t oid;
    enum cover_state state;
    const char *reason; /* REFUSED; constant */
    uint64_t retry_ns;  /* REFUSED: when to look again */
    uint64_t fence;     /* WATCHED: as of a hold, both */
    uint64_t until_xid;
    int64_t print; /* WATCHED, COVERED: of its row in the publication */
    int initial;   /* it was in the publication before the slot was made */
};

/* A statement on its way through the host's jobs. */
struct errand {
    _Atomic int state; /* 0 idle, 1 under way, 2 done */
    int64_t handle;
    int32_t code;
    char sqlstate[8];
    char message[160];
    char *rows; /* cells with a tab or line end behind each */
};

/* --- a stream ------------------------------------------------------------------------------------------ */

enum question { ASK_NOTHING = 0, ASK_POSITION, ASK_FLUSH, ASK_MONITOR };

struct ids {
    uint32_t *list;
    size_t count, room;
};

struct stream {
    struct plugin *plugin;
    struct stream *next;
    char *node, *dbname;
    char slot[64];
    int wake_fd;
    _Atomic int stop;
    _Atomic int waking; /* somebody has written to wake_fd since the thread looked */

    /* Held while consumers are called. */
    pthread_mutex_t calling;

    /* For what others leave, and read. */
    pthread_mutex_t lock;
    struct hd_stream *holds, *joining;
    struct waiter *new_checks, *new_waits, *spare;
    uint32_t waiter_count;
    struct table *tables; /* sorted by OID */
    uint32_t table_count, table_room;
    _Atomic int tables_new;
    char reason[200]; /* why it does not run */

    /* What others may read. */
    _Atomic uint32_t state;
    _Atomic uint64_t position, server_lsn, held;
    _Atomic uint64_t commits, changes, restarts, checks, questions, flushes;
    _Atomic uint32_t unsettled_count, tells_ddl;
    _Atomic uint64_t system;
    _Atomic uint32_t timeline;
    int64_t m_lag, m_held, m_commits, m_changes, m_restarts, m_checks, m_check_seconds, m_running;

    /* The thread's own. */
    PGconn *repl, *ask;
    struct pgo_parser *parser;
    uint64_t start_lsn, last_received_ns, last_status_ns, next_monitor_ns;
    int pinged;
    uint64_t next_ping_ns;
    int told_start; /* consumers have been told of changes, or could have been */
    int in_transaction, told_begin;
    uint32_t xid;
    uint64_t xid_lsn;
    struct ids unsettled;
    uint64_t settle_ns, settle_step_ns;
    uint32_t block_size;
    uint64_t segment_size;
    int server_version;

    enum question asking;
    uint64_t asked_ns;
    struct waiter *asked_checks; /* they share the question that is under way */
    struct waiter *waits;        /* with a position */
    uint64_t flush_lsn;          /* nobody may have flushed up to here: 0, or a position that is waited for */
    uint64_t flush_at_ns;
    struct waiter *next_checks; /* for the question after that */
    struct ids watched, fresh;  /* tables whose fingerprint the question asks for: of all, of each */
    struct ids initial;         /* members before the slot was made */
    int reverify;               /* ask for the fingerprint of each */
    char publication_print[96], roles_print[64], ddl_print[256];
    char quiet[64];      /* a snapshot in which nobody writes, to which the fingerprints belong; or empty */
    uint64_t xmin, xmax; /* of the last snapshot */
    /* A snapshot's xmax says nothing of transactions that have their number, but of which no later one has
     * ended. So whoever has to wait for all that are under way waits first until a transaction of our own,
     * begun since, has ended: a fence. These count them. */
    uint64_t fences_sent, fences_done;
    uint32_t told_state; /* to the host's health, and 1 */
    uint64_t metrics_ns, told_commits, told_rows, told_restarts, told_checks; /* in metrics */
    int more; /* there may be more to receive */

    struct errand errand;
    struct ids batch; /* tables that it is about */
    int slot_made;
    uint64_t next_look_ns;
};

void cs_log(struct plugin *p, uint32_t level, const char *message, const struct stream *s, const char *why);
/* A stream's thread has ended: it goes. */
void cs_stream_gone(struct stream *s);

/* stream.c */
uint64_t cs_now(void);
int32_t cs_stream_new(struct plugin *p, struct hd_str node, struct hd_str dbname, struct stream **out,
                      struct hd_error *err);
int32_t cs_stream_run(struct stream *s, struct hd_error *err);
void cs_stream_free(struct stream *s);
void cs_wake(struct stream *s);

/* pq.c: each ends early with HD_ECANCELLED when the stream is to stop. `why` has room for 200 bytes. */
int cs_connect(struct stream *s, int replication, PGconn **out, char *why);
int cs_exec(struct stream *s, PGconn *pg, const char *sql, PGresult **out, char *why);
int cs_prepare(struct stream *s, PGconn *pg, const char *name, const char *sql, char *why);
int cs_pause(struct stream *s, uint64_t ms);
const char *cs_pq_reason(const char *message, char *why);
uint64_t cs_lsn(const char *text);

/* receive.c: all of what has come. HD_OK, or the stream has to begin anew. */
int cs_receive(struct stream *s, char *why);
void cs_publish_gap(struct stream *s);
int cs_send_status(struct stream *s, int want_reply);
void cs_advance(struct stream *s, uint64_t lsn);

/* ask.c */
int cs_ask_prepare(struct stream *s, char *why);
/* Reads an answer, and puts the next question if one is due. */
int cs_ask_step(struct stream *s, char *why);
int cs_unsettled_add(struct stream *s, uint32_t xid);
/* The number of the next fence: all that is under way now has a lower transaction id. */
uint64_t cs_next_fence(const struct stream *s);
uint64_t cs_ask_due(const struct stream *s); /* when; UINT64_MAX: not by itself */
void cs_ask_reset(struct stream *s);

/* wait.c; the first three under no lock of the stream's */
int32_t cs_wait(hd_stream *h, uint64_t lsn, uint64_t timeout_ms,
                void (*done)(void *arg, int32_t code, uint64_t lsn), void *arg);
int32_t cs_check(hd_stream *h, uint64_t timeout_ms, void (*done)(void *arg, int32_t code, uint64_t lsn),
                 void *arg);
/* Ends all waiters of a hold, or all (NULL). Under `calling`. */
void cs_waiters_end(struct stream *s, const struct hd_stream *hold, int32_t code);
/* Takes over what is new; ends those that are served or late. */
void cs_waiters_step(struct stream *s);
uint64_t cs_waiters_due(const struct stream *s);
/* The checks that were asked for together now wait for this position. */
void cs_checks_answered(struct stream *s, uint64_t lsn);
/* All that have come share the next question; 0: there are none. */
int cs_checks_ask(struct stream *s);
/* The question was no good: they share another. */
void cs_checks_again(struct stream *s);
uint64_t cs_waiters_target(const struct stream *s); /* the lowest position that is waited for; 0: none */
void cs_waiters_free(struct stream *s);

/* cover.c */
int32_t cs_cover(hd_stream *h, const uint32_t *oids, uint32_t count);
int32_t cs_covered(hd_stream *h, uint32_t oid);
int cs_cover_begin(struct stream *s, char *why); /* before the slot is made */
int cs_cover_step(struct stream *s, char *why);
void cs_cover_ask(struct stream *s); /* fills `watched` and `fresh` for a question */
/* Its answer: of the watched, how many there are and their fingerprint; of the fresh, each. HD_PENDING:
 * ask again. */
int cs_cover_answer(struct stream *s, const char *watched, const char *fresh);
void cs_cover_snapshot(struct stream *s); /* xmin and xmax are fresh */
int cs_cover_want_fence(struct stream *s);
int cs_cover_want_snapshot(struct stream *s);
void cs_cover_lost(struct stream *s);
void cs_cover_end(struct stream *s); /* waits for what is under way */
void cs_cover_free(struct stream *s);
/* Within the two files: a table, or NULL, under the lock; a table's next state, told where consumers see it;
 * adding to a list, HD_OK or HD_ENOMEM. */
struct table *cs_cover_find(const struct stream *s, uint32_t oid);
void cs_cover_set(struct stream *s, uint32_t oid, enum cover_state state, const char *reason);
int cs_ids_add(struct ids *ids, uint32_t id);
/* Tells a new consumer of what is known already. */
void cs_cover_tell(struct stream *s, const struct hd_stream *h);
uint32_t cs_cover_count(struct stream *s);

/* holds.c */
int32_t cs_open(void *self, struct hd_str node, struct hd_str dbname,
                const struct hd_stream_consumer *consumer, void *arg, hd_stream **out, struct hd_error *err);
void cs_close(hd_stream *h);
void cs_holds_join(struct stream *s);     /* between transactions */
void cs_holds_snapshot(struct stream *s); /* xmin and xmax are fresh */
int cs_holds_want_fence(const struct stream *s);
int cs_holds_want_snapshot(const struct stream *s);
void cs_holds_lost(struct stream *s, const char *reason);
void cs_holds_end(struct stream *s);   /* for good */
void cs_holds_begin(struct stream *s); /* the slot is there */
void cs_tell_coverage(struct stream *s, uint32_t oid, uint32_t covered, const char *reason);
void cs_tell_changed(struct stream *s, uint32_t what);

/* Calls one callback of every hold that is told of changes. */
#define CS_TELL(s, callback, ...)                                                                            \
    do {                                                                                                     \
        for (struct hd_stream *h_ = (s)->holds; h_; h_ = h_->next)                                           \
            if (h_->joined && h_->consumer->callback)                                                        \
                h_->consumer->callback(h_->arg, __VA_ARGS__);                                                \
    } while (0)

/* show.c */
int32_t cs_show(void *arg, const struct hd_call *call, struct hd_error *err);
void cs_metrics_find(struct stream *s);
void cs_metrics_set(struct stream *s);
/* The host hears no more of the stream's health. */
void cs_health_end(struct stream *s);
int32_t cs_info(hd_stream *h, struct hd_stream_info *out);

/* setup.c */
extern const char cs_setup_sql[], cs_unsetup_sql[];

#endif
