/*
 * The tables of the host's own sections; see sections.h.
 */
#include "host/sections.h"
#include "session/settings.h"

#include <stddef.h>
#include <string.h>

#define RELOAD HD_OPTF_RELOADABLE
#define DAY    86400000.0

/* One entry: KEY fills the member of the same name. */
#define OPT(conf, type, key, def, lo, hi, flags, doc)                                                        \
    {                                                                                                        \
#key, def, NULL, doc, lo, hi, type, flags, offsetof(struct conf, key), 0                             \
    }
#define CHOICE(conf, key, def, choices, flags, doc)                                                          \
    {                                                                                                        \
#key, def, choices, doc, 0, 0, HD_OPT_ENUM, flags, offsetof(struct conf, key), 0                     \
    }

#define HOST(type, key, def, lo, hi, flags, doc)                                                             \
    OPT(hd_host_conf, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option host_table[] = {
    HOST(STRING, workers, "auto", 0, 0, 0, "Worker threads: a number, or auto for one per core"),
    HOST(INT, worker_fill, "64", 0, 1000000, RELOAD,
         "Clients that a worker gets before the next one is used; 0 spreads them over all from the first"),
    CHOICE(hd_host_conf, io, "auto", "auto|uv|uring", 0,
           "What moves bytes: uring is Linux's io_uring, uv works everywhere; auto takes uring where it can"),
    HOST(STRING, plugin_dir, NULL, 0, 0, 0,
         "Folder of the plugins' libraries; where make install puts them when empty"),
    HOST(STRING, pid_file, NULL, 0, 0, 0,
         "File that holds the number of the running process, and keeps a second one out"),
    HOST(STRING, control, HD_DEFAULT_CONTROL, 0, 0, 0, "Socket for howdahctl, unix:PATH; none when empty"),
    HOST(BOOL, supervisor, "yes", 0, 0, 0,
         "A parent process holds the sockets, starts the host again when it crashes, and can upgrade it"),
    HOST(DURATION, upgrade_timeout, "10m", 0, DAY, RELOAD,
         "Longest time that a replaced host serves clients that could not be handed over"),
    HOST(DURATION, start_timeout, "2m", 100, DAY, RELOAD,
         "Longest time that a new host may take until it serves, in an upgrade or after a crash"),
    HOST(STRING, log_file, NULL, 0, 0, RELOAD, "File for the log, reopened on SIGHUP; stderr when empty"),
    CHOICE(hd_host_conf, log_level, "info", "error|warning|info|debug", RELOAD, "How much is logged"),
    HOST(DURATION, drain_timeout, "30s", 0, DAY, RELOAD,
         "Longest wait for running transactions when the host stops"),
    HOST(DURATION, login_timeout, "60s", 100, DAY, RELOAD,
         "Longest time from a client's connect to the end of its login"),
    HOST(DURATION, connect_timeout, "10s", 100, DAY, RELOAD, "Longest time for one connection to a server"),
    HOST(INT, max_clients, "10000", 1, 1000000, RELOAD, "Clients at a time, in all"),
    HOST(SIZE, max_statement_length, "64K", 1024, 64 << 20, RELOAD,
         "Longest statement that is parsed; longer ones pass through unseen by filters"),
    HOST(INT, max_templates, "10000", 16, 10000000, 0, "Normalized statements that are remembered"),
    HOST(INT, max_prepared_per_client, "10000", 1, 1000000, RELOAD,
         "Prepared statements that one client may hold"),
    HOST(INT, max_metrics, "10000", 64, 1000000, 0, "Metrics, labels counted apart"),
    HOST(INT, pool_metrics, "30", 0, 100000, RELOAD,
         "Pools with metrics of their own; further ones are told of together, labelled other"),
    HOST(INT, max_jobs, "1000", 1, 1000000, 0, "Jobs that wait for a thread"),
    HOST(INT, job_threads, "4", 1, 64, 0, "Threads for blocking jobs"),
    HOST(INT, bus_queue, "4096", 64, 1 << 20, 0, "Events that wait on the bus, per publishing thread"),
    HOST(SIZE, buffer_memory, "256M", 1 << 20, 64.0 * (1 << 30), RELOAD,
         "Memory for buffers per worker; past it reading pauses"),
    HOST(SIZE, max_memory, "0", 0, 1024.0 * (1 << 30) * 1024, RELOAD,
         "Memory in all, past which logins and new prepared statements are refused; 3/4 of the machine's "
         "when 0"),
    HOST(SIZE, max_session_memory, "64M", 4096, 64.0 * (1 << 30), RELOAD,
         "Memory for the prepared statements of one client"),
    HOST(INT, plugin_failures, "10", 1, 1000000, RELOAD, "Failures within a minute that quarantine a plugin"),
    HOST(INT, auth_cache_size, "10000", 1, 1000000, 0,
         "Users found by auth_query, or not, that are remembered"),
    HOST(DURATION, auth_cache_time, "30s", 0, DAY, RELOAD, "How long they are remembered"),
    HOST(INT, id, "0", 0, 127, 0, "Number of this host among those behind one balancer; 0 where it is alone"),
    HOST(DURATION, park_timeout, "60s", 1, DAY, RELOAD, "Longest time that a filter may hold a statement"),
};

#define LISTENER(type, key, def, lo, hi, flags, doc)                                                         \
    OPT(hd_listener_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option listener_table[] = {
    LISTENER(
        LIST, listen, NULL, 0, 0, RELOAD | HD_OPTF_REQUIRED,
        "Addresses such as 127.0.0.1:6432, [::]:6432 or unix:/run/howdah/.s.PGSQL.6432, with commas between"),
    CHOICE(hd_listener_keys, auth, "scram-sha-256", "trust|scram-sha-256|cert", RELOAD,
           "How clients prove who they are"),
    LISTENER(LIST, allow, NULL, 0, 0, RELOAD,
             "Networks that may connect, such as 127.0.0.0/8, ::1/128; every one when empty"),
    CHOICE(hd_listener_keys, tls, "off", "off|allow|require", RELOAD, "Encryption towards clients"),
    LISTENER(STRING, tls_cert, NULL, 0, 0, RELOAD, "File of the certificate, with its chain, PEM"),
    LISTENER(STRING, tls_key, NULL, 0, 0, RELOAD, "File of the certificate's private key, PEM"),
    LISTENER(STRING, tls_client_ca, NULL, 0, 0, RELOAD,
             "File of the authorities that sign clients' certificates, PEM"),
    LISTENER(INT, backlog, "4096", 1, 65535, RELOAD, "Connections that wait to be accepted"),
    LISTENER(STRING, unix_mode, "0777", 0, 0, RELOAD, "Permissions of a Unix socket, octal"),
};

#define USER(type, key, def, lo, hi, flags, doc)                                                             \
    OPT(hd_user_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option user_table[] = {
    USER(SECRET, password, NULL, 0, 0, RELOAD,
         "The password, to log in here and, where a node names no user, there"),
    USER(SECRET, verifier, NULL, 0, 0, RELOAD,
         "Instead of the password, what PostgreSQL keeps of it, beginning with SCRAM-SHA-256$"),
    USER(BOOL, admin, "no", 0, 0, RELOAD, "May use the console, database howdah"),
    USER(INT, pool_size, "0", 0, 10000, RELOAD,
         "Server connections at a time per database; the database's when 0"),
    USER(INT, max_clients, "0", 0, 1000000, RELOAD,
         "Clients at a time of this user; no limit of its own when 0"),
    USER(INT, max_servers, "0", 0, 100000, RELOAD,
         "Server connections at a time of this user, over all databases; no limit when 0"),
};

#define DATABASE(type, key, def, lo, hi, flags, doc)                                                         \
    OPT(hd_database_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option database_table[] = {
    DATABASE(STRING, node, NULL, 0, 0, RELOAD | HD_OPTF_REQUIRED, "Name of the [node] behind this database"),
    DATABASE(STRING, auth_query, NULL, 0, 0, RELOAD,
             "Query that gives name and password of user $1 where no [user] has one; run as control_user"),
    CHOICE(hd_database_keys, pool_mode, "auto", "auto|transaction|session", RELOAD,
           "When a server connection may serve another client"),
    DATABASE(INT, pool_size, "20", 1, 10000, RELOAD, "Server connections at a time per user"),
    DATABASE(INT, min_pool_size, "0", 0, 10000, RELOAD,
             "Server connections that are kept ready for a user while the user has clients"),
    DATABASE(INT, reserve_pool_size, "0", 0, 10000, RELOAD,
             "Server connections per user beyond pool_size, for who waits too long"),
    DATABASE(DURATION, reserve_pool_timeout, "5s", 0, DAY, RELOAD, "Wait after which the reserve is used"),
    DATABASE(INT, max_clients, "0", 0, 1000000, RELOAD,
             "Clients at a time of this database; no limit of its own when 0"),
    DATABASE(INT, max_servers, "0", 0, 100000, RELOAD,
             "Server connections at a time, over all users; no limit when 0"),
    DATABASE(DURATION, queue_timeout, "30s", 0, DAY, RELOAD,
             "Longest wait for a server connection; for ever when 0"),
    DATABASE(DURATION, idle_transaction_timeout, "0", 0, 365 * DAY, RELOAD,
             "Ends a client that idles in a transaction; never when 0"),
    DATABASE(DURATION, client_idle_timeout, "0", 0, 365 * DAY, RELOAD,
             "Ends a client that idles; never when 0"),
    DATABASE(DURATION, server_idle_timeout, "10m", 0, 365 * DAY, RELOAD,
             "Closes a server connection that idles; never when 0"),
    DATABASE(DURATION, server_lifetime, "1h", 0, 365 * DAY, RELOAD,
             "Closes a server connection of that age once it is free; never when 0"),
    DATABASE(INT, max_prepared_statements, "200", 0, 100000, RELOAD,
             "Prepared statements that are kept on one server connection"),
};

#define NODE(type, key, def, lo, hi, flags, doc)                                                             \
    OPT(hd_node_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option node_table[] = {
    NODE(STRING, conninfo, NULL, 0, 0, RELOAD | HD_OPTF_REQUIRED,
         "Where the server is, in libpq's words: host=127.0.0.1 port=5432 dbname=shop"),
    NODE(STRING, control_user, NULL, 0, 0, RELOAD,
         "User for the host's own statements; else conninfo's, else the first [user] with admin = yes"),
    NODE(SECRET, control_password, NULL, 0, 0, RELOAD, "That user's password"),
    NODE(DURATION, connect_timeout, "0", 0, DAY, RELOAD,
         "Longest time for one connection; that of [host] when 0"),
    NODE(INT, max_servers, "0", 0, 100000, RELOAD,
         "Connections at a time, over all databases and users; no limit when 0"),
};

#define PEER(type, key, def, lo, hi, flags, doc)                                                             \
    OPT(hd_peer_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option peer_table[] = {
    PEER(STRING, address, NULL, 0, 0, RELOAD | HD_OPTF_REQUIRED,
         "Where it listens, such as 10.0.0.2:6432: cancels of its clients are relayed there"),
    PEER(SECRET, secret, NULL, 0, 0, RELOAD, "What both hosts sign with, the same on both"),
};

#define HTTP(type, key, def, lo, hi, flags, doc)                                                             \
    OPT(hd_http_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option http_table[] = {
    HTTP(LIST, listen, "127.0.0.1:9632", 0, 0, RELOAD,
         "Addresses such as 127.0.0.1:9632 or [::1]:9632, with commas between; none when empty"),
    HTTP(LIST, allow, NULL, 0, 0, RELOAD,
         "Networks that may connect, such as 127.0.0.0/8, ::1/128; every one when empty"),
    HTTP(SECRET, token, NULL, 0, 0, RELOAD,
         "What all requests but /livez and /readyz must bring, as a bearer token or as a password; 16 "
         "characters or more"),
    HTTP(STRING, tls_cert, NULL, 0, 0, RELOAD,
         "File of the certificate, with its chain, PEM; plain HTTP when empty"),
    HTTP(STRING, tls_key, NULL, 0, 0, RELOAD, "File of the certificate's private key, PEM"),
    HTTP(INT, max_connections, "128", 1, 10000, RELOAD,
         "Connections at a time; further ones are closed at once"),
    HTTP(INT, max_connections_per_address, "64", 0, 10000, RELOAD,
         "Connections at a time from one address; no limit of its own when 0"),
    HTTP(SIZE, max_request_size, "64K", 1024, 16 << 20, RELOAD, "Longest body of a request"),
    HTTP(SIZE, max_header_size, "16K", 4096, 1 << 20, RELOAD, "Longest head of a request"),
    HTTP(SIZE, answer_memory, "128M", 1 << 20, 64.0 * (1 << 30), RELOAD,
         "Memory for answers that clients have not read yet; past it larger ones are refused"),
    HTTP(SIZE, compress_from, "1K", 0, 1 << 30, RELOAD,
         "Answers of so many bytes and more are compressed for whoever takes gzip; none when 0"),
    HTTP(SIZE, compress_most, "4M", 1024, 1 << 30, RELOAD,
         "Longer answers are not: compressing a megabyte takes the control thread about 10 ms"),
    HTTP(DURATION, request_timeout, "10s", 1000, DAY, RELOAD,
         "Longest time that a request may take to arrive"),
    HTTP(DURATION, idle_timeout, "60s", 1000, DAY, RELOAD,
         "Closes a connection on which nothing moves for so long"),
    HTTP(INT, rate, "200", 0, 1000000, RELOAD,
         "Requests per second, beside /livez and /readyz; further ones are refused; no limit when 0"),
};

#define PLUGIN(type, key, def, lo, hi, flags, doc)                                                           \
    OPT(hd_plugin_keys, HD_OPT_##type, key, def, lo, hi, flags, doc)
static const struct hd_option plugin_table[] = {
    CHOICE(hd_plugin_keys, enabled, "yes", "no|yes|observe", RELOAD,
           "Whether it runs; a filter that observes decides, logs and counts, but does not act"),
    PLUGIN(STRING, library, NULL, 0, 0, RELOAD, "Path of its library; NAME.so in plugin_dir when empty"),
    PLUGIN(BOOL, required, "no", 0, 0, RELOAD, "Without it the host does not start"),
    PLUGIN(INT, priority, "100", 0, 1000000, RELOAD, "Order among filters, low numbers first"),
    CHOICE(hd_plugin_keys, on_failure, "bypass", "bypass|reject", RELOAD,
           "What happens to statements when it fails: they go on without it, or are refused"),
    PLUGIN(INT, failures, "0", 0, 1000000, RELOAD,
           "Failures within a minute that quarantine it; those of [host] when 0"),
    PLUGIN(DURATION, time_budget, "0", 0, 60000, RELOAD,
           "Longest time for one call on a worker; 10ms when 0"),
};

const struct hd_kind_info hd_kinds[HD_KINDS] = {
    [HD_KIND_HOST] = {"host", "The host itself", HD_OPTIONS(struct hd_host_conf, host_table)},
    [HD_KIND_LISTENER] = {"listener", "Where clients connect, and how",
                          HD_OPTIONS(struct hd_listener_keys, listener_table)},
    [HD_KIND_USER] = {"user", "Who may connect; [user *] is anybody",
                      HD_OPTIONS(struct hd_user_keys, user_table)},
    [HD_KIND_DATABASE] = {"database",
                          "The name that clients ask for; [database *] is any, under its own name",
                          HD_OPTIONS(struct hd_database_keys, database_table)},
    [HD_KIND_NODE] = {"node", "A PostgreSQL server", HD_OPTIONS(struct hd_node_keys, node_table)},
    [HD_KIND_PEER] = {"peer", "Another host behind the same balancer, named by its id",
                      HD_OPTIONS(struct hd_peer_keys, peer_table)},
    [HD_KIND_HTTP] = {"http", "HTTP: health, metrics, the commands as JSON, pages of plugins",
                      HD_OPTIONS(struct hd_http_keys, http_table)},
    [HD_KIND_PLUGIN] = {"plugin", "A plugin, beside the keys of its own",
                        HD_OPTIONS(struct hd_plugin_keys, plugin_table)},
};

int hd_kind_find(const char *word)
{
    for (int i = 0; i < HD_KINDS; i++)
        if (!strcmp(hd_kinds[i].word, word))
            return i;
    return -1;
}
