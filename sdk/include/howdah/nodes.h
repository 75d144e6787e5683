/*
 * Nodes, for plugins that bring a client library of their own: how to connect to a server that a [node …]
 * names. Who only wants statements run asks "howdah.jobs/1". And which of them serves the databases that
 * clients ask for. Service "howdah.nodes/1".
 */
#ifndef HOWDAH_NODES_H
#define HOWDAH_NODES_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_NODES "howdah.nodes/1"

/* Flags of a database. Since ABI 0.1. */
#define HD_SERVED_SETTINGS 1u /* its sessions' settings are followed: pool_mode = auto */

/* A database as clients ask for it. The caller sets `size`. Since ABI 0.1. */
struct hd_served_database {
    uint32_t size;
    uint32_t flags;       /* HD_SERVED_… */
    struct hd_str name;   /* the section's; "*" where that is for any name */
    struct hd_str node;   /* as in hd_statement, where no filter routes it elsewhere */
    struct hd_str dbname; /* the database's name there */
};

/* Service "howdah.nodes/1". Since ABI 0.1. */
struct hd_nodes_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Writes a libpq connection string with which the host itself logs in to the node's database: what the
     * node's `conninfo` says, its control_user and password. Holds a secret: never log it, overwrite it after
     * use. Of a key that is appended to it the later value counts. HD_ENOENT: no such node; HD_EINVAL: it has
     * no control_user, or its conninfo cannot be read; HD_EFULL: `room` bytes are too few. [any] */
    int32_t (*conninfo)(hd_host *host, struct hd_str node, struct hd_str dbname, char *out, uint32_t room,
                        struct hd_error *err);
    /* Where clients that ask for a database of this name are served; with an empty name the only one that is
     * configured. Copies min(size) bytes; the strings are valid until the next reload, `dbname` may be the
     * caller's own `name`. HD_ENOENT: no [database …] is for it, or there is not just one. [control] */
    int32_t (*database)(hd_host *host, struct hd_str name, struct hd_served_database *out);
    /* Calls fn with the name of each node that statements can be run on by "howdah.jobs/1", in the order of
     * the files, until it returns something other than HD_OK, which is then returned. [any] */
    int32_t (*each)(hd_host *host, int32_t (*fn)(void *arg, struct hd_str node), void *arg);
};

#ifdef __cplusplus
}
#endif
#endif
