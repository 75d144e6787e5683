/*
 * The kinds of sections that are the host's own, with the table of keys of each and the struct that the table
 * fills. Everything else that is printed or checked about them follows from here.
 */
#ifndef HD_HOST_SECTIONS_H
#define HD_HOST_SECTIONS_H

#include <howdah/options.h>

#define HD_DEFAULT_CONTROL "unix:/run/howdah/control.sock"

/* [host] fills struct hd_host_conf of session/settings.h. The others: */
struct hd_listener_keys {
    struct hd_str_list listen;
    struct hd_str_list allow;
    struct hd_str tls_cert, tls_key, tls_client_ca;
    struct hd_str unix_mode;
    int64_t backlog;
    int32_t auth; /* enum hd_auth */
    int32_t tls;  /* enum hd_tls_mode */
};

struct hd_user_keys {
    struct hd_str password;
    struct hd_str verifier;
    int64_t pool_size;
    int64_t max_clients;
    int64_t max_servers;
    int32_t admin;
    int32_t reserved;
};

struct hd_database_keys {
    struct hd_str node;
    struct hd_str auth_query;
    int64_t pool_size;
    int64_t min_pool_size;
    int64_t reserve_pool_size;
    int64_t reserve_pool_timeout;
    int64_t max_clients;
    int64_t max_servers;
    int64_t queue_timeout;
    int64_t idle_transaction_timeout;
    int64_t client_idle_timeout;
    int64_t server_idle_timeout;
    int64_t server_lifetime;
    int64_t max_prepared_statements;
    int32_t pool_mode; /* enum hd_pool_mode */
    int32_t reserved;
};

struct hd_node_keys {
    struct hd_str conninfo;
    struct hd_str control_user;
    struct hd_str control_password;
    int64_t connect_timeout;
    int64_t max_servers;
};

struct hd_peer_keys {
    struct hd_str address;
    struct hd_str secret;
};

struct hd_http_keys {
    struct hd_str_list listen;
    struct hd_str_list allow;
    struct hd_str token;
    struct hd_str tls_cert, tls_key;
    int64_t max_connections;
    int64_t max_connections_per_address;
    int64_t max_request_size;
    int64_t max_header_size;
    int64_t answer_memory;
    int64_t compress_from, compress_most;
    int64_t request_timeout;
    int64_t idle_timeout;
    int64_t rate;
};

/* Of every [plugin X], beside the plugin's own. */
struct hd_plugin_keys {
    struct hd_str library;
    int64_t priority;
    int64_t failures;
    int64_t time_budget;
    int32_t enabled; /* enum hd_plugin_enabled */
    int32_t required;
    int32_t on_failure; /* enum hd_on_failure */
    int32_t reserved;
};

enum hd_plugin_enabled { HD_ENABLED_NO = 0, HD_ENABLED_YES, HD_ENABLED_OBSERVE };

enum hd_kind {
    HD_KIND_HOST,
    HD_KIND_LISTENER,
    HD_KIND_USER,
    HD_KIND_DATABASE,
    HD_KIND_NODE,
    HD_KIND_PEER,
    HD_KIND_HTTP,
    HD_KIND_PLUGIN
};
#define HD_KINDS 8

struct hd_kind_info {
    const char *word; /* "listener" */
    const char *doc;  /* one line */
    struct hd_options options;
};

extern const struct hd_kind_info hd_kinds[HD_KINDS];

/* The kind of that word, or -1. */
int hd_kind_find(const char *word);

#endif
