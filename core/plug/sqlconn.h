/*
 * One control connection: libpq without blocking, so that connecting and running end at a deadline or when
 * they are cancelled, whatever the server does. Used by one thread at a time.
 *
 * Every connection starts with search_path = pg_catalog and the usual timeouts; hd_sqlconn_reset takes it
 * back to that. One thing can still block: resolving a host name, for as long as the resolver's own limits.
 */
#ifndef HD_PLUG_SQLCONN_H
#define HD_PLUG_SQLCONN_H

#include <howdah/types.h>
#include <stdatomic.h>
#include <stdint.h>

#include "plug/jobs.h"
#include "plug/sqlanswer.h"

#define HD_SQL_LOCK_TIMEOUT_MS      1000
#define HD_SQL_STATEMENT_TIMEOUT_MS 30000
#define HD_SQL_DEADLINE_MS          60000

struct hd_sqlconn;

/* Until when to wait, and what ends the waiting earlier. */
struct hd_sql_wait {
    uint64_t deadline_ns;
    const _Atomic int *cancelled; /* NULL: cannot be cancelled */
    int cancel_fd;                /* readable when *cancelled may have changed; -1: none */
};

/* Connects. HD_ETIMEOUT, HD_ECANCELLED, HD_EIO, HD_ENOMEM, HD_EINVAL; `err` never holds a password.
 * `database` NULL: the node's own. */
int hd_sqlconn_open(const struct hd_job_node *node, const char *database, const struct hd_sql_wait *w,
                    struct hd_sqlconn **out, struct hd_error *err);
void hd_sqlconn_close(struct hd_sqlconn *c);
/* Writes a connection string for that node, with its password, into `len` bytes. HD_EINVAL, HD_EFULL. */
int hd_sqlconn_conninfo(const struct hd_job_node *node, struct hd_str dbname, char *out, size_t len,
                        struct hd_error *err);

/* Runs sql->text and fills the answer, which always ends with a code. The server is told to give up at the
 * deadline too. When it is cancelled the server is told so, and its answer waited for a little. */
int hd_sqlconn_run(struct hd_sqlconn *c, const struct hd_sql *sql, const struct hd_sql_wait *w,
                   struct hd_sql_answer *a);

/* Begins to forget what a statement may have left in the session, without waiting for it. 0 when the
 * connection may be kept for later use, else it is to be closed. */
int hd_sqlconn_reset(struct hd_sqlconn *c);
/* Waits for the reset's end. 0 when the connection can be used again, else it is to be closed. */
int hd_sqlconn_ready(struct hd_sqlconn *c, const struct hd_sql_wait *w);

#endif
