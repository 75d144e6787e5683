/*
 * What the INI says, typed and resolved: one immutable, counted snapshot that workers read without locks.
 * host/config builds it; a reload builds another and hands it to every worker.
 */
#ifndef HD_SESSION_SETTINGS_H
#define HD_SESSION_SETTINGS_H

#include <howdah/options.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/arena.h"

struct hd_scram_verifier; /* wire/scram.h */

enum hd_io_choice { HD_IO_AUTO = 0, HD_IO_UV, HD_IO_URING };
enum hd_auth { HD_AUTH_TRUST = 0, HD_AUTH_SCRAM, HD_AUTH_CERT };
enum hd_tls_mode { HD_TLS_OFF = 0, HD_TLS_ALLOW, HD_TLS_REQUIRE };
enum hd_pool_mode { HD_POOL_AUTO = 0, HD_POOL_TRANSACTION, HD_POOL_SESSION };

/* [host]; filled straight by the options engine. */
struct hd_host_conf {
    struct hd_str workers;    /* "auto" or a number */
    struct hd_str plugin_dir; /* empty: found by the program */
    struct hd_str pid_file;   /* empty: none */
    struct hd_str control;    /* unix:PATH; empty: none */
    struct hd_str log_file;   /* empty: stderr */
    int64_t upgrade_timeout;  /* ms */
    int64_t start_timeout;    /* ms */
    int32_t supervisor;       /* run under one */
    int32_t log_level;        /* enum hd_log_level */
    int64_t drain_timeout;    /* ms */
    int64_t login_timeout;    /* ms, for a client from accept to ready */
    int64_t connect_timeout;  /* ms, for one connection to a server */
    int64_t max_clients;      /* in all */
    int64_t
        max_statement_length; /* bytes of a Query or Parse that is gathered and parsed; longer ones stream */
    int64_t max_templates;    /* entries of the template table */
    int64_t max_prepared_per_client;
    int64_t max_metrics;
    int64_t pool_metrics; /* pools with metrics of their own */
    int64_t max_jobs;     /* waiting in the queue of the job pool */
    int64_t job_threads;
    int64_t bus_queue;          /* events per publishing thread */
    int64_t buffer_memory;      /* bytes of buffers per worker; past it reading pauses */
    int64_t plugin_failures;    /* failures within a minute that quarantine a plugin */
    int64_t park_timeout;       /* ms, longest park */
    int64_t max_memory;         /* bytes, in all */
    int64_t max_session_memory; /* bytes of one client's prepared statements */
    int64_t id;                 /* among hosts behind one balancer; 0: alone */
    int64_t auth_cache_size;    /* answers of auth_query */
    int64_t auth_cache_time;    /* ms */
    int64_t worker_fill;        /* clients that a worker gets before the next */
    int32_t worker_count;       /* `workers`, resolved */
    int32_t io;                 /* enum hd_io_choice */
};

struct hd_network {
    int family; /* AF_INET, AF_INET6 */
    unsigned bits;
    uint8_t address[16];
};

struct hd_address {
    struct sockaddr_storage sa;
    socklen_t len;
    const char *text; /* as written: "127.0.0.1:6432" */
};

/* [listener NAME] */
struct hd_listener_conf {
    const char *name;
    const char *origin;
    enum hd_auth auth;
    enum hd_tls_mode tls;
    const char *tls_cert, *tls_key, *tls_client_ca; /* paths, or NULL */
    uint32_t address_count, network_count;
    const struct hd_address *addresses;
    const struct hd_network *networks; /* count 0: every network */
    int64_t backlog;
    int32_t unix_mode; /* permissions of a Unix socket, 0777 like PostgreSQL's */
};

/* [user NAME]; name "*" is any. */
struct hd_user_conf {
    const char *name;
    const char *origin;
    const char *password; /* or NULL */
    const struct hd_scram_verifier
        *verifier; /* made from the password where none is given; NULL: trust or cert only */
    int admin;
    int64_t pool_size;   /* 0: the database's */
    int64_t max_clients; /* 0: no limit of its own */
    int64_t max_servers; /* over all databases; 0: no limit */
};

/* [node NAME] */
struct hd_node_conf {
    const char *name;
    const char *origin;
    const char *conninfo;         /* as written, checked by PQconninfoParse */
    const char *user, *dbname;    /* as conninfo names them, or NULL */
    const char *control_user;     /* resolved by the rule of the documentation; NULL: jobs cannot run here */
    const char *control_password; /* or NULL */
    int64_t connect_timeout;      /* ms; 0: [host]'s */
    int64_t max_servers;          /* over all databases and users; 0: no limit */
};

/* [database NAME]; name "*" is any. */
struct hd_database_conf {
    const char *name;
    const char *origin;
    const struct hd_node_conf *node;
    const char *auth_query; /* asks for users that have no password here; or NULL */
    enum hd_pool_mode pool_mode;
    int64_t pool_size;
    int64_t min_pool_size;
    int64_t reserve_pool_size, reserve_pool_timeout; /* ms */
    int64_t max_clients;                             /* 0: no limit of its own */
    int64_t max_servers;                             /* over all users; 0: no limit */
    int64_t queue_timeout, idle_transaction_timeout, client_idle_timeout,
        server_idle_timeout;         /* ms; 0: never */
    int64_t server_lifetime;         /* ms; 0: for ever */
    int64_t max_prepared_statements; /* per server connection */
};

/* [peer ID]: another host behind the same balancer. */
struct hd_peer_conf {
    const char *name;
    const char *origin;
    uint32_t id;
    struct hd_address address;
    const char *secret;
};

/* [http] */
struct hd_http_conf {
    struct hd_listener_conf listener; /* addresses, networks, certificate */
    const char *token;                /* or NULL */
    int64_t max_connections;
    int64_t max_connections_per_address; /* 0: no limit */
    int64_t max_request_size;            /* bytes of a body */
    int64_t max_header_size;             /* bytes */
    int64_t answer_memory;               /* bytes of answers that clients have not read yet */
    int64_t compress_from;               /* bytes of an answer; 0: none is compressed */
    int64_t compress_most;               /* bytes */
    int64_t request_timeout;             /* ms, to arrive */
    int64_t idle_timeout;                /* ms */
    int64_t rate;                        /* requests per second; 0: no limit */
};

struct hd_settings {
    _Atomic int refs;
    uint64_t generation; /* grows with each reload */
    struct hd_arena arena;
    struct hd_host_conf host;
    uint32_t listener_count, user_count, database_count, node_count, peer_count;
    const struct hd_listener_conf *listeners;
    const struct hd_user_conf *users;
    const struct hd_database_conf *databases;
    const struct hd_node_conf *nodes;
    const struct hd_peer_conf *peers;
    const struct hd_http_conf *http; /* NULL: there is no [http] */
};

struct hd_settings *hd_settings_hold(struct hd_settings *s);
void hd_settings_release(struct hd_settings *s);

/* The exact name, else "*", else NULL. */
const struct hd_user_conf *hd_settings_user(const struct hd_settings *s, const char *name);
/* The same; where the database asks its server for users, one for those that are not written down. */
const struct hd_user_conf *hd_settings_user_of(const struct hd_settings *s, const struct hd_database_conf *d,
                                               const char *name);
const struct hd_database_conf *hd_settings_database(const struct hd_settings *s, const char *name);
const struct hd_node_conf *hd_settings_node(const struct hd_settings *s, const char *name);
const struct hd_peer_conf *hd_settings_peer(const struct hd_settings *s, uint32_t id);
/* May a peer of this address connect? Unix sockets always may. */
int hd_listener_allows(const struct hd_listener_conf *l, const struct sockaddr *peer);

#endif
