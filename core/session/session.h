/*
 * The shapes that the folder shares: a client's session, a server connection, the pool between them, and the
 * worker that owns all three. A session lives and dies on one worker; a server connection may be handed to
 * another worker while it is idle. State is changed only by the file that is named beside it.
 */
#ifndef HD_SESSION_SESSION_H
#define HD_SESSION_SESSION_H

#include <howdah/filter.h>
#include <libpq-fe.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "io/link.h"
#include "plug/chain.h"
#include "session/connect.h"
#include "session/expect.h"
#include "session/meter.h"
#include "session/params.h"
#include "session/prep.h"
#include "session/settings.h"
#include "session/stock.h"
#include "session/worker.h"
#include "sql/template.h"
#include "wire/frame.h"
#include "wire/proto.h"

struct hd_session;
struct hd_server;
struct hd_pool;
struct hd_pool_shared;
struct hd_tally;
struct hd_pool_farewell;
struct hd_login;
struct hd_console;
struct hd_tunnel;
struct hd_auth_cache;
struct hd_held;
struct hd_listener;
struct hd_handover;
struct hd_track;
struct hd_asking;
struct hd_excuse;
struct hd_settling;

#define HD_SESSION_MAGIC 0x68645365u
#define HD_SERVER_MAGIC  0x68645376u

/* --- statements (statement.c)
 * ------------------------------------------------------------------------------- */

/* One execution that a filter wants to see. Made when it arrives, ends with hd_stmt_complete, exactly once.
 */
struct hd_stmt {
    struct hd_chain_exec exec;
    struct hd_session *session;
    struct hd_template *tmpl; /* held */
    struct hd_buf *rewrite;   /* a filter's text instead: a whole Query, or the SQL of a Parse; NULL: none */
    struct hd_stmt *next_free;
    uint32_t want;        /* of the plan */
    uint32_t flags;       /* HD_STMT_… */
    uint64_t defaults_id; /* that filters were told when they decided; 0: none */
    uint64_t arrived_ns, queue_ns, first_ns;
    uint64_t queued_at_ns; /* while waiting; else 0 */
    uint64_t rows, bytes;
    uint64_t rows_before; /* the last command tag; a Query may have several */
    char sqlstate[6];
    char tag[64];
    uint8_t tag_len;
    uint8_t failed;
    uint8_t answered_by;
};

/* --- server connections (server.c, relay.c, answers.c)
 * -------------------------------------------------------------------------- */

enum hd_server_state {
    HD_SERVER_IDLE = 1, /* in its pool's idle list */
    HD_SERVER_LINKED,   /* a session has it */
    HD_SERVER_CLEANING, /* nobody has it; what the host sent must be answered first */
    HD_SERVER_MOVING,   /* on its way to another worker */
    HD_SERVER_CLOSED,
};

/* Who is at the other end: as PostgreSQL's statistics know it. */
struct hd_backend {
    int pid; /* 0: not known */
    int64_t since_us, server_us;
};

struct hd_server {
    struct hd_link link;
    uint32_t magic;
    enum hd_server_state state;
    struct hd_worker *w;
    struct hd_pool *pool;
    struct hd_list node; /* pool->idle, pool->busy */
    struct hd_session *session;
    PGconn *pg;
    struct hd_cancel_key cancel_key;
    struct hd_backend backend;
    struct hd_settling
        *settling;              /* filters want to know when what it runs is over (settle.c); NULL: nobody */
    struct hd_params *params;   /* as the server stands now */
    struct hd_params *defaults; /* what it has beside them by itself (defaults.c); NULL: not known */
    struct hd_params *defaults_answer; /* the same as it is being told */
    struct hd_stock preps;             /* under the host's names */
    struct hd_prep *unnamed;           /* the unnamed statement's content; NULL: none that is known */
    uint32_t unnamed_changes;          /* numbers what was done to it */
    uint64_t unnamed_rows;             /* HD_ROWS_… */
    struct hd_expects expects;
    struct hd_frame_scan scan;
    struct hd_buf *relay_buf;      /* of the run that is being relayed */
    struct hd_server_move *moving; /* on its way to another worker */
    struct hd_post later;          /* to be put back when its event is over */
    uint64_t connected_ns, idle_ns;
    uint64_t orphan_bytes;   /* read while nobody waits for them */
    uint64_t orphan_ns;      /* since when it is one */
    uint64_t node_hash;      /* of the conninfo that it was made by */
    uint64_t drawn_for;      /* the session that drew from sequences here; 0: none (sequence.c) */
    struct hd_session *drew; /* that prefers it, as the last that drew here */
    uint32_t cancels;        /* under way, or other holds: it is not given to anybody else, nor freed */
    uint8_t txn;             /* HD_TXN_… */
    uint8_t copy_in;         /* the server reads CopyData */
    uint8_t skipping;        /* after an error: it reads nothing but Sync */
    uint8_t must_close;      /* not to be given to another session */
    uint8_t broken;          /* its count is not ours any more: closed as soon as nothing is owed */
    uint8_t freed;           /* closed and released, but a cancel still holds it */
    uint8_t relayed_fatal;   /* the client has been told why it ends */
    uint8_t paused_by_client;
    uint8_t unnamed_unsure;  /* `unnamed` is not known */
    uint8_t ask_defaults;    /* its defaults are to be asked for again */
    uint8_t orphan;          /* it owes answers to a client that has left in good order */
    uint8_t checking;        /* asked whether it still lives, counted in pool->checking */
    uint8_t statement_error; /* the Query that is running has failed */
    uint8_t rolled_back;     /* the last command that ended was a ROLLBACK */
    uint8_t defines; /* what runs in its transaction may change a schema; HD_DEFINES_… (defined.c) */
};

/* --- pools (pool.c)
 * ----------------------------------------------------------------------------------------- */

struct hd_pool_stats {
    uint64_t transactions, queries, bytes_in, bytes_out, wait_ns, waits, connects, connect_failures, timeouts;
    uint64_t answered, refused;
    uint64_t reserved; /* servers made beyond pool_size */
    uint64_t evicted;  /* idle servers closed for another pool */
};

/* Servers of one (database, user, node) on one worker. */
/* What filters are told of a pool with each statement, measured once. `dbname` is the database on the server.
 */
struct hd_pool_names {
    struct hd_str database, user, node, dbname;
};

struct hd_pool {
    struct hd_pool *next; /* in the worker's list */
    struct hd_worker *w;
    struct hd_pool_shared *shared;
    struct hd_settings *settings; /* held; database, node and user point into it */
    const struct hd_database_conf *conf;
    const struct hd_node_conf *node;
    const struct hd_user_conf *user_conf;
    char *database, *user; /* as the client says */
    struct hd_pool_names names;
    struct hd_list idle, busy, waiting;
    uint32_t idle_count, busy_count, waiting_count, connecting;
    uint32_t checking; /* servers that are asked whether they still live */
    uint32_t sessions;
    uint32_t refs;                     /* sessions that point here */
    uint64_t unused_ns;                /* since when nobody uses it; 0: somebody does */
    struct hd_pool_farewell *farewell; /* on its way round the workers, before it is freed */
    struct hd_tally *capped;           /* the common limit that was found reached last */
    struct hd_tally *promised;         /* whose next place is this pool's, or another's before it */
    unsigned published;                /* what the other workers were told last */
    unsigned
        turns; /* sessions served here since its only server was made, or one was given to another worker */
    unsigned forgotten;            /* of the shared part, when this one's `welcome` was learned or dropped */
    struct hd_params *welcome;     /* what a new server connection has; NULL until the first */
    struct hd_params *defaults;    /* what its servers have beside that (defaults.c); NULL: not known */
    uint64_t defaults_due_ns;      /* when a server is asked for them next */
    uint64_t defaults_asked_ns;    /* when servers were asked for them last */
    uint64_t defaults_since_ns;    /* when their changes were counted last, and */
    uint64_t defaults_work;        /* what had been done in the pool when they were asked for */
    uint32_t defaults_changes;     /* ... how many there were */
    unsigned defaults_seq;         /* of the shared part, when they were taken from it or given to it */
    struct hd_login_cache *logins; /* what startup parameters come to */
    uint64_t check_ns;             /* who has idled longer is asked before it is used */
    uint64_t retry_ns;             /* no connect before this */
    uint32_t retry_step;
    char fail_sqlstate[6];
    char fail_message[400];
    struct hd_pool_stats stats;
    int64_t told[HD_POOL_METRICS]; /* what its metrics have been told from here */
    uint8_t defaults_failed;       /* a server would not say */
    uint8_t paused;
    uint8_t plea; /* another worker is being asked to make room */
};

/* --- sessions (client.c, login.c, query.c, extended.c and what it shares with others in extended_parts.h)
 * ------------------------------------------------------ */

enum hd_session_state {
    HD_SESSION_STARTUP = 1, /* waiting for the first packet */
    HD_SESSION_AUTH,        /* waiting for a SASLResponse */
    HD_SESSION_WELCOME,     /* waiting for a server to learn its parameters */
    HD_SESSION_READY,       /* takes statements */
    HD_SESSION_WAITING,     /* a statement waits for a server */
    HD_SESSION_PARKED,      /* a filter or a command has it */
    HD_SESSION_CLOSING,     /* the last words are on their way */
    HD_SESSION_CLOSED,
};

/* Why a session keeps its server. */
#define HD_PIN_MODE     1u /* pool_mode = session */
#define HD_PIN_SETTING  2u /* a setting that has to be asked for, or cannot */
#define HD_PIN_TEMP     4u /* a temporary object */
#define HD_PIN_LISTEN   8u
#define HD_PIN_LOCK     16u /* an advisory lock */
#define HD_PIN_CURSOR   32u /* a cursor WITH HOLD */
#define HD_PIN_PREPARE  64u /* SQL-level PREPARE */
#define HD_PIN_LOAD     128u
#define HD_PIN_SEQUENCE 256u  /* lastval() and currval() may be asked */
#define HD_PIN_UNSURE   512u  /* something that the host cannot see through */
#define HD_PIN_NAMES    2048u /* a statement of the client's lives there under its own name */
#define HD_PIN_PROTOCOL 1024u /* a statement too long to be kept, or a Sync that cannot be counted */
#define HD_PIN_SEED     4096u /* setseed() */

/* What a batch has done to the unnamed statement. */
#define HD_UNNAMED_PARSED 1u
#define HD_UNNAMED_TO_ASK 2u /* and it has not bound it */

/* A portal whose template matters. */
struct hd_portal {
    struct hd_portal *next;
    struct hd_template *tmpl; /* held; NULL: not known */
    struct hd_prep *prep;     /* its text, held, where a filter decides about it; else NULL */
    char name[];
};

/* In hd_session.ending. */
enum { HD_ENDING_NONE = 0, HD_ENDING_HELD, HD_ENDING_RESUMED };

struct hd_session {
    struct hd_link link;
    uint32_t magic;
    enum hd_session_state state;
    struct hd_worker *w;
    struct hd_list all;     /* worker->sessions */
    struct hd_list waiting; /* pool->waiting; worker->logins while logging in; worker->closing */
    uint64_t id;
    uint32_t cancel_pid;
    uint8_t cancel_key[4];
    struct hd_pool *pool;
    struct hd_pool *route; /* a filter's choice for the next statement; NULL: pool */
    struct hd_pool *queue; /* whose queue it waits in */
    struct hd_server *server;
    struct hd_params *params;
    struct hd_params *startup; /* what its startup packet sets beside the server's own; NULL: nothing */
    struct hd_params *restore; /* what is to come back of it, behind a RESET (restore.c) */
    struct hd_track *track;    /* what it may have left on its server (track.c); NULL: nothing */
    struct hd_server *drew_at; /* the last server where it drew from sequences, if that is still so */
    struct hd_asking *asking;  /* does its database ask for lastval? NULL: not looked up (sequence.c) */
    const struct hd_params *lexical_of; /* `lexical` was read from this set (compared, never followed) */
    struct hd_login *login;             /* until ready */
    struct hd_tally *tallies[2];        /* that it is counted in; NULL: not */
    struct hd_tunnel *tunnel;           /* a replication connection */
    struct hd_console *console;         /* a session on the host's own database */
    struct hd_listener *listener;
    struct hd_names names;
    struct hd_template *about_names; /* of the text that is deallocating; held, or NULL */
    struct hd_excuse *excuses;       /* why names of that text are not on the server (prepared_sql.c) */
    struct hd_prep *unnamed;         /* content of the client's unnamed statement */
    uint64_t unnamed_rows;           /* HD_ROWS_… that it gave */
    struct hd_template *portal_tmpl; /* of the unnamed portal; held */
    struct hd_prep *portal_prep;     /* as in hd_portal */
    struct hd_portal *portals;       /* named ones */
    struct hd_stmt *pending;         /* decided or parked, not forwarded yet */
    struct hd_held *held;            /* messages kept back until a filter has decided */
    struct hd_frame_scan scan;
    struct hd_chain_session chain;
    uint64_t since_ns; /* in this state: connected, waiting, or last active */
    uint64_t txn_ns;   /* when the server was linked */
    uint64_t statements, transactions;
    uint32_t pins;        /* HD_PIN_… */
    uint32_t lexical;     /* HD_TEMPLATE_… flags of its settings */
    uint32_t unsynced;    /* messages of the extended protocol forwarded since the last Sync */
    uint32_t parse_seq;   /* numbers the client's Parses */
    uint32_t deallocated; /* statements of `about_names` that are done */
    uint8_t txn;          /* HD_TXN_… as the client knows it */
    uint8_t skip_sync;    /* after a local error: messages up to Sync are dropped */
    uint8_t drop_rest;    /* the message that is streaming is thrown away */
    uint8_t decided;      /* `pending` may be forwarded */
    uint8_t pass_rest;    /* the message that is streaming goes to the server */
    uint8_t paused_by_server;
    uint8_t copy_ended;  /* CopyDone or CopyFail went out before its CopyInResponse was here */
    uint8_t renaming;    /* names or statements on the server have changed since the last Sync */
    uint8_t doubt;       /* what stands on names waits until nothing is owed */
    uint8_t unnamed_now; /* HD_UNNAMED_… of this batch */
    uint8_t exporting;   /* names are being brought for a text that waits */
    uint8_t cancelled;   /* the statement that waits is to be refused */
    uint8_t fence;       /* a RESET is being carried out (restore.c), or a role is taken on (client.c) */
    uint8_t draws;       /* on its present server it may have drawn from sequences, */
    uint8_t drew;        /* or on an earlier one */
    uint8_t logged_in;
    uint8_t direct_tls; /* it began with TLS, without asking */
    uint8_t counted;    /* among pool->sessions */
    uint8_t ending;     /* is its transaction's end held back? HD_ENDING_… (ending.c) */
    uint8_t in_clients; /* among workers->clients */
    uint8_t own;        /* the host itself is its client (replay.c) */
};

/* --- workers (worker.c)
 * ------------------------------------------------------------------------------------- */

struct hd_worker_stats {
    uint64_t accepted, refused_clients, logins, login_failures, cancels, cancels_unknown, cancels_relayed;
};

struct hd_worker {
    struct hd_workers *all;
    int index;
    pthread_t thread;
    sem_t go; /* all workers are there */
    struct hd_loop loop;
    struct hd_io io;
    struct hd_settings *settings;
    struct hd_chain *chain;
    struct hd_template_cache *templates;
    struct hd_params_table *params;
    struct hd_pool *pools;
    struct hd_list sessions;
    struct hd_list logins;  /* oldest first */
    struct hd_list closing; /* sessions whose last words are on their way */
    struct hd_list lost;    /* transactions whose connection has gone in their middle (settle.c) */
    uint32_t lost_count;
    struct hd_listener *listeners;
    struct hd_loop_timer tick;
    struct hd_strbuf text; /* scratch for the cold path */
    struct hd_stmt *free_stmts;
    uint32_t free_stmt_count;
    struct hd_worker_stats stats;
    struct hd_pool_stats retired; /* of pools that are gone */
    struct hd_meter meter;
    _Atomic uint64_t others_longest_ns; /* waited in pools without metrics of their own */
    uint64_t drain_deadline_ns;
    uint64_t moment_ns; /* moment.h */
    uint64_t second_ns; /* when what is done each second was done last */
    uint32_t session_count;
    uint32_t placing;              /* place.c: connections accepted here that look for their worker */
    _Atomic int64_t placed;        /* sessions that live here, or are on their way */
    _Atomic unsigned busy_percent; /* of its time, lately */
    uint64_t busy_since_ns, busy_cpu_ns;
    uint32_t
        moving; /* servers on their way to another worker that have not left yet, and requests under way */
    uint8_t draining, stopping;
    struct hd_post stop_post;
    uint8_t told_drained;
    uint8_t retiring, told_retired, sweep_posted; /* handover.c */
    struct hd_post sweep_post;
    uint64_t handed_over;
    uint8_t accept_paused; /* listeners stand still until the next tick */
};

/* What all workers share. */
struct hd_workers {
    struct hd_workers_env env;
    struct hd_worker *worker;
    int count;
    struct hd_connector *connector;
    struct hd_meter_ids meter;
    struct hd_pool_meters pool_meters;
    struct hd_auth_cache *auth;
    struct hd_prep_table *preps;
    struct hd_templates *templates;
    struct hd_pool_shared *pools;
    struct hd_asking *asking; /* databases that draw from sequences (sequence.c) */
    struct hd_tally *tallies;
    pthread_mutex_t pools_lock; /* of both lists */
    struct hd_settings *settings, *prepared;
    struct hd_sockets *sockets, *new_sockets; /* listener.c */
    _Atomic uint64_t next_session;
    _Atomic int64_t clients; /* in all */
    _Atomic int memory_over; /* max_memory is reached: no logins, no new statements; kept by worker 0 */
    uint8_t mock_secret[32]; /* for users that do not exist */
    void (*drained)(void *arg);
    void *drained_arg;
    _Atomic int draining_left;
    struct hd_post drained_post;
    sem_t stopped;
    int started;                  /* threads that run */
    char io_reason[128];          /* why io_uring could not be had */
    int succeeded;                /* another host has the addresses now */
    int failed;                   /* never started */
    struct hd_handover *handover; /* the way to the other host; NULL: there is none */
    void (*retired)(void *arg);
    void *retired_arg;
    _Atomic int retiring_left;
    struct hd_post retired_post;
};

/* How long ago that was; 0 when it came after `now` was read, as it may within one tick. */
static inline uint64_t hd_elapsed_ns(uint64_t now, uint64_t since)
{
    return now > since ? now - since : 0;
}

#endif
