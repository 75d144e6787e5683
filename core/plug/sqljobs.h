/*
 * Statements on control connections: the definitions of nodes, and a small cache of idle connections to each
 * node and database, which are closed when nobody has needed them for a while.
 */
#ifndef HD_PLUG_SQLJOBS_H
#define HD_PLUG_SQLJOBS_H

#include <howdah/jobs.h>

#include "plug/jobs.h"
#include "plug/sqlconn.h"

struct hd_sqljobs;

struct hd_sqljobs *hd_sqljobs_new(void);
/* No statement runs any more. */
void hd_sqljobs_free(struct hd_sqljobs *s);
int hd_sqljobs_set_nodes(struct hd_sqljobs *s, const struct hd_job_node *nodes, size_t n);

/* Runs a statement to its end. Never NULL. May block; any thread. */
struct hd_sql_answer *hd_sqljobs_run(struct hd_sqljobs *s, const struct hd_sql *sql,
                                     const struct hd_sql_wait *w);
/* A connection of the caller's own, to the node's own database. */
int hd_sqljobs_connect(struct hd_sqljobs *s, const char *node, const struct hd_sql_wait *w,
                       struct hd_sqlconn **out, struct hd_error *err);

/* A connection string with the node's password; HD_ENOENT, or as hd_sqlconn_conninfo. [any] */
int hd_sqljobs_conninfo(struct hd_sqljobs *s, struct hd_str node, struct hd_str dbname, char *out, size_t len,
                        struct hd_error *err);
/* As hd_jobs_each_node. [any] */
int hd_sqljobs_each_node(struct hd_sqljobs *s, int32_t (*fn)(void *arg, struct hd_str node), void *arg);
/* Does the node's conninfo have this word in it, or is there no such node? [any] */
int hd_sqljobs_conninfo_says(struct hd_sqljobs *s, const char *node, const char *word);
/* As hd_jobs_login. [any] */
int hd_sqljobs_login(struct hd_sqljobs *s, const char *node, char *out, size_t room);

/* Closes what has been idle for too long. [any] */
void hd_sqljobs_expire(struct hd_sqljobs *s);
/* Idle connections. */
size_t hd_sqljobs_idle(struct hd_sqljobs *s);

#endif
